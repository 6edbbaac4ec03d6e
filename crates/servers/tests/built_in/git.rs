//! Reading a repository.

use std::fs;

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::repository::{Scratch, init};

#[test]
fn status_names_what_changed_and_where() {
    let scratch = Scratch::with(&[&[("a", "1\n"), ("b", "1\n"), ("c", "a long enough content to be found again\n"), ("d", "1\n")]]);
    let caller = Caller::git(scratch.path(), false);
    assert!(caller.ok("status", json!({})).text().ends_with("nothing has changed"));
    scratch.write(&[("a", "2\n"), ("new/x", ""), ("new/y", "")]);
    fs::remove_file(scratch.path().join("b")).unwrap();
    fs::rename(scratch.path().join("c"), scratch.path().join("moved")).unwrap();
    let mut index = scratch.repository.index().unwrap();
    index.remove_path("c".as_ref()).unwrap();
    index.add_path("moved".as_ref()).unwrap();
    scratch.write(&[("d", "staged\n")]);
    index.add_path("d".as_ref()).unwrap();
    scratch.write(&[("d", "and changed again\n")]);
    index.write().unwrap();
    let status = caller.ok("status", json!({})).structured;
    assert_eq!((&status["branch"], &status["head"]), (&json!("main"), &json!(scratch.head().id().to_string())));
    let expected = json!([
        { "path": "a", "unstaged": "modified" },
        { "path": "b", "unstaged": "deleted" },
        { "path": "d", "staged": "modified", "unstaged": "modified" },
        { "path": "moved", "staged": "renamed", "from": "c" },
        { "path": "new/", "unstaged": "untracked" },
    ]);
    assert_eq!(status["entries"], expected);
    assert_eq!(caller.ok("status", json!({ "path": "new" })).structured["total"], 1);
    let (paged, pages) = caller.pages("status", json!({ "limit": 2 }), "entries");
    assert_eq!((json!(paged), pages), (expected, 3));
}

#[test]
fn log_goes_back_in_pages_and_follows_a_path() {
    let scratch = Scratch::with(&[&[("a", "1")], &[("b/x", "1")], &[("a", "2")], &[("b/x", "2")]]);
    let caller = Caller::git(scratch.path(), false);
    let summaries = |arguments: Value| {
        let (commits, _) = caller.pages("log", arguments, "commits");
        commits.iter().map(|commit| commit["summary"].as_str().unwrap().replace("commit ", "")).collect::<String>()
    };
    assert_eq!(summaries(json!({})), "4321");
    assert_eq!(summaries(json!({ "limit": 1 })), "4321");
    assert_eq!(summaries(json!({ "path": "b" })), "42");
    assert_eq!(summaries(json!({ "path": "./a" })), "31");
    assert_eq!(summaries(json!({ "revision": "HEAD~2" })), "21");
    assert_eq!(summaries(json!({ "revision": "HEAD~3..main~1" })), "32");
    let first = caller.ok("log", json!({ "limit": 1 })).structured;
    assert_eq!(first["commits"][0]["author"], "Ada Lovelace");
    assert_eq!(first["commits"][0]["date"], "2023-11-15T02:13:20+01:00");
    assert_eq!(first["next"], 1);
    assert!(caller.err("log", json!({ "revision": "nowhere" })).contains("`revision`: there is no `nowhere`"));
    assert!(caller.err("log", json!({ "revision": "a...b" })).contains("two dots"));
    assert!(caller.err("log", json!({ "revision": ":/commit" })).starts_with("argument `revision`"));
    assert!(caller.err("log", json!({ "revision": "x".repeat(10_000) })).starts_with("argument `revision`"));
    assert!(caller.err("log", json!({ "path": "../x" })).contains("is not below"));
}

