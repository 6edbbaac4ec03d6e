//! All destinations of one program, and the questions that are asked of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::destination::{Destination, DestinationError, Hosts};
use super::name::Name;
use sallyport_address::{Block, is_public};

/// Where the proxy for programs that like one listens, at 198.18.0.1 inside the sandbox.
pub const PROXY_PORT: u16 = 3128;

/// Destinations of one program: a list that somebody wrote.
const MOST_DESTINATIONS: usize = 128;

/// Different ports of one program: each is a listening socket that the gateway holds, two with IPv6.
const MOST_PORTS: usize = 32;

/// Everything that one program may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed(Vec<Destination>);

/// Who is asked for: by name, or by address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// A name, which the gateway resolves.
    Name(Name),
    /// An address.
    Address(IpAddr),
}

impl Allowed {
    /// These destinations.
    ///
    /// # Errors
    /// More than 128 of them, or more than 32 different ports.
    pub fn new(destinations: Vec<Destination>) -> Result<Self, DestinationError> {
        let allowed = Self(destinations);
        if allowed.0.len() > MOST_DESTINATIONS {
            return Err(DestinationError::too_many("more than 128 destinations"));
        }
        if allowed.ports().len() > MOST_PORTS {
            return Err(DestinationError::too_many("more than 32 different ports"));
        }
        Ok(allowed)
    }

    /// No destination at all: names are answered and connections taken, all of them with a refusal.
    pub(crate) fn nothing() -> Self {
        Self(Vec::new())
    }

    /// The destinations as they were given.
    #[must_use]
    pub fn destinations(&self) -> &[Destination] {
        &self.0
    }

    /// The ports that anything may be connected to at.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        self.0.iter().flat_map(|destination| destination.ports.iter().copied()).collect()
    }

    /// The blocks of addresses among the destinations.
    pub fn blocks(&self) -> impl Iterator<Item = Block> {
        self.0.iter().filter_map(|destination| match destination.hosts {
            Hosts::Addresses(block) => Some(block),
            _ => None,
        })
    }

    /// Whether a name may be known at all, whatever the port.
    #[must_use]
    pub fn knows(&self, name: &Name) -> bool {
        self.0.iter().any(|destination| destination.hosts.include_name(name))
    }

    /// The position of the destination that lets `host` pass at `port`.
    #[must_use]
    pub fn find(&self, host: &Host, port: u16) -> Option<usize> {
        let includes = |hosts: &Hosts| match host {
            Host::Name(name) => hosts.include_name(name),
            Host::Address(address) => hosts.include_address(*address),
        };
        self.0.iter().position(|destination| destination.ports.contains(&port) && includes(&destination.hosts))
    }

    /// Whether an address that a name resolved to may be dialled: it is public, or named itself.
    #[must_use]
    pub fn may_dial(&self, address: IpAddr, port: u16) -> bool {
        is_public(address) || self.find(&Host::Address(address.to_canonical()), port).is_some()
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn allowed(texts: &[&str]) -> Allowed {
        Allowed::new(texts.iter().map(|text| text.parse().unwrap()).collect()).unwrap()
    }

    fn name(text: &str) -> Host {
        Host::Name(Name::new(text).unwrap())
    }

    #[test]
    fn a_host_passes_only_at_its_ports() {
        let allowed = allowed(&["a.example:443", "*.b.example:8443", "10.0.0.0/8:5432"]);
        assert_eq!(allowed.find(&name("a.example"), 443), Some(0));
        assert_eq!(allowed.find(&name("a.example"), 8443), None);
        assert_eq!(allowed.find(&name("x.b.example"), 8443), Some(1));
        assert_eq!(allowed.find(&name("b.example"), 8443), None);
        assert_eq!(allowed.find(&Host::Address("10.1.1.1".parse().unwrap()), 5432), Some(2));
        assert_eq!(allowed.find(&Host::Address("10.1.1.1".parse().unwrap()), 443), None);
        assert!(allowed.knows(&Name::new("a.example").unwrap()) && !allowed.knows(&Name::new("c.example").unwrap()));
        assert_eq!(allowed.ports().into_iter().collect::<Vec<_>>(), [443, 5432, 8443]);
    }

    #[test]
    fn any_name_is_not_any_address() {
        let allowed = allowed(&["*"]);
        assert_eq!(allowed.find(&name("a.example"), 443), Some(0));
        assert_eq!(allowed.find(&Host::Address("1.1.1.1".parse().unwrap()), 443), None);
        assert!(allowed.may_dial("1.1.1.1".parse().unwrap(), 443));
        assert!(!allowed.may_dial("127.0.0.1".parse().unwrap(), 443));
    }

    #[test]
    fn an_address_that_is_not_public_must_be_named_with_its_port() {
        let allowed = allowed(&["db.example:5432", "10.0.0.0/8:5432"]);
        assert!(allowed.may_dial("10.1.1.1".parse().unwrap(), 5432));
        assert!(allowed.may_dial("::ffff:10.1.1.1".parse().unwrap(), 5432));
        assert!(!allowed.may_dial("10.1.1.1".parse().unwrap(), 22));
        assert!(!allowed.may_dial("192.168.0.1".parse().unwrap(), 5432));
    }

    #[test]
    fn a_list_is_bounded() {
        let many = (0..129).map(|number| format!("h{number}.example").parse().unwrap()).collect();
        assert!(Allowed::new(many).is_err());
        let ports = (1..=33).map(|port| format!("a.example:{port}").parse().unwrap()).collect();
        assert!(Allowed::new(ports).is_err());
    }
}
