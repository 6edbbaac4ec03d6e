//! Where Sallyport keeps its own files: the user's XDG folders, closed to everybody else.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const NAME: &str = "sallyport";

/// Of the state, the folder of tenants.
const TENANTS: &str = "tenants";

/// The folders of one user, as the XDG Base Directory Specification places them. Nothing is created by naming them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// `$XDG_STATE_HOME/sallyport`, else `~/.local/state/sallyport`: audit, logs, running gateways.
    pub state: PathBuf,
    /// `$XDG_CACHE_HOME/sallyport`, else `~/.cache/sallyport`: what can be made again.
    pub cache: PathBuf,
    /// `$XDG_CONFIG_HOME/sallyport`, else `~/.config/sallyport`: the user's own configuration and secrets.
    pub config: PathBuf,
}

impl Folders {
    /// The folders of the user whose environment this is.
    ///
    /// # Errors
    /// When neither `HOME` nor the XDG variables say where they are.
    pub fn of_user() -> Result<Self, FolderError> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// The folders that these environment variables say.
    ///
    /// # Errors
    /// When neither `HOME` nor the XDG variables say where they are.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, FolderError> {
        // Relative paths are to be ignored (specification, "All paths set in these environment variables must be absolute").
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let place = |name: &'static str, below_home: &str| {
            absolute(name)
                .or_else(|| Some(absolute("HOME")?.join(below_home)))
                .map(|base| base.join(NAME))
                .ok_or_else(|| FolderError { path: format!("${name}").into(), problem: Problem::Unsaid(name) })
        };
        Ok(Self {
            state: place("XDG_STATE_HOME", ".local/state")?,
            cache: place("XDG_CACHE_HOME", ".cache")?,
            config: place("XDG_CONFIG_HOME", ".config")?,
        })
    }

    /// The same for a tenant, which keeps what is its own apart from all others. What can be made again is shared: it is named by its content.
    #[must_use]
    pub fn of_tenant(&self, name: &str) -> Self {
        Self { state: self.tenants_folder().join(name), ..self.clone() }
    }

    /// The three folders in which everything of Sallyport lies, that of all tenants included.
    #[must_use]
    pub fn all(&self) -> [&Path; 3] {
        let of_tenants = self.state.parent().filter(|above| above.ends_with(TENANTS)).and_then(Path::parent);
        [of_tenants.unwrap_or(&self.state), &self.cache, &self.config]
    }

    /// The folders of tenants.
    #[must_use]
    pub fn tenants_folder(&self) -> PathBuf {
        self.state.join(TENANTS)
    }

    /// The audit records, one JSON object a line.
    #[must_use]
    pub fn audit_file(&self) -> PathBuf {
        self.state.join("audit").join("audit.jsonl")
    }

    /// The gateway's own log.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.state.join("log").join("sallyport.log")
    }

    /// What the child called `server` writes to stderr. Names of servers are checked by the configuration: they hold no
    /// separators.
    #[must_use]
    pub fn server_log(&self, server: &str) -> PathBuf {
        self.state.join("servers").join(format!("{server}.log"))
    }

    /// What must outlive a process: keys, users, grants.
    #[must_use]
    pub fn store_file(&self) -> PathBuf {
        self.state.join("store.db")
    }

    /// One file for each running gateway.
    #[must_use]
    pub fn run_folder(&self) -> PathBuf {
        self.state.join("run")
    }

    /// Installed packages of servers.
    #[must_use]
    pub fn packages_folder(&self) -> PathBuf {
        self.cache.join("packages")
    }

    /// Changes of lock files while they are made.
    #[must_use]
    pub fn lock_drafts_folder(&self) -> PathBuf {
        self.packages_folder().join("drafts")
    }

    /// Secrets that `import` moved out of other programs' configurations.
    #[must_use]
    pub fn secrets_folder(&self) -> PathBuf {
        self.config.join("secrets")
    }
}

/// Makes sure that `path` is a folder which only this user can enter and in which files can be made. Missing folders on
/// the way are created, as private as itself; if it exists and is open to others, it is closed.
///
/// # Errors
/// When that cannot be had, with the folder and what to do.
pub fn private_folder(path: &Path) -> Result<(), FolderError> {
    let at = |problem| FolderError { path: path.to_owned(), problem };
    create(path).map_err(|error| at(Problem::Create(error.kind())))?;
    close(path).map_err(|error| at(Problem::Close(error.kind())))?;
    probe(path).map_err(|error| at(Problem::Write(error.kind())))
}

