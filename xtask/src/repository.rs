//! Where this repository lies and which files belong to it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step;

/// A task's outcome; the error is one sentence for the person at the terminal.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// The checked-out repository a task works on.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    root: PathBuf,
}

impl Repository {
    /// The repository this program was built from.
    pub(crate) fn find() -> Outcome<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().ok_or_else(|| format!("{} has no parent folder", manifest.display()))?;
        Ok(Self { root: root.to_path_buf() })
    }

    /// A path inside the repository.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Where the public peers are installed: `$SALLYPORT_PEERS`, else `.peers` in the repository.
    pub(crate) fn peers(&self) -> PathBuf {
        env::var_os("SALLYPORT_PEERS").map_or_else(|| self.path(".peers"), PathBuf::from)
    }

    /// A command that starts in the top folder.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// Cargo itself, the one that runs this task.
    pub(crate) fn cargo(&self) -> Command {
        self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// Every Rust file that git tracks or would track, relative to the top folder.
    ///
    /// Asked of git, not of cargo: files named only inside `registry!` are invisible to `cargo fmt`.
    pub(crate) fn rust_files(&self) -> Outcome<Vec<PathBuf>> {
        let mut git = self.command("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.rs"]);
        let listed = step::output(&mut git)?;
        Ok(listed.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).filter(|path| self.path(path).is_file()).collect())
    }
}
