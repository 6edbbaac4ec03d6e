//! HTTP/1.1 as far as tests need it: one POST at a time on a connection that stays open.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// A connection to a port on loopback.
pub(crate) struct Connection(BufReader<TcpStream>);

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All of it but its date, as one text that begins with the status.
    pub(crate) fn text(&self) -> String {
        let headers = self.headers.iter().filter(|(name, _)| name != "date" && name != "content-length");
        let headers: String = headers.map(|(name, value)| format!("{name}: {value}\n")).collect();
        format!("{}\n{headers}\n{}", self.status, self.body)
    }

    /// The text of the JSON-RPC answer: the body, or the last event with an id of a stream of events.
    pub(crate) fn message(&self) -> Option<&str> {
        if self.body.starts_with('{') {
            return Some(&self.body);
        }
        let mut data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.rfind(|text| serde_json::from_str::<Value>(text).is_ok_and(|message| message.get("id").is_some()))
    }
}

impl Connection {
    pub(crate) fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the endpoint listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket takes a timeout");
        stream.set_nodelay(true).expect("a socket takes the option");
        Self(BufReader::new(stream))
    }

    /// Posts a JSON-RPC message with further headers, and waits for the whole answer.
    pub(crate) fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n");
        head.push_str("Accept: application/json, text/event-stream\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        self.0.get_mut().write_all(format!("{head}{body}").as_bytes()).expect("the endpoint reads");
        self.read_response()
    }

    fn read_response(&mut self) -> Response {
        let status = self.read_line().split(' ').nth(1).and_then(|code| code.parse().ok()).expect("an answer begins with its status");
        let lines = std::iter::from_fn(|| Some(self.read_line()).filter(|line| !line.is_empty()));
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())))
            .collect();
        let mut response = Response { status, headers, body: String::new() };
        let length = response.header("content-length").map(|text| text.parse().expect("a length is a number"));
        response.body = match (length, response.header("transfer-encoding")) {
            (Some(length), _) => self.read_bytes(length),
            (None, Some("chunked")) => self.read_chunks(),
            _ => String::new(),
        };
        response
    }

    fn read_line(&mut self) -> String {
        let mut line = String::new();
        let length = self.0.read_line(&mut line).expect("the endpoint answers");
        assert!(length > 0, "the endpoint closed the connection");
        line.trim_end().to_owned()
    }

    fn read_bytes(&mut self, length: usize) -> String {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).expect("the endpoint sends what it announced");
        String::from_utf8(bytes).expect("MCP is UTF-8")
    }

    fn read_chunks(&mut self) -> String {
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(&self.read_line(), 16).expect("a chunk starts with its length");
            let start = body.len();
            body.resize(start + length, 0);
            self.0.read_exact(&mut body[start..]).expect("the endpoint sends what it announced");
            self.read_line();
            if length == 0 {
                return String::from_utf8(body).expect("MCP is UTF-8");
            }
        }
    }
}
