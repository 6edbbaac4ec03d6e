//! What is on the disk: the visible trees of the host at their own paths, and the few files and folders that every sandbox has. Below them,
//! where there is one, a container image.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::Lower;
use crate::error::Error;
use crate::policy::{Access, Network, View};
use crate::sys;

/// Files, folders and links of one disk: a developer's machine with everything on it has half of that. Each takes some hundred bytes of
/// the gateway's memory.
const MOST: usize = 1_000_000;

/// Bytes of all their names and links' targets, which are held as well: those of a machine with everything on it are a tenth of it.
const MOST_BYTES: usize = 256 * 1024 * 1024;

/// Folders in each other.
const DEEPEST: usize = 128;

/// The one user inside.
const INSIDE: u32 = 1000;

/// What an image is not asked about: the boundary says who is who in the network, as a container runtime does. The rest of `/etc` is the image's.
const NOT_OF_AN_IMAGE: [&str; 2] = ["etc/hosts", "etc/resolv.conf"];

pub(super) struct Tree {
    /// The root first; each folder before what is in it.
    pub(super) nodes: Vec<Node>,
    /// What names and links take so far.
    bytes: usize,
    /// Folders that are there only for what is in them: an image adds to these, and to no others.
    ways: BTreeSet<usize>,
    /// Where the image's files are.
    image: PathBuf,
    /// Folders of the host of which only the name is shown, each by its device and inode: what is put in another's place is another.
    hidden: Vec<(u64, u64)>,
}

impl Node {
    fn bytes(&self) -> usize {
        let of_link = if let Content::Text(text) = &self.content { text.len() } else { 0 };
        self.name.len() + of_link
    }
}

pub(super) struct Node {
    pub(super) name: Box<[u8]>,
    pub(super) parent: usize,
    /// Kind and permissions, as `stat` has them.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds and nanoseconds: Python looks whether its compiled files are older than their sources.
    pub(super) modified: (u64, u32),
    pub(super) content: Content,
}

pub(super) enum Content {
    /// Positions of what is in it.
    Folder(Vec<usize>),
    /// A link's target, or the text of a file that the host does not have.
    Text(Vec<u8>),
    File {
        size: u64,
        identity: (u64, u64),
        of_image: bool,
    },
}

impl Tree {
    /// What comes first stays: so nothing of an image stands in the way of what is shown, or of what the guest mounts.
    pub(super) fn of(view: &View, lower: Option<Lower<'_>>, network: &Network) -> Result<Self, Error> {
        let hidden = hidden_folders(view)?;
        let mut tree = Self { nodes: vec![folder_node(b"", 0)], bytes: 0, ways: BTreeSet::from([0]), image: PathBuf::new(), hidden };
        for place in ["dev", "proc", "tmp"] {
            tree.closed_folder(Path::new(place))?;
        }
        for place in ["etc", "run"] {
            tree.folder(Path::new(place))?;
        }
        for shown in view.trees.iter().filter(|tree| tree.access != Access::Hidden) {
            // A folder to write is served by the monitor: here it is empty.
            if shown.access == Access::Write {
                tree.closed_folder(&shown.path)?;
                continue;
            }
            Walk::of_host(&mut tree, &shown.path, shown.access == Access::System).take_the_top()?;
        }
        view.trees.iter().filter(|tree| tree.access == Access::Hidden).for_each(|hidden| tree.empty(&hidden.path));
        let (own, others): (Vec<_>, Vec<_>) = sys::etc(network).into_iter().partition(|(path, _)| NOT_OF_AN_IMAGE.contains(path));
        tree.texts(own)?;
        if let Some(lower) = lower {
            tree.lay_below(lower, view)?;
        }
        for (link, target) in &view.links {
            tree.put(link, FileType::Symlink, 0o777, target.as_os_str().as_bytes().to_vec())?;
        }
        tree.texts(others)?;
        Ok(tree)
    }

