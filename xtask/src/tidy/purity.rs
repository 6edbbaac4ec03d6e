//! Invariant 1: `protocol`, `policy` outside its remote engine, and `threats` do no IO, run on no async runtime and read no clock.

use super::Finding;
use super::metadata::Workspace;
use super::source::{NamedPath, SourceFile};

/// The crates this holds for.
const PURE: &[&str] = &["protocol", "policy", "threats"];

/// The one file of theirs that talks to another process.
const REMOTE_ENGINE: &str = "crates/policy/src/engines/remote.rs";

/// Crates that bring a runtime or IO.
const RUNTIMES: &[&str] = &["tokio", "tokio-util", "async-std", "smol", "hyper", "reqwest", "mio", "cap-std"];

/// Looks at what the pure crates link.
pub(crate) fn check_dependencies(workspace: &Workspace) -> Vec<Finding> {
    let pure = workspace.packages.iter().filter(|package| PURE.contains(&package.short_name()));
    pure.flat_map(|package| {
        package
            .shipped_dependencies()
            .filter(|dependency| RUNTIMES.contains(&dependency.name.as_str()))
            .map(|dependency| Finding::new(package.short_name(), format!("a pure crate must not use {}", dependency.name)))
    })
    .collect()
}

/// Looks at what the source of the pure crates names.
pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    let pure = file.shipped_crate().is_some_and(|name| PURE.contains(&name));
    if !pure || file.path.ends_with(REMOTE_ENGINE) {
        return Vec::new();
    }
    file.named_paths()
        .iter()
        .filter_map(|path| {
            forbidden(path).map(|what| Finding::at(file, path.line, format!("a pure crate must not use {what}: pass it in")))
        })
        .collect()
}

fn forbidden(path: &NamedPath) -> Option<&'static str> {
    let rules: [(&[&str], &str); 4] = [
        (&["tokio"], "tokio"),
        (&["std", "fs"], "the file system"),
        (&["std", "net", "TcpStream"], "the network"),
        (&["std", "process"], "processes"),
    ];
    if let Some((_, what)) = rules.iter().find(|(prefix, _)| path.starts_with(prefix)) {
        return Some(what);
    }
    let network = path.starts_with(&["std", "net"]) && !names_only_an_address(path);
    let clock = path.goes_through(&["Instant", "now"]) || path.goes_through(&["SystemTime", "now"]);
    match (network, clock) {
        (true, _) => Some("the network"),
        (_, true) => Some("the clock"),
        _ => None,
    }
}

/// `std::net::IpAddr` and its like are plain data: no socket is behind them.
fn names_only_an_address(path: &NamedPath) -> bool {
    path.segments.get(2).is_some_and(|name| matches!(name.as_str(), "IpAddr" | "Ipv4Addr" | "Ipv6Addr" | "SocketAddr" | "AddrParseError"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn problems(path: &str, text: &str) -> Vec<String> {
        let file = SourceFile::parse(Path::new(path), text).expect("the sample parses");
        check(&file).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn planted_io_runtime_and_clock_are_found() {
        for planted in [
            "use std::fs::File;",
            "use std::{io, net::TcpListener};",
            "fn f() { tokio::spawn(g()); }",
            "fn f() { let now = std::time::Instant::now(); }",
            "use std::time::SystemTime; fn f() { SystemTime::now() }",
        ] {
            assert_eq!(problems("crates/protocol/src/frame.rs", planted).len(), 1, "{planted}");
        }
    }

    #[test]
    fn a_finding_names_file_and_line() {
        let found = problems("crates/policy/src/engine.rs", "\n\nuse std::fs;");
        assert_eq!(found, ["crates/policy/src/engine.rs:3: a pure crate must not use the file system: pass it in"]);
    }

    #[test]
    fn plain_data_and_other_crates_are_left_alone() {
        assert!(problems("crates/policy/src/engine.rs", "use std::{net::IpAddr, time::Instant};").is_empty());
        assert!(problems("crates/policy/src/engines/remote.rs", "use tokio::net::TcpStream;").is_empty());
        assert!(problems("crates/transport/src/lib.rs", "use std::fs;").is_empty());
    }

    #[test]
    fn a_linked_runtime_is_found() {
        assert_eq!(check_dependencies(&Workspace::of_one("sallyport-policy", &["tokio", "serde"])).len(), 1);
        assert_eq!(check_dependencies(&Workspace::of_one("sallyport-gateway", &["tokio"])).len(), 0);
    }
}