#[test]
fn diff_compares_disk_index_and_commits() {
    let scratch = Scratch::with(&[&[("a", "one\ntwo\n"), ("b", "1\n")], &[("a", "one\n2\n")]]);
    let caller = Caller::git(scratch.path(), false);
    let text = |arguments| caller.ok("diff", arguments).text().to_owned();
    assert_eq!(text(json!({})), "[no differences]");
    let old = text(json!({ "from": "HEAD~1", "to": "HEAD" }));
    assert!(old.contains("--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n one\n-two\n+2"), "{old}");
    scratch.write(&[("a", "one\n2\n3\n"), ("untracked", "")]);
    fs::remove_file(scratch.path().join("b")).unwrap();
    let unstaged = caller.ok("diff", json!({}));
    assert_eq!(unstaged.structured["files"], json!([{ "path": "a", "change": "modified" }, { "path": "b", "change": "deleted" }]));
    assert!(unstaged.text().contains("diff --git a/a b/a") && unstaged.text().contains(" 2\n+3\n"), "{}", unstaged.text());
    assert!(unstaged.text().contains("deleted file mode 100644"), "{}", unstaged.text());
    assert!(!text(json!({ "path": "a" })).contains("a/b"));
    assert!(text(json!({ "from": "HEAD~1", "path": "a" })).contains("-two\n+2\n+3"));
    assert_eq!(text(json!({ "staged": true })), "[no differences]");
    let mut index = scratch.repository.index().unwrap();
    index.add_path("a".as_ref()).unwrap();
    index.write().unwrap();
    assert!(text(json!({ "staged": true })).contains("+3"));
    assert_eq!(caller.ok("diff", json!({})).structured["total_files"], 1);
    assert!(caller.err("diff", json!({ "to": "HEAD" })).contains("needs `from`"));
    assert!(caller.err("diff", json!({ "from": "HEAD", "to": "HEAD", "staged": true })).starts_with("argument `staged`"));
}

#[test]
fn a_changed_mode_and_a_renaming_are_shown() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::with(&[&[("run", "#!/bin/sh\necho a long enough content\n")]]);
    let caller = Caller::git(scratch.path(), false);
    fs::set_permissions(scratch.path().join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(caller.ok("diff", json!({})).text(), "diff --git a/run b/run\nold mode 100644\nnew mode 100755");
    fs::rename(scratch.path().join("run"), scratch.path().join("go")).unwrap();
    scratch.commit("renamed");
    let renamed = caller.ok("diff", json!({ "from": "HEAD~1", "to": "HEAD" })).structured;
    assert_eq!(renamed["files"], json!([{ "path": "go", "change": "renamed", "from": "run" }]));
}

#[test]
fn line_ends_that_git_converts_are_no_difference() {
    let scratch = Scratch::with(&[&[("a.txt", "one\ntwo\n"), (".gitattributes", "*.txt text\n")]]);
    scratch.write(&[("a.txt", "one\r\ntwo\r\nthree\r\n")]);
    let text = Caller::git(scratch.path(), false).ok("diff", json!({}));
    assert!(text.text().ends_with(" one\n two\n+three"), "{}", text.text());
}

#[test]
fn a_large_diff_comes_in_pages_that_join() {
    let before: String = (0..3000).map(|n| format!("line {n}\n")).collect();
    let after: String = (0..3000).map(|n| format!("{} {n}\n", "x".repeat(if n == 7 { 90_000 } else { 20 }))).collect();
    let scratch = Scratch::with(&[&[("a", &before)], &[("a", &after)]]);
    let caller = Caller::git(scratch.path(), false);
    let (mut arguments, mut joined, mut pages) = (json!({ "from": "HEAD~1", "to": "HEAD" }), Vec::new(), 0);
    loop {
        let page = caller.ok("diff", arguments.clone()).structured;
        assert!(page["text"].as_str().unwrap().len() < 70_000);
        joined.push(page["text"].as_str().unwrap().to_owned());
        pages += 1;
        match page.get("next") {
            Some(next) => arguments["offset"] = next.clone(),
            None => break,
        }
    }
    let joined = joined.join("\n");
    assert!(pages > 2);
    assert_eq!(joined.lines().filter(|line| line.starts_with("-line")).count(), 3000);
    assert_eq!(joined.lines().filter(|line| line.starts_with("+x")).count(), 3000);
    assert!(joined.contains("bytes more]"));
}

#[test]
fn show_gives_a_commit_a_file_or_a_folder() {
    let scratch = Scratch::with(&[&[("src/a", "one\n")], &[("src/a", "two\n"), ("b", "x\0y")]]);
    scratch.repository.tag_lightweight("v1", scratch.head().as_object(), false).unwrap();
    let caller = Caller::git(scratch.path(), false);
    let shown = caller.ok("show", json!({ "revision": "v1" }));
    assert_eq!(shown.structured["commit"]["message"], "commit 2");
    assert_eq!(shown.structured["commit"]["parents"].as_array().unwrap().len(), 1);
    assert!(shown.text().contains("author Ada Lovelace <ada@example.com>") && shown.text().contains("-one\n+two"), "{}", shown.text());
    assert!(shown.text().contains("Binary files"), "{}", shown.text());
    let first = scratch.head().parent_id(0).unwrap().to_string();
    let short = first.get(..8).unwrap();
    assert!(caller.ok("show", json!({ "revision": short })).text().contains("+one"), "the first commit is all new");
    assert_eq!(caller.ok("show", json!({ "revision": "HEAD~1:src/a" })).text(), "one");
    assert_eq!(caller.ok("show", json!({ "revision": "HEAD:" })).text(), "b\nsrc/");
    assert!(caller.err("show", json!({ "revision": "HEAD:b" })).contains("no text"));
    assert!(caller.err("show", json!({ "revision": "HEAD:none" })).contains("there is no `none`"));
    assert!(caller.err("show", json!({ "revision": "HEAD:../x" })).contains("not below"));
}

