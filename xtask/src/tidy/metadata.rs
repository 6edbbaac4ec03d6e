//! What cargo says about the crates of this workspace.

use serde::Deserialize;

use crate::repository::{Outcome, Repository};
use crate::step;

/// The workspace's crates, as `cargo metadata --no-deps` gives them.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
}

/// One crate of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One dependency as a crate's manifest declares it.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Absent for an ordinary one; `dev` or `build` otherwise.
    pub(crate) kind: Option<String>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn read(repository: &Repository) -> Outcome<Self> {
        let text = step::output(repository.cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Outcome<Self> {
        serde_json::from_str(text).map_err(|error| format!("cargo metadata is not understood: {error}"))
    }

    /// A workspace of one crate, for tests of rules.
    #[cfg(test)]
    pub(crate) fn of_one(package: &str, dependencies: &[&str]) -> Self {
        let dependencies = dependencies.iter().map(|name| Dependency { name: (*name).to_owned(), kind: None }).collect();
        Self { packages: vec![Package { name: package.to_owned(), dependencies }] }
    }
}

impl Package {
    /// The crate's folder name: `sallyport-policy` lies in `crates/policy`, the program `sallyport` in `crates/cli`.
    pub(crate) fn short_name(&self) -> &str {
        match self.name.strip_prefix("sallyport-") {
            Some(short) => short,
            None if self.name == "sallyport" => "cli",
            None => &self.name,
        }
    }

    /// What is linked into the shipped crate.
    pub(crate) fn shipped_dependencies(&self) -> impl Iterator<Item = &Dependency> {
        self.dependencies.iter().filter(|dependency| dependency.kind.is_none())
    }
}
