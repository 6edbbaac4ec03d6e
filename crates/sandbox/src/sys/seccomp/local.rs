//! Local sockets. One that has a name among the files can be connected to any service of this user that the program sees the socket of
//! (an agent for keys, a database, Docker), and a filter cannot see to which. So only pairs are made, and of them only the kinds that stay
//! connected to each other.

use super::refused::SOCKET_KIND;
use super::rule::Compare::{Eq, MaskedEq};
use super::rule::{Rules, all};

/// Refuses all that could be connected to a name.
pub(super) fn refuse(rules: &mut Rules) {
    /// `SOCK_RAW` is another word for datagrams here. What sends those may name another receiver each time.
    const CONNECTED_ANEW: [i32; 2] = [libc::SOCK_DGRAM, libc::SOCK_RAW];
    let named = all(&[(0, Eq, libc::AF_UNIX.unsigned_abs())]);
    rules.entry(libc::SYS_socket).or_default().push(named);
    for kind in CONNECTED_ANEW {
        let rule = all(&[(1, MaskedEq(SOCKET_KIND), kind.unsigned_abs())]);
        rules.entry(libc::SYS_socketpair).or_default().push(rule);
    }
}
