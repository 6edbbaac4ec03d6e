//! How somebody at a browser shows that a link is theirs.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use sallyport_gateway::Gateway;
use sallyport_gateway::grants::owner_of;
use sallyport_identity::authorization_server::{AuthorizationServer, Visitor};
use sallyport_identity::upstream::Owner;
use sallyport_protocol::{CallerToken, Incoming};
use url::form_urlencoded::parse;

/// Who is there, as seen from a link.
pub(super) enum Way {
    /// The one whose link it is: by the request itself, as on loopback without keys, or by being logged in.
    Theirs(Option<Visitor>),
    /// Nobody who has said who they are, and the link is of somebody who has a key or token for that.
    Key,
    /// Nobody who has logged in, and the link is of somebody who can.
    LogIn(AuthorizationServer),
    /// Somebody else.
    NotTheirs(Option<(AuthorizationServer, Visitor)>),
}

/// Who sent a request, for a link that is `owner`'s.
pub(super) async fn of(gateway: &Gateway, request: &Request<Bytes>, incoming: &Incoming, owner: &Owner) -> Way {
    let is_theirs = |principal| owner_of(&principal) == *owner;
    match gateway.principal(incoming).await.map(is_theirs) {
        Some(true) => return Way::Theirs(None),
        Some(false) => return Way::NotTheirs(None),
        None => {}
    }
    let Some(server) = gateway.authorization_server().filter(|server| server.vouches_for(&owner.principal)) else { return Way::Key };
    match server.visitor(request.headers()).await {
        Some(visitor) if is_theirs(visitor.principal().clone()) => Way::Theirs(Some(visitor)),
        Some(visitor) => Way::NotTheirs(Some((server, visitor))),
        None => Way::LogIn(server),
    }
}

/// Whether the key that was typed in is that of `owner`.
pub(super) async fn has_key(gateway: &Gateway, request: &Request<Bytes>, incoming: &Incoming, owner: &Owner) -> bool {
    let Some((_, key)) = parse(request.body()).find(|(name, _)| name == "key") else { return false };
    let credential = Some(Arc::new(CallerToken::new(key.into_owned())));
    let holder = gateway.principal(&Incoming { credential, ..incoming.clone() }).await;
    holder.is_some_and(|principal| owner_of(&principal) == *owner)
}
