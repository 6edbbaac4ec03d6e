//! How two installations differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::locked::Locked;

/// Files that are named; the others are counted.
const MOST_NAMED: usize = 50;

/// What another version changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The version of the package itself, before.
    pub from: String,
    /// The version of the package itself, afterwards.
    pub to: String,
    /// The packages of the tree that are others.
    pub packages: Vec<Moved>,
    /// How many files are new.
    pub files_added: usize,
    /// How many files are gone.
    pub files_removed: usize,
    /// How many files have another content.
    pub files_changed: usize,
    /// The first 50 of these files, each with `+`, `-` or `~` before it.
    pub files: Vec<String>,
}

/// One package of the tree that is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Its name.
    pub name: String,
    /// Its versions before; empty if it is new. With a `*`: the same version with another digest.
    pub from: String,
    /// Its versions afterwards; empty if it is gone.
    pub to: String,
}

impl Change {
    pub(super) fn between(old: &Locked, new: &Locked, before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) -> Self {
        let added = after.keys().filter(|path| !before.contains_key(*path));
        let removed = before.keys().filter(|path| !after.contains_key(*path));
        let changed = after.iter().filter(|(path, digest)| before.get(*path).is_some_and(|old| old != *digest)).map(|(path, _)| path);
        let (added, removed, changed): (Vec<_>, Vec<_>, Vec<_>) = (added.collect(), removed.collect(), changed.collect());
        let named = [('+', &added), ('-', &removed), ('~', &changed)];
        let named = named.iter().flat_map(|(mark, paths)| paths.iter().map(move |path| format!("{mark}{}", path.display())));
        Self {
            from: old.version.clone(),
            to: new.version.clone(),
            packages: packages(old, new),
            files: named.take(MOST_NAMED).collect(),
            files_added: added.len(),
            files_removed: removed.len(),
            files_changed: changed.len(),
        }
    }
}

fn packages(old: &Locked, new: &Locked) -> Vec<Moved> {
    let names: BTreeSet<&str> = old.artefacts.iter().chain(&new.artefacts).map(|artefact| artefact.name.as_str()).collect();
    let of = |locked: &Locked, name: &str| locked.artefacts.iter().filter(|artefact| artefact.name == name).cloned().collect::<Vec<_>>();
    let versions = |of: &[super::Artefact]| of.iter().map(|artefact| artefact.version.as_str()).collect::<Vec<_>>().join(", ");
    let differs = |name: &str| {
        let (before, after) = (of(old, name), of(new, name));
        let (from, to) = (versions(&before), versions(&after));
        let to = if from == to { format!("{to}*") } else { to };
        (before != after).then(|| Moved { name: name.to_owned(), from, to })
    };
    names.into_iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Artefact, Source};
    use super::*;

    fn locked(version: &str, artefacts: &[(&str, &str, &str)]) -> Locked {
        let artefact = |(name, version, digest): &(&str, &str, &str)| Artefact {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            digests: BTreeSet::from([(*digest).to_owned()]),
        };
        Locked {
            source: Source::Npm,
            requirements: vec!["a".to_owned()],
            version: version.to_owned(),
            scripts: false,
            provenance: super::super::Provenance::default(),
            trees: BTreeMap::new(),
            artefacts: artefacts.iter().map(artefact).collect(),
            plan: None,
        }
    }

    fn files(files: &[(&str, &str)]) -> BTreeMap<PathBuf, String> {
        files.iter().map(|(path, digest)| (PathBuf::from(path), (*digest).to_owned())).collect()
    }

    #[test]
    fn packages_and_files_that_differ_are_told() {
        let old = locked("1.0", &[("a", "1.0", "x"), ("b", "1.0", "x"), ("c", "1.0", "x"), ("d", "1.0", "x")]);
        let new = locked("1.1", &[("a", "1.1", "y"), ("b", "1.0", "y"), ("d", "1.0", "x"), ("e", "2.0", "x")]);
        let change =
            Change::between(&old, &new, &files(&[("p", "1"), ("q", "1"), ("r", "1")]), &files(&[("p", "1"), ("q", "2"), ("s", "1")]));
        let moved: Vec<String> = change.packages.iter().map(|moved| format!("{} {}->{}", moved.name, moved.from, moved.to)).collect();
        assert_eq!(moved, ["a 1.0->1.1", "b 1.0->1.0*", "c 1.0->", "e ->2.0"]);
        assert_eq!((change.files_added, change.files_removed, change.files_changed), (1, 1, 1));
        assert_eq!(change.files, ["+s", "-r", "~q"]);
    }
}
