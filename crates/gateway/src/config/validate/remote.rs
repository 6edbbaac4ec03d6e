//! A server elsewhere.

use std::net::IpAddr;

use http::HeaderName;
use url::{Host, Url};

use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::model::ServerConfig;
use crate::config::validate::{Context, credential, server};
use crate::plan::{Part, RemotePlan, Template};

/// Headers that carry the protocol itself: the gateway sets them.
const OWN_HEADERS: [&str; 10] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "transfer-encoding",
];

/// Checks the endpoint `written` of the server at `path`.
pub(super) fn check(path: &str, written: &str, config: &ServerConfig, context: &Context<'_>, report: &mut Report) -> Option<RemotePlan> {
    let url_path = join(path, "url");
    let text = context.text(&url_path, written, report);
    let url = text.and_then(|text| report.take(endpoint(&url_path, &text, context)));
    let headers = server::values(&join(path, "headers"), &config.headers, check_header, context, report);
    for (name, value) in &headers {
        let broken = |part: &Part| matches!(part, Part::Text(text) if text.contains(|c: char| c.is_control() && c != '\t'));
        if value.parts().iter().any(broken) {
            report.error(Diagnostic::new(join(&join(path, "headers"), name), "the value has control characters in it"));
        }
    }
    let url = url?;
    if url.scheme() == "http" && !is_loopback(&url) {
        report.warn(Diagnostic::new(url_path, "what is sent to this server crosses the network in the clear").hint("use `https://`"));
    }
    let credential = credential::check(path, config, &url, context, report);
    Some(RemotePlan { url, transport: config.transport, headers, credential })
}

/// The endpoint, its variables replaced.
fn endpoint(path: &str, text: &Template, context: &Context<'_>) -> Result<Url, Diagnostic> {
    let text = replace(path, text, context)?;
    let hint = "write `https://HOST/PATH`";
    let url = Url::parse(&text).map_err(|error| Diagnostic::new(path, format!("not a URL: {error}")).hint(hint))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Diagnostic::new(path, format!("`{}` is not a scheme that MCP is spoken over here", url.scheme())).hint(hint));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Diagnostic::new(path, "user and password in a URL are not sent")
            .hint("put them into `headers`: `Authorization = \"file:PATH\"`"));
    }
    if url.fragment().is_some() {
        return Err(Diagnostic::new(path, "the part after `#` is never sent").hint("remove it"));
    }
    Ok(url)
}

/// The text with each variable's value in its place.
fn replace(path: &str, text: &Template, context: &Context<'_>) -> Result<String, Diagnostic> {
    text.parts().iter().try_fold(String::new(), |mut url, part| {
        match part {
            Part::Text(text) => url.push_str(text),
            Part::Secret(reference) => {
                let name = reference.to_string();
                let name = name.strip_prefix("env:").ok_or_else(|| {
                    Diagnostic::new(path, "only `${env:NAME}` can stand in a URL").hint("put secrets from files into `headers`")
                })?;
                let value = (context.variables)(name).ok_or_else(|| {
                    Diagnostic::new(path, format!("the environment variable `{name}` is not set")).hint("set it, or write the URL in full")
                })?;
                url.push_str(&value);
            }
        }
        Ok(url)
    })
}

fn check_header(name: &str) -> Result<(), Diagnostic> {
    let parsed = HeaderName::from_bytes(name.as_bytes());
    let parsed = parsed.map_err(|_| Diagnostic::new("", "a header cannot have this name"))?;
    if OWN_HEADERS.contains(&parsed.as_str()) {
        return Err(Diagnostic::new("", format!("the gateway itself sets `{parsed}`")).hint("remove it"));
    }
    Ok(())
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}
