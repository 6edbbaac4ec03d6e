//! A scripted HTTP server on a real socket.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::{HeaderMap, Method, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use url::Url;

/// What the peer was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) verb: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Asked {
    pub(crate) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or("")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// In a word: `POST tools/call`, `GET`, `POST answer`.
    pub(crate) fn summary(&self) -> String {
        match (&self.body, self.method()) {
            (Value::Null, _) => self.verb.to_string(),
            (_, "") => format!("{} answer", self.verb),
            (_, method) => format!("{} {method}", self.verb),
        }
    }

    /// A result of this request.
    pub(crate) fn result(&self, result: Value) -> Said {
        Said::json(200, json!({"jsonrpc": "2.0", "id": self.body["id"], "result": result}))
    }

    /// An error of this request.
    pub(crate) fn error(&self, status: u16, code: i64, data: Value) -> Said {
        Said::json(status, json!({"jsonrpc": "2.0", "id": self.body["id"], "error": {"code": code, "message": "no", "data": data}}))
    }
}

/// What the peer says.
pub(crate) struct Said {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: BoxStream<'static, Bytes>,
    /// Breaks the connection off instead of ending the body.
    broken: bool,
}

impl Said {
    pub(crate) fn text(status: u16, kind: &str, text: impl Into<String>) -> Self {
        let text = Bytes::from(text.into());
        let body = futures_util::stream::once(async { text }).boxed();
        Self { status, headers: vec![("content-type", kind.to_owned())], body, broken: false }
    }

    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    pub(crate) fn nothing(status: u16) -> Self {
        Self::text(status, "text/plain", "")
    }

    /// A stream of these events, then its end.
    pub(crate) fn events(text: impl Into<String>) -> Self {
        Self::text(200, "text/event-stream", text)
    }

    /// A stream of what the test sends; it ends when the test drops the sender.
    pub(crate) fn stream() -> (mpsc::UnboundedSender<String>, Self) {
        let (sender, mut receiver) = mpsc::unbounded_channel::<String>();
        let body = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx)).map(Bytes::from).boxed();
        (sender, Self { status: 200, headers: vec![("content-type", "text/event-stream".to_owned())], body, broken: false })
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn broken(mut self) -> Self {
        self.broken = true;
        self
    }
}

/// One event that carries `message`.
pub(crate) fn event(message: &Value) -> String {
    format!("data: {message}\n\n")
}

type Script = dyn Fn(&Asked) -> Said + Send + Sync;

pub(crate) struct Peer {
    pub(crate) url: Url,
    asked: Arc<Mutex<Vec<Asked>>>,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Peer {
    /// Serves `script` on loopback until the runtime ends.
    pub(crate) async fn start(script: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        Self::serve(Arc::new(script), None).await
    }

    /// The same over TLS, at `localhost`.
    pub(crate) async fn start_tls(script: impl Fn(&Asked) -> Said + Send + Sync + 'static, config: Arc<ServerConfig>) -> Self {
        Self::serve(Arc::new(script), Some(TlsAcceptor::from(config))).await
    }

    async fn serve(script: Arc<Script>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = if tls.is_some() { format!("https://localhost:{port}/mcp") } else { format!("http://127.0.0.1:{port}/mcp") };
        let peer = Self { url: Url::parse(&url).unwrap(), asked: Arc::default(), connections: Arc::default() };
        let (asked, connections) = (Arc::clone(&peer.asked), Arc::clone(&peer.connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (script, asked, tls) = (Arc::clone(&script), Arc::clone(&asked), tls.clone());
                let service = service_fn(move |request| serve(request, Arc::clone(&script), Arc::clone(&asked)));
                tokio::spawn(async move {
                    let server = hyper::server::conn::http1::Builder::new();
                    // Who breaks a connection off learns it at its own end.
                    match tls {
                        None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                drop(server.serve_connection(TokioIo::new(stream), service).await);
                            }
                        }
                    }
                });
            }
        });
        peer
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// What was asked so far, in words; GETs for notifications left out.
    pub(crate) fn posts(&self) -> Vec<String> {
        self.asked().iter().map(Asked::summary).filter(|text| text != "GET").collect()
    }

    /// The last request with this method.
    pub(crate) fn last(&self, method: &str) -> Asked {
        self.asked().into_iter().rev().find(|asked| asked.method() == method).unwrap_or_else(|| panic!("never asked {method}"))
    }

    /// Waits until a request was asked that fits.
    pub(crate) async fn wait_for(&self, fits: impl Fn(&Asked) -> bool) -> Asked {
        for _ in 0..1000 {
            if let Some(asked) = self.asked().into_iter().find(|asked| fits(asked)) {
                return asked;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never asked: {:?}", self.posts());
    }
}

type Body = BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>;

async fn serve(
    request: http::Request<Incoming>,
    script: Arc<Script>,
    asked: Arc<Mutex<Vec<Asked>>>,
) -> Result<Response<StreamBody<Body>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let request = Asked { verb: head.method, path: head.uri.to_string(), headers: head.headers, body };
    asked.lock().unwrap().push(request.clone());
    let said = script(&request);
    let mut response = Response::builder().status(said.status);
    for (name, value) in said.headers {
        response = response.header(name, value);
    }
    let end = futures_util::stream::iter(said.broken.then(|| Err(std::io::Error::other("broken off"))));
    let body = said.body.map(|chunk| Ok(Frame::data(chunk))).chain(end).boxed();
    Ok(response.body(StreamBody::new(body)).unwrap())
}

/// A legacy server: `initialize` gives session `s1`, notifications are accepted, there is no GET stream; the rest is for the test.
pub(crate) fn legacy(rest: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> impl Fn(&Asked) -> Said + Send + Sync + 'static {
    move |asked| match (asked.verb.as_str(), asked.method()) {
        ("GET", _) => Said::nothing(405),
        (_, "server/discover") => not_initialized(),
        (_, "initialize") => initialized(asked).with("mcp-session-id", "s1"),
        (_, method) if method.starts_with("notifications/") => Said::nothing(202),
        ("POST", "") => Said::nothing(202),
        _ => rest(asked),
    }
}

/// A modern server; the rest is for the test.
pub(crate) fn modern(rest: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> impl Fn(&Asked) -> Said + Send + Sync + 'static {
    move |asked| match asked.method() {
        "server/discover" => discovered(asked),
        _ => rest(asked),
    }
}

pub(crate) fn discovered(asked: &Asked) -> Said {
    asked.result(json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private"}))
}

pub(crate) fn initialized(asked: &Asked) -> Said {
    asked
        .result(json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "scripted", "version": "1"}}))
}

/// What a legacy SDK says to whatever comes before `initialize`.
pub(crate) fn not_initialized() -> Said {
    Said::json(400, json!({"jsonrpc": "2.0", "error": {"code": -32000, "message": "Bad Request: Server not initialized"}, "id": null}))
}
