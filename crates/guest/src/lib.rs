//! What the init of a microVM and the gateway share: the records on the ports between them, which are pure data, and how the sockets are made
//! at which a program's connections arrive.
//!
//! A record is one byte that says what it is, four that say how long the rest is (least significant first), and the rest. Each end takes
//! the other for hostile: [`length`] bounds a record before anything of it is kept.
#![forbid(unsafe_code)]

mod bytes;
mod carried;
mod met;
#[cfg(target_os = "linux")]
pub mod network;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use bytes::{Reader, Writer};

pub use carried::{Carried, EGRESS_PORT, LONGEST_CARRIED, MOST_STREAMS, PIECE, WINDOW};
pub use met::Met;

/// The name of the port for records, as the guest finds it.
pub const CONTROL_PORT: &str = "ctl.0";
/// The name of the port for the program's stdin and stdout.
pub const STDIO_PORT: &str = "mcp.0";

/// The name under which the guest finds the folder of this number among those that the program may write.
#[must_use]
pub fn folder_tag(number: usize) -> String {
    format!("write{number}")
}

/// Bytes before the rest of each record.
pub const HEADER: usize = 5;

/// The longest record. Arguments and environment of a program fit as they fit into `execve`'s usual two megabytes.
pub const LONGEST: usize = 2 * 1024 * 1024;

/// The longest that a guest may send: a piece of stderr.
pub const LONGEST_OF_GUEST: usize = 16 * 1024;

/// Changes whenever a record changes: an init of another version is not spoken to.
pub const VERSION: u32 = 4;

/// What the gateway says.
#[derive(Clone, PartialEq, Eq)]
pub enum ToGuest {
    /// The program to start, once.
    Start(Start),
    /// Nothing comes on the program's stdin after this many bytes in all.
    StdinEnds(u64),
    /// Ask the program to end.
    Terminate,
    /// Before the program is started: what no other machine has.
    Renew(Renewal),
}

/// Bytes of a seed: twice what the kernel keeps.
pub const SEED: usize = 64;

/// What makes a machine differ from those that were copied from the same one.
#[derive(Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The time, in nanoseconds after 1970.
    pub now: u64,
    /// Random bytes that nobody else gets.
    pub seed: [u8; SEED],
}

/// A program, and the room it has.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Start {
    /// The time, in nanoseconds after 1970: the machine's own clock knows only seconds.
    pub now: u64,
    /// The file to execute.
    pub path: Vec<u8>,
    /// Its arguments, without its own name.
    pub args: Vec<Vec<u8>>,
    /// Its whole environment.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where it starts.
    pub cwd: Vec<u8>,
    /// Size of `/tmp`, in MiB.
    pub tmp_mb: u32,
    /// Size of `/dev/shm`, in MiB.
    pub shm_mb: u32,
    /// Files and folders in either of them.
    pub tmp_files: u32,
    /// Processes and threads together.
    pub processes: u32,
    /// Open files of one process.
    pub open_files: u32,
    /// The largest file, in MiB.
    pub file_mb: u32,
    /// Writable private memory of one process, in MiB.
    pub memory_mb: u32,
    /// Folders of the host that it may write, each at its own path.
    pub write: Vec<Vec<u8>>,
    /// What it writes there may be executed.
    pub exec_in_write: bool,
    /// What the program's connections go to; without it there is no network.
    pub way_out: Option<WayOut>,
}

/// What there must be in the guest for a program's connections to arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayOut {
    /// Where names are asked for.
    pub names: Ipv4Addr,
    /// Where connections are taken.
    pub ports: Vec<u16>,
    /// Blocks of addresses that are made the machine's own: the first, and how many bits they share.
    pub blocks: Vec<(IpAddr, u8)>,
}

/// What the guest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToHost {
    /// It has booted.
    Hello {
        /// [`VERSION`] of its records.
        version: u32,
        /// The kernel's release.
        kernel: String,
    },
    /// What is random and the time are this machine's own.
    Renewed,
    /// The program runs.
    Started,
    /// The program was not started.
    Failed {
        /// What could not be done.
        step: String,
        /// The kernel's error number.
        errno: i32,
    },
    /// A piece of what the program writes to stderr.
    Stderr(Vec<u8>),
    /// The program has ended.
    Ended {
        /// Its exit code, or the signal that ended it as a negative number.
        status: i32,
        /// Bytes of its stdout in all.
        written: u64,
        /// A limit that it has met.
        met: Option<Met>,
    },
}

