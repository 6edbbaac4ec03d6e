//! The front door: where the gateway listens, and what must be true before it may listen there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sallyport_address::Block;
use sallyport_sandbox::egress::Name;
use sallyport_transport::server::Proxies;
use url::Url;

use crate::config::diagnostic::{Diagnostic, Report};
use crate::config::model::Config;
use crate::config::validate::{Context, certificates};
use crate::plan::TlsPlan;

/// Where a gateway listens when nothing else is said: loopback only, on a port that no registered service has.
pub(crate) const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7420);

/// The shortest prefix of a block of proxies: no operator has more addresses for them.
const SHORTEST_V4: u8 = 8;
const SHORTEST_V6: u8 = 32;

/// The checked keys of the front door.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) listen: SocketAddr,
    pub(super) tls: Option<TlsPlan>,
    pub(super) proxies: Option<Proxies>,
    pub(super) allowed_origins: Vec<String>,
    pub(super) allowed_hosts: Vec<String>,
}

/// Checks the front door.
pub(super) fn check(config: &Config, context: &Context<'_>, report: &mut Report) -> Endpoint {
    let listen = config.listen.as_deref().map_or(Ok(DEFAULT_LISTEN), listen_address);
    let listen = report.take(listen);
    if let Some(listen) = listen {
        check_reach(config, listen, report);
    }
    if config.tls.is_none() {
        certificates::check_door(&config.tenants, report);
    }
    let tls = config.tls.as_ref().and_then(|tls| {
        let certificate = report.take(context.path("tls.certificate", &tls.certificate));
        let key = report.take(context.path("tls.key", &tls.key));
        let clients = certificates::authorities(tls, &config.tenants, context, report);
        Some(TlsPlan { certificate: certificate?, key: key?, clients })
    });
    Endpoint {
        listen: listen.unwrap_or(DEFAULT_LISTEN),
        tls,
        proxies: proxies(config, listen, report),
        allowed_origins: each("allowed_origins", &config.allowed_origins, web_origin, report),
        allowed_hosts: each("allowed_hosts", &config.allowed_hosts, host, report),
    }
}

/// Reads `IP:PORT` or `localhost:PORT`.
fn listen_address(text: &str) -> Result<SocketAddr, Diagnostic> {
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    numeric.as_deref().unwrap_or(text).parse().map_err(|_| {
        Diagnostic::new("listen", format!("`{}` is not an address", text.escape_debug()))
            .hint("write `IP:PORT`, such as `127.0.0.1:7420` or `[::1]:7420`")
    })
}

/// Beyond loopback, a caller must show a key, and the key must not cross the network in the clear.
fn check_reach(config: &Config, listen: SocketAddr, report: &mut Report) {
    if listen.ip().is_loopback() {
        return;
    }
    if config.keys.is_empty()
        && config.identity.issuers.is_empty()
        && config.identity.server.is_none()
        && !config.identity.api_keys
        && config.identity.certificates.is_empty()
    {
        report.error(
            Diagnostic::new("keys", format!("the gateway would listen on {listen}, beyond this machine, without asking for a key"))
                .hint("set `keys = [\"env:SALLYPORT_KEY\"]` or something in `identity`, or listen on 127.0.0.1"),
        );
    }
    if config.tls.is_none() && !config.behind_proxy {
        report.error(
            Diagnostic::new("tls", format!("the gateway would listen on {listen}, beyond this machine, without TLS"))
                .hint("set `tls = { certificate = \"…\", key = \"…\" }`, or `behind_proxy = true` and `trusted_proxies` when a proxy in front speaks TLS"),
        );
    }
}

/// Whose word is taken for whom they speak for. Without a list that are proxies on this machine, if nobody else reaches the gateway: private
/// addresses tell nothing, since in an office or a cluster callers have them, too.
fn proxies(config: &Config, listen: Option<SocketAddr>, report: &mut Report) -> Option<Proxies> {
    let named = each("trusted_proxies", &config.trusted_proxies, proxy, report);
    if !config.behind_proxy {
        if !config.trusted_proxies.is_empty() {
            let error = Diagnostic::new("trusted_proxies", "proxies are named, but none is said to be in front of the gateway");
            report.error(error.hint("set `behind_proxy = true`, or take `trusted_proxies` out"));
        }
        return None;
    }
    if !config.trusted_proxies.is_empty() {
        return Some(Proxies::at(named));
    }
    if let Some(listen) = listen.filter(|listen| !listen.ip().is_loopback()) {
        let text =
            format!("the gateway would listen on {listen}, beyond this machine, and nothing says which of those who connect is the proxy");
        report.error(
            Diagnostic::new("trusted_proxies", text)
                .hint("name the addresses that the proxy connects from: `trusted_proxies = [\"10.0.0.5\"]`, or `[\"127.0.0.1\"]` where it is on this machine"),
        );
    }
    Some(Proxies::on_this_machine())
}

/// Reads where proxies connect from.
fn proxy(text: &str) -> Result<Block, &'static str> {
    const HINT: &str = "write an IP address, or a block of them: `10.0.0.5`, `10.1.0.0/24`, `fd00::/64`";
    let block: Block = text.parse().map_err(|_| HINT)?;
    if block.address() != block.address().to_canonical() {
        return Err(HINT); // blocks of IPv4 are written as IPv4
    }
    let shortest = if block.address().is_ipv4() { SHORTEST_V4 } else { SHORTEST_V6 };
    if block.prefix() < shortest {
        return Err("more addresses than a /8 (IPv6: /32) are not proxies alone: whoever else has one of them could claim any address");
    }
    Ok(block)
}

/// Reads each entry of the list at `path`.
fn each<T>(path: &str, entries: &[String], read: fn(&str) -> Result<T, &'static str>, report: &mut Report) -> Vec<T> {
    let read = |(index, entry): (usize, &String)| {
        let value = read(entry).map_err(|hint| {
            Diagnostic::new(format!("{path}[{index}]"), format!("`{}` does not fit here", entry.escape_debug())).hint(hint)
        });
        report.take(value)
    };
    entries.iter().enumerate().filter_map(read).collect()
}

/// Reads an origin, exactly as a browser sends it: compared later byte for byte.
fn web_origin(text: &str) -> Result<String, &'static str> {
    const HINT: &str = "write an origin as a browser sends it: `https://app.example.com`, with the port if it is not the usual one";
    if matches!(text, "*" | "null") {
        return Err("this would let any page in a browser call the gateway: name the origins one by one");
    }
    let origin = Url::parse(text).map_err(|_| HINT)?.origin();
    let written = origin.ascii_serialization();
    if origin.is_tuple() && text.trim_end_matches('/').eq_ignore_ascii_case(&written) { Ok(written) } else { Err(HINT) }
}

/// Reads a `Host` value.
fn host(text: &str) -> Result<String, &'static str> {
    const HINT: &str = "write a host name, with its port or without; any name at all (`*`) would let DNS rebinding in";
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if text.parse::<IpAddr>().is_err() && !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match (bracketed.unwrap_or(host).parse::<IpAddr>(), bracketed) {
        (Ok(IpAddr::V6(address)), _) if port.is_some() => format!("[{address}]"),
        (Ok(IpAddr::V6(address)), _) => address.to_string(),
        (Ok(IpAddr::V4(address)), None) => address.to_string(),
        _ => Name::new(host).ok_or(HINT)?.to_string(),
    };
    match port.map(str::parse::<u16>) {
        None => Ok(host),
        Some(Ok(port)) if port != 0 => Ok(format!("{host}:{port}")),
        Some(_) => Err(HINT),
    }
}
