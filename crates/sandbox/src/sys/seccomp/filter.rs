//! Makes one program of the allow-list and the table of refusals.
//!
//! Both could be a filter each, one comparison after another. But the kernel translates a filter and tries every call's number on it
//! when it is loaded, and does so before each start: 0.9 ms, of which this leaves 0.1. A call's number is looked up among the ranges that
//! are treated alike, by halves.

use rustix::io::Errno;

use super::rule::{Compare, Condition, Rule, Rules};
use crate::sys::bpf::{self, Instruction, Program, code};

/// The architecture as the kernel names it (`linux/audit.h`).
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

const ALLOW: Instruction = Instruction { code: code::RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict<'a> {
    Allowed,
    /// It is on no list: `ENOSYS`, so that programs fall back.
    NotThere,
    /// It is known to be bad: `EPERM`.
    Refused,
    /// The same where one of the rules holds, else this.
    RefusedIf(&'a [Rule], bool),
}

/// Calls of one verdict, from this number up to that of the next range.
struct Range<'a> {
    from: u32,
    verdict: Verdict<'a>,
}

/// The filter: what `refused` names fails with `EPERM`, of the rest what is `allowed` goes on, and everything else fails with
/// `ENOSYS`. A call made in the way of another architecture (`int 0x80`) kills.
///
/// `None`: a call has no number that the kernel could mean, or the rules of one are too many to jump over.
pub(super) fn compile(allowed: &[i64], refused: &Rules) -> Option<Program> {
    let mut program = vec![
        bpf::plain(code::LOAD, bpf::ARCHITECTURE),
        bpf::jump_if(code::EQUAL, ARCHITECTURE, 1, 0),
        bpf::plain(code::RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        bpf::plain(code::LOAD, bpf::NUMBER),
    ];
    program.extend(search(&ranges(allowed, refused)?)?);
    Some(program)
}

/// All numbers, in order. Those above the last call are on no list; x32 numbers are among them.
fn ranges<'a>(allowed: &[i64], refused: &'a Rules) -> Option<Vec<Range<'a>>> {
    let last = u32::try_from(*allowed.iter().chain(refused.keys()).max()?).ok()?;
    let mut ranges: Vec<Range<'a>> = Vec::new();
    for call in 0..=last + 1 {
        let is_allowed = allowed.contains(&call.into());
        let verdict = match refused.get(&call.into()) {
            Some(rules) if rules.is_empty() => Verdict::Refused,
            Some(rules) => Verdict::RefusedIf(rules, is_allowed),
            None if is_allowed => Verdict::Allowed,
            None => Verdict::NotThere,
        };
        let is_another = |range: &Range<'_>| range.verdict != verdict || matches!(verdict, Verdict::RefusedIf(..));
        if ranges.last().is_none_or(is_another) {
            ranges.push(Range { from: call, verdict });
        }
    }
    Some(ranges)
}

