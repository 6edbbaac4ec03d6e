//! What a caller shows, and from where it calls.
//!
//! A caller's token is meant for this gateway alone (MCP authorization, "token passthrough" is forbidden):
//! [`CallerToken`] can be compared through its digest, be read by what verifies it, and, at an authorization server that the operator
//! names, be exchanged for another token (RFC 8693). There is nothing else to be had from it, so that sending it on does not compile.

use core::net::IpAddr;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The bearer token with which a caller presented itself.
///
/// It has no `Debug`, `Display`, `Serialize`, `Clone`, and no accessor but the [digest](Self::digest), the one for
/// [verifying](Self::for_its_issuer) it, and the one [door](Self::as_subject_token) for an exchange.
/// The bytes are overwritten when it is dropped.
#[expect(missing_debug_implementations, reason = "a token must not reach a log")]
pub struct CallerToken(Zeroizing<Vec<u8>>);

/// The SHA-256 of a caller's token.
pub type TokenDigest = [u8; 32];

impl CallerToken {
    /// Keeps what followed `Bearer ` in the request. The front door has already bounded its length.
    pub fn new(token: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(token.into()))
    }

    /// The token itself, for finding out what its issuer says of it; `None` where it is no text. Only the resource server in the identity
    /// crate may ask for it (`cargo xtask tidy` sees to that).
    #[must_use]
    pub fn for_its_issuer(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The token's SHA-256: enough to recognise it, useless to whom it is sent.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        Sha256::digest(self.0.as_slice()).into()
    }

    /// The token as the `subject_token` of an exchange (RFC 8693), to be sent to the token endpoint of the authorization server that
    /// the configuration names, and nowhere else; `None` where it is no text.
    ///
    /// The one door: `identity`'s `upstream/subject.rs` goes through it, and `cargo xtask tidy` refuses every other caller.
    #[must_use]
    pub fn as_subject_token(&self) -> Option<&str> {
        core::str::from_utf8(&self.0).ok()
    }
}

/// Where a request came from, as the front door that took it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The process that launched the gateway, over the gateway's own stdin.
    Stdio,
    /// A connection from this machine.
    Loopback,
    /// A connection from another machine.
    Remote(IpAddr),
    /// A connection through a proxy that speaks for other machines, and the address of the one it speaks for; `None` where it does not
    /// say. Whatever the address, it is not taken for this machine.
    Proxied(Option<IpAddr>),
}

impl Peer {
    /// The peer behind a connection from `address`; IPv4 addresses in IPv6 clothes (`::ffff:127.0.0.1`) are looked through.
    #[must_use]
    pub fn from_address(address: IpAddr) -> Self {
        let address = address.to_canonical();
        if address.is_loopback() { Self::Loopback } else { Self::Remote(address) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn the_digest_is_the_sha256_of_the_bytes() {
        let hex: String = CallerToken::new("abc").digest().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn addresses_of_this_machine_are_loopback_in_every_notation() {
        for address in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(Peer::from_address(address.parse().unwrap()), Peer::Loopback, "{address}");
        }
        for address in ["10.0.0.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "fe80::1"] {
            assert!(matches!(Peer::from_address(address.parse().unwrap()), Peer::Remote(_)), "{address}");
        }
    }
}
