//! Invariant 2, second half: only `sandbox` starts processes, the init of a microVM in its own machine, and what does not ship: `testkit`, `xtask` and tests.

use super::Finding;
use super::source::SourceFile;

/// Looks for the standard library's command type and tokio's twin in what ships.
pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    match file.shipped_crate() {
        None | Some("sandbox" | "guest" | "testkit") => return Vec::new(),
        Some(_) => {}
    }
    file.named_paths()
        .iter()
        .filter(|path| path.goes_through(&["process", "Command"]) || path.starts_with(&["tokio", "process"]))
        .map(|path| Finding::at(file, path.line, "only the sandbox crate starts processes"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&SourceFile::parse(Path::new(path), text).expect("the sample parses")).len()
    }

    #[test]
    fn planted_commands_are_found() {
        for planted in [
            "use std::process::{Command, Stdio};",
            "use std::process; fn f() { process::Command::new(\"sh\") }",
            "fn f() { tokio::process::Command::new(\"sh\") }",
        ] {
            assert_eq!(count("crates/gateway/src/upstream.rs", planted), 1, "{planted}");
            assert_eq!(count("crates/sandbox/src/instance.rs", planted), 0, "{planted}");
            assert_eq!(count("crates/gateway/tests/upstream.rs", planted), 0, "{planted}");
        }
    }

    #[test]
    fn other_commands_and_exit_codes_are_left_alone() {
        assert_eq!(count("crates/cli/src/main.rs", "use clap::Command; use std::process::ExitCode;"), 0);
    }
}
