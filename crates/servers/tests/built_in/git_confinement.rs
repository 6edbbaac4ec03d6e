//! Hostile repositories: nothing outside is read or written, nothing grows without bound.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use sallyport_protocol::Method;
use sallyport_servers::{BuildError, BuiltInConfig};
use serde_json::json;

use crate::caller::Caller;
use crate::repository::{Scratch, init};

const CANARY: &str = "canary-9c1e: must never be read";

fn refused(root: &Path, write: bool) -> BuildError {
    let config: BuiltInConfig = serde_json::from_value(json!({ "git": { "root": root, "write": write } })).unwrap();
    config.build().err().expect("it was opened")
}

#[test]
fn a_folder_without_repository_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refused(folder.path(), false).message.contains("is not in a git repository"));
    assert!(!sallyport_servers::git::in_work_tree(folder.path()));
    fs::create_dir(folder.path().join(".git")).unwrap();
    assert!(refused(folder.path(), false).message.contains("no readable git repository"));
}

#[test]
fn a_git_file_cannot_name_a_repository_that_knows_nothing_of_it() {
    let secret = Scratch::with(&[&[("secret", CANARY)]]);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".git"), format!("gitdir: {}/.git\n", secret.path().display())).unwrap();
    assert!(refused(folder.path(), false).message.contains("does not know of this folder"));
    fs::remove_file(folder.path().join(".git")).unwrap();
    symlink(secret.path().join(".git"), folder.path().join(".git")).unwrap();
    assert!(refused(folder.path(), false).message.contains("is a symbolic link"));
}

#[test]
fn settings_cannot_move_the_work_tree() {
    let scratch = Scratch::with(&[&[("a", "1\n")]]);
    let elsewhere = tempfile::tempdir().unwrap();
    scratch.repository.config().unwrap().set_str("core.worktree", elsewhere.path().to_str().unwrap()).unwrap();
    assert!(refused(scratch.path(), false).message.contains("another work tree"));
}

#[test]
fn a_repository_is_looked_at_anew_on_every_call() {
    let scratch = Scratch::with(&[&[("a", "1\n")]]);
    let caller = Caller::git(scratch.path(), false);
    caller.ok("log", json!({}));
    let elsewhere = tempfile::tempdir().unwrap();
    scratch.repository.config().unwrap().set_str("core.worktree", elsewhere.path().to_str().unwrap()).unwrap();
    assert!(caller.err("log", json!({})).contains("another work tree"));
}

#[test]
fn a_repository_of_another_user_is_refused_with_the_way_out() {
    if !rustix::process::geteuid().is_root() {
        return; // only root can give a folder away
    }
    let scratch = Scratch::with(&[&[("a", "1\n")]]);
    for path in [scratch.path().to_owned(), scratch.path().join(".git")] {
        std::os::unix::fs::chown(path, Some(54_321), Some(54_321)).unwrap();
    }
    let error = refused(scratch.path(), false);
    assert!(error.message.contains("belongs to another user"), "{error}");
    assert!(error.hint.unwrap().contains("safe.directory"));
}

#[test]
fn links_planted_in_the_repository_stop_every_write() {
    let outside = tempfile::tempdir().unwrap();
    for planted in ["refs/heads/trap", "logs/refs", "objects/ab", "index"] {
        let scratch = Scratch::with(&[&[("a", "1\n")]]);
        let path = scratch.path().join(".git").join(planted);
        let _ = fs::remove_dir_all(&path);
        let _ = fs::remove_file(&path);
        symlink(outside.path(), &path).unwrap();
        assert!(refused(scratch.path(), true).message.contains("is a symbolic link"), "{planted}");
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn links_in_the_work_tree_are_not_followed() {
    let scratch = Scratch::with(&[&[("a", "1\n"), ("dir/secret", "harmless\n")]]);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), CANARY).unwrap();
    fs::remove_file(scratch.path().join("a")).unwrap();
    symlink(outside.path().join("secret"), scratch.path().join("a")).unwrap();
    fs::remove_dir_all(scratch.path().join("dir")).unwrap();
    symlink(outside.path(), scratch.path().join("dir")).unwrap();
    let caller = Caller::git(scratch.path(), true);
    for arguments in [json!({}), json!({ "from": "HEAD" }), json!({ "path": "dir/secret" })] {
        let diff = caller.ok("diff", arguments).text().to_owned();
        assert!(!diff.contains("canary-9c1e"), "{diff}");
    }
    let _ = caller.send(Method::ToolsCall, json!({ "name": "add", "arguments": { "paths": ["dir/secret"] } })).unwrap();
    caller.ok("add", json!({ "paths": ["."] }));
    let canary = git2::Oid::hash_object(git2::ObjectType::Blob, CANARY.as_bytes()).unwrap();
    assert!(!scratch.repository.odb().unwrap().exists(canary), "what is outside was taken into the repository");
}

