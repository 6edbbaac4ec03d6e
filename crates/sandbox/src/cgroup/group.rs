//! The groups of one program: one folder in each place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::leftover::{self, Owner};
use super::place::Place;
use super::{Controller, Held, Places, Version, write};
use crate::profile::Limits;

const MIB: u64 = 1024 * 1024;

/// The launcher and the init are in the group too.
const OUR_PROCESSES: u32 = 2;

/// The kernel's usual period, in microseconds, within which a quota of processor time is given.
pub(crate) const PERIOD: u64 = 100_000;

/// What the weight 100 is in version 1. The kernel takes 2 to 262144 there.
pub(crate) const SHARES: u64 = 1024;

/// Takes a number of bytes, and has the kernel take as much of the group's memory.
pub(super) const RECLAIM: &str = "memory.reclaim";

/// What is asked for at once: a few milliseconds' work, after which a program that is woken meanwhile keeps the rest.
const AT_ONCE: u64 = 4 * MIB;

/// Takes the memory of the group in `folder`, as far as the kernel finds any that can go and `go_on` says so.
///
/// # Errors
/// The group is gone, or not this process's.
pub(crate) fn reclaim(folder: &Path, go_on: &dyn Fn() -> bool) -> io::Result<()> {
    let held: u64 = fs::read_to_string(folder.join("memory.current"))?.trim().parse().unwrap_or(0);
    for _ in 0..held.div_ceil(AT_ONCE) {
        if !go_on() {
            break;
        }
        match write(&folder.join(RECLAIM), &AT_ONCE.to_string()) {
            // It found less than that: the rest cannot go.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            outcome => outcome?,
        }
    }
    Ok(())
}

/// The groups of one program. Dropping this removes them; everything in them must have been killed.
#[derive(Debug, Default)]
pub(crate) struct Group {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    folder: PathBuf,
    version: Version,
    controllers: Vec<Controller>,
}

impl Group {
    /// Makes groups with these limits wherever one can be made. Where one cannot after all, it holds nothing, and the log says why.
    pub(crate) fn make(places: &Places, limits: &Limits) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
        let name = Owner::of_this_process().map(|owner| owner.name_of(&number));
        let make = |place: &Place| {
            let part = Part { folder: place.folder.join(name.as_ref()?), version: place.version, controllers: place.controllers.clone() };
            match fs::create_dir(&part.folder).and_then(|()| part.limit(limits)) {
                Ok(()) => Some(part),
                Err(error) => {
                    tracing::warn!(group = %part.folder.display(), %error, "a control group cannot be used");
                    None // dropping the part removes what was made of it
                }
            }
        };
        Self { parts: places.found.iter().filter_map(make).collect() }
    }

    /// The files to which a process of one thread writes `0` to join, and with it whatever it starts from then on. Moved so, by itself and
    /// as a thread, the kernel need not wait until all processors have noticed, which takes 8 ms and more; version 2 moves processes only.
    pub(crate) fn entrances(&self) -> Vec<PathBuf> {
        let file = |part: &Part| match part.version {
            Version::One => "tasks",
            Version::Two => "cgroup.procs",
        };
        self.parts.iter().map(|part| part.folder.join(file(part))).collect()
    }

    /// Which limits these hold.
    pub(crate) fn held(&self) -> Held {
        let by = |controller| self.part(controller).map(|part| part.version);
        Held { memory: by(Controller::Memory), processes: by(Controller::Processes), processor: by(Controller::Processor) }
    }

    /// How many processes in it the kernel has ended because there was no memory left for them.
    pub(crate) fn ended_for_memory(&self) -> u64 {
        self.counted(Controller::Memory, |version| match version {
            Version::One => ("memory.oom_control", "oom_kill"),
            Version::Two => ("memory.events", "oom_kill"),
        })
    }

    /// How often a process or thread could not be started.
    pub(crate) fn refused_processes(&self) -> u64 {
        self.counted(Controller::Processes, |_| ("pids.events", "max"))
    }

    /// The folder of the group whose memory can be taken as a whole, without rights over its processes: version 2, since Linux 5.19.
    pub(crate) fn reclaimable(&self) -> Option<PathBuf> {
        let part = self.part(Controller::Memory).filter(|part| part.version == Version::Two)?;
        part.folder.join(RECLAIM).exists().then(|| part.folder.clone())
    }

    fn part(&self, controller: Controller) -> Option<&Part> {
        self.parts.iter().find(|part| part.controllers.contains(&controller))
    }

    /// A count in a file of lines `name number`; 0 where it is not told.
    fn counted(&self, controller: Controller, place: impl Fn(Version) -> (&'static str, &'static str)) -> u64 {
        let Some(part) = self.part(controller) else { return 0 };
        let (file, name) = place(part.version);
        let text = fs::read_to_string(part.folder.join(file)).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok()).unwrap_or(0)
    }
}

