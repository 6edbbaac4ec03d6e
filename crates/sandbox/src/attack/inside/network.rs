//! Networks of the host, and sockets of its services.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

use super::processes::connect_abstract;
use super::{Attack, Stopped, Tried};

/// Long enough for whoever is on this machine or near it, and for a program on an emulated processor.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn loopback(attack: &Attack<'_>) {
    let port = attack.given.forbidden_port;
    for address in
        [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv4Addr::new(127, 0, 0, 2).into(), Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()]
    {
        attack.attempt(&format!("{address}"), || fetch(SocketAddr::new(address, port)));
    }
    attack.attempt("localhost by name", || fetch(("localhost", port)));
    attack.attempt("listen at the loopback", || Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(|_| "listens".to_owned())?));
    attack.attempt("udp to the internet", || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        Ok(format!("{} bytes sent", socket.send_to(b"x", (Ipv4Addr::new(1, 1, 1, 1), 53))?))
    });
    attack.attempt("the internet", || fetch(SocketAddr::from((Ipv4Addr::new(1, 1, 1, 1), 443))));
}

pub(super) fn metadata(attack: &Attack<'_>) {
    for address in ["169.254.169.254:80", "169.254.170.2:80", "100.100.100.200:80", "168.63.129.16:80", "[fd00:ec2::254]:80"] {
        attack.attempt(address, || fetch(address));
    }
    for name in ["metadata.google.internal", "instance-data", "metadata"] {
        attack.attempt(name, || fetch((name, 80)));
    }
    if attack.connected {
        attack.attempt("an allowed name that leads there", || fetch(("metadata.test", 80)));
    }
}

/// Connects, asks, and gives what comes back: a connection alone may end at the gateway.
pub(super) fn fetch(whom: impl ToSocketAddrs) -> Tried {
    talk(whom, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// Connects, says `words`, and gives the start of the answer.
pub(super) fn talk(whom: impl ToSocketAddrs, words: &[u8]) -> Tried {
    let no_address = Stopped::by("no such name");
    // Whatever the resolver's error is, there is no address then.
    let addresses: Vec<SocketAddr> = whom.to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    let mut last = Err(no_address);
    for address in addresses {
        last = talk_to(address, words);
        if last.is_ok() {
            break;
        }
    }
    last
}

fn talk_to(address: SocketAddr, words: &[u8]) -> Tried {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(words)?;
    let mut answer = [0; 512];
    match stream.read(&mut answer)? {
        0 => Err(Stopped::by("cut off")),
        length => Ok(String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).escape_debug().to_string()),
    }
}

pub(super) fn abstract_socket(attack: &Attack<'_>) {
    attack.attempt("an abstract socket of the host", || connect_abstract(&attack.given.abstract_socket));
    for service in ["/tmp/.X11-unix/X0", "/tmp/dbus-session"] {
        attack.attempt(&format!("abstract {service}"), || connect_abstract(service));
    }
}

pub(super) fn services(attack: &Attack<'_>) {
    let named = ["SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS", "DOCKER_HOST", "WAYLAND_DISPLAY", "DISPLAY", "XDG_RUNTIME_DIR"];
    attack.attempt("variables that lead to services", || {
        let set: Vec<&str> = named.into_iter().filter(|name| std::env::var_os(name).is_some()).collect();
        if set.is_empty() { Err(Stopped::by("none is set")) } else { Ok(set.join(" ")) }
    });
    let known = ["/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock"];
    let desktop = ["/run/dbus/system_bus_socket", "/tmp/.X11-unix/X0", "/run/systemd/private", "/run/systemd/journal/socket"];
    let own = [("the user's home", attack.given.socket.clone())];
    let paths = known.iter().chain(&desktop).map(|path| (*path, PathBuf::from(path)));
    for (name, path) in paths.chain(own) {
        attack.attempt(&format!("socket {name}"), || connect(&path));
    }
    for path in &attack.given.shown_sockets {
        let name = path.iter().rev().take(2).map(|part| part.to_string_lossy()).collect::<Vec<_>>();
        let name = format!("shown socket {}", name.into_iter().rev().collect::<Vec<_>>().join("/"));
        attack.attempt(&name, || connect(path));
        attack.attempt(&format!("{name}, by one of a pair"), || send_from_pair(path));
    }
    attack.attempt("sockets of sessions", || super::files::list(Path::new("/run/user")));
}

fn connect(path: &Path) -> Tried {
    UnixStream::connect(path)?;
    Ok("connected".to_owned())
}

/// A datagram's sender may say for each where it goes, even if it is one of a pair.
fn send_from_pair(path: &Path) -> Tried {
    let (one, _other) = UnixDatagram::pair()?;
    Ok(format!("{} bytes sent", one.send_to(b"x", path)?))
}

pub(super) fn families(attack: &Attack<'_>) {
    let raw = SocketType::RAW;
    let netlink = |protocol| (AddressFamily::NETLINK, raw, protocol);
    let table = [
        ("raw", (AddressFamily::INET, raw, libc::IPPROTO_ICMP)),
        ("raw, IPv6", (AddressFamily::INET6, raw, libc::IPPROTO_ICMPV6)),
        ("DCCP", (AddressFamily::INET, SocketType::from_raw(6), 33)),
        ("SCTP", (AddressFamily::INET, SocketType::STREAM, libc::IPPROTO_SCTP)),
        ("UDP-Lite", (AddressFamily::INET, SocketType::DGRAM, libc::IPPROTO_UDPLITE)),
        ("multipath TCP", (AddressFamily::INET6, SocketType::STREAM, libc::IPPROTO_MPTCP)),
        ("packet", (AddressFamily::PACKET, raw, 0)),
        ("old packet", (AddressFamily::INET, SocketType::from_raw(10), 0)),
        ("vsock", (AddressFamily::from_raw(40), SocketType::STREAM, 0)),
        ("kernel's cryptography", (AddressFamily::from_raw(38), SocketType::SEQPACKET, 0)),
        ("netfilter", netlink(libc::NETLINK_NETFILTER)),
        ("audit", netlink(libc::NETLINK_AUDIT)),
        ("kernel objects", netlink(libc::NETLINK_KOBJECT_UEVENT)),
        ("generic netlink", netlink(libc::NETLINK_GENERIC)),
        ("bluetooth", (AddressFamily::BLUETOOTH, raw, 1)),
        ("can", (AddressFamily::CAN, raw, 1)),
        ("tipc", (AddressFamily::TIPC, SocketType::STREAM, 0)),
    ];
    for (name, (family, kind, protocol)) in table {
        for (flags, with) in [(SocketFlags::empty(), ""), (SocketFlags::CLOEXEC, ", with a flag")] {
            attack.attempt(&format!("{name}{with}"), || {
                let protocol = std::num::NonZeroU32::new(protocol.unsigned_abs()).map(Protocol::from_raw);
                Ok(socket_with(family, kind, flags, protocol).map(|_| "opened".to_owned())?)
            });
        }
    }
}
