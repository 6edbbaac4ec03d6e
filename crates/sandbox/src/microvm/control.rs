//! The gateway's end of the control port. The guest may be hostile: records are bounded, and one that makes no sense ends the machine.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::rand::SystemRandom;
use sallyport_guest::{HEADER, LONGEST, LONGEST_OF_GUEST, Met, Renewal, ToGuest, ToHost, VERSION, length};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::Notify;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::error::Error;

/// Longer than a kernel's boot on an emulated processor that has to share; a machine that does not say anything by then never will.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// Mounting and one `execve`, emulated.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Names and reasons of the guest's that are shown.
const MOST_SHOWN: usize = 200;

/// The port before the program runs.
pub(super) struct Control {
    port: UnixStream,
}

impl Control {
    pub(super) fn new(port: UnixStream) -> Self {
        Self { port }
    }

    /// Waits for the guest's first word; the release of its kernel.
    pub(super) async fn booted(&mut self) -> Result<String, Error> {
        let hello = timeout(BOOT_LIMIT, hear(&mut self.port)).await;
        let hello = hello.map_err(|_| Error::new(format!("the microVM did not boot within {BOOT_LIMIT:?}")))?;
        match hello.map_err(|cause| Error::io("the microVM ended before it had booted", &cause))? {
            ToHost::Hello { version: VERSION, kernel } => Ok(shown(&kernel)),
            _ => Err(Error::new("the microVM's init speaks another language: it is of another version of sallyport")),
        }
    }

    /// Gives the machine what no other one has: a seed for what is random, and the time. Before that it may be a copy of others.
    pub(super) async fn renew(&mut self) -> Result<(), Error> {
        let seed = ring::rand::generate(&SystemRandom::new()).map_err(|_| Error::new("this machine has no random numbers"))?;
        let record = Zeroizing::new(ToGuest::Renew(Renewal { now: now(), seed: seed.expose() }).encode());
        let lost = |cause: io::Error| Error::io("the microVM ended before it was started", &cause);
        self.port.write_all(&record).await.map_err(lost)?;
        let answer = timeout(START_LIMIT, hear(&mut self.port)).await;
        match answer.map_err(|_| Error::new(format!("the microVM did not answer within {START_LIMIT:?}")))?.map_err(lost)? {
            ToHost::Renewed => Ok(()),
            ToHost::Failed { step, errno } => {
                Err(Error::io(format_args!("the microVM could not {}", shown(&step)), &io::Error::from_raw_os_error(errno)))
            }
            _ => Err(Error::new("the microVM answered something else than it was asked")),
        }
    }

    /// Has the program started; gives the port for the time after.
    pub(super) async fn start(mut self, name: &str, start: sallyport_guest::Start) -> Result<UnixStream, Error> {
        let record = Zeroizing::new(ToGuest::Start(start).encode());
        if record.len() > HEADER + LONGEST {
            return Err(Error::new(format!("arguments and environment of server {name} have more than {LONGEST} bytes")));
        }
        let lost = |cause: io::Error| Error::io(format_args!("the microVM of server {name} ended before it was started"), &cause);
        self.port.write_all(&record).await.map_err(lost)?;
        let answer = timeout(START_LIMIT, hear(&mut self.port)).await;
        match answer
            .map_err(|_| Error::new(format!("server {name} was not started in its microVM within {START_LIMIT:?}")))?
            .map_err(lost)?
        {
            ToHost::Started => Ok(self.port),
            ToHost::Failed { step, errno } => {
                let cause = io::Error::from_raw_os_error(errno);
                Err(Error::io(format_args!("the microVM of server {name} could not {}", shown(&step)), &cause))
            }
            _ => Err(Error::new(format!("the microVM of server {name} answered something else than it was asked"))),
        }
    }
}

/// In nanoseconds after 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MOST_SHOWN).collect()
}