fn create(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(unix)]
fn close(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)) // fails unless the folder is ours
}

#[cfg(not(unix))]
fn close(_: &Path) -> io::Result<()> {
    Ok(()) // the profile's access list is inherited there
}

/// Makes a file and removes it: permissions alone do not tell about read-only mounts and quotas.
fn probe(path: &Path) -> io::Result<()> {
    static PROBES: AtomicU64 = AtomicU64::new(0); // two threads may ask for the same folder at once
    let probe = PROBES.fetch_add(1, Ordering::Relaxed);
    let file = path.join(format!(".writable-{}-{probe}", std::process::id()));
    let _ = fs::remove_file(&file); // left by a process that was killed here
    File::create_new(&file)?;
    fs::remove_file(&file)
}

/// A folder that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    /// The environment does not say where it is.
    Unsaid(&'static str),
    /// It is missing and could not be created.
    Create(io::ErrorKind),
    /// Others may enter it, and it could not be closed.
    Close(io::ErrorKind),
    /// No file could be made in it.
    Write(io::ErrorKind),
}

impl FolderError {
    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self.problem {
            Problem::Unsaid(variable) => format!("set HOME, or {variable} to an absolute path"),
            Problem::Close(_) => format!("the folder belongs to another user: choose another one, or chown it ({})", choice()),
            Problem::Create(_) | Problem::Write(_) => {
                format!("make it writable for the user who runs the gateway, or choose another one ({})", choice())
            }
        }
    }
}

/// How another folder is chosen.
fn choice() -> &'static str {
    "XDG_STATE_HOME, XDG_CACHE_HOME, XDG_CONFIG_HOME"
}

impl fmt::Display for FolderError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.problem {
            Problem::Unsaid(_) => write!(formatter, "folder `{path}`: the environment does not say where it is"),
            Problem::Create(kind) => write!(formatter, "folder `{path}` cannot be created: {kind}"),
            Problem::Close(kind) => write!(formatter, "folder `{path}` is open to other users and cannot be closed: {kind}"),
            Problem::Write(kind) => write!(formatter, "folder `{path}` is not writable: {kind}"),
        }
    }
}

impl std::error::Error for FolderError {}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folders(variables: &[(&str, &str)]) -> Result<Folders, FolderError> {
        Folders::from_variables(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn xdg_variables_win_over_home_and_relative_ones_are_ignored() {
        let found = folders(&[("HOME", "/home/u"), ("XDG_STATE_HOME", "/var/s"), ("XDG_CACHE_HOME", "cache")]).unwrap();
        assert_eq!(found.audit_file(), Path::new("/var/s/sallyport/audit/audit.jsonl"));
        assert_eq!(found.packages_folder(), Path::new("/home/u/.cache/sallyport/packages"));
        assert_eq!(found.secrets_folder(), Path::new("/home/u/.config/sallyport/secrets"));
    }

    #[test]
    fn a_tenant_keeps_its_state_where_everything_lies() {
        let found = folders(&[("HOME", "/home/u")]).unwrap();
        let all = ["/home/u/.local/state/sallyport", "/home/u/.cache/sallyport", "/home/u/.config/sallyport"].map(Path::new);
        assert_eq!((found.all(), found.of_tenant("acme").all()), (all, all));
    }

    #[test]
    fn without_a_home_the_error_says_which_variable_helps() {
        for variables in [&[][..], &[("HOME", "")], &[("HOME", "relative")]] {
            let error = folders(variables).unwrap_err();
            assert_eq!(error.hint(), "set HOME, or XDG_STATE_HOME to an absolute path");
        }
    }

    #[test]
    fn a_private_folder_is_made_with_its_parents_and_closed_if_it_was_open() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("state/sallyport/audit");
        private_folder(&folder).unwrap();
        assert_eq!((mode(&folder), mode(folder.parent().unwrap())), (0o700, 0o700));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);

        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        private_folder(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
    }

    #[test]
    fn a_folder_that_cannot_be_had_is_an_error_that_names_it() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("file");
        fs::write(&file, "").unwrap();
        let error = private_folder(&file.join("below")).unwrap_err();
        assert!(error.to_string().contains("cannot be created") && error.to_string().contains("file/below"), "{error}");
        let error = private_folder(Path::new("/proc/sallyport")).unwrap_err(); // read-only even for root
        assert!(error.hint().contains("XDG_STATE_HOME"), "{}", error.hint());
    }
}
