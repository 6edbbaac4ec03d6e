//! The one folder that file tools reach. Every path is resolved by the kernel below an open descriptor of it
//! (`openat2` with `RESOLVE_BENEATH`, through cap-std): there is no moment between a check and a use.

use std::io;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use cap_fs_ext::{OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata, OpenOptions};
use schemars::JsonSchema;
use serde::Serialize;

use super::Config;
use crate::build_error::BuildError;
use crate::hidden::{Closed, Hidden};
use crate::tool::ToolError;

/// Bytes of a path at most: Linux' own bound (`PATH_MAX`).
const MAX_PATH_BYTES: usize = 4096;

/// What a name in a folder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    Other, // a pipe, socket or device: never opened
}

impl From<cap_std::fs::FileType> for Kind {
    fn from(kind: cap_std::fs::FileType) -> Self {
        match kind {
            kind if kind.is_file() => Self::File,
            kind if kind.is_dir() => Self::Directory,
            kind if kind.is_symlink() => Self::Symlink,
            _ => Self::Other,
        }
    }
}

/// The folder.
#[derive(Debug)]
pub(super) struct Root {
    folder: Dir,
    path: PathBuf,
    /// The path as it was configured: what a model that was told of it may write.
    named: PathBuf,
    /// What is never written, below the root.
    protected: Vec<PathBuf>,
    /// What is never read.
    hidden: Hidden,
    /// In which nothing is read or written.
    closed: Closed,
    /// What is not written because others run or obey it, below the root.
    denied: Vec<PathBuf>,
}

impl Root {
    pub(super) fn open(config: &Config) -> Result<Self, BuildError> {
        let Config { root: named, protected, hidden, closed, denied, .. } = config;
        let fault = |error: io::Error| BuildError::new(format!("folder {}: {}", named.display(), reason(&error)));
        let path = named.canonicalize().map_err(fault)?;
        let folder = Dir::open_ambient_dir(&path, ambient_authority()).map_err(fault)?;
        let places = protected.iter().chain(closed).flat_map(|file| places(file));
        let protected = places.filter_map(|file| Some(file.strip_prefix(&path).ok()?.to_owned())).collect();
        let closed = Closed::new(closed);
        Ok(Self { protected, hidden: Hidden::new(hidden.clone()), closed, denied: denied.clone(), folder, path, named: named.to_owned() })
    }

    /// Whether a path without links is one that is never written, or holds one, or lies in one.
    pub(super) fn protects(&self, resolved: &Path) -> bool {
        self.protected.iter().any(|file| file.starts_with(resolved)) || self.closed.holds(&self.path.join(resolved))
    }

    /// Whether a path without links is what others run or obey, or holds or lies in that; by its own name and by what links make of it.
    pub(super) fn denies(&self, resolved: &Path) -> bool {
        let is_near = |entry: &Path| starts_with(resolved, entry) || starts_with(entry, resolved);
        self.denied.iter().any(|entry| is_near(entry) || self.resolve_new(entry).is_ok_and(|entry| is_near(&entry)))
    }

    /// Refuses what is open in a folder in which nothing is read or written.
    pub(super) fn refuse_closed(&self, open: &impl AsFd, path: &Path) -> Result<(), ToolError> {
        let is_closed = self.closed.holds_open(open);
        match is_closed.map_err(|_| ToolError::new(format!("where `{}` lies cannot be told without /proc", show(path))))? {
            true => Err(ToolError::new(format!("`{}` is or lies in a folder of the gateway, which is closed", show(path)))
                .with_hint("nothing in there is for servers; ask the user")),
            false => Ok(()),
        }
    }

