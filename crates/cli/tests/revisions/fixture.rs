//! The fixture server, once for each revision and transport.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::ends::{End, Transport};
use crate::harness::gateway::Project;
use crate::harness::loopback;

/// The fixtures that listen, and how the gateway is told of all of them. They end when this is dropped.
pub(crate) struct Fixtures {
    program: PathBuf,
    listening: Vec<Child>,
    ports: Vec<(End, u16)>,
}

impl Fixtures {
    /// Starts those that listen; the gateway starts the others.
    pub(crate) fn start(project: &Project) -> Self {
        let mut fixtures = Self { program: program(), listening: Vec::new(), ports: Vec::new() };
        for end in End::all().filter(|end| end.transport != Transport::Stdio) {
            let port = loopback::free_port();
            let child = serve(&fixtures.program, end, port, &project.path(format!("{}.log", end.server_name())));
            fixtures.listening.push(child);
            fixtures.ports.push((end, port));
        }
        for (_, port) in &fixtures.ports {
            loopback::wait_for_port(*port, Duration::from_secs(10));
        }
        fixtures
    }

    /// A table for every server.
    pub(crate) fn configuration(&self) -> String {
        End::all().map(|end| format!("[servers.{}]\n{}\n", end.server_name(), self.table(end))).collect()
    }

    fn table(&self, end: End) -> String {
        let Some((_, port)) = self.ports.iter().find(|(listening, _)| *listening == end) else {
            let folder = self.program.parent().expect("a program lies in a folder");
            let revision = end.revision;
            return format!("command = [{:?}, \"stdio\", \"--revision\", \"{revision}\"]\nread = [{folder:?}]\n", self.program);
        };
        match end.transport {
            Transport::HttpSse => format!("url = \"http://127.0.0.1:{port}/sse\"\ntransport = \"sse\"\n"),
            _ => format!("url = \"http://127.0.0.1:{port}/mcp\"\n"),
        }
    }
}

impl Drop for Fixtures {
    fn drop(&mut self) {
        for child in &mut self.listening {
            // Both fail only when it is gone already.
            let _killed = child.kill();
            let _reaped = child.wait();
        }
    }
}

fn serve(program: &Path, end: End, port: u16, log: &Path) -> Child {
    let log = File::create(log).expect("the project is writable");
    let mode = if end.transport == Transport::HttpSse { "sse" } else { "http" };
    let mut command = Command::new(program);
    command.args([mode, "--listen", &format!("127.0.0.1:{port}"), "--revision", end.revision.as_str()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the fixture starts")
}

/// The program of the crate `testkit`, which lies beside the gateway's. Cargo builds it with the whole workspace, and not for
/// this test alone.
fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_sallyport")).with_file_name("sallyport-fixture");
    assert!(program.is_file(), "no {}: run `cargo build -p sallyport-testkit`", program.display());
    program
}
