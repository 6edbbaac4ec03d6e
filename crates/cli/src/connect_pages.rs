//! The pages on which a user grants access to a server: `/connect`, `/connect/ID` and `/connect/callback`.
//!
//! The link is no proof of who opens it: it may have been sent to somebody else, who would then give their account to whoever asked. So
//! the page asks, and nobody but the one who was given the link goes on: who is logged in at the gateway's own authorization server, who
//! types in a key, or, at a gateway without keys, the person at this machine. What was begun by somebody who is logged in ends only while
//! they are.

mod html;
mod way;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use sallyport_gateway::Gateway;
use sallyport_gateway::grants::owner_of;
use sallyport_gateway::pages::Page;
use sallyport_gateway::upstream::{Outage, WayOut};
use sallyport_identity::authorization_server::Visitor;
use sallyport_identity::upstream::{LoginError, Logins, Wanted};
use sallyport_policy::Principal;
use sallyport_protocol::Incoming;
use url::Url;
use url::form_urlencoded::parse;

use self::way::Way;
use crate::html::{cookie, escaped, field, not_allowed, page, see_other, set};

/// The cookie that binds the way back to the browser that began.
const COOKIE: &str = "sallyport_connect";
/// In the place of a link, for the page about all of them.
const ALL: &str = "";

/// A request for a link, with where links are found.
#[derive(Clone, Copy)]
struct Visit<'a> {
    gateway: &'a Gateway,
    links: &'a WayOut,
    request: &'a Request<Bytes>,
    incoming: &'a Incoming,
}

/// Answers a request at `/connect` or below. The links are found by way of `links`.
pub(crate) async fn answer(gateway: &Gateway, links: &WayOut, request: &Request<Bytes>, incoming: &Incoming) -> Response<Bytes> {
    let visit = Visit { gateway, links, request, incoming };
    let link = request.uri().path().strip_prefix(Page::Connect.path()).unwrap_or_default();
    let outcome = match (request.method(), link.trim_start_matches('/')) {
        (&Method::GET, ALL) => list(gateway, request, incoming).await,
        (&Method::POST, ALL) => offer(visit).await,
        (&Method::GET, "callback") => callback(gateway, links, request).await,
        (&Method::GET, id) => ask(visit, id).await,
        (_, "callback") => return not_allowed("GET"),
        (&Method::POST, id) => begin(visit, id).await,
        _ => return not_allowed("GET, POST"),
    };
    outcome.unwrap_or_else(|error| refused(&error))
}

/// The answer where nobody can log in.
fn nobody() -> Response<Bytes> {
    page(StatusCode::UNAUTHORIZED, "<p>Open the link that you were given: nobody can log in here.</p>")
}

/// Shows whoever is there what they may grant access to.
async fn list(gateway: &Gateway, request: &Request<Bytes>, incoming: &Incoming) -> Result<Response<Bytes>, LoginError> {
    let Some((principal, visitor)) = somebody(gateway, request, incoming).await else {
        let login = gateway.authorization_server().and_then(|server| server.log_in_to_connect(None));
        return Ok(login.map_or_else(nobody, |login| see_other(&login)));
    };
    let all = gateway.grantable(&principal, incoming.peer).await.map_err(|outage| unusable(&outage))?;
    Ok(html::list(&all, visitor.as_ref()))
}

/// Makes a link for whoever is there, and opens it.
async fn offer(visit: Visit<'_>) -> Result<Response<Bytes>, LoginError> {
    let Visit { gateway, links, request, incoming } = visit;
    let Some((principal, visitor)) = somebody(gateway, request, incoming).await else { return list(gateway, request, incoming).await };
    let server = field(request, "server").unwrap_or_default();
    let may = gateway.grantable(&principal, incoming.peer).await.map_err(|outage| unusable(&outage))?;
    if !is_sent_by(visitor.as_ref(), ALL, request) || !may.iter().any(|known| known.server == server) {
        return Err(LoginError::Unknown);
    }
    let id = logins(links)?.offer(&server, owner_of(&principal)).await?;
    let callback = gateway.way_out().callback().ok_or(LoginError::Unknown)?;
    Ok(see_other(&format!("{}/{id}", pages_path(&callback))))
}

