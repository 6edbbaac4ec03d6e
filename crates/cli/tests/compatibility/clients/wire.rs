//! No client of anybody's: JSON-RPC by hand, so that results are seen as the very bytes that were sent.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{LEGACY, MODERN};
use crate::harness::http::Connection;
use crate::visit::{Answer, Reply, Step, Target, Visit};

pub(crate) struct Wire;

impl Wire {
    pub(crate) fn visit(&mut self, visit: &Visit) -> Answer {
        let modern = visit.mode != "legacy";
        let mut way = Way::open(&visit.target, modern);
        if !modern {
            let client = json!({ "name": "sallyport-test-wire", "version": "1.0.0" });
            let params = json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client });
            way.exchange(Some(0), "initialize", params);
            way.exchange(None, "notifications/initialized", json!({}));
        }
        let mut task = Value::Null;
        let steps = (1..).zip(&visit.steps).map(|(id, step)| take(&mut way, id, step, modern, &mut task)).collect();
        Answer { connect: json!({ "result": { "revision": if modern { MODERN } else { LEGACY } } }), steps }
    }
}

/// An answer with its result unread.
#[derive(Deserialize)]
struct Message {
    id: Option<Value>,
    result: Option<Box<RawValue>>,
    error: Option<Value>,
}

/// `task` is the id of the one that was begun last.
fn take(way: &mut Way, id: u64, step: &Step, modern: bool, task: &mut Value) -> Reply {
    let mut params = step.params.clone();
    if modern {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": capabilities(step),
        });
        // From this revision on the server decides on tasks.
        params.as_object_mut().expect("params are an object").remove("task");
    }
    if step.method.starts_with("tasks/") {
        params["taskId"] = task.clone();
    }
    let method = if step.method == "task" { "tools/call" } else { step.method };
    let answer = way.exchange(Some(id), method, params).expect("a request has an answer");
    if let Some(result) = answer.result.as_deref().filter(|_| step.method == "task") {
        let result: Value = serde_json::from_str(result.get()).expect("a result is JSON");
        *task = if modern { result["taskId"].clone() } else { result["task"]["taskId"].clone() };
    }
    Reply { result: answer.result, progress: Vec::new(), error: answer.error }
}

/// What the client declares with a request: that it takes tasks, where the step is about one.
fn capabilities(step: &Step) -> Value {
    if step.method.starts_with("task") { json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } }) } else { json!({}) }
}

/// How messages get there.
enum Way {
    Pipe { child: Child, input: ChildStdin, output: BufReader<ChildStdout> },
    Http { port: u16, path: String, session: Option<String>, modern: bool },
}

impl Way {
    fn open(target: &Target, modern: bool) -> Self {
        match target {
            Target::Command { command, env } => {
                let mut process = Command::new(&command[0]);
                process.args(&command[1..]).env_clear().envs(env).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
                let mut child = process.spawn().expect("the server starts");
                let input = child.stdin.take().expect("stdin is piped");
                let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
                Self::Pipe { child, input, output }
            }
            Target::Url { url, .. } => {
                let (_, address) = url.split_once("127.0.0.1:").expect("tests stay on loopback");
                let (port, path) = address.split_once('/').expect("an endpoint has a path");
                Self::Http { port: port.parse().expect("a port is a number"), path: format!("/{path}"), session: None, modern }
            }
        }
    }

    /// Sends a message and, where it is a request, waits for the answer of that id.
    fn exchange(&mut self, id: Option<u64>, method: &str, params: Value) -> Option<Message> {
        let mut message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        if let Some(id) = id {
            message["id"] = json!(id);
        }
        match self {
            Self::Pipe { input, output, .. } => {
                writeln!(input, "{message}").expect("the server reads");
                id.map(|id| read_answer(output, id))
            }
            Self::Http { port, path, session, modern } => {
                let name = ["name", "uri", "taskId"].iter().find_map(|key| message["params"][key].as_str());
                let mut headers = vec![("MCP-Protocol-Version", if *modern { MODERN } else { LEGACY })];
                if *modern {
                    headers.push(("Mcp-Method", method));
                    headers.extend(name.map(|name| ("Mcp-Name", name)));
                }
                headers.extend(session.as_deref().map(|id| ("Mcp-Session-Id", id)));
                let response = Connection::open(*port).post(path, &headers, &message.to_string());
                let new = response.header("mcp-session-id").map(str::to_owned);
                *session = new.or_else(|| session.take());
                let answer = response.message().filter(|_| id.is_some());
                answer.map(|text| serde_json::from_str(text).expect("an answer is JSON-RPC"))
            }
        }
    }
}

/// The next line that answers `id`; what the server says besides is passed over.
fn read_answer(output: &mut BufReader<ChildStdout>, id: u64) -> Message {
    loop {
        let mut line = String::new();
        let length = output.read_line(&mut line).expect("the server writes");
        assert!(length > 0, "the server ended before it answered");
        let message: Message = serde_json::from_str(&line).expect("a line is JSON-RPC");
        if message.id == Some(json!(id)) {
            return message;
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Self::Pipe { child, .. } = self {
            // Both fail only when it is gone already.
            let _killed = child.kill();
            let _reaped = child.wait();
        }
    }
}
