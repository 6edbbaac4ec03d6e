//! A feature of the protocol: who has a word for it, and how it is seen to get through.

use futures_util::future::BoxFuture;
use sallyport_protocol::Revision;

use crate::cell::{Cell, Outcome};

/// One row of the tables.
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    /// What it is, for somebody who has not read the specification.
    pub(crate) means: &'static str,
    /// The clients that have a word for it.
    pub(crate) clients: Word,
    /// The servers that have a word for it.
    pub(crate) servers: Word,
    /// Shows that it gets through.
    pub(crate) carried: Check,
    /// What happens where the server says it and the client has no word for it.
    pub(crate) instead: Option<Instead>,
}

/// Something to be seen in a cell.
pub(crate) type Check = for<'a> fn(&'a Cell) -> BoxFuture<'a, Outcome>;

/// The revisions that have a word for a feature: from one to another, both included.
#[derive(Clone, Copy)]
pub(crate) struct Word {
    since: Revision,
    until: Revision,
    /// Why the others have none: `{revision}` stands for theirs.
    why_not: &'static str,
}

/// What a client without the word gets.
pub(crate) struct Instead {
    pub(crate) gets: &'static str,
    pub(crate) check: Check,
}

/// What is to be expected of a feature in a cell.
pub(crate) enum Verdict<'a> {
    /// Both ends have a word for it.
    Carried,
    /// The client has none, and gets something else.
    Instead(&'a Instead, String),
    /// The server never says it.
    Unsaid(String),
}

impl Word {
    /// Every revision has one.
    pub(crate) const ALWAYS: Self = Self { since: Revision::V2024_11_05, until: Revision::LATEST, why_not: "" };

    /// Every revision from `since` on.
    pub(crate) const fn since(since: Revision, why_not: &'static str) -> Self {
        Self { since, until: Revision::LATEST, why_not }
    }

    /// One revision alone.
    pub(crate) const fn only(revision: Revision, why_not: &'static str) -> Self {
        Self { since: revision, until: revision, why_not }
    }

    /// Every revision up to `until`.
    pub(crate) const fn until(until: Revision, why_not: &'static str) -> Self {
        Self { since: Revision::V2024_11_05, until, why_not }
    }

    pub(crate) fn is_known_to(self, revision: Revision) -> bool {
        (self.since..=self.until).contains(&revision)
    }

    fn is_known_to_all(self) -> bool {
        Revision::ALL.into_iter().all(|revision| self.is_known_to(revision))
    }

    fn why_not(self, revision: Revision) -> String {
        self.why_not.replace("{revision}", revision.as_str())
    }
}

impl Feature {
    /// Whether it lies between the client and the gateway alone, whatever the server knows.
    pub(crate) fn is_the_clients_own(&self) -> bool {
        self.servers.is_known_to_all()
    }

    /// What is to be expected between a client and a server of these revisions.
    pub(crate) fn verdict(&self, client: Revision, server: Revision) -> Verdict<'_> {
        if !self.servers.is_known_to(server) {
            return Verdict::Unsaid(format!("server: {}", self.servers.why_not(server)));
        }
        match &self.instead {
            _ if self.clients.is_known_to(client) => Verdict::Carried,
            Some(instead) => Verdict::Instead(instead, format!("client: {}", self.clients.why_not(client))),
            // Something that the client does alone, such as a batch: who has no word for it does not miss it.
            None => Verdict::Unsaid(format!("client: {}", self.clients.why_not(client))),
        }
    }
}