/// A `git` server that writes, and from which `file` below its repository is kept.
fn hiding(scratch: &Scratch, file: &str) -> Caller {
    let config = json!({ "git": { "root": scratch.path(), "write": true } });
    Caller::with_hidden(config, &scratch.path().join(file))
}

#[test]
fn a_hidden_file_is_neither_added_nor_shown_by_any_name() {
    let scratch = Scratch::with(&[&[("a", "1\n"), ("known", "2\n")]]);
    scratch.write(&[("keys/token", CANARY), ("b", "3\n")]);
    for twin in ["known", "twin"] {
        let _ = fs::remove_file(scratch.path().join(twin));
        fs::hard_link(scratch.path().join("keys/token"), scratch.path().join(twin)).unwrap();
    }
    let caller = hiding(&scratch, "keys/token");
    let absolute = scratch.path().canonicalize().unwrap().join("keys/token");
    for path in ["keys/token", "./keys/token", absolute.to_str().unwrap()] {
        assert!(caller.err("add", json!({ "paths": [path] })).contains("a secret of the gateway"), "{path}");
    }
    for path in ["keys", "."] {
        let added = caller.ok("add", json!({ "paths": [path] })).structured;
        assert!(added["skipped"].as_array().unwrap().contains(&json!("keys/token")), "{added}");
    }
    for arguments in [json!({}), json!({ "from": "HEAD" }), json!({ "staged": true })] {
        let diff = caller.ok("diff", arguments).text().to_owned();
        assert!(!diff.contains("canary-9c1e"), "{diff}");
    }
    assert!(caller.ok("diff", json!({})).text().contains("* known holds a secret of the gateway"));
    caller.ok("commit", json!({ "message": "all" }));
    assert_eq!(caller.ok("show", json!({ "revision": "HEAD:b" })).text(), "3");
    let canary = git2::Oid::hash_object(git2::ObjectType::Blob, CANARY.as_bytes()).unwrap();
    assert!(!scratch.repository.odb().unwrap().exists(canary), "the secret was taken into the repository");
}

#[test]
fn what_was_committed_or_staged_of_a_hidden_file_is_not_shown() {
    let before = format!("{CANARY} (of before)\n");
    let scratch = Scratch::with(&[&[("a", "1\n")], &[("keys/token", &before), ("a", "2\n")]]);
    scratch.write(&[("keys/token", CANARY)]);
    let mut index = scratch.repository.index().unwrap();
    index.add_path(Path::new("keys/token")).unwrap();
    index.write().unwrap();
    let caller = hiding(&scratch, "keys/token");
    assert!(caller.err("show", json!({ "revision": "HEAD:keys/token" })).contains("a secret of the gateway"));
    assert!(caller.err("blame", json!({ "path": "keys/token" })).contains("a secret of the gateway"));
    let asked = [("show", json!({})), ("diff", json!({ "from": "HEAD~1", "to": "HEAD" })), ("diff", json!({ "staged": true }))];
    for (tool, arguments) in asked {
        let text = caller.ok(tool, arguments).text().to_owned();
        assert!(!text.contains("canary-9c1e") && text.contains("* keys/token holds a secret of the gateway"), "{text}");
    }
    // Moved away, it is the old side that must not be shown.
    fs::rename(scratch.path().join("keys/token"), scratch.path().join("keys/moved")).unwrap();
    scratch.write(&[("keys/moved", &before)]);
    scratch.commit("moved");
    let text = caller.ok("diff", json!({ "from": "HEAD~1", "to": "HEAD" })).text().to_owned();
    assert!(!text.contains("canary-9c1e"), "{text}");
    assert!(caller.ok("show", json!({ "revision": "HEAD~1:a" })).text().contains('2'));
}

