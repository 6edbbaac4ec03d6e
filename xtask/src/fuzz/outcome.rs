//! What a target's run came to, read from what libFuzzer writes at its end.

use std::fmt;
use std::process::ExitStatus;

/// Lines of a failed run that are shown: the fault, its stack and where the input lies.
const SHOWN: usize = 60;

/// One run of one target.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ran {
    inputs: u64,
    per_second: u64,
    peak_mib: u64,
    /// What libFuzzer said of the fault that it found.
    pub(crate) fault: Option<String>,
}

impl Ran {
    pub(crate) fn read(said: &str, status: ExitStatus) -> Self {
        let figure = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
            line.and_then(|line| line.trim_start_matches(':').trim().parse().ok()).unwrap_or_default()
        };
        let lines: Vec<&str> = said.lines().collect();
        let last = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n");
        Self {
            inputs: figure("number_of_executed_units"),
            per_second: figure("average_exec_per_sec"),
            peak_mib: figure("peak_rss_mb"),
            fault: (!status.success()).then_some(last),
        }
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.fault.is_some() { "FAULT" } else { "no fault" };
        write!(out, "{verdict} in {} inputs, {} a second, {} MiB at most", self.inputs, self.per_second, self.peak_mib)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    const SAID: &str = "Done 12 runs in 2 second(s)\nstat::number_of_executed_units: 12\nstat::average_exec_per_sec:     6\n\
        stat::new_units_added:          3\nstat::slowest_unit_time_sec:    0\nstat::peak_rss_mb:              47\n";

    #[test]
    fn a_run_without_a_fault_has_its_figures() {
        let ran = Ran::read(SAID, ExitStatus::from_raw(0));
        assert_eq!(ran.to_string(), "no fault in 12 inputs, 6 a second, 47 MiB at most");
    }

    #[test]
    fn a_fault_is_shown_with_what_led_to_it() {
        let ran = Ran::read("==1== ERROR: libFuzzer: out-of-memory\n", ExitStatus::from_raw(77 << 8));
        assert_eq!(ran.fault.as_deref(), Some("==1== ERROR: libFuzzer: out-of-memory"));
    }
}
