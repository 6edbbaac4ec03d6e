//! Where the text of policies comes from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(any(feature = "cedar", feature = "rego"))]
use crate::{InvalidPolicy, Making};

/// Most bytes of one text of policies: a thousand policies of a person's making fit in several times.
#[cfg(any(feature = "cedar", feature = "rego"))]
const LARGEST: usize = 4 << 20;

/// The texts of policies: files, or the configuration itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Policies")]
pub struct Sources {
    /// The files, relative to the configuration's folder. They are read again with every reload of the configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Policies that stand here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What the files hold: put in when the configuration is read.
    #[serde(skip)]
    pub read: Vec<Source>,
}

/// The text of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file, as the configuration names it.
    pub name: String,
    /// What it holds.
    pub text: String,
}

#[cfg(any(feature = "cedar", feature = "rego"))]
impl Sources {
    /// Every text, with what it is called in messages.
    ///
    /// # Errors
    /// There is none, one is too long, or a file was not read.
    pub(crate) fn texts(&self, making: &Making<'_>) -> Result<Vec<Source>, Vec<InvalidPolicy>> {
        let own = self.text.iter().map(|text| Source { name: format!("{}.text", making.place), text: text.clone() });
        let texts: Vec<Source> = self.read.iter().cloned().chain(own).collect();
        if texts.is_empty() && self.files.is_empty() {
            return Err(vec![making.invalid("", "the engine has no policies", "name `files`, or write them in `text`")]);
        }
        if self.read.len() != self.files.len() {
            return Err(vec![making.invalid(
                "files",
                "the files were not read",
                "a configuration that comes from no file has them in `text`",
            )]);
        }
        let too_long = texts.iter().filter(|source| source.text.len() > LARGEST);
        let errors: Vec<_> = too_long
            .map(|source| making.invalid("files", format!("`{}` has more than {} MiB", source.name, LARGEST >> 20), "divide it"))
            .collect();
        if errors.is_empty() { Ok(texts) } else { Err(errors) }
    }
}
