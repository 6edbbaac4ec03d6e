//! The hostile program: this very binary, started in a sandbox, tries to get out.
//!
//! It reports each attempt as it makes it, so that one that ends it is seen to be the last. Nothing that it does would harm a
//! machine on which it succeeded.

mod egress;
mod files;
mod kernel;
mod life;
mod limits;
mod monitor;
mod network;
mod privileges;
mod processes;
mod project;
mod random;

use std::io::{self, Write};
use std::os::linux::net::SocketAddrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

pub(super) use life::HEART;
pub(super) use limits::{FLOOD_BYTES, MEMORY_BOMBS, STDOUT_BYTES, small};
pub(super) use project::SWAPPED;

use super::wire::{Answer, Attempt, CameOfIt, Given, Neighbour, Order};
use crate::sys::attack as raw;

/// What an attempt comes to: what it got, or what stopped it.
type Tried = Result<String, Stopped>;

/// What stopped an attempt.
struct Stopped(String);

impl Stopped {
    fn by(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl From<Errno> for Stopped {
    fn from(errno: Errno) -> Self {
        Self(name_of(errno.raw_os_error()))
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self(error.raw_os_error().map_or_else(|| error.kind().to_string(), name_of))
    }
}

/// One row as it is carried out.
struct Attack<'a> {
    given: &'a Given,
    /// The sandbox has a way out.
    connected: bool,
}

impl Attack<'_> {
    /// Makes one attempt and reports it.
    fn attempt(&self, name: &str, action: impl FnOnce() -> Tried) {
        let came_of_it = match action() {
            Ok(got) => CameOfIt::Got(got),
            Err(Stopped(by)) => CameOfIt::Stopped(by),
        };
        say(&Answer::Attempt(Attempt { name: name.to_owned(), came_of_it }));
    }

    /// Makes system calls of which not even the arguments may be looked at.
    fn calls(&self, calls: &[raw::Call], process: u32) {
        for call in calls {
            self.attempt(call.name, || refused(call.make(process)));
        }
    }

    /// The same, each in a child.
    fn calls_in_child(&self, calls: &[raw::Call], process: u32) {
        for call in calls {
            self.attempt(call.name, || in_child(|| refused(call.make(process)).map(drop)));
        }
    }
}

/// The program's main.
pub(crate) fn run() -> ! {
    let mut left_behind = Vec::new();
    for line in io::stdin().lines() {
        let Some(order) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else { break };
        carry_out(order, &mut left_behind);
    }
    for file in left_behind {
        // Where there is no boundary it would stay.
        let _gone = std::fs::remove_file(file);
    }
    raw::end(0)
}

fn carry_out(order: Order, left_behind: &mut Vec<PathBuf>) {
    match order {
        Order::Try { row, part, connected, given } => {
            try_row(row, part, &Attack { given: &given, connected });
            say(&Answer::Done);
            if row == life::NEVER_ENDS {
                life::stay();
            }
        }
        Order::Settle(neighbour) => {
            left_behind.extend(settle(&neighbour));
            say(&Answer::Done);
        }
        Order::Draw => {
            random::draw();
            say(&Answer::Done);
        }
        Order::Flood { lines } => limits::flood_stdout(lines),
        Order::Ping => say(&Answer::Done),
    }
}

fn try_row(row: u8, part: usize, attack: &Attack<'_>) {
    match row {
        1 => files::of_the_user(attack),
        2 => files::of_the_host(attack),
        3 => processes::environments(attack),
        4 => processes::ways_back(attack),
        5 => processes::own_environment(attack),
        6 => processes::memory(attack),
        7 => processes::signals(attack),
        8 => network::loopback(attack),
        9 => network::metadata(attack),
        10 => egress::tunnel(attack),
        11 => egress::rebinding(attack),
        12 => egress::names(attack),
        13 => egress::fronting(attack),
        14 => network::abstract_socket(attack),
        15 => network::services(attack),
        16 => network::families(attack),
        17 => limits::fork_bomb(attack),
        18 => limits::memory_bombs(attack, part),
        19 => limits::spin(attack),
        20 => limits::fill(attack),
        21 => limits::flood(attack),
        22 => attack.calls(raw::RINGS, 0),
        23 => attack.calls(raw::KEYRINGS, 0),
        24 => kernel::namespaces(attack),
        25 => attack.calls(raw::MOUNTS, 0),
        26 => kernel::devices(attack),
        27 => attack.calls(raw::TERMINAL, 0),
        28 => kernel::conventions(attack),
        29 => kernel::surface(attack),
        30 => privileges::gain(attack),
        31 => project::race(attack),
        32 => project::plant(attack),
        33 => life::outlive(attack),
        34 => life::cling(attack),
        35 => processes::descriptors(attack),
        37 => monitor::reach(attack),
        39 => privileges::of_root(attack),
        40 => privileges::run_from_memory(attack),
        41 => processes::neighbour(attack),
        _ => {}
    }
}

