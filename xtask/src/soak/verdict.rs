//! When holdings count as flat.
//!
//! The first fifth of the time, at most five minutes, is the warm-up and counts for nothing. Of the looks after it, the middle
//! value of the last third must not lie above the middle value of the first third by more than the slack of that figure. After
//! the load everything has to come back to what was there before it, within the same slack; memory, which an allocator gives
//! back late, to what it was in the first third.

use std::fmt;
use std::time::Duration;

use super::holdings::Holdings;

/// The looks after the warm-up.
#[derive(Debug)]
pub(super) struct Verdict {
    warm_up: Duration,
    looks: Vec<Holdings>,
}

/// One figure of the holdings.
struct Figure {
    name: &'static str,
    of: fn(&Holdings) -> Option<u64>,
    /// How far apart two looks may lie although nothing grows.
    slack: fn(u64) -> u64,
}

const FIGURES: [Figure; 5] = [
    // Each client has one, and may have begun another.
    Figure { name: "sessions", of: |holdings| holdings.sessions, slack: |_| 8 },
    // Abandoned ones pile up to the bound of one caller and stay there; those of a killed server go at once.
    Figure { name: "parked calls", of: |holdings| holdings.parked, slack: |_| 32 },
    // A server that is just being started again, beside its boundary's own process.
    Figure { name: "processes", of: |holdings| Some(holdings.processes), slack: |_| 4 },
    // Connections of clients, and to servers, come and go.
    Figure { name: "descriptors", of: |holdings| Some(holdings.descriptors), slack: |_| 24 },
    // An allocator's pieces: a twentieth, and not less than 4 MiB.
    Figure { name: "memory in KiB", of: |holdings| Some(holdings.memory), slack: |before| (before / 20).max(4096) },
];

impl Verdict {
    pub(super) fn new(time: Duration) -> Self {
        Self { warm_up: (time / 5).min(Duration::from_secs(300)), looks: Vec::new() }
    }

    pub(super) fn add(&mut self, elapsed: Duration, look: Holdings) {
        if elapsed >= self.warm_up {
            self.looks.push(look);
        }
    }

    /// Fails with every figure that grew.
    pub(super) fn judge(&self) -> Result<(), String> {
        let grown = |figure: &&Figure| self.ends(figure).is_some_and(|(first, last)| last > first + (figure.slack)(first));
        let grown: Vec<&str> = FIGURES.iter().filter(grown).map(|figure| figure.name).collect();
        if grown.is_empty() { Ok(()) } else { Err(format!("not flat: {}", grown.join(", "))) }
    }

    /// What is still held after the load and was not before it.
    pub(super) fn missing(&self, before: &Holdings, now: &Holdings) -> Vec<String> {
        let more = |figure: &Figure| {
            let is_memory = figure.name.starts_with("memory");
            let before = if is_memory { self.ends(figure)?.0 } else { (figure.of)(before)? };
            // What is counted one by one has to be gone to the last.
            let slack = if is_memory {
                (figure.slack)(before)
            } else if figure.name == "descriptors" {
                4
            } else {
                0
            };
            let now = (figure.of)(now)?;
            (now > before + slack).then(|| format!("{} {now} instead of {before}", figure.name))
        };
        FIGURES.iter().filter_map(more).collect()
    }

    /// The middle values of the first and the last third.
    fn ends(&self, figure: &Figure) -> Option<(u64, u64)> {
        let values: Vec<u64> = self.looks.iter().filter_map(figure.of).collect();
        let third = values.len().div_ceil(3);
        let first = middle(values.get(..third)?)?;
        let last = middle(values.get(values.len() - third..)?)?;
        Some((first, last))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "after {} s of warm-up, first third and last third:", self.warm_up.as_secs())?;
        for figure in &FIGURES {
            if let Some((first, last)) = self.ends(figure) {
                write!(out, " {} {first} → {last};", figure.name)?;
            }
        }
        Ok(())
    }
}

fn middle(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(memory: u64) -> Holdings {
        Holdings { sessions: Some(3), parked: Some(0), processes: 4, descriptors: 40, memory }
    }

    fn verdict_on(memory: &[u64]) -> Verdict {
        let mut verdict = Verdict::new(Duration::from_secs(60));
        verdict.add(Duration::from_secs(5), look(900_000));
        memory.iter().for_each(|memory| verdict.add(Duration::from_secs(30), look(*memory)));
        verdict
    }

    #[test]
    fn one_high_look_is_not_growth() {
        assert_eq!(verdict_on(&[40_000, 40_100, 40_000, 90_000, 40_000, 40_050, 41_000, 80_000, 40_900]).judge(), Ok(()));
    }

    #[test]
    fn a_slow_rise_is() {
        let rising: Vec<u64> = (0..30).map(|step| 40_000 + step * 400).collect();
        assert_eq!(verdict_on(&rising).judge(), Err("not flat: memory in KiB".to_owned()));
    }

    #[test]
    fn what_is_still_held_is_named() {
        let verdict = verdict_on(&[40_000; 6]);
        let left = Holdings { sessions: Some(4), descriptors: 43, ..look(40_500) };
        assert_eq!(verdict.missing(&look(30_000), &left), ["sessions 4 instead of 3"]);
    }
}
