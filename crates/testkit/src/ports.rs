//! Ports of loopback for servers that are told where to listen.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Mutex, PoisonError};

/// Those that are given out: below the ones that the system gives to whoever asks for any, clients included.
const PORTS: Range<u16> = 20_000..32_000;

/// What says that a port is taken, until this process ends.
static TAKEN: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port of 127.0.0.1 that nobody listens at, and that no other test is given before this process ends.
///
/// A port that was free a moment ago is not enough: of two tests that find the same one, the first that listens would answer the second's
/// questions, until it ends. So it is taken by a name that the system keeps apart as it keeps ports, and gives back at whatever end.
///
/// # Errors
/// Where none of them is to be had.
pub fn free_port() -> io::Result<u16> {
    let mut first = [0; 2];
    getrandom::fill(&mut first).map_err(io::Error::other)?;
    let count = PORTS.end - PORTS.start;
    let first = u16::from_ne_bytes(first) % count;
    for step in 0..count {
        let port = PORTS.start + (first + step) % count;
        let name = SocketAddr::from_abstract_name(format!("sallyport-test-port-{port}"))?;
        let Ok(taken) = UnixListener::bind_addr(&name) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push(taken);
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("none of the ports {PORTS:?} is free")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let mut ports: Vec<u16> = (0..500).map(|_| free_port().unwrap()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 500);
        for port in ports {
            let name = SocketAddr::from_abstract_name(format!("sallyport-test-port-{port}")).unwrap();
            assert!(UnixListener::bind_addr(&name).is_err(), "{port} could be taken by another process");
        }
    }
}
