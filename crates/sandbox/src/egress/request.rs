//! Reads the host out of the first request of plain HTTP/1 (RFC 9112), and makes that request the last one of its connection.
//!
//! What passes for a request is what the most lenient server would take for one; what is then asked of it is what every client keeps to.

use super::name::Name;

/// The largest head that is looked at: Node's servers take no more by themselves, and others less.
pub(super) const LONGEST_HEAD: usize = 16 * 1024;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// Not HTTP/1.
    Other,
    /// The beginning of a line that may become a request's.
    Line,
    /// A request's first line; its head goes on.
    Unfinished,
    /// A whole head that asks for this name, as it is to be passed on, and what has come behind it.
    For(Name, Vec<u8>),
    /// Not to be understood, or in two ways.
    Malformed,
}

struct Malformed;

/// Looks at the bytes that a client has sent so far.
pub(super) fn read(bytes: &[u8]) -> First {
    // Servers pass over empty lines before a request.
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(bytes.len());
    let (empty, rest) = bytes.split_at(start);
    match rest.iter().position(|byte| *byte == b'\n').and_then(|end| rest.get(..end)) {
        None => unfinished_line(rest),
        Some(line) if !is_request(line) => First::Other,
        Some(_) if !empty.is_empty() => First::Malformed,
        Some(_) => head(rest).unwrap_or(First::Malformed),
    }
}

/// What a line is whose end is not there.
fn unfinished_line(line: &[u8]) -> First {
    let method = line.iter().position(|byte| !is_token(*byte)).unwrap_or(line.len());
    let (_, target) = line.split_at(method);
    let may_go_on =
        target.first().is_none_or(|byte| is_space(*byte)) && !target.iter().any(|byte| byte.is_ascii_control() && !is_space(*byte));
    match may_go_on {
        false => First::Other,
        true if line.len() < LONGEST_HEAD => First::Line,
        true if target.is_empty() => First::Other, // no server knows a method of that length
        true => First::Malformed,
    }
}

/// Whether a server would take a line for the first one of a request, be it that of HTTP/0.9.
fn is_request(line: &[u8]) -> bool {
    let mut words = line.split(|byte| is_space(*byte)).filter(|word| !word.is_empty());
    let is_method = words.next().is_some_and(|word| word.iter().all(|byte| is_token(*byte)));
    let target = words.next();
    let last = words.next_back().or(target);
    // HTTP/2, which begins so, is another protocol.
    let is_other = line == b"PRI * HTTP/2.0\r";
    is_method
        && !is_other
        && (last.is_some_and(|word| starts_with(word, b"HTTP/")) || target.is_some_and(|word| behind_scheme(word).is_some()))
}

/// Reads a request's head up to its empty line.
fn head(bytes: &[u8]) -> Result<First, Malformed> {
    let mut rest = bytes;
    let mut lines = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, behind) = rest.split_at(end + 1);
        rest = behind;
        // A line that only ends in LF is a line for one server, and for another it is not.
        let line = line.strip_suffix(b"\r\n").ok_or(Malformed)?;
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(Malformed);
        }
        if line.is_empty() {
            return alone(&lines, rest);
        }
        lines.push(line);
    }
    if bytes.len() < LONGEST_HEAD { Ok(First::Unfinished) } else { Err(Malformed) }
}

/// The request of these lines, with `Connection: close` in the place of what it said about its connection: a server that keeps to HTTP
/// answers it, and no other behind it.
fn alone(lines: &[&[u8]], behind: &[u8]) -> Result<First, Malformed> {
    let (request, fields) = lines.split_first().ok_or(Malformed)?;
    let target = target(request)?;
    let (mut host, mut is_upgrade, mut head) = (None, false, [request, &b"\r\n"[..]].concat());
    for line in fields {
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Malformed)?;
        let (field, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
        if field.is_empty() || !field.iter().all(|byte| is_token(*byte)) {
            return Err(Malformed);
        }
        match field.to_ascii_lowercase().as_slice() {
            b"host" if host.replace(named(value.trim_ascii())?).is_some() => return Err(Malformed),
            b"connection" | b"proxy-connection" => {
                is_upgrade |= value.split(|byte| *byte == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
                continue;
            }
            _ => {}
        }
        head.extend([line, &b"\r\n"[..]].concat());
    }
    head.extend_from_slice(if is_upgrade { b"Connection: upgrade, close\r\n\r\n" } else { b"Connection: close\r\n\r\n" });
    head.extend_from_slice(behind);
    let host = host.ok_or(Malformed)?;
    if target.is_some_and(|target| target != host) { Err(Malformed) } else { Ok(First::For(host, head)) }
}

/// The host in a request's first line, if there is one.
fn target(line: &[u8]) -> Result<Option<Name>, Malformed> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let &[method, target, b"HTTP/1.0" | b"HTTP/1.1"] = words.as_slice() else { return Err(Malformed) };
    if target == b"*" || target.starts_with(b"/") {
        return Ok(None);
    }
    if method == b"CONNECT" {
        return named(target).map(Some);
    }
    let authority = behind_scheme(target).ok_or(Malformed)?;
    let end = authority.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(authority.len());
    named(authority.get(..end).unwrap_or_default()).map(Some)
}

