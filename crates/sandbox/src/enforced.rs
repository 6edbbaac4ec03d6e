//! What the kernel enforces on a process, as it says itself in `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// What holds for one process, read from outside.
#[derive(Clone, Debug, Serialize)]
pub struct Enforced {
    /// Lines of its `status` that are about rights: ids, capabilities, filters.
    pub status: BTreeMap<String, String>,
    /// Each kind of namespace, and whether it is another one than this process's.
    pub namespaces: BTreeMap<String, bool>,
    /// What is mounted, in the order of the mounts.
    pub mounts: Vec<Mount>,
    /// Resource limits: soft, hard and unit.
    pub limits: BTreeMap<String, String>,
    /// Its control groups, a line each.
    pub cgroups: Vec<String>,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Where the process sees it.
    pub at: PathBuf,
    /// Its file system.
    pub kind: String,
    /// Its options: `ro`, `nosuid`, `nodev`, `noexec` and the like.
    pub options: String,
}

/// The lines of `status` that matter here.
const STATUS: &[&str] =
    &["Uid", "Gid", "Groups", "NSpid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters"];

impl Enforced {
    /// Asks about the process `pid`, which this user must be allowed to look at: his own, or root.
    ///
    /// # Errors
    /// It is gone, or may not be looked at.
    pub fn on(pid: u32) -> io::Result<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        let read = |name: &str| fs::read_to_string(folder.join(name));
        Ok(Self {
            status: status(&read("status")?),
            namespaces: namespaces(&folder)?,
            mounts: read("mountinfo")?.lines().filter_map(mount).collect(),
            limits: read("limits")?.lines().skip(1).filter_map(limit).collect(),
            cgroups: read("cgroup")?.lines().map(str::to_owned).collect(),
        })
    }
}

fn status(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let known = lines.filter(|(key, _)| STATUS.contains(key));
    known.map(|(key, value)| (key.to_owned(), value.split_ascii_whitespace().collect::<Vec<_>>().join(" "))).collect()
}

fn namespaces(folder: &Path) -> io::Result<BTreeMap<String, bool>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder.join("ns"))? {
        let name = entry?.file_name();
        let (its, own) = (fs::read_link(folder.join("ns").join(&name))?, fs::read_link(Path::new("/proc/self/ns").join(&name))?);
        // What children will get: the same as its own.
        if let Some(name) = name.to_str().filter(|name| !name.ends_with("_for_children")) {
            found.insert(name.to_owned(), its != own);
        }
    }
    Ok(found)
}

/// A line of `mountinfo`: number, parent, device, root, place, options, … ` - ` kind.
fn mount(line: &str) -> Option<Mount> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(4);
    let (at, options) = (fields.next()?, fields.next()?);
    Some(Mount { at: unescaped(at).into(), kind: kind.split(' ').next()?.to_owned(), options: options.to_owned() })
}

/// Spaces, tabs, line ends and backslashes are written as three octal digits.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (written, meant)| text.replace(written, meant))
}

/// A line of `limits`: columns of fixed width, the name first.
fn limit(line: &str) -> Option<(String, String)> {
    let (name, values) = line.split_at_checked(26)?;
    Some((name.trim().trim_start_matches("Max ").to_owned(), values.split_ascii_whitespace().collect::<Vec<_>>().join(" ")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn a_process_may_look_at_itself() {
        let own = Enforced::on(std::process::id()).unwrap();
        assert!(own.namespaces.values().all(|is_another| !is_another) && own.namespaces.contains_key("mnt"));
        assert_eq!(own.status["CapEff"].len(), 16);
        assert!(own.mounts.iter().any(|mount| mount.at == Path::new("/")));
        assert!(own.limits.contains_key("open files"), "{:?}", own.limits);
    }

    #[test]
    fn a_mount_is_read_as_it_is_meant() {
        let line = r"40 28 0:5 /a /mnt/with\040space rw,nosuid master:1 - ext4 /dev/vda rw";
        let expected = Mount { at: "/mnt/with space".into(), kind: "ext4".into(), options: "rw,nosuid".into() };
        assert_eq!(mount(line), Some(expected));
        assert_eq!(mount("broken"), None);
    }
}
