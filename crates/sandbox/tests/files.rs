//! What a program sees of the host's files, and whose the files are that it writes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::process::Command;

use support::{Caller, Folder, callers, is_root, launcher, run, succeeds, text};

fn shell(script: &str) -> [&str; 3] {
    ["/bin/sh", "-c", script]
}

#[test]
fn what_is_written_in_a_root_is_there_on_the_host_and_belongs_to_the_owner_of_the_root() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let root = folder.folder("root");
        folder.file("root/private", "only for its owner");
        let options = ["--write", root.to_str().unwrap()];
        let seen = succeeds(*caller, &options, &shell("cat private; echo new > made; mkdir sub; echo more >> private; mv made moved"));
        assert_eq!(seen, "only for its owner");
        for name in ["private", "moved", "sub"] {
            let found = fs::metadata(root.join(name)).unwrap();
            assert_eq!((found.uid(), found.gid()), (folder.owner(), folder.owner()), "{caller:?}: {name}");
        }
        assert_eq!(fs::read_to_string(root.join("moved")).unwrap(), "new\n");
    }
}

#[test]
fn a_gateway_run_by_root_serves_the_folder_of_another_user_as_that_user() {
    if !is_root() {
        return;
    }
    let folder = Folder::of(Caller::User);
    let root = folder.folder("root");
    folder.file("root/private", "the user's");
    let roots_own = folder.file("root/roots", "root's own");
    chown(&roots_own, Some(0), Some(0)).unwrap();
    let options = ["--write", root.to_str().unwrap()];
    let seen = succeeds(Caller::Itself, &options, &shell("cat private; cat roots 2>&1; echo new > made; id -u"));
    assert!(seen.starts_with("the user's"), "{seen}");
    assert!(seen.contains("Permission denied") && !seen.contains("root's own"), "{seen}");
    assert!(seen.ends_with("1000\n"), "{seen}");
    assert_eq!(fs::metadata(root.join("made")).unwrap().uid(), support::USER);
}

#[test]
fn outside_its_roots_nothing_can_be_written_and_nothing_that_is_not_named_can_be_seen() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let (read, write) = (folder.folder("read"), folder.folder("write"));
        folder.file("read/text", "readable");
        let secret = folder.file("secret", "hidden");
        let script = format!(
            "cat {read}/text; for place in {read}/x /usr/x /etc/x /x {secret} {beside}; do echo no > $place && echo wrote $place; done; \
             cat {secret} && echo saw it; ls {beside}; true",
            read = read.display(),
            secret = secret.display(),
            beside = folder.path("").display(),
        );
        let options = ["--read", read.to_str().unwrap(), "--write", write.to_str().unwrap()];
        let seen = succeeds(*caller, &options, &shell(&script));
        assert_eq!(seen, "readableread\nwrite\n", "{caller:?}");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "hidden");
        assert_eq!(fs::read_dir(&read).unwrap().count(), 1);
    }
}

#[test]
fn paths_mean_the_same_inside_also_through_links() {
    let folder = Folder::of(Caller::Itself);
    folder.folder("real/project");
    folder.file("real/project/text", "found");
    symlink("real", folder.path("link")).unwrap();
    let through = folder.path("link/project");
    let seen = succeeds(
        Caller::Itself,
        &["--read", through.to_str().unwrap(), "--cwd", through.to_str().unwrap()],
        &shell(&format!("cat {0}/text; cd {0}; pwd -P; readlink {1}", through.display(), folder.path("link").display())),
    );
    assert_eq!(seen, format!("found{}\nreal\n", folder.path("real/project").display()));
}

