//! Invariant 5: `Secret` cannot be printed or serialised, and its memory is zeroed on drop.

use proc_macro2::{Delimiter, TokenTree};

use super::Finding;
use super::source::{SourceFile, is_ident, is_punct};

/// The traits through which a value could leave unseen.
const LEAKS: &[&str] = &["Debug", "Display", "Serialize"];

/// Looks at the type's declaration and at implementations of the leaking traits, wherever they stand.
pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    if file.shipped_crate().is_none() {
        return Vec::new();
    }
    let mut findings = implementations(file);
    findings.extend(declaration(file));
    findings
}

fn implementations(file: &SourceFile) -> Vec<Finding> {
    let paths = file.named_paths();
    paths
        .windows(3)
        .filter_map(|window| {
            let [leak, keyword, target] = window else { return None };
            let leak_name = leak.segments.last()?;
            let hit = LEAKS.contains(&leak_name.as_str())
                && keyword.segments == ["for"]
                && target.segments.last().is_some_and(|name| name == "Secret");
            hit.then(|| Finding::at(file, leak.line, format!("`Secret` must not implement {leak_name}")))
        })
        .collect()
}

fn declaration(file: &SourceFile) -> Vec<Finding> {
    let tokens = file.tokens();
    let declared = tokens.windows(2).position(|pair| is_ident(&pair[0], "struct") && is_ident(&pair[1], "Secret"));
    let Some(index) = declared else { return Vec::new() };
    let line = tokens[index].span().start().line;
    let derives = derives(&tokens[..index]);
    let mut findings: Vec<Finding> = LEAKS
        .iter()
        .filter(|leak| derives.iter().any(|derived| derived == *leak))
        .map(|leak| Finding::at(file, line, format!("`Secret` must not derive {leak}")))
        .collect();
    let zeroed = derives.iter().any(|derived| derived == "ZeroizeOnDrop") || holds_zeroizing(&tokens[index..]);
    if !zeroed {
        findings.push(Finding::at(file, line, "`Secret` must zero its memory on drop: hold a `Zeroizing`"));
    }
    findings
}

/// The traits derived by the attributes directly before an item.
fn derives(before: &[TokenTree]) -> Vec<String> {
    let attributes = before.iter().rev().take_while(|token| match token {
        TokenTree::Group(group) => group.delimiter() != Delimiter::Brace,
        token => is_punct(token, '#') || is_ident(token, "pub"),
    });
    attributes
        .filter_map(|token| match token {
            TokenTree::Group(group) => Some(group.stream().to_string()),
            _ => None,
        })
        .filter(|attribute| attribute.starts_with("derive"))
        .flat_map(|attribute| attribute.split(|mark: char| !mark.is_alphanumeric()).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Whether the first body after the name holds a `Zeroizing`.
fn holds_zeroizing(item: &[TokenTree]) -> bool {
    item.iter()
        .find_map(|token| match token {
            TokenTree::Group(group) if group.delimiter() != Delimiter::Bracket => Some(group.stream().to_string()),
            _ => None,
        })
        .is_some_and(|body| body.contains("Zeroizing"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn count(text: &str) -> usize {
        check(&SourceFile::parse(Path::new("crates/secrets/src/secret.rs"), text).expect("the sample parses")).len()
    }

    #[test]
    fn planted_leaks_are_found() {
        assert_eq!(count("#[derive(Clone, Debug)]\n#[must_use]\npub struct Secret(Zeroizing<String>);"), 1);
        assert_eq!(count("impl std::fmt::Debug for Secret { }"), 1);
        assert_eq!(count("impl<'a> fmt::Display for crate::Secret { }"), 1);
        assert_eq!(count("#[derive(serde::Serialize)] pub(crate) struct Secret { text: Zeroizing<String> }"), 1);
    }

    #[test]
    fn memory_that_is_not_zeroed_is_found() {
        assert_eq!(count("pub struct Secret(String);"), 1);
        assert_eq!(count("#[derive(ZeroizeOnDrop)] pub struct Secret(String);"), 0);
    }

    #[test]
    fn a_sound_secret_and_other_types_are_left_alone() {
        assert_eq!(count("pub struct Secret(Zeroizing<String>); impl Clone for Secret {}"), 0);
        assert_eq!(count("#[derive(Debug)] pub struct SecretReference(String);"), 0);
    }
}
