//! One who calls the gateway over HTTP, in revision 2026-07-28: every request stands alone.

use serde_json::{Value, json};

use crate::harness::http::{Connection, Response};

/// The gateway's port and what the caller shows.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) port: u16,
    pub(crate) token: Option<String>,
}

impl Caller {
    pub(crate) fn new(port: u16, token: &str) -> Self {
        Self { port, token: Some(token.to_owned()) }
    }

    /// Sends a request to an endpoint.
    pub(crate) fn ask(&self, endpoint: &str, method: &str, mut params: Value) -> Response {
        let name = ["name", "uri", "taskId"].iter().find_map(|key| params.get(*key)).and_then(Value::as_str).map(str::to_owned);
        // What the client can do may be in it already.
        let able = params["_meta"]["io.modelcontextprotocol/clientCapabilities"].as_object().cloned().unwrap_or_default();
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": able,
        });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let mut headers = vec![("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)];
        headers.extend(name.as_deref().map(|name| ("Mcp-Name", name)));
        headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        Connection::open(self.port).post(endpoint, &headers, &body)
    }

    /// The status of `tools/list` at an endpoint.
    pub(crate) fn knock(&self, endpoint: &str) -> u16 {
        self.ask(endpoint, "tools/list", json!({})).status
    }
}
