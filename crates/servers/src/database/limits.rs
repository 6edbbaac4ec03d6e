//! What one call may cost, whatever its statement says.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::build_error::BuildError;
use crate::page::PAGE_BYTES;

/// Longest time that may be configured, in seconds: longer ones are jobs, not calls.
const MOST_SECONDS: u32 = 3600;
/// Most rows of one page that may be configured.
const MOST_ROWS: u32 = 100_000;
/// Most bytes of one page that may be configured: every call at work may hold some of them.
const MOST_BYTES: u32 = 16 * 1024 * 1024;

/// What one call may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "DatabaseLimits")]
pub struct Limits {
    /// Most rows of one answer; the rest is on the next page. As many rows may be changed by one statement. Default: 1000, more than a
    /// model reads with care.
    pub rows: u32,
    /// Most bytes of one answer's values. Default: 65536, which is below what common clients cut.
    pub bytes: u32,
    /// Longest time of one call, in seconds. Default: 10, because whoever waits gives up, and the database works on.
    pub seconds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows: 1000, bytes: u32::try_from(PAGE_BYTES).unwrap_or(u32::MAX), seconds: 10 }
    }
}

impl Limits {
    pub(super) fn problem(self) -> Option<BuildError> {
        let wrong = [("rows", self.rows, MOST_ROWS), ("bytes", self.bytes, MOST_BYTES), ("seconds", self.seconds, MOST_SECONDS)];
        let (key, _, most) = wrong.into_iter().find(|(_, value, most)| *value == 0 || value > most)?;
        Some(BuildError::new(format!("`limits.{key}` cannot be that")).with_hint(format!("write a number from 1 to {most}")))
    }

    pub(super) fn time(self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    pub(super) fn rows(self) -> usize {
        usize::try_from(self.rows).unwrap_or(usize::MAX)
    }

    pub(super) fn bytes(self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }
}
