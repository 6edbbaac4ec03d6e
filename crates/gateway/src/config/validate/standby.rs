//! What becomes of a program that nobody calls.

use std::time::Duration;

use sallyport_sandbox::Isolation;

use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::duration;
use crate::config::model::{ServerConfig, StandbyConfig, StandbyTimesConfig};
use crate::plan::Standby;

/// Waking a frozen program costs a call about a millisecond, so that it does little harm to come too soon; the calls of one piece of
/// work follow each other within seconds.
const FREEZE: Duration = Duration::from_secs(60);
/// What is given back and needed after all is read from the disk again: for programs that rest for long.
const RECLAIM: Duration = Duration::from_secs(600);
/// How a step is written that never comes.
const NEVER: &str = "never";

/// Checks the key `standby` at `path`.
pub(super) fn check(path: &str, config: &ServerConfig, report: &mut Report) -> Standby {
    let is_open = config.sandbox.isolation() < Isolation::Os;
    match &config.standby {
        None if is_open || !config.network.is_empty() => Standby::default(),
        Some(StandbyConfig::Switch(false)) => Standby::default(),
        None | Some(StandbyConfig::Switch(true)) => times(path, &StandbyTimesConfig::default(), is_open, report),
        Some(StandbyConfig::Times(given)) => times(path, given, is_open, report),
    }
}

fn times(path: &str, given: &StandbyTimesConfig, is_open: bool, report: &mut Report) -> Standby {
    if is_open && (given.freeze_after.is_some() || given.reclaim_after.is_some() || given.stop_after.is_none()) {
        report.error(
            Diagnostic::new(path, "a program without namespaces of its own cannot be frozen: nothing could stop all of it as one")
                .hint("remove `sandbox`, or keep `stop_after` alone"),
        );
    }
    let mut read = |key: &str, text: &Option<String>, default: Option<Duration>| match text.as_deref() {
        None => default,
        Some(NEVER) => None,
        Some(text) => report.take(duration::parse(text).map_err(|problem| {
            Diagnostic::new(join(path, key), format!("the duration cannot be used: {problem}"))
                .hint("write `500ms`, `10s`, `5m` or `1h`, at most a day, or `never`")
        })),
    };
    let freeze_after = read("freeze_after", &given.freeze_after, Some(FREEZE).filter(|_| !is_open));
    let reclaim_after = read("reclaim_after", &given.reclaim_after, freeze_after.map(|after| after.max(RECLAIM)));
    let stop_after = read("stop_after", &given.stop_after, None);
    if reclaim_after.is_some_and(|reclaim| freeze_after.is_none_or(|freeze| reclaim < freeze)) {
        report.error(
            Diagnostic::new(join(path, "reclaim_after"), "only a frozen program's memory is given back")
                .hint("make it at least as long as `freeze_after`"),
        );
    }
    Standby { freeze_after, reclaim_after, stop_after }
}