/// What a header says: what the record is, and how long its rest; `None` beyond `longest`.
#[must_use]
pub fn length(header: [u8; HEADER], longest: usize) -> Option<(u8, usize)> {
    let [kind, length @ ..] = header;
    let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
    (length <= longest).then_some((kind, length))
}

impl ToGuest {
    /// The record as it is sent. It may hold secrets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Start(start) => start.encode(),
            Self::StdinEnds(after) => Writer::new(2).u64(*after).done(),
            Self::Terminate => Writer::new(3).done(),
            Self::Renew(Renewal { now, seed }) => Writer::new(4).u64(*now).bytes(seed).done(),
        }
    }

    /// The record of a header's kind and the rest; `None` if it is malformed.
    #[must_use]
    pub fn decode(kind: u8, rest: &[u8]) -> Option<Self> {
        let mut rest = Reader(rest);
        let record = match kind {
            1 => Self::Start(Start::decode(&mut rest)?),
            2 => Self::StdinEnds(rest.u64()?),
            3 => Self::Terminate,
            4 => Self::Renew(Renewal { now: rest.u64()?, seed: rest.bytes()?.try_into().ok()? }),
            _ => return None,
        };
        rest.is_empty().then_some(record)
    }
}

impl fmt::Debug for ToGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(start) => start.fmt(f),
            Self::StdinEnds(after) => f.debug_tuple("StdinEnds").field(after).finish(),
            Self::Terminate => f.write_str("Terminate"),
            Self::Renew(renewal) => renewal.fmt(f),
        }
    }
}

/// The seed is a secret.
impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").field("now", &self.now).finish_non_exhaustive()
    }
}

/// Arguments and environment may be secrets.
impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("path", &String::from_utf8_lossy(&self.path)).finish_non_exhaustive()
    }
}

impl Start {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(1).u64(self.now).bytes(&self.path).bytes(&self.cwd).count(self.args.len());
        for argument in &self.args {
            writer = writer.bytes(argument);
        }
        writer = writer.count(self.env.len());
        for (name, value) in &self.env {
            writer = writer.bytes(name).bytes(value);
        }
        let numbers = [self.tmp_mb, self.shm_mb, self.tmp_files, self.processes, self.open_files, self.file_mb, self.memory_mb];
        let writer = numbers.into_iter().fold(writer, Writer::u32).u32(self.exec_in_write.into()).count(self.write.len());
        let writer = self.write.iter().fold(writer, |writer, folder| writer.bytes(folder));
        let Some(WayOut { names, ports, blocks }) = &self.way_out else { return writer.count(0).done() };
        let mut writer = writer.count(1).u32(names.to_bits()).count(ports.len());
        for port in ports {
            writer = writer.u32((*port).into());
        }
        writer = writer.count(blocks.len());
        for (address, prefix) in blocks {
            writer = writer.address(*address).u32((*prefix).into());
        }
        writer.done()
    }

    fn decode(rest: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            now: rest.u64()?,
            path: rest.bytes()?,
            cwd: rest.bytes()?,
            args: rest.many(Reader::bytes)?,
            env: rest.many(|rest| Some((rest.bytes()?, rest.bytes()?)))?,
            tmp_mb: rest.u32()?,
            shm_mb: rest.u32()?,
            tmp_files: rest.u32()?,
            processes: rest.u32()?,
            open_files: rest.u32()?,
            file_mb: rest.u32()?,
            memory_mb: rest.u32()?,
            exec_in_write: match rest.u32()? {
                0 => false,
                1 => true,
                _ => return None,
            },
            write: rest.many(Reader::bytes)?,
            way_out: match rest.u32()? {
                0 => None,
                1 => Some(WayOut::decode(rest)?),
                _ => return None,
            },
        })
    }
}

impl WayOut {
    fn decode(rest: &mut Reader<'_>) -> Option<Self> {
        let port = |rest: &mut Reader<'_>| u16::try_from(rest.u32()?).ok();
        let block = |rest: &mut Reader<'_>| Some((rest.address()?, u8::try_from(rest.u32()?).ok()?));
        Some(Self { names: Ipv4Addr::from_bits(rest.u32()?), ports: rest.many(port)?, blocks: rest.many(block)? })
    }
}

