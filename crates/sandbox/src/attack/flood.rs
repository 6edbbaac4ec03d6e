//! Floods of stdout: what a program writes goes to the gateway, which takes lines and keeps none that is too long, and to whoever counts it
//! and ends who writes too much.

use std::fs;
use std::time::Duration;

use tokio::time::timeout;

use super::judge::Findings;
use super::{Gateway, Heard};
use crate::instance::{Instance, Running, Stdout};
use crate::profile::Limits;

/// The longest line that is taken here: what counts is that one can be too long.
const LINE: usize = 1 << 20;

/// A few seconds' work of a machine with an emulated processor; on one that is busy it is within this.
const ENDS_WITHIN: Duration = Duration::from_secs(100);

/// What this process may have more of after a flood than before: a few lines, and what others do in it.
const KEPT: u64 = 24 << 20;

/// Far less is written within a minute than would be.
pub(super) fn limits() -> Limits {
    Limits { output_mb: 8, ..Limits::default() }
}

/// Hears a program that floods its stdout until it has ended; `lines` says whether its lines have ends.
pub(super) async fn hear(instance: Instance<Running>, stdout: Stdout, lines: bool, gateway: &dyn Gateway, findings: &mut Findings) {
    let name = if lines { "stdout" } else { "a line without end" };
    let before = resident();
    let flood = async {
        let heard = gateway.listen(stdout, LINE).await;
        instance.wait().await;
        heard
    };
    let heard = timeout(ENDS_WITHIN, flood).await;
    let kept = resident().saturating_sub(before);
    instance.kill();
    let exit = instance.wait().await;
    let Ok(Heard { lines: taken, longest, refused }) = heard else {
        return findings.open.push(format!("{name}: it did not end within {ENDS_WITHIN:?}"));
    };
    match instance.exceeded() {
        Some(exceeded) => findings.stopped.push(format!("{name}: it {}", exceeded.explain(exit))),
        None => findings.open.push(format!("{name}: it {exit} when it had written all that it wanted")),
    }
    if longest > LINE || kept > KEPT {
        findings.open.push(format!("{name}: {longest} bytes of a line were kept, {kept} bytes altogether"));
    }
    if (lines && taken == 0) || (!lines && (refused, taken) != (1, 0)) {
        findings.open.push(format!("{name}: {taken} lines were taken and {refused} refused"));
    }
}

/// The memory of this process, in bytes; zero where nothing tells it.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
