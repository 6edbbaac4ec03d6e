//! How near an address is, for who may lead an installation where.

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
}
