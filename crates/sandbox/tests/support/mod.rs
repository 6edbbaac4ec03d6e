//! Runs the launcher as root and as an ordinary user, in folders that belong to that user.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod image;
#[cfg(target_arch = "x86_64")]
pub(crate) mod kernel;
pub(crate) mod packages;
pub(crate) mod sdist;
pub(crate) mod servers;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// An id that no distribution gives to anybody.
pub(crate) const USER: u32 = 64_111;

/// Who runs the launcher.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Caller {
    Itself,
    User,
}

/// Root tests both; an ordinary user can only be himself.
pub(crate) fn callers() -> &'static [Caller] {
    if is_root() { &[Caller::Itself, Caller::User] } else { &[Caller::Itself] }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A folder that belongs to the caller and that he can reach.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
    caller: Caller,
}

impl Folder {
    pub(crate) fn of(caller: Caller) -> Self {
        let folder = tempfile::Builder::new().prefix("sallyport-test-").tempdir_in("/var/tmp").unwrap();
        let this = Self { folder, caller };
        this.give(&this.path(""));
        this
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        self.give(&path);
        path
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.give(&path);
        path
    }

    /// The kernel of machines, as a copy of the caller's own: a user does not see the other one.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn guest(&self) -> PathBuf {
        let own = self.folder("guest");
        for entry in fs::read_dir(kernel::prepared()).unwrap().flatten() {
            let copy = own.join(entry.file_name());
            fs::copy(entry.path(), &copy).unwrap();
            self.give(&copy);
        }
        own
    }

    fn give(&self, path: &Path) {
        if self.caller == Caller::User {
            chown(path, Some(USER), Some(USER)).unwrap();
        }
    }

    pub(crate) fn owner(&self) -> u32 {
        match self.caller {
            Caller::Itself => rustix::process::geteuid().as_raw(),
            Caller::User => USER,
        }
    }
}

/// `sallyport-launcher OPTIONS -- COMMAND`, to be run by the caller.
pub(crate) fn launcher(caller: Caller, options: &[&str], command: &[&str]) -> Command {
    let binary = env!("CARGO_BIN_EXE_sallyport-launcher");
    let mut run = match caller {
        Caller::Itself => Command::new(binary),
        Caller::User => {
            let mut run = Command::new("setpriv");
            run.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups", binary]);
            run
        }
    };
    run.args(options).arg("--").args(command);
    run.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    run
}

/// Runs it to its end.
pub(crate) fn run(caller: Caller, options: &[&str], command: &[&str]) -> Output {
    launcher(caller, options, command).output().unwrap()
}

/// Runs it, expects success, gives stdout.
pub(crate) fn succeeds(caller: Caller, options: &[&str], command: &[&str]) -> String {
    let output = run(caller, options, command);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{caller:?} {command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether a process with this mark in its command line lives.
pub(crate) fn lives(mark: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let own = entry.file_name().to_str() == Some(&std::process::id().to_string());
        !own && text(&line).contains(mark)
    })
}

/// Waits until `condition` holds, at most five seconds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(5), "not within five seconds: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
