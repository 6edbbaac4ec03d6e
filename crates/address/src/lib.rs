//! Says which addresses are anybody's on the internet, and which belong together.
//!
//! Pure: nothing is resolved or dialled here.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The addresses that share their first bits: `10.0.0.0/8`, or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Block {
    address: IpAddr,
    prefix: u8,
}

impl Block {
    /// A block; `None` if the prefix is too long or a bit after it is set.
    #[must_use]
    pub const fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let (longest, rest) = match address {
            IpAddr::V4(address) => (32, (address.to_bits() as u128) << 96),
            IpAddr::V6(address) => (128, address.to_bits()),
        };
        let after = match rest.checked_shl(prefix as u32) {
            Some(bits) => bits,
            None => 0,
        };
        if prefix <= longest && after == 0 { Some(Self { address, prefix }) } else { None }
    }

    /// The block of this address alone.
    #[must_use]
    pub const fn single(address: IpAddr) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix }
    }

    /// Its first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits its addresses share.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `address` is one of the block.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.prefix),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.prefix),
            _ => false,
        }
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Whether it is one address.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        self.prefix == if self.address.is_ipv4() { 32 } else { 128 }
    }
}

/// Why a text is not a block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockError(&'static str);

impl BlockError {
    /// What is wrong with the text.
    #[must_use]
    pub const fn text(&self) -> &'static str {
        self.0
    }
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BlockError {}

impl FromStr for Block {
    type Err = BlockError;

    /// Reads an address, or `ADDRESS/BITS` without a bit behind those that are shared.
    fn from_str(text: &str) -> Result<Self, BlockError> {
        let Some((address, prefix)) = text.split_once('/') else {
            let address: IpAddr = text.parse().map_err(|_| BlockError("not an IP address"))?;
            return Ok(Self::single(address.to_canonical()));
        };
        let address = address.parse().map_err(|_| BlockError("not an IP address before the `/`"))?;
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|_| digits).ok_or(BlockError("not a number of bits after the `/`"))?;
        Self::new(address, prefix).ok_or(BlockError("not a block of addresses: bits after its prefix are set"))
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() { write!(f, "{}", self.address) } else { write!(f, "{}/{}", self.address, self.prefix) }
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Block {
    Block { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
}

const fn v6(first: u16, second: u16, prefix: u8) -> Block {
    Block { address: IpAddr::V6(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0)), prefix }
}

/// IPv4 addresses that a public name has no business to resolve to: the special-purpose registry of IANA (RFC 6890).
const NOT_PUBLIC_V4: &[Block] = &[
    v4(0, 0, 0, 0, 8),        // this network
    v4(10, 0, 0, 0, 8),       // private
    v4(100, 64, 0, 0, 10),    // carrier's private; Alibaba Cloud's metadata
    v4(127, 0, 0, 0, 8),      // this machine
    v4(168, 63, 129, 16, 32), // Azure's wire server: a public address that every machine there reaches
    v4(169, 254, 0, 0, 16),   // link-local; the metadata of most clouds
    v4(172, 16, 0, 0, 12),    // private
    v4(192, 0, 0, 0, 24),     // protocol assignments; Oracle's metadata
    v4(192, 0, 2, 0, 24),     // documentation
    v4(192, 88, 99, 0, 24),   // 6to4 relays, which lead elsewhere
    v4(192, 168, 0, 0, 16),   // private
    v4(198, 18, 0, 0, 15),    // benchmarks; here the addresses that stand for names
    v4(198, 51, 100, 0, 24),  // documentation
    v4(203, 0, 113, 0, 24),   // documentation
    v4(224, 0, 0, 0, 3),      // multicast, reserved, broadcast
];

/// Everything public in IPv6 is assigned from here.
const GLOBAL_V6: Block = v6(0x2000, 0, 3);

/// Of [`GLOBAL_V6`], what is not simply a host's address.
const NOT_PUBLIC_V6: &[Block] = &[
    v6(0x2001, 0, 23),     // protocol assignments: Teredo and others that carry another address in themselves
    v6(0x2001, 0xdb8, 32), // documentation
    v6(0x2002, 0, 16),     // 6to4, which carries an IPv4 address
    v6(0x3fff, 0, 20),     // documentation
];

/// NAT64 (RFC 6052): an IPv4 address behind it is as public as that is.
const NAT64: Block = v6(0x64, 0xff9b, 96);

/// Whether the address is one of the internet's: not private, not this machine's, not the link's, not a cloud's metadata.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(_) => !NOT_PUBLIC_V4.iter().any(|block| block.contains(address.to_canonical())),
        IpAddr::V6(v6) if NAT64.contains(address) => {
            let [.., a, b, c, d] = v6.octets();
            is_public(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        IpAddr::V6(_) => GLOBAL_V6.contains(address) && !NOT_PUBLIC_V6.iter().any(|block| block.contains(address)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn only_the_internets_addresses_are_public() {
        for address in ["1.1.1.1", "8.8.8.8", "140.82.121.6", "2606:4700::1111", "2a00:1450::8a", "64:ff9b::808:808", "::ffff:8.8.8.8"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.0.1",
            "168.63.129.16",
            "169.254.169.254",
            "172.31.0.1",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_block_holds_what_shares_its_bits() {
        let block = |address: &str, prefix| Block::new(address.parse().unwrap(), prefix);
        let ten = block("10.0.0.0", 8).unwrap();
        assert!(ten.contains("10.255.0.1".parse().unwrap()));
        assert!(!ten.contains("11.0.0.0".parse().unwrap()));
        assert!(!ten.contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(ten.overlaps(&block("10.1.0.0", 16).unwrap()) && block("10.1.0.0", 16).unwrap().overlaps(&ten));
        assert!(block("fd00::", 8).unwrap().contains("fd12::1".parse().unwrap()));
        assert!(Block::single("::1".parse().unwrap()).is_single());
        for (address, prefix) in [("10.0.0.1", 8), ("10.0.0.0", 33), ("fd00::1", 64), ("fd00::", 129)] {
            assert_eq!(block(address, prefix), None);
        }
        assert!(block("0.0.0.0", 0).unwrap().contains("1.2.3.4".parse().unwrap()));
    }

    #[test]
    fn blocks_are_read_as_they_are_shown_and_nothing_else_is() {
        for text in ["10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Block>().unwrap().to_string(), text);
        }
        assert_eq!("::ffff:10.0.0.1".parse::<Block>().unwrap().to_string(), "10.0.0.1");
        for text in
            ["", "/", "10.0.0.1/8", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/33", "10.0.0.0/8/8", "10.0.0", "010.0.0.1", " ::1", "[::1]", "a"]
        {
            assert!(text.parse::<Block>().is_err(), "{text}");
        }
    }
}
