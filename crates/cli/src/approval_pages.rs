//! The pages on which approvers decide about calls that wait: `/approvals` and `/approvals/HANDLE`.
//!
//! Whoever has the link learns nothing: the pages show a call to those alone who may decide about it. An approver shows a key or token of
//! their own, once for a while; it is looked at anew with each request, so that one that was revoked opens nothing more. A decision needs the
//! cookie, and a token that stands in the page alone: a page of somebody else's can neither send the form nor show ours in a frame.

mod html;
mod sessions;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use sallyport_gateway::Gateway;
use sallyport_policy::Principal;
use sallyport_protocol::{CallerToken, Incoming};

use self::sessions::{Session, Sessions};
use crate::html::{cookie, field, see_other, set};

const PATH: &str = "/approvals";

/// The pages of one gateway, with those who have shown who they are.
#[derive(Clone, Default)]
pub(crate) struct ApprovalPages(Arc<Sessions>);

/// One request, with whoever sends it.
struct Visit<'a> {
    gateway: &'a Gateway,
    request: &'a Request<Bytes>,
    /// An approver who has signed in.
    approver: Option<(Principal, Session)>,
}

impl ApprovalPages {
    /// Answers a request for these pages; `None` where the path is another one, or nobody is an approver here.
    pub(crate) async fn answer(&self, gateway: &Gateway, request: &Request<Bytes>, incoming: &Incoming) -> Option<Response<Bytes>> {
        let rest = request.uri().path().strip_prefix(PATH)?;
        if gateway.plan().approvals.approvers.is_empty() || !(rest.is_empty() || rest.starts_with('/')) {
            return None;
        }
        let handle = rest.trim_matches('/');
        let session = self.0.of(cookie(request, cookie_name(gateway)));
        let approver = match session {
            Some(session) => approver(gateway, incoming, session.credential.clone()).await.map(|approver| (approver, session)),
            None => None,
        };
        let visit = Visit { gateway, request, approver };
        Some(match (request.method(), handle) {
            (&Method::GET, "") => visit.list().await,
            (&Method::GET, handle) => visit.show(handle).await,
            (&Method::POST, handle) => match field(request, "key") {
                Some(key) => self.sign_in(gateway, handle, key, incoming).await,
                None => visit.decide(handle).await,
            },
            _ => html::page(StatusCode::METHOD_NOT_ALLOWED, "<p>This page is read, or sent back by its buttons.</p>"),
        })
    }

    /// Takes the key or token of an approver, and sends them back to where they wanted to be.
    async fn sign_in(&self, gateway: &Gateway, handle: &str, key: String, incoming: &Incoming) -> Response<Bytes> {
        let credential = Arc::new(CallerToken::new(key));
        if approver(gateway, incoming, credential.clone()).await.is_none() {
            tracing::warn!("somebody who is no approver tried to sign in to approve calls");
            return html::sign_in(StatusCode::FORBIDDEN, Some("That is no approver's key."));
        }
        let Some(cookie) = self.0.begin(credential) else {
            return html::page(StatusCode::SERVICE_UNAVAILABLE, "<p>This system has no random numbers.</p>");
        };
        let bounds = if is_https(gateway) { "Secure; Path=/".to_owned() } else { format!("Path={}", base(gateway)) };
        let cookie = format!("{}={cookie}; HttpOnly; SameSite=Lax; Max-Age={}; {bounds}", cookie_name(gateway), sessions::LASTS.as_secs());
        let mut response = to(gateway, handle);
        set(&mut response, header::SET_COOKIE, &cookie);
        response
    }
}

impl Visit<'_> {
    async fn list(&self) -> Response<Bytes> {
        match &self.approver {
            Some((approver, _)) => html::list(&base(self.gateway), approver, &self.gateway.approvals(approver).await),
            None => html::sign_in(StatusCode::OK, None),
        }
    }

    async fn show(&self, handle: &str) -> Response<Bytes> {
        let Some((approver, session)) = &self.approver else { return html::sign_in(StatusCode::OK, None) };
        match self.gateway.approval(approver, handle).await {
            Some(approval) => html::one(&base(self.gateway), approver, &approval, &session.form_token(handle)),
            None => nothing(),
        }
    }

    async fn decide(&self, handle: &str) -> Response<Bytes> {
        let Some((approver, session)) = &self.approver else { return html::sign_in(StatusCode::FORBIDDEN, Some("Show your key again.")) };
        if field(self.request, "form_token").as_deref() != Some(&session.form_token(handle)) {
            return html::page(StatusCode::FORBIDDEN, "<p>The form did not come from the page that you were shown.</p>");
        }
        let approves = match field(self.request, "decision").as_deref() {
            Some("approve") => true,
            Some("refuse") => false,
            _ => return html::page(StatusCode::BAD_REQUEST, "<p>The form has to say what is decided.</p>"),
        };
        match self.gateway.decide_approval(approver, handle, approves).await {
            Some(_) => to(self.gateway, handle),
            None => nothing(),
        }
    }
}

/// Who shows this credential, where that is an approver.
async fn approver(gateway: &Gateway, incoming: &Incoming, credential: Arc<CallerToken>) -> Option<Principal> {
    gateway.approver(&Incoming { credential: Some(credential), recognised: None, ..incoming.clone() }).await
}

/// The same for one of somebody else's, one that is over, and one that never was.
fn nothing() -> Response<Bytes> {
    html::page(
        StatusCode::NOT_FOUND,
        "<p>There is nothing for you to decide here: it is decided or over, or it is not yours to decide.</p>",
    )
}

fn to(gateway: &Gateway, handle: &str) -> Response<Bytes> {
    let base = base(gateway);
    see_other(&if handle.is_empty() { base } else { format!("{base}/{handle}") })
}

/// Where these pages are: a tenant's are below its own path.
fn base(gateway: &Gateway) -> String {
    let callback = gateway.way_out().callback();
    let above = callback.as_ref().and_then(|callback| callback.path().strip_suffix("/connect/callback")).unwrap_or_default();
    format!("{above}{PATH}")
}

/// With https it cannot be set by another host, or read without TLS (RFC 6265bis §4.1.3.2).
fn cookie_name(gateway: &Gateway) -> &'static str {
    if is_https(gateway) { "__Host-sallyport_approver" } else { "sallyport_approver" }
}

fn is_https(gateway: &Gateway) -> bool {
    gateway.way_out().callback().is_some_and(|url| url.scheme() == "https")
}
