//! As much of an MCP server as a list of functions needs: it is asked for its tools, and calls them.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncWriteExt, DuplexStream, split};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::lines::Lines;
use super::tools::{Outcome, Tools};

/// The revisions whose `initialize`, `tools/list` and `tools/call` are the same; the newest first.
const REVISIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Requests that are being worked on or wait for a place. A client that asks for more at once is told so.
const MOST_REQUESTS: usize = 1024;

const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;

/// What of an answer comes after its `id`.
type Answer = Result<Value, (i32, String)>;

/// Serves until the other side closes its pipe. Calls that run then are given up.
///
/// # Errors
/// The other side sent what is no message, or does not read any more.
pub(super) async fn serve(pipe: DuplexStream, name: String, tools: Arc<Tools>) -> io::Result<()> {
    let (input, mut output) = split(pipe);
    let mut lines = Lines::new(input);
    let mut calls = Calls { tools, running: JoinSet::new(), stops: HashMap::new() };
    loop {
        let answer = tokio::select! {
            line = lines.next() => match line? {
                Some(line) => calls.take(&name, &line),
                None => return Ok(()),
            },
            Some(ended) = calls.running.join_next() => ended.ok().and_then(|ended| calls.ended(ended)),
        };
        if let Some(answer) = answer {
            let mut text = serde_json::to_vec(&answer)?;
            text.push(b'\n');
            output.write_all(&text).await?;
        }
    }
}

/// The calls of one client, each with a way to stop it.
struct Calls {
    tools: Arc<Tools>,
    running: JoinSet<(Value, Outcome)>,
    stops: HashMap<String, oneshot::Sender<()>>,
}

impl Calls {
    /// Takes one message; gives the answer that is known at once.
    fn take(&mut self, name: &str, line: &[u8]) -> Option<Value> {
        let Ok(Value::Object(mut message)) = serde_json::from_slice(line) else {
            return Some(answer(Value::Null, Err((INVALID_REQUEST, "this is no message".to_owned()))));
        };
        let method = message.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
        let params = message.remove("params").unwrap_or_default();
        match message.remove("id") {
            Some(id) => self.request(name, id, &method, params),
            None => {
                if method == "notifications/cancelled" {
                    params.get("requestId").map(|id| self.stops.remove(&id.to_string()));
                }
                None
            }
        }
    }

    fn request(&mut self, name: &str, id: Value, method: &str, params: Value) -> Option<Value> {
        let result = match method {
            "initialize" => Ok(initialized(name, &params)),
            "ping" => Ok(json!({})),
            "tools/list" => Ok(json!({ "tools": self.tools.definitions() })),
            "tools/call" => match self.call(&id, params) {
                Ok(()) => return None,
                Err(refused) => Err(refused),
            },
            _ => Err((METHOD_NOT_FOUND, format!("there is no method {method}"))),
        };
        Some(answer(id, result))
    }

    fn call(&mut self, id: &Value, mut params: Value) -> Result<(), (i32, String)> {
        let tool = params.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !self.tools.has(&tool) {
            return Err((INVALID_PARAMS, format!("there is no tool {tool}")));
        }
        let arguments = match params.get_mut("arguments").map(Value::take) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(arguments)) => arguments,
            Some(_) => return Err((INVALID_PARAMS, "the arguments must be an object".to_owned())),
        };
        if self.running.len() >= MOST_REQUESTS {
            return Err((INVALID_REQUEST, format!("there are {MOST_REQUESTS} calls already")));
        }
        if self.stops.contains_key(&id.to_string()) {
            return Err((INVALID_REQUEST, "there is a call of that id already".to_owned()));
        }
        let (stop, stopped) = oneshot::channel();
        self.stops.insert(id.to_string(), stop);
        let (tools, id) = (self.tools.clone(), id.clone());
        self.running.spawn(async move {
            let outcome = tools.call(&tool, arguments, stopped).await;
            (id, outcome)
        });
        Ok(())
    }

    /// The answer to a call; none to one that was given up.
    fn ended(&mut self, (id, outcome): (Value, Outcome)) -> Option<Value> {
        self.stops.remove(&id.to_string());
        let result = match outcome {
            Outcome::Result(result) => result,
            Outcome::Failed(why) => json!({ "content": [{ "type": "text", "text": why }], "isError": true }),
            Outcome::Stopped => return None,
        };
        Some(answer(id, Ok(result)))
    }
}

fn initialized(name: &str, params: &Value) -> Value {
    let asked = params.get("protocolVersion").and_then(Value::as_str);
    let revision = REVISIONS.into_iter().find(|known| Some(*known) == asked).unwrap_or(REVISIONS[0]);
    json!({
        "protocolVersion": revision,
        "capabilities": { "tools": {} },
        "serverInfo": { "name": name, "version": "" },
    })
}

fn answer(id: Value, result: Answer) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err((code, message)) => json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } }),
    }
}
