//! References: what a configuration says instead of a secret.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::providers::Provider;

/// Longest accepted reference in bytes: a path (`PATH_MAX`, 4096) and its scheme.
const LONGEST: usize = 4096 + 16;

/// Where a secret is to be found: `env:NAME` or `file:PATH`. It is no secret itself and may be printed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretReference {
    provider: Provider,
    locator: Box<str>,
}

impl SecretReference {
    /// The environment variable or path, without the scheme.
    #[must_use]
    pub fn locator(&self) -> &str {
        &self.locator
    }

    pub(crate) fn provider(&self) -> Provider {
        self.provider
    }

    /// Whether `text` starts with the scheme of a provider: whoever wrote it meant a reference, be it a good one or not.
    #[must_use]
    pub fn is_meant_by(text: &str) -> bool {
        text.split_once(':').is_some_and(|(scheme, _)| Provider::of_scheme(scheme).is_some())
    }

    /// The same reference with a relative path understood from `folder`, that of the configuration which holds it.
    ///
    /// [`resolve`](crate::resolve) refuses relative paths: read from wherever the gateway happens to be started, they
    /// would name different files.
    #[must_use]
    pub fn within(self, folder: &Path) -> Self {
        let locator = self.provider.anchored(&self.locator, folder);
        match locator {
            Cow::Borrowed(_) => self,
            Cow::Owned(locator) => Self { provider: self.provider, locator: locator.into() },
        }
    }
}

impl FromStr for SecretReference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let (scheme, locator) = text.split_once(':').ok_or(InvalidReference)?;
        let provider = Provider::of_scheme(scheme).ok_or(InvalidReference)?;
        if text.len() > LONGEST || !provider.accepts(locator) {
            return Err(InvalidReference);
        }
        Ok(Self { provider, locator: locator.into() })
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.provider.scheme(), self.locator)
    }
}

impl<'de> Deserialize<'de> for SecretReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?
            .parse()
            .map_err(|error: InvalidReference| de::Error::custom(format_args!("{error} (hint: {})", error.hint())))
    }
}

impl Serialize for SecretReference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for SecretReference {
    fn schema_name() -> Cow<'static, str> {
        "SecretReference".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": format!("Where a secret is to be found: {}. Never the secret itself.", Provider::forms()),
            "pattern": Provider::pattern(),
            "maxLength": LONGEST,
        })
    }
}

/// A text that is no reference. It says nothing of the text, which may well be the secret itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidReference;

impl InvalidReference {
    /// What to write instead.
    #[must_use]
    pub fn hint(&self) -> String {
        format!("write {}; a secret itself does not belong into the configuration", Provider::forms())
    }
}

impl fmt::Display for InvalidReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the value is not a reference to a secret")
    }
}

impl std::error::Error for InvalidReference {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn references_are_read_and_printed_back() {
        for text in ["env:TOKEN", "env:_a1", "file:/run/secrets/a b", "file:keys/one"] {
            assert_eq!(text.parse::<SecretReference>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_without_being_repeated() {
        let endless = format!("file:/{}", "a".repeat(LONGEST));
        for text in [
            "",
            "hunter2",
            "env:",
            "file:",
            "ENV:A",
            " env:A",
            "env:A B",
            "env:1A",
            "env:A=B",
            "env:A\n",
            "keyring:hunter2",
            "hunter2:env:A",
            "file:/a\0b",
            &endless,
        ] {
            let error = text.parse::<SecretReference>().unwrap_err();
            let told = format!("{error} {error:?} {}", error.hint());
            assert!(!told.contains("hunter2"), "{told}");
            assert!(told.contains("`env:NAME`") && told.contains("`file:PATH`"), "{told}");
        }
    }

    #[test]
    fn a_relative_path_belongs_to_the_configurations_folder() {
        let within = |text: &str| text.parse::<SecretReference>().unwrap().within(Path::new("/home/u/project")).to_string();
        assert_eq!(within("file:keys/one"), "file:/home/u/project/keys/one");
        assert_eq!(within("file:/keys/one"), "file:/keys/one");
        assert_eq!(within("env:KEY"), "env:KEY");
    }

    #[test]
    fn the_schema_lists_every_scheme() {
        let schema = schemars::schema_for!(SecretReference);
        assert_eq!(schema.get("pattern").unwrap(), "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$");
    }
}
