//! The scenarios on tokens: how the gateway is told to get them, and what is called with them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::caller::Caller;
use crate::repository::Outcome;

/// Where the suite's authorization servers are told that the client's metadata lies; they know the address, and do not go there.
const CLIENT_METADATA: &str = "https://conformance-test.local/client-metadata.json";
/// How often a tool is called: a server may go over to another authorization server in between.
const CALLS: usize = 2;
/// How often it is looked whether the server's own tools are listed, ten times a second.
const LOOKS: usize = 30;
/// How the gateway's own tool is called that asks for access.
const ASKING: &str = "__sallyport_connect";

/// The line of the configuration that says how the token is had; nothing for scenarios on other things. What is secret goes into files.
pub(super) fn credential(scenario: &str, context: &Value, folder: &Path) -> Outcome<String> {
    let Some(scenario) = scenario.strip_prefix("auth/") else { return Ok(String::new()) };
    let text = |key: &str| context[key].as_str().ok_or_else(|| format!("the suite gives no `{key}`"));
    let secret = |key: &str| {
        let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(folder.join(key)).map_err(told)?;
        file.write_all(text(key)?.as_bytes()).map_err(told)?;
        Ok::<_, String>(format!("file:{key}"))
    };
    let credential = match scenario {
        "pre-registration" => format!(
            "{{ per_user = {{ client = {{ id = {:?}, secret = {:?} }}, issuer = {:?} }} }}",
            text("client_id")?,
            secret("client_secret")?,
            text("issuer")?
        ),
        "client-credentials-basic" => {
            format!(
                "{{ client_credentials = {{ client = {{ id = {:?}, secret = {:?} }} }} }}",
                text("client_id")?,
                secret("client_secret")?
            )
        }
        "client-credentials-jwt" => {
            format!("{{ client_credentials = {{ client = {{ id = {:?}, key = {:?} }} }} }}", text("client_id")?, secret("private_key_pem")?)
        }
        "enterprise-managed-authorization" => format!(
            "{{ id_jag = {{ provider = {{ issuer = {:?}, client = {{ id = {:?} }}, subject = {:?} }}, client = {{ id = {:?}, secret = {:?} }} }} }}",
            text("idp_issuer")?,
            text("idp_client_id")?,
            secret("idp_id_token")?,
            text("client_id")?,
            secret("client_secret")?
        ),
        _ => format!("{{ per_user = {{ client_metadata_url = {CLIENT_METADATA:?} }} }}"),
    };
    Ok(format!("credential = {credential}\n"))
}

fn told(error: std::io::Error) -> String {
    format!("could not write a secret: {error}")
}

/// Grants access where that is asked for, and calls every tool. Where the scenario's servers are not to be trusted, that fails, and the
/// suite's checks say whether it failed as it should; so here a failure is only told.
pub(super) fn play(scenario: &str, caller: &mut Caller) -> Outcome {
    let outcome = grant_and_call(caller);
    if let Err(error) = outcome {
        eprintln!("{scenario}: {error}");
    }
    Ok(())
}

/// The server's own tools, which are listed a moment after access is granted. Where they never are, the tool that asks is all there is.
fn own_tools(caller: &mut Caller) -> Outcome<Vec<Value>> {
    let is_own = |tool: &Value| tool["name"].as_str().is_some_and(|name| !name.ends_with(ASKING));
    for _ in 0..LOOKS {
        let tools = caller.list("tools")?;
        if tools.iter().any(is_own) {
            return Ok(tools.into_iter().filter(is_own).collect());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    caller.list("tools")
}

fn grant_and_call(caller: &mut Caller) -> Outcome {
    for tool in caller.list("tools")? {
        if tool["name"].as_str().is_some_and(|name| name.ends_with(ASKING)) {
            caller.request("tools/call", json!({ "name": tool["name"], "arguments": {} }))?;
        }
    }
    let tools = own_tools(caller)?;
    for _ in 0..CALLS {
        for tool in &tools {
            caller.request("tools/call", json!({ "name": tool["name"], "arguments": {} }))?;
        }
    }
    Ok(())
}
