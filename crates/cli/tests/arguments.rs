//! A rule for an argument, through the program itself.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod harness;

use std::fs;

use serde_json::Value;

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

/// The same with paths below other folders.
fn narrowed(folders: &str) -> String {
    CONFIGURATION.replace("[\"docs\"]", folders)
}

#[test]
fn another_policy_is_asked_about_calls_of_the_past() {
    let project = Project::new(CONFIGURATION);
    fs::create_dir_all(project.path("docs/drafts")).unwrap();
    fs::write(project.path("docs/a.md"), "text").unwrap();
    fs::write(project.path("docs/drafts/b.md"), "text").unwrap();
    let run = |arguments: &[&str]| {
        let output = project.sallyport().args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    for path in ["docs/a.md", "docs/drafts/b.md", "docs/drafts/b.md", "plan.md", "docs/../plan.md"] {
        run(&["call", "files__read_file", &format!("path={path}")]);
    }
    run(&["call", "files__read_file", "path=docs/a.md", "limit=10"]);
    let shadow = |text: &str, more: &[&str]| {
        fs::write(project.path("next.toml"), text).unwrap();
        let (code, told, errors) = run(&[&["policy", "shadow", "next.toml", "--json"], more].concat());
        (code, serde_json::from_str::<Value>(&told).unwrap_or_else(|_| panic!("{told}{errors}")))
    };

    let (code, same) = shadow(CONFIGURATION, &[]);
    assert_eq!((code, &same["differs"], &same["replayed"]), (Some(0), &Value::Bool(false), &Value::from(5)), "{same}");
    assert_eq!(same["not_replayed"]["calls"], 1, "whose argument nobody could understand: {same}");

    let (code, stricter) = shadow(&narrowed("[\"docs/a.md\"]"), &[]);
    let difference = &stricter["differences"][0];
    assert_eq!(
        (code, difference["from"].as_str(), difference["to"].as_str(), difference["calls"].as_u64()),
        (Some(3), Some("allow"), Some("deny"), Some(2)),
        "{stricter}"
    );
    assert_eq!((difference["place"].as_str(), difference["principal"].as_str()), (Some("servers.files.arguments[0]"), Some("local")));

    let (code, looser) = shadow(&narrowed("[\".\"]"), &[]);
    assert_eq!((code, &looser["differences"][0]["to"]), (Some(3), &Value::from("allow")), "{looser}");

    // What nobody declared is in no record, and is not guessed at.
    let limited = format!(
        "{CONFIGURATION}\n[[servers.files.arguments]]\ntools = [\"*\"]\nargument = \"limit\"\noptional = true\nnumber = {{ max = 5 }}"
    );
    let (code, limited) = shadow(&limited, &[]);
    let because = limited["not_replayed"]["because"].as_array().unwrap();
    let named = because.iter().any(|lack| lack["place"] == "servers.files.arguments[1]" && lack["looks_at"] == "`limit`");
    assert!(code == Some(0) && named, "{limited}");

    let (code, told, _) = run(&["policy", "shadow", "next.toml", "--since", "2026-01-01"]);
    assert!(code == Some(0) && told.contains("cannot be replayed") && told.contains("looks at `limit`, which is not recorded"), "{told}");
    let (code, _, errors) = run(&["policy", "shadow", "next.toml", "--audit", "none.jsonl"]);
    assert!(code == Some(1) && errors.contains("none.jsonl") && errors.contains("hint:"), "{errors}");
    // Other gateways' records are none of this configuration's.
    let (code, _, errors) = run(&["policy", "shadow", "other.toml"]);
    assert_eq!(code, Some(64), "{errors}");
    fs::write(project.path("other.toml"), CONFIGURATION.replace("servers.files", "servers.others")).unwrap();
    let (code, _, errors) = run(&["policy", "shadow", "other.toml"]);
    assert!(code == Some(1) && errors.contains("of servers that the configuration does not have"), "{errors}");
}
