//! The rules of `deny.toml` over everything that is linked: licences, duplicates, sources.
//!
//! `cargo deny check` reads the same file and knows more (advisories among it); this needs nothing that is not built with the
//! workspace anyway, so that it runs everywhere `cargo test` does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Deserialize;

use super::Finding;
use super::licence;
use crate::repository::{Outcome, Repository};
use crate::step;

/// What this check uses of `deny.toml`; the rest is for `cargo deny` alone.
#[derive(Debug, Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licences,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
    #[serde(default)]
    exceptions: Vec<LicenceException>,
}

/// One crate that may have licences besides the allowed ones.
#[derive(Debug, Deserialize)]
struct LicenceException {
    #[serde(rename = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    #[serde(default)]
    skip: Vec<Duplicate>,
}

/// An older version that may stand beside the newest one.
#[derive(Debug, Deserialize)]
struct Duplicate {
    #[serde(rename = "crate")]
    specification: String,
    reason: String,
}

/// One crate as `cargo tree` shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Linked {
    name: String,
    version: String,
    /// A path or an address; empty for one from the registry.
    source: String,
    licence: String,
}

/// Checks what is linked for each target of `deny.toml`.
pub(crate) fn check(repository: &Repository) -> Outcome<Vec<Finding>> {
    let text = fs::read_to_string(repository.path("deny.toml")).map_err(|error| format!("could not read deny.toml: {error}"))?;
    let rules: Rules = toml::from_str(&text).map_err(|error| format!("deny.toml: {error}"))?;
    let mut linked = BTreeSet::new();
    for target in &rules.graph.targets {
        let tree = step::output(repository.cargo().args([
            "tree",
            "--workspace",
            "--locked",
            "--edges=normal,build,dev",
            "--prefix=none",
            "--format={p}|{l}",
            "--target",
            target,
        ]))?;
        linked.extend(tree.lines().filter_map(Linked::parse));
    }
    Ok(judge(&rules, &linked))
}

impl Linked {
    /// Reads `name vVERSION (source)|licence`, where the parentheses may also say `(proc-macro)` or `(*)`.
    fn parse(line: &str) -> Option<Self> {
        let (package, licence) = line.split_once('|')?;
        let mut words = package.split_whitespace();
        let name = words.next()?.to_owned();
        let version = words.next()?.strip_prefix('v')?.to_owned();
        let source = words
            .map(|word| word.trim_matches(['(', ')']))
            .find(|word| !matches!(*word, "proc-macro" | "*"))
            .unwrap_or_default()
            .to_owned();
        let licence = licence.trim_end_matches(" (*)").to_owned();
        Some(Self { name, version, source, licence })
    }
}

fn judge(rules: &Rules, linked: &BTreeSet<Linked>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = linked.iter().flat_map(|one| licence_and_source(rules, one)).collect();
    findings.extend(duplicates(&rules.bans, linked));
    findings
}

fn licence_and_source(rules: &Rules, one: &Linked) -> Vec<Finding> {
    let mut findings = Vec::new();
    let place = format!("{} {}", one.name, one.version);
    let mut allowed = rules.licenses.allow.clone();
    for exception in rules.licenses.exceptions.iter().filter(|exception| exception.name == one.name) {
        allowed.extend(exception.allow.iter().cloned());
    }
    if !licence::is_allowed(&one.licence, &allowed) {
        findings.push(Finding::new(&place, format!("licence {:?} is not allowed by deny.toml", one.licence)));
    }
    if one.source.contains("://") {
        findings.push(Finding::new(&place, format!("comes from {}: only the registry is allowed", one.source)));
    }
    findings
}

/// Every crate that is linked in several versions needs all but one of them named, with a reason, in `bans.skip`.
fn duplicates(bans: &Bans, linked: &BTreeSet<Linked>) -> Vec<Finding> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for one in linked {
        versions.entry(&one.name).or_default().insert(&one.version);
    }
    let mut findings = Vec::new();
    for (name, versions) in &versions {
        let unexplained: Vec<&str> =
            versions.iter().copied().filter(|version| !bans.skip.iter().any(|skip| skip.covers(name, version))).collect();
        if unexplained.len() > 1 {
            findings.push(Finding::new(*name, format!("linked in versions {} without a reason in deny.toml", unexplained.join(", "))));
        }
    }
    for skip in &bans.skip {
        let needed =
            versions.iter().any(|(name, versions)| versions.len() > 1 && versions.iter().any(|version| skip.covers(name, version)));
        if !needed || skip.reason.is_empty() {
            findings.push(Finding::new("deny.toml", format!("the exception for {} is not needed or has no reason", skip.specification)));
        }
    }
    findings
}

impl Duplicate {
    /// `name@1.2` covers 1.2 and every 1.2.x.
    fn covers(&self, name: &str, version: &str) -> bool {
        let Some((mine, requirement)) = self.specification.split_once('@') else { return self.specification == name };
        mine == name && version.strip_prefix(requirement).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        [graph]
        targets = ["x86_64-unknown-linux-gnu"]
        [licenses]
        allow = ["MIT", "Apache-2.0"]
        exceptions = [{ crate = "roots", allow = ["CDLA-Permissive-2.0"] }]
        [bans]
        skip = [{ crate = "syn@1", reason = "old-derive still needs it" }]
    "#;

    fn problems(lines: &[&str]) -> Vec<String> {
        let rules: Rules = toml::from_str(RULES).expect("the sample rules parse");
        let linked = lines.iter().filter_map(|line| Linked::parse(line)).collect();
        judge(&rules, &linked).iter().map(ToString::to_string).collect()
    }

    const SOUND: [&str; 4] =
        ["syn v1.0.109|MIT OR Apache-2.0", "syn v2.0.1|MIT (*)", "roots v1.0.0|CDLA-Permissive-2.0", "derive v3.0.0 (proc-macro)|MIT"];

    #[test]
    fn a_sound_tree_has_no_findings() {
        assert_eq!(problems(&SOUND), Vec::<String>::new());
    }

    #[test]
    fn planted_licence_source_and_duplicate_are_found() {
        let mut tree = SOUND.to_vec();
        tree.extend(["bird v1.0.0|GPL-3.0", "fork v0.1.0 (https://example.com/fork#abc)|MIT", "syn v3.0.0|MIT", "mute v1.0.0|"]);
        let found = problems(&tree);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found.iter().any(|problem| problem == "syn: linked in versions 2.0.1, 3.0.0 without a reason in deny.toml"));
    }

    #[test]
    fn an_exception_nobody_needs_is_found() {
        assert_eq!(problems(&["syn v2.0.1|MIT"]), ["deny.toml: the exception for syn@1 is not needed or has no reason"]);
    }
}
