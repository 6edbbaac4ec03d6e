//! A registry of packages that is a folder of files: indexes of Python packages and of crates are no more.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Serves its folder until it is closed.
pub(crate) struct Registry {
    folder: TempDir,
    server: Child,
    port: u16,
}

impl Registry {
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("r-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(folder.path().join("served")).unwrap();
        let mut server = Command::new("python3")
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"])
            .arg(folder.path().join("served"))
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("asked")).unwrap())
            .spawn()
            .unwrap();
        // "Serving HTTP on 127.0.0.1 port 40123 (http://…"
        let mut said = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let port = said.split(' ').skip_while(|word| *word != "port").nth(1).unwrap().parse().unwrap();
        Self { folder, server, port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// A path to put a file at; its folder is there.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        let file = self.folder.path().join("served").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        file
    }

    /// How often it was asked for anything.
    pub(crate) fn asked(&self) -> usize {
        fs::read_to_string(self.folder.path().join("asked")).unwrap().lines().count()
    }

    /// Nobody answers any more.
    pub(crate) fn close(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Both fail only when it was closed already.
        let _killed = self.server.kill();
        let _reaped = self.server.wait();
    }
}
