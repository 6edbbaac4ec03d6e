//! Requests of the modern era: each stands alone and says in `_meta` all that must be known of its sender.

use std::sync::Arc;

use http::HeaderMap;
use sallyport_protocol::revisions::server_capabilities_for;
use sallyport_protocol::{
    Cancel, Client, Context, Discovery, Era, Failure, FailureKind, Incoming, Meta, Method, RawJson, RawObject, Reply, Request, RequestId,
    Revision,
};

use super::answered::Answered;
use super::asker::{Outlet, WayBack};
use super::call::{Call, Loss};
use super::door::Door;
use super::era::VERSION_KEY;
use crate::headers;

const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
const INFO_KEY: &str = "io.modelcontextprotocol/clientInfo";

/// What became of a modern request.
pub(crate) enum Begun {
    /// It is answered already.
    Answered(Answered),
    /// It runs.
    Call(Box<Call>),
    /// It is `subscriptions/listen`.
    Listen(Box<Listen>),
}

/// A `subscriptions/listen` that has passed all checks.
pub(crate) struct Listen {
    pub(crate) id: RequestId,
    pub(crate) params: RawObject,
    pub(crate) client: Arc<Client>,
}

/// One modern request as it came.
pub(crate) struct Asked<'a> {
    pub(crate) id: RequestId,
    pub(crate) method: String,
    pub(crate) params: Option<RawObject>,
    /// Its `_meta`, opened, where it is an object.
    pub(crate) meta: Option<RawObject>,
    /// The headers that came with it; none over stdio.
    pub(crate) headers: Option<&'a HeaderMap>,
}

/// Checks a request and begins to answer it. `loss` says what it means when the answer is awaited no longer.
pub(crate) fn begin(door: &Arc<Door>, incoming: &Incoming, asked: Asked<'_>, outlet: Outlet, loss: Loss) -> Begun {
    let method = Method::from_name(&asked.method);
    let Asked { id, .. } = &asked;
    let id = id.clone();
    match check(door, incoming, asked) {
        Ok((request, client)) => dispatch(door, incoming, id, request, Arc::new(client), outlet, loss),
        Err(failure) => {
            tracing::debug!(%failure, "a modern request was refused");
            Begun::Answered(door.refuse(&failure, method, Era::Modern, Some(&id)).at_least_bad_request())
        }
    }
}

fn dispatch(
    door: &Arc<Door>,
    incoming: &Incoming,
    id: RequestId,
    request: Request,
    client: Arc<Client>,
    outlet: Outlet,
    loss: Loss,
) -> Begun {
    let method = request.method;
    if method == Method::SubscriptionsListen {
        return Begun::Listen(Box::new(Listen { id, params: request.params, client }));
    }
    let cancel = Cancel::new();
    let future = if method == Method::Discover {
        let discovery = door.front.discover(incoming);
        Box::pin(async move { Ok(Reply { result: discover_result(&discovery.await?), revision: Revision::LATEST }) })
    } else {
        let way_back = WayBack {
            outlet,
            client: Arc::clone(&client),
            session: None,
            progress_token: request.meta.progress_token.clone(),
            level: request.meta.log_level,
        };
        door.front.serve(request, incoming.clone(), Context { client, asker: Arc::new(way_back), cancel: cancel.clone(), credential: None })
    };
    Begun::Call(Box::new(Call {
        door: Arc::clone(door),
        id,
        method,
        revision: Revision::LATEST,
        cancel,
        loss,
        session: None,
        future: Some(future),
    }))
}

/// The ladder of 2026-07-28's checks, in the order of the specification.
fn check(door: &Door, incoming: &Incoming, asked: Asked<'_>) -> Result<(Request, Client), Failure> {
    let Asked { method, params, meta, headers, .. } = asked;
    let mut params = params.unwrap_or_default();
    if let Some(headers) = headers {
        refuse_duplicates(headers)?;
    }
    let meta =
        meta.ok_or_else(|| bad_envelope(format!("`_meta` with `{VERSION_KEY}` and `{CAPABILITIES_KEY}` is missing or no object")))?;
    let (version, client) = read_envelope(&meta)?;
    if let Some(headers) = headers {
        compare(headers, &headers::PROTOCOL_VERSION, &version)?;
        compare(headers, &headers::METHOD, &method)?;
        if let Some(member) = Method::from_name(&method).and_then(Method::name_parameter)
            && let Some(name) = params.get_str(member)
        {
            compare(headers, &headers::NAME, &name)?;
        }
    }
    if Revision::from_name(&version).is_none_or(|revision| revision.era() == Era::Legacy) {
        let text = format!("protocol version `{version}` is not spoken here without a handshake");
        return Err(Failure::client(FailureKind::UnsupportedVersion(version), text));
    }
    let method = read_method(&method)
        .ok_or_else(|| Failure::client(FailureKind::MethodNotFound, format!("there is no method `{method}` in revision {version}")))?;
    params.remove("_meta");
    let meta = Meta::of(meta).map_err(|bad| bad_envelope(bad.0.to_owned()))?;
    let request = Request { method, params, meta };
    if let Some(headers) = headers {
        check_arguments(door, incoming, &request, headers)?;
    }
    Ok((request, client))
}

