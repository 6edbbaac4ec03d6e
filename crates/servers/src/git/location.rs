//! Where the repository is, and whether it is really that one.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cap_std::fs::{File, Metadata};
use git2::{ConfigLevel, ErrorCode, Repository, RepositoryOpenFlags};

use crate::build_error::BuildError;
use crate::hidden::{Closed, Hidden};
use crate::tool::ToolError;

/// Entries below `refs` and `logs` that are looked at before something is written there.
const MAX_REFERENCES: usize = 100_000;

/// A repository's place. It is opened anew for each call: another program may change or remake it at any time.
#[derive(Debug)]
pub(super) struct Location {
    /// The work tree, or the bare repository itself.
    folder: PathBuf,
    bare: bool,
    write: bool,
    hidden: Hidden,
    closed: Closed,
}

/// What of the work tree is kept from callers, as it is at this moment.
pub(super) struct Kept {
    secrets: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Kept {
    /// What keeps a path from callers, if anything does.
    pub(super) fn why(&self, path: &Path) -> Option<&'static str> {
        if self.secrets.iter().any(|secret| secret == path) {
            return Some(SECRET);
        }
        self.is_closed(path).then_some("lies in a folder of the gateway, which is closed")
    }

    /// Whether it lies in a folder in which nothing is read or written.
    pub(super) fn is_closed(&self, path: &Path) -> bool {
        self.folders.iter().any(|folder| path.starts_with(folder))
    }

    /// Whether another thing in its place would be one in the place of such a folder, or in it.
    pub(super) fn is_near_closed(&self, path: &Path) -> bool {
        self.is_closed(path) || self.folders.iter().any(|folder| folder.starts_with(path))
    }
}

/// Why the content of a file is not shown.
pub(super) const SECRET: &str = "holds a secret of the gateway, which is not shown";

impl Location {
    /// Finds the repository that `root` is in, going up as far as the file system goes, as git does.
    pub(super) fn find(root: &Path) -> Result<Self, BuildError> {
        let none = || {
            BuildError::new(format!("{} is not in a git repository", root.display()))
                .with_hint("make one with `git init`, or name another root")
        };
        let start = root.canonicalize().map_err(|_| BuildError::new(format!("folder {}: no such folder", root.display())))?;
        let device = fs::metadata(&start).map_err(|_| none())?.dev();
        for folder in start.ancestors() {
            if !fs::metadata(folder).is_ok_and(|metadata| metadata.dev() == device) {
                break;
            }
            let bare = !exists(&folder.join(".git"));
            if bare && !is_bare_repository(folder) {
                continue;
            }
            let location = Self { folder: folder.to_owned(), bare, write: false, hidden: Hidden::default(), closed: Closed::default() };
            return match location.open() {
                Ok(_) => Ok(location),
                Err(refused) => Err(refused.into_build_error()),
            };
        }
        Err(none())
    }

    /// What it may do, and what is kept from it. Where it may write, a repository is refused that leads its writes elsewhere.
    pub(super) fn with(self, write: bool, hidden: Vec<PathBuf>, closed: &[PathBuf]) -> Result<Self, BuildError> {
        let location = Self { write, hidden: Hidden::new(hidden), closed: Closed::new(closed), ..self };
        location.open().map_err(Refused::into_build_error)?;
        Ok(location)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn is_bare(&self) -> bool {
        self.bare
    }

    /// What is never shown or staged: the gateway's secrets, and what lies in its own folders.
    pub(super) fn kept(&self) -> Kept {
        Kept { secrets: self.hidden.below(&self.folder), folders: self.closed.below(&self.folder) }
    }

    /// Whether an open file is one of those, whatever its name here.
    pub(super) fn keeps(&self, file: &File, metadata: &Metadata) -> io::Result<bool> {
        Ok(self.hidden.holds(metadata) || self.closed.holds_open(file)?)
    }

    /// The path of an argument, where it is not that of one of those.
    pub(super) fn check_kept(&self, argument: &str, path: &str) -> Result<(), ToolError> {
        match self.kept().why(Path::new(path)) {
            Some(why) => Err(ToolError::argument(argument, format!("`{path}` {why}")).with_hint("it is not for servers; ask the user")),
            None => Ok(()),
        }
    }

    /// Opens the repository, having made sure that it is the one of this folder.
    pub(super) fn open(&self) -> Result<Repository, Refused> {
        let link = self.folder.join(".git");
        if !self.bare && fs::symlink_metadata(&link).is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(Refused::new(format!("{} is a symbolic link", link.display())));
        }
        // Without search, and without the environment: only this folder.
        let repository = Repository::open_ext(&self.folder, RepositoryOpenFlags::NO_SEARCH, &[] as &[&Path])
            .map_err(|error| Refused::open(&self.folder, &error))?;
        self.verify(&repository)?;
        if self.write {
            refuse_links(repository.path())?;
            refuse_links(repository.commondir())?;
        }
        Ok(repository)
    }