/// The next record.
async fn hear(port: &mut (impl AsyncReadExt + Unpin)) -> io::Result<ToHost> {
    let mut header = [0; HEADER];
    port.read_exact(&mut header).await?;
    let (kind, length) = length(header, LONGEST_OF_GUEST).ok_or_else(|| io::Error::other("a record of the guest is too long"))?;
    let mut rest = vec![0; length];
    port.read_exact(&mut rest).await?;
    ToHost::decode(kind, &rest).ok_or_else(|| io::Error::other("a record of the guest makes no sense"))
}

/// How the program ended, how much it wrote to stdout before, and which limit it has met.
pub(super) struct Ended {
    pub(super) status: i32,
    pub(super) written: u64,
    pub(super) met: Option<Met>,
}

/// Passes stderr on until the program's end.
pub(super) async fn hear_the_end(mut port: OwnedReadHalf, mut stderr: impl AsyncWriteExt + Unpin) -> io::Result<Ended> {
    loop {
        match hear(&mut port).await? {
            ToHost::Stderr(bytes) => stderr.write_all(&bytes).await?,
            ToHost::Ended { status, written, met } => return Ok(Ended { status, written, met }),
            ToHost::Hello { .. } | ToHost::Renewed | ToHost::Started => {
                return Err(io::Error::other("a record of the guest comes too late"));
            }
            ToHost::Failed { step, errno } => {
                let cause = io::Error::from_raw_os_error(errno);
                return Err(io::Error::other(format!("its init could not {}: {cause}", shown(&step))));
            }
        }
    }
}

/// What is still to be said to a running guest. One of each kind at most: a guest that does not listen makes nothing grow.
#[derive(Debug)]
pub(super) struct Wishes {
    /// `u64::MAX`: not ended.
    stdin_ends: AtomicU64,
    terminate: AtomicBool,
    any: Notify,
}

impl Wishes {
    pub(super) fn new() -> Self {
        Self { stdin_ends: AtomicU64::new(u64::MAX), terminate: AtomicBool::new(false), any: Notify::new() }
    }

    pub(super) fn end_stdin(&self, after: u64) {
        self.stdin_ends.store(after, Ordering::SeqCst);
        self.any.notify_one();
    }

    pub(super) fn terminate(&self) {
        self.terminate.store(true, Ordering::SeqCst);
        self.any.notify_one();
    }

    /// Says what is wished, as long as the port is there.
    pub(super) async fn say(&self, mut port: impl AsyncWriteExt + Unpin) -> io::Result<()> {
        loop {
            self.any.notified().await;
            let ends = self.stdin_ends.swap(u64::MAX, Ordering::SeqCst);
            if ends != u64::MAX {
                port.write_all(&ToGuest::StdinEnds(ends).encode()).await?;
            }
            if self.terminate.swap(false, Ordering::SeqCst) {
                port.write_all(&ToGuest::Terminate.encode()).await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    /// What the gateway makes of a guest that says this.
    async fn heard(said: &[u8]) -> io::Result<Ended> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(said).await.unwrap();
        drop(theirs);
        hear_the_end(ours.into_split().0, tokio::io::sink()).await
    }

    #[tokio::test]
    async fn a_guest_that_makes_no_sense_is_not_listened_to() {
        let ended = ToHost::Ended { status: 3, written: 5, met: None }.encode();
        assert_eq!(heard(&[ToHost::Stderr(b"x".to_vec()).encode(), ended.clone()].concat()).await.unwrap().status, 3);
        let too_long = [&[4][..], &u32::MAX.to_le_bytes(), &[0; 100]].concat();
        for nonsense in [too_long, vec![77, 0, 0, 0, 0], vec![5, 1, 0, 0, 0, 0], ToHost::Started.encode(), ended[..9].to_vec()] {
            assert!(heard(&nonsense).await.is_err(), "{nonsense:?}");
        }
    }

    #[tokio::test]
    async fn a_guest_of_another_version_is_not_started() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&ToHost::Hello { version: VERSION + 1, kernel: "6.1".to_owned() }.encode()).await.unwrap();
        assert!(Control::new(ours).booted().await.unwrap_err().to_string().contains("another version"));
    }
}
