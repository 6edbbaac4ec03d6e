//! Cerbos as a process of its own, from npm's package of it.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sallyport_testkit::free_port;
use tempfile::TempDir;

/// A decision point that answers at a port of loopback; ended when dropped.
pub(crate) struct Cerbos {
    child: Child,
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Cerbos {
    /// Starts one with this policy, in its own language.
    pub(crate) fn start(policy: &str) -> Self {
        let peers =
            std::env::var_os("SALLYPORT_PEERS").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.peers"), PathBuf::from);
        let program = peers.join("npm/node_modules/@cerbos/cerbos-linux-x64/cerbos-linux-x64");
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port().unwrap());
        let (policies, settings) = (folder.path().join("policies"), folder.path().join("cerbos.yaml"));
        fs::create_dir(&policies).unwrap();
        fs::write(policies.join("tool.yaml"), policy).unwrap();
        let text = format!(
            "server: {{httpListenAddr: \"127.0.0.1:{port}\", grpcListenAddr: \"127.0.0.1:{}\"}}\n\
             storage: {{driver: disk, disk: {{directory: {}, watchForChanges: false}}}}\ntelemetry: {{disabled: true}}\n",
            free_port().unwrap(),
            policies.display()
        );
        fs::write(&settings, text).unwrap();
        let config = format!("--config={}", settings.display());
        let child = Command::new(&program).args(["server", &config]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask peers`", program.display()));
        let running = Self { child, port, _folder: folder };
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return running;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("cerbos does not answer");
    }
}

impl Drop for Cerbos {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