/// A store of packages in a hidden folder of a home that is shown, moved to another disk.
#[test]
fn a_link_in_a_hidden_folder_leads_to_what_is_named_through_it() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let home = folder.folder("home");
        let hidden = folder.folder("home/share/own");
        folder.file("home/share/own/secret", "hidden");
        let tool = folder.folder("disk/packages/tool");
        fs::copy("/bin/cat", tool.join("tool")).unwrap();
        folder.file("disk/packages/tool/text", "found\n");
        folder.file("disk/packages/other", "not named");
        folder.folder("home/share/own/store");
        symlink(folder.path("disk/packages"), hidden.join("store/packages")).unwrap();
        let through = hidden.join("store/packages/tool");
        let [home, hidden, named] = [&home, &hidden, &through].map(|path| path.to_str().unwrap());
        let options = ["--read", home, "--hidden", hidden, "--read", named];
        let tool = through.join("tool").display().to_string();
        assert_eq!(succeeds(*caller, &options, &[&tool, &format!("{named}/text")]), "found\n", "{caller:?}");
        let all = succeeds(*caller, &options, &shell(&format!("cd {hidden}; ls; ls store store/packages; echo no > x || echo refused")));
        assert_eq!(all, "store\nstore:\npackages\n\nstore/packages:\ntool\nrefused\n", "{caller:?}");
    }
}

/// What stands in the place of the hidden folder is made by root, who keeps his own files from everybody.
#[test]
fn a_gateway_that_makes_files_for_nobody_else_shows_what_is_named_in_a_hidden_folder() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let (home, hidden) = (folder.folder("home"), folder.folder("home/share/own"));
        let tool = folder.folder("home/share/own/packages/tool");
        folder.file("home/share/own/packages/tool/text", "found\n");
        let [home, hidden, tool] = [&home, &hidden, &tool].map(|path| path.to_str().unwrap());
        let options = ["--read", home, "--hidden", hidden, "--read", tool];
        let confined = launcher(*caller, &options, &shell(&format!("cat {tool}/text; umask; echo own > /tmp/own && cat /tmp/own")));
        let mut closed = Command::new("/bin/sh");
        closed.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(confined.get_program()).args(confined.get_args());
        let seen = closed.output().unwrap();
        assert_eq!(text(&seen.stdout), "found\n0022\nown\n", "{caller:?}: {}", text(&seen.stderr));
    }
}

#[test]
fn a_root_to_write_inside_a_root_to_read() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let (outer, inner) = (folder.folder("outer"), folder.folder("outer/inner"));
        let options = ["--read", outer.to_str().unwrap(), "--write", inner.to_str().unwrap()];
        let seen = succeeds(
            *caller,
            &options,
            &shell("echo x > $0/inner/x && echo wrote; echo x > $0/x || echo refused")
                .into_iter()
                .chain([outer.to_str().unwrap()])
                .collect::<Vec<_>>(),
        );
        assert_eq!(seen, "wrote\nrefused\n");
    }
}

#[test]
fn a_file_to_read_inside_a_root_to_write_can_be_neither_changed_nor_replaced() {
    let script = "cd $0; cat sub/deep/rules; \
        for try in 'echo no > sub/deep/rules' 'echo no > x && mv -f x sub/deep/rules' 'rm -f sub/deep/rules' 'mv sub/deep/rules y' \
            'ln sub/deep/rules z' 'chmod 777 sub/deep/rules' 'mv sub/deep away' 'mv sub away' 'rm -rf sub'; \
        do (eval \"$try\") 2>>/tmp/why && echo \"done: $try\"; done; \
        grep -c 'Read-only file system' /tmp/why; cat sub/deep/rules; echo new > sub/deep/beside && cat sub/deep/beside";
    for caller in callers() {
        let folder = Folder::of(*caller);
        let root = folder.folder("root");
        ["root/sub", "root/sub/deep"].iter().for_each(|name| drop(folder.folder(name)));
        let rules = folder.file("root/sub/deep/rules", "rules\n");
        let options = ["--write", root.to_str().unwrap(), "--read", rules.to_str().unwrap()];
        let seen = succeeds(*caller, &options, &["/bin/sh", "-c", script, root.to_str().unwrap()]);
        assert_eq!(seen, "rules\n2\nrules\nnew\n", "{caller:?}");
        assert_eq!(fs::read_to_string(&rules).unwrap(), "rules\n");
    }
}

#[test]
fn a_missing_root_is_an_error_that_names_it_and_nothing_runs() {
    for caller in callers() {
        let output = run(*caller, &["--read", "/no/such/folder"], &["/bin/echo", "ran"]);
        assert_eq!(output.status.code(), Some(125));
        assert_eq!(text(&output.stdout), "");
        let stderr = text(&output.stderr);
        assert!(stderr.contains("root /no/such/folder cannot be shown") && stderr.contains("hint: "), "{stderr}");
    }
}
