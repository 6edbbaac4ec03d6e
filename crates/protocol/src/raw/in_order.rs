//! One text for all texts that say the same but for the order of members: what something is bound to.

use super::{RawJson, write_string};

/// Levels in which the order of members does not count: deeper ones are no arguments that anybody writes.
const DEEPEST: u8 = 16;

impl RawJson {
    /// The value with the members of its objects in the order of their names, and without space between. Strings and numbers stay as they
    /// are written. What is nested deeper than 16 levels, or names a member twice, stays as it came. The text is JSON, so no two values
    /// have the same.
    #[must_use]
    pub fn in_order(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.as_bytes().len());
        write(self, DEEPEST, &mut out);
        out
    }
}

fn write(value: &RawJson, levels: u8, out: &mut Vec<u8>) {
    match (levels.checked_sub(1), value.as_bytes().first()) {
        (Some(levels), Some(b'{')) if let Ok(object) = value.object() => {
            let mut members: Vec<_> = object.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (at, (key, value)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_string(out, key);
                out.push(b':');
                write(value, levels, out);
            }
            out.push(b'}');
        }
        (Some(levels), Some(b'[')) if let Ok(items) = value.array() => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(item, levels, out);
            }
            out.push(b']');
        }
        _ => out.extend_from_slice(value.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn ordered(text: &str) -> String {
        String::from_utf8(RawJson::parse(text.to_owned()).unwrap().in_order()).unwrap()
    }

    #[test]
    fn members_are_put_in_order_on_every_level() {
        assert_eq!(ordered(r#"{ "b": [ {"d":1.0, "c":"\u0061"} , 2 ], "a" : {} }"#), r#"{"a":{},"b":[{"c":"\u0061","d":1.0},2]}"#);
        assert_eq!(ordered(r#"{"a":1,"a":2}"#), r#"{"a":1,"a":2}"#);
    }

    #[test]
    fn depth_is_bounded_and_nothing_is_lost() {
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(ordered(&deep), deep);
    }

    #[test]
    fn what_is_inside_does_not_come_out() {
        assert_ne!(ordered(r#"{"a":{"b":1,"c":2}}"#), ordered(r#"{"a":{"b":1},"c":2}"#));
        assert_ne!(ordered("[[1,2]]"), ordered("[[1],2]"));
    }
}