/// Who is there, by the request itself or by being logged in.
async fn somebody(gateway: &Gateway, request: &Request<Bytes>, incoming: &Incoming) -> Option<(Principal, Option<Visitor>)> {
    if let Some(principal) = gateway.principal(incoming).await {
        return Some((principal, None));
    }
    let visitor = gateway.authorization_server()?.visitor(request.headers()).await?;
    Some((visitor.principal().clone(), Some(visitor)))
}

/// Says what a link is about, and asks whether to go on.
async fn ask(visit: Visit<'_>, id: &str) -> Result<Response<Bytes>, LoginError> {
    let Visit { gateway, links, request, incoming } = visit;
    let wanted = logins(links)?.look(id).await?;
    let host = gateway.granted_by_users(&wanted.server).and_then(|(_, url)| url.host_str().map(str::to_owned)).unwrap_or_default();
    match way::of(gateway, request, incoming, &wanted.owner).await {
        Way::Theirs(visitor) => Ok(html::ask(&wanted.server, &host, id, false, visitor.as_ref())),
        Way::Key => Ok(html::ask(&wanted.server, &host, id, true, None)),
        other => Ok(turned_away(id, &other)),
    }
}

/// Sends the one whose link it is to the authorization server.
async fn begin(visit: Visit<'_>, id: &str) -> Result<Response<Bytes>, LoginError> {
    let Visit { gateway, links, request, incoming } = visit;
    let wanted = logins(links)?.look(id).await?;
    let session = match way::of(gateway, request, incoming, &wanted.owner).await {
        Way::Theirs(visitor) if is_sent_by(visitor.as_ref(), id, request) => visitor.map(|visitor| visitor.session()),
        Way::Key if way::has_key(gateway, request, incoming, &wanted.owner).await => None,
        other => return Ok(turned_away(id, &other)),
    };
    go(gateway, links, id, &wanted, session.as_deref()).await
}

async fn go(gateway: &Gateway, links: &WayOut, id: &str, wanted: &Wanted, session: Option<&str>) -> Result<Response<Bytes>, LoginError> {
    let (config, url) = gateway.granted_by_users(&wanted.server).ok_or(LoginError::Unknown)?;
    let callback = gateway.way_out().callback().ok_or(LoginError::Unknown)?;
    let begun = logins(links)?.begin(id, &config, &url, &callback, session).await?;
    let mut response = html::lead_on(&begun.to);
    let name = cookie_name(&callback, gateway.plan().tenant.as_deref());
    let cookie = format!("{name}={}; HttpOnly; SameSite=Lax; Max-Age=600; {}", begun.cookie, cookie_bounds(&callback));
    set(&mut response, header::SET_COOKIE, &cookie);
    Ok(response)
}

/// Takes what the authorization server sent back.
async fn callback(gateway: &Gateway, links: &WayOut, request: &Request<Bytes>) -> Result<Response<Bytes>, LoginError> {
    let answer: Vec<(String, String)> = parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let callback = gateway.way_out().callback().ok_or(LoginError::Unknown)?;
    let name = cookie_name(&callback, gateway.plan().tenant.as_deref());
    let cookie = cookie(request, &name);
    let visitor = match gateway.authorization_server() {
        Some(server) => server.visitor(request.headers()).await,
        None => None,
    };
    let session = visitor.map(|visitor| visitor.session());
    let configured = |server: &str| gateway.granted_by_users(server);
    let wanted = logins(links)?.finish(&answer, cookie, session.as_deref(), configured).await?;
    let text = format!("<h1>Access to {} is granted</h1><p>You can close this page and go on.</p>", escaped(&wanted.server));
    Ok(page(StatusCode::OK, &text))
}

/// What somebody sees who cannot go on as they are.
fn turned_away(id: &str, way: &Way) -> Response<Bytes> {
    match way {
        Way::LogIn(server) => {
            let login = server.log_in_to_connect(Some(id));
            login.map_or_else(|| refused(&LoginError::Unknown), |login| see_other(&login))
        }
        Way::NotTheirs(Some((server, visitor))) => html::not_theirs(id, Some((visitor, &server.log_out_url()))),
        Way::Theirs(_) | Way::Key | Way::NotTheirs(None) => html::not_theirs(id, None),
    }
}

