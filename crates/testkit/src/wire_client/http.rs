//! One HTTP/1.1 exchange on a connection of its own, so that dropping the answer closes the connection: that is how a client
//! of 2026-07-28 cancels.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::fault::Fault;

/// A URL of plain HTTP, split.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    authority: String,
    path: String,
}

impl Place {
    pub(super) fn parse(url: &str) -> Result<Self, Fault> {
        let rest = url.strip_prefix("http://").ok_or_else(|| Fault::NotSpoken(format!("`{url}` is not plain HTTP")))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Self { authority: authority.to_owned(), path: format!("/{path}") })
    }

    /// What `reference`, found in an answer from here, points to.
    pub(super) fn join(&self, reference: &str) -> Result<Self, Fault> {
        if reference.starts_with("http://") {
            return Self::parse(reference);
        }
        let path = if reference.starts_with('/') {
            reference.to_owned()
        } else {
            let (folder, _) = self.path.rsplit_once('/').unwrap_or_default();
            format!("{folder}/{reference}")
        };
        Ok(Self { authority: self.authority.clone(), path })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn exchange(&self, method: Method, headers: &[(String, String)], body: String) -> Result<Reply, Fault> {
        let closed = |error: &dyn std::fmt::Display| Fault::Closed(format!("{}: {error}", self.authority));
        let stream = TcpStream::connect(&self.authority).await.map_err(|error| closed(&error))?;
        let _only_slower_without = stream.set_nodelay(true);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| closed(&error))?;
        let connection = Connection(tokio::spawn(connection).abort_handle());
        let mut request = Request::builder().method(method).uri(&self.path).header(header::HOST, &self.authority);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| Fault::NotSpoken(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(|error| closed(&error))?;
        Ok(Reply { response, _connection: connection })
    }
}

/// The task that reads and writes a connection; it ends, and closes the connection, with its owner.
#[derive(Debug)]
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer whose body is still coming.
#[derive(Debug)]
pub(super) struct Reply {
    response: Response<Incoming>,
    _connection: Connection,
}

impl Reply {
    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn is_stream(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"))
    }

    /// The next piece of the body; `None` at its end, however it came.
    pub(super) async fn chunk(&mut self) -> Option<Bytes> {
        loop {
            let frame = self.response.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                return Some(data);
            }
        }
    }

    /// The rest of the body.
    pub(super) async fn text(mut self) -> String {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await {
            whole.extend_from_slice(&chunk);
        }
        String::from_utf8_lossy(&whole).into_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_reference_is_read_from_where_it_stood() {
        let place = Place::parse("http://127.0.0.1:80/a/sse").unwrap();
        let path = |reference: &str| place.join(reference).unwrap().path;
        assert_eq!(path("messages?session=1"), "/a/messages?session=1");
        assert_eq!(path("/m"), "/m");
        assert_eq!(path("http://127.0.0.1:80/x"), "/x");
    }
}
