//! Staging, committing, branching.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;

use crate::caller::Caller;
use crate::repository::Scratch;

#[test]
fn what_is_staged_becomes_a_commit() {
    let scratch = Scratch::with(&[&[("keep", "1\n"), ("gone/x", "1\n"), (".gitignore", "*.log\n")]]);
    let caller = Caller::git(scratch.path(), true);
    assert!(caller.err("commit", json!({ "message": "nothing" })).contains("nothing is staged"));
    scratch.write(&[("new/run.sh", "#!/bin/sh\n"), ("noise.log", ""), ("keep", "2\n")]);
    fs::set_permissions(scratch.path().join("new/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("keep", scratch.path().join("new/link")).unwrap();
    fs::remove_dir_all(scratch.path().join("gone")).unwrap();
    let added = caller.ok("add", json!({ "paths": ["new", "gone"] })).structured;
    assert_eq!(added["staged"], json!(["gone/x", "new/link", "new/run.sh"]));
    let commit = caller.ok("commit", json!({ "message": "  Second\n\nbody\n" })).structured;
    assert_eq!((&commit["branch"], &commit["commit"]["summary"]), (&json!("main"), &json!("Second")));
    let tree = scratch.head().tree().unwrap();
    assert_eq!(tree.get_path("new/run.sh".as_ref()).unwrap().filemode(), 0o100_755);
    assert_eq!(tree.get_path("new/link".as_ref()).unwrap().filemode(), 0o120_000);
    assert!(tree.get_path("gone/x".as_ref()).is_err());
    assert_eq!(scratch.head().author().email().unwrap(), "ada@example.com");
    assert_eq!(caller.ok("status", json!({})).structured["entries"], json!([{ "path": "keep", "unstaged": "modified" }]));
    assert_eq!(caller.ok("add", json!({ "paths": ["."] })).structured["staged"], json!(["keep"]));
}

#[test]
fn wrong_paths_and_messages_are_refused() {
    let scratch = Scratch::with(&[&[("a", "1\n")]]);
    let caller = Caller::git(scratch.path(), true);
    assert!(caller.err("add", json!({ "paths": ["none"] })).contains("there is no `none`"));
    assert!(caller.err("add", json!({ "paths": ["../x"] })).contains("not below"));
    assert!(caller.err("add", json!({ "paths": [".git/config"] })).contains("no file of the work tree"));
    assert!(caller.err("add", json!({ "paths": [] })).starts_with("argument `paths`"));
    assert!(caller.err("add", json!({ "paths": ["*"] })).contains("there is no `*`"), "a path, not a pattern");
    assert!(caller.err("commit", json!({ "message": " \n" })).starts_with("argument `message`"));
    assert!(caller.err("commit", json!({ "message": "x".repeat(70_000) })).starts_with("argument `message`"));
}

#[test]
fn line_ends_are_stored_as_the_repository_wants_them() {
    let scratch = Scratch::with(&[&[(".gitattributes", "*.txt text\n")]]);
    scratch.write(&[("a.txt", "one\r\ntwo\r\n")]);
    let caller = Caller::git(scratch.path(), true);
    caller.ok("add", json!({ "paths": ["a.txt"] }));
    caller.ok("commit", json!({ "message": "text" }));
    let entry = scratch.head().tree().unwrap().get_path("a.txt".as_ref()).unwrap();
    assert_eq!(scratch.repository.find_blob(entry.id()).unwrap().content(), b"one\ntwo\n");
    assert_eq!(caller.ok("status", json!({})).structured["total"], 0);
}

#[test]
fn the_first_commit_makes_the_branch() {
    let scratch = Scratch::new();
    scratch.write(&[("a", "1\n")]);
    let caller = Caller::git(scratch.path(), true);
    caller.ok("add", json!({ "paths": ["a"] }));
    assert_eq!(caller.ok("commit", json!({ "message": "first" })).structured["branch"], "main");
    assert_eq!(scratch.head().parent_count(), 0);
}

#[test]
fn no_hook_is_run() {
    let scratch = Scratch::with(&[&[("a", "1\n")]]);
    let proof = scratch.path().join("proof");
    for hook in ["pre-commit", "commit-msg", "post-commit", "post-checkout", "reference-transaction"] {
        let path = scratch.path().join(".git/hooks").join(hook);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\ntouch {}\nexit 1\n", proof.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    scratch.write(&[("a", "2\n"), (".gitattributes", "a filter=evil diff=evil\n")]);
    let mut config = scratch.repository.config().unwrap();
    let program = format!("touch {}", proof.display());
    for key in
        ["filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "diff.evil.command", "diff.evil.textconv", "core.fsmonitor"]
    {
        config.set_str(key, &program).unwrap();
    }
    let caller = Caller::git(scratch.path(), true);
    caller.ok("diff", json!({}));
    caller.ok("status", json!({}));
    caller.ok("add", json!({ "paths": ["."] }));
    caller.ok("commit", json!({ "message": "second" }));
    caller.ok("checkout", json!({ "target": "HEAD~1" }));
    assert!(!proof.exists());
}

#[test]
fn a_merge_is_ended_by_a_commit_once_its_conflicts_are_resolved() {
    let scratch = Scratch::with(&[&[("a", "base\n")]]);
    let base = scratch.head().id();
    let ours = {
        scratch.write(&[("a", "ours\n")]);
        scratch.commit("ours")
    };
    scratch.repository.branch("theirs", &scratch.repository.find_commit(base).unwrap(), false).unwrap();
    let caller = Caller::git(scratch.path(), true);
    caller.ok("checkout", json!({ "target": "theirs" }));
    let theirs = {
        scratch.write(&[("a", "theirs\n")]);
        scratch.commit("theirs")
    };
    caller.ok("checkout", json!({ "target": "main" }));
    let other = scratch.repository.find_annotated_commit(theirs).unwrap();
    scratch.repository.merge(&[&other], None, None).unwrap();

    let status = caller.ok("status", json!({}));
    assert_eq!(status.structured["operation"], "merge");
    assert_eq!(status.structured["entries"], json!([{ "path": "a", "unstaged": "conflicted" }]));
    assert!(caller.ok("diff", json!({})).text().contains("unmerged path a"));
    assert!(caller.err("commit", json!({ "message": "merge" })).contains("conflicts"));
    assert!(caller.err("checkout", json!({ "target": "theirs" })).contains("a merge is under way"));
    scratch.write(&[("a", "both\n")]);
    caller.ok("add", json!({ "paths": ["a"] }));
    caller.ok("commit", json!({ "message": "merge" }));
    let parents: Vec<_> = scratch.head().parent_ids().collect();
    assert_eq!(parents, [ours, theirs]);
    let after = caller.ok("status", json!({})).structured;
    assert_eq!((after.get("operation"), &after["total"]), (None, &json!(0)));
    let path_log = caller.ok("log", json!({ "path": "a" })).structured;
    assert_eq!(path_log["commits"].as_array().unwrap().len(), 4);
}

#[test]
fn branches_are_made_and_switched() {
    let scratch = Scratch::with(&[&[("a", "1\n")], &[("a", "2\n"), ("b", "")]]);
    let caller = Caller::git(scratch.path(), true);
    caller.ok("branch", json!({ "name": "topic/x", "start": "HEAD~1" }));
    assert!(caller.err("branch", json!({ "name": "topic/x" })).contains("already"));
    assert!(caller.err("branch", json!({ "name": "a..b" })).contains("no name for a branch"));
    assert_eq!(caller.ok("checkout", json!({ "target": "topic/x" })).structured["branch"], "topic/x");
    assert_eq!(fs::read_to_string(scratch.path().join("a")).unwrap(), "1\n");
    assert!(!scratch.path().join("b").exists());
    assert!(caller.ok("checkout", json!({ "target": "main~1" })).structured.get("branch").is_none());
    assert!(caller.err("checkout", json!({ "target": "none" })).contains("there is no `none`"));
}

#[test]
fn a_checkout_never_loses_anything() {
    let scratch = Scratch::with(&[&[("a", "1\n"), (".gitignore", "ignored\n")], &[("a", "2\n"), ("b", "2\n")]]);
    let caller = Caller::git(scratch.path(), true);
    scratch.write(&[("a", "mine\n")]);
    assert!(caller.err("checkout", json!({ "target": "HEAD~1" })).contains("would lose what they hold now: a"));
    assert_eq!(fs::read_to_string(scratch.path().join("a")).unwrap(), "mine\n");
    scratch.write(&[("a", "2\n")]);
    caller.ok("checkout", json!({ "target": "HEAD~1" }));
    scratch.write(&[("b", "untracked\n")]);
    assert!(caller.err("checkout", json!({ "target": "main" })).contains('b'));
    assert_eq!(fs::read_to_string(scratch.path().join("b")).unwrap(), "untracked\n");
}
