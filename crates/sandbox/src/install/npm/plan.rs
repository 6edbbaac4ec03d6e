//! npm's own lock (`package-lock.json`), without what is of one machine or one registry alone.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::super::exact;
use super::super::locked::{Artefact, contradicts};
use super::super::{Error, Package};

/// What npm notes of a package that neither installing nor running it needs.
const NOT_NEEDED: &[&str] = &["deprecated", "funding", "license"];

/// A `package-lock.json` of version 3.
pub(super) struct Plan(Map<String, Value>);

impl Plan {
    /// What npm has written in `project`.
    pub(super) fn made_by_npm(text: &str, project: &Path) -> Result<Self, Error> {
        let mut plan = Self::read(text)?;
        for package in plan.packages_mut() {
            NOT_NEEDED.iter().for_each(|key| drop(package.remove(*key)));
            for dependency in package.get_mut("dependencies").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
                make_absolute(dependency, project);
            }
            let Some(resolved) = package.get_mut("resolved") else { continue };
            make_absolute(resolved, project);
            // Where a registry has it is for the settings to say, each time.
            if resolved.as_str().is_some_and(|url| url.starts_with("http")) {
                package.remove("resolved");
            }
        }
        plan.check()?;
        Ok(plan)
    }

    /// What a lock holds. It may be anybody's: what it says must not lead past the registry.
    pub(super) fn of_lock(text: &str) -> Result<Self, Error> {
        let plan = Self::read(text).map_err(|_| contradicts("its plan is none of npm's"))?;
        plan.check()?;
        Ok(plan)
    }

    fn read(text: &str) -> Result<Self, Error> {
        let plan: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| Error::new(format!("npm's lock cannot be read: {error}")))?;
        let fits = plan.get("lockfileVersion") == Some(&Value::from(3)) && plan.get("packages").is_some_and(Value::is_object);
        fits.then_some(Self(plan)).ok_or_else(|| Error::new("npm's lock is not of version 3").with_hint("install npm 7 or newer"))
    }

    /// Refuses what is not a package of a registry or in a file that the requirements name, or has no digest.
    fn check(&self) -> Result<(), Error> {
        for (path, package) in self.installed() {
            let name = name_at(path).escape_debug();
            let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_))) && path.starts_with("node_modules/");
            let resolved = package.get("resolved").and_then(Value::as_str);
            if !inside || package.contains_key("link") || resolved.is_some_and(|place| !self.is_named(place)) {
                return Err(Error::new(format!("{name} is not a package of the registry"))
                    .with_hint("packages that depend on folders, addresses or repositories are not installed"));
            }
            if package.get("integrity").and_then(Value::as_str).is_none() && package.get("inBundle") != Some(&Value::Bool(true)) {
                return Err(Error::new(format!("the registry tells no digest of {name}")));
            }
        }
        Ok(())
    }

    /// Whether a file is one that was asked for.
    fn is_named(&self, place: &str) -> bool {
        self.root().and_then(|root| root.get("dependencies")?.as_object()).is_some_and(|wanted| wanted.values().any(|value| value == place))
    }

    /// Refuses a plan of something else than `requirements`: a lock could say of any program that it is what was asked for.
    pub(super) fn is_of(&self, requirements: &[String]) -> Result<(), Error> {
        let fits = |requirement: &&String| self.wanted().any(|(name, spec)| self.is_met(requirement, name, spec));
        let asked = |(name, spec): (&String, &Value)| requirements.iter().any(|requirement| self.is_met(requirement, name, spec));
        match requirements.iter().find(|requirement| !fits(requirement)) {
            Some(missing) => Err(contradicts(&format!("its plan is not of {}", missing.escape_debug()))),
            None => match self.wanted().find(|wanted| !asked(*wanted)) {
                Some((other, _)) => Err(contradicts(&format!("its plan is of {}, which was not asked for", other.escape_debug()))),
                None => Ok(()),
            },
        }
    }

    /// Whether what the plan wants under `name`, and installs there, is what a requirement says.
    fn is_met(&self, requirement: &str, name: &str, spec: &Value) -> bool {
        let found = self.installed().find(|(path, _)| path.strip_prefix("node_modules/") == Some(name));
        let (Some((_, package)), Some(spec)) = (found, spec.as_str()) else { return false };
        let of_file = package.get("resolved").and_then(Value::as_str);
        if requirement.starts_with('/') {
            return spec == file(Path::new(requirement)) && of_file == Some(spec);
        }
        let (alias, real) = requirement.split_once("@npm:").map_or((None, requirement), |(alias, real)| (Some(alias), real));
        let real = without_version(real);
        let real_spec = spec.strip_prefix("npm:");
        let leads_there = match alias {
            Some(alias) => name == alias && real_spec.map(without_version) == Some(real),
            None => name == real && !spec.contains(':'),
        };
        let version = package.get("version").and_then(Value::as_str).unwrap_or_default();
        leads_there
            && of_file.is_none()
            && exact::fits(requirement, "@", version)
            && package.get("name").map_or(Some(name), Value::as_str) == Some(real)
    }

    fn packages(&self) -> impl Iterator<Item = (&String, &Map<String, Value>)> {
        let packages = self.0.get("packages").and_then(Value::as_object).into_iter().flatten();
        packages.filter_map(|(path, package)| Some((path, package.as_object()?)))
    }

    fn packages_mut(&mut self) -> impl Iterator<Item = &mut Map<String, Value>> {
        self.0.get_mut("packages").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut)
    }

    fn root(&self) -> Option<&Map<String, Value>> {
        self.packages().find(|(path, _)| path.is_empty()).map(|(_, root)| root)
    }

    fn installed(&self) -> impl Iterator<Item = (&String, &Map<String, Value>)> {
        self.packages().filter(|(path, _)| !path.is_empty())
    }

    /// The names of what was asked for.
    pub(super) fn roots(&self) -> impl Iterator<Item = &str> {
        self.wanted().map(|(name, _)| name.as_str())
    }

    /// The same with what npm wrote down of each.
    fn wanted(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.root().and_then(|root| root.get("dependencies")?.as_object()).into_iter().flatten()
    }

    /// The version of the package itself.
    pub(super) fn version(&self, package: &Package) -> Result<String, Error> {
        let asked = package.requirement();
        let named = |name: &&str| {
            package.requirements.len() == 1 || asked == *name || asked.strip_prefix(name).is_some_and(|rest| rest.starts_with('@'))
        };
        let name = self.roots().find(named).unwrap_or_default();
        let found = self.installed().find(|(path, _)| path.strip_prefix("node_modules/") == Some(name));
        let version = found.and_then(|(_, package)| package.get("version")?.as_str());
        version.map(str::to_owned).ok_or_else(|| Error::new("npm does not say which version it is"))
    }

    /// Every package with its digest.
    pub(super) fn artefacts(&self) -> Result<Vec<Artefact>, Error> {
        let mut all = BTreeSet::new();
        for (path, package) in self.installed() {
            let text = |key: &str| package.get(key).and_then(Value::as_str).map(str::to_owned);
            let Some(integrity) = text("integrity") else { continue }; // comes within another
            let name = text("name").unwrap_or_else(|| name_at(path).to_owned());
            let version = text("version").ok_or_else(|| contradicts("a package has no version"))?;
            all.insert(Artefact { name, version, digests: BTreeSet::from([integrity]) });
        }
        Ok(all.into_iter().collect())
    }

    pub(super) fn to_text(&self) -> String {
        format!("{:#}", Value::Object(self.0.clone()))
    }

    /// The `package.json` that this is the lock of.
    pub(super) fn project(&self) -> String {
        let wanted = self.root().and_then(|root| root.get("dependencies").cloned());
        let mut project = Map::from_iter([("private".to_owned(), Value::Bool(true))]);
        project.extend(wanted.map(|wanted| ("dependencies".to_owned(), wanted)));
        Value::Object(project).to_string()
    }
}

