//! What the ordinary filter says of a call: the gateway stands in for it in a trial, so it asks the filter itself.

use rustix::io::Errno;

use crate::sys::bpf::{ACTION, answer};
use crate::sys::notify::{Question, Reply};
use crate::sys::seccomp::Filter;

/// What it answers to the call.
pub(super) fn judge(filter: &Filter, question: &Question) -> Reply {
    match answer(filter.program(), &question.words) {
        Some(libc::SECCOMP_RET_ALLOW) => Reply::GoOn,
        Some(other) if other & ACTION == libc::SECCOMP_RET_ERRNO => {
            Reply::Fail(Errno::from_raw_os_error(i32::from_ne_bytes((other & !ACTION).to_ne_bytes())))
        }
        // Nothing that it says: refused all the same.
        _ => Reply::Fail(Errno::PERM),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::super::asks;
    use super::*;
    use crate::profile::Profile;
    use crate::sys::bpf::Program;
    use crate::sys::{notify, seccomp};

    #[cfg(target_arch = "x86_64")]
    const ARCHITECTURE: u32 = 0xc000_003e;
    #[cfg(target_arch = "aarch64")]
    const ARCHITECTURE: u32 = 0xc000_00b7;

    static FILTER: LazyLock<Filter> = LazyLock::new(|| seccomp::filter(&seccomp::Choice::of(&Profile::default(), true)).unwrap());
    static TRIAL: LazyLock<Program> = LazyLock::new(|| notify::assemble(FILTER.program(), &asks::watched().collect::<Vec<_>>()).unwrap());

    fn question(call: i64, arguments: [u64; 6]) -> Question {
        let halves = arguments.iter().flat_map(|value| [value & 0xffff_ffff, value >> 32]).map(|half| u32::try_from(half).unwrap());
        let mut words = [0; 16];
        let head = [u32::try_from(call).unwrap(), ARCHITECTURE, 0, 0];
        words.iter_mut().zip(head.into_iter().chain(halves)).for_each(|(word, value)| *word = value);
        Question::made(call, arguments, words)
    }

    fn judged(call: i64, arguments: [u64; 6]) -> Reply {
        judge(&FILTER, &question(call, arguments))
    }

    #[test]
    fn the_filters_say_what_they_are_there_to_say() {
        let eperm = Reply::Fail(Errno::PERM);
        assert_eq!(judged(libc::SYS_openat, [0; 6]), Reply::GoOn);
        assert_eq!(judged(libc::SYS_keyctl, [0; 6]), eperm);
        assert_eq!(judged(libc::SYS_clone3, [0; 6]), Reply::Fail(Errno::NOSYS));
        assert_eq!(judged(4242, [0; 6]), Reply::Fail(Errno::NOSYS));
        let vsock = u64::from(libc::AF_VSOCK.unsigned_abs());
        assert_eq!(judged(libc::SYS_socket, [vsock, 1, 0, 0, 0, 0]), eperm);
        assert_eq!(judged(libc::SYS_socket, [u64::from(libc::AF_INET.unsigned_abs()), 1, 0, 0, 0, 0]), Reply::GoOn);
        assert_eq!(judged(libc::SYS_ioctl, [0, libc::TIOCSTI | 1 << 40, 0, 0, 0, 0]), eperm);
        assert_eq!(judged(libc::SYS_fchmodat, [0, 0, 0o4755, 0, 0, 0]), eperm);
    }

    proptest! {
        /// The filter of a trial asks about whatever the ordinary ones refuse, and besides that about nothing but the watched calls.
        #[test]
        fn the_filter_of_a_trial_lets_nothing_pass_that_the_ordinary_ones_refuse(
            call in 0i64..470, arguments in any::<[u64; 6]>(), small in any::<[u8; 6]>(), is_small in any::<bool>(),
        ) {
            let arguments = if is_small { small.map(u64::from) } else { arguments };
            let question = question(call, arguments);
            let asks = match answer(&TRIAL, &question.words).unwrap() {
                libc::SECCOMP_RET_USER_NOTIF => true,
                libc::SECCOMP_RET_ALLOW => false,
                other => panic!("{other:x}"),
            };
            let is_watched = asks::about(call).is_some() && (call != libc::SYS_sendto || arguments[4] != 0);
            prop_assert_eq!(asks, is_watched || judge(&FILTER, &question) != Reply::GoOn);
        }
    }

    #[test]
    fn another_architecture_is_killed_as_ever() {
        let mut words = question(libc::SYS_openat, [0; 6]).words;
        words[1] = 0x4000_0003; // i386
        assert_eq!(answer(&TRIAL, &words).map(|answer| answer & ACTION), Some(libc::SECCOMP_RET_KILL_PROCESS));
    }
}
