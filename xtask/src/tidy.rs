//! `cargo xtask tidy`: the invariants of `docs/ARCHITECTURE.md` that a program can see, and the rules of `deny.toml`.
//!
//! Each rule is a file of its own with a function from what it looks at to its findings, so that its tests can hand it a planted
//! violation.

mod arrows;
mod dependencies;
mod failures;
mod licence;
mod metadata;
mod processes;
mod purity;
mod secret;
mod source;
mod subject;
mod token;
mod unsafety;

use std::fmt;

use crate::repository::{Outcome, Repository};
use metadata::Workspace;
use source::SourceFile;

/// One violation: where, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    place: String,
    problem: String,
}

impl Finding {
    fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }

    fn at(file: &SourceFile, line: usize, problem: impl Into<String>) -> Self {
        Self::new(format!("{}:{line}", file.path.display()), problem)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.problem)
    }
}

/// Checks every rule and reports all findings at once.
pub(crate) fn run(repository: &Repository) -> Outcome {
    let findings = findings(repository)?;
    for finding in &findings {
        println!("    {finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(format!("tidy found {count} violation(s)")),
    }
}

fn findings(repository: &Repository) -> Outcome<Vec<Finding>> {
    let workspace = Workspace::read(repository)?;
    let mut findings = arrows::check(&workspace);
    findings.extend(purity::check_dependencies(&workspace));
    for path in repository.rust_files()? {
        let file = SourceFile::read(repository, &path)?;
        findings.extend(purity::check(&file));
        findings.extend(unsafety::check(&file));
        findings.extend(processes::check(&file));
        findings.extend(token::check(&file));
        findings.extend(secret::check(&file));
        findings.extend(failures::check(&file));
        findings.extend(subject::check(&file));
    }
    findings.extend(dependencies::check(repository)?);
    findings.sort();
    findings.dedup();
    Ok(findings)
}
