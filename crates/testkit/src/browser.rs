//! A person's browser without scripts: it follows redirects, keeps cookies, and sends forms as they were filled in.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Redirects in a row at most, as browsers have it.
const MOST_REDIRECTS: usize = 20;
/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// One person's browser. Pages are on this machine, over plain HTTP.
#[derive(Debug, Default)]
pub struct Browser {
    /// By host, whatever its port (RFC 6265 §8.5), and name.
    cookies: BTreeMap<(String, String), String>,
}

/// A page that is shown.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it is, after all redirects.
    pub url: String,
    /// Its HTTP status.
    pub status: u16,
    /// Its text.
    pub body: String,
}

impl Browser {
    /// Opens an address and goes wherever it leads.
    ///
    /// # Errors
    /// What is no page of this machine, and redirects without an end.
    pub fn open(&mut self, url: &str) -> Result<Page, String> {
        self.go("GET", url, "")
    }

    /// Fills in the first form of `page` that has all these fields (a button is one) and sends it.
    ///
    /// # Errors
    /// As [`open`](Self::open), and where there is no such form.
    pub fn submit(&mut self, page: &Page, filled: &[(&str, &str)]) -> Result<Page, String> {
        let has_all = |form: &&str| filled.iter().all(|(name, _)| fields(form).any(|(field, _)| field == *name));
        let form = page.body.split("<form").skip(1).map(|rest| rest.split("</form>").next().unwrap_or(rest)).find(has_all);
        let form = form.ok_or_else(|| format!("{}: no form with {filled:?} in HTTP {}: {}", page.url, page.status, page.body))?;
        let hidden =
            fields(form).filter(|(name, _)| filled.iter().all(|(field, _)| field != name)).filter_map(|(name, value)| Some((name, value?)));
        let filled = filled.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let body: Vec<String> = hidden.chain(filled).map(|(name, value)| format!("{}={}", encoded(&name), encoded(&value))).collect();
        let to =
            form.split('>').next().and_then(|tag| attribute(tag, "action")).map_or_else(|| page.url.clone(), |to| absolute(&page.url, &to));
        self.go("POST", &to, &body.join("&"))
    }

    fn go(&mut self, method: &str, url: &str, body: &str) -> Result<Page, String> {
        let (mut method, mut url, mut body) = (method, url.to_owned(), body);
        for _ in 0..MOST_REDIRECTS {
            let (status, location, text) = self.fetch(method, &url, body)?;
            match location {
                Some(location) => url = absolute(&url, &location),
                None => return Ok(Page { url, status, body: text }),
            }
            (method, body) = ("GET", "");
        }
        Err(format!("{url}: redirects without an end"))
    }

    /// One request: status, where it leads by itself (a redirection, or a page that goes on at once), text.
    fn fetch(&mut self, method: &str, url: &str, body: &str) -> Result<(u16, Option<String>, String), String> {
        let failed = |error: std::io::Error| format!("{url}: {error}");
        let (host, path) = split(url).ok_or_else(|| format!("{url} is no address of this machine"))?;
        let mut stream = TcpStream::connect(host).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let name_of_host = host.split(':').next().unwrap_or(host);
        let of_host = self.cookies.iter().filter(|((of, _), _)| of == name_of_host).map(|((_, name), value)| format!("{name}={value}"));
        let cookies = of_host.collect::<Vec<_>>().join("; ");
        let cookies = if cookies.is_empty() { cookies } else { format!("Cookie: {cookies}\r\n") };
        let form = if method == "POST" {
            format!("Origin: http://{host}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", body.len())
        } else {
            String::new()
        };
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{cookies}{form}Connection: close\r\n\r\n{body}").map_err(failed)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(failed)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, text) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("{url}: no answer"))?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| format!("{url}: no status"))?;
        let headers = || head.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim()));
        for (_, cookie) in headers().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")) {
            if let Some((name, value)) = cookie.split(';').next().and_then(|pair| pair.split_once('=')) {
                self.cookies.insert((name_of_host.to_owned(), name.to_owned()), value.to_owned());
            }
        }
        let header = |wanted: &str| headers().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.to_owned());
        let location = match status {
            300..=399 => header("location"),
            _ => header("refresh").and_then(|when| when.strip_prefix("0;url=").map(str::to_owned)),
        };
        Ok((status, location, text.to_owned()))
    }
}

/// Host and port, and what is behind them.
fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let rest = rest.split('#').next().unwrap_or(rest);
    match rest.find(['/', '?']) {
        Some(at) if rest.get(at..)?.starts_with('/') => rest.split_at_checked(at),
        Some(_) => None,
        None => Some((rest, "/")),
    }
}

fn absolute(from: &str, to: &str) -> String {
    match split(from) {
        Some((host, _)) if to.starts_with('/') => format!("http://{host}{to}"),
        _ => to.to_owned(),
    }
}

/// The fields of a form: inputs with their values, and buttons, which are sent only when pressed.
fn fields(form: &str) -> impl Iterator<Item = (String, Option<String>)> {
    form.split('<').filter_map(|rest| {
        let tag = rest.split('>').next()?;
        let is_input = tag.starts_with("input");
        let name = attribute(tag, "name").filter(|_| is_input || tag.starts_with("button"))?;
        Some((name, is_input.then(|| attribute(tag, "value").unwrap_or_default())))
    })
}

/// The value of an attribute, with quotes around it or without.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}="))?;
    let value = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => rest.split([' ', '>']).next()?,
    };
    Some(value.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&"))
}

/// As a form sends it.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_they_are_written() {
        let form = r#" method="post" action="/a?b=1&amp;c=2"><input type="hidden" name="t" value="x&amp;&#39;y"><input name=n><button name="d" value="allow">"#;
        let all: Vec<(String, Option<String>)> = fields(form).collect();
        assert_eq!(all, [("t".into(), Some("x&'y".into())), ("n".into(), Some(String::new())), ("d".into(), None)]);
        assert_eq!(attribute(form.split('>').next().unwrap_or_default(), "action").as_deref(), Some("/a?b=1&c=2"));
        assert_eq!(encoded("a b&c=é"), "a+b%26c%3D%C3%A9");
    }

    #[test]
    fn addresses_lead_on_from_where_they_stand() {
        assert_eq!(absolute("http://127.0.0.1:1/a", "/b?c"), "http://127.0.0.1:1/b?c");
        assert_eq!(absolute("http://127.0.0.1:1/a", "http://127.0.0.1:2/"), "http://127.0.0.1:2/");
        assert_eq!(split("http://127.0.0.1:1"), Some(("127.0.0.1:1", "/")));
        assert_eq!(split("https://example.com/"), None);
    }
}
