//! Numbers and texts of a record, least significant byte first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Builds one record.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(kind: u8) -> Self {
        Self(vec![kind, 0, 0, 0, 0])
    }

    pub(crate) fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    pub(crate) fn i32(mut self, number: i32) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    pub(crate) fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    /// A number of things; more than fit are refused by the length of the whole.
    pub(crate) fn count(self, count: usize) -> Self {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX))
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let mut this = self.count(bytes.len());
        this.0.extend(bytes);
        this
    }

    /// Four or sixteen bytes.
    pub(crate) fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.bytes(&address.octets()),
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }

    /// The record, its length filled in.
    pub(crate) fn done(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - super::HEADER).unwrap_or(u32::MAX);
        for (place, byte) in self.0.iter_mut().skip(1).zip(length.to_le_bytes()) {
            *place = byte;
        }
        self.0
    }
}

/// What is left to read; whoever asks for more than there is gets nothing.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length).map(<[u8]>::to_vec)
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?).ok()
    }

    pub(crate) fn address(&mut self) -> Option<IpAddr> {
        let octets = self.bytes()?;
        let v4 = <[u8; 4]>::try_from(&*octets).map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
        v4.or_else(|_| <[u8; 16]>::try_from(&*octets).map(|octets| Ipv6Addr::from(octets).into())).ok()
    }

    /// As many things as the next number says; each takes bytes, so that no count makes more than was sent.
    pub(crate) fn many<T>(&mut self, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()?;
        let mut many = Vec::new();
        for _ in 0..count {
            many.push(one(self)?);
        }
        Some(many)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}
