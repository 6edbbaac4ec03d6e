//! Answers of a moment ago.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Effect;

/// Most answers that are kept: of a thousand callers ten each.
const MOST: usize = 10_000;

/// What was asked, but for the time.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// The key of a question's document.
    pub(super) fn of(document: &Value) -> Self {
        let mut digest = Sha256::new();
        for (name, value) in document.as_object().into_iter().flatten().filter(|(name, _)| *name != "time") {
            // No text of JSON goes on behind its end, so that members cannot run into one another.
            digest.update(format!("{name}\0{value}\0"));
        }
        Self(digest.finalize().into())
    }
}

/// Answers, each until it is too old.
pub(super) struct Recent {
    lasts: Duration,
    answers: Mutex<HashMap<Key, (Effect, Duration)>>,
}

impl Recent {
    pub(super) fn new(lasts: Duration) -> Self {
        Self { lasts, answers: Mutex::default() }
    }

    pub(super) fn get(&self, key: &Key, now: Duration) -> Option<Effect> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(key).filter(|(_, put)| now.saturating_sub(*put) < self.lasts).map(|(effect, _)| *effect)
    }

    pub(super) fn put(&self, key: Key, effect: Effect, now: Duration) {
        if self.lasts.is_zero() {
            return;
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST {
            answers.retain(|_, (_, put)| now.saturating_sub(*put) < self.lasts);
        }
        if answers.len() < MOST {
            answers.insert(key, (effect, now));
        }
    }
}
