//! The pages beside MCP of a tenant, below `/t/NAME`: `/metrics`, and those on which its users grant access to servers.
//!
//! A name that there is not gets what a stranger gets at one that there is.

use bytes::Bytes;
use http::{Request, Response, Uri};
use sallyport_gateway::Gateway;
use sallyport_gateway::pages::Page;
use sallyport_protocol::{Front, Incoming};

use crate::{connect_pages, pages};

/// Answers a request whose path names the tenant `name` and none of its endpoints.
pub(crate) async fn answer(gateway: &Gateway, name: &str, request: Request<Bytes>, incoming: Incoming) -> Response<Bytes> {
    let Some(request) = below(name, request).filter(|_| gateway.has_tenants()) else { return pages::not_found() };
    let tenant = gateway.tenant(name);
    match (Page::at(request.uri().path()), tenant) {
        (Some(Page::Metrics), tenant) => match (gateway.admit(&incoming).decided().await, tenant) {
            (Ok(_), Some(tenant)) => pages::figures(&tenant),
            (Ok(_), None) => pages::not_found(), // it went at this very moment
            (Err(failure), _) => pages::unauthorized(&failure),
        },
        (Some(Page::Connect), Some(tenant)) => connect_pages::answer(&tenant, &request, &incoming).await,
        (Some(Page::Connect), None) => connect_pages::unknown(&request),
        _ => pages::not_found(),
    }
}

/// The same request as the tenant's own pages know it.
fn below(name: &str, request: Request<Bytes>) -> Option<Request<Bytes>> {
    let (mut head, body) = request.into_parts();
    let whole = head.uri.path_and_query()?.as_str();
    head.uri = whole.strip_prefix("/t/")?.strip_prefix(name)?.parse::<Uri>().ok()?;
    Some(Request::from_parts(head, body))
}
