//! What a server says unasked: its changes are gathered until somebody fetches the lists, the rest is passed on at once.

use std::sync::Weak;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use sallyport_protocol::{Event, Listener};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::upstream::life::Life;
use crate::upstream::listing::Kind;

/// How long after the first word of a change the lists are fetched: servers that register tools one by one say so one by one.
const GATHERING: Duration = Duration::from_millis(100);

/// A set of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

impl Kinds {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self(0b1111);

    fn bit(kind: Kind) -> u8 {
        match kind {
            Kind::Tools => 1,
            Kind::Resources => 2,
            Kind::Templates => 4,
            Kind::Prompts => 8,
        }
    }

    pub(crate) fn with(self, kind: Kind) -> Self {
        Self(self.0 | Self::bit(kind))
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn has(self, kind: Kind) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::NONE
    }
}

/// Hears one connection.
pub(crate) struct News {
    upstream: Weak<Life>,
    changed: AtomicU8,
    heard: Notify,
}

impl News {
    pub(crate) fn new(upstream: Weak<Life>) -> Self {
        Self { upstream, changed: AtomicU8::new(0), heard: Notify::new() }
    }

    /// Waits until the server says that lists changed, and a little for what else it says, in any case until `not_before`.
    /// After `at_most` it gives up waiting for a word.
    pub(crate) async fn changes(&self, at_most: Option<Duration>, not_before: Instant) -> Kinds {
        match at_most {
            None => self.heard.notified().await,
            Some(limit) => {
                if tokio::time::timeout(limit, self.heard.notified()).await.is_err() {
                    return Kinds::NONE;
                }
            }
        }
        sleep_until(not_before.max(Instant::now() + GATHERING)).await;
        Kinds(self.changed.swap(0, Ordering::AcqRel))
    }

    fn note(&self, kinds: Kinds) {
        self.changed.fetch_or(kinds.0, Ordering::AcqRel);
        self.heard.notify_one();
    }
}

impl Listener for News {
    fn hear(&self, event: &Event) {
        match event {
            Event::ToolsChanged => self.note(Kinds::NONE.with(Kind::Tools)),
            Event::PromptsChanged => self.note(Kinds::NONE.with(Kind::Prompts)),
            Event::ResourcesChanged => self.note(Kinds::NONE.with(Kind::Resources).with(Kind::Templates)),
            other => {
                if let Some(upstream) = self.upstream.upgrade() {
                    upstream.listeners.tell(other);
                }
            }
        }
    }
}
