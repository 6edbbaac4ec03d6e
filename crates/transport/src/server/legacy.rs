//! Requests of the revisions with a handshake.

use std::sync::Arc;

use bytes::Bytes;
use sallyport_protocol::revisions::{implementation_for, server_capabilities_for};
use sallyport_protocol::{
    BoxFuture, Cancel, Client, Context, Discovery, Era, Failure, FailureKind, Incoming, Listener, LogLevel, Message, Meta, Method, RawJson,
    RawObject, Reply, Request, RequestId, Revision,
};

use super::answered::Answered;
use super::asker::{Outlet, WayBack};
use super::call::{Call, Loss};
use super::door::Door;
use crate::session::{MOST_RUNNING, Session};

/// What became of a legacy request.
pub(crate) enum Begun {
    /// It is answered already.
    Answered(Answered),
    /// It runs.
    Call(Box<Call>),
}

/// One legacy request as it came.
pub(crate) struct Asked {
    pub(crate) id: RequestId,
    pub(crate) method: String,
    pub(crate) params: Option<RawObject>,
}

/// Begins to answer a request of a session.
pub(crate) fn begin(door: &Arc<Door>, session: &Arc<Session>, incoming: &Incoming, asked: Asked, outlet: Outlet) -> Begun {
    let Asked { id, method: name, params } = asked;
    let Some(method) = read_method(&name) else {
        let failure =
            Failure::client(FailureKind::MethodNotFound, format!("there is no method `{name}` in the revisions with a handshake"));
        return Begun::Answered(door.refuse(&failure, None, Era::Legacy, Some(&id)));
    };
    let params = params.unwrap_or_default();
    let begun = match method {
        Method::Ping => return Begun::Answered(door.result(&id, &RawObject::new())),
        Method::Initialize => initialize(door, session, incoming, &params).map(|future| (future, Cancel::new())),
        _ => serve(door, session, incoming, &id, method, params, outlet),
    };
    match begun {
        Ok((future, cancel)) => Begun::Call(Box::new(Call {
            door: Arc::clone(door),
            id,
            method,
            revision: session.revision().unwrap_or(Revision::LATEST_LEGACY),
            cancel,
            loss: Loss::MeansNothing,
            session: Some(Arc::clone(session)),
            future: Some(future),
        })),
        Err(failure) => Begun::Answered(door.refuse(&failure, Some(method), Era::Legacy, Some(&id))),
    }
}

type Running = (BoxFuture<'static, Result<Reply, Failure>>, Cancel);

/// A request of a session that has said `initialize`.
fn serve(
    door: &Arc<Door>,
    session: &Arc<Session>,
    incoming: &Incoming,
    id: &RequestId,
    method: Method,
    mut params: RawObject,
    outlet: Outlet,
) -> Result<Running, Failure> {
    let client = session
        .client()
        .ok_or_else(|| Failure::client(FailureKind::InvalidParams, format!("`{}` came before `initialize`", method.as_str())))?;
    let mut meta = Meta::take_from(&mut params).map_err(|bad| Failure::client(FailureKind::InvalidParams, bad.0))?;
    meta.log_level = session.level();
    let request = Request { method, params, meta };
    if method == Method::SetLevel {
        return set_level(session, &request).map(|future| (future, Cancel::new()));
    }
    let cancel = Cancel::new();
    if !session.start(id, &cancel) {
        let text = format!("{MOST_RUNNING} requests of this session are running already");
        return Err(Failure::client(FailureKind::Overloaded, text));
    }
    let way_back = WayBack {
        outlet,
        client: Arc::clone(&client),
        session: Some(Arc::clone(session)),
        progress_token: request.meta.progress_token.clone(),
        level: request.meta.log_level,
    };
    let context = Context { client, asker: Arc::new(way_back), cancel: cancel.clone(), credential: None };
    let future = match method {
        Method::ResourcesSubscribe => subscribe(door, session, incoming, request, context),
        Method::ResourcesUnsubscribe => unsubscribe(door, session, request, context),
        _ => door.front.serve(request, incoming.clone(), context),
    };
    Ok((future, cancel))
}

/// Notes who the client is and answers what the endpoint is.
fn initialize(
    door: &Arc<Door>,
    session: &Arc<Session>,
    incoming: &Incoming,
    params: &RawObject,
) -> Result<BoxFuture<'static, Result<Reply, Failure>>, Failure> {
    let bad = |what: &'static str| Failure::client(FailureKind::InvalidParams, what);
    let wanted = params.get_str("protocolVersion").ok_or_else(|| bad("`initialize` must name a `protocolVersion`"))?;
    let revision = Revision::negotiate(&wanted);
    let capabilities = params.get_object("capabilities").map_err(|_| bad("`capabilities` must be an object"))?;
    let capabilities =
        capabilities.map(|own| apart(&own)).transpose().map_err(|_| bad("`capabilities` cannot be read"))?.unwrap_or_default();
    let info = params.get("clientInfo").and_then(|info| RawJson::parse(Bytes::copy_from_slice(info.as_bytes())).ok());
    session.set_client(Arc::new(Client { revision, capabilities, info }));
    let (front, session) = (Arc::clone(&door.front), Arc::clone(session));
    let (discovering, incoming) = (front.discover(incoming), incoming.clone());
    Ok(Box::pin(async move {
        let discovery = discovering.await?;
        session.hears_by(front.watch(&incoming, &(Arc::clone(&session) as Arc<dyn Listener>)));
        Ok(Reply { result: initialize_result(&discovery, revision), revision })
    }))
}

