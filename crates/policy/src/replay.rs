//! Asking a policy about calls of the past.
//!
//! A record tells the caller, the tool, the moment, and of the arguments what rules for arguments declare them to be. A rule that looks at
//! anything else is not guessed at: the engine says what it lacks, and then says nothing of the call.

use std::sync::{Mutex, PoisonError};

use crate::{Decision, Place, Question};

/// What comes of asking about a recorded call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It is decided.
    Decided(Decision),
    /// It cannot be told; each rule that stands in the way.
    Lacking(Vec<Lack>),
}

/// A rule that looks at what a record does not tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lack {
    /// Where the rule stands.
    pub place: Place,
    /// What it looks at, as in `it looks at …`.
    pub what: String,
}

/// A question about a recorded call, and what turned out to be missing.
#[derive(Debug)]
pub(crate) struct Replaying {
    /// Whether decision points elsewhere may be asked.
    pub(crate) asks_elsewhere: bool,
    lacks: Mutex<Vec<Lack>>,
}

impl Replaying {
    pub(crate) fn new(asks_elsewhere: bool) -> Self {
        Self { asks_elsewhere, lacks: Mutex::default() }
    }

    pub(crate) fn into_lacks(self) -> Vec<Lack> {
        let mut lacks = self.lacks.into_inner().unwrap_or_else(PoisonError::into_inner);
        lacks.sort_unstable();
        lacks.dedup();
        lacks
    }
}

impl Question<'_> {
    /// Notes that the rule at `place` looks at something that the record does not tell.
    pub(crate) fn lacks(&self, place: &str, what: impl Into<String>) {
        if let Some(replaying) = self.replaying {
            let lack = Lack { place: Place::new(place), what: what.into() };
            replaying.lacks.lock().unwrap_or_else(PoisonError::into_inner).push(lack);
        }
    }
}
