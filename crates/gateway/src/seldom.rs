//! Lines of the log that would come with every call.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// From one line to the next: often enough to see that it goes on.
const APART: Duration = Duration::from_secs(60);

/// Lets one of many lines through, and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// Tells, unless it has told a moment ago: then with how many were left out since.
    pub(crate) fn tell(&self, line: impl FnOnce(u64)) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0.is_some_and(|last| last.elapsed() < APART) {
            told.1 += 1;
            return;
        }
        let others = std::mem::take(&mut told.1);
        told.0 = Some(Instant::now());
        drop(told);
        line(others);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn one_of_many_is_told() {
        let (seldom, told) = (Seldom::default(), Cell::new(0));
        for _ in 0..100 {
            seldom.tell(|_| told.set(told.get() + 1));
        }
        assert_eq!(told.get(), 1);
    }
}
