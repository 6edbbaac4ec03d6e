//! Whether this machine is short of memory, as the kernel's pressure stall information says (linux 4.20, where it is on).

/// Percent of the last ten seconds in which something waited for memory. Well above the noise of a busy machine, well below what
/// its users notice.
const HIGH: f32 = 10.0;

/// Whether programs wait for memory. `false` also where the kernel does not tell.
pub(super) fn is_high() -> bool {
    says_high(&std::fs::read_to_string("/proc/pressure/memory").unwrap_or_default())
}

fn says_high(told: &str) -> bool {
    average(told).is_some_and(|percent| percent >= HIGH)
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

    #[test]
    fn only_what_the_kernel_says_of_waiting_is_pressure() {
        let told = |some: &str, full: &str| {
            format!("some avg10={some} avg60=0.00 avg300=0.00 total=185\nfull avg10={full} avg60=0.00 avg300=0.00 total=185\n")
        };
        for (some, is_high) in [("0.00", false), ("9.99", false), ("10.00", true), ("99.00", true)] {
            assert_eq!(says_high(&told(some, "0.00")), is_high, "{some}");
        }
        assert!(!says_high(&told("0.00", "99.00")), "one line counts, and the kernel never says less there than in the other");
        // Where there is no such file, where it cannot be read (psi=0), and where it holds something else.
        for nonsense in [
            "",
            "some",
            "some avg10=",
            "some avg10=much avg60=0.00",
            "some avg10=NaN avg60=0.00",
            "full avg10=99.00",
            "some avg60=99.00 avg10=99.00",
            "some avg10=-99.00",
        ] {
            assert!(!says_high(nonsense), "{nonsense}");
        }
    }
}
