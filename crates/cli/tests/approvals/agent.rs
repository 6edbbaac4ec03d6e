//! One who calls tools over HTTP, in revision 2026-07-28: every request stands alone.

use serde_json::{Value, json};

use crate::harness::gateway::Project;
use crate::harness::http::Connection;

/// Makes a key of this name.
pub(crate) fn key(project: &Project, name: &str) -> String {
    let output = project.sallyport().args(["key", "add", name, "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    made["key"].as_str().unwrap().to_owned()
}

/// The handle in the refusal of a call that waits.
pub(crate) fn handle_of(answer: &Value) -> String {
    let failure = &answer["result"]["_meta"]["dev.sallyport/failure"];
    assert_eq!((&answer["result"]["isError"], &failure["kind"]), (&json!(true), &json!("approval_needed")), "{answer}");
    let handle = failure["approval"].as_str().unwrap().to_owned();
    let told = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(told.contains(&format!("approval ({handle})")) && told.contains("tell your user"), "{told}");
    handle
}

pub(crate) struct Agent {
    port: u16,
    token: String,
    /// What the client declares that it can do.
    pub(crate) capabilities: Value,
    /// What else is in `_meta` of its requests.
    pub(crate) meta: Value,
    /// The server whose endpoint it uses.
    pub(crate) server: &'static str,
}

impl Agent {
    pub(crate) fn new(port: u16, token: &str) -> Self {
        Self { port, token: token.to_owned(), capabilities: json!({}), meta: json!({}), server: "files" }
    }

    pub(crate) fn ask(&self, method: &str, mut params: Value) -> Value {
        let name = ["name", "taskId", "uri"].iter().find_map(|key| params.get(key)).and_then(Value::as_str).map(str::to_owned);
        params["_meta"] = self.meta.clone();
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2026-07-28".into();
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = self.capabilities.clone();
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method), ("Authorization", &bearer)];
        headers.extend(name.as_deref().map(|name| ("Mcp-Name", name)));
        let response = Connection::open(self.port).post(&format!("/servers/{}/mcp", self.server), &headers, &body);
        let message = response.message().unwrap_or_else(|| panic!("no message: {response:?}"));
        serde_json::from_str(message).unwrap()
    }

    pub(crate) fn call(&self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    /// The same call again, with the state of an earlier answer and what the client says to its question.
    pub(crate) fn call_again(&self, tool: &str, arguments: Value, state: &Value, says: Value) -> Value {
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments, "requestState": state, "inputResponses": says }))
    }

    /// The same call with answers to questions that nobody has asked yet.
    pub(crate) fn call_in_advance(&self, tool: &str, says: Value) -> Value {
        self.ask("tools/call", json!({ "name": tool, "arguments": {}, "inputResponses": says }))
    }

    pub(crate) fn tools(&self) -> Vec<String> {
        let listed = self.ask("tools/list", json!({}));
        let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("no tools: {listed}")).clone();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }
}
