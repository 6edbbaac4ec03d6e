//! Texts with references in them, as a configuration writes them.

use sallyport_secrets::{InvalidReference, SecretReference};

use crate::config::model::{Value, Verbatim};
use crate::plan::{Part, Template};

/// What is wrong with a text, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadText {
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// Reads the value of a variable or header: a reference as a whole, or a text with references in it.
pub(crate) fn of_value(value: &Value) -> Result<Template, BadText> {
    match value {
        Value::Verbatim(Verbatim { text }) => Ok(Template::text(text)),
        Value::Written(text) if SecretReference::is_meant_by(text) && !text.contains("${") => Ok(Template::secret(reference(text)?)),
        Value::Written(text) => of_text(text),
    }
}

/// Reads a text with references in it: `${env:NAME}`, `${file:PATH}`; `$${` is `${` itself.
pub(crate) fn of_text(text: &str) -> Result<Template, BadText> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            literal.push_str(before);
            literal.push_str("${");
            rest = after;
            continue;
        }
        let Some((inner, after)) = after.split_once('}') else {
            return Err(BadText {
                message: "`${` is never closed".to_owned(),
                hint: "close it with `}`, or write `$${` for the characters themselves".to_owned(),
            });
        };
        literal.push_str(before);
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(Part::Secret(inner_reference(inner)?));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(Template::new(parts))
}

/// Writes `text` so that `of_text` gives it back without seeing a reference in it.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

/// Writes `text` so that `of_value` takes it word by word.
#[must_use]
pub fn verbatim(text: &str) -> Value {
    if SecretReference::is_meant_by(text) { Value::Verbatim(Verbatim { text: text.to_owned() }) } else { Value::Written(escape(text)) }
}

/// Reads what stands between `${` and `}`.
fn inner_reference(inner: &str) -> Result<SecretReference, BadText> {
    if SecretReference::is_meant_by(inner) {
        return reference(inner);
    }
    let is_name = !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    Err(BadText {
        message: "`${…}` does not name where its value is".to_owned(),
        hint: if is_name {
            format!("write `${{env:{inner}}}` for the environment variable, or `$${{` for the characters `${{` themselves")
        } else {
            "write `${env:NAME}` or `${file:PATH}`, or `$${` for the characters `${` themselves".to_owned()
        },
    })
}

/// Reads a reference as a whole.
fn reference(text: &str) -> Result<SecretReference, BadText> {
    text.parse().map_err(|error: InvalidReference| BadText { message: error.to_string(), hint: error.hint() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn shown(text: &str) -> String {
        of_value(&Value::Written(text.to_owned())).unwrap().to_string()
    }

    #[test]
    fn references_are_found_alone_and_inside_a_text() {
        assert_eq!(shown("env:TOKEN"), "${env:TOKEN}");
        assert_eq!(shown("Bearer ${env:TOKEN}."), "Bearer ${env:TOKEN}.");
        assert_eq!(shown("plain"), "plain");
        assert_eq!(of_value(&Value::Written(String::new())).unwrap().as_text(), Some(""));
    }

    #[test]
    fn an_escaped_text_is_no_reference() {
        for text in ["${A}", "$${A}", "a${env:B}c", "$", "${", "$$"] {
            assert_eq!(of_text(&escape(text)).unwrap().as_text(), Some(text), "{text}");
        }
    }

    #[test]
    fn a_text_that_looks_like_a_reference_can_be_said_word_by_word() {
        let value = verbatim("file:./dev.db");
        assert_eq!(value, Value::Verbatim(Verbatim { text: "file:./dev.db".into() }));
        assert_eq!(of_value(&value).unwrap().as_text(), Some("file:./dev.db"));
    }

    #[test]
    fn a_bare_variable_is_refused_with_the_spelling_that_works() {
        let bad = of_text("${HOME}/x").unwrap_err();
        assert!(bad.hint.contains("${env:HOME}"), "{}", bad.hint);
        assert!(of_text("${env:").is_err());
        assert!(of_text("${}").is_err());
    }
}