    fn texts(&mut self, files: Vec<(&str, String)>) -> Result<(), Error> {
        files.into_iter().try_for_each(|(path, text)| self.put(Path::new(path), FileType::RegularFile, 0o644, text.into_bytes()))
    }

    fn lay_below(&mut self, lower: Lower<'_>, view: &View) -> Result<(), Error> {
        let root = lower.root.canonicalize();
        self.image = root.map_err(|cause| Error::io(format_args!("image {} cannot be shown", lower.root.display()), &cause))?;
        let image = self.image.clone();
        Walk { tree: self, shown: &image, owner: None, is_system: true, of_image: true }.take_the_root()?;
        if !view.trees.iter().any(|tree| lower.start.starts_with(&tree.path)) {
            self.folder(lower.start)?;
        }
        Ok(())
    }

    /// Where the content of a node is on the host.
    pub(super) fn source(&self, position: usize) -> PathBuf {
        let mut names = Vec::new();
        let mut next = position;
        while let Some(node) = self.nodes.get(next).filter(|_| next != 0) {
            names.push(&node.name);
            next = node.parent;
        }
        let of_image = matches!(self.nodes.get(position), Some(Node { content: Content::File { of_image: true, .. }, .. }));
        let above = if of_image { self.image.as_os_str().as_bytes() } else { b"" };
        let below: Vec<u8> = names.iter().rev().flat_map(|name| [b"/", &***name].concat()).collect();
        PathBuf::from(std::ffi::OsString::from_vec([above, &below].concat()))
    }

    /// A folder and those above it, made where they are missing; `None` where something else than a folder is in the way.
    fn folder(&mut self, path: &Path) -> Result<Option<usize>, Error> {
        let mut at = 0;
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            at = match self.find(at, name.as_bytes()) {
                Some(known) => known,
                None => {
                    let made = self.add(folder_node(name.as_bytes(), at))?;
                    self.ways.insert(made);
                    made
                }
            };
            if !matches!(self.nodes.get(at), Some(Node { content: Content::Folder(_), .. })) {
                return Ok(None);
            }
        }
        Ok(Some(at))
    }

    /// One over which something is mounted: an image has no part in it.
    fn closed_folder(&mut self, path: &Path) -> Result<(), Error> {
        if let Some(made) = self.folder(path)? {
            self.ways.remove(&made);
        }
        Ok(())
    }

    /// A link or a file of its own, unless something is there: a link of the host's goes before.
    fn put(&mut self, path: &Path, kind: FileType, permissions: u32, text: Vec<u8>) -> Result<(), Error> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        let Some(parent) = self.folder(parent)? else { return Ok(()) };
        if self.find(parent, name.as_bytes()).is_none() {
            let mode = kind.as_raw_mode() | permissions;
            let node = Node { mode, content: Content::Text(text), ..folder_node(name.as_bytes(), parent) };
            self.add(node)?;
        }
        Ok(())
    }

    /// Leaves nothing of a file but its name.
    fn empty(&mut self, path: &Path) {
        let mut names = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.as_bytes()),
            _ => None,
        });
        let found = names.try_fold(0, |at, name| self.find(at, name));
        if let Some(node) = found.and_then(|at| self.nodes.get_mut(at)).filter(|node| !matches!(node.content, Content::Folder(_))) {
            node.mode = FileType::RegularFile.as_raw_mode();
            node.content = Content::Text(Vec::new());
        }
    }

    /// What is in a folder already to which an image may add.
    fn names_in_way(&self, folder: usize) -> BTreeMap<Box<[u8]>, usize> {
        let Some(Node { content: Content::Folder(inside), .. }) = self.nodes.get(folder).filter(|_| self.ways.contains(&folder)) else {
            return BTreeMap::new();
        };
        inside.iter().filter_map(|one| Some((self.nodes.get(*one)?.name.clone(), *one))).collect()
    }

    fn find(&self, folder: usize, name: &[u8]) -> Option<usize> {
        let Content::Folder(inside) = &self.nodes.get(folder)?.content else { return None };
        inside.iter().copied().find(|one| self.nodes.get(*one).is_some_and(|node| *node.name == *name))
    }

    fn add(&mut self, node: Node) -> Result<usize, Error> {
        let hint = "name narrower folders in `read`, or use sandbox = \"os\"";
        if self.nodes.len() == MOST {
            return Err(Error::new(format!("a microVM can show {MOST} files and folders at most")).with_hint(hint));
        }
        self.bytes += node.bytes();
        if self.bytes > MOST_BYTES {
            return Err(Error::new("the names and links that a microVM would show are too long together").with_hint(hint));
        }
        let (position, parent) = (self.nodes.len(), node.parent);
        self.nodes.push(node);
        if let Some(Node { content: Content::Folder(inside), .. }) = self.nodes.get_mut(parent) {
            inside.push(position);
        }
        Ok(position)
    }
}

