//! The pages for machines beside MCP: `/healthz`, `/readyz`, `/metrics`.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use sallyport_gateway::Gateway;
use sallyport_gateway::pages::Page;
use sallyport_gateway::upstream::Freshness;
use sallyport_protocol::{Failure, Front, Incoming, Peer};
use sallyport_telemetry::metric;

use crate::approval_pages::ApprovalPages;
use crate::connect_pages;

/// Answers a request whose path is none of MCP's. Only who may send a request over MCP is told the servers' names: those who watch a
/// gateway that has keys need one of their own.
pub(crate) async fn answer(gateway: Gateway, approvals: &ApprovalPages, request: Request<Bytes>, incoming: Incoming) -> Response<Bytes> {
    let gateway = &gateway;
    let path = request.uri().path().to_owned();
    let page = Page::at(&path);
    match page {
        Some(Page::Connect) => return connect_pages::answer(gateway, &gateway.way_out(), &request, &incoming).await,
        Some(Page::Approvals) => return approvals.answer(gateway, &request, &incoming).await.unwrap_or_else(not_found),
        Some(_) if !is_read(&request) => return only_read(),
        _ => {}
    }
    if let Some(response) = login(gateway, request, incoming.peer).await {
        return response;
    }
    match page {
        Some(Page::Health) => text(StatusCode::OK, "ok\n".into()),
        Some(Page::Ready) => ready(gateway, &incoming).await,
        Some(Page::Metrics) => {
            if let Err(failure) = gateway.admit(&incoming).decided().await {
                return unauthorized(&failure);
            }
            figures(gateway)
        }
        Some(Page::ResourceMetadata) => match gateway.resource_metadata(&path) {
            Some(document) => json(document),
            None => text(StatusCode::NOT_FOUND, "not found: there is no such resource, or no tokens are taken here\n".into()),
        },
        Some(Page::Connect | Page::Approvals) | None => not_found(),
    }
}

/// The answer of the authorization server of a gateway, if it has one and the path is one of its own.
pub(crate) async fn login(gateway: &Gateway, request: Request<Bytes>, peer: Peer) -> Option<Response<Bytes>> {
    gateway.authorization_server()?.answer(request, whom(peer)).await
}

/// The figures of a gateway.
pub(crate) fn figures(gateway: &Gateway) -> Response<Bytes> {
    let mut response = text(StatusCode::OK, gateway.metrics());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(metric::CONTENT_TYPE));
    response
}

/// The answer where there is nothing.
pub(crate) fn not_found() -> Response<Bytes> {
    text(StatusCode::NOT_FOUND, "not found: MCP is at /mcp, /servers/NAME/mcp and /toolsets/NAME/mcp\n".into())
}

/// Whether a request asks for nothing but to be told something.
pub(crate) fn is_read(request: &Request<Bytes>) -> bool {
    matches!(request.method(), &Method::GET | &Method::HEAD)
}

/// The answer to whoever does anything else with a page for machines.
pub(crate) fn only_read() -> Response<Bytes> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "this page is only read\n".into());
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// Whom a request came from, as far as that is known.
fn whom(peer: Peer) -> Option<IpAddr> {
    match peer {
        Peer::Remote(address) => Some(address),
        Peer::Proxied(address) => address,
        Peer::Loopback => Some(Ipv4Addr::LOCALHOST.into()),
        Peer::Stdio => None,
    }
}

/// Ready once every server that is started with the gateway has said what it offers, or that it cannot be reached: from then on lists
/// do not change for want of patience.
async fn ready(gateway: &Gateway, incoming: &Incoming) -> Response<Bytes> {
    let upstreams = gateway.upstreams();
    let is_pending = |upstream: &&std::sync::Arc<sallyport_gateway::upstream::Upstream>| {
        upstream.plan().start == sallyport_gateway::plan::Start::Eager && upstream.listing().freshness == Freshness::Pending
    };
    let pending: Vec<&str> = upstreams.iter().filter(is_pending).map(|upstream| &**upstream.name()).collect();
    if pending.is_empty() {
        return text(StatusCode::OK, "ready\n".into());
    }
    let told =
        if gateway.admit(incoming).decided().await.is_ok() { format!("starting: {}\n", pending.join(", ")) } else { "starting\n".into() };
    text(StatusCode::SERVICE_UNAVAILABLE, told)
}

pub(crate) fn unauthorized(failure: &Failure) -> Response<Bytes> {
    let hint = failure.hint.as_deref().unwrap_or_default();
    let mut response = text(StatusCode::UNAUTHORIZED, format!("not let in: {hint}\n"));
    let challenge = failure.challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.unwrap_or_else(|| HeaderValue::from_static("Bearer")));
    response
}

fn json(document: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(document));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn text(status: StatusCode, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
