//! The variables of clients' files: `${VAR}`, `${VAR:-default}`, `${env:VAR}`, `${input:ID}`, `${workspaceFolder}` and its kin.

use crate::config::client_file::Setting;
use crate::config::template::{BadText, escape};

/// A text with its variables as references in the manner of `sallyport.toml`.
pub(super) struct Referring {
    /// The text.
    pub(super) text: Result<String, BadText>,
    /// What the user should know about it.
    pub(super) notes: Vec<String>,
}

/// What a variable stands for.
enum Meaning {
    Text(String),
    /// The value of the environment variable of this name, which `note` says more about.
    Environment {
        name: String,
        note: Option<String>,
    },
}

impl Setting<'_> {
    /// `text` with variables of the environment as references, so that their values are read when they are used.
    pub(super) fn references(&self, text: &str) -> Referring {
        let mut notes = Vec::new();
        let text = self.translate(
            text,
            &mut |meaning| match meaning {
                Meaning::Text(text) => Ok(escape(&text)),
                Meaning::Environment { name, note } => {
                    notes.extend(note);
                    Ok(format!("${{env:{name}}}"))
                }
            },
            escape,
        );
        Referring { text, notes }
    }

    /// `text` with everything replaced by its value.
    pub(super) fn replaced(&self, text: &str) -> Result<String, BadText> {
        let value = &mut |meaning| match meaning {
            Meaning::Text(text) => Ok(text),
            Meaning::Environment { name, .. } => (self.variables)(&name).ok_or_else(|| BadText {
                message: format!("the environment variable `{name}` is not set"),
                hint: "set it where the gateway is started".to_owned(),
            }),
        };
        self.translate(text, value, str::to_owned)
    }

    /// Goes through `text`: what stands between variables through `literal`, each variable through `variable`.
    fn translate(
        &self,
        text: &str,
        variable: &mut dyn FnMut(Meaning) -> Result<String, BadText>,
        literal: fn(&str) -> String,
    ) -> Result<String, BadText> {
        let mut translated = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((inner, after)) = after.split_once('}') else { break };
            translated.push_str(&literal(before));
            translated.push_str(&variable(self.meaning(inner)?)?);
            rest = after;
        }
        translated.push_str(&literal(rest));
        Ok(translated)
    }

    /// What stands between `${` and `}`.
    fn meaning(&self, inner: &str) -> Result<Meaning, BadText> {
        let folder = || self.folder.display().to_string();
        let text = |text: String| Ok(Meaning::Text(text));
        match inner {
            "workspaceFolder" | "workspaceRoot" | "cwd" => return text(folder()),
            "workspaceFolderBasename" => {
                return text(self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
            }
            "userHome" => return Ok(Meaning::Environment { name: "HOME".to_owned(), note: None }),
            "pathSeparator" | "/" => return text("/".to_owned()),
            _ => {}
        }
        if let Some(id) = inner.strip_prefix("input:") {
            return Ok(input(id));
        }
        let (name, default) = match inner.strip_prefix("env:") {
            Some(name) => (name, None),
            None => match inner.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inner, None),
            },
        };
        if !is_variable(name) {
            return Err(BadText {
                message: format!("`${{{}}}` is known to the client only", inner.escape_debug()),
                hint: "write its value, or `${env:NAME}`".to_owned(),
            });
        }
        match default {
            Some(default) if (self.variables)(name).is_none() => text(default.to_owned()),
            _ => Ok(Meaning::Environment { name: name.to_owned(), note: None }),
        }
    }
}

/// VS Code asks the user for `${input:ID}`; here it is the variable that its name suggests.
fn input(id: &str) -> Meaning {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
    let mut name: String = id.chars().map(letter).collect();
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        name.insert_str(0, "INPUT_");
    }
    let note =
        format!("`${{input:{}}}` is what VS Code asks for; here it is read from the environment variable `{name}`", id.escape_debug());
    Meaning::Environment { name, note: Some(note) }
}

fn is_variable(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}
