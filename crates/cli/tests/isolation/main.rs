//! `sallyport sandbox`, as root and as an ordinary user: every attack ends as the rows say, which also make
//! `docs/reference/isolation.md`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking and says why")]

#[path = "../harness/mod.rs"]
mod harness;
mod page;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use sallyport_sandbox::attack::{Outcome, ROWS};
use serde_json::Value;

/// An id that no distribution gives to anybody.
const USER: u32 = 64_111;

/// Whether the command is run as that user, or as whoever runs the test. Root tests both.
fn callers() -> &'static [bool] {
    if rustix::process::geteuid().is_root() { &[false, true] } else { &[false] }
}

/// `sallyport ARGUMENTS`, with a home of its own.
fn sallyport(as_user: bool, home: &Path, arguments: &[&str]) -> Command {
    let binary = env!("CARGO_BIN_EXE_sallyport");
    let mut run = match as_user {
        false => Command::new(binary),
        true => {
            let mut run = Command::new("setpriv");
            run.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups", binary]);
            run
        }
    };
    run.args(arguments).env_clear().env("HOME", home).env("PATH", "/usr/local/bin:/usr/bin:/bin").current_dir(home);
    run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    run
}

/// A home for the caller, where another user can reach it.
fn home(as_user: bool) -> tempfile::TempDir {
    let home = tempfile::Builder::new().prefix("sallyport-test-").tempdir_in("/var/tmp").unwrap();
    if as_user {
        chown(home.path(), Some(USER), Some(USER)).unwrap();
    }
    home
}

fn give(as_user: bool, path: &Path) {
    if as_user {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)))
}

/// A home with a key where people have theirs: nothing of it may come out.
fn home_with_a_key(as_user: bool) -> tempfile::TempDir {
    let home = home(as_user);
    let folder = home.path().join(".ssh");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("id_ed25519"), "key-of-the-user").unwrap();
    for (path, mode) in [(folder.join("id_ed25519"), 0o600), (folder, 0o700)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        give(as_user, &path);
    }
    home
}

/// Looks whether every verdict is the one that the row says; what is open and was not to be makes the command fail as what is known to be.
fn are_as_the_rows_say(backend: &str, as_user: bool, output: &Output) {
    let verdicts = json(output);
    for (row, verdict) in ROWS.iter().zip(verdicts.as_array().unwrap()) {
        assert_eq!((&verdict["row"], &verdict["name"]), (&Value::from(row.number), &Value::from(row.name)));
        let (outcome, reason) = row.expected(backend);
        let detail = verdict["detail"].as_str().unwrap();
        let is_expected = [outcome, Outcome::Stopped].iter().any(|one| verdict["outcome"] == one.word() && row.expects(backend, *one));
        assert!(is_expected, "{backend}, as user {as_user}: {}: {}: {detail}", row.name, verdict["outcome"]);
        assert!(!verdict["layer"].as_str().unwrap().is_empty() && !detail.is_empty());
        let reason = reason.filter(|_| verdict["outcome"] == outcome.word());
        assert!(detail.ends_with(reason.unwrap_or_default()), "{backend}, as user {as_user}: {}: {detail}", row.name);
    }
    let is_open = verdicts.as_array().unwrap().iter().any(|verdict| verdict["outcome"] == Outcome::Open.word());
    assert_eq!((verdicts.as_array().unwrap().len(), output.status.code()), (ROWS.len(), Some(i32::from(is_open))));
    assert!(!text(&output.stdout).contains("key-of-the-user"));
}

#[test]
fn every_attack_ends_as_the_rows_say() {
    for as_user in callers() {
        let home = home_with_a_key(*as_user);
        // Two at once do not disturb each other.
        let second = sallyport(*as_user, home.path(), &["sandbox", "attack", "--backend", "os"]).spawn().unwrap();
        let output = sallyport(*as_user, home.path(), &["sandbox", "attack", "--json"]).output().unwrap();
        are_as_the_rows_say("os", *as_user, &output);
        let race = json(&output).as_array().unwrap().iter().find(|verdict| verdict["row"] == 31).unwrap()["detail"].clone();
        assert!(race.as_str().unwrap().ends_with("of other files within 10s"), "{race}");
        let second = second.wait_with_output().unwrap();
        let table = text(&second.stdout);
        let open = json(&output).as_array().unwrap().iter().filter(|verdict| verdict["outcome"] == Outcome::Open.word()).count();
        let sum = format!("{} of 41 attacks on `os` stopped, {open} open", 37 - open);
        assert!(second.status.success() == (open == 0) && table.contains(&sum), "{table}{}", text(&second.stderr));
    }
}

/// Those of root that the sandbox's own tests attack are left to them.
#[test]
fn every_attack_on_the_other_back_ends_does_too() {
    let is_root = callers().len() == 2;
    for as_user in callers() {
        let home = home_with_a_key(*as_user);
        let runs_gvisor = is_root && !as_user && Path::new("/usr/bin/runsc").exists();
        let is_new = *as_user || !is_root;
        let backends = [("landlock", is_new), ("gvisor", runs_gvisor), ("wasm", is_new && cfg!(feature = "wasm"))];
        for (backend, _) in backends.iter().filter(|(_, is_here)| *is_here) {
            let output = sallyport(*as_user, home.path(), &["sandbox", "attack", "--json", "--backend", backend]).output().unwrap();
            are_as_the_rows_say(backend, *as_user, &output);
        }
    }
}

