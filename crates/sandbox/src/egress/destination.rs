//! Where a program may connect to, as the configuration writes it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::name::Name;
use super::synthetic;
use sallyport_address::{Block, BlockError};

/// The ports of a destination that names none: those of `https://` and `http://`, which nearly every server wants.
pub const WEB_PORTS: [u16; 2] = [80, 443];

/// Ports of one destination: each of them costs a listening socket.
const MOST_PORTS: usize = 16;

/// The shortest prefix of a block: more than these addresses is not a choice any more.
const SHORTEST_V4: u8 = 8;
const SHORTEST_V6: u8 = 32;

/// Hosts and ports that a program may connect to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// Which hosts.
    pub hosts: Hosts,
    /// Which TCP ports: at least one, ascending.
    pub ports: Vec<u16>,
}

/// Which hosts a destination names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hosts {
    /// Every name (`*`).
    Any,
    /// This name.
    Exact(Name),
    /// Every name below this one (`*.example.com`), but not the name itself.
    Below(Name),
    /// These addresses, and names that resolve to them where the name is allowed too.
    Addresses(Block),
}

impl Hosts {
    /// Whether a name is among them.
    #[must_use]
    pub fn include_name(&self, name: &Name) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(own) => own == name,
            Self::Below(suffix) => name.is_below(suffix),
            Self::Addresses(_) => false,
        }
    }

    /// Whether an address is among them.
    #[must_use]
    pub fn include_address(&self, address: IpAddr) -> bool {
        matches!(self, Self::Addresses(block) if block.contains(address))
    }
}

/// Why a text is not a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestinationError(&'static str);

impl DestinationError {
    pub(super) fn too_many(what: &'static str) -> Self {
        Self(what)
    }
}

impl fmt::Display for DestinationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for DestinationError {}

impl FromStr for Destination {
    type Err = DestinationError;

    /// Reads `NAME`, `*.NAME`, `*`, an address or a block of addresses, each with `:PORT[,PORT…]` behind it if it names ports;
    /// an IPv6 address with ports in brackets.
    fn from_str(text: &str) -> Result<Self, DestinationError> {
        if text.contains("://") {
            return Err(DestinationError("a URL, where a host is wanted"));
        }
        let (host, ports) = split_ports(text)?;
        Ok(Self { hosts: hosts(host)?, ports: ports.map_or_else(|| Ok(WEB_PORTS.to_vec()), read_ports)? })
    }
}

/// Takes the ports off the end.
fn split_ports(text: &str) -> Result<(&str, Option<&str>), DestinationError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(DestinationError("the bracket is not closed"))?;
        return match rest.strip_prefix(':') {
            Some(ports) => Ok((host, Some(ports))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(DestinationError("after the bracket only `:PORT` can follow")),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Ok((text, None)), // IPv6 without brackets
        Some((host, ports)) => Ok((host, Some(ports))),
        None => Ok((text, None)),
    }
}

fn read_ports(text: &str) -> Result<Vec<u16>, DestinationError> {
    let read = |port: &str| match port.parse::<u16>() {
        Ok(port) if port != 0 && !text.contains('+') => Ok(port),
        _ => Err(DestinationError("the port is not a number from 1 to 65535")),
    };
    let mut ports = text.split(',').map(read).collect::<Result<Vec<_>, _>>()?;
    ports.sort_unstable();
    ports.dedup();
    if ports.len() > MOST_PORTS {
        return Err(DestinationError("more than 16 ports"));
    }
    Ok(ports)
}

fn hosts(text: &str) -> Result<Hosts, DestinationError> {
    if text == "*" {
        return Ok(Hosts::Any);
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        return Ok(Hosts::Below(name(suffix)?));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return addresses(Block::single(address.to_canonical()));
    }
    if text.contains('/') { addresses(block(text)?) } else { Ok(Hosts::Exact(name(text)?)) }
}

fn name(text: &str) -> Result<Name, DestinationError> {
    if !text.is_ascii() {
        return Err(DestinationError("not ASCII: write the name as it is in DNS, in its `xn--` form"));
    }
    let name = Name::new(text).ok_or(DestinationError("not a host name or an IP address"))?;
    if name.is_localhost() {
        return Err(DestinationError("inside, `localhost` is the address 127.0.0.1: write that, with its port"));
    }
    Ok(name)
}

