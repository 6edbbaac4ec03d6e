//! Collects trees and the symbolic links that lead to them, so that every path means inside what it means outside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::policy::{Access, Tree, View};

/// As many symbolic links as the kernel follows in one path.
const MOST_LINKS: usize = 40;

#[derive(Default)]
pub(super) struct ViewBuilder {
    trees: BTreeMap<PathBuf, Tree>,
    links: BTreeMap<PathBuf, PathBuf>,
    /// Named to be read: stays read-only inside a root to write.
    read_only: BTreeSet<PathBuf>,
    /// Folders on the way to those, in a root to write.
    held: BTreeSet<PathBuf>,
}

/// Where a path leads: its canonical form and the links on the way.
pub(super) struct Walk {
    pub(super) canonical: PathBuf,
    pub(super) links: Vec<(PathBuf, PathBuf)>,
}

impl ViewBuilder {
    /// Shows what `path` leads to, and every link on the way. The stronger of two accesses stays.
    pub(super) fn add(&mut self, path: &Path, access: Access) -> io::Result<PathBuf> {
        let walk = walk(path)?;
        let folder = std::fs::symlink_metadata(&walk.canonical)?.is_dir();
        self.links.extend(walk.links);
        let tree = Tree { path: walk.canonical.clone(), access, folder };
        self.trees
            .entry(walk.canonical.clone())
            .and_modify(|known| {
                if access == Access::Write {
                    known.access = access;
                }
            })
            .or_insert(tree);
        Ok(walk.canonical)
    }

    /// The same for a root that was named: of two roots, one inside the other, each has the access it was named with.
    pub(super) fn add_root(&mut self, path: &Path, access: Access) -> io::Result<PathBuf> {
        let canonical = self.add(path, access)?;
        if access == Access::Read {
            self.read_only.insert(canonical.clone());
        }
        Ok(canonical)
    }

    /// Keeps a part of a root to write read-only: as it is, links not followed, and whether it is there already or not. What was named
    /// itself to be written stays so.
    pub(super) fn add_denied(&mut self, path: &Path, folder: bool) {
        if self.trees.get(path).is_some_and(|tree| tree.access == Access::Write) {
            return;
        }
        self.trees.insert(path.to_path_buf(), Tree { path: path.to_path_buf(), access: Access::Read, folder });
        self.read_only.insert(path.to_path_buf());
    }

    /// Lets a file be there and not be opened, or a folder be empty but for what is named in it, if it is shown at all.
    pub(super) fn add_hidden(&mut self, path: &Path, folder: bool) {
        if self.shows(path) {
            self.trees.insert(path.to_path_buf(), Tree { path: path.to_path_buf(), access: Access::Hidden, folder });
            self.read_only.insert(path.to_path_buf());
        }
    }

    /// The same for what nobody named: skipped when it is missing or not a plain file or folder (a socket or a device
    /// that an argument happens to name must not become a way out), or when it may not be shown.
    pub(super) fn add_if_there(&mut self, path: &Path, access: Access) {
        let Ok(walk) = walk(path) else { return };
        let plain = std::fs::symlink_metadata(&walk.canonical).is_ok_and(|found| found.is_file() || found.is_dir());
        let known = self.trees.contains_key(&walk.canonical);
        if plain && super::may_be_shown(&walk.canonical) && (!known || !walk.links.is_empty()) {
            // It was there a moment ago; if it is gone by now, it is as if it had never been.
            let _gone = self.add(path, access);
        }
    }

    /// Whether a tree that was added holds this path, in which no folder is a link.
    pub(super) fn shows(&self, path: &Path) -> bool {
        path.ancestors().any(|above| self.trees.contains_key(above))
    }

    /// The view: no tree that its enclosing tree shows already, no link inside a tree that shows it.
    pub(super) fn finish(mut self) -> View {
        self.hold_folders();
        let mut trees: Vec<Tree> = Vec::new();
        for tree in self.trees.values() {
            let enclosing = trees.iter().rev().find(|outer| tree.path.starts_with(&outer.path));
            let shown = enclosing.is_some_and(|outer| outer.folder && !self.adds_to(tree, outer));
            if !shown {
                trees.push(tree.clone());
            }
        }
        let mut view = View { trees, ..View::default() };
        view.links = self.links.into_iter().filter(|(link, _)| !view.shows(link)).collect();
        view
    }

    /// Makes each folder between a root to write and what is read-only in it a tree, and so a mount of its own: the kernel
    /// refuses to rename those. Else the folder could be moved away and another one put in its place.
    fn hold_folders(&mut self) {
        for inner in &self.read_only {
            let above = inner.ancestors().skip(1);
            let access = |folder: &Path| self.trees.get(folder).map(|tree| tree.access);
            let is_limit = |folder: &&Path| matches!(access(folder), Some(Access::Write | Access::Hidden));
            if above.clone().find(is_limit).and_then(access) != Some(Access::Write) {
                continue; // in no root to write, or in a hidden folder, where nothing can be renamed
            }
            let folders = above.take_while(|folder| !is_limit(folder)).filter(|folder| !self.read_only.contains(*folder));
            self.held.extend(folders.map(Path::to_path_buf));
        }
        for folder in &self.held {
            self.trees.insert(folder.clone(), Tree { path: folder.clone(), access: Access::Write, folder: true });
        }
    }

    /// Whether `inner` is to be other than `outer`, which contains it, would make it.
    fn adds_to(&self, inner: &Tree, outer: &Tree) -> bool {
        match (inner.access, outer.access) {
            (Access::Hidden, outer) => outer != Access::Hidden,
            (_, Access::Hidden) => true, // nothing is in there by itself
            (Access::Write, Access::Write) => self.held.contains(&inner.path),
            (Access::Write, _) => true,
            (_, Access::Write) => self.read_only.contains(&inner.path),
            _ => false,
        }
    }
}

/// Follows `path` one component at a time, as the kernel does.
pub(super) fn walk(path: &Path) -> io::Result<Walk> {
    let mut rest: VecDeque<PathBuf> = components(path);
    let mut canonical = PathBuf::from("/");
    let mut links = Vec::new();
    while let Some(part) = rest.pop_front() {
        if part == Path::new("..") {
            canonical.pop();
            continue;
        }
        let next = canonical.join(&part);
        if !std::fs::symlink_metadata(&next)?.is_symlink() {
            canonical = next;
            continue;
        }
        let target = std::fs::read_link(&next)?;
        if links.len() == MOST_LINKS {
            return Err(io::Error::other("too many symbolic links"));
        }
        if target.is_absolute() {
            canonical = PathBuf::from("/");
        }
        for part in components(&target).into_iter().rev() {
            rest.push_front(part);
        }
        links.push((next, target));
    }
    Ok(Walk { canonical, links })
}

fn components(path: &Path) -> VecDeque<PathBuf> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}
