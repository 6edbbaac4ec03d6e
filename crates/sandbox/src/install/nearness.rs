//! How near an address is that a registry's name leads to. The name may be anybody's, and so is then what it leads to.

use std::net::IpAddr;

use crate::egress::is_public;

/// How near an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nearness {
    Public,
    /// Of one's own network.
    Private,
    Loopback,
    /// The link's, a cloud's metadata, and what else nobody serves packages from.
    Other,
}

impl Nearness {
    /// That of one address.
    pub(super) fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let is_private = match address {
            IpAddr::V4(address) => address.is_private(),
            IpAddr::V6(address) => address.is_unique_local(),
        };
        match (is_public(address), address.is_loopback(), is_private) {
            (true, ..) => Self::Public,
            (_, true, _) => Self::Loopback,
            (_, _, true) => Self::Private,
            _ => Self::Other,
        }
    }

    /// That of a name with these addresses. Of some that are near and some that are not the farthest count alone: whoever runs a public
    /// name could lead into one's own network by one more address.
    pub(super) fn of_all(addresses: impl Iterator<Item = IpAddr>) -> Option<Self> {
        addresses.map(Self::of).min()
    }
}
