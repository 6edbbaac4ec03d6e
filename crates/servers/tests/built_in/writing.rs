//! Writing, editing, making and moving files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::json;

use crate::caller::Caller;

fn writer() -> (tempfile::TempDir, Caller) {
    let folder = tempfile::tempdir().unwrap();
    let caller = Caller::filesystem(folder.path(), true);
    (folder, caller)
}

#[test]
fn a_file_is_written_new_and_over_the_old_one() {
    let (folder, caller) = writer();
    let path = folder.path().join("a.sh");
    assert_eq!(
        caller.ok("write_file", json!({ "path": "a.sh", "content": "one" })).structured,
        json!({ "path": "a.sh", "size": 3, "created": true })
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    assert_eq!(caller.ok("write_file", json!({ "path": "a.sh", "content": "two!" })).structured["created"], false);
    assert_eq!(fs::read_to_string(&path).unwrap(), "two!");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    assert!(caller.err("write_file", json!({ "path": "no/such/folder.txt", "content": "" })).contains("create_directory"));
    assert!(caller.err("write_file", json!({ "path": ".", "content": "" })).contains("names no file"));
    fs::create_dir(folder.path().join("sub")).unwrap();
    assert!(caller.err("write_file", json!({ "path": "sub", "content": "" })).contains("not a regular file"));
}

#[test]
fn a_name_as_long_as_names_get_can_be_written() {
    let (folder, caller) = writer();
    let name = "n".repeat(255);
    caller.ok("write_file", json!({ "path": name, "content": "x" }));
    assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), "x");
}

#[test]
fn a_link_inside_is_written_through_and_stays_a_link() {
    let (folder, caller) = writer();
    fs::write(folder.path().join("real"), "old").unwrap();
    symlink("real", folder.path().join("link")).unwrap();
    caller.ok("write_file", json!({ "path": "link", "content": "new" }));
    assert_eq!(fs::read_to_string(folder.path().join("real")).unwrap(), "new");
    assert!(fs::symlink_metadata(folder.path().join("link")).unwrap().is_symlink());
}

#[test]
fn a_protected_file_is_read_and_neither_written_nor_moved_nor_replaced() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().canonicalize().unwrap();
    fs::create_dir_all(folder.join("root/sub")).unwrap();
    fs::write(folder.join("root/sub/rules"), "rules").unwrap();
    fs::write(folder.join("root/other"), "other").unwrap();
    symlink("sub/rules", folder.join("root/alias")).unwrap();
    symlink("root/sub", folder.join("link")).unwrap();
    // Named through a link outside, and asked for through one inside.
    let caller = Caller::protecting(&folder.join("root"), &folder.join("link/rules"));
    for path in ["sub/rules", "alias", "./sub/../sub/rules"] {
        assert_eq!(caller.ok("read_file", json!({ "path": path })).text(), "rules");
        let edits = json!([{ "old_text": "rules", "new_text": "none" }]);
        for (tool, arguments) in
            [("write_file", json!({ "path": path, "content": "none" })), ("edit_file", json!({ "path": path, "edits": edits }))]
        {
            assert!(caller.err(tool, arguments).contains("what the gateway goes by"), "{tool} {path}");
        }
    }
    for (from, to) in [("sub/rules", "away"), ("sub", "away"), ("other", "sub/rules")] {
        assert!(caller.err("move_file", json!({ "from": from, "to": to })).contains("what the gateway goes by"), "{from}");
    }
    assert_eq!(fs::read_to_string(folder.join("root/sub/rules")).unwrap(), "rules");
    caller.ok("create_directory", json!({ "path": "sub" }));
    caller.ok("write_file", json!({ "path": "sub/beside", "content": "" }));
    caller.ok("move_file", json!({ "from": "alias", "to": "moved" }));
}

#[test]
fn a_hidden_file_is_listed_and_read_by_no_name() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().canonicalize().unwrap();
    fs::write(folder.join("token"), "hunter2\n").unwrap();
    symlink("token", folder.join("alias")).unwrap();
    fs::hard_link(folder.join("token"), folder.join("twin")).unwrap();
    let caller = Caller::hiding(&folder, &folder.join("token"));
    for path in ["token", "alias", "twin", "./token"] {
        assert!(caller.err("read_file", json!({ "path": path })).contains("a secret of the gateway"), "{path}");
    }
    assert!(caller.ok("list_directory", json!({ "path": "." })).text().contains("token"));
    assert_eq!(caller.ok("search_files", json!({ "content": "hunter" })).structured["matches"], json!([]));
}

