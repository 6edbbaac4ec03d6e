//! What a program must not write in a folder that is its to write, as root and as an ordinary user.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sallyport_sandbox::DENY_WRITE;
use support::{Caller, Folder, callers, eventually, is_root, launcher, run, succeeds, text};

/// A project with nothing in it but a file, for one caller.
fn project(caller: Caller) -> Folder {
    let folder = Folder::of(caller);
    folder.folder("project");
    folder.file("project/file", "text");
    folder
}

fn options(folder: &Folder) -> Vec<String> {
    let write = ["--write".to_owned(), folder.path("project").display().to_string()];
    write.into_iter().chain(DENY_WRITE.iter().flat_map(|entry| ["--deny-write".to_owned(), (*entry).to_owned()])).collect()
}

fn inside(caller: Caller, folder: &Folder, script: &str) -> String {
    let options = options(folder);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let project = folder.path("project");
    succeeds(caller, &options, &["/bin/sh", "-c", &format!("cd {} && {{ {script}; }} 2>&1; true", project.display())])
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A program that waits for the end of its stdin.
fn waiting(caller: Caller, folder: &Folder, script: &str) -> Child {
    let options = options(folder);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let script = format!("cd {}; echo ready; read x; {script}", folder.path("project").display());
    let mut child = launcher(caller, &options, &["/bin/sh", "-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    child
}

#[test]
fn what_is_not_there_cannot_be_made_and_nothing_stays() {
    for caller in callers() {
        let folder = project(*caller);
        let said = inside(
            *caller,
            &folder,
            "mkdir .git; echo x > .envrc; echo x > .vscode/tasks.json; rmdir .mcp.json; mv .claude x; echo x > new",
        );
        assert_eq!(said.lines().count(), 5, "{said}");
        assert_eq!(names(&folder.path("project")), BTreeSet::from(["file", "new"].map(str::to_owned)));
    }
}

#[test]
fn what_is_there_stays_as_it_is() {
    for caller in callers() {
        let folder = project(*caller);
        for inner in ["project/.git", "project/.git/hooks", "project/.vscode"] {
            folder.folder(inner);
        }
        for file in ["project/.git/config", "project/.git/hooks/pre-commit", "project/.vscode/tasks.json", "project/.envrc"] {
            folder.file(file, "mine");
        }
        let said = inside(
            *caller,
            &folder,
            "echo x > .git/config; echo x > .git/hooks/post-commit; rm .git/hooks/pre-commit; mv .git moved; echo x > .envrc; rm .envrc; \
             mv file .envrc; echo x > .git/commondir; chmod 777 .vscode; echo x > .git/index",
        );
        assert_eq!(said.lines().count(), 9, "{said}");
        for file in ["project/.git/config", "project/.git/hooks/pre-commit", "project/.vscode/tasks.json", "project/.envrc"] {
            assert_eq!(fs::read_to_string(folder.path(file)).unwrap(), "mine");
        }
        assert_eq!(names(&folder.path("project/.git")), BTreeSet::from(["config", "hooks", "index"].map(str::to_owned)));
    }
}

#[test]
fn what_a_shell_or_a_login_runs_stays_where_the_home_is_there_to_write() {
    for caller in callers() {
        let folder = project(*caller);
        let home = folder.folder("project/home");
        folder.file("project/home/.bashrc", "mine");
        let options = options(&folder);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let script = "cd $WHERE && { echo x > .bashrc; rm .bashrc; mv ../file .profile; mkdir .ssh; mkdir -p .config/systemd/user; echo x > .npmrc; \
                      echo x > other; echo x > ../.bashrc; } 2>&1; true";
        let place = format!("WHERE={}", home.display());
        let options = [&options[..], &["--env", &place]].concat();
        let output = launcher(*caller, &options, &["/bin/sh", "-c", script]).env("HOME", &home).output().unwrap();
        let said = text(&output.stdout);
        assert_eq!(said.lines().count(), 6, "{said} {}", text(&output.stderr));
        assert_eq!(fs::read_to_string(home.join(".bashrc")).unwrap(), "mine");
        let left = names(&home); // what was covered for is gone again, but for a folder that others may have come to need
        assert!(left.is_subset(&BTreeSet::from([".bashrc", ".config", "other"].map(str::to_owned))) && left.contains("other"), "{left:?}");
        assert!(folder.path("project/.bashrc").is_file(), "a file of that name elsewhere is no shell's");
    }
}

#[test]
fn what_editors_and_tools_run_of_a_home_stays_as_it_is() {
    let kept = [".vimrc", ".xprofile", ".claude.json", ".config/nvim/init.lua", ".local/bin/git", ".cargo/config.toml", ".cargo/bin/cargo"];
    let of_tools = [".vim/vimrc", ".docker/config.json", ".docker/cli-plugins/docker-x", ".aws/config"];
    for caller in callers() {
        let folder = project(*caller);
        let home = folder.folder("project/home");
        for inner in [".local", ".cargo", ".docker", ".aws", ".config"] {
            folder.folder(&format!("project/home/{inner}"));
        }
        folder.file("project/home/.aws/config", "mine");
        let options = options(&folder);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let script =
            "cd $WHERE && for name in $NAMES; do mkdir -p ${name%/*}; echo x > $name || echo kept; done 2>/dev/null; echo x > mine";
        let (place, names) = (format!("WHERE={}", home.display()), format!("NAMES={}", [&kept[..], &of_tools].concat().join(" ")));
        let options = [&options[..], &["--env", &place, "--env", &names]].concat();
        let output = launcher(*caller, &options, &["/bin/sh", "-c", script]).env("HOME", &home).output().unwrap();
        assert_eq!(text(&output.stdout).lines().count(), 11, "{output:?}");
        assert_eq!(fs::read_to_string(home.join(".aws/config")).unwrap(), "mine");
        assert!(home.join("mine").is_file());
        for name in kept.iter().chain(&of_tools).filter(|name| **name != ".aws/config") {
            assert!(!home.join(name).is_file(), "{name}");
        }
        let said = inside(*caller, &folder, "mkdir .hg; echo x > .hg/hgrc; echo x > mise.toml");
        assert_eq!(said.lines().count(), 3, "{said}");
    }
}

#[test]
fn a_link_is_kept_and_what_it_leads_to_outside_is_not_shown() {
    for caller in callers() {
        let folder = project(*caller);
        let outside = folder.file("outside", "secret");
        folder.file("project/agents.json", "mine");
        symlink(&outside, folder.path("project/.envrc")).unwrap();
        symlink("agents.json", folder.path("project/.mcp.json")).unwrap();
        let said = inside(
            *caller,
            &folder,
            "cat .envrc; rm .envrc; mv file .envrc; cat .mcp.json; echo x > .mcp.json; echo x > agents.json; rm .mcp.json",
        );
        assert!(!said.contains("secret") && said.contains("mine"), "{said}");
        assert_eq!(fs::read_link(folder.path("project/.envrc")).unwrap(), outside);
        assert_eq!(fs::read_to_string(folder.path("project/.mcp.json")).unwrap(), "mine");
        assert!(folder.path("project/.mcp.json").is_symlink());
    }
}

#[test]
fn git_works_inside_and_outside_meanwhile() {
    let git = ["-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "safe.directory=*"];
    for caller in callers() {
        let folder = project(*caller);
        let project = folder.path("project");
        // Made as the caller, so that everything is his.
        let made = match caller {
            Caller::Itself => Command::new("git").args(["init", "-q"]).arg(&project).status(),
            Caller::User => {
                let id = support::USER;
                Command::new("setpriv")
                    .args([&format!("--reuid={id}"), &format!("--regid={id}"), "--clear-groups", "git", "init", "-q"])
                    .arg(&project)
                    .status()
            }
        };
        assert!(made.unwrap().success());
        let before = names(&project.join(".git"));
        let script = format!(
            "git {} add file && git {} commit -qm first; git log --format=%s; git config user.name x",
            git.join(" "),
            git.join(" ")
        );
        let child = waiting(*caller, &folder, &format!("exec 2>&1; {script}"));
        // Covered names do not disturb who works on the host.
        let outside = Command::new("git").args(git).args(["status", "--short"]).current_dir(&project).output().unwrap();
        assert_eq!((text(&outside.stdout).as_str(), outside.status.success()), ("?? file\n", true), "{}", text(&outside.stderr));
        let output = child.wait_with_output().unwrap();
        let said = text(&output.stdout);
        assert!(
            said.starts_with("first\n") && said.contains("could not lock config file") || said.contains("could not write config file"),
            "{said}"
        );
        let after = names(&project.join(".git"));
        assert!(after.is_superset(&before) && !after.contains("commondir"), "{after:?}");
    }
}

#[test]
fn nothing_stays_when_the_gateway_is_killed() {
    for caller in callers() {
        let folder = project(*caller);
        let mut child = waiting(*caller, &folder, "sleep 600");
        assert!(folder.path("project/.envrc").is_dir());
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("nothing covers it any more", || names(&folder.path("project")) == BTreeSet::from(["file".to_owned()]));
    }
}

#[test]
fn what_covers_a_name_stays_for_the_last_of_two() {
    for caller in callers() {
        let folder = project(*caller);
        let first = waiting(*caller, &folder, "true");
        let second = waiting(*caller, &folder, "echo x > .envrc || echo refused");
        assert!(first.wait_with_output().unwrap().status.success());
        assert!(folder.path("project/.envrc").is_dir());
        assert_eq!(text(&second.wait_with_output().unwrap().stdout), "refused\n");
        assert_eq!(names(&folder.path("project")), BTreeSet::from(["file".to_owned()]));
    }
}

#[test]
fn what_was_left_is_taken_away_and_what_is_used_stays() {
    for caller in callers() {
        let folder = project(*caller);
        // As after a power failure.
        let left = folder.folder("project/.idea");
        fs::set_permissions(&left, fs::Permissions::from_mode(0o1555)).unwrap();
        let child = waiting(*caller, &folder, "true");
        let used = folder.path("project/.vscode");
        fs::set_permissions(&used, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(used.join("tasks.json"), "mine").unwrap();
        assert!(child.wait_with_output().unwrap().status.success());
        assert_eq!(names(&folder.path("project")), BTreeSet::from([".vscode", "file"].map(str::to_owned)));
        assert_eq!(used.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    }
}

/// Its owner could open it again, and so could the program.
#[test]
fn a_folder_that_its_owner_has_closed_is_refused() {
    for caller in callers() {
        let folder = project(*caller);
        fs::set_permissions(folder.path("project"), fs::Permissions::from_mode(0o555)).unwrap();
        let options = options(&folder);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let file = folder.path("project/file");
        let output = run(*caller, &options, &["/bin/cat", file.to_str().unwrap()]);
        match *caller == Caller::Itself && is_root() {
            true => assert_eq!(text(&output.stdout), "text", "nothing is closed to root: {}", text(&output.stderr)),
            false => assert!(output.stdout.is_empty() && text(&output.stderr).contains("cannot be covered"), "{output:?}"),
        }
        fs::set_permissions(folder.path("project"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(names(&folder.path("project")), BTreeSet::from(["file".to_owned()]));
    }
}

#[test]
fn what_was_closed_to_be_opened_later_is_refused() {
    for caller in callers().iter().filter(|caller| **caller == Caller::User || !is_root()) {
        let folder = project(*caller);
        let git = folder.folder("project/.git");
        folder.folder("project/.git/hooks");
        fs::set_permissions(&git, fs::Permissions::from_mode(0o000)).unwrap();
        let options = options(&folder);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let output = run(*caller, &options, &["/bin/chmod", "755", git.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
