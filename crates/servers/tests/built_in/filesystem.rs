//! Reading, listing and searching.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::caller::Caller;

/// A folder with these files (path, content) in it.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn reader(root: &Path) -> Caller {
    Caller::filesystem(root, false)
}

#[test]
fn a_text_file_is_read_whole_or_by_lines() {
    let folder = folder(&[("a/b.txt", "one\ntwo\r\nthree\nfour")]);
    let caller = reader(folder.path());
    let all = caller.ok("read_file", json!({ "path": "a/b.txt" }));
    assert_eq!(all.structured, json!({ "path": "a/b.txt", "size": 19, "line": 1, "text": "one\ntwo\r\nthree\nfour", "lossy": false }));
    assert_eq!(all.text(), "one\ntwo\r\nthree\nfour");
    let some = caller.ok("read_file", json!({ "path": "./a/../a/b.txt", "offset": 2, "limit": 2 }));
    assert_eq!(some.structured["text"], "two\r\nthree\n");
    let rest = caller.ok("read_file", json!({ "path": "a/b.txt", "cursor": some.structured["next"] }));
    assert_eq!((&rest.structured["text"], &rest.structured["line"]), (&json!("four"), &json!(4)));
    assert!(rest.structured.get("next").is_none());
    let absolute = folder.path().join("a/b.txt");
    assert_eq!(caller.ok("read_file", json!({ "path": absolute })).structured["path"], "a/b.txt");
}

#[test]
fn what_cannot_be_read_is_told_with_a_way_out() {
    let folder = folder(&[("a.txt", "x\n"), ("empty", ""), ("bin", "a\0b")]);
    let caller = reader(folder.path());
    assert!(caller.err("read_file", json!({ "path": "b.txt" })).contains("no such file or folder"));
    assert!(caller.err("read_file", json!({ "path": "." })).contains("list_directory"));
    assert!(caller.err("read_file", json!({ "path": "a.txt/b" })).contains("no folder"));
    assert!(caller.err("read_file", json!({ "path": "bin" })).contains("read_media"));
    assert!(caller.err("read_file", json!({ "path": "a.txt", "offset": 9 })).contains("`offset`: the file ends in line 2"));
    assert!(caller.err("read_file", json!({ "path": "a.txt", "cursor": "x" })).starts_with("argument `cursor`"));
    assert!(caller.err("read_file", json!({ "path": "a\0b" })).contains("no path"));
    assert!(caller.err("read_file", json!({ "path": "a".repeat(5000) })).contains("no path"));
    assert_eq!(caller.ok("read_file", json!({ "path": "empty" })).text(), "");
}

#[test]
fn a_huge_file_comes_in_pages_that_join() {
    let mut content = (0..40_000).map(|n| format!("line {n} äöü€\n")).collect::<String>();
    content.push_str(&"€".repeat(100_000)); // one line of 300 KB, its characters across every page's end
    let folder = folder(&[("huge.txt", &content)]);
    let caller = reader(folder.path());
    let (mut joined, mut arguments) = (String::new(), json!({ "path": "huge.txt" }));
    loop {
        let page = caller.ok("read_file", arguments.clone());
        assert!(page.text().len() < 70_000);
        assert_eq!(page.structured["lossy"], false);
        assert_eq!(page.structured["line"], joined.matches('\n').count() + 1);
        joined.push_str(page.structured["text"].as_str().unwrap());
        match page.structured.get("next") {
            Some(next) => arguments["cursor"] = next.clone(),
            None => break,
        }
    }
    assert!(joined == content, "{} bytes read, {} written", joined.len(), content.len());
    let late = caller.ok("read_file", json!({ "path": "huge.txt", "offset": 39_999, "limit": 1 }));
    assert_eq!(late.structured["text"], "line 39998 äöü€\n");
}

#[test]
fn text_in_another_encoding_is_shown_as_far_as_possible() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("latin1.txt"), b"Gr\xfc\xdfe\n").unwrap();
    let answer = reader(folder.path()).ok("read_file", json!({ "path": "latin1.txt" }));
    assert_eq!((&answer.structured["lossy"], &answer.structured["text"]), (&json!(true), &json!("Gr\u{fffd}\u{fffd}e\n")));
}

