//! How fast the host's time stamp counter counts: an emulated processor shows it to its kernel as it is, and does not say how fast it is.

use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::sys;

/// Long enough that reading two clocks one after the other does not matter: a microsecond of this is a second in half a day.
const MEASURED: Duration = Duration::from_millis(50);

/// Counts in a millisecond; measured once, which takes a fifth of a second.
pub(super) fn khz() -> u64 {
    static KHZ: OnceLock<u64> = OnceLock::new();
    // The middle one: whoever is interrupted between the two clocks measures wrongly.
    *KHZ.get_or_init(|| {
        let mut measured: Vec<u64> = std::iter::repeat_with(measure).take(3).collect();
        measured.sort_unstable();
        measured.get(1).copied().unwrap_or(1_000_000)
    })
}

fn measure() -> u64 {
    let (begun, first) = (Instant::now(), sys::time_stamp());
    sleep(MEASURED);
    let (counts, elapsed) = (sys::time_stamp().wrapping_sub(first), begun.elapsed());
    let nanoseconds = elapsed.as_nanos().max(1);
    u64::try_from(u128::from(counts) * 1_000_000 / nanoseconds).unwrap_or(1_000_000)
}
