//! A rule for an argument, through the program itself.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod harness;

use std::fs;

use harness::gateway::Project;

const CONFIGURATION: &str = r#"
[servers.files]
builtin = { filesystem = { root = "." } }

[[servers.files.arguments]]
tools = ["read_file"]
argument = "path"
path = { below = ["docs"] }
"#;

#[test]
fn a_call_is_denied_for_its_argument_and_told_why() {
    let project = Project::new(CONFIGURATION);
    fs::create_dir(project.path("docs")).unwrap();
    fs::write(project.path("docs/a.md"), "allowed text").unwrap();
    fs::write(project.path("plan.md"), "other text").unwrap();
    let call = |path: &str| project.sallyport().args(["call", "files__read_file", &format!("path={path}")]).output().unwrap();

    let allowed = call("docs/a.md");
    assert!(allowed.status.success(), "{allowed:?}");
    assert!(String::from_utf8(allowed.stdout).unwrap().contains("allowed text"));

    for path in ["plan.md", "docs/../plan.md"] {
        let denied = call(path);
        let told = String::from_utf8([denied.stdout, denied.stderr].concat()).unwrap();
        assert!(!denied.status.success() && !told.contains("other text"), "{told}");
        assert!(told.contains("denied by `servers.files.arguments[0]`: `path` is a path"), "{told}");
    }
    let audit = fs::read_to_string(project.home().join("../state/sallyport/audit/audit.jsonl")).unwrap();
    assert!(audit.contains("\"rule\":\"servers.files.arguments[0]\""), "{audit}");
}
