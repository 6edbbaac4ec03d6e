//! The one program: started without any privilege, its stdio carried, its end told.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, sleep};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{statfs, statvfs};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, kill_process, setrlimit, wait};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set, set_no_new_privs};
use sallyport_guest::{Met, STDIO_PORT, Start, ToGuest, ToHost};

use crate::control::{Control, Teller};
use crate::machine;
use crate::port;
use crate::random;
use crate::step::{Failed, Step};
use crate::way_out;

/// What a file system in memory says that it is.
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// The one user, as in the other boundaries.
const USER: u32 = 1000;

/// As much as a pipe holds.
const BUFFER: usize = 64 * 1024;
/// A piece of stderr, so that a record stays well below what the gateway takes.
const STDERR_PIECE: usize = 8 * 1024;

/// What a program wrote last is in its pipes when it ends; children that it left behind may hold them open for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The gateway ends the machine as soon as it has read everything; without a gateway it ends by itself.
const FAREWELL: Duration = Duration::from_secs(10);

/// Runs the program that the gateway names, to its end; gives why it could not.
pub(crate) fn run(control: &mut Control) -> ToHost {
    match start(control) {
        Ok(running) => running.until_the_end(),
        Err(failed) => failed.into(),
    }
}

struct Running {
    server: Pid,
    teller: Teller,
    written: Arc<AtomicU64>,
    /// Hears when stdout and stderr are at their ends.
    ends: Receiver<()>,
    _child: Child,
}

fn start(control: &mut Control) -> Result<Running, Failed> {
    let start = first(control)?;
    let stdio = Arc::new(port::open(STDIO_PORT).step("open the port for stdio")?);
    random::set_clock(start.now);
    // Before the root is entered: the port's device is not in there.
    if let Some(to) = &start.way_out {
        way_out::open(to)?;
    }
    machine::enter_root(&start)?;
    limit(&start).step("set the limits")?;
    let mut child = spawn(start)?;
    let server = Pid::from_child(&child);
    control.tell(&ToHost::Started);

    let lost = || io::Error::other("a pipe is missing");
    let (stdin, stdout) =
        (child.stdin.take().ok_or_else(lost).step("carry stdin")?, child.stdout.take().ok_or_else(lost).step("carry stdout")?);
    let stderr = child.stderr.take().ok_or_else(lost).step("carry stderr")?;
    let (teller, written) = (control.teller(), Arc::new(AtomicU64::new(0)));
    let (at_end, ends) = channel();
    let (ring, bell) = io::pipe().step("make a pipe")?;
    let limit = Arc::new(AtomicU64::new(u64::MAX));
    {
        let (stdio, limit) = (stdio.clone(), limit.clone());
        thread::spawn(move || carry_in(&stdio, stdin, &ring, &limit));
    }
    {
        let (written, at_end) = (written.clone(), at_end.clone());
        thread::spawn(move || {
            carry_out(stdout, &stdio, &written);
            at_end.send(())
        });
    }
    let errors = teller.clone();
    thread::spawn(move || {
        carry_errors(stderr, &errors);
        at_end.send(())
    });
    let port = control.share();
    thread::spawn(move || obey(port, server, &limit, bell));
    Ok(Running { server, teller, written, ends, _child: child })
}

/// The program to start. A machine may stand still here, be copied, and go on as many.
fn first(control: &mut Control) -> Result<Start, Failed> {
    loop {
        match control.hear().step("hear what to start")? {
            ToGuest::Start(start) => return Ok(start),
            ToGuest::Renew(renewal) => {
                random::renew(renewal.seed).step("renew what random numbers come from")?;
                random::set_clock(renewal.now);
                control.tell(&ToHost::Renewed);
            }
            ToGuest::StdinEnds(_) | ToGuest::Terminate => return Err(io::Error::from(ErrorKind::InvalidData)).step("hear what to start"),
        }
    }
}

/// Limits of this process, which every other one inherits; its own work stays far below them.
fn limit(start: &Start) -> rustix::io::Result<()> {
    let both = |limit: u64| Rlimit { current: Some(limit), maximum: Some(limit) };
    setrlimit(Resource::Core, both(0))?;
    setrlimit(Resource::Nproc, both(start.processes.into()))?;
    setrlimit(Resource::Nofile, both(start.open_files.into()))?;
    setrlimit(Resource::Fsize, both(u64::from(start.file_mb) << 20))?;
    setrlimit(Resource::Data, both(u64::from(start.memory_mb) << 20))?;
    remove_capability_from_bounding_set_all()?;
    set_no_new_privs(true)
}

