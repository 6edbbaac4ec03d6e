//! `docs/reference/isolation.md`, made from the rows that the runs are held to.

use std::fmt::Write as _;

use sallyport_sandbox::attack::{Outcome, ROWS};

use crate::harness::peers;

/// The columns: a back-end each, attacked as root and, but for `oci` and `gvisor`, as an ordinary user.
const COLUMNS: &[&str] = &["os", "landlock", "microvm", "oci", "gvisor", "wasm"];

/// Fails when the page in the repository is another one; writes it instead if `SALLYPORT_BLESS` is set.
pub(crate) fn check() {
    let path = peers::repository().join("docs/reference/isolation.md");
    if std::env::var_os("SALLYPORT_BLESS").is_some() {
        std::fs::write(&path, page()).expect("the docs are writable");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page(), "docs/reference/isolation.md is stale: run `cargo xtask bless`");
}

fn page() -> String {
    let mut page = include_str!("introduction.md").to_owned();
    let titles = COLUMNS.iter().map(|title| format!(" `{title}` |")).collect::<String>();
    let _ = writeln!(page, "| | attack | what is tried | what must stop it |{titles}");
    let _ = writeln!(page, "| --: | --- | --- | --- |{}", " :-: |".repeat(COLUMNS.len()));
    for row in ROWS {
        let marks = COLUMNS.iter().map(|backend| format!(" {} |", mark(row.expected(backend).0))).collect::<String>();
        let _ = writeln!(page, "| {} | **{}** | {} | {} |{marks}", row.number, row.name, row.tries, row.layer);
    }
    page.push_str("\n## What is not stopped\n\n");
    for backend in COLUMNS {
        for row in ROWS {
            if let (outcome, Some(reason)) = row.expected(backend) {
                let what = outcome.word().replace('_', " ");
                let _ = writeln!(page, "- `{backend}`, row {}, {} ({what}): {reason}.", row.number, row.name);
            }
        }
    }
    page.push_str(include_str!("limits.md"));
    page
}

fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Stopped => "●",
        Outcome::Accepted => "○",
        Outcome::NotApplicable => "–",
        Outcome::Open => "✗",
    }
}
