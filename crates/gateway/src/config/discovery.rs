//! Which configuration holds: the one asked for, that of the project, the user's own, or none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sallyport_servers::{BuiltInConfig, git};

use crate::config::Invocation;
use crate::config::diagnostic::Diagnostic;
use crate::config::model::{Config, ServerConfig};
use crate::plan::Origin;

/// The name of a configuration file.
pub const FILE_NAME: &str = "sallyport.toml";

/// The largest file that is read: a thousand servers fit into a tenth of it, and whatever is larger is not a configuration.
/// (`~/.claude.json`, which holds a client's history too, grows to a few MiB.)
pub const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// Folders of clients: a configuration in one of these belongs to the project around it.
const CLIENT_FOLDERS: [&str; 6] = [".claude", ".codex", ".config", ".cursor", ".vscode", ".zed"];

/// The configuration that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is, or that there is none.
    pub origin: Origin,
    /// Where a file was looked for, in order.
    pub looked_at: Vec<PathBuf>,
}

/// Finds the configuration: the file of `--config`; else `sallyport.toml` in the working directory (or the folder that `--config`
/// names) or a folder above it; else the user's own.
///
/// # Errors
/// When the file that was asked for is not there, or one that was found belongs to another user.
pub fn find(invocation: &Invocation) -> Result<Found, Diagnostic> {
    let Some(asked_for) = &invocation.file else { return find_from(invocation, &invocation.folder) };
    let path: PathBuf = invocation.folder.join(asked_for).components().collect();
    if path.is_dir() { find_from(invocation, &path) } else { the_file(invocation, path) }
}

/// Finds the configuration that holds in `start`.
fn find_from(invocation: &Invocation, start: &Path) -> Result<Found, Diagnostic> {
    let mut looked_at: Vec<PathBuf> = start.ancestors().map(|folder| folder.join(FILE_NAME)).collect();
    if let Some(file) = looked_at.iter().find(|file| file.is_file()) {
        check_owner(file)?;
        let folder = file.parent().unwrap_or(start).to_owned();
        return Ok(Found { origin: Origin { file: Some(file.clone()), folder }, looked_at });
    }
    let own = user_file(invocation);
    looked_at.extend(own.clone());
    let file = own.filter(|file| file.is_file());
    Ok(Found { origin: Origin { file, folder: start.to_owned() }, looked_at })
}

/// A file that was found, not asked for, must be the user's: in a folder that many may write (`/tmp`), anybody could leave one, and it
/// says which programs are started.
#[cfg(unix)]
fn check_owner(file: &Path) -> Result<(), Diagnostic> {
    use std::fs::metadata;
    use std::os::unix::fs::MetadataExt as _;
    let owner = |path: &Path| metadata(path).map(|metadata| metadata.uid());
    // The kernel gives a process's own folder to the user it runs as.
    let (Ok(owner_of_file), Ok(user)) = (owner(file), owner(Path::new("/proc/self"))) else { return Ok(()) };
    if owner_of_file == user || owner_of_file == 0 {
        return Ok(());
    }
    let mut diagnostic = Diagnostic::new("", "the file belongs to another user, who could have programs started as you")
        .hint(format!("if you trust it, ask for it: `--config {}`", file.display()));
    diagnostic.file = Some(file.to_owned());
    Err(diagnostic)
}

#[cfg(not(unix))]
fn check_owner(_: &Path) -> Result<(), Diagnostic> {
    Ok(())
}

/// The user's own configuration, whether it is there or not.
#[must_use]
pub fn user_file(invocation: &Invocation) -> Option<PathBuf> {
    let folder = invocation.folder_in("XDG_CONFIG_HOME").or_else(|| Some(invocation.folder_in("HOME")?.join(".config")))?;
    Some(folder.join("sallyport").join(FILE_NAME))
}

fn the_file(invocation: &Invocation, file: PathBuf) -> Result<Found, Diagnostic> {
    if !file.is_file() {
        let mut diagnostic = Diagnostic::new("", "there is no such file").hint("give the path of a `sallyport.toml` or of a client's JSON");
        diagnostic.file = Some(file);
        return Err(diagnostic);
    }
    let folder = if user_file(invocation).as_ref() == Some(&file) { invocation.folder.clone() } else { project_of(&file) };
    Ok(Found { origin: Origin { file: Some(file.clone()), folder }, looked_at: vec![file] })
}

/// The folder that a configuration is about: its own, or the one around a client's folder.
fn project_of(file: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(file);
    let in_client = folder.file_name().is_some_and(|name| CLIENT_FOLDERS.iter().any(|client| name == *client));
    let project = if in_client { folder.parent() } else { None };
    project.unwrap_or(folder).to_owned()
}

/// Reads a text file of at most [`LARGEST_FILE`] bytes.
///
/// # Errors
/// When it cannot be read, is larger, or is not UTF-8.
pub fn read_bounded(file: &Path) -> Result<String, Diagnostic> {
    let wrong = |message: String| {
        let mut diagnostic = Diagnostic::new("", message);
        diagnostic.file = Some(file.to_owned());
        diagnostic
    };
    let bytes = read_bytes(file)
        .map_err(|error| wrong(format!("the file cannot be read: {error}")).hint("it has to be a file that you may read"))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(wrong(format!("the file is larger than {} MiB", LARGEST_FILE / 1024 / 1024)).hint("is it the right one?"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        wrong(format!("the file is not UTF-8: byte {at} is not part of a character")).hint("save it as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn read_bytes(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large from one that just fits.
    File::open(file)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The configuration that holds when no file was found: this folder and its history, to read.
#[must_use]
pub fn built_in_default(folder: &Path) -> Config {
    let read_only = |builtin| ServerConfig { builtin: Some(builtin), ..ServerConfig::default() };
    let mut servers = BTreeMap::from([("filesystem".to_owned(), read_only(BuiltInConfig::Filesystem(<_>::default())))]);
    if git::in_work_tree(folder) {
        servers.insert("git".to_owned(), read_only(BuiltInConfig::Git(<_>::default())));
    }
    Config { servers, ..Config::default() }
}
