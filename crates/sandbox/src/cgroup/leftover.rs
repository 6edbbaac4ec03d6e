//! Whose a group is: its name says which process made it, so that the next gateway can clear away what one that was killed has left.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// What the names of groups begin with.
const PREFIX: &str = "sallyport";

/// What the name of the group ends with that a gateway moves into itself.
pub(super) const OWN: &str = "gateway";

/// How often a group whose last process was just killed is tried by whoever removes it, with a millisecond between.
const TRIES: u32 = 200;

/// How often after that, by a thread that nobody waits for: a process with gigabytes dies in seconds.
const FURTHER_TRIES: u32 = 30_000;

/// A process, named so that no other ever has the same name: by its pid, when it began, and whose pids these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The number of the pid namespace: another container's gateway is not for this one to judge.
    namespace: u64,
    pid: u32,
    /// Ticks after the machine's start, from `/proc/PID/stat`.
    began: u64,
}

impl Owner {
    /// `None` where there is no procfs.
    pub(super) fn of_this_process() -> Option<Self> {
        let namespace = fs::metadata("/proc/self/ns/pid").ok()?.ino();
        let pid = std::process::id();
        Some(Self { namespace, pid, began: began(pid)? })
    }

    /// The name of a group of this process.
    pub(super) fn name_of(&self, what: &str) -> String {
        format!("{PREFIX}.{}.{}.{}.{what}", self.namespace, self.pid, self.began)
    }

    /// Whose a group of this name is.
    fn of_group(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        if parts.next()? != PREFIX {
            return None;
        }
        let owner = Self { namespace: parts.next()?.parse().ok()?, pid: parts.next()?.parse().ok()?, began: parts.next()?.parse().ok()? };
        parts.next().map(|_what| owner)
    }

    fn lives(&self) -> bool {
        began(self.pid) == Some(self.began)
    }

    /// Removes the groups below `folder` whose owner was a gateway of this pid namespace and is gone.
    pub(super) fn clear_leftovers(&self, folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let owner = entry.file_name().to_str().and_then(Self::of_group);
            if owner.is_some_and(|owner| owner.namespace == self.namespace && !owner.lives()) {
                clear_one(&entry.path());
            }
        }
    }
}

/// Clears away what gateways have left that are gone: they were killed, and could not themselves.
pub(crate) fn clear() {
    let _found = super::places(); // the first look does it
}

/// Removes what a gateway that is gone has left. In the leaf in which it was itself, somebody may still be putting things in order for
/// it, and ends by himself: then it stays for the next.
fn clear_one(group: &Path) {
    if group.extension().is_some_and(|what| what == OWN) {
        let _inhabited = fs::remove_dir(group);
    } else {
        remove(group);
    }
}

/// Removes a group once its last process is gone, which takes the kernel a moment after a kill. Whoever is still in it is ended: that
/// nobody of a program outlives its launcher is the launcher's work, and this where the launcher itself was killed.
pub(crate) fn remove(group: &Path) {
    if is_over(group, TRIES) {
        return;
    }
    let patient = group.to_owned();
    let further = move || {
        if !is_over(&patient, FURTHER_TRIES) {
            tracing::warn!(group = %patient.display(), "a control group stays, because something in it does not end");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("sandbox-group".to_owned()).spawn(further) {
        tracing::warn!(group = %group.display(), %error, "a control group stays");
    }
}

/// Tries to remove a group so often; whether there is nothing left to try.
fn is_over(group: &Path, tries: u32) -> bool {
    for _ in 0..tries {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                end_all(group);
                sleep(Duration::from_millis(1));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return true,
            Err(error) => {
                tracing::warn!(group = %group.display(), %error, "a control group stays");
                return true;
            }
            Ok(()) => return true,
        }
    }
    false
}

/// Version 2 ends all of a group at once; in version 1 the list is gone through again until nobody is there to be forked.
fn end_all(group: &Path) {
    if super::write(&group.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let list = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for process in list.lines().filter_map(|line| line.parse().ok().and_then(Pid::from_raw)) {
        let _ended_meanwhile = kill_process(process, Signal::KILL);
    }
}

/// When a process began; `None` where there is none, or only what a dead one's parent has not looked at.
fn began(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let is_dead = matches!(fields.next()?, "Z" | "X");
    fields.nth(18).filter(|_| !is_dead)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn only_groups_of_gateways_that_are_gone_are_cleared_away() {
        let own = Owner::of_this_process().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let gone = Owner { began: own.began + 1, ..own.clone() };
        let nobody = Owner { pid: u32::MAX, ..own.clone() };
        let elsewhere = Owner { namespace: own.namespace + 1, ..nobody.clone() };
        let stay = [own.name_of("1"), elsewhere.name_of("1"), "sallyport.1.2".to_owned(), "sallyport".to_owned(), "user.slice".to_owned()];
        for name in stay.iter().chain(&[gone.name_of("1"), nobody.name_of("gateway")]) {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        own.clear_leftovers(folder.path());
        let mut left: Vec<String> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        let mut expected = stay.to_vec();
        expected.sort();
        assert_eq!(left, expected);
    }

    #[test]
    fn a_name_tells_its_owner() {
        let own = Owner::of_this_process().unwrap();
        assert!(own.lives());
        assert_eq!(Owner::of_group(&own.name_of("7")), Some(own));
    }
}