    pub(super) fn folder(&self) -> &Dir {
        &self.folder
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path below the root that an argument means: relative to it, or absolute and inside it.
    pub(super) fn locate(&self, argument: &str) -> Result<PathBuf, ToolError> {
        if argument.len() > MAX_PATH_BYTES || argument.contains('\0') {
            return Err(ToolError::new("this is no path: too long, or with a NUL in it"));
        }
        let path = Path::new(argument);
        let path = if path.is_absolute() {
            let inside = path.strip_prefix(&self.path).or_else(|_| path.strip_prefix(&self.named));
            inside.map_err(|_| outside(argument, &self.path))?
        } else {
            path
        };
        // Without `.`, so that `./a` and `a` are shown alike; `..` is left to the kernel.
        let path: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
        Ok(if path.as_os_str().is_empty() { PathBuf::from(".") } else { path })
    }

    /// Opens a regular file to read it. Symbolic links are followed as far as they stay inside.
    pub(super) fn open_file(&self, path: &Path) -> Result<(File, Metadata), ToolError> {
        let (file, metadata) = open_regular(&self.folder, path, true).map_err(|error| self.fault(path, &error))?;
        if self.hides(&metadata) {
            return Err(ToolError::new(format!("`{}` holds a secret of the gateway, which is not read", show(path))));
        }
        self.refuse_closed(&file, path)?;
        Ok((file, metadata))
    }

    /// Whether an open file is one that is never read.
    pub(super) fn hides(&self, open: &Metadata) -> bool {
        self.hidden.holds(open)
    }

    /// Opens a folder.
    pub(super) fn open_folder(&self, path: &Path) -> Result<Dir, ToolError> {
        let folder = self.folder.open_dir(path).map_err(|error| self.fault(path, &error))?;
        self.refuse_closed(&folder, path)?;
        Ok(folder)
    }

    /// What went wrong at `path`, for the model.
    pub(super) fn fault(&self, path: &Path, error: &io::Error) -> ToolError {
        let shown = show(path);
        if error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() {
            return outside(&shown, &self.path); // cap-std's own refusal carries no errno
        }
        let told = ToolError::new(format!("`{shown}`: {}", reason(error)));
        match error.kind() {
            io::ErrorKind::IsADirectory => told.with_hint("use list_directory or directory_tree"),
            io::ErrorKind::NotADirectory => told.with_hint("a part of the path is a file; use read_file for that"),
            io::ErrorKind::NotFound => told.with_hint("use list_directory or search_files to see what is there"),
            _ => told,
        }
    }
}

/// Where a file is: every link on the way to it, by its own place, and what they lead to in the end. Replacing any of them would
/// replace the file.
fn places(file: &Path) -> Vec<PathBuf> {
    let place = |path: &Path| Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    let links = file.ancestors().skip(1).filter(|path| path.is_symlink());
    links.chain([file]).filter_map(place).chain(file.canonicalize().ok()).collect()
}

/// As [`Path::starts_with`], whatever the case of letters: some disks do not tell them apart.
fn starts_with(path: &Path, start: &Path) -> bool {
    let mut parts = path.components();
    start.components().all(|part| parts.next().is_some_and(|other| part.as_os_str().eq_ignore_ascii_case(other.as_os_str())))
}

fn outside(shown: &str, root: &Path) -> ToolError {
    ToolError::new(format!("`{shown}` leads outside of the folder {}", root.display()))
        .with_hint("only what is below that folder can be reached")
}

/// Opens `path` below `folder` where it is a regular file. `O_NONBLOCK`: opening a pipe must not wait for its writer.
pub(crate) fn open_regular(folder: &Dir, path: &Path, follow: bool) -> io::Result<(File, Metadata)> {
    let mut options = OpenOptions::new();
    options.read(true).nonblock(true);
    if !follow {
        options.follow(cap_fs_ext::FollowSymlinks::No);
    }
    let file = folder.open_with(path, &options)?;
    let metadata = file.metadata()?;
    match Kind::from(metadata.file_type()) {
        Kind::File => Ok((file, metadata)),
        Kind::Directory => Err(io::ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// The path as text. Bytes that are no UTF-8 become U+FFFD: such names are shown, but cannot be asked for.
pub(super) fn show(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// An error's reason, in the words of the house.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::NotADirectory => "it is no folder".to_owned(),
        io::ErrorKind::AlreadyExists => "it exists already".to_owned(),
        _ => match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::LOOP) => "symbolic links lead in a circle".to_owned(),
            Some(rustix::io::Errno::NXIO) => "not a regular file".to_owned(), // a socket, or a pipe opened to be written
            _ => error.to_string(),
        },
    }
}
