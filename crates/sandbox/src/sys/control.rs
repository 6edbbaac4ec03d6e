//! The one socket between gateway and launcher: policy and stdin go in, what happened comes out, and its end without a
//! failure means that the program runs.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::step::Step;
use crate::error::Failure;
use crate::layer::{Layer, Layers};
use crate::policy::Policy;

/// Room for one message: a failure's step and every layer's detail are short texts of our own.
const MESSAGE_BYTES: usize = 8 * 1024;

/// As many descriptors as one message carries at most.
const MOST_DESCRIPTORS: usize = 4;

/// What the launcher tells the gateway. Each kind comes at most once, but for listeners.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// With a pidfd: who ends everything inside when it gets `signal`.
    Ender { signal: i32 },
    /// With a pidfd: the process that becomes the program.
    Server,
    /// With the pipe through which init is told to stop the program, and to let it go on.
    Wishes,
    /// With a socket: where the program asks for names.
    Names,
    /// With a socket: where its connections arrive.
    Listener,
    /// With the program's own `/tmp`, to ask how full it is.
    Tmp,
    /// The same of its `/dev/shm`.
    Shm,
    /// With a listener of seccomp: whoever has it is asked what the program's calls may do. Only in a trial.
    Questions,
    /// The last word before `execve`: every layer is set and checked.
    InForce(Layers),
    /// A step failed; nothing of the program has run.
    Failed(Failure),
}

/// Both ends: the gateway's and the launcher's.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((ours, theirs))
}

/// The first message: the policy in a memfd, because it may be larger than a packet, and the program's stdin, stdout and stderr.
pub(crate) fn send_policy(control: BorrowedFd<'_>, policy: &Policy, [stdin, stdout, stderr]: &[OwnedFd; 3]) -> io::Result<()> {
    let text = Zeroizing::new(serde_json::to_vec(policy)?);
    let mut file = File::from(memfd_create("policy", MemfdFlags::CLOEXEC)?);
    file.write_all(&text)?;
    file.rewind()?;
    send_bytes(control, b"policy", &[file.as_fd(), stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])
}

/// The launcher's side of [`send_policy`].
pub(super) fn receive_policy(control: BorrowedFd<'_>) -> io::Result<(Policy, [OwnedFd; 3])> {
    let (_, descriptors) = receive_bytes(control)?;
    let [policy, stdio @ ..] = <[OwnedFd; 4]>::try_from(descriptors).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut text = Zeroizing::new(Vec::new());
    File::from(policy).read_to_end(&mut text)?;
    Ok((serde_json::from_slice(&text)?, stdio))
}

/// The launcher's end. Each of its processes has a copy; the gateway sees the end when the last one is closed.
pub(super) struct Control(Option<OwnedFd>);

impl Control {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self(Some(socket))
    }

    /// Sends one message with at most [`MOST_DESCRIPTORS`] descriptors.
    pub(super) fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), Failure> {
        let socket = self.0.as_ref().ok_or(io::ErrorKind::NotConnected);
        let sent =
            socket.map_err(io::Error::from).and_then(|socket| send_bytes(socket.as_fd(), &serde_json::to_vec(message)?, descriptors));
        sent.step(Layer::Lifetime, "report to the gateway")
    }

    /// Gives up this process's copy, once it has nothing more to say.
    pub(super) fn close(&mut self) {
        self.0 = None;
    }
}

/// Receives one message; `None` at the end.
pub(crate) fn receive(control: BorrowedFd<'_>) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
    let (bytes, descriptors) = receive_bytes(control)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&bytes)?, descriptors.into_iter().next())))
}

pub(crate) fn send_bytes(control: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(control, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

pub(crate) fn receive_bytes(control: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(control, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    bytes.truncate(received.bytes);
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok((bytes, descriptors))
}
