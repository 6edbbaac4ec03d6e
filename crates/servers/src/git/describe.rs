//! A commit in a few words.

use git2::{Commit, Signature};
use schemars::JsonSchema;
use serde::Serialize;

use crate::moment;
use crate::page::cut;

/// Bytes of a name and of a summary that are shown: git itself bounds neither.
const SHOWN_NAME_BYTES: usize = 100;
const SHOWN_SUMMARY_BYTES: usize = 300;

/// Bytes that a described commit takes, about, where nobody set out to make it long.
pub(super) const SHOWN_BYTES: usize = 200;

/// A commit in a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Described {
    /// The commit's id.
    pub(super) id: String,
    pub(super) author: String,
    /// When it was written (RFC 3339).
    pub(super) date: String,
    /// First line of the message.
    pub(super) summary: String,
}

impl Described {
    pub(super) fn new(commit: &Commit<'_>) -> Self {
        let author = commit.author();
        Self { id: commit.id().to_string(), author: name(&author), date: date(&author), summary: summary(commit) }
    }
}

pub(super) fn name(signature: &Signature<'_>) -> String {
    cut(&String::from_utf8_lossy(signature.name_bytes()), SHOWN_NAME_BYTES)
}

pub(super) fn date(signature: &Signature<'_>) -> String {
    let when = signature.when();
    moment::from_unix(when.seconds(), when.offset_minutes())
}

pub(super) fn summary(commit: &Commit<'_>) -> String {
    cut(&String::from_utf8_lossy(commit.summary_bytes().unwrap_or_default()), SHOWN_SUMMARY_BYTES)
}

/// The start of an id: what people and models write.
pub(super) fn short(id: &str) -> &str {
    id.get(..10).unwrap_or(id)
}
