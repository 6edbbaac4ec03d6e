//! The gateway that a command talks to: one that runs already, or one in this process.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use sallyport_gateway::Gateway;
use sallyport_gateway::plan::Plan;
use sallyport_protocol::{
    Asker, BoxFuture, Cancel, Client, Context, Endpoint, ErrorObject, Front, Incoming, McpServer, Method, Peer, RawJson, RawObject, Reply,
    Request, Revision, revisions,
};
use sallyport_secrets::Secret;
use sallyport_telemetry::log::Stderr;
use sallyport_transport::client::{Connection, Kind, Options, Target};

use crate::output::Failure;
use crate::running::{self, Running};
use crate::start::{self, Opened};

/// A running gateway and the key to it.
pub(crate) struct RunningGateway {
    pub(crate) url: String,
    key: Option<Secret>,
}

impl RunningGateway {
    /// Its merged endpoint.
    pub(crate) fn endpoint(&self) -> Result<url::Url, Failure> {
        format!("{}/mcp", self.url).parse().map_err(|error| Failure::new(format!("{} is no URL: {error}", self.url)))
    }

    /// The headers that show the key, where one is needed.
    fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, Failure> {
        let Some(key) = self.key() else { return Ok(Vec::new()) };
        let value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| Failure::new("the gateway's key cannot be a header"))?;
        Ok(vec![(AUTHORIZATION, value)])
    }

    /// The key to show, where one is needed.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_ref().map(Secret::expose)
    }
}

/// The gateway that serves this configuration, if one runs.
pub(crate) fn running(plan: &Plan) -> Result<Option<RunningGateway>, Failure> {
    let Some(Running { url, .. }) = running::find(&start::folders()?.run_folder(), &plan.origin) else { return Ok(None) };
    let key = plan.keys.first().map(sallyport_secrets::resolve).transpose();
    let key = key.map_err(|error| Failure::new(error.to_string()).hint(error.hint()))?;
    Ok(Some(RunningGateway { url, key }))
}

/// What a command asks its questions of.
pub(crate) enum Reach {
    /// A gateway that runs already.
    Running(Arc<Connection>),
    /// One in this process.
    Here(Box<Opened>),
}

impl Reach {
    /// Connects to the gateway that runs for this configuration, or opens one here.
    pub(crate) async fn open(plan: Plan) -> Result<Self, Failure> {
        match running(&plan)? {
            Some(gateway) => {
                let target = Target { kind: Kind::StreamableHttp, headers: gateway.headers()?, ..Target::new(gateway.endpoint()?) };
                let connection = Connection::to_url(target, Options::new("sallyport", start::identity())).await;
                Ok(Self::Running(connection.map_err(|failure| told(&failure))?))
            }
            None => {
                let opened = Opened::open(plan, Stderr::Off)?;
                opened.gateway.start();
                Ok(Self::Here(Box::new(opened)))
            }
        }
    }

    /// Asks one thing and gives the result, in the newest revision.
    pub(crate) async fn ask(&self, method: Method, params: RawObject) -> Result<RawObject, Failure> {
        let request = Request::new(method, params);
        let reply = match self {
            Self::Running(connection) => connection.handle(request, context()).await.map_err(|failure| told(&failure))?,
            Self::Here(opened) => ask_here(&opened.gateway, request).await?,
        };
        revisions::reply_for(reply, method, Revision::LATEST, &start::identity()).map_err(|failure| told(&failure))
    }

    /// Leaves: a gateway in this process ends its servers.
    pub(crate) async fn close(self) {
        match self {
            Self::Running(connection) => connection.close().await,
            Self::Here(opened) => opened.close().await,
        }
    }
}

/// A tool that could not be used answers as it would answer a client: with a result that says so.
async fn ask_here(gateway: &Gateway, request: Request) -> Result<Reply, Failure> {
    let method = request.method;
    let incoming = Incoming { endpoint: Endpoint::All, credential: None, peer: Peer::Stdio };
    gateway.serve(request, incoming, context()).await.or_else(|failure| {
        match gateway.answer(&failure, Some(method), Revision::LATEST.era()) {
            sallyport_protocol::Answer::Result(result) => Ok(Reply { result, revision: Revision::LATEST }),
            sallyport_protocol::Answer::Error { .. } => Err(told(&failure)),
        }
    })
}

/// All that a list holds, page by page.
pub(crate) async fn all(reach: &Reach, method: Method, member: &str) -> Result<Vec<RawJson>, Failure> {
    let mut items = Vec::new();
    let mut params = RawObject::new();
    loop {
        let page = reach.ask(method, params).await?;
        let listed = page.get(member).and_then(|list| list.array().ok());
        items.extend(listed.ok_or_else(|| Failure::new(format!("the gateway's answer to `{}` has no list `{member}`", method.as_str())))?);
        let Some(cursor) = page.get("nextCursor").filter(|cursor| !cursor.is_null()) else { return Ok(items) };
        params = RawObject::new();
        params.set("cursor", cursor.clone());
    }
}

/// A failure as a person sees it.
pub(crate) fn told(failure: &sallyport_protocol::Failure) -> Failure {
    let shown = Failure::new(failure.to_string());
    match &failure.hint {
        Some(hint) => shown.hint(hint.clone().into_owned()),
        None => shown,
    }
}

fn context() -> Context {
    let client = Client { revision: Revision::LATEST, capabilities: RawObject::new(), info: Some(start::identity().info) };
    Context { client: Arc::new(client), asker: Arc::new(Nobody), cancel: Cancel::new() }
}

/// Nobody sits there to be asked.
struct Nobody;

impl Asker for Nobody {
    fn notify(&self, _: &str, _: RawObject) {}

    fn ask<'a>(&'a self, method: &'a str, _: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        let refusal = ErrorObject::new(ErrorObject::METHOD_NOT_FOUND, format!("nobody is here to answer `{method}`"));
        Box::pin(async move { Err(refusal) })
    }
}