/// Leaves behind what another server must not find; gives the files.
fn settle(neighbour: &Neighbour) -> [PathBuf; 2] {
    let files = ["/tmp", "/dev/shm"].map(|folder| Path::new(folder).join(&neighbour.file));
    for file in &files {
        report_fault("the neighbour writes", std::fs::write(file, &neighbour.file));
    }
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&neighbour.abstract_socket);
    match address.and_then(|address| std::os::unix::net::UnixListener::bind_addr(&address)) {
        Ok(listener) => std::mem::forget(listener), // open until the program ends
        Err(error) => report_fault("the neighbour listens", Err(error)),
    }
    files
}

/// The stage is not set as it should be: told as something got, because nothing can then be said of the attack.
fn report_fault(name: &str, result: io::Result<()>) {
    if let Err(error) = result {
        say(&Answer::Attempt(Attempt { name: name.to_owned(), came_of_it: CameOfIt::Got(format!("not possible: {error}")) }));
    }
}

fn say(answer: &Answer) {
    let mut stdout = io::stdout().lock();
    let said = serde_json::to_vec(answer).map_err(io::Error::from).and_then(|mut line| {
        line.push(b'\n');
        stdout.write_all(&line).and_then(|()| stdout.flush())
    });
    if said.is_err() {
        raw::end(1) // nobody listens any more
    }
}

/// A call must be refused before anybody looks at its arguments.
fn refused(result: Result<i64, Errno>) -> Tried {
    match result {
        Ok(value) => Ok(format!("returned {value}")),
        Err(errno @ (Errno::PERM | Errno::ACCESS | Errno::NOSYS)) => Err(errno.into()),
        Err(errno) => Ok(format!("reached the kernel: {}", name_of(errno.raw_os_error()))),
    }
}

/// Runs `action` in a child: what it does to the process stays there, and its end by a signal is a way of being stopped.
fn in_child(action: impl FnOnce() -> Result<(), Stopped>) -> Tried {
    const SUCCEEDED: i32 = 0;
    const FAILED: i32 = 255;
    let ended = raw::in_child(|| match action() {
        Ok(()) => SUCCEEDED,
        Err(Stopped(by)) => NAMES.iter().find(|(_, name)| *name == by).map_or(FAILED, |(number, _)| *number),
    })?;
    match ended {
        raw::Ended::Code(SUCCEEDED) => Ok("succeeded".to_owned()),
        raw::Ended::Code(FAILED) => Err(Stopped::by("an error")),
        raw::Ended::Code(number) => Err(Stopped(name_of(number))),
        raw::Ended::Signal(number) => Err(Stopped(crate::instance::Exit::Signal(number).to_string())),
    }
}

fn name_of(number: i32) -> String {
    let known = NAMES.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("error {number}"), |(_, name)| (*name).to_owned())
}

/// The errors by which attacks are stopped.
const NAMES: &[(i32, &str)] = &[
    (libc::EPERM, "EPERM"),
    (libc::ENOENT, "ENOENT"),
    (libc::ESRCH, "ESRCH"),
    (libc::EIO, "EIO"),
    (libc::ENXIO, "ENXIO"),
    (libc::EBADF, "EBADF"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::EACCES, "EACCES"),
    (libc::EFAULT, "EFAULT"),
    (libc::EBUSY, "EBUSY"),
    (libc::EEXIST, "EEXIST"),
    (libc::EXDEV, "EXDEV"),
    (libc::ENODEV, "ENODEV"),
    (libc::ENOTDIR, "ENOTDIR"),
    (libc::EISDIR, "EISDIR"),
    (libc::EINVAL, "EINVAL"),
    (libc::ENOTTY, "ENOTTY"),
    (libc::EFBIG, "EFBIG"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::EROFS, "EROFS"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::ENOTEMPTY, "ENOTEMPTY"),
    (libc::ELOOP, "ELOOP"),
    (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
    (libc::ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT"),
    (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
    (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
    (libc::ENETUNREACH, "ENETUNREACH"),
    (libc::ECONNRESET, "ECONNRESET"),
    (libc::ETIMEDOUT, "ETIMEDOUT"),
    (libc::ECONNREFUSED, "ECONNREFUSED"),
    (libc::EHOSTUNREACH, "EHOSTUNREACH"),
    (libc::ENOKEY, "ENOKEY"),
];
