//! Whom a proxy before the door speaks for.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

/// Proxies put the address that a request came from behind what its caller has written there already.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address that the nearest proxy saw: the last one of the last header. What stands before it are words of others. `None` where it
/// has not said, or not understandably; nor is an address of this machine said of anybody: whom policy takes for local came without a proxy.
pub(super) fn caller(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
    address(last.rsplit(',').next()?.trim_ascii()).filter(|address| !address.is_loopback() && !address.is_unspecified())
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

    fn told(values: &[&[u8]]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(value).unwrap());
        }
        caller(&headers).map(|address| address.to_string())
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
}
