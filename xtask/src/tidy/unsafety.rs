//! Invariant 2, first half: every crate forbids `unsafe` but `sandbox`, where it stays in `src/sys/`, and one file of the microVM's init.
//!
//! That each block there carries a SAFETY note is clippy's `undocumented_unsafe_blocks`.

use proc_macro2::TokenTree;

use super::Finding;
use super::source::{SourceFile, is_ident, is_punct};

/// The only place for system calls without a safe wrapper.
const SYSTEM_CALLS: &str = "crates/sandbox/src/sys";

/// A microVM's init asks its own kernel for two things that no library wraps; its crate root denies `unsafe` elsewhere.
const OF_THE_GUEST: &str = "crates/guest/src/random.rs";

/// Looks at crate roots for the attribute and at every other file for the keyword.
pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    let mut findings: Vec<Finding> = missing_attribute(file).into_iter().collect();
    let alone = ["crates/sandbox/src/sys.rs", OF_THE_GUEST].iter().any(|path| file.path.as_os_str() == *path);
    let may_be_unsafe = file.path.starts_with(SYSTEM_CALLS) || alone;
    if !may_be_unsafe {
        let lines = unsafe_lines(file.tokens());
        findings.extend(lines.into_iter().map(|line| Finding::at(file, line, "`unsafe` belongs in crates/sandbox/src/sys/ alone")));
    }
    findings
}

fn missing_attribute(file: &SourceFile) -> Option<Finding> {
    let forbids = file.tokens().windows(3).any(|window| {
        let [hash, bang, TokenTree::Group(attribute)] = window else { return false };
        is_punct(hash, '#') && is_punct(bang, '!') && attribute.stream().to_string().replace(' ', "") == "forbid(unsafe_code)"
    });
    let exempt = file.path.starts_with("crates/sandbox") || file.path.as_os_str() == "crates/guest/src/main.rs";
    (file.is_crate_root() && !exempt && !forbids).then(|| Finding::at(file, 1, "a crate root must say #![forbid(unsafe_code)]"))
}

fn unsafe_lines(tokens: &[TokenTree]) -> Vec<usize> {
    let mut lines = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => lines.extend(unsafe_lines(&group.stream().into_iter().collect::<Vec<_>>())),
            token if is_ident(token, "unsafe") => lines.push(token.span().start().line),
            _ => {}
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&SourceFile::parse(Path::new(path), text).expect("the sample parses")).len()
    }

    #[test]
    fn a_root_without_the_attribute_is_found() {
        assert_eq!(count("crates/policy/src/lib.rs", "//! Policy.\nmod a;"), 1);
        assert_eq!(count("crates/policy/src/lib.rs", "//! Policy.\n#![forbid(unsafe_code)]\nmod a;"), 0);
        assert_eq!(count("crates/policy/src/a.rs", "fn f() {}"), 0);
    }

    #[test]
    fn planted_unsafe_is_found_outside_the_system_calls_only() {
        let text = "fn f() { unsafe { g() } }";
        assert_eq!(count("crates/sandbox/src/backends/os.rs", text), 1);
        assert_eq!(count("crates/sandbox/src/sys/mount.rs", text), 0);
        assert_eq!(count("crates/guest/src/random.rs", text), 0);
        assert_eq!(count("crates/guest/src/program.rs", text), 1);
        assert_eq!(count("crates/gateway/src/a.rs", "unsafe impl Send for A {}"), 1);
    }
}
