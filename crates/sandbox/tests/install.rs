//! Packages are really installed by npm and pip, inside the boundary, and really run without the network: packages made here,
//! and two public servers.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::packages::{local_crates, npm_package, wheel};
use support::{Caller, Folder, callers, eventually, launcher, text};

/// The command as the caller would write it, with a home and a cache of his own.
fn gateway(folder: &Folder, caller: Caller, options: &[&str], command: &[&str]) -> Command {
    let (home, packages) = (folder.folder("home"), folder.path("packages"));
    let options = [&["--packages", packages.to_str().unwrap()], options].concat();
    let mut run = launcher(caller, &options, command);
    run.env("HOME", home);
    run
}

fn run(folder: &Folder, caller: Caller, command: &[&str]) -> Output {
    gateway(folder, caller, &[], command).output().unwrap()
}

fn succeeds(folder: &Folder, caller: Caller, command: &[&str]) -> (String, String) {
    let output = run(folder, caller, command);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{caller:?} {command:?}: {}\n{stdout}\n{stderr}", output.status);
    (stdout, stderr)
}

/// The one folder of the store in which something is installed.
fn place(folder: &Folder, source: &str) -> PathBuf {
    only(&folder.path("packages/store").join(source))
}

/// The one folder in which requirements are looked up.
fn desk(folder: &Folder, source: &str) -> PathBuf {
    only(&folder.path("packages").join(source))
}

fn only(folder: &Path) -> PathBuf {
    let mut entries = fs::read_dir(folder).unwrap();
    let place = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none(), "one set of requirements has one folder");
    place
}

#[test]
fn an_npm_package_is_installed_once_and_its_scripts_are_never_run() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let package = npm_package(&folder);
        let command = ["npx", "-y", &package, "a b"];
        let (stdout, stderr) = succeeds(&folder, *caller, &command);
        let seen: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(seen, serde_json::json!({"sealed": true, "home": false, "ran": false, "args": ["a b"]}));
        assert!(stderr.contains(&format!("installing {package}")), "{stderr}");

        let place = place(&folder, "npm");
        let record = fs::read_to_string(place.join("installed.json")).unwrap();
        assert!(record.contains(r#""unbuilt":["@made-here/server"]"#), "{record}");
        assert!(!desk(&folder, "npm").join("tmp").exists());
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(place.join("tree/node_modules")).unwrap());
        assert_eq!(owner, folder.owner());

        let (again, stderr) = succeeds(&folder, *caller, &command);
        assert_eq!((again, stderr.contains("installing")), (stdout, false));
    }
}

#[test]
fn a_wheel_is_installed_into_an_environment_of_its_own() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let wheel = wheel(&folder);
        let (stdout, _) = succeeds(&folder, *caller, &["uvx", "--from", &wheel, "serve-it", "--flag"]);
        assert_eq!(stdout, "served ['--flag'] True\n");

        let output = run(&folder, *caller, &["pipx", "run", "--spec", &wheel, "made-here"]);
        let stderr = text(&output.stderr);
        assert!(stderr.contains("is installed, but has no program made-here") && stderr.contains("its programs: serve-it"), "{stderr}");
        assert!(place(&folder, "pypi").join("installed.json").exists());
    }
}

#[test]
fn a_script_whose_first_line_would_be_too_long_is_run_by_its_interpreter() {
    let folder = Folder::of(Caller::Itself);
    let wheel = wheel(&folder);
    let packages = folder.path(&format!("{0}/{0}/{0}", "deep".repeat(12)));
    let options = ["--packages", packages.to_str().unwrap()];
    let output = gateway(&folder, Caller::Itself, &options, &["uvx", "--from", &wheel, "serve-it"]).output().unwrap();
    assert_eq!(text(&output.stdout), "served [] True\n", "{}", text(&output.stderr));
}

#[test]
fn what_a_killed_installation_left_is_wiped() {
    let folder = Folder::of(Caller::Itself);
    let package = npm_package(&folder);
    let command = ["npx", "-y", &package];
    let mut gateway = gateway(&folder, Caller::Itself, &[], &command).spawn().unwrap();
    let begun = || {
        fs::read_dir(folder.path("packages/npm"))
            .is_ok_and(|mut places| places.any(|place| place.unwrap().path().join("tmp/project/package.json").exists()))
    };
    eventually("npm is started", begun);
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    let desk = desk(&folder, "npm");
    eventually("npm has ended with its gateway", || !support::lives(desk.to_str().unwrap()));
    fs::write(desk.join("tmp/left"), "").unwrap();

    succeeds(&folder, Caller::Itself, &command);
    let place = place(&folder, "npm");
    assert!(place.join("installed.json").exists() && !desk.join("tmp").exists());
    // The same while it was being put into the store.
    fs::remove_file(place.join("installed.json")).unwrap();
    fs::write(place.join("tree/left"), "").unwrap();
    succeeds(&folder, Caller::Itself, &command);
    assert!(place.join("installed.json").exists() && !place.join("tree/left").exists());
}

#[test]
fn of_two_at_once_one_installs_and_the_other_waits() {
    let folder = Folder::of(Caller::Itself);
    let package = npm_package(&folder);
    let start = || gateway(&folder, Caller::Itself, &[], &["npx", "-y", &package]).spawn().unwrap();
    let (first, second) = (start(), start());
    let ends = [first, second].map(|gateway| gateway.wait_with_output().unwrap());
    let said: Vec<String> = ends.iter().map(|output| text(&output.stderr)).collect();
    assert!(ends.iter().all(|output| output.status.success()), "{said:?}");
    let installed = said.iter().filter(|said| said.contains("\ninstalling") || said.starts_with("installing")).count();
    assert_eq!(installed, 1, "{said:?}");
}