/// As an ordinary user, where root can be one: root's machines are attacked by the sandbox's own tests, and an emulated one takes minutes.
#[cfg(target_arch = "x86_64")]
#[test]
#[ignore = "needs QEMU and the peers that `cargo xtask peers` installs"]
fn every_attack_from_inside_a_machine_does_too() {
    let prepared = harness::peers::guest();
    let as_user = callers().contains(&true);
    let home = home_with_a_key(as_user);
    let guest = home.path().join(".cache/sallyport/microvm/guest");
    fs::create_dir_all(&guest).unwrap();
    for file in fs::read_dir(&prepared).unwrap().map(|entry| entry.unwrap().path()) {
        fs::copy(&file, guest.join(file.file_name().unwrap())).unwrap();
    }
    for path in
        [".cache", ".cache/sallyport", ".cache/sallyport/microvm", ".cache/sallyport/microvm/guest"].map(|path| home.path().join(path))
    {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        give(as_user, &path);
    }
    let output = sallyport(as_user, home.path(), &["sandbox", "attack", "--json", "--backend", "microvm"]).output().unwrap();
    are_as_the_rows_say("microvm", as_user, &output);
}

#[test]
fn a_back_end_that_is_not_there_is_named_with_those_that_are() {
    let home = home(false);
    let output = sallyport(false, home.path(), &["sandbox", "attack", "--backend", "castle"]).output().unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("no sandbox back-end `castle`") && said.contains("hint: the back-ends are `os`"), "{said}");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[test]
fn inspect_shows_what_is_meant_and_what_the_kernel_has() {
    for as_user in callers() {
        let home = home(*as_user);
        let configuration = home.path().join("sallyport.toml");
        let project = home.path().join("project");
        fs::create_dir(&project).unwrap();
        let servers = "[servers.cat]\ncommand = [\"cat\"]\nwrite = [\"project\"]\nnetwork = [\"api.example.com:443\"]\n\
             env = { TOKEN = \"value-of-the-token\" }\n[servers.files]\nbuiltin = { filesystem = { root = \"project\" } }\n";
        fs::write(&configuration, servers).unwrap();
        give(*as_user, &project);
        let inspect = |arguments: &[&str]| {
            let arguments = [&["--config", configuration.to_str().unwrap(), "sandbox", "inspect"], arguments].concat();
            sallyport(*as_user, home.path(), &arguments).output().unwrap()
        };
        let output = inspect(&["cat", "--json"]);
        assert!(!text(&output.stdout).contains("value-of-the-token"));
        let found = json(&output);
        assert_eq!((&found["server"], &found["backend"]), (&"cat".into(), &"os".into()));
        assert_eq!(found["profile"]["network"][0], "api.example.com:443");
        assert_eq!(found["profile"]["environment"][0], "TOKEN");
        let status = &found["kernel"]["status"];
        assert_eq!((&status["NoNewPrivs"], &status["Seccomp"], &status["CapEff"]), (&"1".into(), &"2".into(), &"0000000000000000".into()));
        for kind in ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup"] {
            assert_eq!(found["kernel"]["namespaces"][kind], true, "{kind}");
        }
        let mounts = found["kernel"]["mounts"].as_array().unwrap();
        let options = |at: &Path| mounts.iter().find(|mount| mount["at"] == at.to_str().unwrap()).unwrap()["options"].as_str().unwrap();
        assert!(options(&project).starts_with("rw,nosuid,nodev,noexec"));
        assert!(options(&project.join(".git")).starts_with("ro,"));
        assert_eq!(fs::read_dir(&project).unwrap().count(), 0, "nothing is left");
        assert_eq!((&found["process"], &found["profile"]["folder"]), (&"the program".into(), &project.to_str().unwrap().into()));
        assert!(
            found["profile"]["standby"].as_object().unwrap().values().all(serde_json::Value::is_null),
            "with a network it does not sleep"
        );
        let table = text(&inspect(&["cat"]).stdout);
        assert!(
            table.contains("kernel, of the program")
                && table.contains("starts in: ")
                && table.contains("landlock: abi")
                && table.contains("TOKEN")
                && !table.contains("value-of-the-token"),
            "{table}"
        );
        let refused = inspect(&["files"]);
        assert!(text(&refused.stderr).contains("has no sandbox: it is built into the gateway"), "{}", text(&refused.stderr));
        let missing = inspect(&["fiels"]);
        assert!(text(&missing.stderr).contains("hint: there are cat, files"), "{}", text(&missing.stderr));
    }
}

#[test]
fn run_gives_a_program_what_is_named_and_passes_its_end_on() {
    for as_user in callers() {
        let home = home(*as_user);
        let run = |arguments: &[&str]| {
            let output = sallyport(*as_user, home.path(), &[&["sandbox", "run"], arguments].concat()).output().unwrap();
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        let file = home.path().join("file");
        fs::write(&file, "text").unwrap();
        give(*as_user, &file);
        assert_eq!(run(&["--read", "file", "--", "/bin/cat", file.to_str().unwrap()]).1, "text");
        let (code, _, stderr) = run(&["--", "/bin/sh", "-c", &format!("cat {}; exit 7", file.display().to_string() + "x")]);
        assert!(code == Some(7) && stderr.contains("No such file"), "{code:?} {stderr}");
        assert_eq!(run(&["--", "/bin/sh", "-c", "kill -9 $$"]).0, Some(137));
        let (code, _, stderr) = run(&["--", "no-such-program"]);
        assert!(code == Some(1) && stderr.contains("hint: install it"), "{stderr}");
        assert_eq!(run(&["--write", ".", "--", "/bin/sh", "-c", "echo x > .envrc || echo refused"]).1, "refused\n");
        assert!(!home.path().join(".envrc").exists());
    }
}

#[test]
fn the_page_says_what_the_rows_say() {
    page::check();
}
