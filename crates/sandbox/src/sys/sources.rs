//! Opens every tree before anything is covered, with its restrictions already on it: there is never a writable moment.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, open_tree,
};

use super::identity::IdMaps;
use super::raw::{MountAttributes, mount_setattr};
use super::step::{Step, failure};
use crate::error::Failure;
use crate::layer::{Layer, Layers};
use crate::policy::{Access, Tree, View};

/// What is shown in the place of a hidden file: every mount here is without devices, so that it cannot be opened.
const NOTHING: &str = "/dev/null";

/// A detached copy of one of the host's trees.
pub(super) struct Source {
    pub(super) tree: Tree,
    pub(super) mount: OwnedFd,
}

/// Opens all trees of the view; with `id_maps` (a root gateway), what it names is mapped to the unprivileged id.
pub(super) fn open_all(view: &View, mut id_maps: Option<IdMaps>, layers: &mut Layers) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::with_capacity(view.trees.len());
    for tree in &view.trees {
        sources.push(open_one(tree, view, id_maps.as_mut(), layers)?);
    }
    if id_maps.is_some() && layers.get(Layer::IdMappedRoots).is_none() {
        layers.in_force(Layer::IdMappedRoots, "");
    }
    Ok(sources)
}

/// The same for a root that may not map ids, after it gave up its uid.
pub(super) fn open_all_unmapped(view: &View, layers: &mut Layers) -> Result<Vec<Source>, Failure> {
    for tree in view.trees.iter().filter(|tree| has_owner(tree)) {
        unmapped(tree, Errno::PERM, layers)?;
    }
    open_all(view, None, layers)
}

fn open_one(tree: &Tree, view: &View, id_maps: Option<&mut IdMaps>, layers: &mut Layers) -> Result<Source, Failure> {
    let name = |step: &str| format!("{step} {}", tree.path.display());
    if tree.access == Access::Hidden && tree.folder {
        let mount = empty_folder(tree, view).step(Layer::Root, &name("hide"))?;
        restrict(tree, view.exec_in_write, &mount).step(Layer::Root, &name("restrict"))?;
        return Ok(Source { tree: tree.clone(), mount });
    }
    let shown = if tree.access == Access::Hidden { Path::new(NOTHING) } else { &tree.path };
    let place = open_without_links(shown).step(Layer::Root, &name("open"))?;
    let found = fstat(&place).step(Layer::Root, &name("look at"))?;
    if (FileType::from_raw_mode(found.st_mode) == FileType::Directory) != tree.folder {
        return Err(failure(Layer::Root, &name("what was looked at has changed:"), Errno::STALE));
    }
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::AT_RECURSIVE;
    let mount = open_tree(&place, "", flags).step(Layer::Root, &name("copy the mount of"))?;
    restrict(tree, view.exec_in_write, &mount).step(Layer::Root, &name("restrict"))?;
    if let Some(id_maps) = id_maps.filter(|_| has_owner(tree)) {
        let map = id_maps.of(found.st_uid, found.st_gid)?;
        let attributes = MountAttributes { set: 0, id_map: Some(map) };
        if let Err(errno) = mount_setattr(mount.as_fd(), &attributes, true) {
            unmapped(tree, errno, layers)?;
        }
    }
    Ok(Source { tree: tree.clone(), mount })
}

/// What is shown in the place of a hidden folder: places for the trees in it, links that lead to trees, and nothing else.
fn empty_folder(hidden: &Tree, view: &View) -> Result<OwnedFd, Errno> {
    let system = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [("size", "1m"), ("nr_inodes", "4k"), ("mode", "755")] {
        fsconfig_set_string(&system, key, value)?;
    }
    fsconfig_create(&system)?;
    let mount = fsmount(&system, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    for inner in &view.trees {
        match inner.path.strip_prefix(&hidden.path) {
            Ok(below) if !below.as_os_str().is_empty() => make_place(&mount, below, inner.folder)?,
            _ => {}
        }
    }
    for (link, target) in view.links.iter().filter(|(link, _)| view.innermost(link) == Some(hidden)) {
        let below = link.strip_prefix(&hidden.path).map_err(|_| Errno::INVAL)?;
        make_folders(&mount, below.parent().ok_or(Errno::INVAL)?)?;
        symlinkat(target, &mount, below)?;
    }
    Ok(mount)
}

fn make_place(mount: &OwnedFd, below: &Path, folder: bool) -> Result<(), Errno> {
    if folder {
        return make_folders(mount, below);
    }
    make_folders(mount, below.parent().ok_or(Errno::INVAL)?)?;
    openat(mount, below, OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::from_raw_mode(0o644))?;
    Ok(())
}

/// Makes a folder, and those above it, where they are not there yet.
fn make_folders(mount: &OwnedFd, folder: &Path) -> Result<(), Errno> {
    let above = folder.ancestors().filter(|place| !place.as_os_str().is_empty());
    for place in above.collect::<Vec<_>>().into_iter().rev() {
        match mkdirat(mount, place, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Whether it is somebody's files.
fn has_owner(tree: &Tree) -> bool {
    !matches!(tree.access, Access::System | Access::Hidden)
}

/// A view's paths are canonical: a link on the way means that somebody has put it there since.
pub(super) fn open_without_links(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS)
}

/// What is mounted at, in a tree that is shown already: the innermost mount there.
pub(super) fn open_below(outer: &Source, below: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(&outer.mount, below, OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty(), resolve)
}

fn restrict(tree: &Tree, exec_in_write: bool, mount: &OwnedFd) -> Result<(), Errno> {
    let by_access = match tree.access {
        Access::System | Access::Read | Access::Hidden => libc::MOUNT_ATTR_RDONLY,
        Access::Write if exec_in_write => 0,
        Access::Write => libc::MOUNT_ATTR_NOEXEC,
    };
    let attributes = MountAttributes { set: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | by_access, id_map: None };
    mount_setattr(mount.as_fd(), &attributes, true)
}

/// A file system that cannot map ids: what everybody may read can still be read, so only writing fails.
fn unmapped(tree: &Tree, errno: Errno, layers: &mut Layers) -> Result<(), Failure> {
    if tree.access == Access::Write {
        return Err(failure(Layer::IdMappedRoots, &format!("map the owner of {}", tree.path.display()), errno));
    }
    layers.absent(Layer::IdMappedRoots, format!("{} shows only what everybody may read: {errno}", tree.path.display()));
    Ok(())
}
