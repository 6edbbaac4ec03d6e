//! What stands in a program's memory: paths and addresses, read within bounds. All of it is hostile, and may change while it is read.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// The kernel takes no longer path, the NUL at its end included.
const LONGEST_PATH: usize = 4096;

/// The largest address that is looked at: that of a local socket.
const LONGEST_ADDRESS: usize = 110;

/// Memory is there or not page by page: what is read never crosses into a page that is not needed.
const PAGE: u64 = 4096;

/// The memory of one process.
pub(super) struct Memory(File);

impl Memory {
    /// # Errors
    /// The process has gone, or this one may not look into it.
    pub(super) fn of(thread: u32) -> io::Result<Self> {
        File::open(format!("/proc/{thread}/mem")).map(Self)
    }

    /// The path at `address`; `None` where there is none that the kernel would take.
    pub(super) fn path(&self, address: u64) -> Option<PathBuf> {
        text(|bytes, address| self.0.read_at(bytes, address), address).map(|bytes| PathBuf::from(std::ffi::OsString::from_vec(bytes)))
    }

    /// The address of a socket at `address`.
    pub(super) fn socket_address(&self, address: u64, length: u64) -> Option<SocketName> {
        let length = usize::try_from(length & u64::from(u32::MAX)).ok()?.min(LONGEST_ADDRESS);
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, address).ok()?;
        socket_name(&bytes)
    }
}

/// Reads up to a NUL, page by page.
fn text(read: impl Fn(&mut [u8], u64) -> io::Result<usize>, mut address: u64) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    while text.len() < LONGEST_PATH {
        let in_page = usize::try_from(PAGE - address % PAGE).ok()?;
        let mut piece = vec![0; in_page.min(LONGEST_PATH - text.len())];
        let count = read(&mut piece, address).ok().filter(|count| *count > 0 && *count <= piece.len())?;
        piece.truncate(count);
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            piece.truncate(end);
            text.extend(piece);
            return Some(text);
        }
        text.extend(piece);
        address = address.checked_add(u64::try_from(count).ok()?)?;
    }
    None
}

/// What a socket is to be connected or bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SocketName {
    /// A service over the network.
    Network(SocketAddr),
    /// A local service, by its file.
    File(PathBuf),
}

fn socket_name(bytes: &[u8]) -> Option<SocketName> {
    let family = u16::from_ne_bytes(array(bytes, 0)?);
    let port = || Some(u16::from_be_bytes(array(bytes, 2)?));
    match i32::from(family) {
        libc::AF_INET => Some(SocketName::Network(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(array::<4>(bytes, 4)?)), port()?))),
        libc::AF_INET6 => {
            let address = Ipv6Addr::from(array::<16>(bytes, 8)?);
            Some(SocketName::Network(SocketAddr::new(IpAddr::V6(address).to_canonical(), port()?)))
        }
        libc::AF_UNIX => {
            // Abstract names begin with a NUL: they are no files, and none leads out of the sandbox.
            let name: Vec<u8> = bytes.get(2..)?.iter().copied().take_while(|byte| *byte != 0).collect();
            (!name.is_empty()).then(|| SocketName::File(PathBuf::from(std::ffi::OsString::from_vec(name))))
        }
        _ => None,
    }
}

fn array<const N: usize>(bytes: &[u8], from: usize) -> Option<[u8; N]> {
    bytes.get(from..from + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use proptest::prelude::*;

    use super::*;

    /// Reads `memory`, which lies at `start`, as the kernel gives it: up to a page that is not there, and never more than `most` bytes.
    fn reader(memory: &[u8], start: u64, most: usize) -> impl Fn(&mut [u8], u64) -> io::Result<usize> + '_ {
        move |bytes, address| {
            let offset = usize::try_from(address.checked_sub(start).ok_or(io::ErrorKind::InvalidInput)?).map_err(io::Error::other)?;
            let there = memory.get(offset..).ok_or(io::ErrorKind::InvalidInput)?;
            let count = there.len().min(bytes.len()).min(most);
            bytes.iter_mut().zip(there).take(count).for_each(|(byte, value)| *byte = *value);
            Ok(count)
        }
    }

    #[test]
    fn a_path_ends_at_its_nul_and_is_bounded() {
        let of = |memory: &[u8]| text(reader(memory, 0x1ff0, usize::MAX), 0x1ff0);
        assert_eq!(of(b"/etc/hosts\0rest").as_deref(), Some(&b"/etc/hosts"[..]));
        assert_eq!(of(b"\0").as_deref(), Some(&b""[..]));
        assert_eq!(of(b"/without/end"), None);
        assert_eq!(of(&vec![b'a'; 1 << 20]), None);
        assert_eq!(of(&[vec![b'a'; 4095], vec![0]].concat()).map(|path| path.len()), Some(4095));
        assert_eq!(of(&[vec![b'a'; 4096], vec![0]].concat()), None);
        assert_eq!(text(|_, _| Err(io::ErrorKind::InvalidInput.into()), u64::MAX), None);
        assert_eq!(text(|bytes, _| Ok(bytes.len()), u64::MAX).as_deref(), Some(&b""[..]), "zeros");
        assert_eq!(
            text(
                |bytes, _| {
                    bytes.fill(1);
                    Ok(bytes.len())
                },
                u64::MAX
            ),
            None,
            "beyond the end of all memory"
        );
    }

    #[test]
    fn addresses_are_understood_and_others_left_alone() {
        let v4 = [&2u16.to_ne_bytes()[..], &[1, 187, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(socket_name(&v4), Some(SocketName::Network("10.0.0.1:443".parse().unwrap())));
        let file = [&1u16.to_ne_bytes()[..], b"/run/x.sock\0junk"].concat();
        assert_eq!(socket_name(&file), Some(SocketName::File("/run/x.sock".into())));
        assert_eq!(socket_name(&[&1u16.to_ne_bytes()[..], b"\0abstract"].concat()), None);
        assert_eq!(socket_name(&v4[..5]), None);
    }

    proptest! {
        #[test]
        fn whatever_lies_there_a_text_is_what_stands_before_its_first_nul(
            memory in proptest::collection::vec(0u8..4, 0..9000), start in 0u64..8192, most in 1usize..5000,
        ) {
            let end = memory.iter().position(|byte| *byte == 0).filter(|end| *end < LONGEST_PATH);
            prop_assert_eq!(text(reader(&memory, start, most), start), end.map(|end| memory[..end].to_vec()));
        }

        #[test]
        fn no_address_makes_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..LONGEST_ADDRESS)) {
            if let Some(SocketName::File(path)) = socket_name(&bytes) {
                prop_assert!(!path.as_os_str().is_empty());
            }
        }
    }
}
