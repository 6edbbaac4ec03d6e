//! Whom a proxy before the door speaks for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName};
use sallyport_address::Block;
use sallyport_protocol::Peer;

/// Proxies put the address that a request came from behind what its caller has written there already. `Forwarded` (RFC 7239) is not read:
/// a proxy that writes the one lets the other through as its caller wrote it.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The addresses from which proxies connect: their word is taken for whom they speak for, and nobody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies(Vec<Block>);

impl Proxies {
    /// Proxies on this machine, and nowhere else.
    #[must_use]
    pub fn on_this_machine() -> Self {
        let loopback = Block::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
        Self(loopback.into_iter().chain([Block::single(IpAddr::V6(Ipv6Addr::LOCALHOST))]).collect())
    }

    /// Proxies at these addresses.
    #[must_use]
    pub fn at(addresses: Vec<Block>) -> Self {
        Self(addresses)
    }

    fn include(&self, address: IpAddr) -> bool {
        self.0.iter().any(|block| block.contains(address))
    }

    /// Where a request comes from that came over a connection from `connected`. Where there are proxies nothing is taken for this machine's
    /// user: whoever connects from here without being a proxy that is known may be one that was forgotten, and comes from nowhere.
    pub(super) fn peer(&self, connected: IpAddr, headers: &HeaderMap) -> Peer {
        if self.include(connected.to_canonical()) {
            return Peer::Proxied(self.caller(headers));
        }
        match Peer::from_address(connected) {
            Peer::Loopback => Peer::Proxied(None),
            other => other,
        }
    }

    /// The address that the first proxy saw: from the last one backwards, the first that is no proxy's itself. What stands before that are
    /// words of others. `None` where a proxy has not said, or not understandably; nor is an address of this machine said of anybody.
    fn caller(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut first = None;
        for value in headers.get_all(FORWARDED_FOR).iter().rev() {
            for entry in value.to_str().ok()?.rsplit(',') {
                let told = address(entry.trim_ascii())?;
                first = Some(told);
                if !self.include(told) {
                    return first.filter(|told| !told.is_loopback() && !told.is_unspecified());
                }
            }
        }
        first.filter(|told| !told.is_loopback()) // a proxy that asks for itself
    }
}

/// An address as proxies write it: some add the port, some put IPv6 into brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|inner| inner.contains(':'));
    let address = bare.unwrap_or(text).parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn told(values: &[&[u8]]) -> Option<String> {
        Proxies::on_this_machine().caller(&headers(values)).map(|address| address.to_string())
    }

    #[test]
    fn the_last_address_counts_in_each_way_of_writing() {
        for (value, address) in [
            ("192.0.2.7", "192.0.2.7"),
            ("127.0.0.1, 10.0.0.1,192.0.2.7 ", "192.0.2.7"),
            ("not an address, 192.0.2.7:4711", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
        ] {
            assert_eq!(told(&[value.as_bytes()]).as_deref(), Some(address), "{value}");
        }
        assert_eq!(told(&[b"127.0.0.1", b"10.0.0.1, 192.0.2.7"]).as_deref(), Some("192.0.2.7"), "the last of several headers");
    }

    #[test]
    fn what_cannot_be_read_is_no_address_and_nothing_before_it_counts() {
        assert_eq!(told(&[]), None);
        for value in [
            "",
            "127.0.0.1",
            "[::1]:80",
            "::",
            ",",
            "192.0.2.7,",
            "192.0.2.7, unknown",
            "192.0.2.7, _hidden",
            "[192.0.2.7]",
            "192.0.2",
            "192.0.2.7 10.0.0.1",
            "fe80::1%eth0",
        ] {
            assert_eq!(told(&[value.as_bytes()]), None, "{value}");
        }
        assert_eq!(told(&[b"192.0.2.7", b"192.0.2.8, \xff"]), None);
        assert_eq!(told(&[b"192.0.2.7", b""]), None);
    }

    fn two_networks() -> Proxies {
        Proxies::at(["10.1.0.0/16", "fd00::7"].map(|block| block.parse().unwrap()).into())
    }

    #[test]
    fn proxies_in_a_row_are_passed_over_from_the_last_one_back() {
        for (values, address) in [
            (&["192.0.2.7, 10.1.0.5"][..], Some("192.0.2.7")),
            (&["198.51.100.1, 192.0.2.7, 10.1.0.5, fd00::7"], Some("192.0.2.7")),
            (&["198.51.100.1, 192.0.2.7", "10.1.0.5", "10.1.0.6:80"], Some("192.0.2.7")),
            (&["192.0.2.7, 10.2.0.5"], Some("10.2.0.5")),
            (&["192.0.2.7, 127.0.0.1"], None),
            (&["192.0.2.7, ::ffff:10.1.0.5"], Some("192.0.2.7")),
            (&["192.0.2.7, unknown, 10.1.0.5"], None),
            (&["192.0.2.7,, 10.1.0.5"], None),
            (&["10.1.0.5, 10.1.0.6"], Some("10.1.0.5")),
            (&["", "10.1.0.6"], None),
        ] {
            let bytes: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
            let told = two_networks().caller(&headers(&bytes)).map(|address| address.to_string());
            assert_eq!(told.as_deref(), address, "{values:?}");
        }
    }

    #[test]
    fn nobody_but_a_known_proxy_speaks_for_others() {
        let headers = headers(&[b"192.0.2.7"]);
        let spoken_for = Peer::Proxied(Some("192.0.2.7".parse().unwrap()));
        for (connected, expected) in [
            ("10.1.255.1", spoken_for),
            ("::ffff:10.1.0.1", spoken_for),
            ("fd00::7", spoken_for),
            ("10.2.0.1", Peer::Remote("10.2.0.1".parse().unwrap())),
            ("::ffff:10.2.0.1", Peer::Remote("10.2.0.1".parse().unwrap())),
            ("fd00::8", Peer::Remote("fd00::8".parse().unwrap())),
            ("127.0.0.1", Peer::Proxied(None)),
            ("::1", Peer::Proxied(None)),
        ] {
            assert_eq!(two_networks().peer(connected.parse().unwrap(), &headers), expected, "{connected}");
        }
        for (connected, expected) in [
            ("127.0.0.1", spoken_for),
            ("::1", spoken_for),
            ("::ffff:127.3.0.1", spoken_for),
            ("10.1.0.1", Peer::Remote("10.1.0.1".parse().unwrap())),
        ] {
            assert_eq!(Proxies::on_this_machine().peer(connected.parse().unwrap(), &headers), expected, "{connected}");
        }
    }
}
