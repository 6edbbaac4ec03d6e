//! A browser as far as these pages need one: it sends forms, keeps a cookie, and follows where it is sent.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use url::form_urlencoded::Serializer;

pub(crate) struct Browser {
    port: u16,
    pub(crate) cookie: Option<String>,
}

/// A page with its head.
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Page {
    /// The value of a header, whose name is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split_once("\r\n\r\n").map_or(self.text.as_str(), |(head, _)| head);
        let mut values = head.lines().filter_map(|line| line.split_once(": "));
        values.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// What the form of a page carries.
    pub(crate) fn form_token(&self) -> String {
        let (_, rest) = self.text.split_once("name=form_token value=\"").unwrap_or_else(|| panic!("no form: {}", self.text));
        rest.split_once('"').unwrap().0.to_owned()
    }
}

impl Browser {
    pub(crate) fn new(port: u16) -> Self {
        Self { port, cookie: None }
    }

    pub(crate) fn get(&mut self, path: &str) -> Page {
        self.send("GET", path, "", "")
    }

    /// Sends a form from a page of the gateway's own.
    pub(crate) fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let origin = format!("Origin: http://127.0.0.1:{}\r\n", self.port);
        self.post_from(path, fields, &origin)
    }

    /// The same from elsewhere.
    pub(crate) fn post_from(&mut self, path: &str, fields: &[(&str, &str)], headers: &str) -> Page {
        let body = Serializer::new(String::new()).extend_pairs(fields).finish();
        let headers = format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n{headers}", body.len());
        self.send("POST", path, &headers, &body)
    }

    fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Page {
        let cookie = self.cookie.as_ref().map_or_else(String::new, |cookie| format!("Cookie: {cookie}\r\n"));
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let port = self.port;
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{cookie}{headers}Connection: close\r\n\r\n{body}").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no answer: {text}"));
        let page = Page { status, text };
        if let Some((cookie, _)) = page.header("set-cookie").and_then(|cookie| cookie.split_once(';')) {
            self.cookie = Some(cookie.to_owned());
        }
        page
    }
}
