//! Hosts and ports that a server may connect to.

use std::net::IpAddr;

use crate::plan::Destination;

/// Reads `HOST`, `HOST:PORT`, `[IPV6]:PORT` or `*`. A name is letters, digits and hyphens in labels (RFC 1123), so that what is
/// compared later is exactly what is dialled.
pub(crate) fn parse(text: &str) -> Result<Destination, &'static str> {
    let (host, port) = split_port(text)?;
    let host = host.to_ascii_lowercase();
    let fits = host == "*" || host.parse::<IpAddr>().is_ok() || is_host_name(&host);
    if fits { Ok(Destination { host, port }) } else { Err("not a host name or an IP address") }
}

/// Takes the port off the end.
fn split_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    if text.contains("://") {
        return Err("a URL, where a host is wanted");
    }
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text, None));
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    match port.map(str::parse::<u16>) {
        None => Ok((host, None)),
        Some(Ok(port)) if port != 0 => Ok((host, Some(port))),
        Some(_) => Err("the port is not a number from 1 to 65535"),
    }
}

/// Whether `name` is a host name: labels of at most 63 letters, digits and inner hyphens, 253 altogether.
pub(crate) fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read() {
        let shown = |text| parse(text).map(|destination| destination.to_string());
        assert_eq!(shown("API.github.com:443"), Ok("api.github.com:443".into()));
        assert_eq!(shown("example.com"), Ok("example.com".into()));
        assert_eq!(shown("[::1]:80"), Ok("[::1]:80".into()));
        assert_eq!(shown("::1"), Ok("::1".into()));
        assert_eq!(shown("10.0.0.1:5432"), Ok("10.0.0.1:5432".into()));
        assert_eq!(shown("*"), Ok("*".into()));
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        for text in [
            "",
            "https://a.com",
            "a.com:0",
            "a.com:70000",
            "a\0.com",
            "a_b.com",
            "-a.com",
            "a..b",
            "*.a.com",
            "a.com.",
            "a b",
            "bücher.de",
            "a:b:c",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
