//! One who comes to a gateway in revision 2026-07-28 over a connection of any kind, and may listen to what is told later.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

/// A connection, in TLS or not.
pub(crate) trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// One who comes to a gateway, with what they show.
pub(crate) struct Visitor<'a> {
    pub(crate) name: &'static str,
    bearer: Option<String>,
    connect: Box<dyn Fn() -> Box<dyn Stream> + 'a>,
}

/// What they are told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) status: u16,
    /// The scope that is missing.
    pub(crate) scope: Option<String>,
    pub(crate) message: Value,
}

impl<'a> Visitor<'a> {
    pub(crate) fn at_port(name: &'static str, port: u16, bearer: Option<&str>) -> Self {
        let connect = move || {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("the endpoint listens");
            stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket takes a timeout");
            Box::new(stream) as Box<dyn Stream>
        };
        Self { name, bearer: bearer.map(str::to_owned), connect: Box::new(connect) }
    }

    /// One who comes by connections of another kind.
    pub(crate) fn by(name: &'static str, bearer: Option<&str>, connect: impl Fn() -> Box<dyn Stream> + 'a) -> Self {
        Self { name, bearer: bearer.map(str::to_owned), connect: Box::new(connect) }
    }

    /// Sends a request to an endpoint.
    pub(crate) fn ask(&self, endpoint: &str, method: &str, params: Value) -> Told {
        self.send(endpoint, method, params).1
    }

    /// Listens to news; the stream stays open as long as what is returned.
    pub(crate) fn listen(&self, endpoint: &str, params: Value) -> (Box<dyn Stream>, Told) {
        self.send(endpoint, "subscriptions/listen", params)
    }

    fn send(&self, endpoint: &str, method: &str, mut params: Value) -> (Box<dyn Stream>, Told) {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": { "extensions": { "io.modelcontextprotocol/tasks": {} } },
        });
        let mut head = format!(
            "POST {endpoint} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n"
        );
        if let Some(name) = ["name", "uri", "taskId"].iter().find_map(|key| params[*key].as_str()) {
            write!(head, "Mcp-Name: {name}\r\n").unwrap();
        }
        if let Some(bearer) = &self.bearer {
            write!(head, "Authorization: Bearer {bearer}\r\n").unwrap();
        }
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let mut stream = (self.connect)();
        stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).expect("the endpoint reads");
        let answer = read(&mut stream);
        (stream, told(&answer))
    }
}

/// The answer to its end; of a stream of news as far as the acknowledgement.
fn read(stream: &mut dyn Stream) -> String {
    let (mut answer, mut some) = (Vec::new(), [0; 4096]);
    // A connection in TLS may end without a word.
    while let Ok(length @ 1..) = stream.read(&mut some) {
        answer.extend_from_slice(&some[..length]);
        if String::from_utf8_lossy(&answer).contains("notifications/subscriptions/acknowledged") {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn told(answer: &str) -> Told {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return Told::default() };
    let challenge = head.lines().find_map(|line| line.strip_prefix("www-authenticate: "));
    let mut messages =
        body.lines().filter_map(|line| serde_json::from_str::<Value>(line.trim_start_matches("data: ")).ok()).filter(Value::is_object);
    Told {
        status: head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default(),
        scope: challenge.and_then(|challenge| challenge.split_once("scope=\"")?.1.split('"').next()).map(str::to_owned),
        message: messages.next_back().unwrap_or_default(),
    }
}
