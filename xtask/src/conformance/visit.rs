//! The program that the suite starts in client mode: it puts a gateway in front of the suite's mock server, and plays a
//! scenario's steps through it, so that what the mock server judges is the gateway's own client.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use serde_json::{Value, json};

use super::authorization;
use super::caller::{Caller, Era};
use super::homes;
use crate::repository::Outcome;

/// How the suite starts this program; it appends the mock server's URL.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The program under test
    #[arg(long)]
    sallyport: PathBuf,
    /// What the caller in front of the gateway speaks, whatever the mock server behind it does
    #[arg(long, value_enum)]
    caller: Era,
    /// Where the gateway's files go
    #[arg(long)]
    folder: PathBuf,
    /// The mock server
    url: String,
}

/// The command that the suite is told to start. It gives it to a shell, so what is no plain word is quoted.
pub(crate) fn command_line(this: &Path, sallyport: &Path, caller: Era, folder: &Path) -> String {
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let (this, sallyport, folder, caller) = (quoted(this), quoted(sallyport), quoted(folder), caller.name());
    format!("{this} conformance-client --sallyport {sallyport} --caller {caller} --folder {folder}")
}

/// Plays the scenario that the suite names in the environment.
pub(crate) fn run(options: &Options) -> Outcome {
    let scenario = env::var("MCP_CONFORMANCE_SCENARIO").map_err(|error| format!("MCP_CONFORMANCE_SCENARIO: {error}"))?;
    let context = env::var("MCP_CONFORMANCE_CONTEXT").map_or(Ok(Value::Null), |text| serde_json::from_str(&text));
    let context = context.map_err(|error| format!("MCP_CONFORMANCE_CONTEXT: {error}"))?;
    let credential = authorization::credential(&scenario, &context, &options.folder)?;
    let mut caller = Caller::start(&mut gateway(options, &options.folder, &credential)?, options.caller)?;
    let played = match scenario.strip_prefix("auth/") {
        Some(scenario) => authorization::play(scenario, &mut caller),
        None => play(&scenario, &mut caller, &context),
    };
    caller.end()?;
    played
}

/// `sallyport stdio` with the mock server as its only server.
fn gateway(options: &Options, folder: &Path, credential: &str) -> Outcome<Command> {
    let configuration = folder.join("sallyport.toml");
    let mut gateway = homes::command(&options.sallyport, folder)?;
    fs::write(&configuration, format!("[servers.mock]\nurl = \"{}\"\n{credential}", options.url))
        .map_err(|error| format!("could not write {}: {error}", configuration.display()))?;
    gateway.arg("--config").arg(configuration).args(["stdio", "--alone"]);
    Ok(gateway)
}

/// The steps of each scenario, as the suite's description of it demands.
fn play(scenario: &str, caller: &mut Caller, context: &Value) -> Outcome {
    let tools = caller.list("tools")?;
    match scenario {
        "initialize" | "request-metadata" | "json-schema-ref-no-deref" => Ok(()),
        "tools_call" => caller.call(&tools, "add_numbers", json!({ "a": 2, "b": 3 })),
        "elicitation-sep1034-client-defaults" => caller.call(&tools, "test_client_elicitation_defaults", json!({})),
        "sse-retry" => caller.call(&tools, "test_reconnection", json!({})),
        "http-standard-headers" => use_everything(caller, &tools),
        "http-custom-headers" => call_as_told(caller, &tools, context),
        "http-invalid-tool-headers" => call_all(caller, &tools, &json!({ "region": "us-west1" })),
        "sep-2322-client-request-state" => answer_in_between(caller, &tools),
        "json-schema-2020-12-preservation" => echo_schema(caller, &tools),
        other => Err(format!("no steps are known for scenario `{other}`")),
    }
}

/// Every kind of request that has headers of its own.
fn use_everything(caller: &mut Caller, tools: &[Value]) -> Outcome {
    call_all(caller, tools, &json!({}))?;
    for resource in caller.list("resources")? {
        caller.request("resources/read", json!({ "uri": resource["uri"] }))?;
    }
    for prompt in caller.list("prompts")? {
        caller.request("prompts/get", json!({ "name": prompt["name"] }))?;
    }
    Ok(())
}

fn call_all(caller: &mut Caller, tools: &[Value], arguments: &Value) -> Outcome {
    for tool in tools {
        caller.request("tools/call", json!({ "name": tool["name"], "arguments": arguments }))?;
    }
    Ok(())
}

/// The calls that the suite wants to see, with its own arguments.
fn call_as_told(caller: &mut Caller, tools: &[Value], context: &Value) -> Outcome {
    for call in context["toolCalls"].as_array().into_iter().flatten() {
        caller.call(tools, call["name"].as_str().unwrap_or_default(), call["arguments"].clone())?;
    }
    Ok(())
}

/// Calls that ask, one of them with another call between the question and its answer.
fn answer_in_between(caller: &mut Caller, tools: &[Value]) -> Outcome {
    caller.call_meanwhile(exposed(tools, "test_mrtr_unrelated")?);
    for tool in ["test_mrtr_echo_state", "test_mrtr_no_state", "test_mrtr_no_result_type"] {
        caller.call(tools, tool, json!({}))?;
    }
    Ok(())
}

/// Sends a tool's schema back as it was listed.
fn echo_schema(caller: &mut Caller, tools: &[Value]) -> Outcome {
    let name = exposed(tools, "json_schema_2020_12_tool")?;
    let focal = tools.iter().find(|tool| tool["name"] == name).map(|tool| &tool["inputSchema"]);
    caller.call(tools, "json_schema_echo", json!({ "schema": focal }))
}

/// The name under which the gateway shows a tool of the mock server.
fn exposed<'tools>(tools: &'tools [Value], name: &str) -> Outcome<&'tools str> {
    let names = tools.iter().filter_map(|tool| tool["name"].as_str());
    let whole = format!("mock__{name}");
    names.into_iter().find(|exposed| **exposed == whole).ok_or_else(|| format!("the gateway shows no tool `{name}`"))
}

impl Caller {
    /// Everything of a kind; nothing where the gateway does not offer it.
    pub(super) fn list(&mut self, kind: &str) -> Outcome<Vec<Value>> {
        if !self.has(kind) {
            return Ok(Vec::new());
        }
        let result = self.request(&format!("{kind}/list"), json!({}))?;
        Ok(result[kind].as_array().cloned().unwrap_or_default())
    }

    /// Calls a tool by the mock server's name for it.
    fn call(&mut self, tools: &[Value], name: &str, arguments: Value) -> Outcome {
        let name = exposed(tools, name)?;
        self.request("tools/call", json!({ "name": name, "arguments": arguments })).map(|_result| ())
    }
}
