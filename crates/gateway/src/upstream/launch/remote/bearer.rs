//! Tokens as the credential of a connection.

use std::sync::Arc;

use http::HeaderValue;
use sallyport_identity::upstream::{Challenge, Token, TokenSource, Unavailable};
use sallyport_protocol::{BoxFuture, CallerToken, Failure, FailureKind, Retry};
use sallyport_transport::client::{Credentials, Refusal};

use crate::failure;
use crate::upstream::WayOut;

/// The tokens of one source, for one server's connection.
pub(super) struct Bearer {
    pub(super) server: String,
    pub(super) source: Arc<dyn TokenSource>,
    pub(super) way_out: Arc<WayOut>,
}

impl Bearer {
    pub(super) fn new(server: &str, source: Arc<dyn TokenSource>, way_out: Arc<WayOut>) -> Self {
        Self { server: server.to_owned(), source, way_out }
    }
}

impl Credentials for Bearer {
    fn authorization<'a>(&'a self, caller: Option<&'a Arc<CallerToken>>) -> BoxFuture<'a, Result<Option<HeaderValue>, Failure>> {
        Box::pin(async move {
            let token = self.source.token(caller).await.map_err(|why| told(&self.server, &self.way_out, why))?;
            Ok(token.as_ref().and_then(Token::header))
        })
    }

    fn refused<'a>(&'a self, refusal: Refusal, caller: Option<&'a Arc<CallerToken>>) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let challenge = Challenge::read(refusal.challenges.iter().map(String::as_str));
            if refusal.status == 403 && !challenge.wants_more_scopes() {
                let text = format!("server `{}` refuses access (HTTP 403)", self.server);
                return Err(Failure::upstream(&self.server, FailureKind::Unreachable, Retry::Never, text));
            }
            let sent = refusal.sent.as_ref().and_then(Token::of_header);
            self.source.refused(challenge, sent, caller).await.map_err(|why| told(&self.server, &self.way_out, why))
        })
    }
}

/// Why there is no token, as the failure of a request.
pub(super) fn told(server: &str, way_out: &WayOut, why: Unavailable) -> Failure {
    match why {
        Unavailable::Consent(id) => match way_out.link(&id) {
            Some(link) => failure::consent_needed(server, &id, &link),
            None => {
                let text = format!("server `{server}` is for people who granted access in a browser, and no browser reaches this gateway");
                Failure::upstream(server, FailureKind::Unreachable, Retry::Never, text).with_hint("run `sallyport up`, and grant it there")
            }
        },
        Unavailable::Failed(error) => {
            let retry = if error.may_pass() { Retry::Safe } else { Retry::Never };
            let text = format!("server `{server}` cannot be called, since there is no token for it: {error}");
            Failure::upstream(server, FailureKind::Unreachable, retry, text)
                .with_hint(format!("`servers.{server}.credential` says how it is had"))
        }
    }
}
