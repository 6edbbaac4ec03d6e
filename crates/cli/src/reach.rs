//! The gateway that a command talks to: one that runs already, or one in this process.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use sallyport_gateway::Gateway;
use sallyport_gateway::plan::{IdentityPlan, Plan};
use sallyport_protocol::{
    Asker, BoxFuture, Cancel, Client, Context, Endpoint, ErrorObject, Front, Incoming, McpServer, Method, Peer, RawJson, RawObject, Reply,
    Request, Revision, revisions,
};
use sallyport_secrets::Secret;
use sallyport_telemetry::log::Stderr;
use sallyport_transport::client::{CertificateDer, Connection, Kind, Options, Target};
use sallyport_transport::server::tls;
use url::{Host, Url};

use crate::output::Failure;
use crate::running::{self, Running};
use crate::start::{self, Opened};
use crate::starting;

/// A running gateway, the key to it, and what it is known by.
pub(crate) struct RunningGateway {
    pub(crate) url: String,
    key: Option<Secret>,
    /// The certificate that it shows, where it speaks TLS itself. It need not fit the address, which is this machine's own.
    certificate: Vec<CertificateDer<'static>>,
}

impl RunningGateway {
    /// Its merged endpoint. One that listens on all addresses is reached on loopback.
    pub(crate) fn endpoint(&self) -> Result<Url, Failure> {
        let mut url: Url = format!("{}/mcp", self.url).parse().map_err(|error| Failure::new(format!("{} is no URL: {error}", self.url)))?;
        let loopback = match url.host() {
            Some(Host::Ipv4(address)) if address.is_unspecified() => Some("127.0.0.1"),
            Some(Host::Ipv6(address)) if address.is_unspecified() => Some("[::1]"),
            _ => None,
        };
        if loopback.is_some() {
            url.set_host(loopback).map_err(|error| Failure::new(format!("{} cannot be reached on loopback: {error}", self.url)))?;
        }
        Ok(url)
    }

    /// The headers that show the key, where one is needed.
    fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, Failure> {
        let Some(key) = self.key() else { return Ok(Vec::new()) };
        let value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| Failure::new("the gateway's key cannot be a header"))?;
        Ok(vec![(AUTHORIZATION, value)])
    }

    /// The certificates to trust.
    pub(crate) fn trust(&self) -> &[CertificateDer<'static>] {
        &self.certificate
    }

    /// The key to show, where one is needed.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_ref().map(Secret::expose)
    }
}

/// The gateway that serves this configuration, if one runs and lets this user in: with a key of its configuration, or without any. One that
/// takes nothing but what it gave out to others cannot be asked; this user has a gateway of its own instead.
pub(crate) fn running(plan: &Plan) -> Result<Option<RunningGateway>, Failure> {
    if plan.keys.is_empty() && plan.identity != IdentityPlan::default() {
        return Ok(None);
    }
    let Some(Running { url, .. }) = running::find(&start::folders()?.run_folder(), &plan.origin) else { return Ok(None) };
    let key = plan.keys.first().map(sallyport_secrets::resolve).transpose();
    let key = key.map_err(|error| Failure::new(error.to_string()).hint(error.hint()))?;
    let url = plan.tenant.as_deref().map_or_else(|| url.clone(), |name| format!("{url}/t/{name}"));
    Ok(Some(RunningGateway { url, key, certificate: certificate(plan)? }))
}

/// The gateway's own certificate, without those that vouch for it.
fn certificate(plan: &Plan) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let Some(files) = &plan.tls else { return Ok(Vec::new()) };
    let mut chain = tls::chain_from_pem(&files.certificate).map_err(|error| Failure::new(error.to_string()))?;
    chain.truncate(1);
    Ok(chain)
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
                let (url, headers) = (gateway.endpoint()?, gateway.headers()?);
                let target = Target { url, kind: Kind::StreamableHttp, headers, trust: gateway.certificate, credentials: None };
                let connection = Connection::to_url(target, Options::new("sallyport", start::identity())).await;
                Ok(Self::Running(connection.map_err(|failure| told(&failure))?))
            }
            None => {
                let opened = Opened::open(plan.for_one_caller(), Stderr::Off)?;
                opened.gateway.start();
                Ok(Self::Here(Box::new(opened)))
            }
        }
    }

    /// Waits for the servers of a gateway in this process that are starting: for all, or for the one that has `tool`.
    pub(crate) async fn settle(&self, tool: Option<&str>) {
        let Self::Here(opened) = self else { return };
        let mut servers = opened.gateway.upstreams();
        let owner = tool.and_then(|tool| tool.split_once("__")).map(|(server, _)| server);
        if servers.iter().any(|server| Some(server.name().as_ref()) == owner) {
            servers.retain(|server| Some(server.name().as_ref()) == owner);
        }
        starting::wait_for(&servers).await;
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
    let incoming =
        Incoming { tenant: None, endpoint: Endpoint::All, credential: None, certificate: None, peer: Peer::Stdio, recognised: None };
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
    Context { client: Arc::new(client), asker: Arc::new(Nobody), cancel: Cancel::new(), credential: None }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_gateway_that_listens_on_all_addresses_is_reached_on_loopback() {
        for (url, endpoint) in [
            ("http://127.0.0.1:7420", "http://127.0.0.1:7420/mcp"),
            ("https://0.0.0.0:7420", "https://127.0.0.1:7420/mcp"),
            ("https://[::]:7420", "https://[::1]:7420/mcp"),
            ("http://0.0.0.0:7420/t/acme", "http://127.0.0.1:7420/t/acme/mcp"),
            ("https://192.0.2.1:7420", "https://192.0.2.1:7420/mcp"),
        ] {
            let gateway = RunningGateway { url: url.to_owned(), key: None, certificate: Vec::new() };
            assert_eq!(gateway.endpoint().unwrap().as_str(), endpoint);
        }
    }
}