    /// A hostile `.git` may name a work tree, or a repository, that is somewhere else altogether.
    fn verify(&self, repository: &Repository) -> Result<(), Refused> {
        let own = match repository.workdir() {
            Some(tree) => !self.bare && is_same(tree, &self.folder),
            None => self.bare && is_same(repository.path(), &self.folder),
        };
        if !own {
            return Err(Refused::new(format!("the settings of the repository in {} name another work tree", self.folder.display())));
        }
        let link = self.folder.join(".git");
        if !self.bare && link.is_file() && !self.is_acknowledged(repository, &link) {
            let text = format!("{} names a repository that does not know of this folder", link.display());
            return Err(Refused::new(text).with_hint("repair it with `git worktree repair`"));
        }
        Ok(())
    }

    /// Where `.git` is a file: whether the repository it names points back, as it does for linked work trees
    /// (`gitdir`) and for submodules (`core.worktree`).
    fn is_acknowledged(&self, repository: &Repository, link: &Path) -> bool {
        if repository.is_worktree() {
            let back = fs::read_to_string(repository.path().join("gitdir")).unwrap_or_default();
            return is_same(&repository.path().join(back.trim_end()), link);
        }
        let settings = repository.config().and_then(|config| config.open_level(ConfigLevel::Local));
        settings.and_then(|local| local.get_path("core.worktree")).is_ok_and(|tree| is_same(&repository.path().join(tree), &self.folder))
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn is_bare_repository(folder: &Path) -> bool {
    folder.join("HEAD").is_file() && folder.join("objects").is_dir() && folder.join("refs").is_dir()
}

fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// libgit2 writes by path: a symbolic link planted inside of the repository would lead its writes elsewhere. (A link
/// planted in the very moment of a write is not seen; what could be written there is an object or a commit's id.)
fn refuse_links(repository: &Path) -> Result<(), Refused> {
    let refused = |path: &Path| Err(Refused::new(format!("{} is a symbolic link: nothing is written to this repository", path.display())));
    for name in ["HEAD", "ORIG_HEAD", "index", "config", "packed-refs", "objects", "refs", "logs"] {
        let path = repository.join(name);
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
            return refused(&path);
        }
    }
    let mut folders = vec![(repository.join("objects"), 1), (repository.join("refs"), usize::MAX), (repository.join("logs"), usize::MAX)];
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok) {
            seen += 1;
            match entry.file_type() {
                Ok(kind) if kind.is_symlink() => return refused(&entry.path()),
                Ok(kind) if kind.is_dir() && depth > 1 => folders.push((entry.path(), depth - 1)),
                _ => {}
            }
            if seen > MAX_REFERENCES {
                return Err(Refused::new(format!("more than {MAX_REFERENCES} references in {}", repository.display())));
            }
        }
    }
    Ok(())
}

/// Why a repository is not opened.
#[derive(Debug)]
pub(super) struct Refused {
    message: String,
    hint: Option<String>,
}

impl Refused {
    fn new(message: String) -> Self {
        Self { message, hint: None }
    }

    fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn open(folder: &Path, error: &git2::Error) -> Self {
        let shown = folder.display();
        match error.code() {
            ErrorCode::Owner => Self::new(format!("the repository in {shown} belongs to another user"))
                .with_hint(format!("if you trust it: git config --global --add safe.directory {shown}")),
            ErrorCode::NotFound => Self::new(format!("there is no readable git repository in {shown}")),
            _ => Self::new(format!("the repository in {shown} cannot be opened: {}", error.message())),
        }
    }

    fn into_build_error(self) -> BuildError {
        BuildError { message: self.message, hint: self.hint }
    }
}

impl From<Refused> for ToolError {
    fn from(refused: Refused) -> Self {
        let told = Self::new(refused.message);
        match refused.hint {
            Some(hint) => told.with_hint(hint),
            None => told,
        }
    }
}

impl From<git2::Error> for ToolError {
    fn from(error: git2::Error) -> Self {
        match error.code() {
            ErrorCode::UnbornBranch => Self::new("the branch has no commit yet"),
            ErrorCode::BareRepo => Self::new("a bare repository has no work tree"),
            ErrorCode::Locked => Self::new("the repository is locked by another git command").with_hint("try again in a moment"),
            _ => Self::new(format!("git: {}", error.message())),
        }
    }
}

impl From<io::Error> for ToolError {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}
