//! Dependency arrows between our crates only point downwards, and no crate is a drawer.

use super::Finding;
use super::metadata::{Package, Workspace};

/// Every crate with those it may use; `docs/ARCHITECTURE.md` shows the same table with its reasons.
const ARROWS: &[(&str, &[&str])] = &[
    ("registry", &[]),
    ("address", &[]),
    ("store", &[]),
    ("protocol", &[]),
    ("policy", &["protocol", "registry"]),
    ("telemetry", &["registry"]),
    ("secrets", &["registry", "telemetry"]),
    ("identity", &["address", "policy", "protocol", "secrets", "store", "telemetry"]),
    ("guest", &[]),
    ("sandbox", &["address", "guest", "registry", "telemetry"]),
    ("transport", &["address", "protocol", "telemetry"]),
    ("servers", &["policy", "protocol", "registry", "secrets"]),
    (
        "gateway",
        &["address", "identity", "policy", "protocol", "registry", "sandbox", "secrets", "servers", "store", "telemetry", "transport"],
    ),
    ("cli", &["gateway", "identity", "policy", "protocol", "sandbox", "secrets", "servers", "store", "telemetry", "transport"]),
    ("testkit", &["protocol"]),
    ("xtask", &["protocol", "testkit"]),
];

/// Crate names under which anything could be put.
const DRAWERS: &[&str] = &["core", "common", "utils", "util", "helpers", "manager", "shared", "misc"];

/// Looks at the dependencies that ship; tests may use what they like.
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    workspace.packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Finding> {
    let name = package.short_name();
    if DRAWERS.contains(&name) {
        return vec![Finding::new(name, "a crate of this name becomes a drawer: name its one job")];
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
        return vec![Finding::new(name, "a new crate: add it, with what it may use, to xtask/src/tidy/arrows.rs")];
    };
    package
        .shipped_dependencies()
        .filter_map(|dependency| dependency.name.strip_prefix("sallyport-"))
        .filter(|used| !allowed.contains(used))
        .map(|used| Finding::new(name, format!("must not use {used}: arrows between crates only point downwards")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_upwards_is_found() {
        let findings = check(&Workspace::of_one("sallyport-protocol", &["serde", "sallyport-gateway"]));
        assert_eq!(findings, [Finding::new("protocol", "must not use gateway: arrows between crates only point downwards")]);
    }

    #[test]
    fn a_drawer_and_an_unknown_crate_are_found() {
        assert_eq!(check(&Workspace::of_one("sallyport-utils", &[])).len(), 1);
        assert_eq!(check(&Workspace::of_one("sallyport-novelty", &[])).len(), 1);
    }

    #[test]
    fn an_arrow_downwards_is_fine() {
        assert_eq!(check(&Workspace::of_one("sallyport-transport", &["sallyport-protocol", "hyper"])), []);
    }
}