fn block(text: &str) -> Result<Block, DestinationError> {
    let block: Block = text.parse().map_err(|error: BlockError| DestinationError(error.text()))?;
    let shortest = if block.address().is_ipv4() { SHORTEST_V4 } else { SHORTEST_V6 };
    if block.prefix() < shortest {
        return Err(DestinationError("more addresses than a /8 (IPv6: /32)"));
    }
    Ok(block)
}

fn addresses(block: Block) -> Result<Hosts, DestinationError> {
    if synthetic::BLOCKS.iter().any(|own| own.overlaps(&block)) {
        return Err(DestinationError("the sandbox uses 198.18.0.1 and 28.18.0.0/20 itself"));
    }
    let unusable = match block.address() {
        IpAddr::V4(address) => address.is_unspecified() || address.is_multicast() || address.octets()[0] >= 240,
        IpAddr::V6(address) => address.is_unspecified() || address.is_multicast() || address.to_ipv4_mapped().is_some(),
    };
    if unusable { Err(DestinationError("not addresses that a connection can be made to")) } else { Ok(Hosts::Addresses(block)) }
}

impl fmt::Display for Destination {
    /// As it could be written: without ports where those are the usual ones.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = self.ports == WEB_PORTS;
        match &self.hosts {
            Hosts::Any => f.write_str("*")?,
            Hosts::Exact(name) => write!(f, "{name}")?,
            Hosts::Below(name) => write!(f, "*.{name}")?,
            Hosts::Addresses(block) if block.address().is_ipv6() && !usual => write!(f, "[{block}]")?,
            Hosts::Addresses(block) => write!(f, "{block}")?,
        }
        let mut separator = ':';
        for port in self.ports.iter().filter(|_| !usual) {
            write!(f, "{separator}{port}")?;
            separator = ',';
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        text.parse::<Destination>().map(|destination| destination.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn destinations_are_read_and_shown() {
        for (written, expected) in [
            ("API.github.com:443", "api.github.com:443"),
            ("example.com", "example.com"),
            ("example.com:8443,443,8443", "example.com:443,8443"),
            ("*.example.com:443", "*.example.com:443"),
            ("*", "*"),
            ("*:443,80", "*"),
            ("*:443", "*:443"),
            ("10.0.0.1:5432", "10.0.0.1:5432"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("10.0.0.0/8:5432", "10.0.0.0/8:5432"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("fd00::/32", "fd00::/32"),
            ("[::1]:80", "[::1]:80"),
            ("[fd00::/32]:80", "[fd00::/32]:80"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(shown(written).as_deref(), Ok(expected));
            assert_eq!(shown(expected).as_deref(), Ok(expected), "what is shown is read as the same");
        }
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        for (text, said) in [
            ("", "not a host name"),
            ("https://a.com", "a URL"),
            ("a.com:0", "the port"),
            ("a.com:70000", "the port"),
            ("a.com:+443", "the port"),
            ("a.com:", "the port"),
            ("a.com:80,", "the port"),
            ("a\0.com", "not a host name"),
            ("a.com.", "not a host name"),
            ("a b", "not a host name"),
            ("*a.com", "not a host name"),
            ("a.*.com", "not a host name"),
            ("**", "not a host name"),
            ("bücher.de", "xn--"),
            ("127.1", "not a host name"),
            ("0x7f.1", "not a host name"),
            ("a:b:c", "not a host name"),
            ("[::1", "bracket"),
            ("[::1]80", "bracket"),
            ("localhost:80", "127.0.0.1"),
            ("*.localhost", "127.0.0.1"),
            ("10.0.0.1/8", "bits after"),
            ("10.0.0.0/+8", "number of bits"),
            ("a.com/8", "not an IP address"),
            ("0.0.0.0/0", "more addresses"),
            ("::/0", "more addresses"),
            ("198.18.0.1:3128", "itself"),
            ("198.0.0.0/8", "itself"),
            ("28.18.1.1", "itself"),
            ("28.0.0.0/8", "itself"),
            ("224.0.0.1", "connection"),
            ("255.255.255.255", "connection"),
            ("a:1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "more than 16"),
        ] {
            let error = shown(text);
            assert!(error.as_ref().is_err_and(|error| error.contains(said)), "{text:?}: {error:?}");
        }
    }
}
