//! The options before a package, by a table for each command.

use super::super::Error;
use super::INSTALL_YOURSELF;

/// What a command's options mean. Options that are in none of the lists are refused.
pub(super) struct Dialect<'a> {
    pub(super) command: &'a str,
    /// The package, in place of the first word.
    pub(super) package: &'a [&'a str],
    /// Further packages.
    pub(super) with: &'a [&'a str],
    /// Without meaning here.
    pub(super) ignored: &'a [&'a str],
    /// The same, with a value.
    pub(super) ignored_with_value: &'a [&'a str],
    /// Known, and why they cannot be met.
    pub(super) refused: &'a [(&'a [&'a str], &'a str)],
    /// Options may stand anywhere before `--`, as in `npm exec`; else the first word ends them.
    pub(super) anywhere: bool,
}

/// A command line, understood.
#[derive(Default)]
pub(super) struct Understood<'a> {
    pub(super) packages: Vec<&'a str>,
    pub(super) with: Vec<&'a str>,
    /// What is not an option.
    pub(super) rest: Vec<&'a str>,
}

impl Dialect<'_> {
    pub(super) fn understand<'a>(&self, words: &[&'a str]) -> Result<Understood<'a>, Error> {
        let mut understood = Understood::default();
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            if word == "--" {
                understood.rest.extend(words.by_ref());
            } else if !word.starts_with('-') || word == "-" {
                understood.rest.push(word);
                if !self.anywhere {
                    understood.rest.extend(words.by_ref());
                }
            } else {
                self.option(word, &mut words, &mut understood)?;
            }
        }
        Ok(understood)
    }

    fn option<'a>(&self, word: &'a str, words: &mut impl Iterator<Item = &'a str>, understood: &mut Understood<'a>) -> Result<(), Error> {
        let (name, value) = match word.split_once('=').filter(|_| word.starts_with("--")) {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        if self.ignored.contains(&name) {
            return Ok(());
        }
        let mut value = || {
            let value = value.or_else(|| words.next()).filter(|value| !value.is_empty());
            value.ok_or_else(|| Error::new(format!("`{}` option {name} needs a value", self.command)))
        };
        if self.package.contains(&name) {
            understood.packages.push(value()?);
        } else if self.with.contains(&name) {
            understood.with.push(value()?);
        } else if self.ignored_with_value.contains(&name) {
            value()?;
        } else {
            return Err(self.refuse(name));
        }
        Ok(())
    }

    fn refuse(&self, name: &str) -> Error {
        let why = self.refused.iter().find(|(names, _)| names.contains(&name)).map(|(_, why)| (*why).to_owned());
        let why = why.unwrap_or_else(|| format!("leave it out; or {INSTALL_YOURSELF}"));
        Error::new(format!("`{}` option {name} cannot be met: the package is installed first, then run by itself", self.command))
            .with_hint(why)
    }
}
