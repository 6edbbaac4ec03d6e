//! The filter of a trial: the ordinary one, but what it refuses, and what names a file or an address, is put to the gateway first.
//!
//! It is assembled out of the ordinary filter's own instructions:
//!
//! 1. the ordinary filter, where `EPERM` and `ENOSYS` become a question;
//! 2. the calls that are watched, which are a question too; all others are allowed.
//!
//! They must be one filter, because a process has one listener, and because an errno of any other filter would come before the
//! question. The gateway answers a refused call with the errno that the ordinary filter has for it, and lets every other one go on, to
//! whatever the mounts and Landlock say. Without a gateway the kernel answers `ENOSYS`: nothing is let pass by accident.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::bpf::{self, ACTION, Instruction, Program, code, jump_if, plain};
use super::raw::last_errno;
use super::step::failure;
use crate::error::Failure;
use crate::layer::Layer;

/// Loads the filter of a trial into this process, and gives the listener. `ordinary` is the one that is loaded outside
/// of trials; `watched` are the calls that are told besides.
pub(super) fn load(ordinary: &[Instruction], watched: &[i64]) -> Result<OwnedFd, Failure> {
    let program = assemble(ordinary, watched).ok_or_else(|| failure(Layer::Seccomp, "assemble the filter of a trial", Errno::INVAL))?;
    let listener = set(&program, true).or_else(|errno| match errno {
        Errno::INVAL => set(&program, false), // linux before 5.19
        other => Err(other),
    });
    listener.map_err(|errno| failure(Layer::Seccomp, "load the filter of a trial", errno))
}

/// The one program; `None` where it cannot be put together.
pub(crate) fn assemble(ordinary: &[Instruction], watched: &[i64]) -> Option<Program> {
    let mut program = asking(ordinary)?;
    program.push(plain(code::LOAD, bpf::NUMBER));
    for call in watched {
        let rest = if *call == libc::SYS_sendto { addressed() } else { vec![ask()] };
        program.push(jump_if(code::EQUAL, u32::try_from(*call).ok()?, 0, u8::try_from(rest.len()).ok()?));
        program.extend(rest);
    }
    program.push(plain(code::RETURN, libc::SECCOMP_RET_ALLOW));
    Some(program)
}

/// An ordinary filter that asks where it would refuse, and goes on behind its end where it would allow.
fn asking(filter: &[Instruction]) -> Option<Program> {
    let mut asking = filter.to_vec();
    let length = filter.len();
    for (position, instruction) in asking.iter_mut().enumerate().filter(|(_, instruction)| instruction.code == code::RETURN) {
        match instruction.k & ACTION {
            libc::SECCOMP_RET_ERRNO => *instruction = ask(),
            libc::SECCOMP_RET_ALLOW => {
                *instruction = plain(code::JUMP, u32::try_from(length - position - 1).ok()?);
            }
            _ => {}
        }
    }
    Some(asking)
}

/// Of `sendto`, asks only where there is an address: without one it is `send`, which is most of what programs do.
fn addressed() -> Program {
    let half = |offset: u32| plain(code::LOAD, bpf::lower_half(4) + offset);
    let is_zero = |jf: u8| jump_if(code::EQUAL, 0, 0, jf);
    vec![half(0), is_zero(3), half(4), is_zero(1), plain(code::RETURN, libc::SECCOMP_RET_ALLOW), ask()]
}

fn ask() -> Instruction {
    plain(code::RETURN, libc::SECCOMP_RET_USER_NOTIF)
}

/// A program that waits for an answer is not interrupted by signals it could handle, where the kernel can do that: else calls would
/// fail that do not fail outside of a trial.
fn set(program: &[Instruction], uninterrupted: bool) -> Result<OwnedFd, Errno> {
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | if uninterrupted { libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV } else { 0 };
    let listener = bpf::load(program, flags)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// A call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    id: u64,
    /// The thread that calls, as this process sees it.
    pub(crate) thread: u32,
    /// The call's number.
    pub(crate) call: i64,
    /// Its arguments.
    pub(crate) arguments: [u64; 6],
    /// What a filter sees, word by word.
    pub(crate) words: [u32; 16],
}

#[cfg(test)]
impl Question {
    pub(crate) fn made(call: i64, arguments: [u64; 6], words: [u32; 16]) -> Self {
        Self { id: 0, thread: 0, call, arguments, words }
    }
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The kernel goes on with the call.
    GoOn,
    /// It fails.
    Fail(Errno),
}

/// Takes the next question. ENOENT: who asked has gone meanwhile.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> Result<Question, Errno> {
    let mut question = MaybeUninit::<libc::seccomp_notif>::zeroed();
    // SAFETY: the kernel writes one `seccomp_notif`, which must be all zeros before, to the live place that the pointer names; a kernel
    // whose structure has another size knows the request by another number.
    let received = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, question.as_mut_ptr()) };
    if received < 0 {
        return Err(last_errno());
    }
    // SAFETY: every field is an integer, initialised by the zeros at least.
    let libc::seccomp_notif { id, pid, data, .. } = unsafe { question.assume_init() };
    let mut words = [0; 16];
    let halves = |value: u64| [low(value), low(value >> 32)];
    let [low_address, high_address] = halves(data.instruction_pointer);
    let [number, architecture] = [data.nr.cast_unsigned(), data.arch];
    let head = [number, architecture, low_address, high_address];
    let all = head.into_iter().chain(data.args.into_iter().flat_map(halves));
    words.iter_mut().zip(all).for_each(|(word, value)| *word = value);
    Ok(Question { id, thread: pid, call: data.nr.into(), arguments: data.args, words })
}

/// The half of a value that a filter of a little-endian machine finds first.
#[allow(clippy::cast_possible_truncation, reason = "half of it is what is wanted")]
fn low(value: u64) -> u32 {
    value as u32
}

/// Whether who asked still waits. If not, the process with its number may be another one already, and whatever was read of it is void.
pub(crate) fn still_waits(listener: BorrowedFd<'_>, question: &Question) -> bool {
    // SAFETY: the kernel reads one `u64` from a live place.
    (unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const question.id) }) == 0
}

/// Answers. ENOENT: nobody waits any more.
pub(crate) fn reply(listener: BorrowedFd<'_>, question: &Question, reply: Reply) -> Result<(), Errno> {
    let (error, flags) = match reply {
        Reply::GoOn => (0, u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or_default()),
        Reply::Fail(errno) => (-errno.raw_os_error(), 0),
    };
    let response = libc::seccomp_notif_resp { id: question.id, val: 0, error, flags };
    // SAFETY: the kernel reads one `seccomp_notif_resp` from a live place.
    let sent = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) };
    if sent < 0 { Err(last_errno()) } else { Ok(()) }
}
