//! PyPI `mcp-server-git` over a repository of two commits whose hashes are the same every time.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{Server, command, stable, stdio_configuration};
use crate::harness::peers;
use crate::visit::Step;

/// Names and dates go into a commit's hash, so both are fixed.
const IDENTITY: [(&str, &str); 8] = [
    ("GIT_AUTHOR_NAME", "Ada"),
    ("GIT_AUTHOR_EMAIL", "ada@example.com"),
    ("GIT_AUTHOR_DATE", "2026-01-02T03:04:05+0000"),
    ("GIT_COMMITTER_NAME", "Ada"),
    ("GIT_COMMITTER_EMAIL", "ada@example.com"),
    ("GIT_COMMITTER_DATE", "2026-01-02T03:04:05+0000"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
];

pub(crate) fn server(folder: &Path) -> Server {
    let root = folder.join("repository");
    lay_out(&root);
    let path = root.display().to_string();
    let direct = command(vec![peers::pypi_mcp_1("mcp-server-git"), "--repository".to_owned(), path.clone()], &IDENTITY);
    let configuration = format!("{}write = [{path:?}]\n", stdio_configuration(&direct));
    let steps = vec![
        stable(Step::list("tools/list")),
        stable(Step::call("git_status", &json!({ "repo_path": path }))),
        stable(Step::call("git_log", &json!({ "repo_path": path, "max_count": 5 }))),
        stable(Step::call("git_show", &json!({ "repo_path": path, "revision": "HEAD" }))),
        stable(Step::call("git_diff_unstaged", &json!({ "repo_path": path, "context_lines": 1 }))),
        stable(Step::call("git_add", &json!({ "repo_path": path, "files": ["a.txt"] }))),
        stable(Step::call("git_diff_staged", &json!({ "repo_path": path }))),
        stable(Step::call("git_reset", &json!({ "repo_path": path }))),
        stable(Step::call("git_create_branch", &json!({ "repo_path": path, "branch_name": "topic" }))),
        stable(Step::call("git_branch", &json!({ "repo_path": path, "branch_type": "local" }))),
        stable(Step::call("git_add", &json!({ "repo_path": path, "files": ["a.txt"] }))),
        stable(Step::call("git_commit", &json!({ "repo_path": path, "message": "third" }))),
        stable(Step::call("git_diff", &json!({ "repo_path": path, "target": "topic" }))),
        stable(Step::call("git_checkout", &json!({ "repo_path": path, "branch_name": "topic" }))),
        stable(Step::call("git_log", &json!({ "repo_path": "/somewhere/else" }))),
    ];
    let reset = Box::new(|folder: &Path| lay_out(&folder.join("repository")));
    Server { name: "git", direct, configuration, steps, not_called: vec![], asking: vec![], remembering: vec![], one_sided: vec![], reset }
}

/// Made anew inside the same folder, since a running server's boundary holds the folder itself.
fn lay_out(root: &Path) {
    let _absent_is_as_good = fs::remove_dir_all(root.join(".git"));
    fs::create_dir_all(root).expect("the project is writable");
    git(root, &["init", "--quiet", "--initial-branch=main"]);
    for (text, message) in [("one\n", "first"), ("one\ntwo\n", "second")] {
        fs::write(root.join("a.txt"), text).expect("the project is writable");
        git(root, &["add", "a.txt"]);
        git(root, &["commit", "--quiet", "--message", message]);
    }
    fs::write(root.join("a.txt"), "one\ntwo changed\n").expect("the project is writable");
}

fn git(root: &Path, arguments: &[&str]) {
    let mut git = Command::new("git");
    git.current_dir(root).args(arguments).envs(IDENTITY).stdin(Stdio::null());
    assert!(git.status().is_ok_and(|status| status.success()), "git {arguments:?} in {} failed", root.display());
}