/// # Errors
/// When one cannot be looked at: then it could not be told from others.
fn hidden_folders(view: &View) -> Result<Vec<(u64, u64)>, Error> {
    let hidden = view.trees.iter().filter(|tree| tree.access == Access::Hidden && tree.folder);
    let identity = |path: &PathBuf| statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map(|found| (found.st_dev, found.st_ino));
    let cannot = |path: &PathBuf, errno: Errno| Error::io(format_args!("{} cannot be hidden", path.display()), &errno.into());
    hidden.map(|tree| identity(&tree.path).map_err(|errno| cannot(&tree.path, errno))).collect()
}

fn folder_node(name: &[u8], parent: usize) -> Node {
    let mode = FileType::Directory.as_raw_mode() | 0o755;
    Node { name: name.into(), parent, mode, uid: 0, gid: 0, modified: (0, 0), content: Content::Folder(Vec::new()) }
}

/// One visible tree. Whatever lies in it may be hostile and change under our eyes: no link is followed.
struct Walk<'a> {
    tree: &'a mut Tree,
    shown: &'a Path,
    /// Whose files become the program's own.
    owner: Option<(u32, u32)>,
    is_system: bool,
    /// It is a container image, and its folder the root.
    of_image: bool,
}

impl<'a> Walk<'a> {
    fn of_host(tree: &'a mut Tree, shown: &'a Path, is_system: bool) -> Self {
        Self { tree, shown, owner: None, is_system, of_image: false }
    }

    fn cannot(&self, errno: Errno) -> Error {
        Error::io(format_args!("{} cannot be shown", self.shown.display()), &errno.into())
    }

    fn open(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        openat2(CWD, self.shown, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).map_err(|errno| self.cannot(errno))
    }

    /// All of an image, which has no owner inside: its files were made readable for everybody.
    fn take_the_root(&mut self) -> Result<(), Error> {
        let folder = open_folder(&self.open()?, c".").map_err(|errno| self.cannot(errno))?;
        self.inside(&folder, 0, 0)
    }

