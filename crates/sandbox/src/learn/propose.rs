//! What a profile would have to say for a program not to be refused what it was refused in a trial.
//!
//! A proposal is for a person to read. It holds only what was really wanted and is on this machine, in few entries; what nobody should
//! grant without a thought (keys, a whole home folder, this machine's own services) is not in it, but told of.

mod files;
mod hosts;
mod private;

use std::path::{Path, PathBuf};

use super::record::Record;
use crate::egress::Destination;

/// What a profile would have to say besides what it says already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// Files and folders to read, none of them in a root or in another one.
    pub read: Vec<PathBuf>,
    /// Files and folders to write.
    pub write: Vec<PathBuf>,
    /// Where to connect to.
    pub network: Vec<Destination>,
    /// What was wanted as well, and why it is not proposed, or not without a word.
    pub warnings: Vec<Warning>,
}

/// Something that a person should know before a profile is widened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What the program wanted. May hold any character that a path may.
    pub subject: String,
    /// What is to be said of it.
    pub why: String,
    /// It would give away secrets, or what amounts to them.
    pub is_grave: bool,
}

impl Warning {
    fn new(subject: impl std::fmt::Display, why: impl Into<String>) -> Self {
        Self { subject: subject.to_string(), why: why.into(), is_grave: false }
    }

    fn grave(subject: impl std::fmt::Display, why: impl Into<String>) -> Self {
        Self { is_grave: true, ..Self::new(subject, why) }
    }
}

impl Proposal {
    /// Whether it would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read.is_empty() && self.write.is_empty() && self.network.is_empty()
    }
}

/// What belongs to the gateway, by every path by which it is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Files that no program may write: the configuration, policies, locks.
    pub rules: Vec<PathBuf>,
    /// Files that none may read either, unless its user gives it one.
    pub secrets: Vec<PathBuf>,
    /// Folders in which nothing is for programs.
    pub folders: Vec<PathBuf>,
}

/// What `record` says that is missing. `home` is the user's home folder. Looks at nothing but what was recorded.
#[must_use]
pub fn propose(record: &Record, home: Option<&Path>, kept: &Kept) -> Proposal {
    let mut proposal = Proposal::default();
    files::propose(record, home, kept, &mut proposal);
    hosts::propose(record, &mut proposal);
    proposal.warnings.extend(not_to_be_had(record));
    proposal
}

/// What no profile can give.
fn not_to_be_had(record: &Record) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for path in record.unexecutable.keys() {
        warnings
            .push(Warning::new(path.display(), "nothing is executed where the server may write: name it in `read`, and not in `write`"));
    }
    for path in record.services.keys() {
        let why = "a socket of a service of this machine, whose rights it would have: sockets are not shown";
        warnings.push(Warning::grave(path.display(), why));
    }
    if record.local_sockets > 0 {
        let why = "refused: many programs only look whether a service is there. If it fails for want of one, `seccomp = [\"+local-sockets\"]` \
                   gives it, and with it every service whose socket lies in a folder that it sees";
        warnings.push(Warning::new("a local socket", why));
    }
    for address in record.packets.keys() {
        warnings.push(Warning::new(address, "over UDP: only TCP leaves a sandbox"));
    }
    for port in record.listens.keys() {
        warnings.push(Warning::new(format_args!("port {port}"), "programs in a sandbox cannot listen"));
    }
    warnings.truncate(MOST_WARNINGS);
    for name in record.calls.keys().take(MOST_WARNINGS) {
        warnings.push(Warning::new(name, "a system call that the filter refuses"));
    }
    if record.unread > 0 {
        let why = "this process may not look into the program: what those were about is not known; it needs CAP_SYS_PTRACE, or the program's own user";
        warnings.push(Warning::new(format_args!("{} calls", record.unread), why));
    }
    if record.dropped > 0 {
        warnings.push(Warning::new(format_args!("{} more", record.dropped), "it asked for more than is kept"));
    }
    warnings
}

/// Entries of one kind: a list that somebody reads. What a profile needs beyond that is a decision, not a list.
const MOST: usize = 32;

/// Warnings of one kind.
const MOST_WARNINGS: usize = 32;

#[cfg(test)]
mod tests;
