//! HTTP+SSE, the transport of 2024-11-05: one stream from the server, a POST for each message to it.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Uri};
use sallyport_protocol::{CallerToken, Failure};
use tokio::time::timeout;
use url::Url;

use super::channel::{Channel, Out};
use super::credentials::Sender;
use super::events::EventStream;
use super::fault::Fault;
use super::request::{bare, client, headers, path, post};
use super::shared::{Shared, TaskGuard, Tasks};
use super::{Options, Target};

/// How long a server may take to accept a message; it answers on the stream, not here.
const ACCEPT_LIMIT: Duration = Duration::from_secs(60);
/// Bytes of what a server says to an accepted message: nothing, or "Accepted".
const ACCEPT_BYTES: usize = 64 * 1024;

/// Opens a connection: the stream first, then the handshake.
pub(crate) async fn open(target: &Target, options: Options) -> Result<(Arc<Channel>, TaskGuard), Failure> {
    let shared = Shared::new(options);
    let http = client(&shared, target)?;
    let limit = shared.options.probe_timeout;
    let opening = open_stream(&http, target, shared.options.body_limit);
    let (stream, endpoint) = match timeout(limit, opening).await {
        Ok(opened) => opened.map_err(|fault| shared.failure(fault))?,
        Err(_) => return Err(shared.failure(Fault::TimedOut(limit))),
    };
    let tasks = Tasks::default();
    let guard = TaskGuard::new(&tasks);
    let mut headers = headers(target);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let channel = Channel::new(shared, Out::Posts(Posts { http, endpoint, headers }), tasks.clone());
    tasks.spawn(read_events(Arc::clone(&channel), stream));
    channel.negotiate_legacy().await?;
    Ok((channel, guard))
}

/// Opens the stream and waits for the `endpoint` event, which must name a URI of the same origin.
async fn open_stream(http: &Sender, target: &Target, limit: usize) -> Result<(EventStream, Uri), Fault> {
    let mut headers = headers(target);
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    let exchange = http.send(bare(Method::GET, path(&target.url)?, headers), None).await?;
    let status = exchange.status();
    match status.as_u16() {
        401 | 403 => return Err(Fault::Unauthorized(status.as_u16())),
        _ if !status.is_success() => return Err(Fault::Malformed(format!("HTTP {} instead of a stream", status.as_u16()))),
        _ if !exchange.is("text/event-stream") => return Err(Fault::Malformed("no event stream".to_owned())),
        _ => {}
    }
    let mut stream = EventStream::new(exchange, limit);
    while let Some(event) = stream.next().await? {
        if event.kind.as_deref() == Some("endpoint") {
            let endpoint = endpoint_in(&target.url, &event.data)?;
            return Ok((stream, endpoint));
        }
    }
    Err(Fault::Lost("the stream ended before it named an endpoint".to_owned()))
}

/// The endpoint that an event names, relative or not. Another origin is refused: the credential that goes there is this one's.
fn endpoint_in(base: &Url, data: &[u8]) -> Result<Uri, Fault> {
    let bad = |what: &str| Fault::Malformed(format!("its `endpoint` event {what}"));
    let text = std::str::from_utf8(data).map_err(|_| bad("is not UTF-8"))?;
    let url = base.join(text.trim()).map_err(|_| bad("names no URI"))?;
    if url.origin() != base.origin() {
        return Err(bad("names another origin"));
    }
    path(&url)
}

async fn read_events(channel: Arc<Channel>, mut stream: EventStream) {
    loop {
        match stream.next().await {
            Ok(Some(event)) if event.kind.is_none() && !event.data.is_empty() => channel.take(&event.data),
            Ok(Some(_)) => {} // of a kind that nobody knows
            Ok(None) => return channel.shared().end("its stream ended"),
            Err(Fault::TooLarge(limit)) => return channel.shared().end(&format!("its stream had an event of more than {limit} bytes")),
            Err(_) => return channel.shared().end("its stream broke"),
        }
    }
}

/// Where messages are posted to.
#[derive(Debug)]
pub(crate) struct Posts {
    http: Sender,
    endpoint: Uri,
    headers: HeaderMap,
}

impl Posts {
    /// Posts one message of `caller`.
    ///
    /// # Errors
    /// [`Fault::NotSent`] where the server does not know the session any more or cannot be reached.
    pub(crate) async fn send(&self, text: Vec<u8>, caller: Option<&Arc<CallerToken>>) -> Result<(), Fault> {
        match timeout(ACCEPT_LIMIT, self.post(text, caller)).await {
            Ok(posted) => posted,
            Err(_) => Err(Fault::Lost(format!("a message was not accepted within {} s", ACCEPT_LIMIT.as_secs()))),
        }
    }

    async fn post(&self, text: Vec<u8>, caller: Option<&Arc<CallerToken>>) -> Result<(), Fault> {
        let exchange = self.http.send(post(self.endpoint.clone(), self.headers.clone(), text), caller).await?;
        let status = exchange.status();
        exchange.collect(ACCEPT_BYTES).await?;
        match status.as_u16() {
            200..=299 => Ok(()),
            401 | 403 => Err(Fault::Unauthorized(status.as_u16())),
            404 | 410 => Err(Fault::NotSent("it does not know the session any more".to_owned())),
            429 | 503 => Err(Fault::Busy(status.as_u16())),
            other => Err(Fault::Malformed(format!("HTTP {other} to a message"))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn endpoints_are_relative_or_of_the_same_origin() {
        let base = Url::parse("http://127.0.0.1:8000/a/sse").unwrap();
        let endpoint = |text: &str| endpoint_in(&base, text.as_bytes()).map(|uri| uri.to_string());
        assert_eq!(endpoint("/messages/?session_id=1").unwrap(), "/messages/?session_id=1");
        assert_eq!(endpoint("message?sessionId=1").unwrap(), "/a/message?sessionId=1");
        assert_eq!(endpoint("http://127.0.0.1:8000/m").unwrap(), "/m");
        for other in ["http://evil.example/m", "//evil.example/m", "https://127.0.0.1:8000/m", "http://127.0.0.1:9/m", "file:///m"] {
            assert!(endpoint(other).is_err(), "{other}");
        }
    }
}