impl ToHost {
    /// The record as it is sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello { version, kernel } => Writer::new(1).u32(*version).bytes(kernel.as_bytes()).done(),
            Self::Started => Writer::new(2).done(),
            Self::Failed { step, errno } => Writer::new(3).i32(*errno).bytes(step.as_bytes()).done(),
            Self::Stderr(bytes) => Writer::new(4).bytes(bytes).done(),
            Self::Ended { status, written, met } => Writer::new(5).i32(*status).u64(*written).u32(Met::number(*met)).done(),
            Self::Renewed => Writer::new(6).done(),
        }
    }

    /// The record of a header's kind and the rest; `None` if it is malformed.
    #[must_use]
    pub fn decode(kind: u8, rest: &[u8]) -> Option<Self> {
        let mut rest = Reader(rest);
        let record = match kind {
            1 => Self::Hello { version: rest.u32()?, kernel: rest.text()? },
            2 => Self::Started,
            3 => Self::Failed { errno: rest.i32()?, step: rest.text()? },
            4 => Self::Stderr(rest.bytes()?),
            5 => Self::Ended { status: rest.i32()?, written: rest.u64()?, met: Met::of_number(rest.u32()?)? },
            6 => Self::Renewed,
            _ => return None,
        };
        rest.is_empty().then_some(record)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn start() -> Start {
        Start {
            now: 7,
            path: b"/bin/server".to_vec(),
            args: vec![b"--root".to_vec(), b"".to_vec()],
            env: vec![(b"TOKEN".to_vec(), b"a=b".to_vec())],
            cwd: b"/tmp".to_vec(),
            tmp_mb: 1,
            shm_mb: 2,
            tmp_files: 7,
            processes: 3,
            open_files: 4,
            file_mb: 5,
            memory_mb: 6,
            write: vec![b"/home/me/project".to_vec()],
            exec_in_write: true,
            way_out: None,
        }
    }

    fn parts(record: &[u8], longest: usize) -> (u8, &[u8]) {
        let (header, rest) = record.split_at(HEADER);
        let (kind, length) = length(header.try_into().unwrap(), longest).unwrap();
        assert_eq!(length, rest.len());
        (kind, rest)
    }

    #[test]
    fn records_arrive_as_they_were_sent_and_a_cut_one_not_at_all() {
        let blocks = vec![("28.18.0.0".parse().unwrap(), 20), ("fd00::1".parse().unwrap(), 128)];
        let way_out = WayOut { names: Ipv4Addr::new(198, 18, 0, 1), ports: vec![80, 443], blocks };
        let with_network = Start { way_out: Some(way_out), ..start() };
        let renew = ToGuest::Renew(Renewal { now: 7, seed: [9; SEED] });
        for record in [ToGuest::Start(start()), ToGuest::Start(with_network), ToGuest::StdinEnds(u64::MAX), ToGuest::Terminate, renew] {
            let sent = record.encode();
            let (kind, rest) = parts(&sent, LONGEST);
            assert!(ToGuest::decode(kind, rest) == Some(record));
            assert!((0..rest.len()).all(|cut| ToGuest::decode(kind, &rest[..cut]).is_none()));
        }
        let hello = ToHost::Hello { version: VERSION, kernel: "6.1".to_owned() };
        let failed = ToHost::Failed { step: "mount".to_owned(), errno: 2 };
        let ended = ToHost::Ended { status: -9, written: 12, met: Some(Met::Memory) };
        for record in [hello, ToHost::Renewed, ToHost::Started, failed, ToHost::Stderr(vec![0, 255]), ended] {
            let sent = record.encode();
            let (kind, rest) = parts(&sent, LONGEST_OF_GUEST);
            assert_eq!(ToHost::decode(kind, rest), Some(record));
            assert!((0..rest.len()).all(|cut| ToHost::decode(kind, &rest[..cut]).is_none()));
        }
    }

    #[test]
    fn what_a_hostile_end_says_is_bounded() {
        assert_eq!(length([4, 1, 0x40, 0, 0], LONGEST_OF_GUEST), None);
        assert_eq!(length([4, 0, 0x40, 0, 0], LONGEST_OF_GUEST), Some((4, LONGEST_OF_GUEST)));
        // Counts and lengths beyond what is there.
        let mut many = vec![0; 16];
        many.extend(u32::MAX.to_le_bytes());
        assert!(ToGuest::decode(1, &many).is_none());
        assert_eq!(ToHost::decode(4, &u32::MAX.to_le_bytes()), None);
        assert_eq!(ToHost::decode(9, &[]), None);
        assert_eq!(ToHost::decode(2, &[0]), None, "nothing may follow");
        let ended = Writer::new(5).i32(0).u64(0).u32(99).done();
        assert_eq!(ToHost::decode(5, &ended[HEADER..]), None, "no such limit");
    }
}
