//! How soon another server answers, before an attack on the processors and while it goes on.

use std::time::{Duration, Instant};

use super::contender::Contender;
use super::judge::{Findings, PINGS};

/// So many times the time that half of the answers took before. A server that does not get its part of the processors waits for the end of
/// the attack: thousands of times.
const TIMES: u32 = 10;
/// Whatever else the machine does, and where an answer takes less than can be told from nothing.
const SLACK: Duration = Duration::from_millis(500);

/// What half of its answers take at most; `None` where one does not come.
pub(super) async fn of(server: &mut Contender) -> Option<Duration> {
    let mut taken = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let asked = Instant::now();
        if !server.answers().await {
            return None;
        }
        taken.push(asked.elapsed());
    }
    taken.sort_unstable();
    taken.get(PINGS / 2).copied()
}

/// What the attack has done to it.
pub(super) fn judge(before: Option<Duration>, meanwhile: Option<Duration>, findings: &mut Findings) {
    let (Some(before), Some(meanwhile)) = (before, meanwhile) else {
        return findings.open.push("another server does not answer any more".to_owned());
    };
    let told = format!("half of another server's answers took {meanwhile:.1?} at most, {before:.1?} before");
    if meanwhile > before * TIMES + SLACK { findings.open.push(told) } else { findings.stopped.push(told) }
}
