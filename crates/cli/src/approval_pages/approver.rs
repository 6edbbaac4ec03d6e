//! Who sits at these pages: an approver who has shown a key, or who is logged in at the gateway's own authorization server.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use sallyport_gateway::Gateway;
use sallyport_identity::authorization_server::Visitor;
use sallyport_policy::Principal;
use sallyport_protocol::{CallerToken, Incoming};

use super::sessions::{Session, Sessions};
use crate::html::cookie;

/// Somebody who may decide.
pub(super) struct Approver {
    pub(super) principal: Principal,
    proof: Proof,
}

/// How they have shown who they are.
enum Proof {
    /// By the request itself, which no page of somebody else's makes a browser send: a program, as one that was told of the call by the
    /// webhook.
    Bearer,
    Key(Session),
    Login(Visitor),
}

impl Approver {
    /// The approver who sends a request. A key that was shown a while ago, and who is logged in, are looked at anew. What a request shows
    /// itself has the last word.
    pub(super) async fn at(gateway: &Gateway, sessions: &Sessions, request: &Request<Bytes>, incoming: &Incoming) -> Option<Self> {
        if let Some(credential) = &incoming.credential {
            let principal = by_key(gateway, incoming, credential.clone()).await?;
            return Some(Self { principal, proof: Proof::Bearer });
        }
        if let Some(session) = sessions.of(incoming.tenant.as_deref(), cookie(request, &super::cookie_name(gateway)))
            && let Some(principal) = by_key(gateway, incoming, session.credential.clone()).await
        {
            return Some(Self { principal, proof: Proof::Key(session) });
        }
        let visitor = visitor(gateway, request).await?;
        let principal = visitor.principal().clone();
        gateway.plan().approvals.names(&principal).then_some(Self { principal, proof: Proof::Login(visitor) })
    }

    /// What the form about `handle` carries, and no page of somebody else's can know.
    pub(super) fn form_token(&self, handle: &str) -> String {
        match &self.proof {
            Proof::Bearer => String::new(),
            Proof::Key(session) => session.form_token(handle),
            Proof::Login(visitor) => visitor.form_token(&subject(handle)),
        }
    }

    /// Whether the form about `handle` came from the page that this very browser was shown, or from no browser.
    pub(super) fn sent(&self, handle: &str, token: Option<&str>) -> bool {
        match &self.proof {
            Proof::Bearer => true,
            Proof::Key(session) => token == Some(&session.form_token(handle)),
            Proof::Login(visitor) => visitor.sent(&subject(handle), token),
        }
    }
}

/// Who shows this key, where that is an approver.
pub(super) async fn by_key(gateway: &Gateway, incoming: &Incoming, credential: Arc<CallerToken>) -> Option<Principal> {
    gateway.approver(&Incoming { credential: Some(credential), recognised: None, ..incoming.clone() }).await
}

/// Who is logged in at the browser, approver or not.
pub(super) async fn visitor(gateway: &Gateway, request: &Request<Bytes>) -> Option<Visitor> {
    gateway.authorization_server()?.visitor(request.headers()).await
}

fn subject(handle: &str) -> String {
    format!("approval\0{handle}")
}
