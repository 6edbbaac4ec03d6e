//! The revisions of MCP, and what sets them apart.

use std::fmt;

/// A published revision of the protocol, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// HTTP+SSE; the first.
    V2024_11_05,
    /// Streamable HTTP, batches, audio, annotations.
    V2025_03_26,
    /// Structured output, elicitation, the version header.
    V2025_06_18,
    /// Url elicitation, icons, experimental tasks.
    V2025_11_25,
    /// Stateless: no handshake, everything in `_meta`.
    V2026_07_28,
}

/// The two ways of speaking: with a handshake and sessions, or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// `initialize` and sessions: up to 2025-11-25.
    Legacy,
    /// Each request stands alone: from 2026-07-28.
    Modern,
}

impl Revision {
    /// All of them, oldest first.
    pub const ALL: [Self; 5] = [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];
    /// The newest one that is agreed on by a handshake.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;
    /// The newest one.
    pub const LATEST: Self = Self::V2026_07_28;

    /// The revision's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The revision of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == name)
    }

    /// How this revision speaks.
    #[must_use]
    pub const fn era(self) -> Era {
        match self {
            Self::V2026_07_28 => Era::Modern,
            _ => Era::Legacy,
        }
    }

    /// What `initialize` answers to a client that asks for `wanted`: the same where we speak it,
    /// else our newest revision with a handshake.
    #[must_use]
    pub fn negotiate(wanted: &str) -> Self {
        match Self::from_name(wanted) {
            Some(revision) if revision.era() == Era::Legacy => revision,
            _ => Self::LATEST_LEGACY,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
