//! What the two sides of an attack say to each other, a line of JSON each: orders go in, answers come out.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the hostile program is told to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Try the attack of this row.
    Try {
        row: u8,
        /// Which part of it, where each ends the sandbox that it is tried in.
        part: usize,
        /// How it shall go about it where the sandbox has a way out.
        connected: bool,
        given: Box<Given>,
    },
    /// Be the other server: leave things behind that nobody else must find.
    Settle(Neighbour),
    /// Say what nobody else can know: random numbers, each from another place.
    Draw,
    /// Write to stdout without end, with or without ends of lines.
    Flood { lines: bool },
    /// Say that you are there.
    Ping,
}

/// What the hostile program knows of the host: more than any real one would.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Given {
    /// The folder that no sandbox sees, with the canary in it.
    pub(super) outside: PathBuf,
    pub(super) canary: PathBuf,
    pub(super) socket: PathBuf,
    /// Sockets of services, in folders that it sees.
    pub(super) shown_sockets: Vec<PathBuf>,
    pub(super) abstract_socket: String,
    pub(super) home: Option<PathBuf>,
    pub(super) readable: PathBuf,
    pub(super) writable: PathBuf,
    /// Names of variables that it was given.
    pub(super) variables: Vec<String>,
    /// The ids that it may have.
    pub(super) ids: Vec<u32>,
    /// As many processes as it may have where they are few.
    pub(super) processes: u32,
    /// Pids as the host counts.
    pub(super) gateway: u32,
    pub(super) neighbour_pid: u32,
    pub(super) neighbour: Neighbour,
    /// A port of the host where nobody may connect to.
    pub(super) forbidden_port: u16,
    /// A port that `reached.test`, and 127.0.0.1, may be connected to at.
    pub(super) allowed_port: u16,
    /// As long as it swaps a folder for a link.
    pub(super) race: Duration,
    /// What must not be written.
    pub(super) deny_write: Vec<String>,
    /// For whoever is in the place of a machine's monitor.
    pub(super) machines: Option<Machines>,
}

/// What lies beside a machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Machines {
    /// The folder of another one that starts.
    pub(super) other: PathBuf,
    /// Its memory, and the sockets at which its monitor is steered and heard.
    pub(super) memory: String,
    pub(super) sockets: Vec<String>,
    /// Of all machines.
    pub(super) kernel: PathBuf,
}

/// What the other server leaves behind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Neighbour {
    /// Name and text of a file in /tmp and in /dev/shm.
    pub(super) file: String,
    pub(super) abstract_socket: String,
}

/// What the hostile program says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Attempt(Attempt),
    /// A random number, and where it is from.
    Drawn {
        from: String,
        number: String,
    },
    /// The order is carried out.
    Done,
}

/// One attempt, and what came of it as the program saw it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Attempt {
    pub(super) name: String,
    pub(super) came_of_it: CameOfIt,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum CameOfIt {
    /// It met an error.
    Stopped(String),
    /// It got something.
    Got(String),
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (CameOfIt::Stopped(what) | CameOfIt::Got(what)) = &self.came_of_it;
        write!(f, "{}: {what}", self.name)
    }
}
