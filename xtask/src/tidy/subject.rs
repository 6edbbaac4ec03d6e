//! Invariant 4: the one door of a caller's token leads to the exchange at a configured token endpoint, and nowhere else.

use proc_macro2::TokenTree;

use super::Finding;
use super::source::{SourceFile, is_ident};

/// Where the door is, and the one place that goes through it.
const PLACES: [&str; 2] = ["crates/protocol/src/credential.rs", "crates/identity/src/upstream/subject.rs"];

/// Looks for others who go through the door.
pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    if PLACES.iter().any(|place| file.path.ends_with(place)) {
        return Vec::new();
    }
    let mut lines = Vec::new();
    collect(file.tokens(), &mut lines);
    lines.into_iter().map(|line| Finding::at(file, line, format!("a caller's token is had in {} alone", PLACES[1]))).collect()
}

fn collect(tokens: &[TokenTree], lines: &mut Vec<usize>) {
    for token in tokens {
        if let TokenTree::Group(group) = token {
            collect(&group.stream().into_iter().collect::<Vec<_>>(), lines);
        } else if is_ident(token, "as_subject_token") {
            lines.push(token.span().start().line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn count(path: &str) -> usize {
        let text = "fn send(token: &CallerToken) { post(token.as_subject_token()); }";
        check(&SourceFile::parse(Path::new(path), text).expect("the sample parses")).len()
    }

    #[test]
    fn the_token_is_had_in_one_place() {
        assert_eq!(count("crates/gateway/src/upstream/call.rs"), 1);
        assert_eq!(count("crates/identity/src/upstream/exchange.rs"), 1);
        assert_eq!(count(PLACES[1]), 0);
    }
}