/// `NAME` or `NAME:PORT`.
fn named(authority: &[u8]) -> Result<Name, Malformed> {
    let authority = std::str::from_utf8(authority).map_err(|_| Malformed)?;
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    Name::new(host).filter(|_| is_port).ok_or(Malformed)
}

fn behind_scheme(target: &[u8]) -> Option<&[u8]> {
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| starts_with(target, scheme))?;
    target.get(scheme.len()..)
}

fn starts_with(word: &[u8], start: &[u8]) -> bool {
    word.get(..start.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(start))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What servers have taken for one.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use proptest::prelude::*;

    use super::*;

    /// The name, and what is passed on.
    fn whole(bytes: &str) -> (String, String) {
        match read(bytes.as_bytes()) {
            First::For(name, head) => (name.to_string(), String::from_utf8(head).unwrap()),
            other => panic!("{bytes:?}: {other:?}"),
        }
    }

    #[test]
    fn the_name_is_found_and_the_request_is_the_last_one() {
        let request =
            "POST /a HTTP/1.1\r\nAccept: */*\r\nHOST:\tAPI.example:8080 \r\nConnection: keep-alive\r\nProxy-Connection: x\r\n\r\nbody";
        let (name, head) = whole(request);
        assert_eq!(name, "api.example");
        assert_eq!(head, "POST /a HTTP/1.1\r\nAccept: */*\r\nHOST:\tAPI.example:8080 \r\nConnection: close\r\n\r\nbody");
        for end in 0..request.find("\r\n\r\n").unwrap() + 4 {
            let is_line = request.find('\n').is_some_and(|first| end <= first);
            let expected = if is_line { First::Line } else { First::Unfinished };
            assert_eq!(read(&request.as_bytes()[..end]), expected, "{end}");
        }
        let (_, head) = whole("GET / HTTP/1.0\r\nHost: a\r\nConnection: x, Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(head, "GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\r\n");
        for line in ["OPTIONS * HTTP/1.1", "GET http://A?x HTTP/1.1", "GET HTTPS://a:1/x HTTP/1.1", "CONNECT a:443 HTTP/1.1"] {
            assert_eq!(whole(&format!("{line}\r\nHost: a\r\n\r\n")).0, "a", "{line}");
        }
    }

    #[test]
    fn what_two_servers_could_read_differently_is_malformed() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x@a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nX: \0\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nX: \rHost: b\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://b@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "get / http/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://b/\r\n\r\n",
        ] {
            assert_eq!(read(head.as_bytes()), First::Malformed, "{head:?}");
        }
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(LONGEST_HEAD));
        assert_eq!(read(long.as_bytes()), First::Malformed);
        assert_eq!(read(format!("GET /{}", "x".repeat(LONGEST_HEAD)).as_bytes()), First::Malformed);
    }

    #[test]
    fn other_protocols_are_left_alone() {
        for other in [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "EHLO a.example\r\n",
            "*1\r\n$4\r\nPING\r\n",
            "get key\r\n",
            "OPTIONS rtsp://a.example RTSP/1.0\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "{\"method\": \"x\"}",
            "<stream:stream>",
            "0033git-upload-pack /p\0host=a\0",
            "HTTP/1.1 200 OK\r\n",
            "<34>1 - \"GET / HTTP/1.1\"\r\n",
            "AMQP\0\0\t\u{1}",
            "\0\0\0\u{8}",
        ] {
            assert_eq!(read(other.as_bytes()), First::Other, "{other:?}");
        }
        // Nothing of these is held back.
        for line in ["", "\r\n", "ruok", "stat me"] {
            assert_eq!(read(line.as_bytes()), First::Line, "{line:?}");
        }
        assert_eq!(read("x".repeat(LONGEST_HEAD).as_bytes()), First::Other);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble_and_what_passes_is_read_the_same(bytes in "[ -~\r\n\t]{0,80}", host in "[a-z:.@ ]{1,9}") {
            let _any = read(bytes.as_bytes());
            let request = format!("GET {bytes} HTTP/1.1\r\nHost: {host}\r\n{bytes}\r\n\r\n");
            if let First::For(name, head) = read(request.as_bytes()) {
                prop_assert_eq!(read(&head), First::For(name, head.clone()));
            }
        }
    }
}
