//! The members of a JSON object, as their own text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Most members of one object: no tool has as many arguments, and the look for one of them twice stays cheap.
const MOST_MEMBERS: usize = 1000;

/// An object, none of whose members is there twice: which of the two a server takes nobody knows.
#[derive(Debug)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// The value of a member, as JSON text.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.get())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
        while let Some((Name(name), value)) = access.next_entry()? {
            if members.len() == MOST_MEMBERS {
                return Err(A::Error::custom("too many members"));
            }
            if members.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom("a member is there twice"));
            }
            members.push((name, value));
        }
        Ok(Object(members))
    }
}

/// A member's name, borrowed unless it has escapes in it.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
        Borrowed::deserialize(deserializer).map(|Borrowed(name)| Self(name))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn a_member_is_found_however_its_name_is_written() {
        let object: Object<'_> = serde_json::from_str(r#"{"a": [1, 2], "s\u0071l": "x"}"#).unwrap();
        assert_eq!((object.get("a"), object.get("sql"), object.get("b")), (Some("[1, 2]"), Some("\"x\""), None));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [r#"{"sql": 1, "sql": 2}"#, r#"{"sql": 1, "s\u0071l": 2}"#, "[]", "null", "1", r#""{}""#, "{} {}", ""] {
            assert!(serde_json::from_str::<Object<'_>>(text).is_err(), "{text}");
        }
        let many: Vec<String> = (0..=MOST_MEMBERS).map(|number| format!("\"{number}\":0")).collect();
        assert!(serde_json::from_str::<Object<'_>>(&format!("{{{}}}", many.join(","))).is_err());
    }
}
