//! What the kernel says about processes: who descends from whom, how many descriptors and how much memory one holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Every process that descends from `ancestor`, itself left out.
pub(crate) fn descendants(ancestor: u32) -> BTreeSet<u32> {
    let parents = parents();
    let mut found = BTreeSet::from([ancestor]);
    loop {
        let before = found.len();
        found.extend(parents.iter().filter(|(_, parent)| found.contains(parent)).map(|(id, _)| *id).collect::<Vec<_>>());
        if found.len() == before {
            found.remove(&ancestor);
            return found;
        }
    }
}

/// Every process whose command line or environment mentions `mark`: finds orphans, whoever adopted them.
pub(crate) fn mentioning(mark: &str) -> BTreeSet<u32> {
    let mentions = |id: &u32| {
        ["cmdline", "environ"]
            .iter()
            .any(|file| fs::read(format!("/proc/{id}/{file}")).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(mark)))
    };
    let own = std::process::id();
    parents().into_keys().filter(|id| *id != own).filter(mentions).collect()
}

/// Whether a process is there and not a zombie.
pub(crate) fn runs(id: u32) -> bool {
    stat(id).is_some_and(|(state, _)| state != 'Z')
}

/// The zombies among the children of `parent`.
pub(crate) fn zombies_of(parent: u32) -> usize {
    let children = parents().into_iter().filter(|(_, its_parent)| *its_parent == parent);
    children.filter(|(id, _)| stat(*id).is_some_and(|(state, _)| state == 'Z')).count()
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(id: u32) -> usize {
    fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count)
}

/// The resident memory of a process, in bytes.
pub(crate) fn resident_bytes(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|rest| rest.trim().split(' ').next());
    kilobytes.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The control groups that gateway `id` made, in every hierarchy.
pub(crate) fn control_groups(id: u32) -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let below = fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
        if is_group_of(&folder, id) {
            found.push(folder);
        }
    }
    found
}

/// `sallyport.NAMESPACE.ID.…`, and `sallyport-ID-…` of a container.
fn is_group_of(folder: &Path, id: u32) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut parts = name.split('.');
    name.starts_with(&format!("sallyport-{id}-")) || (parts.next() == Some("sallyport") && parts.nth(1) == Some(&id.to_string()))
}

/// Waits until `condition` holds; what did not come to pass is the panic's text.
pub(crate) fn eventually(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Every process with its parent.
fn parents() -> BTreeMap<u32, u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| stat(id).map(|(_, parent)| (id, parent))).collect()
}

/// State and parent of a process. The second field is the program's name in parentheses, which may hold anything.
fn stat(id: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