/// Compares the arguments that the tool's schema wants repeated in headers.
fn check_arguments(door: &Door, incoming: &Incoming, request: &Request, headers: &HeaderMap) -> Result<(), Failure> {
    if request.method != Method::ToolsCall {
        return Ok(());
    }
    let Some(schema) = request.name().and_then(|name| door.front.input_schema(incoming, &name)) else { return Ok(()) };
    // A tool whose annotations are wrong is not offered over HTTP; if it is called all the same, its server judges.
    let Ok(annotated) = headers::ParamHeaders::of_schema(&schema) else { return Ok(()) };
    annotated.check(headers, request.params.get("arguments")).map_err(|bad| Failure::client(FailureKind::HeaderMismatch, bad.to_string()))
}

/// Two readers could trust different ones.
fn refuse_duplicates(headers: &HeaderMap) -> Result<(), Failure> {
    for name in [&headers::PROTOCOL_VERSION, &headers::METHOD, &headers::NAME] {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(Failure::client(FailureKind::HeaderMismatch, format!("header `{name}` is there twice")));
        }
    }
    Ok(())
}

/// Reads the required keys of `_meta`, and who asks.
fn read_envelope(meta: &RawObject) -> Result<(String, Client), Failure> {
    let version = meta.get_str(VERSION_KEY).ok_or_else(|| bad_envelope(format!("`_meta` must hold `{VERSION_KEY}`, a string")))?;
    let capabilities = meta.get_object(CAPABILITIES_KEY).ok().flatten();
    let capabilities = capabilities.ok_or_else(|| bad_envelope(format!("`_meta` must hold `{CAPABILITIES_KEY}`, an object")))?;
    let info = meta.get(INFO_KEY).cloned();
    Ok((version.into_owned(), Client { revision: Revision::LATEST, capabilities, info }))
}

fn bad_envelope(what: String) -> Failure {
    Failure::client(FailureKind::InvalidParams, what)
}

/// Checks that a header is there and says the same as the body.
fn compare(headers: &HeaderMap, name: &http::HeaderName, wanted: &str) -> Result<(), Failure> {
    let bad = |what: &str| Failure::client(FailureKind::HeaderMismatch, format!("header `{name}` {what}"));
    let value = headers.get(name).ok_or_else(|| bad("is missing"))?;
    let found = if *name == headers::NAME {
        headers::decode_value(value).map_err(|_| bad("cannot be read"))?
    } else {
        value.to_str().map_err(|_| bad("cannot be read"))?.into()
    };
    if found == wanted { Ok(()) } else { Err(bad("does not say what the body says")) }
}

/// The method of that name, unless it is one of the legacy revisions alone. One that nobody here knows may belong to an extension of
/// the server behind: the front says so.
fn read_method(name: &str) -> Option<Method> {
    match Method::from_name(name) {
        Some(method) => is_modern(method).then_some(method),
        None => Method::of_extension(name),
    }
}

/// Whether 2026-07-28 or an official extension of it has this method.
fn is_modern(method: Method) -> bool {
    !matches!(
        method,
        Method::Initialize
            | Method::Ping
            | Method::SetLevel
            | Method::ResourcesSubscribe
            | Method::ResourcesUnsubscribe
            | Method::TasksResult
            | Method::TasksList
    )
}

/// The answer to `server/discover`.
fn discover_result(discovery: &Discovery) -> RawObject {
    let mut meta = RawObject::new();
    meta.set("io.modelcontextprotocol/serverInfo", discovery.identity.info.clone());
    let mut result = RawObject::new();
    result.set("resultType", RawJson::from_static("\"complete\""));
    result.set("supportedVersions", RawJson::from_static("[\"2026-07-28\"]"));
    result.set("capabilities", server_capabilities_for(&discovery.capabilities, discovery.revision, Revision::LATEST).to_json());
    if let Some(instructions) = &discovery.instructions {
        result.set("instructions", RawJson::string(instructions));
    }
    // What is offered depends on who asks, and changes when servers come and go.
    result.set("ttlMs", RawJson::from_static("0"));
    result.set("cacheScope", RawJson::from_static("\"private\""));
    result.set("_meta", meta.to_json());
    result
}