/// Halves the ranges until one is left.
fn search(ranges: &[Range<'_>]) -> Option<Program> {
    if let [range] = ranges {
        return answer(range.verdict);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (from, below, above) = (high.first()?.from, search(low)?, search(high)?);
    // A conditional jump reaches 255 instructions, a plain one as far as is wanted.
    let mut program = match u8::try_from(below.len()) {
        Ok(distance) => vec![bpf::jump_if(code::AT_LEAST, from, distance, 0)],
        Err(_) => vec![bpf::jump_if(code::AT_LEAST, from, 0, 1), bpf::plain(code::JUMP, u32::try_from(below.len()).ok()?)],
    };
    program.extend(below);
    program.extend(above);
    Some(program)
}

fn answer(verdict: Verdict<'_>) -> Option<Program> {
    match verdict {
        Verdict::Allowed => Some(vec![ALLOW]),
        Verdict::NotThere => Some(vec![bpf::fail(Errno::NOSYS)]),
        Verdict::Refused => Some(vec![bpf::fail(Errno::PERM)]),
        Verdict::RefusedIf(rules, is_allowed) => {
            let mut program = Program::new();
            for rule in rules {
                program.extend(refuse_if(rule)?);
            }
            program.push(if is_allowed { ALLOW } else { bpf::fail(Errno::NOSYS) });
            Some(program)
        }
    }
}

/// Goes on behind its end unless every condition holds.
fn refuse_if(rule: &[Condition]) -> Option<Program> {
    let mut program = vec![bpf::fail(Errno::PERM)];
    for condition in rule.iter().rev() {
        let rest = u8::try_from(program.len()).ok()?;
        let mut test = vec![bpf::plain(code::LOAD, bpf::lower_half(condition.argument))];
        let (mut value, mut jumps) = (condition.value, (0, rest));
        match condition.compare {
            Compare::Eq => {}
            Compare::Ne => jumps = (rest, 0),
            Compare::MaskedEq(mask) => {
                test.push(bpf::plain(code::AND, mask));
                value &= mask;
            }
        }
        test.push(bpf::jump_if(code::EQUAL, value, jumps.0, jumps.1));
        test.extend(program);
        program = test;
    }
    Some(program)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use proptest::prelude::*;

    use super::super::rule::all;
    use super::super::{Around, Choice, allowed, filter, groups, refusals};
    use super::*;
    use crate::calls::SystemCalls;

    const DONE: u32 = libc::SECCOMP_RET_ALLOW;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();

    fn words(architecture: u32, call: u32, arguments: [u64; 6]) -> Vec<u32> {
        let halves = arguments.into_iter().flat_map(|argument| [argument & 0xffff_ffff, argument >> 32]);
        [call, architecture, 0, 0].into_iter().chain(halves.map(|half| u32::try_from(half).unwrap())).collect()
    }

    /// The same, straight from the lists.
    fn expected(allowed: &[i64], refused: &Rules, call: u32, arguments: [u64; 6]) -> u32 {
        let holds = |Condition { argument, compare, value }: &Condition| {
            let lower = u32::try_from(arguments[usize::from(*argument)] & 0xffff_ffff).unwrap();
            match compare {
                Compare::Eq => lower == *value,
                Compare::Ne => lower != *value,
                Compare::MaskedEq(mask) => lower & mask == value & mask,
            }
        };
        match refused.get(&i64::from(call)) {
            Some(rules) if rules.is_empty() || rules.iter().any(|rule| rule.iter().all(holds)) => EPERM,
            _ if allowed.contains(&i64::from(call)) => DONE,
            _ => ENOSYS,
        }
    }

    fn choices() -> impl Strategy<Value = Choice> {
        let around = prop_oneof![Just(Around::Namespaces), any::<bool>().prop_map(|network| Around::Landlock { network })];
        let calls = prop_oneof![Just(vec![]), Just(vec!["+debugging", "-ipc"]), Just(vec!["+io-uring", "-sockets", "+memory-policy"])];
        (around, calls).prop_map(|(around, calls)| Choice { calls: SystemCalls::parse(&calls).unwrap(), around })
    }

    /// Numbers that mean something to one rule or the other, and any.
    fn arguments() -> impl Strategy<Value = u64> {
        let known = [0, 1, 2, 3, 6, 10, 16, 17, 38, 40, 132, 262, 0o4755, 0o2644, 0x5412, 0x541c, 0x1000_0000, 0x4000_0000, 0xffff_ffff];
        prop_oneof![
            any::<u64>(),
            0u64..64,
            prop::sample::select(known.to_vec()),
            prop::sample::select(known.to_vec()).prop_map(|low| low | 1 << 40)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_search_says_what_the_lists_say(
            choice in choices(), call in prop_oneof![0u32..500, any::<u32>()], arguments in prop::array::uniform6(arguments()),
        ) {
            let allowed: Vec<i64> = groups::apply(&choice.calls, allowed::calls()).collect();
            let refused = refusals(&choice);
            let filter = filter(&choice).unwrap();
            let said = bpf::answer(filter.program(), &words(ARCHITECTURE, call, arguments));
            prop_assert_eq!(said, Some(expected(&allowed, &refused, call, arguments)));
            let other = bpf::answer(filter.program(), &words(0x4000_0003, call, arguments));
            prop_assert_eq!(other, Some(libc::SECCOMP_RET_KILL_PROCESS));
        }
    }

    #[test]
    fn of_the_internets_protocols_only_the_usual_ones_reach_the_kernel() {
        let filter = filter(&Choice { calls: SystemCalls::default(), around: Around::Namespaces }).unwrap();
        let socket = u32::try_from(libc::SYS_socket).unwrap();
        let said = |family: u64, kind: u64, protocol: u64| {
            bpf::answer(filter.program(), &words(ARCHITECTURE, socket, [family, kind, protocol, 0, 0, 0])).unwrap()
        };
        let (stream, datagram, sequence, congestion) = (1, 2, 5, 6);
        for family in [2, 10] {
            for (kind, protocol) in [(stream, 0), (stream, 6), (datagram, 0), (datagram, 17), (datagram, 1), (datagram, 58)] {
                assert_eq!(said(family, kind, protocol), DONE, "{family} {kind} {protocol}");
            }
            for (kind, protocol) in [(congestion, 33), (stream, 132), (sequence, 132), (datagram, 136), (stream, 262), (stream, 256)] {
                assert_eq!(said(family, kind, protocol), EPERM, "{family} {kind} {protocol}");
                assert_eq!(said(family, kind | 0o2_000_000, protocol | 1 << 32), EPERM, "{family} {kind} {protocol}");
            }
        }
    }

    #[test]
    fn jumps_reach_over_what_is_longer_than_one_jump() {
        let rules: Vec<Rule> = (0..60).map(|value| all(&[(0, Compare::Eq, value), (1, Compare::Ne, value)])).collect();
        let refused: Rules = [(3, rules), (7, Vec::new())].into();
        let program = compile(&[3, 5, 6], &refused).unwrap();
        let said = |call, first, second| bpf::answer(&program, &words(ARCHITECTURE, call, [first, second, 0, 0, 0, 0]));
        assert!(program.iter().any(|instruction| instruction.code == code::JUMP));
        assert_eq!([said(3, 59, 0), said(3, 59, 59), said(3, 60, 0)], [Some(EPERM), Some(DONE), Some(DONE)]);
        assert_eq!([2, 4, 5, 6, 7, 8].map(|call| said(call, 0, 0).unwrap()), [ENOSYS, ENOSYS, DONE, DONE, EPERM, ENOSYS]);
    }
}