#[test]
fn media_are_told_by_their_content() {
    let folder = folder(&[("notes.png", "no image")]);
    fs::write(folder.path().join("picture"), b"\x89PNG\r\n\x1a\n1234").unwrap();
    fs::write(folder.path().join("song.wav"), b"RIFF\0\0\0\0WAVEfmt ").unwrap();
    let huge = fs::File::create(folder.path().join("huge.gif")).unwrap();
    std::io::Write::write_all(&mut &huge, b"GIF89a").unwrap();
    huge.set_len(6 << 20).unwrap();
    let caller = reader(folder.path());
    let image = caller.ok("read_media", json!({ "path": "picture" }));
    assert_eq!(image.structured, json!({ "path": "picture", "mimeType": "image/png", "size": 12 }));
    assert_eq!(image.content, json!({ "type": "image", "data": "iVBORw0KGgoxMjM0", "mimeType": "image/png" }));
    assert_eq!(caller.ok("read_media", json!({ "path": "song.wav" })).content["type"], "audio");
    assert!(caller.err("read_media", json!({ "path": "notes.png" })).contains("read_file"));
    assert!(caller.err("read_media", json!({ "path": "huge.gif" })).contains("too large"));
}

#[test]
fn a_folder_is_listed_in_order_and_in_pages() {
    let folder = folder(&[("b.txt", "12345"), ("sub/c", "")]);
    std::os::unix::fs::symlink("b.txt", folder.path().join("a")).unwrap();
    let caller = reader(folder.path());
    let all = caller.ok("list_directory", json!({}));
    let expected =
        json!([{ "name": "a", "kind": "symlink" }, { "name": "b.txt", "kind": "file", "size": 5 }, { "name": "sub", "kind": "directory" }]);
    assert_eq!((&all.structured["entries"], &all.structured["total"]), (&expected, &json!(3)));
    assert_eq!(all.text(), "a (link)\nb.txt (5 bytes)\nsub/\n");
    let (paged, pages) = caller.pages("list_directory", json!({ "path": ".", "limit": 2 }), "entries");
    assert_eq!((json!(paged), pages), (expected, 2));
    assert!(caller.err("list_directory", json!({ "path": "b.txt" })).contains("no folder"));
}

#[test]
fn names_that_are_no_utf8_are_shown_and_break_nothing() {
    let folder = folder(&[("sub/x", "needle")]);
    fs::write(folder.path().join(OsStr::from_bytes(b"sub/\xff\xfe.txt")), "needle").unwrap();
    let caller = reader(folder.path());
    assert_eq!(caller.ok("list_directory", json!({ "path": "sub" })).structured["entries"][1]["name"], "\u{fffd}\u{fffd}.txt");
    assert_eq!(caller.ok("directory_tree", json!({})).structured["entries"], json!(["sub/", "sub/x", "sub/\u{fffd}\u{fffd}.txt"]));
    assert_eq!(caller.ok("search_files", json!({ "content": "needle" })).structured["matches"].as_array().unwrap().len(), 2);
}

#[test]
fn a_tree_leaves_out_what_git_ignores() {
    let folder = folder(&[
        (".gitignore", "/target\n*.log\n"),
        (".git/config", ""),
        ("target/debug/x", ""),
        ("src/.gitignore", "!keep.log\n"),
        ("src/keep.log", ""),
        ("src/a/b/c.rs", ""),
        ("x.log", ""),
    ]);
    let caller = reader(folder.path());
    let tree = |arguments| caller.ok("directory_tree", arguments).structured["entries"].clone();
    assert_eq!(tree(json!({})), json!([".gitignore", "src/", "src/.gitignore", "src/a/", "src/a/b/", "src/a/b/c.rs", "src/keep.log"]));
    assert_eq!(tree(json!({ "path": "src", "depth": 1 })), json!(["src/.gitignore", "src/a/", "src/keep.log"]));
    assert_eq!(tree(json!({ "include_ignored": true })).as_array().unwrap().len(), 13);
    let (paged, pages) = caller.pages("directory_tree", json!({ "limit": 3 }), "entries");
    assert_eq!((paged.len(), pages), (7, 3));
}

