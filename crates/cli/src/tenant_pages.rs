//! The pages beside MCP of a tenant, below `/t/NAME`: `/metrics`, those on which its users grant access to servers, and those of its
//! authorization server.
//!
//! A name that there is not gets what a stranger gets at one that there is. A tenant whose people log in here is one that there is.

use bytes::Bytes;
use http::{Request, Response, Uri};
use sallyport_gateway::Gateway;
use sallyport_gateway::pages::Page;
use sallyport_identity::authorization_server::Route;
use sallyport_protocol::{Front, Incoming};

use crate::{connect_pages, pages};

/// Answers a request that names the tenant `name` and none of its endpoints.
pub(crate) async fn answer(gateway: &Gateway, name: &str, mut request: Request<Bytes>, incoming: Incoming) -> Response<Bytes> {
    if !gateway.has_tenants() {
        return pages::not_found();
    }
    let own = below(name, request.uri());
    match (own.as_ref().and_then(|uri| Page::at(uri.path())), gateway.tenant(name)) {
        (Some(Page::Metrics), tenant) => match (gateway.admit(&incoming).decided().await, tenant) {
            (Ok(_), Some(tenant)) => pages::figures(&tenant),
            (Ok(_), None) => pages::not_found(), // it went at this very moment
            (Err(failure), _) => pages::unauthorized(&failure),
        },
        (Some(Page::Connect), tenant) => {
            *request.uri_mut() = own.unwrap_or_default();
            match tenant {
                Some(tenant) => connect_pages::answer(&tenant, &request, &incoming).await,
                None => connect_pages::unknown(&request),
            }
        }
        (None, Some(tenant)) => pages::login(&tenant, request, incoming.peer).await.unwrap_or_else(pages::not_found),
        _ => pages::not_found(),
    }
}

/// The tenant that a request is about: its path says so, or is one of the whole host at which clients read about an authorization server.
pub(crate) fn asked_about(request: &Request<Bytes>, incoming: &Incoming) -> Option<String> {
    let issuer = || Route::issuer_asked_about(request.uri().path())?.strip_prefix("/t/");
    incoming.tenant.as_deref().or_else(issuer).map(str::to_owned)
}

/// The address as the tenant's own pages know it.
fn below(name: &str, uri: &Uri) -> Option<Uri> {
    uri.path_and_query()?.as_str().strip_prefix("/t/")?.strip_prefix(name)?.parse().ok()
}
