//! The scripted server of `testkit` behind both tenants: one process, so that only the gateway keeps them apart.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::loopback;

/// A server that listens; ended when dropped.
pub(crate) struct Fixture {
    child: Child,
    pub(crate) port: u16,
}

impl Fixture {
    pub(crate) fn start() -> Self {
        Self::speaking("2026-07-28")
    }

    /// One of another revision.
    pub(crate) fn speaking(revision: &str) -> Self {
        let port = loopback::free_port();
        let mut command = Command::new(Self::program());
        command.args(["http", "--listen", &format!("127.0.0.1:{port}"), "--revision", revision]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the fixture starts");
        loopback::wait_for_port(port, Duration::from_secs(10));
        Self { child, port }
    }

    /// The program of the crate `testkit`, which lies beside the gateway's.
    pub(crate) fn program() -> PathBuf {
        let program = Path::new(env!("CARGO_BIN_EXE_sallyport")).with_file_name("sallyport-fixture");
        assert!(program.is_file(), "no {}: run `cargo build -p sallyport-testkit`", program.display());
        program
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
