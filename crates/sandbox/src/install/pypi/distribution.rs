//! Names and versions of Python's packages, as files and lists have them.

use super::super::locked::Artefact;

/// One package in one version.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Distribution {
    /// Normalised: what is written in different ways is one package.
    pub(super) name: String,
    pub(super) version: String,
}

impl Distribution {
    /// What the name of a wheel (`NAME-VERSION-….whl`) or of a source distribution (`NAME-VERSION.tar.gz`, `.zip`) says.
    pub(super) fn of_file(file: &str) -> Option<Self> {
        let (name, version) = match file.strip_suffix(".whl") {
            Some(wheel) => {
                let mut parts = wheel.split('-');
                (parts.next()?, parts.next()?)
            }
            None => [".tar.gz", ".zip"].iter().find_map(|end| file.strip_suffix(end))?.rsplit_once('-')?,
        };
        let fits = !name.is_empty() && version.starts_with(|first: char| first.is_ascii_digit());
        fits.then(|| Self { name: normal(name), version: version.to_owned() })
    }

    /// The name that a requirement asks for.
    pub(super) fn asked(requirement: &str) -> String {
        match requirement.rsplit_once('/') {
            Some((_, file)) => Self::of_file(file).map(|found| found.name).unwrap_or_default(),
            None => normal(super::super::recognise::python_name(requirement)),
        }
    }

    /// A requirement of a file as one of the version in it; others as they are.
    pub(super) fn exact(requirement: &str) -> String {
        let of_file = requirement.rsplit_once('/').and_then(|(_, file)| Self::of_file(file));
        of_file.map_or_else(|| requirement.to_owned(), |found| format!("{}=={}", found.name, found.version))
    }
}

/// The one way to write a name (PEP 503).
pub(super) fn normal(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            other => normal.push(other.to_ascii_lowercase()),
        }
    }
    normal
}

/// What uv has written: `NAME==VERSION`, and digests in the lines below it.
pub(super) fn compiled(text: &str) -> Vec<Artefact> {
    let mut found: Vec<Artefact> = Vec::new();
    for word in text.split_whitespace().filter(|word| *word != "\\") {
        if let Some(digest) = word.strip_prefix("--hash=") {
            if let Some(last) = found.last_mut() {
                last.digests.insert(digest.to_owned());
            }
        } else if let Some((name, version)) = word.split_once("==") {
            found.push(Artefact { name: normal(name), version: version.to_owned(), digests: Default::default() });
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_tell_name_and_version() {
        for (file, expected) in [
            ("made_here-1.0-py3-none-any.whl", Some(("made-here", "1.0"))),
            ("rpds_py-2026.9.1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", Some(("rpds-py", "2026.9.1"))),
            ("Some.Package-1.0.tar.gz", Some(("some-package", "1.0"))),
            ("some-package-1.0rc1.zip", Some(("some-package", "1.0rc1"))),
            ("notes.txt", None),
            ("-1.whl", None),
            ("x.whl", None),
        ] {
            let found = Distribution::of_file(file);
            assert_eq!(found.as_ref().map(|found| (found.name.as_str(), found.version.as_str())), expected, "{file}");
        }
        assert_eq!(Distribution::asked("Made_Here[cli]==1"), "made-here");
        assert_eq!(Distribution::asked("/p/made_here-1.0-py3-none-any.whl"), "made-here");
        assert_eq!(Distribution::exact("/p/made_here-1.0-py3-none-any.whl"), "made-here==1.0");
    }

    #[test]
    fn what_uv_compiles_is_read() {
        let found =
            compiled("b==2 \\\n    --hash=sha256:x \\\n    --hash=sha256:y\na_c==1.0 ; python_version >= '3' \\\n    --hash=sha256:z\n");
        let shown: Vec<_> = found.iter().map(|one| format!("{} {} {}", one.name, one.version, one.digests.len())).collect();
        assert_eq!(shown, ["a-c 1.0 1", "b 2 2"]);
    }
}
