//! A person's browser, without scripts: cookies, forms and links. Each port is a host of its own to it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use url::{Url, form_urlencoded};

/// Redirections that are followed in a row: a login takes seven.
const MOST: usize = 12;

/// A browser with its cookies.
#[derive(Clone, Default)]
pub(crate) struct Browser {
    cookies: BTreeMap<u16, BTreeMap<String, String>>,
}

/// What is shown.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: u16,
    /// Where it leads by itself: a redirection, or a page that goes on at once.
    pub(crate) location: Option<Url>,
    pub(crate) html: String,
}

impl Page {
    /// The value of the first hidden field of that name.
    pub(crate) fn field(&self, name: &str) -> String {
        let inputs = self.html.split("<input").skip(1).map(|rest| rest.split('>').next().unwrap_or_default());
        let named = |input: &&str| attribute(input, "name").as_deref() == Some(name) && input.contains("hidden");
        inputs.into_iter().find(named).and_then(|input| attribute(input, "value")).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// Where its first form goes.
    pub(crate) fn action(&self) -> Url {
        let form = self.html.split("<form").nth(1).unwrap_or_else(|| panic!("no form in {self:?}"));
        match attribute(form.split('>').next().unwrap(), "action") {
            Some(action) => self.url.join(&action).unwrap(),
            None => self.url.clone(),
        }
    }

    /// The link that says this.
    pub(crate) fn link(&self, text: &str) -> String {
        let (before, _) = self.html.split_once(&format!(">{text}</a>")).unwrap_or_else(|| panic!("no link {text} in {self:?}"));
        attribute(before.rsplit("<a").next().unwrap(), "href").unwrap()
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let url = self.location.as_ref().unwrap_or(&self.url);
        url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }
}

impl Browser {
    /// Opens an address and follows where it leads, as far as something at this port or the others is there.
    pub(crate) fn open(&mut self, url: &str) -> Page {
        let page = self.get(url);
        self.follow(page)
    }

    /// Sends a form and follows.
    pub(crate) fn submit(&mut self, url: &str, fields: &[(&str, &str)]) -> Page {
        let page = self.post(url, fields);
        self.follow(page)
    }

    fn follow(&mut self, mut page: Page) -> Page {
        for _ in 0..MOST {
            match &page.location {
                Some(to) if to.port() != Some(1) => page = self.get(to.clone().as_str()),
                _ => return page,
            }
        }
        panic!("it leads in circles: {page:?}");
    }

    pub(crate) fn get(&mut self, url: &str) -> Page {
        self.send("GET", url, "")
    }

    pub(crate) fn post(&mut self, url: &str, fields: &[(&str, &str)]) -> Page {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send("POST", url, &body)
    }

    /// The cookie of a gateway.
    pub(crate) fn cookie(&self, port: u16) -> Option<&String> {
        self.cookies.get(&port)?.get(&format!("sallyport-{port}"))
    }

    /// Is logged in at a gateway as another browser is.
    pub(crate) fn take_login_of(&mut self, port: u16, other: &Self) {
        let name = format!("sallyport-{port}");
        self.take_cookie(port, other, &name, &name);
    }

    /// Takes a cookie of another browser, and shows it under this name.
    pub(crate) fn take_cookie(&mut self, port: u16, other: &Self, theirs: &str, name: &str) {
        let cookie = other.cookies[&port].get(theirs).unwrap_or_else(|| panic!("no cookie {theirs}")).clone();
        self.cookies.entry(port).or_default().insert(name.to_owned(), cookie);
    }

    fn send(&mut self, method: &str, url: &str, body: &str) -> Page {
        let url = Url::parse(url).unwrap();
        let port = url.port().expect("everything here is at a port of its own");
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let cookies: Vec<String> = self.cookies.entry(port).or_default().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookie = if cookies.is_empty() { String::new() } else { format!("Cookie: {}\r\n", cookies.join("; ")) };
        let form = if method == "POST" { "Content-Type: application/x-www-form-urlencoded\r\n" } else { "" };
        write!(
            stream,
            "{method} {target} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{cookie}{form}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, html) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{url}: {answer}"));
        let header = |wanted: &'static str| {
            head.lines().filter_map(|line| line.split_once(": ")).filter(move |(name, _)| name.eq_ignore_ascii_case(wanted))
        };
        for (_, cookie) in header("set-cookie") {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.entry(port).or_default().insert(name.to_owned(), value.to_owned());
        }
        let goes_on = header("refresh").next().map(|(_, when)| when.strip_prefix("0;url=").expect("at once, to an address"));
        let location = header("location").next().map(|(_, to)| to).or(goes_on).map(|to| url.join(to).unwrap());
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Page { status, location, html: html.to_owned(), url }
    }

    /// Fills in a gateway's login form.
    pub(crate) fn log_in(&mut self, page: &Page, name: &str, password: &str) -> Page {
        let (request, token) = (page.field("request"), page.field("form_token"));
        let fields = [("request", request.as_str()), ("form_token", &token), ("name", name), ("password", password)];
        self.submit(page.action().as_str(), &fields)
    }

    /// Agrees to what a client asks of a gateway, and stops where that leads.
    pub(crate) fn allow(&mut self, page: &Page) -> Page {
        let (request, token) = (page.field("request"), page.field("form_token"));
        self.post(page.action().as_str(), &[("request", &request), ("form_token", &token), ("decision", "allow")])
    }
}

/// The value of an attribute, with quotes or without.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}="))?;
    let value = match rest.chars().next()? {
        quote @ ('"' | '\'') => rest.strip_prefix(quote)?.split(quote).next()?,
        _ => rest.split([' ', '>']).next()?,
    };
    Some(value.replace("&amp;", "&"))
}
