//! Classic BPF, as far as filters of system calls are made of it (`linux/bpf_common.h`, seccomp(2)), and its way into the kernel.

use rustix::io::Errno;

use super::raw::last_errno;

/// What instructions do.
pub(crate) mod code {
    /// Loads the word at `k` of what is known of the call.
    pub(crate) const LOAD: u16 = 0x20;
    /// Answers `k`.
    pub(crate) const RETURN: u16 = 0x06;
    /// Jumps `k` further.
    pub(crate) const JUMP: u16 = 0x05;
    /// Jumps where the loaded word is `k`.
    pub(crate) const EQUAL: u16 = 0x15;
    /// Jumps where it is at least as great.
    pub(crate) const AT_LEAST: u16 = 0x35;
    /// Leaves of the loaded word the bits of `k`.
    pub(crate) const AND: u16 = 0x54;
}

/// The action in an answer; the rest is its errno.
pub(crate) const ACTION: u32 = libc::SECCOMP_RET_ACTION_FULL;

/// Where in what is known of a call its number stands.
pub(crate) const NUMBER: u32 = 0;

/// Where the architecture stands that the call is made for.
pub(crate) const ARCHITECTURE: u32 = 4;

/// Where the half of an argument stands that a little-endian machine puts first: the lower one.
pub(crate) fn lower_half(argument: u8) -> u32 {
    16 + 8 * u32::from(argument)
}

/// One instruction, laid out as the kernel has it (`struct sock_filter`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    /// How many instructions a conditional jump leaves out where its condition holds, and where it does not.
    pub(crate) jt: u8,
    pub(crate) jf: u8,
    pub(crate) k: u32,
}

/// A filter.
pub(crate) type Program = Vec<Instruction>;

/// An instruction that does not jump by a condition.
pub(crate) fn plain(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// A conditional jump.
pub(crate) fn jump_if(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// Ends with an error of this number in the place of the call.
pub(crate) fn fail(errno: Errno) -> Instruction {
    plain(code::RETURN, libc::SECCOMP_RET_ERRNO | errno.raw_os_error().unsigned_abs())
}

/// Loads a filter into this process, which has one thread; everything it starts inherits it. Gives what the kernel gives: with
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` a descriptor, else 0.
pub(super) fn load(program: &[Instruction], flags: libc::c_ulong) -> Result<i32, Errno> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `program` and the instructions it points to are alive for the call, and `Instruction` has the layout of the kernel's
    // `sock_filter`; the kernel only reads them.
    let given = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    i32::try_from(given).ok().filter(|given| *given >= 0).ok_or_else(last_errno)
}

/// What a filter of ours returns for a call, of which it sees `words`. `None`: it does not end, or does what none of them does.
pub(crate) fn answer(filter: &[Instruction], words: &[u32]) -> Option<u32> {
    let (mut position, mut loaded) = (0, 0);
    // Jumps lead only forwards, so that it ends after as many steps.
    for _ in filter {
        let instruction = filter.get(position)?;
        let k = instruction.k;
        position += 1;
        let jump = |holds: bool| usize::from(if holds { instruction.jt } else { instruction.jf });
        match instruction.code {
            code::RETURN => return Some(k),
            code::LOAD => loaded = *words.get(usize::try_from(k).ok().filter(|k| k % 4 == 0)? / 4)?,
            code::AND => loaded &= k,
            code::JUMP => position = position.checked_add(usize::try_from(k).ok()?)?,
            code::EQUAL => position += jump(loaded == k),
            code::AT_LEAST => position += jump(loaded >= k),
            _ => return None,
        }
    }
    None
}
