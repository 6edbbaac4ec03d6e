//! A front door on loopback and a client that sends exactly what a test says.
#![allow(dead_code, unreachable_pub, clippy::panic, reason = "each test file uses its own part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use sallyport_protocol::{Front, Revision, ServerIdentity};
use sallyport_testkit::{ScriptedFront, ScriptedServer};
use sallyport_transport::server::http::{Options, serve};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What a gateway says of itself in these tests.
pub fn identity() -> ServerIdentity {
    ServerIdentity::new("gate", "9")
}

/// A front door that runs.
pub struct Running {
    pub address: SocketAddr,
    pub server: Arc<ScriptedServer>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    /// Opens a door before a scripted server of that revision.
    pub async fn start(revision: Revision) -> Self {
        let server = ScriptedServer::new(revision);
        let front = Arc::new(ScriptedFront::open(Arc::clone(&server) as _));
        Self::with(server, front, Options::new(identity())).await
    }

    pub async fn with(server: Arc<ScriptedServer>, front: Arc<dyn Front>, options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, front, options, async move {
            let _ = stopped.await;
        }));
        Self { address, server, stop: Some(stop), task }
    }

    /// Tells the door to close; what is returned ends when it has.
    pub fn stop(mut self) -> JoinHandle<()> {
        self.stop.take().unwrap().send(()).unwrap();
        self.task
    }

    /// Sends one request on a connection of its own.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, driver) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(driver);
        let response = sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        // The connection lives as long as its response is read.
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(sender);
        });
        response
    }

    /// Posts one JSON text with the headers that every client sends, and more.
    pub async fn post(&self, path: &str, more: &[(&str, &str)], body: &str) -> Answer {
        let mut headers = vec![("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
        headers.extend_from_slice(more);
        Answer::read(self.send(Method::POST, path, &headers, body.to_owned()).await).await
    }

    /// Sends a modern request with all that belongs to it; `header` changes or removes headers.
    pub async fn modern(&self, method: &str, params: &str, changes: &[(&str, Option<&str>)]) -> Answer {
        let body = modern_body(method, params);
        let name = serde_json::from_str::<Value>(&format!("{{{params}}}")).unwrap();
        let name = name.get("name").or_else(|| name.get("uri")).and_then(Value::as_str).map(str::to_owned);
        let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        if let Some(name) = &name {
            headers.push(("mcp-name", name));
        }
        for (changed, value) in changes {
            headers.retain(|(known, _)| known != changed);
            headers.extend(value.map(|value| (*changed, value)));
        }
        self.post("/mcp", &headers, &body).await
    }

    /// Opens a legacy session and gives its id.
    pub async fn open_session(&self, version: &str, capabilities: &str) -> String {
        let body = initialize(version, capabilities);
        let answer = self.post("/mcp", &[], &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.headers["mcp-session-id"].to_str().unwrap().to_owned()
    }
}

pub fn initialize(version: &str, capabilities: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{{"name":"t","version":"1"}}}}}}"#
    )
}

/// A modern request's body; `params` are members without braces.
pub fn modern_body(method: &str, params: &str) -> String {
    let comma = if params.is_empty() { "" } else { "," };
    format!(
        r#"{{"jsonrpc":"2.0","id":"one","method":"{method}","params":{{{params}{comma}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}},"progressToken":7,"io.modelcontextprotocol/logLevel":"warning"}}}}}}"#
    )
}

/// A response that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn read(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = tokio::time::timeout(Duration::from_secs(20), body.collect()).await.unwrap().unwrap().to_bytes();
        Self { status: head.status, headers: head.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn code(&self) -> i64 {
        self.json()["error"]["code"].as_i64().unwrap_or_else(|| panic!("{self:?}"))
    }

    /// The messages of a stream of events.
    pub fn events(&self) -> Vec<Value> {
        assert_eq!(self.headers["content-type"], "text/event-stream", "{self:?}");
        events(&self.text)
    }
}

pub fn events(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| !data.is_empty())
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

/// One event of a stream.
#[derive(Debug)]
pub struct Event {
    pub id: Option<String>,
    pub retry: Option<String>,
    pub data: Option<String>,
}

impl Event {
    pub fn json(&self) -> Value {
        serde_json::from_str(self.data.as_ref().unwrap()).unwrap()
    }

    pub fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_else(|| panic!("an event with an id: {self:?}"))
    }
}

/// A stream of events that is read while it runs.
pub struct Stream {
    body: Incoming,
    pub text: String,
}

impl Stream {
    pub fn of(response: Response<Incoming>) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// Waits for the next message; `None` at the end.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            let data = self.event().await?.data;
            if data.as_ref().is_some_and(|data| !data.is_empty()) {
                return data;
            }
        }
    }

    pub async fn json(&mut self) -> Value {
        serde_json::from_str(&self.next().await.expect("an event")).unwrap()
    }

    /// Waits for the next event as it came, comments left out; `None` at the end.
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let event = Event { id: field("id: "), retry: field("retry: "), data: field("data: ").or_else(|| field("data:")) };
                self.text = rest.to_owned();
                if event.data.is_some() {
                    return Some(event);
                }
                continue;
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame()).await.expect("an event in time")?;
            self.text.push_str(std::str::from_utf8(&frame.ok()?.into_data().unwrap()).unwrap());
        }
    }
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..500 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}
