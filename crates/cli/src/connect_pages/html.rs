//! What the pages look like: plain HTML without scripts. Every text from outside is escaped.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use sallyport_gateway::grants::Grantable;
use sallyport_identity::authorization_server::Visitor;

/// What a page may load and who may show it: nothing, and nobody.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

/// What a user may grant access to, with a button for each that they have not.
pub(super) fn list(all: &[Grantable], visitor: Option<&Visitor>) -> Response<Bytes> {
    let fields = token_field(visitor, super::ALL);
    let row = |server: &Grantable| {
        let (name, host) = (escaped(&server.server), escaped(&server.host));
        let state = match server.is_granted {
            true => "access is granted".to_owned(),
            false => format!("<form method=post>{fields}<button name=server value=\"{name}\">Grant access to {name}</button></form>"),
        };
        format!("<dt><b>{name}</b> ({host})</dt><dd>{state}</dd>")
    };
    let rows: String = all.iter().map(row).collect();
    let told = if rows.is_empty() {
        "<p>There is nothing that you could grant access to here.</p>".to_owned()
    } else {
        format!("<dl>{rows}</dl>")
    };
    let whom = visitor.map_or_else(String::new, |visitor| format!("<p>You are {}.</p>", escaped(visitor.name())));
    page(StatusCode::OK, &format!("<h1>Your access to other servers</h1>{whom}{told}"))
}

/// Says what is asked for, and asks whether to go on.
pub(super) fn ask(server: &str, host: &str, link: &str, needs_key: bool, visitor: Option<&Visitor>) -> Response<Bytes> {
    let (server, host) = (escaped(server), escaped(host));
    let key = match needs_key {
        true => "<p><label>Your key for this gateway: <input type=password name=key autocomplete=off required></label></p>",
        false => "",
    };
    let fields = token_field(visitor, link);
    let whom = visitor.map_or_else(String::new, |visitor| format!("<p>You are {}.</p>", escaped(visitor.name())));
    let text = format!(
        "<h1>Grant access to {server}?</h1>\
         <p>Sallyport was asked to use <b>{server}</b> ({host}) in your name. If you go on, you log in there, and whatever uses this \
         gateway as you can do there what you allow.</p><p>If you have not just asked for this, close the page.</p>{whom}\
         <form method=post>{fields}{key}<button>Go on to log in</button></form>"
    );
    page(StatusCode::OK, &text)
}

/// Refuses somebody whose link it is not. Who is logged in as somebody else may change that.
pub(super) fn not_theirs(link: &str, as_whom: Option<(&Visitor, &str)>) -> Response<Bytes> {
    let other = as_whom.map_or_else(String::new, |(visitor, log_out)| {
        let hidden: String = visitor.log_out_fields(Some(link)).iter().map(|(name, value)| field(name, value)).collect();
        let (name, action) = (escaped(visitor.name()), escaped(log_out));
        format!("<form method=post action=\"{action}\">{hidden}<p>You are {name}. <button>Log in as somebody else</button></p></form>")
    });
    page(StatusCode::FORBIDDEN, &format!("<p>This link was given to somebody else, or the key is not theirs.</p>{other}"))
}

/// A page of a status.
pub(super) fn page(status: StatusCode, body: &str) -> Response<Bytes> {
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

/// Sends the browser elsewhere, by GET.
pub(super) fn see_other(location: &str) -> Response<Bytes> {
    let mut response = page(StatusCode::SEE_OTHER, "");
    set(&mut response, header::LOCATION, location);
    response
}

pub(super) fn set(response: &mut Response<Bytes>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

fn token_field(visitor: Option<&Visitor>, subject: &str) -> String {
    visitor.map_or_else(String::new, |visitor| field("form_token", &visitor.form_token(&super::subject(subject))))
}

fn field(name: &str, value: &str) -> String {
    format!("<input type=hidden name={name} value=\"{}\">", escaped(value))
}
