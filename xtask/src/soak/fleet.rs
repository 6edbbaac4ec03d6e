//! The gateway and the servers behind it: started, killed, started again.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::holdings::{descendants, get};
use crate::conformance::free_port;
use crate::repository::{Outcome, Repository};

/// The servers behind the gateway: a legacy and a modern one, each over stdio and HTTP.
const SERVERS: usize = NAMES.len();
pub(super) const NAMES: [&str; 4] = ["legacy-stdio", "modern-stdio", "legacy-http", "modern-http"];
const CONFIGURATION: &str = "project/sallyport.toml";
const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";
/// How long a program may take to be ready on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything that runs. It ends when this is dropped.
pub(super) struct Fleet {
    folder: PathBuf,
    programs: PathBuf,
    configuration: String,
    gateway: Child,
    port: u16,
    /// The fixtures that listen, with their ports and revisions.
    listening: Vec<(u16, &'static str, Child)>,
    killed: usize,
}

impl Fleet {
    pub(super) fn start(repository: &Repository) -> Outcome<Self> {
        let folder = repository.path("target/soak");
        let _absent_is_as_good = fs::remove_dir_all(&folder);
        for home in ["home", "state", "config", "cache", "runtime", "project"] {
            fs::create_dir_all(folder.join(home)).map_err(|error| format!("could not make {}: {error}", folder.display()))?;
        }
        let programs = copy_programs(repository, &folder)?;
        let mut listening = Vec::new();
        for revision in [LEGACY, MODERN] {
            let port = free_port()?;
            listening.push((port, revision, serve(&programs, &folder, port, revision)?));
        }
        let configuration = configuration(&programs, &listening.iter().map(|(port, ..)| *port).collect::<Vec<u16>>());
        write(&folder.join(CONFIGURATION), &configuration)?;
        let port = free_port()?;
        let gateway = up(&programs, &folder, port)?;
        let fleet = Self { folder, programs, configuration, gateway, port, listening, killed: 0 };
        fleet.wait_until_ready()?;
        Ok(fleet)
    }

    /// Puts all servers into the configuration; the gateway sees that by itself.
    pub(super) fn configure(&self) -> Outcome {
        write(&self.folder.join(CONFIGURATION), &self.configuration)
    }

    /// Takes all of them out.
    pub(super) fn configure_without_servers(&self) -> Outcome {
        write(&self.folder.join(CONFIGURATION), "[servers.none]\nbuiltin = { filesystem = { root = \".\" } }\n")
    }

    /// Where everything of this run lies.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn gateway_id(&self) -> u32 {
        self.gateway.id()
    }

    pub(super) fn gateway_port(&self) -> u16 {
        self.port
    }

    /// The command line of `sallyport stdio`, and its environment.
    pub(super) fn stdio(&self) -> (Vec<String>, Vec<(String, String)>) {
        let words = [&self.programs.join("sallyport"), Path::new("--config"), &self.folder.join(CONFIGURATION), Path::new("stdio")];
        (words.map(|word| word.display().to_string()).to_vec(), environment(&self.folder))
    }

    /// Kills the next server in turn; the gateway is to start its own again, and this starts the others.
    pub(super) fn kill_one(&mut self) -> Outcome<String> {
        let turn = self.killed % SERVERS;
        self.killed += 1;
        if turn < 2 {
            return Ok(self.kill_child([LEGACY, MODERN][turn]));
        }
        let Some((port, revision, child)) = self.listening.get_mut(turn - 2) else { return Ok(String::new()) };
        // Both fail only when it is gone already.
        let _killed = child.kill();
        let _reaped = child.wait();
        *child = serve(&self.programs, &self.folder, *port, revision)?;
        Ok(format!("killed and restarted the HTTP server of {revision}"))
    }

