//! Which groups of system calls a program may make beyond the usual, and which of the usual not.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

macro_rules! groups {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $allowed:literal;)+) => {
        /// A named group of system calls.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum CallGroup {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl CallGroup {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in the configuration.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Whether programs may make these calls unless they are taken away.
            #[must_use]
            pub fn is_allowed(self) -> bool {
                match self { $(Self::$variant => $allowed),+ }
            }
        }
    };
}

groups! {
    /// Following and changing another process of the same sandbox (`ptrace`): for servers that debug or trace what they start.
    Debugging = "debugging", false;
    /// System V and POSIX shared memory, semaphores and queues: databases.
    Ipc = "ipc", true;
    /// Queues of file operations (`io_uring`): faster files for few programs, and a part of the kernel with many faults so far.
    IoUring = "io-uring", false;
    /// Sockets that have a name among the files (`AF_UNIX`): programs whose parts talk to each other by one. Any service of this machine
    /// whose socket lies in a folder that the program sees is in reach then, whatever `network` says. Pairs without a name are
    /// always there.
    LocalSockets = "local-sockets", false;
    /// Files in memory (`memfd_create`), which can also be executed.
    MemoryFiles = "memory-files", true;
    /// Placing memory on the machine's nodes: numerical libraries.
    MemoryPolicy = "memory-policy", false;
    /// Counting events of one's own processes (`perf_event_open`): profilers.
    Performance = "performance", false;
    /// Every socket: with it gone, a program reaches nobody even on its own loopback, and starts few others.
    Sockets = "sockets", true;
    /// News of files that change (`inotify`).
    Watching = "watching", true;
}

/// How the calls of one program differ from the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct SystemCalls(Changes);

/// The groups that differ: each is added if it is not allowed by itself, else taken away.
type Changes = BTreeSet<CallGroup>;

impl SystemCalls {
    /// Reads `+GROUP` and `-GROUP`.
    ///
    /// # Errors
    /// A word that is neither, a group that there is not, one that is named twice, and one that is as it is said to be already.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self, UnknownCalls> {
        let mut changes = Changes::new();
        for word in words.iter().map(AsRef::as_ref) {
            let refuse = |why: String| UnknownCalls(format!("`{word}` {why}"));
            let (adds, name) = match word.split_at_checked(1) {
                Some(("+", name)) => (true, name),
                Some(("-", name)) => (false, name),
                _ => return Err(refuse("has neither + nor - before its name".to_owned())),
            };
            let named = CallGroup::ALL.iter().copied().find(|group| group.name() == name);
            let group = named.ok_or_else(|| refuse(format!("is none of the groups {}", names())))?;
            if group.is_allowed() == adds {
                return Err(refuse(format!("says what holds anyway: these calls are {}", if adds { "allowed" } else { "refused" })));
            }
            if !changes.insert(group) {
                return Err(refuse("is named twice".to_owned()));
            }
        }
        Ok(Self(changes))
    }

    /// The usual, and `group`.
    pub(crate) fn with(group: CallGroup) -> Self {
        debug_assert!(!group.is_allowed(), "it is among the usual");
        Self([group].into())
    }

    /// The changes as [`parse`](Self::parse) reads them.
    pub fn words(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(signed)
    }

    /// The groups that are allowed beyond the usual.
    pub fn added(&self) -> impl Iterator<Item = CallGroup> {
        self.0.iter().copied().filter(|group| !group.is_allowed())
    }

    /// The same without the groups beyond the usual.
    #[must_use]
    pub fn without_added(&self) -> Self {
        Self(self.removed().collect())
    }

    /// Whether this group is allowed beyond the usual.
    pub(crate) fn adds(&self, group: CallGroup) -> bool {
        self.added().any(|added| added == group)
    }

    /// The usual groups that are refused.
    pub fn removed(&self) -> impl Iterator<Item = CallGroup> {
        self.0.iter().copied().filter(|group| group.is_allowed())
    }
}

/// A group as it can be named: with the sign that changes something.
fn signed(group: &CallGroup) -> String {
    format!("{}{}", if group.is_allowed() { '-' } else { '+' }, group.name())
}

fn names() -> String {
    CallGroup::ALL.iter().map(signed).collect::<Vec<_>>().join(", ")
}

/// Why groups of calls cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCalls(String);

impl fmt::Display for UnknownCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnknownCalls {}

impl TryFrom<Vec<String>> for SystemCalls {
    type Error = UnknownCalls;

    fn try_from(words: Vec<String>) -> Result<Self, UnknownCalls> {
        Self::parse(&words)
    }
}

impl JsonSchema for SystemCalls {
    fn schema_name() -> Cow<'static, str> {
        "SystemCalls".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<String> = CallGroup::ALL.iter().map(signed).collect();
        json_schema!({ "type": "array", "items": { "type": "string", "enum": names }, "uniqueItems": true })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn groups_are_added_and_taken_away_by_name() {
        let calls = SystemCalls::parse(&["+debugging", "-ipc"]).unwrap();
        assert_eq!(calls.added().collect::<Vec<_>>(), [CallGroup::Debugging]);
        assert_eq!(calls.removed().collect::<Vec<_>>(), [CallGroup::Ipc]);
        assert_eq!(calls.without_added(), SystemCalls::parse(&["-ipc"]).unwrap());
        assert_eq!(SystemCalls::parse::<&str>(&[]).unwrap(), SystemCalls::default());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (word, why) in [
            ("debugging", "neither + nor -"),
            ("", "neither + nor -"),
            ("+101", "none of the groups +debugging, -ipc, +io-uring, +local-sockets"),
            ("+mount", "none of the groups"),
            ("é", "neither + nor -"),
            ("-debugging", "says what holds anyway: these calls are refused"),
            ("+ipc", "says what holds anyway: these calls are allowed"),
        ] {
            let error = SystemCalls::parse(&[word]).unwrap_err().to_string();
            assert!(error.contains(why), "{word}: {error}");
        }
        assert!(SystemCalls::parse(&["-ipc", "-ipc"]).unwrap_err().to_string().contains("named twice"));
    }
}
