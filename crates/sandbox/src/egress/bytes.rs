//! Reads hostile bytes piece by piece; whoever asks for more than there is gets nothing.

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// As many bytes as the next one says.
    pub(super) fn counted_by_u8(&mut self) -> Option<Self> {
        let count = self.u8()?;
        self.take(count.into()).map(Self)
    }

    /// As many bytes as the next two say.
    pub(super) fn counted_by_u16(&mut self) -> Option<Self> {
        let count = self.u16()?;
        self.take(count.into()).map(Self)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}
