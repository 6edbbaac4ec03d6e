//! Whether this machine has swap, on a disk or in compressed memory: without it, only unchanged pages of files can be given back.

/// Whether any is turned on.
pub(super) fn is_on() -> bool {
    is_listed(&std::fs::read_to_string("/proc/swaps").unwrap_or_default())
}

/// `/proc/swaps` has a line of titles, then one for each.
fn is_listed(swaps: &str) -> bool {
    swaps.lines().nth(1).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_after_the_titles_is_swap() {
        let titles = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(!is_listed(titles));
        assert!(is_listed(&format!("{titles}/dev/zram0  partition\t524284\t\t0\t\t100\n")));
    }
}