fn remove_capability_from_bounding_set_all() -> rustix::io::Result<()> {
    CapabilitySet::all().iter().try_for_each(|one| match remove_capability_from_bounding_set(one) {
        Err(Errno::INVAL) => Ok(()), // this kernel does not know it
        removed => removed,
    })
}

/// The process is alone in its group; there is no terminal that it could reach.
fn spawn(start: Start) -> Result<Child, Failed> {
    let text = OsString::from_vec;
    let (path, cwd) = (text(start.path), text(start.cwd));
    let step = format!("execute {} in {}", path.display(), cwd.display());
    Command::new(path)
        .args(start.args.into_iter().map(text))
        .env_clear()
        .envs(start.env.into_iter().map(|(name, value)| (text(name), text(value))))
        .current_dir(cwd)
        .uid(USER)
        .gid(USER)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .step(&step)
}

impl Running {
    /// Reaps everything, until it is the program's turn.
    fn until_the_end(self) -> ToHost {
        let status = loop {
            match wait(WaitOptions::empty()) {
                Ok(Some((ended, status))) if ended == self.server => break status,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return ToHost::Failed { step: "wait for the program".to_owned(), errno: error.raw_os_error() },
            }
        };
        let met = met();
        for _ in ["stdout", "stderr"] {
            if self.ends.recv_timeout(LAST_WORDS).is_err() {
                break;
            }
        }
        let signal = || status.terminating_signal().map_or(0, |signal| -signal);
        let status = status.exit_status().unwrap_or_else(signal);
        let ended = || ToHost::Ended { status, written: self.written.load(Ordering::SeqCst), met };
        self.teller.tell(&ended());
        sleep(FAREWELL);
        ended()
    }
}

/// Which limit the program has met, as far as this kernel knows.
fn met() -> Option<Met> {
    let counts = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let ended_for_memory = counts.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"));
    if ended_for_memory {
        return Some(Met::Memory);
    }
    // A folder of the host's may be shown as `/tmp`: how full that is is no limit of the program's.
    let is_own = statfs("/tmp").ok()?.f_type == TMPFS_MAGIC;
    Met::full(is_own.then_some(&statvfs("/tmp").ok()?), &statvfs("/dev/shm").ok()?)
}

/// From the gateway to the program's stdin, until as much has come as the gateway says that there is.
fn carry_in(stdio: &File, stdin: ChildStdin, ring: &PipeReader, limit: &AtomicU64) {
    let (mut carried, mut buffer) = (0, vec![0; BUFFER]);
    let mut stdin = Some(stdin);
    loop {
        if carried >= limit.load(Ordering::SeqCst) {
            return;
        }
        let is_rung = {
            let mut both = [PollFd::from_borrowed_fd(stdio.as_fd(), PollFlags::IN), PollFd::from_borrowed_fd(ring.as_fd(), PollFlags::IN)];
            let _interrupted_at_most = poll(&mut both, None);
            let [_, ring] = &both;
            !ring.revents().is_empty()
        };
        // Everything was sent before the bell was rung: what is still to come comes without waiting.
        if is_rung && carried >= limit.load(Ordering::SeqCst) {
            return;
        }
        let Ok(read) = port::read(stdio, &mut buffer) else { return };
        carried += read as u64;
        // A program that has closed its stdin is not sent anything more; what comes is still taken.
        if let (Some(open), Some(bytes)) = (&mut stdin, buffer.get(..read))
            && open.write_all(bytes).is_err()
        {
            stdin = None;
        }
    }
}

fn carry_out(mut stdout: ChildStdout, mut stdio: &File, written: &AtomicU64) {
    let mut buffer = vec![0; BUFFER];
    while let Some(bytes) = next(&mut stdout, &mut buffer) {
        if stdio.write_all(bytes).is_err() {
            return;
        }
        written.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    }
}

fn carry_errors(mut stderr: ChildStderr, teller: &Teller) {
    let mut buffer = vec![0; STDERR_PIECE];
    while let Some(bytes) = next(&mut stderr, &mut buffer) {
        teller.tell(&ToHost::Stderr(bytes.to_vec()));
    }
}

fn next<'a>(from: &mut impl Read, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    loop {
        match from.read(buffer) {
            Ok(0) => return None,
            Ok(read) => return buffer.get(..read),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// Does what the gateway says while the program runs.
fn obey(mut control: Control, server: Pid, limit: &AtomicU64, mut bell: PipeWriter) {
    while let Ok(record) = control.hear() {
        match record {
            ToGuest::StdinEnds(after) => {
                limit.store(after, Ordering::SeqCst);
                let _nobody_listens = bell.write_all(&[1]);
            }
            // It may have ended.
            ToGuest::Terminate => drop(kill_process(server, Signal::TERM)),
            ToGuest::Start(_) | ToGuest::Renew(_) => {}
        }
    }
}
