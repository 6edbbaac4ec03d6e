//! `sallyport doctor` and the start of servers on four machines: one with everything, one without user namespaces, one without
//! Landlock, and one whose control groups cannot be written. Each is made here, of namespaces and system call filters.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

#[path = "harness/mod.rs"]
mod harness;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use harness::gateway::Project;
use harness::peers;
use serde_json::Value;

/// An id that no distribution gives to anybody.
const USER: u32 = 64_111;

/// A machine that lacks something.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Machine {
    Whole,
    /// As where an administrator has turned them off.
    NoUserNamespaces,
    /// As in Docker: its filter refuses the calls.
    NamespacesFiltered,
    NoLandlock,
    /// `/sys/fs/cgroup` as in most containers.
    CgroupsReadOnly,
}

/// Refuses calls with an error number, then becomes another program.
const FILTER: &str = include_str!("../../sandbox/tests/support/filter.py");

/// Three servers that differ in how far down they may go.
const CONFIGURATION: &str = r#"
[servers.strict]
command = ["/usr/bin/python3", "idle_server.py"]
[servers.lowered]
command = ["/usr/bin/python3", "idle_server.py"]
min_isolation = "landlock"
[servers.connected]
command = ["/usr/bin/python3", "idle_server.py"]
min_isolation = "landlock"
network = ["api.example.com"]
"#;

impl Machine {
    /// `program` on this machine. Beneath the program's own process, so that its launchers see the same.
    fn command(self, program: &Command) -> Command {
        let mut command = match self {
            Self::Whole => Command::new("env"),
            Self::NoUserNamespaces => prepared(&["--user", "--map-root-user"], "echo 0 > /proc/sys/user/max_user_namespaces"),
            Self::CgroupsReadOnly => prepared(
                &["--user", "--map-root-user", "--mount"],
                "for place in $(awk '$5 ~ \"^/sys/fs/cgroup\" { print $5 }' /proc/self/mountinfo); do mount -o remount,bind,ro $place || exit 1; done",
            ),
            Self::NamespacesFiltered => filtered(&["272:1"], &["97:1"]),
            Self::NoLandlock => filtered(&["444:95"], &["444:95"]),
        };
        command.arg(program.get_program()).args(program.get_args());
        command.current_dir(program.get_current_dir().unwrap()).env_clear();
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
        command
    }
}

/// In namespaces of its own, after `preparation`.
fn prepared(unshare: &[&str], preparation: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(unshare).args(["/bin/sh", "-c", &format!("{preparation} && exec \"$@\""), "sh"]);
    command
}

/// With calls of this architecture refused: `NUMBER:ERRNO`.
fn filtered(x86_64: &[&str], aarch64: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", FILTER]).args(if cfg!(target_arch = "x86_64") { x86_64 } else { aarch64 }).arg("--");
    command
}

/// Two servers that name a sandbox which no machine has for an ordinary user as it comes.
const UNUSABLE: &str = r#"
[servers.machine]
command = ["/usr/bin/python3", "idle_server.py"]
sandbox = { microvm = { guest = "/nowhere" } }
[servers.image]
command = ["entrypoint"]
sandbox = { oci = { image = "/nowhere" } }
"#;

/// Who runs it: root both as itself and as an ordinary user, an ordinary user as himself.
fn projects() -> Vec<Project> {
    projects_with(CONFIGURATION)
}

fn projects_with(configuration: &str) -> Vec<Project> {
    let new = || {
        let project = Project::new(configuration);
        fs::write(project.path("idle_server.py"), include_str!("standby/idle_server.py")).unwrap();
        project
    };
    match is_root() {
        // Root too where the sandbox's uid can go: the boundary landlock maps no owners.
        true => vec![new().run_by(0), new().run_by(USER)],
        false => vec![new()],
    }
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| line.starts_with("Uid:\t0\t"))
}

fn run(machine: Machine, project: &Project, words: &[&str]) -> Output {
    let mut program = project.sallyport();
    program.args(words);
    project.as_its_user(machine.command(&program)).output().unwrap()
}

/// What `doctor` found, by area and subject, and its exit code.
struct Found {
    findings: Vec<Value>,
    code: i32,
}