#[test]
fn nothing_in_a_closed_folder_is_shown_staged_or_written() {
    let before = format!("{CANARY} (of before)\n");
    let scratch = Scratch::with(&[&[("a", "1\n")], &[("state/own/known", &before), ("state/beside", "2\n")]]);
    scratch.repository.branch("other", &scratch.head().parent(0).unwrap(), false).unwrap();
    scratch.write(&[("state/own/known", CANARY), ("state/own/new", CANARY), ("state/beside", "3\n")]);
    fs::create_dir(scratch.path().join("twins")).unwrap();
    symlink("../state/own", scratch.path().join("twins/link")).unwrap();
    let mut config: BuiltInConfig = serde_json::from_value(json!({ "git": { "root": scratch.path(), "write": true } })).unwrap();
    config.close(scratch.path().join("state/own"));
    let caller = Caller::of(config);
    let closed = "lies in a folder of the gateway";

    for path in ["state/own", "state/own/known", "./state/own/new"] {
        assert!(caller.err("add", json!({ "paths": [path] })).contains(closed), "{path}");
    }
    for (tool, arguments) in [
        ("show", json!({ "revision": "HEAD:state/own" })),
        ("show", json!({ "revision": "HEAD:state/own/known" })),
        ("blame", json!({ "path": "state/own/known" })),
    ] {
        assert!(caller.err(tool, arguments).contains(closed), "{tool}");
    }
    assert_eq!(caller.ok("status", json!({})).structured["total"], 2, "what is beside it, and the links");
    let asked = [
        ("show", json!({})),
        ("diff", json!({})),
        ("diff", json!({ "from": "HEAD" })),
        ("diff", json!({ "from": "HEAD~1", "to": "HEAD" })),
    ];
    for (tool, arguments) in asked {
        let text = caller.ok(tool, arguments).text().to_owned();
        assert!(!text.contains("canary-9c1e") && text.contains(closed), "{text}");
        assert!(text.contains("state/beside"), "{text}");
    }
    let added = caller.ok("add", json!({ "paths": ["."] })).structured;
    let skipped = json!(["state/own/known", "state/own/new"]);
    assert_eq!((&added["staged"], &added["skipped"]), (&json!(["state/beside", "twins/link"]), &skipped));
    caller.ok("commit", json!({ "message": "beside" }));

    // It would take away what is known in there; and the way back would write it.
    assert!(caller.err("checkout", json!({ "target": "other" })).contains("`state/own/known`"));
    assert_eq!(fs::read_to_string(scratch.path().join("state/own/known")).unwrap(), CANARY);
    assert_eq!(caller.ok("checkout", json!({ "target": "HEAD~0" })).structured["branch"], json!(null));
    let canary = git2::Oid::hash_object(git2::ObjectType::Blob, CANARY.as_bytes()).unwrap();
    assert!(!scratch.repository.odb().unwrap().exists(canary), "what is closed was taken into the repository");
}

#[test]
fn no_race_of_links_leads_a_diff_or_an_add_outside() {
    let scratch = Scratch::with(&[&[("a", "1\n")]]);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), CANARY).unwrap();
    let caller = Caller::git(scratch.path(), true);
    let (until, honest, link) = (Instant::now() + Duration::from_secs(2), outside.path().join("honest"), outside.path().join("link"));
    let (mut seen, swapped) = (0, scratch.path().join("a"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < until {
                fs::write(&honest, "honest\n").unwrap();
                fs::rename(&honest, &swapped).unwrap();
                symlink(outside.path().join("secret"), &link).unwrap();
                fs::rename(&link, &swapped).unwrap();
            }
        });
        while Instant::now() < until {
            for (tool, arguments) in [("diff", json!({})), ("add", json!({ "paths": ["a"] })), ("diff", json!({ "staged": true }))] {
                let reply = caller.send(Method::ToolsCall, json!({ "name": tool, "arguments": arguments })).unwrap();
                let text = reply.result.to_json().as_str().to_owned();
                assert!(!text.contains("canary-9c1e"), "{tool}: {text}");
                seen += usize::from(text.contains("+honest"));
            }
        }
    });
    assert!(seen > 0, "the race was never won by the honest file: the test shows nothing");
    let canary = git2::Oid::hash_object(git2::ObjectType::Blob, CANARY.as_bytes()).unwrap();
    assert!(!scratch.repository.odb().unwrap().exists(canary));
}

#[test]
fn objects_that_unpack_to_much_are_not_unpacked() {
    let scratch = Scratch::with(&[&[("a", "1\n")]]);
    fs::File::create(scratch.path().join("bomb")).unwrap().set_len(64 << 20).unwrap();
    scratch.commit("bomb");
    let caller = Caller::git(scratch.path(), false);
    assert!(caller.err("show", json!({ "revision": "HEAD:bomb" })).contains("too large"));
    assert!(caller.err("blame", json!({ "path": "bomb" })).contains("too large"));
    assert!(caller.ok("show", json!({})).text().contains("Binary files /dev/null and b/bomb differ"));
    fs::write(scratch.path().join("bomb"), "small\n").unwrap();
    assert!(caller.ok("diff", json!({})).text().contains("Binary or large file bomb differs"));
}

#[test]
fn absurd_messages_and_names_are_cut() {
    let scratch = Scratch::with(&[&[("a", "1\n")]]);
    let long = "m".repeat(300_000);
    let author = git2::Signature::now(&"n".repeat(100_000), "x@example.com").unwrap();
    let tree = scratch.head().tree().unwrap();
    for _ in 0..10 {
        scratch.repository.commit(Some("HEAD"), &author, &author, &long, &tree, &[&scratch.head()]).unwrap();
    }
    let caller = Caller::git(scratch.path(), false);
    let log = caller.ok("log", json!({ "limit": 300 }));
    assert!(log.text().len() < 40_000, "{}", log.text().len());
    assert!(caller.ok("show", json!({})).text().len() < 40_000);
}

#[test]
fn a_repository_inside_the_work_tree_is_not_added() {
    let scratch = Scratch::with(&[&[("a", "1\n")]]);
    init(&scratch.path().join("inner"));
    fs::write(scratch.path().join("inner/x"), "1").unwrap();
    let added = Caller::git(scratch.path(), true).ok("add", json!({ "paths": ["."] })).structured;
    assert_eq!((&added["total"], &added["skipped"]), (&json!(0), &json!(["inner/"])));
}
