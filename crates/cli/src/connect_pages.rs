//! The pages on which a user grants access to a server: `/connect/ID` and `/connect/callback`.
//!
//! The link is no proof of who opens it: it may have been sent to somebody else, who would then give their account to whoever asked. So
//! the page asks, and nobody but the one who was given the link goes on. At a gateway without keys, that is the person at this machine.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use sallyport_gateway::Gateway;
use sallyport_identity::upstream::{LoginError, Owner};
use sallyport_protocol::{CallerToken, Incoming};
use std::sync::Arc;
use url::Url;
use url::form_urlencoded::parse;

/// The cookie that binds the way back to the browser that began.
const COOKIE: &str = "sallyport_connect";

/// What a page may load and who may show it: nothing, and nobody.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

/// Answers a request below `/connect/`; `None` where the path is another one.
pub(crate) async fn answer(gateway: &Gateway, request: &Request<Bytes>, incoming: &Incoming) -> Option<Response<Bytes>> {
    let id = request.uri().path().strip_prefix("/connect/")?;
    let outcome = match (request.method(), id) {
        (&Method::GET, "callback") => callback(gateway, request).await,
        (&Method::GET, id) => ask(gateway, id, incoming).await,
        (&Method::POST, id) if id != "callback" => begin(gateway, id, request, incoming).await,
        _ => return Some(not_allowed()),
    };
    Some(outcome.unwrap_or_else(|error| refused(&error)))
}

/// The same of a gateway that has begun no login.
pub(crate) fn unknown(request: &Request<Bytes>) -> Option<Response<Bytes>> {
    let id = request.uri().path().strip_prefix("/connect/")?;
    let is_read = request.method() == Method::GET || (request.method() == Method::POST && id != "callback");
    Some(if is_read { refused(&LoginError::Unknown) } else { not_allowed() })
}

fn not_allowed() -> Response<Bytes> {
    page(StatusCode::METHOD_NOT_ALLOWED, "<p>This page is read, or sent back by its button.</p>")
}

/// Says what is asked for, and asks whether to go on.
async fn ask(gateway: &Gateway, id: &str, incoming: &Incoming) -> Result<Response<Bytes>, LoginError> {
    let wanted = logins(gateway)?.look(id).await?;
    let host = gateway.granted_by_users(&wanted.server).and_then(|(_, url)| url.host_str().map(str::to_owned));
    let (server, host) = (escaped(&wanted.server), escaped(&host.unwrap_or_default()));
    let key = match gateway.owner(incoming).await {
        Some(_) => "",
        None => "<p><label>Your key for this gateway: <input type=password name=key autocomplete=off required></label></p>",
    };
    let text = format!(
        "<h1>Grant access to {server}?</h1>\
         <p>Sallyport was asked to use <b>{server}</b> ({host}) in your name. If you go on, you log in there, and whatever uses this \
         gateway as you can do there what you allow.</p><p>If you have not just asked for this, close the page.</p>\
         <form method=post>{key}<button>Go on to log in</button></form>"
    );
    Ok(page(StatusCode::OK, &text))
}

/// Sends the one whose link it is to the authorization server.
async fn begin(gateway: &Gateway, id: &str, request: &Request<Bytes>, incoming: &Incoming) -> Result<Response<Bytes>, LoginError> {
    let logins = logins(gateway)?;
    let wanted = logins.look(id).await?;
    if who_is_there(gateway, request, incoming).await.as_ref() != Some(&wanted.owner) {
        return Ok(page(StatusCode::FORBIDDEN, "<p>This link was given to somebody else, or the key is not theirs.</p>"));
    }
    let (config, url) = gateway.granted_by_users(&wanted.server).ok_or(LoginError::Unknown)?;
    let callback = gateway.way_out().callback().ok_or(LoginError::Unknown)?;
    let begun = logins.begin(id, &config, &url, &callback).await?;
    let mut response = page(StatusCode::SEE_OTHER, "");
    let cookie = format!("{}={}; HttpOnly; SameSite=Lax; Max-Age=600; {}", cookie_name(&callback), begun.cookie, cookie_bounds(&callback));
    set(&mut response, header::SET_COOKIE, &cookie);
    set(&mut response, header::LOCATION, begun.to.as_str());
    Ok(response)
}

/// Takes what the authorization server sent back.
async fn callback(gateway: &Gateway, request: &Request<Bytes>) -> Result<Response<Bytes>, LoginError> {
    let answer: Vec<(String, String)> = parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let callback = gateway.way_out().callback().ok_or(LoginError::Unknown)?;
    let cookie = cookie(request, cookie_name(&callback));
    let wanted = logins(gateway)?.finish(&answer, cookie, |server| gateway.granted_by_users(server)).await?;
    let text = format!("<h1>Access to {} is granted</h1><p>You can close this page and go on.</p>", escaped(&wanted.server));
    Ok(page(StatusCode::OK, &text))
}

/// Who sits at the browser: the person at this machine, or whose key was typed in.
async fn who_is_there(gateway: &Gateway, request: &Request<Bytes>, incoming: &Incoming) -> Option<Owner> {
    let key = parse(request.body()).find(|(name, _)| name == "key").map(|(_, key)| CallerToken::new(key.into_owned()));
    let credential = key.map(Arc::new);
    gateway.owner(&Incoming { credential: credential.or_else(|| incoming.credential.clone()), ..incoming.clone() }).await
}

fn logins(gateway: &Gateway) -> Result<sallyport_identity::upstream::Logins, LoginError> {
    gateway.way_out().logins().map_err(|outage| {
        tracing::error!("the vault cannot be used: {}", outage.why);
        LoginError::Unknown
    })
}

fn cookie<'a>(request: &'a Request<Bytes>, name: &str) -> Option<&'a str> {
    let all = request.headers().get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

fn cookie_name(callback: &Url) -> &'static str {
    if callback.scheme() == "https" { "__Host-sallyport_connect" } else { COOKIE }
}

/// A `__Host-` cookie is for the whole host; browsers keep neither without TLS.
fn cookie_bounds(callback: &Url) -> String {
    if callback.scheme() == "https" {
        "Secure; Path=/".to_owned()
    } else {
        format!("Path={}", callback.path().trim_end_matches("/callback"))
    }
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

fn page(status: StatusCode, body: &str) -> Response<Bytes> {
    let text = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>Sallyport</title>\
         <style>body{{font:1rem/1.5 system-ui;max-width:36rem;margin:4rem auto;padding:0 1rem}}button{{font:inherit;padding:.4rem 1rem}}</style>\
         {body}</html>"
    );
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        // Without any, a browser would send the form as if it came from nowhere, and the door refuses that.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn set(response: &mut Response<Bytes>, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
