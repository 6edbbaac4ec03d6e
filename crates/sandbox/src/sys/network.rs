//! The network namespace: empty, or with the way out that the gateway serves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, listen, recv, send, socket_with, sockopt};
use rustix::thread::UnshareFlags;

use super::control::{Control, Message};
use super::raw;
use super::step::Step;
use crate::egress::{Block, synthetic};
use crate::error::Failure;
use crate::layer::{Layer, Layers};
use crate::policy::{Network, WayOut};

/// Connections that wait for the gateway to take them: what a browser opens at once, several times over.
const BACKLOG: i32 = 128;

/// The port of DNS.
const NAMES: u16 = 53;

/// Makes the namespace; with a way out, also the sockets of it, which go to the gateway.
pub(super) fn enter(network: &Network, control: &Control, layers: &mut Layers) -> Result<(), Failure> {
    let make = || raw::unshare(UnshareFlags::NEWNET).step(Layer::Network, "make a network namespace");
    match network {
        Network::None => {
            make()?;
            layers.in_force(Layer::Network, "no network");
        }
        Network::Only(way_out) => {
            make()?;
            open(way_out, control)?;
            layers.in_force(Layer::Network, "only what is allowed, through the gateway");
        }
        Network::Host => layers.absent(Layer::Network, "the profile names the host's network"),
    }
    Ok(())
}

fn open(way_out: &WayOut, control: &Control) -> Result<(), Failure> {
    let kernel = Kernel::connect().step(Layer::Network, "talk with the kernel about the network")?;
    kernel.raise_loopback().step(Layer::Network, "raise the loopback interface")?;
    for block in synthetic::BLOCKS.iter().chain(&way_out.blocks) {
        kernel.make_local(block).step(Layer::Network, &format!("make {block} local"))?;
    }
    let names = names().step(Layer::Network, "make the socket for names")?;
    control.send(&Message::Names, &[names.as_fd()])?;
    for port in &way_out.ports {
        for address in way_out.addresses() {
            let listener = listener(SocketAddr::new(address, *port)).step(Layer::Network, &format!("listen at {address} port {port}"))?;
            control.send(&Message::Listener, &[listener.as_fd()])?;
        }
    }
    Ok(())
}

impl WayOut {
    /// Where each port listens: everywhere, in IPv6 only if an address of that kind is named.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v6 = self.blocks.iter().any(|block| block.address().is_ipv6());
        [IpAddr::V4(Ipv4Addr::UNSPECIFIED)].into_iter().chain(v6.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)))
    }
}

/// Bound to its one address, so that answers come from where they are awaited.
fn names() -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrV4::new(synthetic::GATEWAY, NAMES))?;
    Ok(socket)
}

fn listener(address: SocketAddr) -> Result<OwnedFd, Errno> {
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
struct Kernel(OwnedFd);

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
    fn connect() -> Result<Self, Errno> {
        // Protocol 0 is NETLINK_ROUTE.
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).map(Self)
    }

    fn raise_loopback(&self) -> Result<(), Errno> {
        let [index, up] = [LOOPBACK, INTERFACE_UP].map(u32::to_ne_bytes);
        // family, padding, type; index; flags; which flags
        self.ask(NEW_LINK, 0, &[[0; 4], index, up, up].concat())
    }

    /// Every address of the block is this machine's own, as far as this namespace is concerned: `ip route add local BLOCK dev lo`.
    fn make_local(&self, block: &Block) -> Result<(), Errno> {
        let (family, address) = match block.address() {
            IpAddr::V4(address) => (FAMILY_V4, address.octets().to_vec()),
            IpAddr::V6(address) => (FAMILY_V6, address.octets().to_vec()),
        };
        let route = [family, block.prefix(), 0, 0, TABLE_LOCAL, PROTOCOL_STATIC, SCOPE_HOST, TYPE_LOCAL, 0, 0, 0, 0];
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