impl Found {
    fn on(machine: Machine, project: &Project) -> Self {
        let output = run(machine, project, &["doctor", "--json"]);
        let findings = serde_json::from_slice(&output.stdout);
        let findings = findings.unwrap_or_else(|error| panic!("{machine:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)));
        Self { findings, code: output.status.code().unwrap() }
    }

    fn get(&self, area: &str, subject: &str) -> &Value {
        let found = self.findings.iter().find(|finding| finding["area"] == area && finding["subject"] == subject);
        found.unwrap_or_else(|| panic!("nothing is said of {area} {subject}: {:#?}", self.findings))
    }

    fn holds(&self, area: &str, subject: &str) -> bool {
        self.get(area, subject)["ok"] == true
    }

    fn text(&self, area: &str, subject: &str, field: &str) -> &str {
        self.get(area, subject)[field].as_str().unwrap_or_default()
    }
}

/// What became of the servers: which of them offer tools, and what was said of the others.
fn started(machine: Machine, project: &Project) -> (Vec<&'static str>, String) {
    let output = run(machine, project, &["tools"]);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = ["strict", "lowered", "connected"];
    let offered = names.into_iter().filter(|name| stdout.contains(&format!("{name}__count"))).collect();
    (offered, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn with_everything_every_layer_holds() {
    for project in projects() {
        let found = Found::on(Machine::Whole, &project);
        for layer in ["user namespace", "namespaces", "network namespace", "private root", "procfs", "limits", "landlock", "seccomp"] {
            assert!(found.holds("sandbox", layer), "{layer}");
        }
        assert!(found.holds("sandbox", "trial program") && found.holds("sandbox", "landlock alone"));
        assert!(found.holds("servers", "strict") && found.holds("servers", "lowered") && found.holds("servers", "connected"));
        assert_eq!(found.code, 0);
        assert_eq!(started(Machine::Whole, &project).0, ["strict", "lowered", "connected"]);
    }
}

#[test]
fn without_user_namespaces_only_what_may_steps_down() {
    for (machine, why, cure) in [
        (Machine::NoUserNamespaces, "os error 28", "user.max_user_namespaces"),
        (Machine::NamespacesFiltered, "os error 1", "--security-opt seccomp=unconfined"),
    ] {
        for project in projects() {
            let found = Found::on(machine, &project);
            assert!(!found.holds("sandbox", "user namespace"));
            assert!(found.text("sandbox", "user namespace", "detail").contains(why), "{machine:?}");
            assert!(found.text("sandbox", "user namespace", "cure").contains(cure), "{machine:?}");
            assert!(found.holds("landlock alone", "landlock") && found.holds("landlock alone", "seccomp"));
            assert!(found.text("landlock alone", "namespaces", "cost").contains("see that the host's other processes exist"));
            assert!(found.text("servers", "strict", "detail").contains("refused"));
            assert!(found.text("servers", "strict", "cure").contains("min_isolation = \"landlock\""));
            assert!(found.text("servers", "lowered", "detail").contains("the boundary landlock"));
            assert!(found.text("servers", "connected", "detail").contains("refused"));
            assert_eq!(found.code, 1, "a server is refused");

            let (offered, said) = started(machine, &project);
            assert_eq!(offered, ["lowered"], "{machine:?}: {said}");
            assert!(said.contains("layer user namespace is not in force") && said.contains(cure), "{said}");
        }
    }
}

#[test]
fn without_landlock_nothing_starts() {
    for project in projects() {
        let found = Found::on(Machine::NoLandlock, &project);
        assert!(!found.holds("sandbox", "landlock in the kernel") && !found.holds("sandbox", "landlock"));
        assert!(found.text("sandbox", "landlock", "cure").contains("lsm="));
        assert!(["strict", "lowered", "connected"].iter().all(|name| found.text("servers", name, "detail").contains("refused")));
        assert_eq!(found.code, 1);
        let (offered, said) = started(Machine::NoLandlock, &project);
        assert!(offered.is_empty() && said.contains("layer landlock is not in force"), "{offered:?} {said}");
    }
}

#[test]
fn without_control_groups_the_gateway_watches_and_each_process_is_limited() {
    for project in projects() {
        let found = Found::on(Machine::CgroupsReadOnly, &project);
        assert!(found.holds("sandbox", "limits") && found.text("sandbox", "limits", "detail").contains("MiB together (watchdog)"));
        assert!(!found.holds("sandbox", "control groups") && !found.text("sandbox", "control groups", "cost").is_empty());
        assert_eq!(found.code, 0, "servers start all the same");
        assert_eq!(started(Machine::CgroupsReadOnly, &project).0, ["strict", "lowered", "connected"]);
    }
}

#[test]
fn a_sandbox_that_is_named_and_does_not_work_here_is_told_with_its_server() {
    let project = projects_with(UNUSABLE).pop().unwrap(); // an ordinary user's
    let found = Found::on(Machine::Whole, &project);
    for (server, why, cure) in
        [("machine", "no kernel is prepared", "sallyport microvm prepare"), ("image", "needs root", "in a virtual machine")]
    {
        assert!(found.text("servers", server, "detail").contains(why), "{:#}", found.get("servers", server));
        assert!(found.text("servers", server, "cure").contains(cure), "{:#}", found.get("servers", server));
    }
    assert_eq!(found.code, 1, "two servers are refused");

    let output = run(Machine::Whole, &project, &["check"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the file may be meant for another machine: {said}");
    for (server, why) in [("machine", "no kernel is prepared for microVMs"), ("image", "sandbox oci needs root")] {
        assert!(said.contains(&format!("servers.{server}.sandbox: does not work on this machine: {why}")), "{said}");
    }
    assert!(
        said.contains("hint: run `sallyport microvm prepare` once") && said.contains("hint: run the image in a virtual machine"),
        "{said}"
    );
    let output = run(Machine::Whole, &project, &["check", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["warnings"].as_array().unwrap().len(), 2, "{report:#}");
}

/// A tenant's servers: one that may step down, one that may not, and a package that nobody has locked.
const OF_TENANT: &str = r#"
[tenants.acme]
keys = ["file:acme.key"]
[tenants.acme.servers.strict]
command = ["/usr/bin/python3", "idle_server.py"]
[tenants.acme.servers.lowered]
command = ["/usr/bin/python3", "idle_server.py"]
min_isolation = "landlock"
[tenants.acme.servers.package]
command = ["npx", "-y", "@example/server"]
[tenants.acme.servers.machine]
command = ["/usr/bin/python3", "idle_server.py"]
sandbox = { microvm = { guest = "/nowhere" } }
"#;

#[test]
fn tenants_servers_are_looked_at_too() {
    let project = projects_with(OF_TENANT).pop().unwrap();
    let found = Found::on(Machine::Whole, &project);
    assert!(found.holds("servers", "acme/strict") && found.holds("servers", "acme/lowered"));
    assert!(found.text("servers", "acme/machine", "detail").contains("no kernel is prepared"));
    assert!(found.text("packages", "acme/package", "cure").contains("`sallyport update package --tenant acme`"));
    assert_eq!(found.code, 1, "the machine is refused");
    let found = Found::on(Machine::NoUserNamespaces, &project);
    assert!(found.text("servers", "acme/strict", "detail").contains("refused"));
    assert!(found.text("servers", "acme/lowered", "detail").contains("the boundary landlock"));
}

#[test]
fn the_apparmor_profile_names_this_binary() {
    let project = Project::new("");
    let output = run(Machine::Whole, &project, &["doctor", "--apparmor-profile"]);
    let profile = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(
        profile.contains(&format!("profile sallyport \"{}\"", env!("CARGO_BIN_EXE_sallyport"))) && profile.contains("userns,"),
        "{profile}"
    );
}

/// Places that AppArmor could take for something else than a path.
const STRANGE_PLACES: [&str; 12] =
    ["plain", "two words", "a,b", "#a", "$HOME", "it's", "größe", "a!b", "<a>", "(a) -> b", "tab\there", "a;b:c=d%e&f|g~"];

/// AppArmor's own parser understands what is handed out, wherever the binary lies, and what is packaged.
#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn the_parser_of_apparmor_takes_the_profile() {
    let folder = tempfile::tempdir_in(Path::new(env!("CARGO_BIN_EXE_sallyport")).parent().unwrap()).unwrap();
    let packaged = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/apparmor/sallyport")).unwrap();
    assert_eq!(names_in(&packaged), Ok("sallyport\n".to_owned()));
    for place in STRANGE_PLACES {
        let binary = folder.path().join(place).join("sallyport");
        fs::create_dir(binary.parent().unwrap()).unwrap();
        fs::hard_link(env!("CARGO_BIN_EXE_sallyport"), &binary).unwrap();
        let output = Command::new(&binary).args(["doctor", "--apparmor-profile"]).output().unwrap();
        let profile = String::from_utf8(output.stdout).unwrap();
        assert!(profile.contains(binary.to_str().unwrap()), "{place}: {profile}");
        assert_eq!(names_in(&profile), Ok("sallyport\n".to_owned()), "{place}");
        assert!(names_in(&profile.replace("userns,", "usernamespaces,")).is_err(), "it looks at the rules");
    }
}

/// The profiles that AppArmor's parser finds in a text, a line each, after it has compiled them for no kernel; or what it says against it.
fn names_in(profile: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profile");
    fs::write(&file, profile).unwrap();
    let parse = |options: &[&str]| {
        let parser = peers::folder().join("apparmor/apparmor_parser");
        let output = Command::new(parser).args(options).arg(&file).output().expect("`cargo xtask peers` unpacks it");
        let told = |stream: Vec<u8>| String::from_utf8_lossy(&stream).into_owned();
        if output.status.success() { Ok(told(output.stdout)) } else { Err(told(output.stderr)) }
    };
    parse(&["--skip-kernel-load", "--skip-read-cache", "--skip-cache"])?;
    parse(&["--names"])
}