/// The name of the package that lies at a path of the tree.
pub(super) fn name_at(path: &str) -> &str {
    path.rsplit_once("node_modules/").map_or(path, |(_, name)| name)
}

/// npm names a file from the project's folder, which is another each time.
fn make_absolute(place: &mut Value, project: &Path) {
    if let Some(path) = place.as_str().and_then(|text| text.strip_prefix("file:")) {
        *place = Value::from(file(&project.join(path)));
    }
}

/// A file as the plan names it.
fn file(path: &Path) -> String {
    let mut absolute = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(absolute.pop()),
            part => absolute.push(part),
        }
    }
    format!("file:{}", absolute.display())
}

/// `[@SCOPE/]NAME` of `[@SCOPE/]NAME[@VERSION]`.
fn without_version(text: &str) -> &str {
    let end = text.char_indices().skip(1).find(|(_, character)| *character == '@').map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn plan(packages: &str) -> Result<Plan, Error> {
        Plan::of_lock(&format!(
            r#"{{"lockfileVersion":3,"packages":{{"":{{"dependencies":{{"a":"^1","b":"file:/p/b.tgz"}}}},{packages}}}}}"#
        ))
    }

    #[test]
    fn a_lock_leads_to_the_registry_and_to_named_files_alone() {
        for (packages, error) in [
            (r#""node_modules/a":{"version":"1.2.0","integrity":"sha512-x"}"#, None),
            (r#""node_modules/b":{"version":"1.0.0","integrity":"sha512-x","resolved":"file:/p/b.tgz"}"#, None),
            (r#""node_modules/a":{"version":"1.2.0"}"#, Some("no digest")),
            (
                r#""node_modules/a":{"version":"1.2.0","integrity":"sha512-x","resolved":"https://evil.example/a.tgz"}"#,
                Some("not a package of the"),
            ),
            (r#""node_modules/a":{"version":"1.2.0","integrity":"sha512-x","resolved":"git+ssh://x"}"#, Some("not a package of the")),
            (r#""node_modules/a":{"version":"1.2.0","integrity":"sha512-x","resolved":"file:/etc/passwd"}"#, Some("not a package of the")),
            (r#""node_modules/a":{"link":true,"resolved":"../x"}"#, Some("not a package of the")),
            (r#""node_modules/../../a":{"version":"1","integrity":"sha512-x"}"#, Some("not a package of the")),
            (r#""/a":{"version":"1","integrity":"sha512-x"}"#, Some("not a package of the")),
        ] {
            let found = plan(packages).err().map(|found| found.to_string());
            assert_eq!(found.is_some(), error.is_some(), "{packages}: {found:?}");
            assert!(error.is_none_or(|error| found.unwrap().contains(error)), "{packages}");
        }
        assert!(Plan::of_lock("[]").is_err() && Plan::of_lock(r#"{"lockfileVersion":1,"packages":{}}"#).is_err());
    }

    #[test]
    fn a_plan_is_of_what_was_asked_for_and_of_nothing_else() {
        let is_of = |wanted: &str, packages: &str, asked: &[&str]| {
            let text = format!(r#"{{"lockfileVersion":3,"packages":{{"":{{"dependencies":{{{wanted}}}}},{packages}}}}}"#);
            let asked: Vec<String> = asked.iter().map(|&text| text.to_owned()).collect();
            Plan::of_lock(&text).unwrap().is_of(&asked).is_ok()
        };
        let (a, evil) = (
            r#""node_modules/a":{"version":"1.0.0","integrity":"sha512-x"}"#,
            r#""node_modules/evil":{"version":"1.0.0","integrity":"sha512-x"}"#,
        );
        let named_evil = |path: &str| format!(r#""node_modules/{path}":{{"name":"evil","version":"1.0.0","integrity":"sha512-x"}}"#);
        for asked in ["a", "a@1", "a@^1.0.0", "a@latest"] {
            assert!(is_of(r#""a":"^1.0.0""#, a, &[asked]), "{asked}");
            assert!(!is_of(r#""evil":"^1.0.0""#, evil, &[asked]), "{asked}");
        }
        assert!(is_of(r#""a":"1.0.0""#, a, &["a@1.0.0"]) && !is_of(r#""a":"2.0.0""#, a, &["a@2.0.0"]));
        assert!(!is_of(r#""a":"^1.0.0""#, a, &["@s/a"]) && !is_of(r#""a":"^1.0.0""#, a, &["a-b"]));
        // The name alone, and something else below it.
        assert!(!is_of(r#""a":"npm:evil@^1.0.0""#, &named_evil("a"), &["a"]));
        assert!(!is_of(r#""a":"^1.0.0""#, &named_evil("a"), &["a"]));
        assert!(!is_of(r#""a":"^1.0.0""#, evil, &["a"]));
        // Several, and one too many.
        let both = format!("{a},{evil}");
        assert!(is_of(r#""a":"1","evil":"1""#, &both, &["a", "evil@1"]));
        assert!(!is_of(r#""a":"1","evil":"1""#, &both, &["a"]) && !is_of(r#""a":"1""#, a, &["a", "b"]));

        let of_alias = |real: &str| format!(r#""node_modules/x":{{"name":"{real}","version":"1.0.0","integrity":"sha512-x"}}"#);
        assert!(is_of(r#""x":"npm:@s/a@^1.0.0""#, &of_alias("@s/a"), &["x@npm:@s/a@1"]));
        assert!(!is_of(r#""x":"npm:evil@^1.0.0""#, &of_alias("evil"), &["x@npm:@s/a@1"]));
        assert!(!is_of(r#""x":"npm:@s/a@^1.0.0""#, &of_alias("evil"), &["x@npm:@s/a"]));
        assert!(!is_of(r#""@s/a":"^1""#, &of_alias("@s/a").replace("/x", "/@s/a"), &["x@npm:@s/a"]));

        let of_file = r#""node_modules/b":{"version":"1.0.0","integrity":"sha512-x","resolved":"file:/p/b.tgz"}"#;
        assert!(is_of(r#""b":"file:/p/b.tgz""#, of_file, &["/p/./b.tgz"]));
        assert!(!is_of(r#""b":"file:/p/b.tgz""#, of_file, &["/p/c.tgz"]) && !is_of(r#""b":"file:/p/b.tgz""#, of_file, &["b"]));
        assert!(!is_of(r#""evil":"file:/p/b.tgz""#, evil, &["/p/b.tgz"]));
    }

    #[test]
    fn what_npm_writes_loses_its_place() {
        let text = r#"{"lockfileVersion":3,"packages":{"":{"dependencies":{"b":"file:../../b.tgz"}},
            "node_modules/a":{"version":"1.2.0","integrity":"sha512-a","resolved":"https://npm.example/a.tgz","license":"MIT"},
            "node_modules/b":{"version":"1.0.0","integrity":"sha512-b","resolved":"file:../../b.tgz"},
            "node_modules/b/node_modules/a":{"name":"@s/a","version":"2.0.0","integrity":"sha512-c"}}}"#;
        let plan = Plan::made_by_npm(text, Path::new("/p/x/y")).unwrap();
        let text = plan.to_text();
        assert!(!text.contains("npm.example") && !text.contains("MIT") && text.contains(r#""resolved": "file:/p/b.tgz""#), "{text}");
        assert_eq!(plan.project(), r#"{"private":true,"dependencies":{"b":"file:/p/b.tgz"}}"#);
        let names: Vec<_> = plan.artefacts().unwrap().into_iter().map(|artefact| artefact.name + " " + &artefact.version).collect();
        assert_eq!(names, ["@s/a 2.0.0", "a 1.2.0", "b 1.0.0"]);
    }
}
