//! A Rust source file as its tokens: what it names by path, without comments, string literals and test modules.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::repository::{Outcome, Repository};

/// One Rust file of the repository.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Relative to the repository.
    pub(crate) path: PathBuf,
    tokens: Vec<TokenTree>,
}

/// A path as the source writes it, `use` groups spelt out: `use std::{fs::File, net}` names `std::fs::File` and `std::net`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedPath {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

impl NamedPath {
    /// Whether the path goes through `parts`, one after the other: `std::process::Command` through `process::Command`.
    pub(crate) fn goes_through(&self, parts: &[&str]) -> bool {
        self.segments.windows(parts.len()).any(|window| window == parts)
    }

    /// Whether the path starts with `parts`.
    pub(crate) fn starts_with(&self, parts: &[&str]) -> bool {
        self.segments.len() >= parts.len() && self.segments.iter().zip(parts).all(|(mine, part)| mine == part)
    }
}

impl SourceFile {
    /// Reads and splits a file.
    pub(crate) fn read(repository: &Repository, path: &Path) -> Outcome<Self> {
        let text = fs::read_to_string(repository.path(path)).map_err(|error| format!("could not read {}: {error}", path.display()))?;
        Self::parse(path, &text)
    }

    /// Splits the text of a file.
    pub(crate) fn parse(path: &Path, text: &str) -> Outcome<Self> {
        let tokens: TokenStream = text.parse().map_err(|error| format!("{} is no Rust source: {error}", path.display()))?;
        Ok(Self { path: path.to_path_buf(), tokens: without_tests(tokens) })
    }

    /// The crate's folder name when this file ships with a crate (lies below `crates/<name>/src`, and not in a file of tests).
    pub(crate) fn shipped_crate(&self) -> Option<&str> {
        let mut parts = self.path.iter().filter_map(|part| part.to_str());
        let (Some("crates"), Some(name), Some("src")) = (parts.next(), parts.next(), parts.next()) else { return None };
        (!self.is_test_module()).then_some(name)
    }

    /// By this repository's habit the tests of `x.rs` outgrow into `x/tests.rs`, which `x.rs` names under `#[cfg(test)]`.
    fn is_test_module(&self) -> bool {
        self.path.iter().skip(2).any(|part| part == "tests.rs" || part == "tests")
    }

    /// Whether this is the root file of a library or program.
    pub(crate) fn is_crate_root(&self) -> bool {
        self.path.ends_with("src/lib.rs") || self.path.ends_with("src/main.rs")
    }

    /// The file's tokens, test modules left out.
    pub(crate) fn tokens(&self) -> &[TokenTree] {
        &self.tokens
    }

    /// Every path and lone identifier of the file.
    pub(crate) fn named_paths(&self) -> Vec<NamedPath> {
        let mut found = Vec::new();
        collect_paths(&self.tokens, &[], &mut found);
        found
    }
}

/// Leaves out every item under `#[cfg(test)]`.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        let opens_test = is_punct(&token, '#') && rest.peek().is_some_and(is_cfg_test);
        if !opens_test {
            kept.push(token);
            continue;
        }
        // The item ends with its braces or its semicolon; further attributes in between are brackets.
        for token in rest.by_ref() {
            let braces = matches!(&token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
            if braces || is_punct(&token, ';') {
                break;
            }
        }
    }
    kept
}

fn is_cfg_test(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group)
        if group.delimiter() == Delimiter::Bracket && group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// Whether the token is this punctuation mark.
pub(crate) fn is_punct(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

/// Whether the token is this identifier or keyword.
pub(crate) fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

/// Walks the tokens; `prefix` is the path before a `use` group.
fn collect_paths(tokens: &[TokenTree], prefix: &[String], found: &mut Vec<NamedPath>) {
    let mut index = 0;
    while index < tokens.len() {
        index += match &tokens[index] {
            TokenTree::Ident(_) => collect_path(&tokens[index..], prefix, found),
            TokenTree::Group(group) => {
                collect_paths(&group.stream().into_iter().collect::<Vec<_>>(), prefix, found);
                1
            }
            _ => 1,
        };
    }
}

/// Reads the path that starts here and returns how many tokens it has.
fn collect_path(tokens: &[TokenTree], prefix: &[String], found: &mut Vec<NamedPath>) -> usize {
    let line = tokens.first().map_or(0, |first| first.span().start().line);
    let mut segments = prefix.to_vec();
    let mut used = 0;
    while let Some(TokenTree::Ident(ident)) = tokens.get(used) {
        segments.push(ident.to_string());
        used += 1;
        if !is_path_separator(&tokens[used..]) {
            found.push(NamedPath { segments, line });
            return used;
        }
        used += 2;
    }
    match tokens.get(used) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            collect_paths(&group.stream().into_iter().collect::<Vec<_>>(), &segments, found);
            used + 1
        }
        // `path::*` or `path::<T>`: what follows is read on its own.
        _ => {
            found.push(NamedPath { segments, line });
            used
        }
    }
}

fn is_path_separator(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [first, second, ..] if is_punct(first, ':') && is_punct(second, ':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> SourceFile {
        SourceFile::parse(Path::new("crates/protocol/src/lib.rs"), text).expect("the sample parses")
    }

    #[test]
    fn groups_of_a_use_are_spelt_out() {
        let paths = file("use std::{fs::File, net::{self, IpAddr}};\nfn f() { tokio::time::sleep(d) }").named_paths();
        let text: Vec<String> = paths.iter().map(|path| path.segments.join("::")).collect();
        assert!(
            ["std::fs::File", "std::net::self", "std::net::IpAddr", "tokio::time::sleep"]
                .iter()
                .all(|wanted| text.iter().any(|path| path == wanted))
        );
        assert_eq!(paths.last().map(|path| path.line), Some(2));
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        let paths = file(
            "//! std::fs\n/// tokio::spawn\nfn f() { \"std::net\" }\n#[cfg(test)]\nmod tests { use std::fs; }\n#[cfg(test)]\nuse a::b;",
        )
        .named_paths();
        assert!(!paths.iter().any(|path| path.segments.len() > 1), "{paths:?}");
    }

    #[test]
    fn only_sources_of_crates_are_shipped() {
        let shipped = |path: &str| SourceFile::parse(Path::new(path), "").is_ok_and(|file| file.shipped_crate().is_some());
        assert!(shipped("crates/policy/src/engine.rs"));
        assert!(!shipped("crates/policy/src/engine/tests.rs"));
        assert!(!shipped("crates/policy/tests/engine.rs"));
        assert!(!shipped("xtask/src/main.rs"));
    }
}
