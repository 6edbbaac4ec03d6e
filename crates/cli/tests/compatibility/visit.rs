//! One client's visit to one endpoint: what it is asked to do there, and what it got. `peers/README.md` tells the same to
//! those who write a driver.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// An endpoint, the revision the client should speak there, and the steps.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Visit {
    pub(crate) target: Target,
    /// `auto`, `legacy`, or the revision to pin; drivers of clients that know one era only ignore it.
    pub(crate) mode: &'static str,
    pub(crate) steps: Vec<Step>,
}

/// Something that speaks MCP.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Target {
    Command {
        command: Vec<String>,
        env: BTreeMap<String, String>,
    },
    Url {
        url: String,
        /// `streamable-http` or `sse`.
        transport: &'static str,
    },
}

/// One request. Lists are asked for to their last page.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub(crate) struct Step {
    pub(crate) method: &'static str,
    pub(crate) params: Value,
}

/// What a driver answers to a visit.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    /// `{"result": {"revision": …, "instructions": …}}` or `{"error": …}`.
    pub(crate) connect: Value,
    /// In the order of the visit; missing when the connection failed.
    #[serde(default)]
    pub(crate) steps: Vec<Reply>,
}

/// What a step gave: a result, with the progress that was told meanwhile, or an error.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Reply {
    pub(crate) result: Option<Box<RawValue>>,
    #[serde(default)]
    pub(crate) progress: Vec<Value>,
    pub(crate) error: Option<Value>,
}

impl Step {
    pub(crate) fn list(method: &'static str) -> Self {
        Self { method, params: json!({}) }
    }

    pub(crate) fn call(tool: &str, arguments: &Value) -> Self {
        Self { method: "tools/call", params: json!({ "name": tool, "arguments": arguments }) }
    }

    /// A `tools/call` whose answer is a task, and steps that follow it; only `wire` takes them.
    pub(crate) fn task(tool: &str, arguments: &Value) -> Self {
        Self { method: "task", params: json!({ "name": tool, "arguments": arguments, "task": { "ttl": 60_000 } }) }
    }

    /// Asks after the task that was begun last.
    pub(crate) fn of_the_task(method: &'static str) -> Self {
        Self { method, params: json!({}) }
    }

    pub(crate) fn prompt(name: &str, arguments: &Value) -> Self {
        Self { method: "prompts/get", params: json!({ "name": name, "arguments": arguments }) }
    }

    pub(crate) fn read(uri: &str) -> Self {
        Self { method: "resources/read", params: json!({ "uri": uri }) }
    }

    /// How a failing comparison names the step.
    pub(crate) fn label(&self) -> String {
        let subject = ["name", "uri", "argument"].iter().find_map(|key| self.params.get(key));
        match subject {
            Some(Value::String(name)) => format!("{} {name}", self.method),
            Some(other) => format!("{} {other}", self.method),
            None => self.method.to_owned(),
        }
    }

    /// The tool a `tools/call` calls.
    pub(crate) fn tool(&self) -> Option<&str> {
        (self.method == "tools/call").then(|| self.params["name"].as_str()).flatten()
    }
}

impl Answer {
    /// The revision the client ended up speaking.
    pub(crate) fn revision(&self) -> Option<&str> {
        self.connect["result"]["revision"].as_str()
    }
}

impl Reply {
    pub(crate) fn of_result(result: &impl Serialize) -> Self {
        let text = serde_json::value::to_raw_value(result).expect("a result is JSON");
        Self { result: Some(text), progress: Vec::new(), error: None }
    }

    pub(crate) fn of_error(error: &impl std::fmt::Display) -> Self {
        Self { result: None, progress: Vec::new(), error: Some(json!({ "message": error.to_string() })) }
    }

    /// The whole as text, for the message of a failing test.
    pub(crate) fn shown(&self) -> String {
        let whole = match (&self.result, &self.error) {
            (Some(result), _) => result.get().to_owned(),
            (None, Some(error)) => format!("error {error}"),
            (None, None) => "nothing".to_owned(),
        };
        whole.chars().take(600).collect()
    }

    /// Whether this is an error of the protocol or a tool's own.
    pub(crate) fn is_error(&self) -> bool {
        let reported = |result: &RawValue| serde_json::from_str::<Value>(result.get()).is_ok_and(|value| value["isError"] == json!(true));
        self.error.is_some() || self.result.as_deref().is_some_and(reported)
    }
}
