//! Whether this machine is short of memory, as the kernel's pressure stall information says (linux 4.20, where it is on).

/// Percent of the last ten seconds in which something waited for memory. Well above the noise of a busy machine, well below what
/// its users notice.
const HIGH: f32 = 10.0;

/// Whether programs wait for memory. `false` also where the kernel does not tell.
pub(super) fn is_high() -> bool {
    let told = std::fs::read_to_string("/proc/pressure/memory").unwrap_or_default();
    average(&told).is_some_and(|percent| percent >= HIGH)
}

/// The ten seconds' average of `some avg10=0.00 avg60=…`.
fn average(told: &str) -> Option<f32> {
    told.lines().find_map(|line| line.strip_prefix("some avg10="))?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let told = "some avg10=12.50 avg60=3.00 avg300=0.75 total=42\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(average(told), Some(12.5));
        assert_eq!(average(""), None);
    }
}