#[test]
fn blame_names_the_commit_of_each_line() {
    let scratch = Scratch::with(&[&[("a", "one\ntwo\nthree\n")], &[("a", "one\n2\nthree\nfour\n")]]);
    scratch.write(&[("a", "not committed\n")]);
    let caller = Caller::git(scratch.path(), false);
    let parts = caller.ok("blame", json!({ "path": "a" })).structured["parts"].clone();
    let brief =
        |part: &Value| format!("{}:{}:{}", part["line"], part["commit"]["summary"].as_str().unwrap(), part["text"].as_str().unwrap());
    let brief: Vec<_> = parts.as_array().unwrap().iter().map(brief).collect();
    assert_eq!(brief, ["1:commit 1:one", "2:commit 2:2", "3:commit 1:three", "4:commit 2:four"]);
    let page = caller.ok("blame", json!({ "path": "a", "offset": 2, "limit": 1 })).structured;
    assert_eq!((&page["parts"][0]["text"], &page["parts"][0]["line"], &page["next"]), (&json!("three"), &json!(3), &json!(3)));
    let old = caller.ok("blame", json!({ "path": "a", "revision": "HEAD~1" })).structured;
    assert_eq!((old["parts"].as_array().unwrap().len(), &old["parts"][0]["text"]), (1, &json!("one\ntwo\nthree")));
    assert!(caller.err("blame", json!({ "path": "none" })).contains("there is no `none`"));
    assert_eq!(caller.ok("blame", json!({ "path": "a", "offset": 99 })).structured["parts"], json!([]));
}

#[test]
fn branches_are_listed_with_their_newest_commit() {
    let scratch = Scratch::with(&[&[("a", "1")], &[("a", "2")]]);
    let parent = scratch.head().parent(0).unwrap();
    scratch.repository.branch("old", &parent, false).unwrap();
    scratch.repository.reference("refs/remotes/origin/main", parent.id(), false, "").unwrap();
    scratch.repository.reference_symbolic("refs/remotes/origin/HEAD", "refs/remotes/origin/main", false, "").unwrap();
    scratch.repository.remote("origin", "https://example.com/x.git").unwrap();
    scratch.repository.find_branch("main", git2::BranchType::Local).unwrap().set_upstream(Some("origin/main")).unwrap();
    let caller = Caller::git(scratch.path(), false);
    let local = caller.ok("branches", json!({})).structured["branches"].clone();
    assert_eq!((&local[0]["name"], &local[0]["current"], &local[0]["upstream"]), (&json!("main"), &json!(true), &json!("origin/main")));
    assert_eq!((&local[1]["name"], &local[1]["commit"]["summary"]), (&json!("old"), &json!("commit 1")));
    let remote = caller.ok("branches", json!({ "remote": true })).structured["branches"].clone();
    assert_eq!((remote.as_array().unwrap().len(), &remote[0]["name"]), (1, &json!("origin/main")));
    assert_eq!(caller.ok("status", json!({})).structured["upstream"], json!({ "name": "origin/main", "ahead": 1, "behind": 0 }));
    assert_eq!(caller.pages("branches", json!({ "limit": 1 }), "branches").1, 2);
}

#[test]
fn an_empty_repository_has_nothing_to_show_and_says_so() {
    let scratch = Scratch::new();
    let caller = Caller::git(scratch.path(), false);
    let status = caller.ok("status", json!({}));
    assert_eq!(status.structured["branch"], "main");
    assert!(status.text().contains("no commit yet"));
    for (tool, arguments) in [("log", json!({})), ("show", json!({})), ("blame", json!({ "path": "a" }))] {
        assert!(caller.err(tool, arguments).contains("no commit yet"), "{tool}");
    }
    assert_eq!(caller.ok("branches", json!({})).structured["branches"], json!([]));
    scratch.write(&[("a", "1\n")]);
    let mut index = scratch.repository.index().unwrap();
    index.add_path("a".as_ref()).unwrap();
    index.write().unwrap();
    assert!(caller.ok("diff", json!({ "staged": true })).text().contains("+1"));
}