#[test]
fn a_tree_of_any_depth_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut path = folder.path().to_owned();
    for _ in 0..100 {
        path.push("d");
        fs::create_dir(&path).unwrap();
    }
    std::os::unix::fs::symlink(".", folder.path().join("loop")).unwrap();
    let tree = reader(folder.path()).ok("directory_tree", json!({ "depth": 1000 }));
    assert_eq!(tree.structured["entries"].as_array().unwrap().len(), 64 + 1);
}

#[test]
fn files_are_found_by_name_and_lines_by_content() {
    let folder = folder(&[
        ("src/main.rs", "fn main() {\n    run(1);\n}\n"),
        ("src/deep/lib.rs", "pub fn run(n: u8) {}\n"),
        ("README.md", "Run it.\n"),
        ("data", "run\0(1)"),
        (".gitignore", "build\n"),
        ("build/out.rs", "run(1)"),
    ]);
    let caller = reader(folder.path());
    let found = |arguments| caller.ok("search_files", arguments).text().to_owned();
    assert_eq!(found(json!({ "name": "*.rs" })), "src/deep/lib.rs\nsrc/main.rs\n");
    assert_eq!(found(json!({ "name": "src/*.rs" })), "src/main.rs\n");
    assert_eq!(found(json!({ "name": "deep/*.rs", "path": "src" })), "src/deep/lib.rs\n");
    assert_eq!(found(json!({ "content": "run(1)" })), "src/main.rs:2:     run(1);\n");
    assert_eq!(found(json!({ "content": r"^pub fn \w+\(", "regex": true })), "src/deep/lib.rs:1: pub fn run(n: u8) {}\n");
    assert_eq!(found(json!({ "content": "RUN", "ignore_case": true, "name": "*.MD" })), "README.md:1: Run it.\n");
    assert_eq!(found(json!({ "content": "absent" })), "[no match]\n");
    assert!(found(json!({ "content": "run(1)", "include_ignored": true })).contains("build/out.rs:1"));
    assert!(caller.err("search_files", json!({})).contains("`name`, `content` or both"));
    assert!(caller.err("search_files", json!({ "content": "(", "regex": true })).starts_with("argument `content`"));
    assert!(caller.err("search_files", json!({ "content": "(a{1000}){1000}", "regex": true })).starts_with("argument `content`"));
    assert!(caller.err("search_files", json!({ "name": "[" })).starts_with("argument `name`"));
}

#[test]
fn many_matches_come_in_pages_and_long_lines_are_cut() {
    let long = format!("needle{}\n", "x".repeat(10_000));
    let folder = folder(&[("a.txt", &"needle\n".repeat(250)), ("b.txt", &long)]);
    let caller = reader(folder.path());
    let (matches, pages) = caller.pages("search_files", json!({ "content": "needle" }), "matches");
    assert_eq!((matches.len(), pages), (251, 3));
    assert!(matches[250]["text"].as_str().unwrap().ends_with("bytes more]"));
}

#[test]
fn files_too_large_to_search_are_counted() {
    let folder = folder(&[("small", "needle")]);
    fs::File::create(folder.path().join("large")).unwrap().set_len(20 << 20).unwrap();
    let answer = reader(folder.path()).ok("search_files", json!({ "content": "needle" }));
    assert_eq!(answer.structured, json!({ "matches": [{ "path": "small", "line": 1, "text": "needle" }], "skipped": 1 }));
}

#[test]
fn a_file_is_described_as_it_is() {
    let folder = folder(&[("a.txt", "12345")]);
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
    let caller = reader(folder.path());
    let file = caller.ok("get_file_info", json!({ "path": "a.txt" })).structured;
    assert_eq!((&file["kind"], &file["size"], &file["links"]), (&json!("file"), &json!(5), &json!(1)));
    assert!(file["modified"].as_str().unwrap().starts_with("20"));
    let link = caller.ok("get_file_info", json!({ "path": "link" })).structured;
    assert_eq!((&link["kind"], &link["target"]), (&json!("symlink"), &json!("/etc/passwd")));
    assert_eq!(caller.ok("get_file_info", json!({ "path": "." })).structured["kind"], "directory");
}
