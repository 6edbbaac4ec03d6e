//! A PostgreSQL of this machine's own package, with a database that a test fills.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::free_port;

/// Who runs it where the test is run by root, which PostgreSQL refuses to be: the user `nobody` of every Debian.
const NOBODY: &str = "65534";

/// A running server. Stopped and removed when dropped.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

#[allow(clippy::expect_used, reason = "a test without its database has nothing to test")]
impl Postgres {
    /// Makes a new server with nothing in it, and starts it.
    ///
    /// # Panics
    /// Where Debian's package is missing, or it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// The same, with further settings.
    ///
    /// # Panics
    /// Where Debian's package is missing, or it does not start.
    #[must_use]
    pub fn start_with(settings: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("sallyport-pg-").tempdir_in("/var/tmp").expect("/var/tmp is writable");
        let port = free_port().expect("loopback has a free port");
        let own = Self { folder, programs: programs(), port };
        if is_root() {
            own.must(Command::new("chown").arg(NOBODY).arg(own.folder.path()));
        }
        let data = own.path("data");
        own.must(own.program("initdb").args(["-D", &data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"]));
        let own_settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nfsync = off\n{settings}\n",
            own.folder.path().display()
        );
        fs::write(format!("{data}/postgresql.auto.conf"), own_settings).expect("the data folder is there");
        own.must(own.program("pg_ctl").args(["-D", &data, "-w", "-l", &own.path("log"), "start"]));
        own
    }

    /// A path in the server's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The address of the database `postgres`, for a user.
    #[must_use]
    pub fn url(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres", self.port)
    }

    /// Runs statements as the superuser, and gives what they show, without headings.
    ///
    /// # Panics
    /// Where one fails.
    #[must_use]
    pub fn sql(&self, text: &str) -> String {
        let port = self.port.to_string();
        let output = self.must(
            self.program("psql")
                .args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"])
                .args(["-p", &port, "-d", "postgres", "-c", text]),
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// One of its programs, run by the user that the server is run by.
    fn program(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", NOBODY, "--clear-groups"]).arg(path);
                command
            }
            false => Command::new(path),
        };
        command.current_dir(self.folder.path()).env("LC_ALL", "C.UTF-8");
        command
    }

    fn must(&self, command: &mut Command) -> Output {
        let output = command.output().expect("the program starts");
        let said = [&output.stdout[..], &output.stderr[..], &fs::read(self.path("log")).unwrap_or_default()].concat();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
        output
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It fails only where it is gone already.
        let _stopped = self.program("pg_ctl").args(["-D", &self.path("data"), "-m", "immediate", "stop"]).output();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Debian keeps each version's programs in a folder of its own.
#[allow(clippy::expect_used, reason = "a test without its database has nothing to test")]
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).filter(|bin| is_server(bin)).collect();
    found.sort();
    found.pop().expect("PostgreSQL is installed: run `cargo xtask peers`")
}

fn is_server(bin: &Path) -> bool {
    bin.join("initdb").exists()
}
