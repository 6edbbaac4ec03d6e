//! The names that clients see: `server__tool`, short enough for every client, the same for all of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use unicode_security::confusable_detection::skeleton;

/// Stands between the server's name and the tool's. No server's name may hold it.
pub(crate) const SEPARATOR: &str = "__";

/// Characters of an exposed name at most. Model providers take 64, and the best-known client puts
/// `mcp__sallyport__` before every name.
pub(crate) const MAX_CHARACTERS: usize = 64 - "mcp__sallyport__".len();

/// Hexadecimal digits of the hash at the end of a name that had to be changed: 16^8 makes a chance meeting of
/// two names of one server as good as impossible, and a meant one is refused as a collision.
const HASH_DIGITS: usize = 8;

/// The name under which `name` of `server` is offered to clients.
///
/// Letters, digits, `_` and `-` stay; a name with anything else, or one that is too long, is cut and ends in a hash
/// of the whole, so it is the same at every start and for every client.
#[must_use]
pub(crate) fn exposed(server: &str, name: &str) -> String {
    let full = format!("{server}{SEPARATOR}{name}");
    let plain: Cow<'_, str> = match full.chars().all(fits) {
        true => Cow::Borrowed(&full),
        false => full.chars().map(|character| if fits(character) { character } else { '_' }).collect(),
    };
    if plain == full && full.len() <= MAX_CHARACTERS {
        return full;
    }
    let kept: String = plain.chars().take(MAX_CHARACTERS - HASH_DIGITS - 1).collect();
    format!("{kept}_{}", hash(&full))
}

fn fits(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().take(HASH_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// Keeps names apart: equal ones, and ones that a reader would take for each other.
#[derive(Default)]
pub(crate) struct Register {
    by_look: HashMap<String, Owner>,
}

/// A name and whose it is.
#[derive(Clone)]
struct Owner {
    server: Arc<str>,
    own_name: String,
}

/// Why a name is not offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The name that would have been offered.
    pub exposed: String,
    /// The server and its own name of the one that was refused.
    pub refused: (Arc<str>, String),
    /// The server and its own name of the one that holds the name.
    pub holder: (Arc<str>, String),
}

impl Register {
    /// Takes a name for `own_name` of `server`, unless another holds it or one that looks the same.
    ///
    /// # Errors
    /// [`Refusal`] naming both. Who comes first holds the name; callers come in the order of the servers' names, so it
    /// does not depend on which server answered first.
    pub(crate) fn take(&mut self, exposed: &str, server: &Arc<str>, own_name: &str) -> Result<(), Refusal> {
        match self.by_look.entry(look(exposed)) {
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(Owner { server: server.clone(), own_name: own_name.to_owned() });
                Ok(())
            }
            std::collections::hash_map::Entry::Occupied(taken) => Err(Refusal {
                exposed: exposed.to_owned(),
                refused: (server.clone(), own_name.to_owned()),
                holder: (taken.get().server.clone(), taken.get().own_name.clone()),
            }),
        }
    }
}

/// What a hasty reader sees: case and look-alike characters folded (Unicode TS 39).
fn look(name: &str) -> String {
    skeleton(&name.to_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_short_plain_name_is_server_and_tool() {
        assert_eq!(exposed("git", "log"), "git__log");
        assert_eq!(exposed("a", "b-c_D9"), "a__b-c_D9");
    }

    #[test]
    fn any_other_name_is_cut_and_keeps_apart_from_its_neighbours() {
        let long = exposed("server", &"x".repeat(60));
        assert_eq!(long.len(), MAX_CHARACTERS);
        assert_ne!(long, exposed("server", &"x".repeat(61)));
        let dotted = exposed("s", "a.b");
        assert!(dotted.starts_with("s__a_b_"), "{dotted}");
        assert_ne!(dotted, exposed("s", "a/b"));
        assert_ne!(dotted, exposed("s", "a_b"));
    }

    #[test]
    fn the_hash_is_the_same_for_ever() {
        assert_eq!(exposed("s", "a.b"), "s__a_b_f7700fde");
    }

    #[test]
    fn look_alikes_are_refused_with_both_owners() {
        let mut register = Register::default();
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        register.take("pay__send", &one, "send").unwrap();
        let refusal = register.take("pay__Send", &two, "Send").unwrap_err();
        assert_eq!((refusal.holder.0, refusal.refused.0), (one.clone(), two.clone()));
        assert!(register.take("pay__s\u{435}nd", &two, "x").is_err(), "a Cyrillic letter");
        register.take("pay__sent", &two, "sent").unwrap();
    }

    proptest::proptest! {
        #[test]
        fn every_name_fits_every_client(server in "[a-zA-Z0-9][a-zA-Z0-9_-]{0,31}", name in ".{0,200}") {
            let name = exposed(&server, &name);
            proptest::prop_assert!(name.len() <= MAX_CHARACTERS && name.chars().all(fits));
        }
    }
}
