//! What is told of connections, and to whom.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use sallyport_telemetry::ConnectionOutcome;

use super::name::Name;

/// How a program asked for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By connecting, as if there were no gateway.
    Direct,
    /// By `CONNECT` to the proxy.
    Connect,
    /// By SOCKS5 to the proxy.
    Socks,
}

/// One connection that a program made, or wanted to make, when it is over.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The server.
    pub server: Arc<str>,
    /// Who was asked for: `HOST:PORT`.
    pub target: String,
    /// How it was asked for.
    pub way: Way,
    /// The address that was dialled.
    pub address: Option<IpAddr>,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes from the program.
    pub sent: u64,
    /// Bytes to the program.
    pub received: u64,
    /// From the program's connection to the end.
    pub lasted: Duration,
}

/// Connections or refused names of a minute that were too many to be told one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    /// How all of them ended.
    pub outcome: ConnectionOutcome,
    /// How many they are.
    pub count: u64,
    /// Bytes from the program.
    pub sent: u64,
    /// Bytes to the program.
    pub received: u64,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was made, and ended when one of the two, or the program itself, ended.
    Ended,
    /// It was not made or was cut, because it may not be.
    Refused(Refusal),
    /// It could not be made.
    Failed(String),
}

/// Why a connection may not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No destination names it.
    NotAllowed,
    /// The name resolves to nothing but addresses that are not public and that no destination names; this is one of them.
    NotPublic(IpAddr),
    /// TLS asks for another name, for none, or in a way that cannot be understood.
    ServerName,
    /// The first request of plain HTTP asks for another host, for none, or in a way that cannot be understood.
    HostField,
    /// The proxy was not asked for a connection to a host.
    NotAsked(&'static str),
    /// The destination has as many connections as it may have at a time.
    Connections,
    /// The destination has had as many bytes as it may have within an hour.
    Bytes,
}

impl Outcome {
    /// As what it is counted.
    #[must_use]
    pub fn counted(&self) -> ConnectionOutcome {
        match self {
            Self::Ended => ConnectionOutcome::Ok,
            Self::Refused(_) => ConnectionOutcome::Refused,
            Self::Failed(_) => ConnectionOutcome::Failed,
        }
    }
}

impl Refusal {
    /// One word for it.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::NotPublic(_) => "not_public",
            Self::ServerName => "server_name",
            Self::HostField => "host_field",
            Self::NotAsked(_) => "not_asked",
            Self::Connections => "connections",
            Self::Bytes => "bytes",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("ended"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed => f.write_str("`network` does not name it"),
            Self::NotPublic(address) => write!(f, "the name resolves to {address}, which is not public and which `network` does not name"),
            Self::ServerName => f.write_str("TLS asks for another server name"),
            Self::HostField => f.write_str("the request asks for another host"),
            Self::NotAsked(what) => f.write_str(what),
            Self::Connections => f.write_str("as many connections as `limits.connections` allows"),
            Self::Bytes => f.write_str("as many bytes within an hour as `limits.network_mb` allows"),
        }
    }
}

/// Hears of connections. Called on the thread that carries all of them: must not block.
pub trait Observe: Send + Sync {
    /// Something happened that is counted: always called.
    fn count(&self, server: &str, outcome: ConnectionOutcome) {
        let _not_counted = (server, outcome);
    }

    /// A connection is over, or was refused. Of each server at most 300 within a minute are told, and of refusals 20: a program must
    /// not be able to push everything else out of a record.
    fn connection(&self, connection: &Connection);

    /// A name was asked for that no destination names; one of the 20 refusals.
    fn name_refused(&self, server: &str, name: &Name);

    /// A minute is over in which there were more than are told: the sum of the others that ended in one way.
    fn untold(&self, server: &str, untold: &Untold) {
        let _nobody_asks = (server, untold);
    }
}

/// Finds the addresses of names. Called on a thread of its own: may block.
pub trait Resolve: Send + Sync {
    /// The addresses, in the order in which they are to be tried.
    ///
    /// # Errors
    /// There is no such name, or whoever is asked does not answer.
    fn resolve(&self, name: &Name) -> io::Result<Vec<IpAddr>>;
}

/// What all sandboxes of one gateway have in common on the way out.
#[derive(Clone)]
pub struct Surroundings {
    /// Who finds addresses.
    pub resolver: Arc<dyn Resolve>,
    /// Who hears of connections.
    pub observer: Arc<dyn Observe>,
    /// What destinations have had.
    #[cfg(target_os = "linux")]
    pub accounts: super::Accounts,
}

impl Default for Surroundings {
    /// The machine's own resolver; nobody hears, but everything is logged.
    fn default() -> Self {
        Self {
            resolver: Arc::new(System),
            observer: Arc::new(Nobody),
            #[cfg(target_os = "linux")]
            accounts: super::Accounts::default(),
        }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}

/// The machine's own resolver, its `/etc/hosts` included.
struct System;

impl Resolve for System {
    fn resolve(&self, name: &Name) -> io::Result<Vec<IpAddr>> {
        Ok((name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

struct Nobody;

impl Observe for Nobody {
    fn connection(&self, _: &Connection) {}

    fn name_refused(&self, _: &str, _: &Name) {}
}
