//! The gateway under test: the real program, in a folder of its own, with nothing of the person's who runs the test.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::loopback;
use super::processes::{descendants, eventually};

/// How long a gateway may take until it is ready: starting six interpreters on two busy cores is what takes the time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A copy of the program, in the folder of a user who cannot reach the original.
const PROGRAM: &str = "sallyport";

/// A project folder with a configuration, and beside it homes for the gateway's state. Removed when dropped.
pub(crate) struct Project {
    folder: TempDir,
    /// Who runs the gateway, if not the one who runs the test.
    user: Option<u32>,
}

impl Project {
    /// Below cargo's folder for tests, so that nothing lands elsewhere and every path stays on one file system.
    pub(crate) fn new(configuration: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("p-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("target/tmp is writable");
        let project = Self { folder, user: None };
        for folder in ["project", "home", "state", "config", "cache", "runtime"] {
            fs::create_dir(project.folder.path().join(folder)).expect("a new folder is writable");
        }
        project.configure(configuration);
        project
    }

    /// The same, run by another user, whose everything in it is: with a copy of the program, and where that user can go. Only root can
    /// do that.
    pub(crate) fn run_by(self, user: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("sallyport-test-").tempdir_in("/var/tmp").expect("/var/tmp is writable");
        let run = |program: &mut Command| assert!(program.status().expect("coreutils are there").success(), "only root gives files away");
        run(Command::new("cp").args(["-a", "."]).arg(folder.path()).current_dir(self.folder.path()));
        fs::copy(env!("CARGO_BIN_EXE_sallyport"), folder.path().join(PROGRAM)).expect("a new folder is writable");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a new folder is ours");
        run(Command::new("chown").args(["-R", &format!("{user}:{user}")]).arg(folder.path()));
        Self { folder, user: Some(user) }
    }

    /// Writes the configuration anew.
    pub(crate) fn configure(&self, configuration: &str) {
        fs::write(self.configuration(), configuration).expect("the project is writable");
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.path("sallyport.toml")
    }

    /// A path inside the project folder.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join("project").join(name)
    }

    /// The home folder of whoever runs the gateway.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Where the gateway keeps what must outlive it.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Where the gateway keeps what it can make anew.
    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// What holds all of these.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// Whether a program is started here by that container runtime, which a server must use: some refuse some machines, and ordinary
    /// users may start none.
    pub(crate) fn has_container_runtime(&self, runtime: &str) -> bool {
        let output = self.sallyport().arg("doctor").output().expect("the program starts");
        String::from_utf8_lossy(&output.stdout).lines().any(|line| line.starts_with(&format!("ok  oci container runtime {runtime}")))
    }

