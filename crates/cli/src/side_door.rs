//! A door for browsers alone, of a gateway that speaks MCP over stdio: on loopback, at a port of its own, for as long as it runs.

use std::sync::Arc;

use ::http::StatusCode;
use bytes::Bytes;
use sallyport_gateway::Gateway;
use sallyport_gateway::pages::Page;
use sallyport_protocol::{
    Admission, Answer, BoxFuture, Context, Discovery, Era, Failure, FailureKind, Front, Incoming, Listener, Method, Peer, Reply, Request,
};
use sallyport_transport::server::http;
use tokio::net::TcpListener;
use url::Url;

use crate::{connect_pages, html, start, tenant_pages, up};

/// Opens the door where a server of the gateway needs one. A gateway that cannot have it works all the same, but for such servers.
pub(crate) async fn open(gateway: &Gateway) {
    if !gateway.plan().servers.keys().any(|name| gateway.granted_by_users(name).is_some()) {
        return;
    }
    let listener = match TcpListener::bind(("127.0.0.1", 0)).await {
        Ok(listener) => listener,
        Err(error) => return tracing::warn!("no browser can reach this gateway to grant access to servers: {error}"),
    };
    let base = listener.local_addr().ok().and_then(|address| Url::parse(&format!("http://{address}")).ok());
    base.into_iter().for_each(|base| gateway.way_out().reached_at(base));
    let pages = gateway.clone();
    let options = http::Options {
        other: Arc::new(move |request, incoming| {
            let gateway = pages.clone();
            Box::pin(async move {
                // Whoever launched the gateway is its one user, here as over stdio.
                let peer = if incoming.peer == Peer::Loopback { Peer::Stdio } else { incoming.peer };
                let (request, incoming) = as_its_own(&gateway, request, Incoming { peer, ..incoming });
                match Page::at(request.uri().path()) {
                    Some(Page::Connect) => connect_pages::answer(&gateway, &gateway.way_out(), &request, &incoming).await,
                    _ => html::page(StatusCode::NOT_FOUND, "<p>There is nothing here.</p>"),
                }
            })
        }),
        ..http::Options::new(start::identity())
    };
    tokio::spawn(http::serve(listener, Arc::new(Nobody), options, up::told_by_signal()));
}

/// The same request where the gateway is a tenant's, which has its pages below `/t/NAME` here as well.
fn as_its_own(gateway: &Gateway, mut request: ::http::Request<Bytes>, incoming: Incoming) -> (::http::Request<Bytes>, Incoming) {
    let plan = gateway.plan();
    let own = plan.tenant.as_deref().filter(|name| incoming.tenant.as_deref() == Some(name));
    match own.and_then(|name| tenant_pages::below(name, request.uri())) {
        Some(below) => {
            *request.uri_mut() = below;
            (request, Incoming { tenant: None, ..incoming })
        }
        None => (request, incoming),
    }
}

/// MCP is spoken over stdio, and nowhere else.
struct Nobody;

impl Nobody {
    fn refusal() -> Failure {
        Failure::client(FailureKind::Http(404), "MCP is not spoken here")
    }
}

impl Front for Nobody {
    fn admit(&self, _: &Incoming) -> Admission {
        Admission::Known(Err(Self::refusal()))
    }

    fn discover(&self, _: &Incoming) -> BoxFuture<'static, Result<Discovery, Failure>> {
        Box::pin(async { Err(Self::refusal()) })
    }

    fn serve(&self, _: Request, _: Incoming, _: Context) -> BoxFuture<'static, Result<Reply, Failure>> {
        Box::pin(async { Err(Self::refusal()) })
    }

    fn watch(&self, _: &Incoming, _: &Arc<dyn Listener>) -> Option<Arc<dyn Listener>> {
        None
    }

    fn answer(&self, failure: &Failure, method: Option<Method>, era: Era) -> Answer {
        Gateway::answer_to(failure, method, era)
    }
}
