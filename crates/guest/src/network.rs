//! How the sockets are made at which a program's connections arrive: in a network namespace of its own, or in a machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, listen, recv, send, socket_with, sockopt};

/// Connections that wait to be taken: what a browser opens at once, several times over.
const BACKLOG: i32 = 128;

/// The port of DNS.
const NAMES: u16 = 53;

/// Where names are asked for, bound to its one address, so that answers come from where they are awaited.
///
/// # Errors
/// The kernel's.
pub fn names(address: Ipv4Addr) -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrV4::new(address, NAMES))?;
    Ok(socket)
}

/// Where each port listens: everywhere, in IPv6 only if a block of that kind is named.
pub fn everywhere(blocks: impl IntoIterator<Item = IpAddr>) -> impl Iterator<Item = IpAddr> {
    let v6 = blocks.into_iter().any(|address| address.is_ipv6());
    [IpAddr::V4(Ipv4Addr::UNSPECIFIED)].into_iter().chain(v6.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)))
}

/// Takes connections.
///
/// # Errors
/// The kernel's.
pub fn listener(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?; // the other one listens for IPv4
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The kernel's side of rtnetlink(7). Numbers are in the machine's own byte order.
#[derive(Debug)]
pub struct Kernel(OwnedFd);

const NEW_LINK: u16 = 16;
const NEW_ROUTE: u16 = 24;
const REQUEST_AND_ACKNOWLEDGE: u16 = 0x1 | 0x4;
const CREATE: u16 = 0x400;
const ERROR: u16 = 2;
const INTERFACE_UP: u32 = 1;
/// The first interface of every network namespace.
const LOOPBACK: u32 = 1;
const TABLE_LOCAL: u8 = 255;
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_HOST: u8 = 254;
const TYPE_LOCAL: u8 = 2;
const ATTRIBUTE_DESTINATION: u16 = 1;
const ATTRIBUTE_INTERFACE: u16 = 4;
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;

impl Kernel {
    /// Connects with it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn connect() -> Result<Self, Errno> {
        // Protocol 0 is NETLINK_ROUTE.
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).map(Self)
    }

    /// Raises the loopback interface.
    ///
    /// # Errors
    /// The kernel's.
    pub fn raise_loopback(&self) -> Result<(), Errno> {
        let [index, up] = [LOOPBACK, INTERFACE_UP].map(u32::to_ne_bytes);
        // family, padding, type; index; flags; which flags
        self.ask(NEW_LINK, 0, &[[0; 4], index, up, up].concat())
    }

    /// Every address that shares its first `prefix` bits with this one is the machine's own, as far as this namespace is concerned: `ip
    /// route add local ADDRESS/PREFIX dev lo`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn make_local(&self, address: IpAddr, prefix: u8) -> Result<(), Errno> {
        let (family, address) = match address {
            IpAddr::V4(address) => (FAMILY_V4, address.octets().to_vec()),
            IpAddr::V6(address) => (FAMILY_V6, address.octets().to_vec()),
        };
        let route = [family, prefix, 0, 0, TABLE_LOCAL, PROTOCOL_STATIC, SCOPE_HOST, TYPE_LOCAL, 0, 0, 0, 0];
        let attributes = [attribute(ATTRIBUTE_DESTINATION, &address), attribute(ATTRIBUTE_INTERFACE, &LOOPBACK.to_ne_bytes())];
        match self.ask(NEW_ROUTE, CREATE, &[&route[..], &attributes.concat()].concat()) {
            Err(Errno::EXIST) => Ok(()), // `127.0.0.0/8` and `::1` are there already
            other => other,
        }
    }

    /// Sends one request and waits for its acknowledgement.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> Result<(), Errno> {
        let length = u32::try_from(16 + body.len()).map_err(|_| Errno::MSGSIZE)?;
        let flags = (REQUEST_AND_ACKNOWLEDGE | flags).to_ne_bytes();
        let header = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags, &[0; 8]].concat();
        send(&self.0, &[&header, body].concat(), SendFlags::empty())?;
        let mut answer = [0; 1024];
        let (length, _) = recv(&self.0, &mut answer, RecvFlags::empty())?;
        match answer.get(..length).and_then(acknowledged) {
            Some(0) => Ok(()),
            Some(code) => Err(Errno::from_raw_os_error(code.saturating_neg())),
            None => Err(Errno::BADMSG),
        }
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // All values here are as long as a multiple of four, so that nothing is to be padded.
    let length = u16::try_from(4 + value.len()).unwrap_or_default();
    [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
}

/// The code in an acknowledgement: zero, or a negative error number.
fn acknowledged(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let code = i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?);
    (kind == ERROR).then_some(code)
}
