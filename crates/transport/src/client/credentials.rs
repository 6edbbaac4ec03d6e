//! Credentials that change: asked for with each request, and told when the server refuses one.

use std::fmt;
use std::sync::Arc;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Request};
use sallyport_protocol::{BoxFuture, CallerToken, Failure};

use super::fault::Fault;
use super::http1::{Body, Exchange, HttpClient};

/// How often one request is sent again with another credential: none was sent, it was worn out, it lacked scopes.
const MOST_AGAIN: usize = 3;

/// The credential of the requests to one server.
pub trait Credentials: Send + Sync {
    /// The value of `Authorization` for the next request; `None` where there is none to send yet. `caller` is what was shown with it, and
    /// nothing where nobody asked for it.
    ///
    /// # Errors
    /// Where the request cannot be made without, and there is none to be had.
    fn authorization<'a>(&'a self, caller: Option<&'a Arc<CallerToken>>) -> BoxFuture<'a, Result<Option<HeaderValue>, Failure>>;

    /// Takes note that the server refused a request of `caller` (401, or 403 with a challenge), and gets another credential.
    ///
    /// # Errors
    /// Where another try would not help.
    fn refused<'a>(&'a self, refusal: Refusal, caller: Option<&'a Arc<CallerToken>>) -> BoxFuture<'a, Result<(), Failure>>;
}

/// A request that was refused for its credential.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// 401 or 403.
    pub status: u16,
    /// The values of `WWW-Authenticate`.
    pub challenges: Vec<String>,
    /// What was sent.
    pub sent: Option<HeaderValue>,
}

/// What sends requests to one server: its connections, and the credential that goes with each request.
#[derive(Clone)]
pub(crate) struct Sender {
    pub(crate) client: Arc<HttpClient>,
    pub(crate) credentials: Option<Arc<dyn Credentials>>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(out)
    }
}

impl Sender {
    /// Sends a request of `caller`, who is nobody where the connection itself needs it, and waits for the head of its answer.
    ///
    /// # Errors
    /// As [`HttpClient::send`], and [`Fault::NoCredential`].
    pub(crate) async fn send(&self, request: Request<Body>, caller: Option<&Arc<CallerToken>>) -> Result<Exchange, Fault> {
        match &self.credentials {
            None => self.client.send(request).await,
            Some(credentials) => Box::pin(self.send_with(&**credentials, request, caller)).await,
        }
    }

    async fn send_with(
        &self,
        credentials: &dyn Credentials,
        request: Request<Body>,
        caller: Option<&Arc<CallerToken>>,
    ) -> Result<Exchange, Fault> {
        let none = |failure| Fault::NoCredential(Box::new(failure));
        let mut refused = Vec::new();
        loop {
            let sent = credentials.authorization(caller).await.map_err(none)?;
            let mut request = request.clone();
            if let Some(value) = &sent {
                request.headers_mut().insert(AUTHORIZATION, value.clone());
            }
            let exchange = self.client.send(request).await?;
            let status = exchange.status().as_u16();
            let challenges: Vec<String> = exchange.all_of(&WWW_AUTHENTICATE);
            let is_refused = status == 401 || (status == 403 && !challenges.is_empty());
            // A server that refuses the same credential twice means it.
            if !is_refused || refused.len() == MOST_AGAIN || refused.contains(&sent) {
                return Ok(exchange);
            }
            exchange.drain();
            credentials.refused(Refusal { status, challenges, sent: sent.clone() }, caller).await.map_err(none)?;
            refused.push(sent);
        }
    }
}
