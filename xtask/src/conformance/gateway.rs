//! The gateway under test in server mode, and the fixture behind it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::caller::Era;
use super::homes;
use crate::repository::Outcome;

/// How long a program may take until it listens: the machine may have more to do.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take until it ends: the gateway lets calls in flight finish.
const FAREWELL: Duration = Duration::from_secs(5);

/// The programs that are run.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) sallyport: PathBuf,
    pub(crate) fixture: PathBuf,
}

/// What stands behind the gateway.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upstream {
    pub(crate) face: Era,
    pub(crate) transport: Transport,
}

/// How the fixture is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// As a child in its sandbox.
    Stdio,
    /// By Streamable HTTP.
    Http,
    /// By HTTP+SSE.
    Sse,
}

/// Every way in which the fixture can stand behind the gateway.
pub(crate) const UPSTREAMS: [Upstream; 5] = [
    Upstream { face: Era::Legacy, transport: Transport::Stdio },
    Upstream { face: Era::Legacy, transport: Transport::Http },
    Upstream { face: Era::Legacy, transport: Transport::Sse },
    Upstream { face: Era::Modern, transport: Transport::Stdio },
    Upstream { face: Era::Modern, transport: Transport::Http },
];

impl Upstream {
    /// `legacy stdio`, and so on.
    pub(crate) fn name(self) -> String {
        let transport = match self.transport {
            Transport::Stdio => "stdio",
            Transport::Http => "HTTP",
            Transport::Sse => "SSE",
        };
        format!("{} {transport}", self.face.name())
    }
}

/// A gateway with the fixture as its only server.
#[derive(Debug)]
pub(crate) struct Gateway {
    port: u16,
    /// The gateway, and the fixture where it is no child of the gateway's. In the order in which they are ended.
    running: Vec<Running>,
}

impl Gateway {
    /// Starts both, with their files and logs in `folder`, and waits until the gateway is ready.
    pub(crate) fn start(programs: &Programs, upstream: Upstream, folder: &Path) -> Outcome<Self> {
        let (server, fixture) = start_upstream(programs, upstream, folder)?;
        let configuration = folder.join("sallyport.toml");
        fs::write(&configuration, format!("[servers.fixture]\n{server}"))
            .map_err(|error| format!("could not write {}: {error}", configuration.display()))?;
        let mut gateway = Self::of(programs, free_port()?, folder)?;
        gateway.running.extend(fixture);
        Ok(gateway)
    }

    /// Starts the gateway that `sallyport.toml` in `folder` describes, and waits until it is ready.
    pub(crate) fn of(programs: &Programs, port: u16, folder: &Path) -> Outcome<Self> {
        let mut command = homes::command(&programs.sallyport, folder)?;
        command.arg("--config").arg(folder.join("sallyport.toml")).args(["--listen", &format!("127.0.0.1:{port}"), "up", "--no-view"]);
        let running = vec![Running::start(&mut command, &folder.join("gateway.log"))?];
        wait_until(&format!("the gateway is ready (see {})", folder.display()), PATIENCE, || is_ready(port))?;
        Ok(Self { port, running })
    }

    /// The fixture's own endpoint, where it has its own names. By name, since the suite tries forged hosts on local names only.
    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}/servers/fixture/mcp", self.port)
    }
}

/// The server's entry in the configuration, and the fixture's process where the gateway does not start it.
fn start_upstream(programs: &Programs, upstream: Upstream, folder: &Path) -> Outcome<(String, Option<Running>)> {
    let era = upstream.face.name();
    let fixture = toml::Value::from(programs.fixture.display().to_string());
    let (mode, path, key) = match upstream.transport {
        Transport::Stdio => {
            return Ok((format!("command = [{fixture}, \"stdio\", \"--era\", \"{era}\"]\nread = [{fixture}]\n"), None));
        }
        Transport::Http => ("http", "mcp", "streamable_http"),
        Transport::Sse => ("sse", "sse", "sse"),
    };
    let port = free_port()?;
    let mut command = homes::command(&programs.fixture, folder)?;
    command.args([mode, "--listen", &format!("127.0.0.1:{port}"), "--era", era]);
    let running = Running::start(&mut command, &folder.join("fixture.log"))?;
    wait_until(&format!("the fixture listens (see {})", folder.display()), PATIENCE, || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    Ok((format!("url = \"http://127.0.0.1:{port}/{path}\"\ntransport = \"{key}\"\n"), Some(running)))
}

/// A program that is ended when this is dropped.
#[derive(Debug)]
struct Running(Child);

impl Running {
    fn start(command: &mut Command, log: &Path) -> Outcome<Self> {
        let file = File::create(log).map_err(|error| format!("could not make {}: {error}", log.display()))?;
        let twin = file.try_clone().map_err(|error| format!("could not copy a descriptor: {error}"))?;
        let started = command.stdin(Stdio::null()).stdout(file).stderr(twin).spawn();
        started.map(Self).map_err(|error| format!("could not start {}: {error}", command.get_program().display()))
    }
}

impl Drop for Running {
    /// Asks it to end, so that it ends its own children, and kills it where it does not.
    fn drop(&mut self) {
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        let ended = asked.is_ok() && wait_until("it ends", FAREWELL, || matches!(self.0.try_wait(), Ok(Some(_)))).is_ok();
        if !ended {
            // Both fail only where it is gone already.
            let _killed = self.0.kill();
            let _reaped = self.0.wait();
        }
    }
}

/// A port that nothing else here is given.
pub(crate) fn free_port() -> Outcome<u16> {
    sallyport_testkit::free_port().map_err(|error| format!("loopback has no free port: {error}"))
}

fn is_ready(port: u16) -> bool {
    let asked = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    asked.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn wait_until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) -> Outcome {
    let deadline = Instant::now() + patience;
    while !holds() {
        if Instant::now() > deadline {
            return Err(format!("not within {} s: {what}", patience.as_secs()));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
