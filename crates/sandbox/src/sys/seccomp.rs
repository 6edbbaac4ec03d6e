//! The system call filter: an allow-list that answers ENOSYS to everything else, so that programs fall back, and over it a
//! table of the known bad that answers EPERM. Two filters, because one has a single answer; where both refuse, the one
//! loaded last decides, so the table is loaded last.

mod allowed;
mod refused;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch, apply_filter};

use super::notify;
use super::step::failure;
use crate::error::Failure;
use crate::layer::Layer;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

/// Loads both filters into this process; everything it starts inherits them. A call made in the way of another
/// architecture (`int 0x80`) kills.
pub(super) fn load() -> Result<(), Failure> {
    let broken = |error: seccompiler::Error| failure(Layer::Seccomp, &error.to_string(), Errno::INVAL);
    for filter in [allow_list(), refusals()] {
        let program = filter.map_err(|error| broken(error.into()))?;
        apply_filter(&program).map_err(|error| refused_by_kernel(&error))?;
    }
    Ok(())
}

/// The filters in the order in which they are loaded.
///
/// # Errors
/// They cannot be assembled.
pub(crate) fn filters() -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    Ok([allow_list()?, refusals()?])
}

/// Loads one filter in the place of both that asks the gateway where they refuse, and at the calls that are `watched`. Gives the
/// descriptor of who is asked.
pub(super) fn load_for_trial(watched: &[i64]) -> Result<OwnedFd, Failure> {
    let filters = filters().map_err(|error| failure(Layer::Seccomp, &error.to_string(), Errno::INVAL))?;
    notify::load(&filters, watched)
}

fn refused_by_kernel(error: &seccompiler::Error) -> Failure {
    let errno = match error {
        seccompiler::Error::Prctl(cause) | seccompiler::Error::Seccomp(cause) => Errno::from_io_error(cause),
        _ => None,
    };
    failure(Layer::Seccomp, "load the filter", errno.unwrap_or(Errno::INVAL))
}

fn allow_list() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules: Rules = allowed::calls().map(|call| (call, Vec::new())).collect();
    let not_there = SeccompAction::Errno(Errno::NOSYS.raw_os_error().unsigned_abs());
    SeccompFilter::new(rules, not_there, SeccompAction::Allow, ARCHITECTURE)?.try_into()
}

fn refusals() -> Result<BpfProgram, seccompiler::BackendError> {
    let not_permitted = SeccompAction::Errno(Errno::PERM.raw_os_error().unsigned_abs());
    SeccompFilter::new(refused::rules()?, SeccompAction::Allow, not_permitted, ARCHITECTURE)?.try_into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn both_filters_compile() {
        assert!(!allow_list().unwrap().is_empty());
        assert!(!refusals().unwrap().is_empty());
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
