//! The system call filter: an allow-list that answers ENOSYS to everything else, so that programs fall back, and over it a
//! table of the known bad that answers EPERM. Two filters, because one has a single answer; where both refuse, the one
//! loaded last decides, so the table is loaded last.
//!
//! The gateway compiles them, once for each choice, and hands the result to the launcher.

mod allowed;
mod groups;
mod refused;
mod shared;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch, apply_filter, sock_filter};
use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) use groups::members;

use super::notify;
use super::step::failure;
use crate::calls::SystemCalls;
use crate::error::Failure;
use crate::layer::Layer;
use crate::profile::{Network, Profile};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

/// What a filter is made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Choice {
    calls: SystemCalls,
    around: Around,
}

/// What else keeps the program in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Around {
    /// Namespaces: it reaches only its own.
    Namespaces,
    /// Landlock alone.
    Landlock { network: bool },
}

impl Choice {
    pub(crate) fn of(profile: &Profile, namespaces: bool) -> Self {
        let around = if namespaces { Around::Namespaces } else { Around::Landlock { network: profile.network == Network::Host } };
        Self { calls: profile.seccomp.clone(), around }
    }
}

/// Both filters as the kernel takes them, in the order of loading; one instruction a number.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Filters([Vec<u64>; 2]);

impl Filters {
    /// The instructions, in the order of loading.
    pub(crate) fn programs(&self) -> [BpfProgram; 2] {
        self.0.each_ref().map(|program| program.iter().map(unpack).collect())
    }
}

/// Compiled once for each choice; a gateway has as many as its servers differ in it.
pub(crate) fn filters(choice: &Choice) -> Result<Filters, BackendError> {
    static COMPILED: Mutex<BTreeMap<Choice, Filters>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(filters) = compiled.get(choice) {
        return Ok(filters.clone());
    }
    let filters = compile(choice)?;
    compiled.insert(choice.clone(), filters.clone());
    Ok(filters)
}

fn compile(choice: &Choice) -> Result<Filters, BackendError> {
    let packed = |program: BpfProgram| program.iter().map(pack).collect();
    Ok(Filters([packed(allow_list(choice)?), packed(refusals(choice)?)]))
}

/// Loads both filters into this process; everything it starts inherits them. A call made in the way of another
/// architecture (`int 0x80`) kills.
pub(super) fn load(filters: &Filters) -> Result<(), Failure> {
    for program in filters.programs() {
        apply_filter(&program).map_err(|error| refused_by_kernel(&error))?;
    }
    Ok(())
}

/// Loads one filter in the place of both that asks the gateway where they refuse, and at the calls that are `watched`. Gives the
/// descriptor of who is asked.
pub(super) fn load_for_trial(filters: &Filters, watched: &[i64]) -> Result<OwnedFd, Failure> {
    notify::load(&filters.programs(), watched)
}

fn refused_by_kernel(error: &seccompiler::Error) -> Failure {
    let errno = match error {
        seccompiler::Error::Prctl(cause) | seccompiler::Error::Seccomp(cause) => Errno::from_io_error(cause),
        _ => None,
    };
    failure(Layer::Seccomp, "load the filter", errno.unwrap_or(Errno::INVAL))
}

/// An instruction's code, its two jumps and its operand, from the upper end to the lower.
fn pack(instruction: &sock_filter) -> u64 {
    let [jump, or_else] = [instruction.jt, instruction.jf].map(u64::from);
    u64::from(instruction.code) << 48 | jump << 40 | or_else << 32 | u64::from(instruction.k)
}

fn unpack(number: &u64) -> sock_filter {
    let [code_high, code_low, jt, jf, k @ ..] = number.to_be_bytes();
    sock_filter { code: u16::from_be_bytes([code_high, code_low]), jt, jf, k: u32::from_be_bytes(k) }
}

fn allow_list(choice: &Choice) -> Result<BpfProgram, BackendError> {
    let rules: Rules = groups::apply(&choice.calls, allowed::calls()).map(|call| (call, Vec::new())).collect();
    let not_there = SeccompAction::Errno(Errno::NOSYS.raw_os_error().unsigned_abs());
    SeccompFilter::new(rules, not_there, SeccompAction::Allow, ARCHITECTURE)?.try_into()
}

fn refusals(choice: &Choice) -> Result<BpfProgram, BackendError> {
    let not_permitted = SeccompAction::Errno(Errno::PERM.raw_os_error().unsigned_abs());
    SeccompFilter::new(refusal_rules(choice)?, SeccompAction::Allow, not_permitted, ARCHITECTURE)?.try_into()
}

fn refusal_rules(choice: &Choice) -> Result<Rules, BackendError> {
    let mut rules = refused::rules()?;
    for call in groups::added(&choice.calls) {
        rules.remove(&call);
    }
    if let Around::Landlock { network } = choice.around {
        shared::refuse(&mut rules, network)?;
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn choices() -> Vec<Choice> {
        let around = [Around::Namespaces, Around::Landlock { network: false }, Around::Landlock { network: true }];
        let calls = [SystemCalls::default(), SystemCalls::parse(&["+debugging", "+io-uring", "-ipc", "-sockets"]).unwrap()];
        around.into_iter().flat_map(|around| calls.clone().map(|calls| Choice { calls, around })).collect()
    }

    #[test]
    fn every_choice_compiles_and_crosses_to_the_launcher_as_it_is() {
        for choice in choices() {
            let (list, table) = (allow_list(&choice).unwrap(), refusals(&choice).unwrap());
            let text = serde_json::to_vec(&filters(&choice).unwrap()).unwrap();
            let arrived: Filters = serde_json::from_slice(&text).unwrap();
            assert!(!list.is_empty() && !table.is_empty());
            assert_eq!(arrived.programs(), [list, table]);
        }
    }

    #[test]
    fn no_call_is_listed_twice_and_none_is_both_allowed_and_always_refused() {
        let mut allowed: Vec<i64> = allowed::calls().collect();
        let listed = allowed.len();
        allowed.sort_unstable();
        allowed.dedup();
        assert_eq!(allowed.len(), listed);
        let always: Vec<i64> = refused::always().collect();
        let both: Vec<i64> = allowed.into_iter().filter(|call| always.contains(call)).collect();
        assert_eq!(both, Vec::<i64>::new());
    }
}
