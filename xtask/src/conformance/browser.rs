//! The user's browser: it opens a link of the gateway's, presses the button, and follows wherever it is sent, until it is sent no more.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::repository::Outcome;

/// Steps of a login: the page, its button, the authorization server's own redirects, the way back.
const MOST_STEPS: usize = 12;
/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Grants what a link asks for.
pub(super) fn grant(link: &str) -> Outcome {
    let mut cookies = BTreeMap::new();
    let mut step = visit("GET", link, &mut cookies)?;
    if step.status == 200 {
        step = visit("POST", link, &mut cookies)?;
    }
    for _ in 0..MOST_STEPS {
        match (step.status, step.location.take()) {
            (300..=399, Some(location)) => step = visit("GET", &location, &mut cookies)?,
            (200, _) => return Ok(()),
            (status, _) => return Err(format!("a page answered HTTP {status}: {}", step.body)),
        }
    }
    Err("the login does not end".to_owned())
}

struct Step {
    status: u16,
    location: Option<String>,
    body: String,
}

/// One request. Cookies are kept by host and port.
fn visit(method: &str, url: &str, cookies: &mut BTreeMap<String, String>) -> Outcome<Step> {
    let failed = |error: std::io::Error| format!("{url}: {error}");
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url} is no address of this machine"))?;
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut stream = TcpStream::connect(host).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let cookie = cookies.get(host).map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
    let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{cookie}{length}Connection: close\r\n\r\n").map_err(failed)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("{url}: no answer"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| format!("{url}: no status"))?;
    let header = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    if let Some(pair) = header("set-cookie").as_deref().and_then(|cookie| cookie.split(';').next()) {
        cookies.insert(host.to_owned(), pair.to_owned());
    }
    Ok(Step { status, location: header("location"), body: body.to_owned() })
}
