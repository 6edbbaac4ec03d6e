//! A small client of the 2025 revisions over HTTP, just enough to put load and faults on a gateway: one connection kept
//! open, one request at a time.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

/// An initialized session on an endpoint of the gateway.
pub(crate) struct Session {
    stream: BufReader<TcpStream>,
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
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the gateway listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket takes a timeout");
        stream.set_nodelay(true).expect("a socket takes the option");
        let mut session = Self { stream: BufReader::new(stream), path: path.to_owned(), id: None, next_request: 1 };
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
        let body = message.to_string();
        let session = self.id.as_ref().map_or_else(String::new, |id| format!("Mcp-Session-Id: {id}\r\n"));
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             MCP-Protocol-Version: 2025-11-25\r\n{session}Content-Length: {}\r\n\r\n",
            self.path,
            body.len(),
        );
        self.stream.get_mut().write_all(format!("{head}{body}").as_bytes()).expect("the gateway reads");
        let (headers, body) = self.read_response();
        if let Some(id) = headers.iter().find_map(|line| line.strip_prefix("mcp-session-id: ")) {
            self.id = Some(id.to_owned());
        }
        answer_in(&body)
    }

    /// Headers in lower case, and the whole body.
    fn read_response(&mut self) -> (Vec<String>, String) {
        let mut headers = Vec::new();
        loop {
            let line = self.read_line();
            if line.is_empty() {
                break;
            }
            match line.split_once(": ") {
                Some((name, value)) => headers.push(format!("{}: {value}", name.to_ascii_lowercase())),
                None => headers.push(line),
            }
        }
        let length = headers.iter().find_map(|line| line.strip_prefix("content-length: ")).map(|text| text.parse().expect("a length"));
        let chunked = headers.iter().any(|line| line == "transfer-encoding: chunked");
        let body = match (length, chunked) {
            (Some(length), _) => self.read_bytes(length),
            (None, true) => self.read_chunks(),
            (None, false) => String::new(),
        };
        (headers, body)
    }

    fn read_line(&mut self) -> String {
        let mut line = String::new();
        let length = self.stream.read_line(&mut line).expect("the gateway answers");
        assert!(length > 0, "the gateway closed the connection");
        line.trim_end().to_owned()
    }

    fn read_bytes(&mut self, length: usize) -> String {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).expect("the gateway sends what it announced");
        String::from_utf8(bytes).expect("MCP is UTF-8")
    }

    fn read_chunks(&mut self) -> String {
        let mut body = String::new();
        loop {
            let length = usize::from_str_radix(&self.read_line(), 16).expect("a chunk starts with its length");
            body.push_str(&self.read_bytes(length));
            self.read_line();
            if length == 0 {
                return body;
            }
        }
    }
}

/// The answer in a body that is one message or a stream of events, whose last message it is.
fn answer_in(body: &str) -> Option<Value> {
    if let Ok(message) = serde_json::from_str(body) {
        return Some(message);
    }
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|text| serde_json::from_str::<Value>(text).ok()).rfind(|message| message.get("id").is_some())
}