#[test]
fn a_missing_package_and_a_dead_registry_are_told_apart() {
    let folder = Folder::of(Caller::Itself);
    // Nobody listens on the discard port.
    let dead = "http://127.0.0.1:9/";
    let fail = |command: &[&str]| {
        let mut run = gateway(&folder, Caller::Itself, &[], command);
        let output = run.envs([("npm_config_registry", dead), ("npm_config_fetch_retries", "0")]).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        text(&output.stderr)
    };
    let said = fail(&["npx", "-y", "made-here-and-nowhere"]);
    assert!(said.contains("error: package made-here-and-nowhere cannot be installed: npm exited with code 1"), "{said}");
    assert!(said.contains("ECONNRESET") && said.contains("hint: the registry cannot be reached"), "{said}");
    assert!(!folder.path("packages/store").exists() && !desk(&folder, "npm").join("tmp").exists());
    let said = fail(&["npx", "-y", "/var/tmp/nowhere.tgz"]);
    assert!(said.contains("ENOENT"), "{said}");
}

#[test]
fn a_crate_is_built_where_that_is_allowed_and_exactly_so_again() {
    let folder = Folder::of(Caller::Itself);
    local_crates(&folder);
    let lock = folder.path("locked.json");
    let build = |allowed: &str| {
        let options = ["--scripts", allowed, "--locked", lock.to_str().unwrap()];
        let mut run = gateway(&folder, Caller::Itself, &options, &["cargo:made-here@1"]);
        let home = std::env::var("HOME").unwrap();
        run.env_remove("CARGO_HOME").env("RUSTUP_HOME", std::env::var("RUSTUP_HOME").unwrap_or_else(|_| format!("{home}/.rustup")));
        let output = run.output().unwrap();
        (text(&output.stdout), text(&output.stderr))
    };
    assert!(build("false").1.contains("has to be built"));
    let (stdout, stderr) = build("true");
    assert_eq!(stdout, "built by its script\n", "{stderr}");
    assert_eq!(build("true").0, stdout);

    fs::remove_dir_all(folder.path("packages")).unwrap();
    let locked = fs::read_to_string(&lock).unwrap();
    let digest = locked.split("sha256:").nth(1).unwrap().get(..8).unwrap();
    fs::write(&lock, locked.replace(digest, "00000000")).unwrap();
    let (_, stderr) = build("true");
    assert!(stderr.contains("serves other files of made-here 1.0.0 than those that were locked"), "{stderr}");
}

#[test]
fn a_source_distribution_is_built_only_where_that_is_allowed() {
    let folder = Folder::of(Caller::Itself);
    support::sdist::made_here(&folder, "pass");
    let run = |allowed: &str| {
        let mut run = gateway(&folder, Caller::Itself, &["--scripts", allowed], &["pypi:made-here"]);
        let output = run.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", folder.path("files")).output().unwrap();
        (text(&output.stdout), text(&output.stderr))
    };
    let (_, stderr) = run("false");
    assert!(stderr.contains("No matching distribution found") && stderr.contains("`scripts = true`"), "{stderr}");
    let (stdout, stderr) = run("true");
    assert_eq!(stdout, "built\n", "{stderr}");
}

#[test]
fn a_full_disk_leaves_nothing_half_made() {
    if !support::is_root() {
        return; // only root mounts a disk that is small enough
    }
    let folder = Folder::of(Caller::Itself);
    let package = npm_package(&folder);
    let packages = folder.folder("packages");
    // A disk that no package manager's cache fits on, gone with the shell's namespace.
    let script = "mount -t tmpfs -o size=40k,nr_inodes=40 tmpfs \"$1\" && shift && \"$@\"; find \"$PACKAGES\" -type f ! -name lock";
    let run = gateway(&folder, Caller::Itself, &[], &["npx", "-y", &package]);
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c", script, "sh"]).arg(&packages).arg(run.get_program()).args(run.get_args());
    shell.env("HOME", folder.path("home")).env("PACKAGES", &packages).current_dir("/");
    let output = shell.output().unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(stderr.contains("cannot be installed"), "{stderr}");
    assert_eq!(stdout, "", "{stderr}");
}

/// Installs a public server, starts it without the network, and shakes hands with it.
fn serves(command: &[&str], name: &str) {
    let folder = Folder::of(Caller::Itself);
    let mut server = gateway(&folder, Caller::Itself, &[], command).stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let hello = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
    let mut stdin = server.stdin.take().unwrap();
    writeln!(stdin, "{hello}").unwrap();
    let mut answer = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut answer).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["result"]["serverInfo"]["name"], name);
    drop(stdin);
    server.wait().unwrap();
}

#[test]
#[ignore = "needs the registries: run by cargo xtask test"]
fn a_public_npm_server_is_installed_and_serves_without_the_network() {
    serves(&["npx", "-y", "@modelcontextprotocol/server-memory"], "memory-server");
}

#[test]
#[ignore = "needs the registries: run by cargo xtask test"]
fn a_public_pypi_server_is_installed_and_serves_without_the_network() {
    serves(&["uvx", "mcp-server-time", "--local-timezone", "UTC"], "mcp-time");
}
