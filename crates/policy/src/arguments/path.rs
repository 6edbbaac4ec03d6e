//! Paths below folders.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A path below one of some folders.
///
/// This is about what is written in the argument. Links on the way are the file system's business: the server's own `read` and `write`
/// are what they cannot lead out of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathRule {
    /// The folders. An absolute one lets absolute paths through, a relative one relative paths; `.` is every relative path. A path
    /// with `..` in it is denied, and so is one that begins with `~` or a scheme, which a server may understand in its own way: a relative
    /// path with `:` in its first name.
    pub below: Vec<String>,
}

impl PathRule {
    pub(super) fn problem(&self) -> Option<String> {
        if self.below.is_empty() {
            return Some("`path` lets nothing through without a folder in `below`".into());
        }
        self.below.iter().find_map(|folder| Some(format!("no path is below {folder:?}, a path {}", parts(folder).err()?)))
    }

    /// What is wrong with `path`, if anything.
    pub(super) fn refuses(&self, path: &str) -> Option<String> {
        let asked = match parts(path) {
            Ok(asked) => asked,
            Err(why) => return Some(format!("is a path {why}")),
        };
        self.refuses_parts(&asked).map(str::to_owned)
    }

    /// What is wrong with a path that was taken [`apart`], if anything.
    pub(super) fn refuses_recorded(&self, path: &Value) -> Option<&'static str> {
        let (text, is_absolute) = (path["text"].as_str().unwrap_or_default(), path["absolute"] == true);
        let names = text.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        self.refuses_parts(&Parts { is_absolute, names })
    }

    fn refuses_parts(&self, asked: &Parts<'_>) -> Option<&'static str> {
        let is_below = |folder: &String| {
            parts(folder).is_ok_and(|folder| asked.is_absolute == folder.is_absolute && asked.names.starts_with(&folder.names))
        };
        (!self.below.iter().any(is_below)).then_some("is a path outside the folders that are allowed")
    }
}

/// Deepest path that is taken apart: each folder that it is below is written out.
const DEEPEST: usize = 64;

/// Takes a path apart: `{ text, absolute, below }`. `below` holds each folder that it is below, and itself; of a relative path `.` as well.
///
/// # Errors
/// Why it does not mean the same to everybody.
pub(super) fn apart(text: &str) -> Result<Value, &'static str> {
    let Parts { is_absolute, names } = parts(text)?;
    if names.len() > DEEPEST {
        return Err("that is too deep");
    }
    let mut path = if is_absolute { "/".to_owned() } else { ".".to_owned() };
    let mut below = vec![path.clone()];
    for (index, name) in names.iter().enumerate() {
        match (index, is_absolute) {
            (0, true) => path.push_str(name),
            (0, false) => path = (*name).to_owned(),
            _ => {
                path.push('/');
                path.push_str(name);
            }
        }
        below.push(path.clone());
    }
    Ok(json!({ "text": path, "absolute": is_absolute, "below": below }))
}

struct Parts<'a> {
    is_absolute: bool,
    names: Vec<&'a str>,
}

/// The names of a path that means the same to everybody.
fn parts(path: &str) -> Result<Parts<'_>, &'static str> {
    if path.is_empty() {
        return Err("without a name");
    }
    if path.chars().any(|character| character.is_control() || character == '\\') {
        return Err("with a control character or a backslash");
    }
    if path.starts_with('~') {
        return Err("that begins with `~`");
    }
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    if names.contains(&"..") {
        return Err("with `..`");
    }
    let is_absolute = path.starts_with('/');
    // `file:a`, `C:a` and `host:a` lead elsewhere without a slash, too, and nobody can tell them from a file of that name.
    let has_scheme = |name: &&str| if is_absolute { name.ends_with(':') } else { name.contains(':') };
    if names.first().is_some_and(has_scheme) {
        return Err("that begins with a scheme");
    }
    Ok(Parts { is_absolute, names })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(below: &[&str]) -> PathRule {
        PathRule { below: below.iter().map(|folder| (*folder).to_owned()).collect() }
    }

    #[test]
    fn paths_below_a_folder_pass_and_others_do_not() {
        let rule = rule(&["/srv/data/", "docs"]);
        for path in ["/srv/data", "/srv/data/a", "/srv//data/./a/b", "docs/a.md", "./docs", "docs/..a"] {
            assert_eq!(rule.refuses(path), None, "{path}");
        }
        for path in [
            "",
            ".",
            "/",
            "/srv",
            "/srv/database",
            "/srv/data/../x",
            "docs/../x",
            "../docs",
            "other",
            "/docs",
            "srv/data/a",
            "~/docs",
            "~root/docs",
            "file:///srv/data/a",
            "docs\\..\\x",
            "docs/a\0b",
            "docs/a\nb",
        ] {
            assert!(rule.refuses(path).is_some(), "{path:?}");
        }
    }

    #[test]
    fn the_current_folder_is_every_relative_path_but_no_address() {
        let rule = rule(&["."]);
        for path in ["a/b", "a/b:c", "./a/file:b", "a/C:"] {
            assert_eq!(rule.refuses(path), None, "{path}");
        }
        let elsewhere =
            ["file:etc/passwd", "http:evil.com/x", "host:path", "me@host:path", "ext::sh -c id", "[::1]:x", "C:Windows", "./C:a"];
        for path in ["/a", "http://host/", "C:/Windows", "~"].into_iter().chain(elsewhere) {
            assert!(rule.refuses(path).is_some() && apart(path).is_err() == (path != "/a"), "{path:?}");
        }
    }

    #[test]
    fn a_folder_that_no_path_is_below_is_a_slip() {
        assert!(rule(&[]).problem().is_some());
        assert!(rule(&["../x"]).problem().is_some_and(|why| why.ends_with("with `..`")));
        assert!(rule(&["docs", "file:docs"]).problem().is_some_and(|why| why.ends_with("that begins with a scheme")));
        assert!(rule(&["/srv", "."]).problem().is_none());
    }

    proptest! {
        /// Where the standard library, which knows links as little, would end up.
        #[test]
        fn what_passes_joins_to_below_the_folder(path in "[a./~:]{0,12}") {
            if rule(&["/a"]).refuses(&path).is_none() {
                prop_assert!(std::path::Path::new(&path).starts_with("/a"));
                prop_assert!(path.split('/').all(|name| name != ".."), "{}", path);
            }
        }
    }
}
