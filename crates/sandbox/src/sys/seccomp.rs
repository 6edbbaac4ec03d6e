//! The system call filter: an allow-list that answers ENOSYS to everything else, so that programs fall back, and a table of the known
//! bad that answers EPERM, whatever the list says.
//!
//! The gateway compiles it, once for each choice, and hands the result to the launcher.

mod allowed;
mod filter;
mod groups;
mod local;
mod refused;
mod rule;
mod shared;

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::bpf::{self, Instruction, Program};
#[cfg(test)]
pub(crate) use groups::members;

use super::notify;
use super::step::Step;
use crate::calls::{CallGroup, SystemCalls};
use crate::error::Failure;
use crate::layer::Layer;
use crate::profile::{Network, Profile};

use rule::Rules;

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

/// The filter as the kernel takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Filter(Arc<Program>);

impl Filter {
    /// The instructions.
    pub(crate) fn program(&self) -> &[Instruction] {
        &self.0
    }
}

/// Sixteen digits an instruction, since reading a list of numbers takes the launcher longer than all the rest of its policy.
impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.0.iter().map(|Instruction { code, jt, jf, k }| format!("{code:04x}{jt:02x}{jf:02x}{k:08x}")).collect()
    }
}

/// The policy of a launch holds no filter.
#[derive(Debug)]
pub(crate) struct NoFilter;

impl fmt::Display for NoFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no filter of system calls")
    }
}

impl TryFrom<String> for Filter {
    type Error = NoFilter;

    fn try_from(text: String) -> Result<Self, NoFilter> {
        let (instructions, rest) = text.as_bytes().as_chunks::<16>();
        let read = |digits: &[u8; 16]| {
            let number = u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
            let [code_high, code_low, jt, jf, k @ ..] = number.to_be_bytes();
            Some(Instruction { code: u16::from_be_bytes([code_high, code_low]), jt, jf, k: u32::from_be_bytes(k) })
        };
        let program: Option<Program> = instructions.iter().map(read).collect();
        program.filter(|program| rest.is_empty() && !program.is_empty()).map(|program| Self(Arc::new(program))).ok_or(NoFilter)
    }
}

/// Compiled once for each choice; a gateway has as many as its servers differ in it. `None`: it cannot be compiled.
pub(crate) fn filter(choice: &Choice) -> Option<Filter> {
    static COMPILED: Mutex<BTreeMap<Choice, Filter>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(filter) = compiled.get(choice) {
        return Some(filter.clone());
    }
    let allowed: Vec<i64> = groups::apply(&choice.calls, allowed::calls()).collect();
    let filter = Filter(Arc::new(filter::compile(&allowed, &refusals(choice))?));
    compiled.insert(choice.clone(), filter.clone());
    Some(filter)
}

fn refusals(choice: &Choice) -> Rules {
    let mut rules = refused::rules();
    for call in groups::added(&choice.calls) {
        rules.remove(&call);
    }
    match choice.around {
        Around::Landlock { network } => shared::refuse(&mut rules, network),
        Around::Namespaces if choice.calls.adds(CallGroup::LocalSockets) => {}
        Around::Namespaces => local::refuse(&mut rules),
    }
    rules
}

/// A filter for a container runtime whose kernel answers the program's calls itself: it refuses to put set-id bits on a file, and nothing
/// else that the runtime may want.
pub(crate) fn without_privilege_bits() -> Option<Filter> {
    /// No architecture has so many. Of those above, the kernel has none either.
    const CALLS: i64 = 1024;
    let allowed: Vec<i64> = (0..CALLS).filter(|call| *call != libc::SYS_openat2).collect();
    let mut refused = Rules::new();
    for (call, when) in refused::privilege_bits().into_iter().chain(refused::privilege_bits_of_nodes()) {
        refused.entry(call).or_default().push(when);
    }
    filter::compile(&allowed, &refused).map(|program| Filter(Arc::new(program)))
}

/// Loads the filter into this process; everything it starts inherits it.
pub(super) fn load(filter: &Filter) -> Result<(), Failure> {
    bpf::load(filter.program(), 0).step(Layer::Seccomp, "load the filter").map(drop)
}

/// Loads one in its place that asks the gateway where it refuses, and at the calls that are `watched`. Gives the descriptor of who
/// is asked.
pub(super) fn load_for_trial(filter: &Filter, watched: &[i64]) -> Result<OwnedFd, Failure> {
    notify::load(filter.program(), watched)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn choices() -> Vec<Choice> {
        let around = [Around::Namespaces, Around::Landlock { network: false }, Around::Landlock { network: true }];
        let calls =
            [SystemCalls::default(), SystemCalls::parse(&["+debugging", "+io-uring", "+local-sockets", "-ipc", "-sockets"]).unwrap()];
        around.into_iter().flat_map(|around| calls.clone().map(|calls| Choice { calls, around })).collect()
    }

    #[test]
    fn every_choice_compiles_and_crosses_to_the_launcher_as_it_is() {
        for choice in choices() {
            let filter = filter(&choice).unwrap();
            let text = serde_json::to_vec(&filter).unwrap();
            assert_eq!(serde_json::from_slice::<Filter>(&text).unwrap(), filter);
        }
        for text in ["", "00", "000000000000000", "00000000000000000", "000000000000000g", "é00000000000000"] {
            assert!(Filter::try_from(text.to_owned()).is_err(), "{text}");
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
