//! The pages on which approvers decide about calls that wait: `/approvals` and `/approvals/HANDLE`.
//!
//! Whoever has the link learns nothing: the pages show a call to those alone who may decide about it. An approver is logged in at the
//! gateway's own authorization server, or shows a key of their own, once for a while; both are looked at anew with each request, so
//! that what was revoked opens nothing more. A program shows its key with each request. A browser's decision needs the cookie, and a token that stands in the page alone: a page of somebody
//! else's can neither send the form nor show ours in a frame.

mod approver;
mod html;
mod sessions;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use sallyport_gateway::Gateway;
use sallyport_gateway::pages::Page;
use sallyport_identity::authorization_server::Visitor;
use sallyport_protocol::{CallerToken, Incoming};

use self::approver::Approver;
use self::html::Asking;
use self::sessions::Sessions;
use crate::html::{field, not_allowed, see_other, set};

const PATH: &str = Page::Approvals.path();

/// The pages of one gateway, with those who have shown who they are.
#[derive(Clone, Default)]
pub(crate) struct ApprovalPages(Arc<Sessions>);

/// One request, with whoever sends it.
struct Visit<'a> {
    gateway: &'a Gateway,
    request: &'a Request<Bytes>,
    /// The path of these pages, as browsers see it.
    base: String,
    /// An approver who has shown who they are.
    approver: Option<Approver>,
    /// Who is logged in and no approver.
    stranger: Option<Visitor>,
}

impl ApprovalPages {
    /// Answers a request for these pages; `None` where nobody is an approver here.
    pub(crate) async fn answer(&self, gateway: &Gateway, request: &Request<Bytes>, incoming: &Incoming) -> Option<Response<Bytes>> {
        let rest = request.uri().path().strip_prefix(PATH)?;
        if gateway.plan().approvals.approvers.is_empty() {
            return None;
        }
        let handle = rest.trim_matches('/');
        let approver = Approver::at(gateway, &self.0, request, incoming).await;
        let stranger = if approver.is_none() { approver::visitor(gateway, request).await } else { None };
        let visit = Visit { gateway, request, base: base(gateway), approver, stranger };
        Some(match (request.method(), handle) {
            (&Method::GET, "") => visit.list().await,
            (&Method::GET, handle) => visit.show(handle).await,
            (&Method::POST, handle) => match field(request, "key") {
                Some(key) => self.sign_in(&visit, handle, key, incoming).await,
                None => visit.decide(handle).await,
            },
            _ => not_allowed("GET, POST"),
        })
    }

    /// Takes the key of an approver, and sends them back to where they wanted to be.
    async fn sign_in(&self, visit: &Visit<'_>, handle: &str, key: String, incoming: &Incoming) -> Response<Bytes> {
        let credential = Arc::new(CallerToken::new(key));
        if approver::by_key(visit.gateway, incoming, credential.clone()).await.is_none() {
            tracing::warn!("somebody who is no approver tried to sign in to approve calls");
            return visit.ask_who(handle, StatusCode::FORBIDDEN, Some("That is no approver's key."));
        }
        let Some(cookie) = self.0.begin(incoming.tenant.clone(), credential) else {
            return html::page(StatusCode::SERVICE_UNAVAILABLE, "<p>This system has no random numbers.</p>");
        };
        let bounds = if is_https(visit.gateway) { "Secure; Path=/".to_owned() } else { format!("Path={}", visit.base) };
        let (name, lasts) = (cookie_name(visit.gateway), sessions::LASTS.as_secs());
        let mut response = visit.to(handle);
        set(&mut response, header::SET_COOKIE, &format!("{name}={cookie}; HttpOnly; SameSite=Lax; Max-Age={lasts}; {bounds}"));
        response
    }
}

impl Visit<'_> {
    async fn list(&self) -> Response<Bytes> {
        match &self.approver {
            Some(Approver { principal, .. }) => html::list(&self.base, principal, &self.gateway.approvals(principal).await),
            None => self.ask_who("", StatusCode::OK, None),
        }
    }

    async fn show(&self, handle: &str) -> Response<Bytes> {
        let Some(approver) = &self.approver else { return self.ask_who(handle, StatusCode::OK, None) };
        match self.gateway.approval(&approver.principal, handle).await {
            Some(approval) => html::one(&self.base, &approver.principal, &approval, &approver.form_token(handle)),
            None => nothing(),
        }
    }

    async fn decide(&self, handle: &str) -> Response<Bytes> {
        let Some(approver) = &self.approver else {
            return self.ask_who(handle, StatusCode::FORBIDDEN, Some("Show who you are, once more."));
        };
        if !approver.sent(handle, field(self.request, "form_token").as_deref()) {
            return html::page(StatusCode::FORBIDDEN, "<p>The form did not come from the page that you were shown.</p>");
        }
        let approves = match field(self.request, "decision").as_deref() {
            Some("approve") => true,
            Some("refuse") => false,
            _ => return html::page(StatusCode::BAD_REQUEST, "<p>The form has to say what is decided.</p>"),
        };
        match self.gateway.decide_approval(&approver.principal, handle, approves).await {
            Some(_) => self.to(handle),
            None => nothing(),
        }
    }

    /// Asks who is there, whatever is or is not at `handle`.
    fn ask_who(&self, handle: &str, status: StatusCode, told: Option<&str>) -> Response<Bytes> {
        let handle = Some(handle).filter(|handle| !handle.is_empty());
        let server = self.gateway.authorization_server();
        let log_in = server.as_ref().and_then(|server| server.log_in_to_approve(handle));
        let stranger = server.as_ref().zip(self.stranger.as_ref()).map(|(server, visitor)| (visitor, server.log_out_url()));
        html::ask_who(status, &Asking { told, handle, log_in: log_in.as_deref(), stranger })
    }

    fn to(&self, handle: &str) -> Response<Bytes> {
        see_other(&if handle.is_empty() { self.base.clone() } else { format!("{}/{handle}", self.base) })
    }
}

/// The same for one of somebody else's, one that is over, and one that never was.
fn nothing() -> Response<Bytes> {
    html::page(
        StatusCode::NOT_FOUND,
        "<p>There is nothing for you to decide here: it is decided or over, or it is not yours to decide.</p>",
    )
}

/// Where these pages are: a tenant's are below its own path.
fn base(gateway: &Gateway) -> String {
    let callback = gateway.way_out().callback();
    let above = callback.as_ref().and_then(|callback| callback.path().strip_suffix("/connect/callback")).unwrap_or_default();
    format!("{above}{PATH}")
}

/// With https it cannot be set by another host, or read without TLS (RFC 6265bis §4.1.3.2).
fn cookie_name(gateway: &Gateway) -> String {
    let name = if is_https(gateway) { "__Host-sallyport_approver" } else { "sallyport_approver" };
    gateway.plan().tenant.as_ref().map_or_else(|| name.to_owned(), |tenant| format!("{name}.{tenant}"))
}

fn is_https(gateway: &Gateway) -> bool {
    gateway.way_out().callback().is_some_and(|url| url.scheme() == "https")
}
