//! Invariant 7: failures become wire answers in one file, `gateway/src/failure.rs`.
//!
//! The sign of an answer being made is a JSON-RPC error object being built. `protocol` reads them off the wire, and `transport`
//! builds some for what is no failure of a request: a frame that is no message, and a server's question that cannot be put. The
//! crates above it may refuse such a question too.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::Finding;
use super::source::{SourceFile, is_ident};

/// The one place, and what it is split into if it grows.
const THE_ONE_PLACE: [&str; 2] = ["crates/gateway/src/failure.rs", "crates/gateway/src/failure"];

/// The codes with which a question is refused.
const REFUSALS: [&str; 2] = ["INVALID_REQUEST", "METHOD_NOT_FOUND"];

/// Looks for error objects built anywhere else in the crates that know failures.
pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    let knows_failures = file.shipped_crate().is_some_and(|name| !matches!(name, "protocol" | "transport" | "testkit"));
    if !knows_failures || THE_ONE_PLACE.iter().any(|place| file.path.starts_with(place)) {
        return Vec::new();
    }
    let mut lines = Vec::new();
    collect_errors(file.tokens(), &mut lines);
    lines.into_iter().map(|line| Finding::at(file, line, "a wire error is made in crates/gateway/src/failure.rs alone")).collect()
}

fn collect_errors(tokens: &[TokenTree], lines: &mut Vec<usize>) {
    for (index, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            collect_errors(&group.stream().into_iter().collect::<Vec<_>>(), lines);
        }
        let (before, after) = (&tokens[..index], &tokens[index + 1..]);
        if is_ident(token, "ErrorObject") && (is_call(after) || is_literal(before, after)) {
            lines.push(token.span().start().line);
        }
    }
}

/// `ErrorObject::new(code, …)` with a code that is no refusal's.
fn is_call(after: &[TokenTree]) -> bool {
    match after {
        [_, _, new, TokenTree::Group(arguments), ..] if is_ident(new, "new") => !is_refusal(arguments.stream()),
        _ => false,
    }
}

fn is_refusal(arguments: TokenStream) -> bool {
    let code: Vec<TokenTree> = arguments.into_iter().take_while(|token| !super::source::is_punct(token, ',')).collect();
    code.last().is_some_and(|code| REFUSALS.iter().any(|refusal| is_ident(code, refusal)))
}

/// `ErrorObject { … }` as an expression; after `->`, `for` or `impl` the braces are a body and the type is only named.
fn is_literal(before: &[TokenTree], after: &[TokenTree]) -> bool {
    let braces = matches!(after.first(), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace);
    let names_a_type =
        before.last().is_some_and(|before| is_ident(before, "for") || is_ident(before, "impl") || super::source::is_punct(before, '>'));
    braces && !names_a_type
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&SourceFile::parse(Path::new(path), text).expect("the sample parses")).len()
    }

    #[test]
    fn planted_wire_errors_are_found() {
        let planted = "fn f() { ErrorObject::new(-32603, \"no\") } fn g() { let e = ErrorObject { code: 1, message, data }; }";
        assert_eq!(count("crates/gateway/src/pipeline.rs", planted), 2);
        assert_eq!(count("crates/gateway/src/failure.rs", planted), 0);
        assert_eq!(count("crates/protocol/src/jsonrpc.rs", planted), 0);
    }

    #[test]
    fn refusing_a_question_is_fine() {
        let text = "fn f() { ErrorObject::new(ErrorObject::METHOD_NOT_FOUND, \"nobody is here\") }";
        assert_eq!(count("crates/cli/src/reach.rs", text), 0);
        let other = "fn f() { ErrorObject::new(ErrorObject::INTERNAL, \"METHOD_NOT_FOUND\") }";
        assert_eq!(count("crates/cli/src/reach.rs", other), 1);
    }

    #[test]
    fn reading_an_error_is_fine() {
        let text = "fn code(error: &ErrorObject) -> i64 { error.code } fn f() -> ErrorObject { g() } impl A for ErrorObject {}";
        assert_eq!(count("crates/gateway/src/upstream.rs", text), 0);
    }
}