    /// A text that is in the command line or environment of everything this project starts.
    pub(crate) fn mark(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// The program with this project's configuration and homes, ready for a subcommand.
    pub(crate) fn sallyport(&self) -> Command {
        let mut command = match self.user {
            Some(_) => Command::new(self.folder.path().join(PROGRAM)),
            None => Command::new(env!("CARGO_BIN_EXE_sallyport")),
        };
        command.current_dir(self.path("")).env_clear().envs(self.environment());
        command.arg("--config").arg(self.configuration()).stdin(Stdio::null());
        self.as_its_user(command)
    }

    /// The same command, run by the user who runs the gateway.
    pub(crate) fn as_its_user(&self, mut command: Command) -> Command {
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// What the program gets to see of the environment.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let homes = [
            ("HOME", "home"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_RUNTIME_DIR", "runtime"),
        ];
        let mut environment: Vec<(String, String)> =
            homes.iter().map(|(name, home)| ((*name).to_owned(), self.folder.path().join(home).display().to_string())).collect();
        environment.push(("PATH".to_owned(), std::env::var("PATH").unwrap_or_default()));
        environment
    }

    /// The command line of `sallyport stdio` for a client that launches servers.
    pub(crate) fn stdio_command(&self) -> Vec<String> {
        let configuration = self.configuration().display().to_string();
        vec![env!("CARGO_BIN_EXE_sallyport").to_owned(), "--config".to_owned(), configuration, "stdio".to_owned()]
    }

    /// Adds somebody who may log in here (`sallyport user add`).
    pub(crate) fn add_user(&self, arguments: &[&str], password: &str) {
        let mut adding = self.sallyport();
        adding.args(["user", "add"]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut adding = adding.spawn().expect("the program starts");
        writeln!(adding.stdin.take().expect("it was piped"), "{password}").expect("it reads the password");
        assert!(adding.wait().expect("the child is ours").success(), "{arguments:?}");
    }

    /// Starts the HTTP endpoint and waits until it is ready.
    pub(crate) fn up(&self) -> Gateway {
        self.up_at(loopback::free_port())
    }

    /// The same at a port that the configuration had to know.
    pub(crate) fn up_at(&self, port: u16) -> Gateway {
        let mut gateway = self.launch(port);
        gateway.wait_until_ready();
        gateway
    }

    /// The same with more in its environment.
    pub(crate) fn up_with(&self, variables: &[(&str, &str)]) -> Gateway {
        let mut program = self.sallyport();
        program.envs(variables.iter().copied());
        let mut gateway = self.launch_by(program, loopback::free_port());
        gateway.wait_until_ready();
        gateway
    }

    /// The same where the machine knows these names: lines of an `/etc/hosts` that nobody else sees. For root.
    pub(crate) fn up_knowing(&self, names: &str) -> Gateway {
        let hosts = self.path("hosts");
        fs::write(&hosts, names).expect("the project is writable");
        let program = self.sallyport();
        let mut inside = Command::new("unshare");
        inside.current_dir(self.path("")).env_clear().envs(self.environment()).stdin(Stdio::null());
        inside.args(["--mount", "/bin/sh", "-c", r#"/usr/bin/mount --bind "$0" /etc/hosts && exec "$@""#]).arg(hosts);
        inside.arg(program.get_program()).args(program.get_args());
        let mut gateway = self.launch_by(inside, loopback::free_port());
        gateway.wait_until_ready();
        gateway
    }

    /// Starts an endpoint that speaks TLS, and waits until it listens.
    pub(crate) fn up_behind_tls(&self) -> Gateway {
        let gateway = self.launch(loopback::free_port());
        loopback::wait_for_port(gateway.port, PATIENCE);
        gateway
    }

    fn launch(&self, port: u16) -> Gateway {
        self.launch_by(self.sallyport(), port)
    }

    fn launch_by(&self, mut program: Command, port: u16) -> Gateway {
        let log = fs::File::create(self.path("gateway.log")).expect("the project is writable");
        let twin = log.try_clone().expect("a file can be opened twice");
        let child =
            program.args(["--listen", &format!("127.0.0.1:{port}"), "up"]).stdout(log).stderr(twin).spawn().expect("the program starts");
        Gateway { child, port, log: self.path("gateway.log") }
    }
}

/// A gateway with its HTTP endpoint open. Killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) port: u16,
    log: PathBuf,
}

impl Gateway {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Everything it wrote to its terminal, for the text of a failing test.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A signal by its name, sent by the system's own `kill`.
    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.id(), name);
    }

    /// Waits for its end after a signal and gives its exit code, if it had one.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("the child is ours").code()
    }

    fn wait_until_ready(&mut self) {
        let port = self.port;
        let log = self.log.clone();
        let child = &mut self.child;
        eventually(&format!("the gateway is ready, see {}", log.display()), PATIENCE, || {
            let ended = child.try_wait().expect("the child is ours");
            assert!(ended.is_none(), "the gateway ended with {ended:?}:\n{}", fs::read_to_string(&log).unwrap_or_default());
            loopback::get(port, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
        });
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (ended, log) = (self.child.try_wait(), self.log());
            // What cannot be told does not matter beside why the test fails.
            let _told = writeln!(std::io::stderr(), "the gateway at port {}, which had ended with {ended:?}, said:\n{log}", self.port);
        }
        let children = descendants(self.id());
        // Both fail only when it is gone already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
        for child in children {
            send_signal(child, "KILL");
        }
    }
}

/// Sends a signal to a process that may be gone already.
pub(crate) fn send_signal(id: u32, name: &str) {
    let _sent = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).stderr(Stdio::null()).status();
}
