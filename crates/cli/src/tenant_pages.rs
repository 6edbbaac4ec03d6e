//! The pages beside MCP of a tenant, below `/t/NAME`: `/metrics`, those on which its users grant access to servers, those on which its calls are
//! approved, and those of its authorization server.
//!
//! A name that there is not gets what a stranger gets at one that there is. A tenant whose people log in here is one that there is.

use bytes::Bytes;
use http::{Request, Response, Uri};
use sallyport_gateway::Gateway;
use sallyport_gateway::pages::Page;
use sallyport_identity::authorization_server::Route;
use sallyport_protocol::{Front, Incoming};

use crate::approval_pages::ApprovalPages;
use crate::{connect_pages, pages};

/// Answers a request that names the tenant `name` and none of its endpoints.
pub(crate) async fn answer(
    gateway: &Gateway,
    approvals: &ApprovalPages,
    name: &str,
    mut request: Request<Bytes>,
    incoming: Incoming,
) -> Response<Bytes> {
    let Some(nobody) = gateway.nobody() else { return pages::not_found() };
    let tenant = gateway.tenant(name);
    let Some(own) = below(name, request.uri()) else { return log_in(tenant.as_ref(), request, &incoming).await };
    let (page, whole) = (Page::at(own.path()), std::mem::replace(request.uri_mut(), own));
    match (page, tenant) {
        (Some(Page::Metrics), _) if !pages::is_read(&request) => pages::only_read(),
        (Some(Page::Metrics), tenant) => match (gateway.admit(&incoming).decided().await, tenant) {
            (Ok(_), Some(tenant)) => pages::figures(&tenant),
            (Ok(_), None) => pages::not_found(), // it went at this very moment
            (Err(failure), _) => pages::unauthorized(&failure),
        },
        (Some(Page::Connect), tenant) => {
            let at = tenant.as_ref().unwrap_or(&nobody);
            // Of one where nobody grants anything there is no vault: to make one would take its time.
            let links = if at.grants_access() { at } else { &nobody }.way_out();
            connect_pages::answer(at, &links, &request, &incoming).await
        }
        (Some(Page::Approvals), tenant) => {
            // Who may approve nothing anywhere is told the same, whether there is such a tenant or not.
            let decides = tenant.as_ref().filter(|tenant| !tenant.plan().approvals.approvers.is_empty()).unwrap_or(&nobody);
            approvals.answer(decides, &request, &incoming).await.unwrap_or_else(pages::not_found)
        }
        (Some(Page::Health | Page::Ready | Page::ResourceMetadata), _) => pages::not_found(),
        (None, tenant) => {
            *request.uri_mut() = whole;
            log_in(tenant.as_ref(), request, &incoming).await
        }
    }
}

/// The answer of a tenant's authorization server.
async fn log_in(tenant: Option<&Gateway>, request: Request<Bytes>, incoming: &Incoming) -> Response<Bytes> {
    let answer = match tenant {
        Some(tenant) => pages::login(tenant, request, incoming.peer).await,
        None => None,
    };
    answer.unwrap_or_else(pages::not_found)
}

/// The tenant that a request is about: its path says so, or is one of the whole host at which clients read about an authorization server.
pub(crate) fn asked_about(request: &Request<Bytes>, incoming: &Incoming) -> Option<String> {
    let issuer = || Route::issuer_asked_about(request.uri().path())?.strip_prefix("/t/");
    incoming.tenant.as_deref().or_else(issuer).map(str::to_owned)
}

/// The address as the tenant's own pages know it.
pub(crate) fn below(name: &str, uri: &Uri) -> Option<Uri> {
    uri.path_and_query()?.as_str().strip_prefix("/t/")?.strip_prefix(name)?.parse().ok()
}