    fn take_the_top(&mut self) -> Result<(), Error> {
        let place = self.open()?;
        let found = fstat(&place).map_err(|errno| self.cannot(errno))?;
        self.owner = match geteuid() {
            // As the other boundaries do it: root's programs own what the owner of a tree owns in it, and nothing of the system.
            root if root.is_root() => Some((found.st_uid, found.st_gid)).filter(|_| !self.is_system),
            user => Some((user.as_raw(), rustix::process::getegid().as_raw())),
        };
        let (Some(parent), Some(name)) = (self.shown.parent(), self.shown.file_name()) else { return Ok(()) };
        let Some(parent) = self.tree.folder(parent)? else { return Ok(()) };
        if self.tree.find(parent, name.as_bytes()).is_some() {
            return Ok(());
        }
        let Some(at) = self.add(parent, name.as_bytes(), &found, Vec::new)? else { return Ok(()) };
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            let folder = open_folder(&place, c".").map_err(|errno| self.cannot(errno))?;
            self.inside(&folder, at, 0)?;
        }
        Ok(())
    }

    /// Everything in `folder`; what cannot be looked at is not there.
    fn inside(&mut self, folder: &OwnedFd, at: usize, depth: usize) -> Result<(), Error> {
        if depth == DEEPEST {
            return Err(Error::new(format!("{} has more than {DEEPEST} folders in each other", self.shown.display())));
        }
        if fstat(folder).is_ok_and(|found| self.tree.hidden.contains(&(found.st_dev, found.st_ino))) {
            return Ok(());
        }
        let Ok(entries) = Dir::read_from(folder) else { return Ok(()) };
        let above = self.tree.names_in_way(at);
        for entry in entries.flatten() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(found) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let added = match above.get(name.to_bytes()) {
                Some(known) if self.tree.ways.contains(known) => *known,
                Some(_) => continue,
                None => {
                    let target = || readlinkat(folder, name, Vec::new()).map(std::ffi::CString::into_bytes).unwrap_or_default();
                    let Some(added) = self.add(at, name.to_bytes(), &found, target)? else { continue };
                    added
                }
            };
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory
                && let Ok(below) = open_folder(folder, name)
            {
                self.inside(&below, added, depth + 1)?;
            }
        }
        Ok(())
    }

    /// One of them, if it is a kind of thing that can be shown and the program may read it.
    fn add(&mut self, parent: usize, name: &[u8], found: &Stat, target: impl FnOnce() -> Vec<u8>) -> Result<Option<usize>, Error> {
        let kind = FileType::from_raw_mode(found.st_mode);
        let content = match kind {
            FileType::Directory => Content::Folder(Vec::new()),
            FileType::Symlink => Content::Text(target()),
            FileType::RegularFile if self.may_read(found) => {
                let (size, identity) = (u64::try_from(found.st_size).unwrap_or(0), (found.st_dev, found.st_ino));
                Content::File { size, identity, of_image: self.of_image }
            }
            _ => return Ok(None),
        };
        let inside = |id: u32, owner: Option<u32>| if owner == Some(id) { INSIDE } else { 0 };
        let modified = (u64::try_from(found.st_mtime).unwrap_or(0), u32::try_from(found.st_mtime_nsec).unwrap_or(0));
        let node = Node {
            name: name.into(),
            parent,
            mode: kind.as_raw_mode() | (found.st_mode & 0o777),
            uid: inside(found.st_uid, self.owner.map(|(uid, _)| uid)),
            gid: inside(found.st_gid, self.owner.map(|(_, gid)| gid)),
            modified,
            content,
        };
        self.tree.add(node).map(Some)
    }

    /// A guest that broke out of its own kernel reads whatever is on the disk: what the program may not read is not there.
    fn may_read(&self, found: &Stat) -> bool {
        let owns = self.owner.is_some_and(|(uid, _)| uid == found.st_uid);
        let in_group = self.owner.is_some_and(|(_, gid)| gid == found.st_gid);
        let needed = match (owns, in_group) {
            (true, _) => 0o400,
            (false, true) => 0o040,
            (false, false) => 0o004,
        };
        found.st_mode & needed != 0
    }
}

fn open_folder(folder: &impl AsFd, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    openat(folder, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn long_names_and_links_are_bounded_together() {
        let mut tree =
            Tree { nodes: vec![folder_node(b"", 0)], bytes: 0, ways: BTreeSet::new(), image: PathBuf::new(), hidden: Vec::new() };
        let link = |length| Node { content: Content::Text(vec![0; length]), ..folder_node(b"link", 0) };
        tree.add(link(MOST_BYTES / 2)).unwrap();
        assert!(tree.add(link(MOST_BYTES / 2)).is_err());
    }
}