/// Whether a form came from the page that the browser was shown. Who is known by the request itself needs no token: the door refuses what
/// the pages of others send.
fn is_sent_by(visitor: Option<&Visitor>, link: &str, request: &Request<Bytes>) -> bool {
    visitor.is_none_or(|visitor| visitor.sent(&subject(link), field(request, "form_token").as_deref()))
}

/// What the token of a form is about.
fn subject(link: &str) -> String {
    format!("connect\0{link}")
}

fn logins(links: &WayOut) -> Result<Logins, LoginError> {
    links.logins().map_err(|outage| unusable(&outage))
}

fn unusable(outage: &Outage) -> LoginError {
    tracing::error!(hint = outage.hint, "the vault cannot be used: {}", outage.why);
    LoginError::Unknown
}

/// What the cookie is called, as that of a login is: one of the whole host has no path, and without TLS gateways at several ports are one host
/// to a browser. So tenants and ports are told apart by the name.
fn cookie_name(callback: &Url, tenant: Option<&str>) -> String {
    let name = match (callback.scheme(), callback.port()) {
        ("https", _) => format!("__Host-{COOKIE}"),
        (_, Some(port)) => format!("{COOKIE}-{port}"),
        (_, None) => COOKIE.to_owned(),
    };
    tenant.map_or_else(|| name.clone(), |tenant| format!("{name}.{tenant}"))
}

/// Where these pages are: a tenant's are below its own path.
fn pages_path(callback: &Url) -> &str {
    callback.path().trim_end_matches("/callback")
}

/// A `__Host-` cookie is for the whole host; browsers keep neither without TLS.
fn cookie_bounds(callback: &Url) -> String {
    if callback.scheme() == "https" { "Secure; Path=/".to_owned() } else { format!("Path={}", pages_path(callback)) }
}

fn refused(error: &LoginError) -> Response<Bytes> {
    tracing::warn!("a login at a server did not end well: {error}");
    let status = match error {
        LoginError::Unknown => StatusCode::NOT_FOUND,
        LoginError::Failed(_) => StatusCode::BAD_GATEWAY,
        _ => StatusCode::BAD_REQUEST,
    };
    let text =
        format!("<h1>Access was not granted</h1><p>{}.</p><p>Make the call again for another link.</p>", escaped(&error.to_string()));
    page(status, &text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn what_is_begun_at_one_gateway_or_tenant_is_kept_apart_from_others() {
        let all = [
            ("https://a.example/connect/callback", None),
            ("https://a.example/t/acme/connect/callback", Some("acme")),
            ("https://a.example/t/umbrella/connect/callback", Some("umbrella")),
            ("http://127.0.0.1:7420/connect/callback", None),
            ("http://127.0.0.1:7420/t/acme/connect/callback", Some("acme")),
            ("http://127.0.0.1:7421/connect/callback", None),
            ("http://localhost/connect/callback", None),
        ];
        let cookies = all.map(|(callback, tenant)| {
            let callback = Url::parse(callback).unwrap();
            (cookie_name(&callback, tenant), cookie_bounds(&callback))
        });
        let names: std::collections::BTreeSet<&str> = cookies.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.len(), all.len(), "{names:?}");
        for (name, bounds) in &cookies {
            // What browsers ask of a cookie that no other host can set (RFC 6265bis, section 4.1.3.2).
            assert_eq!(name.starts_with("__Host-"), bounds == "Secure; Path=/", "{name}: {bounds}");
        }
        let sent =
            Request::builder().header(header::COOKIE, "__Host-sallyport_connect.acme=a; __Host-sallyport_connect=own").body(Bytes::new());
        let sent = sent.unwrap();
        assert_eq!(cookie(&sent, &cookies[0].0), Some("own"));
        assert_eq!(cookie(&sent, &cookies[1].0), Some("a"));
        assert_eq!(cookie(&sent, &cookies[2].0), None);
    }
}
