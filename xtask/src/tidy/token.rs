//! Invariant 4, second half: what a caller's token is made of, only the resource server asks, which verifies it.

use super::Finding;
use super::source::SourceFile;

/// Who may ask, and where the question is declared.
const MAY: [&str; 3] =
    ["crates/identity/src/resource_server", "crates/identity/src/resource_server.rs", "crates/protocol/src/credential.rs"];

/// Looks for the one method of `CallerToken` that gives its text.
pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    if file.shipped_crate().is_none() || MAY.iter().any(|place| file.path.starts_with(place)) {
        return Vec::new();
    }
    file.named_paths()
        .iter()
        .filter(|path| path.segments.last().is_some_and(|name| name == "for_its_issuer"))
        .map(|path| Finding::at(file, path.line, "only the resource server reads a caller's token"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_token_that_is_read_elsewhere_is_found() {
        let count = |path: &str| {
            let text = "fn f(token: &CallerToken) -> Option<&str> { token.for_its_issuer() }";
            check(&SourceFile::parse(Path::new(path), text).expect("the sample parses")).len()
        };
        assert_eq!(count("crates/gateway/src/upstream.rs"), 1);
        assert_eq!(count("crates/identity/src/authenticate.rs"), 1);
        assert_eq!(count("crates/identity/src/resource_server.rs") + count("crates/identity/src/resource_server/x.rs"), 0);
    }
}