impl Part {
    fn limit(&self, limits: &Limits) -> io::Result<()> {
        self.controllers.iter().try_for_each(|controller| match (controller, self.version) {
            (Controller::Memory, version) => memory(&self.folder, version, u64::from(limits.memory_mb) * MIB),
            (Controller::Processes, _) => self.set("pids.max", u64::from(limits.processes.saturating_add(OUR_PROCESSES))),
            (Controller::Processor, Version::One) => {
                self.set("cpu.shares", u64::from(limits.cpu_weight) * SHARES / 100)?;
                limits.cpus.map_or(Ok(()), |cpus| {
                    self.set("cpu.cfs_period_us", PERIOD)?;
                    self.set("cpu.cfs_quota_us", cpus.quota(PERIOD))
                })
            }
            (Controller::Processor, Version::Two) => {
                self.set("cpu.weight", u64::from(limits.cpu_weight))?;
                limits.cpus.map_or(Ok(()), |cpus| write(&self.folder.join("cpu.max"), &format!("{} {PERIOD}", cpus.quota(PERIOD))))
            }
        })
    }

    fn set(&self, file: &str, value: u64) -> io::Result<()> {
        write(&self.folder.join(file), &value.to_string())
    }
}

/// Version 1 counts memory and swap together. Version 2 counts swap apart: as much again, so that an idle program's memory can go there.
/// Where swap is not counted at all its file is missing.
fn memory(folder: &Path, version: Version, bytes: u64) -> io::Result<()> {
    let set = |file: &str, value: &str| write(&folder.join(file), value);
    let if_counted = |outcome: io::Result<()>| match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    };
    let bytes = bytes.to_string();
    match version {
        Version::One => {
            set("memory.limit_in_bytes", &bytes)?;
            if_counted(set("memory.memsw.limit_in_bytes", &bytes))
        }
        Version::Two => {
            set("memory.max", &bytes)?;
            // Not a part of the program, but all of it.
            set("memory.oom.group", "1")?;
            if_counted(set("memory.swap.max", &bytes))
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        leftover::remove(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;
    use crate::profile::Cpus;

    /// The files of a new group that the kernel would make.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|file| fs::write(folder.path().join(file), "").unwrap());
        folder
    }

    fn limited(version: Version, files: &[&str]) -> Vec<String> {
        let folder = folder(files);
        let part = Part { folder: folder.path().into(), version, controllers: Controller::ALL.to_vec() };
        let limits = Limits { memory_mb: 3, processes: 7, cpus: Some(Cpus::try_from(1.5).unwrap()), cpu_weight: 50, ..Limits::default() };
        part.limit(&limits).unwrap();
        files.iter().map(|file| fs::read_to_string(folder.path().join(file)).unwrap()).collect()
    }

    #[test]
    fn the_files_of_version_two() {
        let files = ["memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.weight", "cpu.max"];
        assert_eq!(limited(Version::Two, &files), ["3145728", "3145728", "1", "9", "50", "150000 100000"]);
        assert_eq!(limited(Version::Two, &["memory.max", "memory.oom.group", "pids.max", "cpu.weight", "cpu.max"]).len(), 5, "no swap");
    }

    #[test]
    fn the_files_of_version_one() {
        let files =
            ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "pids.max", "cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us"];
        assert_eq!(limited(Version::One, &files), ["3145728", "3145728", "9", "512", "100000", "150000"]);
    }

    #[test]
    fn counts_are_read_from_either_version() {
        let two = folder(&[]);
        fs::write(two.path().join("memory.events"), "low 0\noom 4\noom_kill 3\noom_group_kill 1\n").unwrap();
        fs::write(two.path().join("pids.events"), "max 12\n").unwrap();
        let one = folder(&[]);
        fs::write(one.path().join("memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n").unwrap();
        let part = |folder: &tempfile::TempDir, version, controllers: &[Controller]| Part {
            folder: folder.path().into(),
            version,
            controllers: controllers.to_vec(),
        };
        let group = Group { parts: vec![part(&two, Version::Two, &[Controller::Memory, Controller::Processes])] };
        assert_eq!((group.ended_for_memory(), group.refused_processes()), (3, 12));
        let other = Group { parts: vec![part(&one, Version::One, &[Controller::Memory])] };
        assert_eq!((other.ended_for_memory(), other.refused_processes()), (2, 0));
    }
}