    /// Kills the gateway's own child that is the fixture of `revision`.
    fn kill_child(&self, revision: &str) -> String {
        let is_it = |id: &u32| {
            let words = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words);
            words.starts_with(&*self.programs.join("sallyport-fixture").to_string_lossy()) && words.contains(revision)
        };
        let found: Vec<u32> = descendants(self.gateway.id()).into_iter().filter(is_it).collect();
        for id in &found {
            let _gone_already = Command::new("kill").args(["-KILL", &id.to_string()]).stderr(Stdio::null()).status();
        }
        format!("killed {} stdio server of {revision}", found.len())
    }

    fn wait_until_ready(&self) -> Outcome {
        let begin = Instant::now();
        while get(self.port, "/readyz").is_none() {
            if begin.elapsed() > PATIENCE {
                return Err(format!(
                    "the gateway is not ready after {} s, see {}",
                    PATIENCE.as_secs(),
                    self.folder.join("gateway.log").display()
                ));
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let children = descendants(self.gateway.id());
        for child in self.listening.iter_mut().map(|(.., child)| child).chain([&mut self.gateway]) {
            // Both fail only when it is gone already.
            let _killed = child.kill();
            let _reaped = child.wait();
        }
        for id in children {
            let _gone_already = Command::new("kill").args(["-KILL", &id.to_string()]).stderr(Stdio::null()).status();
        }
    }
}

/// A build beside a long run must not change what runs.
fn copy_programs(repository: &Repository, folder: &Path) -> Outcome<PathBuf> {
    let programs = folder.join("programs");
    for name in ["sallyport", "sallyport-fixture"] {
        let from = repository.path("target/debug").join(name);
        fs::create_dir_all(&programs)
            .and_then(|()| fs::copy(&from, programs.join(name)))
            .map_err(|error| format!("could not copy {} to {}: {error}", from.display(), programs.display()))?;
    }
    Ok(programs)
}

fn configuration(programs: &Path, ports: &[u16]) -> String {
    let fixture = programs.join("sallyport-fixture");
    let stdio = |name: &str, revision: &str| {
        format!("[servers.{name}]\ncommand = [{fixture:?}, \"stdio\", \"--revision\", \"{revision}\"]\nread = [{programs:?}]\n\n")
    };
    let http = |name: &str, port: &u16| format!("[servers.{name}]\nurl = \"http://127.0.0.1:{port}/mcp\"\n\n");
    let [legacy_stdio, modern_stdio, remote @ ..] = NAMES;
    let remote = remote.iter().zip(ports).map(|(name, port)| http(name, port));
    [stdio(legacy_stdio, LEGACY), stdio(modern_stdio, MODERN)].into_iter().chain(remote).collect()
}

fn serve(programs: &Path, folder: &Path, port: u16, revision: &str) -> Outcome<Child> {
    let log = File::options().create(true).append(true).open(folder.join(format!("{revision}.log")));
    let log = log.map_err(|error| format!("could not write in {}: {error}", folder.display()))?;
    let mut command = Command::new(programs.join("sallyport-fixture"));
    command.args(["http", "--listen", &format!("127.0.0.1:{port}"), "--revision", revision]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
    let child = child.map_err(|error| format!("could not start the fixture: {error}"))?;
    let begin = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begin.elapsed() > PATIENCE {
            return Err(format!("the fixture does not listen on port {port}"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(child)
}

fn up(programs: &Path, folder: &Path, port: u16) -> Outcome<Child> {
    let log = File::create(folder.join("gateway.log")).map_err(|error| format!("could not write in {}: {error}", folder.display()))?;
    let twin = log.try_clone().map_err(|error| format!("could not share a file: {error}"))?;
    let mut command = Command::new(programs.join("sallyport"));
    command.current_dir(folder.join("project")).env_clear().envs(environment(folder));
    command.arg("--config").arg(folder.join(CONFIGURATION)).args(["--listen", &format!("127.0.0.1:{port}"), "up", "--no-view"]);
    let child = command.stdin(Stdio::null()).stdout(log).stderr(twin).spawn();
    child.map_err(|error| format!("could not start the gateway: {error}"))
}

/// Nothing of whoever runs this, and homes of its own.
fn environment(folder: &Path) -> Vec<(String, String)> {
    let homes = [
        ("HOME", "home"),
        ("XDG_STATE_HOME", "state"),
        ("XDG_CONFIG_HOME", "config"),
        ("XDG_CACHE_HOME", "cache"),
        ("XDG_RUNTIME_DIR", "runtime"),
    ];
    let homes = homes.iter().map(|(name, home)| ((*name).to_owned(), folder.join(home).display().to_string()));
    homes.chain([("PATH".to_owned(), std::env::var("PATH").unwrap_or_default())]).collect()
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| format!("could not write {}: {error}", path.display()))
}
