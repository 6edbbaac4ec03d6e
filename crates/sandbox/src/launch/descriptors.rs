//! Whether a process has as many descriptors as it may have.

use std::fs;

/// Whether one of these has `limit` descriptors. One that cannot be looked at has none.
pub(super) fn are_used_up(processes: impl IntoIterator<Item = u32>, limit: u32) -> bool {
    let limit = limit as usize;
    let has_all = |process: u32| fs::read_dir(format!("/proc/{process}/fd")).is_ok_and(|open| open.take(limit).count() == limit);
    processes.into_iter().any(has_all)
}
