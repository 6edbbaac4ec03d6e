//! Where the kernel refuses a layer nothing runs, and the error names the layer and the cure.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::process::{Command, Output, Stdio};

use support::{Caller, Folder, callers, is_root, launcher, text};

/// Runs `setting` in a namespace of its own, then the launcher in there.
fn under(unshare: &[&str], setting: &str, options: &str, command: &str) -> Output {
    let launcher = env!("CARGO_BIN_EXE_sallyport-launcher");
    Command::new("unshare")
        .args(unshare)
        .args(["/bin/sh", "-c", &format!("{setting} && exec {launcher} {options} -- {command}")])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn without_user_namespaces_nothing_runs() {
    let denied = "echo 0 > /proc/sys/user/max_user_namespaces";
    let output = under(&["--user", "--map-root-user"], denied, "", "/bin/echo ran");
    let stderr = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(125), ""), "{stderr}");
    assert!(stderr.contains("layer user namespace is not in force"), "{stderr}");
    assert!(stderr.contains("hint: raise user.max_user_namespaces"), "{stderr}");
}

#[test]
fn without_network_namespaces_nothing_runs_unless_the_network_is_the_hosts() {
    let denied = "echo 0 > /proc/sys/user/max_net_namespaces";
    let output = under(&["--user", "--map-root-user"], denied, "", "/bin/echo ran");
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(125), ""));
    assert!(text(&output.stderr).contains("layer network namespace is not in force"));

    let output = under(&["--user", "--map-root-user"], denied, "--network host", "/bin/echo ran");
    assert_eq!(text(&output.stdout), "ran\n", "{}", text(&output.stderr));
}

#[test]
fn with_a_covered_procfs_as_in_containers_programs_run_without_one() {
    if !is_root() {
        return;
    }
    let covered = "mount -t tmpfs none /proc/driver";
    let report = tempfile::NamedTempFile::new().unwrap();
    let options = format!("--layers {}", report.path().display());
    for command in ["node -p 1+1", "/usr/bin/python3 -c 'print(1+1)'"] {
        let output = under(&["--mount"], covered, &options, command);
        assert_eq!(text(&output.stdout), "2\n", "{}", text(&output.stderr));
        let layers: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(report.path()).unwrap()).unwrap();
        let reason = layers["layers"]["procfs"]["absent"].as_str().unwrap();
        assert!(reason.starts_with("the program runs without /proc"), "{reason}");
    }
}

#[test]
fn a_containers_root_without_cap_sys_admin_reads_what_everybody_may_and_is_refused_to_write() {
    if !is_root() {
        return;
    }
    let launcher = env!("CARGO_BIN_EXE_sallyport-launcher");
    let folder = tempfile::Builder::new().prefix("sallyport-test-").tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(folder.path().join("text"), "for everybody").unwrap();
    let run = |access: &str| {
        let mut run = Command::new("setpriv");
        run.args(["--inh-caps=-sys_admin", "--bounding-set=-sys_admin", launcher, access]).arg(folder.path());
        run.args(["--", "/bin/cat", "text"]).stdin(Stdio::null()).output().unwrap()
    };
    let output = run("--read");
    assert_eq!(text(&output.stdout), "for everybody", "{}", text(&output.stderr));
    let output = run("--write");
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(125), ""));
    assert!(text(&output.stderr).contains("layer id-mapped roots is not in force"), "{}", text(&output.stderr));
}

#[test]
fn a_program_that_cannot_be_executed_is_an_error_and_not_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("not-a-program");
    std::fs::write(&file, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let output = support::run(support::Caller::Itself, &[], &[file.to_str().unwrap()]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr.contains("execute") && stderr.contains("hint: "), "{stderr}");
}

#[test]
fn an_interpreter_that_is_not_in_the_sandbox_is_named_with_what_to_read() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let root = folder.path().canonicalize().unwrap();
    let write = |name: &str, text: &str| {
        let file = root.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let interpreter = write("language/bin/interpret", "#!/bin/sh\necho interpreted\n");
    let prefix = root.join("language");
    let cases = [
        ("#!/no/such/interpreter\n", "/no/such/interpreter, which is not there", "correct the first line"),
        (&format!("#!{interpreter}\n"), &*format!("{interpreter}, which it does not see"), &*format!("add {prefix:?} to")),
        ("#!/usr/bin/env no-such-language\n", "no-such-language, which is in no folder of its PATH", "install no-such-language"),
    ];
    for (line, why, hint) in cases {
        let script = write("program/server", line);
        let output = support::run(support::Caller::Itself, &[], &[&script]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{stderr}");
        assert!(stderr.contains(why) && stderr.contains("hint: ") && stderr.contains(hint), "{stderr}");
    }
    let script = write("program/server", &format!("#!{interpreter}\n"));
    let output = support::run(support::Caller::Itself, &["--read", prefix.to_str().unwrap()], &[&script]);
    assert_eq!(text(&output.stdout), "interpreted\n", "{}", text(&output.stderr));
}

/// Answers a call of the launcher with "done" without doing it: its number on x86-64 and on arm64.
fn pretending(caller: Caller, (x86_64, aarch64): (u32, u32), options: &[&str]) -> Output {
    let number = if cfg!(target_arch = "x86_64") { x86_64 } else { aarch64 };
    let program = launcher(caller, options, &["/bin/echo", "ran"]);
    let mut line: Vec<_> = std::iter::once(program.get_program()).chain(program.get_args()).map(std::ffi::OsStr::to_owned).collect();
    // `setpriv` and its three options come first: the filter is for the launcher alone.
    let first = if caller == Caller::User { 4 } else { 0 };
    // A copy where the user can go by himself: behind the filter he has nothing of root's left.
    let folder = Folder::of(caller);
    let copy = folder.path("launcher");
    std::fs::copy(env!("CARGO_BIN_EXE_sallyport-launcher"), &copy).unwrap();
    line[first] = copy.into();
    let filter = ["/usr/bin/python3", "-c", include_str!("support/filter.py"), &format!("{number}:0"), "--"];
    line.splice(first..first, filter.map(std::ffi::OsString::from));
    Command::new(&line[0]).args(&line[1..]).current_dir("/").stdin(Stdio::null()).output().unwrap()
}

#[test]
fn what_was_only_said_to_be_done_is_found_out() {
    const LANDLOCK: (u32, u32) = (446, 446);
    let refused = |caller, call, options: &[&str], layer: &str| {
        let output = pretending(caller, call, options);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(125), ""), "{caller:?} {layer}: {stderr}");
        assert!(stderr.contains(&format!("layer {layer} is not in force")), "{caller:?} {layer}: {stderr}");
    };
    for caller in callers() {
        refused(*caller, LANDLOCK, &[], "landlock");
        refused(*caller, LANDLOCK, &["--sandbox", "landlock"], "landlock");
        refused(*caller, (126, 91), &[], "capabilities"); // capset
        refused(*caller, (442, 442), &[], "private root"); // mount_setattr
        refused(*caller, (272, 97), &[], "user namespace"); // unshare
        refused(*caller, (157, 167), &["--sandbox", "landlock"], "no new privileges"); // prctl
    }
    if is_root() {
        refused(Caller::Itself, (117, 147), &[], "uid drop"); // setresuid
    }
}
