//! Which hierarchies of groups are mounted, and where this process is in each.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use super::{Controller, Version};

/// A hierarchy that this process can see itself in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// Of version 1: what it controls. Version 2 tells in its files.
    pub(super) controllers: Vec<Controller>,
    /// The folder of the group that this process is in.
    pub(super) own: PathBuf,
}

/// All of them, read from the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.
pub(super) fn all(mounts: &str, groups: &str) -> Vec<Hierarchy> {
    mounts.lines().filter_map(Mount::read).filter_map(|mount| mount.hierarchy(groups)).collect()
}

/// A mounted hierarchy.
struct Mount<'a> {
    /// Which folder of the hierarchy is shown.
    root: PathBuf,
    place: PathBuf,
    version: Version,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// `36 25 0:31 ROOT PLACE rw,relatime shared:9 - cgroup cgroup rw,memory`
    fn read(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let version = match right.next()? {
            "cgroup" => Version::One,
            "cgroup2" => Version::Two,
            _ => return None,
        };
        let mut left = left.split(' ').skip(3);
        Some(Self { root: unescaped(left.next()?), place: unescaped(left.next()?), version, options: right.nth(1)? })
    }

    fn hierarchy(&self, groups: &str) -> Option<Hierarchy> {
        let is_named = |controller: &Controller| self.options.split(',').any(|option| option == controller.name());
        let controllers: Vec<Controller> = match self.version {
            Version::One => Controller::ALL.into_iter().filter(is_named).collect(),
            Version::Two => Vec::new(),
        };
        if self.version == Version::One && controllers.is_empty() {
            return None;
        }
        let own = groups.lines().find_map(|line| self.path_in(line, &controllers))?;
        // Outside what is mounted here, or of what this process may know.
        let below = Path::new(own).strip_prefix(&self.root).ok()?;
        let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        is_plain.then(|| Hierarchy { version: self.version, own: self.place.join(below).components().collect(), controllers })
    }

    /// The path in a line `4:memory:/user` or, of version 2, `0::/user`, if it is about this hierarchy.
    fn path_in<'g>(&self, line: &'g str, controllers: &[Controller]) -> Option<&'g str> {
        let (number, rest) = line.split_once(':')?;
        let (names, path) = rest.split_once(':')?;
        let is_this = match self.version {
            Version::Two => number == "0" && names.is_empty(),
            Version::One => controllers.iter().all(|controller| names.split(',').any(|name| name == controller.name())),
        };
        is_this.then_some(path)
    }
}

/// A path as mountinfo writes it: space, tab, line break and backslash as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(controllers: &[Controller], own: &str) -> Hierarchy {
        Hierarchy { version: Version::One, controllers: controllers.to_vec(), own: own.into() }
    }

    fn two(own: &str) -> Hierarchy {
        Hierarchy { version: Version::Two, controllers: Vec::new(), own: own.into() }
    }

    #[test]
    fn a_mixture_of_both_versions() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
            34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let groups = "4:memory:/jobs/a\n3:cpu,cpuacct:/\n2:name=systemd:/\n0::/\n";
        assert_eq!(
            all(mounts, groups),
            [
                one(&[Controller::Processor], "/sys/fs/cgroup/cpu,cpuacct"),
                one(&[Controller::Memory], "/sys/fs/cgroup/memory/jobs/a"),
                two("/sys/fs/cgroup/unified"),
            ]
        );
    }

    #[test]
    fn a_container_that_sees_its_own_part_only() {
        let mounts = "40 39 0:30 /docker/0a /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(all(mounts, "0::/docker/0a\n"), [two("/sys/fs/cgroup")]);
        assert_eq!(all(mounts, "0::/docker/0a/inner\n"), [two("/sys/fs/cgroup/inner")]);
        assert_eq!(all(mounts, "0::/docker/0ab\n"), [], "another part");
        assert_eq!(all(mounts, "0::/docker/0a/../../etc\n"), [], "nowhere that could be trusted");
    }

    #[test]
    fn a_place_with_a_space_in_it_and_lines_that_are_none() {
        let mounts = "\nnonsense\n1 2 - cgroup2\n40 39 0:30 / /a\\040b rw - cgroup2 cgroup rw\n";
        assert_eq!(all(mounts, "0::/x\n"), [two("/a b/x")]);
        assert_eq!(all(mounts, "0::\nnonsense"), []);
        assert_eq!(all(mounts, ""), []);
    }
}
