//! Requests that are not MCP: JSON by POST to one origin, over the same connections as everything else here.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::timeout;
use url::Url;

use super::fault::Fault;
use super::http1::HttpClient;
use super::{CONNECT_TIMEOUT, request};

/// A client for one origin.
#[derive(Clone, Debug)]
pub struct JsonClient(Arc<HttpClient>);

impl JsonClient {
    /// A client for the origin of `url`. Connects to nothing yet.
    ///
    /// # Errors
    /// Says why there can be none: another scheme than `http` or `https`, no host.
    pub fn new(url: &Url) -> Result<Self, String> {
        HttpClient::new(url, &[], CONNECT_TIMEOUT).map(Self)
    }

    /// Sends `body` to `url`, which is of this origin, and gives back the body of an answer with status 200 of at most `most` bytes, if it
    /// is all there within `deadline`. Redirects are not followed.
    ///
    /// # Errors
    /// Says what came instead; nothing of the answer's body.
    pub async fn post(&self, url: &Url, bearer: Option<&str>, body: Vec<u8>, deadline: Duration, most: usize) -> Result<Vec<u8>, String> {
        let request = request::post(request::path(url).map_err(told)?, headers(url, bearer)?, body);
        let answer = async {
            let exchange = self.0.send(request).await.map_err(told)?;
            if exchange.status() != StatusCode::OK {
                return Err(format!("it answered with HTTP {}", exchange.status().as_u16()));
            }
            exchange.collect(most).await.map(|body| body.to_vec()).map_err(told)
        };
        timeout(deadline, answer).await.map_err(|_| format!("no answer within {} ms", deadline.as_millis()))?
    }
}

fn told(fault: Fault) -> String {
    match fault {
        Fault::NotSent(why) => format!("it cannot be reached: {why}"),
        Fault::Lost(why) | Fault::Malformed(why) => format!("it was lost before it answered: {why}"),
        Fault::TooLarge(limit) => format!("its answer has more than {limit} bytes"),
        _ => "it did not answer".to_owned(),
    }
}

fn headers(url: &Url, bearer: Option<&str>) -> Result<HeaderMap, String> {
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| "the address or the token cannot be sent in a header".to_owned());
    let host = url.host_str().unwrap_or_default();
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, value(&url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))?);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(bearer) = bearer {
        let mut token = value(&format!("Bearer {bearer}"))?;
        token.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, token);
    }
    Ok(headers)
}
