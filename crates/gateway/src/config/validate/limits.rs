//! How much of the machine a program may use: numbers with which one can run at all.

use std::ops::RangeInclusive;

use sallyport_sandbox::Limits;

use crate::config::diagnostic::{Diagnostic, Report, join};

/// The largest number of MiB: more than any machine has.
const MOST_MIB: u32 = 16 * 1024 * 1024;
/// The largest number of things; the kernel's own bounds are below it.
const MOST: u32 = 4 * 1024 * 1024;

/// Checks the table `limits` at `path`.
pub(super) fn check(path: &str, limits: &Limits, report: &mut Report) {
    let table: [(&str, u32, RangeInclusive<u32>); 13] = [
        ("memory_mb", limits.memory_mb, 8..=MOST_MIB), // an interpreter takes as much before its first line
        ("processes", limits.processes, 1..=MOST),
        ("cpu_weight", limits.cpu_weight, 1..=10_000), // the kernel's
        ("open_files", limits.open_files, 8..=MOST),   // stdio, and what the loader opens
        ("file_mb", limits.file_mb, 0..=MOST_MIB),
        ("tmp_mb", limits.tmp_mb, 1..=MOST_MIB), // 0 would be no limit
        ("shm_mb", limits.shm_mb, 1..=MOST_MIB),
        ("tmp_files", limits.tmp_files, 2..=MOST), // 0 would be no limit, and one is the folder itself
        ("line_mb", limits.line_mb, 1..=1024),     // it is memory of the gateway
        ("output_mb", limits.output_mb, 1..=MOST_MIB),
        ("stderr_mb", limits.stderr_mb, 1..=MOST_MIB),
        ("connections", limits.connections, 0..=MOST),
        ("network_mb", limits.network_mb, 0..=MOST_MIB),
    ];
    for (key, value, bounds) in table {
        if !bounds.contains(&value) {
            let (least, most) = bounds.into_inner();
            report.error(
                Diagnostic::new(join(path, key), format!("{value} cannot be a limit here"))
                    .hint(format!("write a number from {least} to {most}")),
            );
        }
    }
}
