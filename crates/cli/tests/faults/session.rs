//! A small client of the 2025 revisions over HTTP, just enough to put load and faults on a gateway: one connection kept
//! open, one request at a time.

use serde_json::{Value, json};

use crate::harness::http::Connection;

/// An initialized session on an endpoint of the gateway.
pub(crate) struct Session {
    connection: Connection,
    path: String,
    id: Option<String>,
    next_request: u64,
}

/// What a `tools/call` gave.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Called {
    /// The text of the first content block, and whether the result says it is an error.
    Text { text: String, is_error: bool },
    /// A JSON-RPC error.
    Error(Value),
}

impl Called {
    pub(crate) fn is_error(&self) -> bool {
        !matches!(self, Self::Text { is_error: false, .. })
    }

    /// Everything it says, for looking for words in it.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Text { text, .. } => text.clone(),
            Self::Error(error) => error.to_string(),
        }
    }
}

impl Session {
    pub(crate) fn open(port: u16, path: &str) -> Self {
        let connection = Connection::open(port);
        let mut session = Self { connection, path: path.to_owned(), id: None, next_request: 1 };
        let client = json!({ "name": "fault-test", "version": "1.0.0" });
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
        let answer = session.request("initialize", &params);
        assert!(answer["result"]["protocolVersion"].is_string(), "no session: {answer}");
        session.notify("notifications/initialized");
        session
    }

    /// The names in `tools/list`.
    pub(crate) fn tools(&mut self) -> Vec<String> {
        let answer = self.request("tools/list", &json!({}));
        let tools = answer["result"]["tools"].as_array().cloned().unwrap_or_default();
        tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect()
    }

    pub(crate) fn call(&mut self, tool: &str, arguments: &Value) -> Called {
        let answer = self.request("tools/call", &json!({ "name": tool, "arguments": arguments }));
        if answer["error"].is_object() {
            return Called::Error(answer["error"].clone());
        }
        let result = &answer["result"];
        let text = result["content"][0]["text"].as_str().unwrap_or_default().to_owned();
        Called::Text { text, is_error: result["isError"].as_bool().unwrap_or(false) }
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn request(&mut self, method: &str, params: &Value) -> Value {
        let id = self.next_request;
        self.next_request += 1;
        let answer = self.post(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        answer.unwrap_or_else(|| panic!("no answer to {method}"))
    }

    fn notify(&mut self, method: &str) {
        let answer = self.post(&json!({ "jsonrpc": "2.0", "method": method }));
        assert_eq!(answer, None, "a notification has no answer");
    }

    fn post(&mut self, message: &Value) -> Option<Value> {
        let mut headers = vec![("MCP-Protocol-Version", "2025-11-25")];
        headers.extend(self.id.as_deref().map(|id| ("Mcp-Session-Id", id)));
        let response = self.connection.post(&self.path, &headers, &message.to_string());
        if let Some(id) = response.header("mcp-session-id") {
            self.id = Some(id.to_owned());
        }
        response.message().map(|text| serde_json::from_str(text).expect("an answer is JSON"))
    }
}
