//! What the pages say. Every text from outside is escaped.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use sallyport_gateway::grants::Grantable;
use sallyport_identity::authorization_server::Visitor;
use url::Url;

use crate::html::{escaped, page, set};

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

/// Sends the browser on to log in elsewhere. Not by a redirection: browsers hold a form to `form-action` through all that follow it, and the
/// page would have to let its form go to every address that the login there may lead through.
pub(super) fn lead_on(to: &Url) -> Response<Bytes> {
    let (address, host) = (escaped(to.as_str()), escaped(to.host_str().unwrap_or_default()));
    let text = format!("<h1>On to {host}</h1><p>If nothing happens, <a href=\"{address}\">go on to {host}</a>.</p>");
    let mut response = page(StatusCode::OK, &text);
    set(&mut response, header::REFRESH, &format!("0;url={to}"));
    response
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

fn token_field(visitor: Option<&Visitor>, subject: &str) -> String {
    visitor.map_or_else(String::new, |visitor| field("form_token", &visitor.form_token(&super::subject(subject))))
}

fn field(name: &str, value: &str) -> String {
    format!("<input type=hidden name={name} value=\"{}\">", escaped(value))
}