/// A copy that does not keep the whole message's buffer alive for as long as the session lives.
fn apart(object: &RawObject) -> Result<RawObject, serde_json::Error> {
    RawObject::parse(&Bytes::copy_from_slice(&object.to_bytes()))
}

fn initialize_result(discovery: &Discovery, revision: Revision) -> RawObject {
    let mut result = RawObject::new();
    result.set("protocolVersion", RawJson::string(revision.as_str()));
    result.set("capabilities", server_capabilities_for(&discovery.capabilities, discovery.revision, revision).to_json());
    result.set("serverInfo", implementation_for(&discovery.identity.info, revision));
    if let Some(instructions) = &discovery.instructions {
        result.set("instructions", RawJson::string(instructions));
    }
    result
}

fn set_level(session: &Arc<Session>, request: &Request) -> Result<BoxFuture<'static, Result<Reply, Failure>>, Failure> {
    let level = request.params.get_str("level").and_then(|name| LogLevel::from_name(&name));
    session.set_level(level.ok_or_else(|| Failure::client(FailureKind::InvalidParams, "`level` is none of the eight levels"))?);
    Ok(done())
}

/// Subscribes in the front once a session, resource and token, so that each subscription has one end.
fn subscribe(
    door: &Arc<Door>,
    session: &Arc<Session>,
    incoming: &Incoming,
    request: Request,
    context: Context,
) -> BoxFuture<'static, Result<Reply, Failure>> {
    let Some(uri) = request.params.get_str("uri").map(std::borrow::Cow::into_owned) else { return missing_uri() };
    let by = incoming.credential.as_ref().map(|token| token.digest());
    if session.is_subscribed(&uri, by.as_ref()) {
        return done();
    }
    if !session.may_subscribe() {
        return Box::pin(std::future::ready(Err(Failure::client(
            FailureKind::Overloaded,
            "the session is subscribed to too many resources",
        ))));
    }
    let (door, session, incoming, client) = (Arc::clone(door), Arc::clone(session), incoming.clone(), Arc::clone(&context.client));
    let serving = door.front.serve(request, incoming.clone(), context);
    Box::pin(async move {
        let reply = serving.await?;
        if let Some(before) = session.subscribed(uri, &incoming) {
            door.unsubscribe(client, vec![before]); // it was by another token, which may be over
        }
        // By the token that was let subscribe: that of `initialize` may be good for less, or over.
        session.hears_by(door.front.watch(&incoming, &(Arc::clone(&session) as Arc<dyn Listener>)));
        if session.news.has_ended() {
            door.forget(&session); // the session ended in the meantime, and nobody else ends this
        }
        Ok(reply)
    })
}

/// Ends a subscription as who made it, by whose token it may be kept.
fn unsubscribe(door: &Arc<Door>, session: &Arc<Session>, request: Request, context: Context) -> BoxFuture<'static, Result<Reply, Failure>> {
    let Some(uri) = request.params.get_str("uri") else { return missing_uri() };
    match session.unsubscribed(&uri) {
        None => done(),
        Some(incoming) => door.front.serve(request, incoming, context),
    }
}

fn missing_uri() -> BoxFuture<'static, Result<Reply, Failure>> {
    Box::pin(std::future::ready(Err(Failure::client(FailureKind::InvalidParams, "`uri` must be a string"))))
}

/// An empty result.
fn done() -> BoxFuture<'static, Result<Reply, Failure>> {
    Box::pin(std::future::ready(Ok(Reply { result: RawObject::new(), revision: Revision::LATEST_LEGACY })))
}

/// Takes what a legacy client sends without waiting for an answer.
pub(crate) fn take(session: &Session, message: Message) {
    match message {
        Message::Notification { method, params } if method == "notifications/cancelled" => {
            let id = params.and_then(|params| params.get("requestId").and_then(RequestId::from_json));
            if let Some(id) = id {
                session.cancel(&id);
            }
        }
        // `initialized`, `roots/list_changed`, progress of our questions: nobody waits for them.
        Message::Notification { .. } => {}
        Message::Result { id, result } => session.questions.answer(&id, Ok(result)),
        Message::Error { id: Some(id), error } => session.questions.answer(&id, Err(error)),
        Message::Error { id: None, .. } | Message::Request { .. } => {}
    }
}

/// The method of that name, unless it is one of the modern revisions alone. One that nobody here knows may belong to an extension of
/// the server behind: the front says so.
fn read_method(name: &str) -> Option<Method> {
    match Method::from_name(name) {
        Some(method) => is_legacy(method).then_some(method),
        None => Method::of_extension(name),
    }
}

/// Whether one of the revisions with a handshake has this method.
fn is_legacy(method: Method) -> bool {
    !matches!(method, Method::Discover | Method::SubscriptionsListen | Method::TasksUpdate)
}