#[test]
fn an_edit_changes_exactly_what_it_names() {
    let (folder, caller) = writer();
    let path = folder.path().join("a.rs");
    fs::write(&path, "let a = 1;\nlet b = 1;\nlet c = 1;\n").unwrap();
    let edits = json!([{ "old_text": "b = 1", "new_text": "b = 2" }, { "old_text": "let c = 1;\n", "new_text": "" }]);
    let dry = caller.ok("edit_file", json!({ "path": "a.rs", "edits": edits, "dry_run": true }));
    assert_eq!(dry.structured["written"], false);
    assert!(fs::read_to_string(&path).unwrap().contains("let c"));
    let done = caller.ok("edit_file", json!({ "path": "a.rs", "edits": edits }));
    assert_eq!((&done.structured["written"], &done.structured["replaced"]), (&json!(true), &json!(2)));
    assert_eq!(done.structured["diff"], "--- a.rs\n+++ a.rs\n@@ -1,3 +1,2 @@\n let a = 1;\n-let b = 1;\n-let c = 1;\n+let b = 2;\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "let a = 1;\nlet b = 2;\n");
}

#[test]
fn an_edit_that_is_not_clear_changes_nothing() {
    let (folder, caller) = writer();
    let path = folder.path().join("a");
    fs::write(&path, "x\nx\n").unwrap();
    let edit = |old: &str, all: bool| json!({ "path": "a", "edits": [{ "old_text": old, "new_text": "y", "replace_all": all }] });
    assert!(caller.err("edit_file", edit("x", false)).contains("`edits[0].old_text`: occurs 2 times"));
    assert!(caller.err("edit_file", edit("z", true)).contains("not found"));
    assert!(caller.err("edit_file", edit("", false)).contains("must not be empty"));
    assert!(caller.err("edit_file", json!({ "path": "a", "edits": [] })).starts_with("argument `edits`"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "x\nx\n");
    assert_eq!(caller.ok("edit_file", edit("x", true)).structured["replaced"], 2);
    fs::write(&path, b"\xff\xfe").unwrap();
    assert!(caller.err("edit_file", edit("x", true)).contains("not UTF-8"));
    fs::File::create(&path).unwrap().set_len(9 << 20).unwrap();
    assert!(caller.err("edit_file", edit("x", true)).contains("too large"));
}

#[test]
fn windows_line_ends_are_kept() {
    let (folder, caller) = writer();
    fs::write(folder.path().join("a"), "one\r\ntwo\r\nthree\r\n").unwrap();
    caller.ok("edit_file", json!({ "path": "a", "edits": [{ "old_text": "one\ntwo", "new_text": "1\n2" }] }));
    assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "1\r\n2\r\nthree\r\n");
}

#[test]
fn folders_are_made_with_those_above() {
    let (folder, caller) = writer();
    assert_eq!(caller.ok("create_directory", json!({ "path": "a/b/c" })).structured["created"], true);
    assert!(folder.path().join("a/b/c").is_dir());
    assert_eq!(caller.ok("create_directory", json!({ "path": "a/b" })).structured["created"], false);
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(caller.err("create_directory", json!({ "path": "file" })).contains("exists already"));
    assert!(caller.err("create_directory", json!({ "path": "new/../../x" })).contains("names no file or folder"));
}

#[test]
fn a_move_never_replaces() {
    let (folder, caller) = writer();
    fs::write(folder.path().join("a"), "a").unwrap();
    fs::write(folder.path().join("b"), "b").unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    assert!(caller.err("move_file", json!({ "from": "a", "to": "b" })).contains("`b`: it exists already"));
    assert!(caller.err("move_file", json!({ "from": "none", "to": "c" })).contains("`none`: no such"));
    caller.ok("move_file", json!({ "from": "a", "to": "sub/a" }));
    caller.ok("move_file", json!({ "from": "sub", "to": "dir" }));
    assert_eq!(fs::read_to_string(folder.path().join("dir/a")).unwrap(), "a");
    assert!(caller.err("move_file", json!({ "from": "dir", "to": "dir/in/itself" })).contains("create_directory"));
    assert_eq!(fs::read_to_string(folder.path().join("b")).unwrap(), "b");
}

#[test]
fn gits_own_folder_is_not_written_to() {
    let (folder, caller) = writer();
    fs::create_dir_all(folder.path().join(".git/hooks")).unwrap();
    symlink(".git", folder.path().join("alias")).unwrap();
    fs::write(folder.path().join("hook"), "#!/bin/sh\n").unwrap();
    for path in [".git/hooks/pre-commit", "alias/hooks/pre-commit", "alias/config", ".GIT/config", "x/../.git/config"] {
        fs::create_dir_all(folder.path().join("x")).unwrap();
        assert!(caller.err("write_file", json!({ "path": path, "content": "" })).contains("git's own folder"), "{path}");
        assert!(caller.err("move_file", json!({ "from": "hook", "to": path })).contains("git's own folder"), "{path}");
    }
    assert!(caller.err("create_directory", json!({ "path": "alias/hooks/x" })).contains("git's own folder"));
    assert!(caller.err("move_file", json!({ "from": ".git", "to": "git" })).contains("git's own folder"));
    assert!(caller.err("move_file", json!({ "from": "x", "to": "sub/.git" })).contains("git's own folder"));
}