#[test]
fn a_bare_repository_has_a_history_but_no_work_tree() {
    let scratch = Scratch::with(&[&[("a", "1\n")]]);
    let folder = tempfile::tempdir().unwrap();
    let bare = git2::Repository::init_bare(folder.path()).unwrap();
    bare.remote_anonymous(scratch.path().to_str().unwrap()).unwrap().fetch(&["+refs/heads/*:refs/heads/*"], None, None).unwrap();
    bare.set_head("refs/heads/main").unwrap();
    let caller = Caller::git(folder.path(), true);
    assert_eq!(caller.ok("log", json!({})).structured["commits"].as_array().unwrap().len(), 1);
    assert_eq!(caller.ok("show", json!({ "revision": "main:a" })).text(), "1");
    for (tool, arguments) in [
        ("status", json!({})),
        ("diff", json!({})),
        ("add", json!({ "paths": ["a"] })),
        ("commit", json!({ "message": "x" })),
        ("checkout", json!({ "target": "main" })),
    ] {
        assert!(caller.err(tool, arguments).contains("no work tree"), "{tool}");
    }
    assert!(!sallyport_servers::git::in_work_tree(folder.path()));
    assert!(sallyport_servers::git::in_work_tree(scratch.path()));
}

#[test]
fn a_detached_head_is_told() {
    let scratch = Scratch::with(&[&[("a", "1\n")], &[("a", "2\n")]]);
    let first = scratch.head().parent_id(0).unwrap();
    scratch.repository.set_head_detached(first).unwrap();
    let caller = Caller::git(scratch.path(), false);
    let status = caller.ok("status", json!({}));
    assert!(status.structured.get("branch").is_none());
    assert_eq!(status.structured["head"], first.to_string());
    assert!(status.text().starts_with("HEAD is detached"));
}

#[test]
fn the_root_may_be_a_folder_of_the_work_tree() {
    let scratch = Scratch::with(&[&[("sub/deep/a", "1\n")]]);
    let caller = Caller::git(&scratch.path().join("sub/deep"), false);
    assert_eq!(caller.ok("log", json!({ "path": "sub/deep/a" })).structured["commits"].as_array().unwrap().len(), 1);
}

#[test]
fn submodules_and_linked_work_trees_are_repositories_of_their_own() {
    let scratch = Scratch::with(&[&[("a", "1\n")]]);
    scratch.repository.submodule("https://example.com/sub.git", "sub".as_ref(), true).unwrap();
    let sub = scratch.path().join("sub");
    assert_eq!(Caller::git(&sub, false).ok("status", json!({})).structured["total"], 0);
    let linked = tempfile::tempdir().unwrap();
    let linked = linked.path().join("linked");
    scratch.repository.worktree("linked", &linked, None).unwrap();
    assert_eq!(Caller::git(&linked, true).ok("status", json!({})).structured["branch"], "linked");
}

#[test]
fn a_submodule_that_changed_is_left_alone() {
    let scratch = Scratch::with(&[&[("a", "1\n")]]);
    let inner = init(&scratch.path().join("inner"));
    fs::write(scratch.path().join("inner/x"), "1").unwrap();
    let id = crate::repository::commit_all(&inner, "inner");
    let mut index = scratch.repository.index().unwrap();
    let mut entry = index.get_path("a".as_ref(), 0).unwrap();
    (entry.mode, entry.id, entry.path) = (0o160_000, id, b"inner".to_vec());
    index.add(&entry).unwrap();
    index.write().unwrap();
    let tree = scratch.repository.find_tree(index.write_tree().unwrap()).unwrap();
    let author = scratch.repository.signature().unwrap();
    scratch.repository.commit(Some("HEAD"), &author, &author, "with submodule", &tree, &[&scratch.head()]).unwrap();
    fs::write(scratch.path().join("inner/x"), "2").unwrap();
    let caller = Caller::git(scratch.path(), true);
    assert_eq!(caller.ok("status", json!({})).structured["entries"], json!([]));
    assert_eq!(caller.ok("diff", json!({})).structured["total_files"], 0);
    assert_eq!(caller.ok("add", json!({ "paths": ["."] })).structured["total"], 0);
    assert!(caller.err("show", json!({ "revision": "HEAD:inner" })).contains("is a submodule"));
}
