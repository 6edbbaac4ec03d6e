//! What a package came to: every version and digest, so that the same is installed again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::provenance::Provenance;
use super::{Error, Package, Source};

/// Packages of one installation: the largest public servers have a thousand.
const MOST_ARTEFACTS: usize = 20_000;

/// Bytes of the digest that names an installation: what a lock file says may be hostile, so nobody must find two with one name.
const KEY_BYTES: usize = 16;

/// What one set of requirements came to. Equal ones are the same installation, wherever they are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Where the package comes from.
    pub source: Source,
    /// What was asked for, the package itself first.
    pub requirements: Vec<String>,
    /// The version of the package itself.
    pub version: String,
    /// Scripts of packages were run, or programs built.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scripts: bool,
    /// What the registry says of who made the package itself.
    #[serde(default, skip_serializing_if = "Provenance::is_silent")]
    pub provenance: Provenance,
    /// The digest of what was installed, by platform. Empty where something was built: two builds are not equal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trees: BTreeMap<String, String>,
    /// Every package, in order.
    pub artefacts: Vec<Artefact>,
    /// The package manager's own lock, where it needs one to do the same again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// One package, as the registry has it. Written as `NAME VERSION DIGEST…`: one line of a lock file each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Artefact {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Digests of its file, as the package manager writes them; several where one version has several files.
    pub digests: BTreeSet<String>,
}

impl From<Artefact> for String {
    fn from(Artefact { name, version, digests }: Artefact) -> Self {
        [name, version].into_iter().chain(digests).collect::<Vec<_>>().join(" ")
    }
}

impl TryFrom<String> for Artefact {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut words = text.split(' ').map(str::to_owned);
        let (Some(name), Some(version)) = (words.next(), words.next()) else { return Err("expected `NAME VERSION DIGEST`") };
        Ok(Self { name, version, digests: words.collect() })
    }
}

impl Locked {
    /// Whether this is what `package` came to, and not what it asked for at another time.
    #[must_use]
    pub fn is_of(&self, package: &Package) -> bool {
        self.source == package.source && self.requirements == package.requirements && self.scripts == package.scripts
    }

    /// The name of the installation: a digest of all that goes into it.
    #[must_use]
    pub fn key(&self) -> String {
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            digest.update(text.as_bytes());
            digest.update([0]);
        };
        add(self.source.name());
        add(if self.scripts { "scripts" } else { "" });
        self.requirements.iter().for_each(|requirement| add(requirement));
        for Artefact { name, version, digests } in &self.artefacts {
            [name, version].into_iter().chain(digests).for_each(|text| add(text));
        }
        add(self.plan.as_deref().unwrap_or_default());
        hex(digest.finalize().iter().take(KEY_BYTES))
    }

    /// Refuses what no installation of ours could have written: it comes from a file that anybody may have changed.
    pub(super) fn check(&self) -> Result<(), Error> {
        let plain = |text: &str| {
            let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '@' || first == '_');
            begins && text.chars().all(|character| character.is_ascii_alphanumeric() || "@/._-+!~:=".contains(character))
        };
        let fits = |artefact: &Artefact| {
            let texts = [&artefact.name, &artefact.version].into_iter().chain(&artefact.digests);
            !artefact.digests.is_empty() && texts.into_iter().all(|text| plain(text))
        };
        if self.requirements.is_empty() || !plain(&self.version) || self.artefacts.len() > MOST_ARTEFACTS {
            return Err(contradicts("it is not complete"));
        }
        match self.artefacts.iter().find(|artefact| !fits(artefact)) {
            Some(artefact) => Err(contradicts(&format!("what it says of {} is none", artefact.name.escape_debug()))),
            None => Ok(()),
        }
    }
}

/// A lock that cannot be used as it is.
pub(super) fn contradicts(what: &str) -> Error {
    Error::new(format!("its lock cannot be used: {what}"))
        .with_hint("`sallyport update NAME` locks it anew; look at what changed the lock file")
}

pub(super) fn hex<'b>(bytes: impl Iterator<Item = &'b u8>) -> String {
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn locked(artefact: &str, version: &str) -> Result<Locked, serde_json::Error> {
        serde_json::from_value(serde_json::json!({"source": "pypi", "requirements": ["a"], "version": version, "artefacts": [artefact]}))
    }

    #[test]
    fn an_artefact_is_one_line() {
        let read = locked("a 1.0 sha256:x sha256:y", "1.0").unwrap();
        assert_eq!(read.artefacts[0].digests.len(), 2);
        assert_eq!(String::from(read.artefacts[0].clone()), "a 1.0 sha256:x sha256:y");
        assert!(locked("a", "1.0").is_err());
        assert_ne!(read.key(), locked("a 1.0 sha256:x", "1.0").unwrap().key());
    }

    #[test]
    fn a_lock_that_would_be_read_as_something_else_is_refused() {
        assert!(locked("@s/a 1.0+b sha512-x/y==", "1.0").unwrap().check().is_ok());
        for (artefact, version) in [
            ("-rother 1.0 sha256:x", "1.0"),
            ("a 1.0\n--index-url=x sha256:x", "1.0"),
            ("a 1.0", "1.0"),
            (" 1.0 sha256:x", "1.0"),
            ("a 1.0 sha256:x", "1.0\" }"),
        ] {
            assert!(locked(artefact, version).unwrap().check().is_err(), "{artefact:?} {version:?}");
        }
    }
}
