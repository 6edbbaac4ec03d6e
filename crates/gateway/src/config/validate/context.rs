//! What every check needs to know: where the configuration lies, and the environment.

use std::path::{Path, PathBuf};

use sallyport_sandbox::Isolation;
use sallyport_secrets::SecretReference;

use crate::config::diagnostic::{Diagnostic, Report};
use crate::config::model::Value;
use crate::config::template::{self, BadText};
use crate::config::{Variables, plain_secret};
use crate::plan::{Origin, Part, SecretFile, Template};

/// Where a configuration lies, and the variables of the environment.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) origin: &'a Origin,
    pub(crate) variables: &'a Variables,
    /// The least boundary of every program, if it is written.
    pub(crate) min_isolation: Option<Isolation>,
    /// The tenant whose tables are checked.
    pub(crate) tenant: Option<&'a str>,
    /// Whether somebody signs certificates for its callers, or for those of the file itself.
    pub(crate) has_client_ca: bool,
}

impl Context<'_> {
    /// The user's home folder.
    fn home(&self) -> Option<PathBuf> {
        (self.variables)("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
    }

    /// The path `text`, written at the key `path`: absolute, `~/` replaced.
    pub(crate) fn path(&self, path: &str, text: &str) -> Result<PathBuf, Diagnostic> {
        let wrong = |message: &str, hint: &str| Err(Diagnostic::new(path, message).hint(hint));
        if text.is_empty() || text.contains('\0') {
            return wrong("the path is empty or has a NUL in it", "write `.` for the folder of this configuration");
        }
        let Some(rest) = text.strip_prefix('~') else { return Ok(self.origin.absolute(Path::new(text))) };
        match (self.home(), rest.strip_prefix('/').unwrap_or(rest)) {
            (None, _) => wrong("`~` cannot be replaced, because HOME is not set", "write the path in full"),
            (Some(home), "") => Ok(home),
            (Some(home), inner) if rest.starts_with('/') => Ok(home.join(inner)),
            _ => wrong("`~` stands for your own home folder only", "write the path in full"),
        }
    }

    /// Whether `folder` holds everything the user has: the home folder, or one around it.
    pub(crate) fn is_home(&self, folder: &Path) -> bool {
        self.home().is_some_and(|home| home.starts_with(folder))
    }

    /// The value written at the key `path`.
    pub(crate) fn value(&self, path: &str, value: &Value, report: &mut Report) -> Option<Template> {
        self.template(path, template::of_value(value), report)
    }

    /// The text written at the key `path`.
    pub(crate) fn text(&self, path: &str, text: &str, report: &mut Report) -> Option<Template> {
        self.template(path, template::of_text(text), report)
    }

    /// Anchors the references of a template, and warns of those that lead nowhere.
    fn template(&self, path: &str, template: Result<Template, BadText>, report: &mut Report) -> Option<Template> {
        let template = report.take(template.map_err(|bad| Diagnostic::new(path, bad.message).hint(bad.hint)))?;
        if template.parts().iter().any(|part| matches!(part, Part::Text(text) if text.contains('\0'))) {
            report.error(Diagnostic::new(path, "the text has a NUL in it"));
            return None;
        }
        let anchored = template.parts().iter().map(|part| match part {
            Part::Text(text) => Part::Text(text.clone()),
            Part::Secret(reference) => {
                let reference = reference.clone().within(&self.origin.folder);
                self.look_for(path, &reference, "the server cannot start", report);
                Part::Secret(reference)
            }
        });
        Some(Template::new(anchored.collect()))
    }

    /// Warns of a reference to a variable that is not set, and notes one to a file, which is looked for later; `consequence` says what does
    /// not work for so long.
    pub(crate) fn look_for(&self, path: &str, reference: &SecretReference, consequence: &'static str, report: &mut Report) {
        let written = reference.to_string();
        let Some(name) = written.strip_prefix("env:") else {
            let reference = reference.clone().within(&self.origin.folder);
            return report.secret_files.push(SecretFile { path: path.to_owned(), reference, consequence });
        };
        if (self.variables)(name).is_none() {
            report.warn(
                Diagnostic::new(path, format!("the environment variable `{name}` is not set"))
                    .hint(format!("{consequence} until it is set where the gateway is started")),
            );
        }
    }

    /// Warns of a secret that stands in the file itself.
    pub(crate) fn warn_of_plain_secret(&self, path: &str, name: &str, value: &Template, report: &mut Report) {
        if value.as_text().is_some_and(|text| plain_secret::is_likely(name, text)) {
            report.warn(
                Diagnostic::new(path, "this looks like a secret in plain text")
                    .hint("write it to a file that only you may read, and put `file:PATH` here; or `env:NAME`"),
            );
        }
    }
}
