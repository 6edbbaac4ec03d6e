//! The folders in which groups can be made: found once, by doing it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::hierarchy::{self, Hierarchy};
use super::leftover::{self, Owner};
use super::{Controller, Held, Version, write};

/// A folder in which this process can make groups with these controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) folder: PathBuf,
    pub(super) version: Version,
    pub(super) controllers: Vec<Controller>,
}

/// Where the groups of programs are made.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(super) found: Vec<Place>,
    /// Folders where groups cannot be made, and why.
    refused: Vec<(PathBuf, String)>,
}

/// The places of this process. The first to ask finds them, and clears away what gateways have left there that are gone.
pub(crate) fn places() -> &'static Places {
    static PLACES: OnceLock<Places> = OnceLock::new();
    PLACES.get_or_init(|| {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        let hierarchies = hierarchy::all(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        match Owner::of_this_process() {
            Some(owner) => {
                hierarchies.iter().for_each(|hierarchy| owner.clear_leftovers(&hierarchy.own));
                Places::find(hierarchies, &owner)
            }
            None => Places::default(), // no procfs, no groups
        }
    })
}

impl Places {
    /// Version 2 first; of version 1 what is missing then.
    fn find(mut hierarchies: Vec<Hierarchy>, owner: &Owner) -> Self {
        hierarchies.sort_by_key(|hierarchy| hierarchy.version == Version::One);
        let mut places = Self::default();
        for hierarchy in hierarchies {
            let missing = |controller: &Controller| !places.found.iter().any(|place| place.controllers.contains(controller));
            let wanted: Vec<Controller> = Controller::ALL.into_iter().filter(missing).collect();
            match usable(&hierarchy, &wanted, owner) {
                Ok(controllers) if controllers.is_empty() => {}
                Ok(controllers) => places.found.push(Place { folder: hierarchy.own, version: hierarchy.version, controllers }),
                Err(why) => places.refused.push((hierarchy.own, why)),
            }
        }
        places
    }

    /// What groups would hold.
    pub(crate) fn held(&self) -> Held {
        let by = |controller| self.found.iter().find(|place| place.controllers.contains(&controller)).map(|place| place.version);
        Held { memory: by(Controller::Memory), processes: by(Controller::Processes), processor: by(Controller::Processor) }
    }

    /// Whether the memory of a group can be taken as a whole: what a new one has, this process's own has too.
    pub(crate) fn can_reclaim(&self) -> bool {
        let of_memory = |place: &&Place| place.version == Version::Two && place.controllers.contains(&Controller::Memory);
        self.found.iter().find(of_memory).is_some_and(|place| place.folder.join(super::group::RECLAIM).exists())
    }

    /// Why groups cannot be made where they might be.
    pub(crate) fn refused(&self) -> impl Iterator<Item = String> {
        self.refused.iter().map(|(folder, why)| format!("{}: {why}", folder.display()))
    }
}

/// Which of `wanted` groups below this process's own can limit.
fn usable(hierarchy: &Hierarchy, wanted: &[Controller], owner: &Owner) -> Result<Vec<Controller>, String> {
    let offered = match hierarchy.version {
        Version::One => hierarchy.controllers.clone(),
        Version::Two => offered(&hierarchy.own),
    };
    let controllers: Vec<Controller> = offered.into_iter().filter(|controller| wanted.contains(controller)).collect();
    if controllers.is_empty() {
        return Ok(controllers);
    }
    let trial = hierarchy.own.join(owner.name_of("trial"));
    fs::create_dir(&trial).and_then(|()| fs::remove_dir(&trial)).map_err(|error| error.to_string())?;
    if hierarchy.version == Version::Two {
        delegate(&hierarchy.own, &controllers, owner)?;
    }
    Ok(controllers)
}

fn offered(folder: &Path) -> Vec<Controller> {
    let names = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    Controller::ALL.into_iter().filter(|controller| names.split_ascii_whitespace().any(|name| name == controller.name())).collect()
}

/// Hands controllers on to the groups below. In version 2 a group that does so must have no processes of its own: this process moves
/// into a leaf, but only where it is alone, since others would have to be moved too.
fn delegate(folder: &Path, controllers: &[Controller], owner: &Owner) -> Result<(), String> {
    let words: Vec<String> = controllers.iter().map(|controller| format!("+{}", controller.name())).collect();
    let enable = || write(&folder.join("cgroup.subtree_control"), &words.join(" "));
    match enable() {
        Err(error) if error.kind() == ErrorKind::ResourceBusy => {}
        outcome => return outcome.map_err(|error| format!("its controllers were not delegated: {error}")),
    }
    let own = std::process::id().to_string();
    let inhabitants = fs::read_to_string(folder.join("cgroup.procs")).map_err(|error| error.to_string())?;
    if inhabitants.lines().any(|process| process != own) {
        return Err("other processes are in the gateway's own group; `systemd-run --user --scope -p Delegate=yes` gives it one".to_owned());
    }
    let leaf = folder.join(owner.name_of(leftover::OWN));
    let moved = fs::create_dir(&leaf).and_then(|()| write(&leaf.join("cgroup.procs"), &own)).and_then(|()| enable());
    moved.map_err(|error| {
        // Back to where it was; if that fails too, it is as well off in the leaf.
        let _back = write(&folder.join("cgroup.procs"), &own).and_then(|()| fs::remove_dir(&leaf));
        format!("its controllers were not delegated: {error}")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn owner() -> Owner {
        Owner::of_this_process().unwrap()
    }

    fn hierarchy(version: Version, own: &Path, controllers: &[Controller]) -> Hierarchy {
        Hierarchy { version, controllers: controllers.to_vec(), own: own.into() }
    }

    /// A folder with the files of a delegated group; plain files, which take whatever is written.
    fn delegated(controllers: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in [("cgroup.controllers", controllers), ("cgroup.subtree_control", ""), ("cgroup.procs", "")] {
            fs::write(folder.path().join(file), text).unwrap();
        }
        folder
    }

    #[test]
    fn what_version_two_lacks_is_taken_from_version_one() {
        let (two, memory, cpu) = (delegated("cpuset pids memory"), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let places = Places::find(
            vec![
                hierarchy(Version::One, memory.path(), &[Controller::Memory]),
                hierarchy(Version::One, cpu.path(), &[Controller::Processor]),
                hierarchy(Version::Two, two.path(), &[]),
            ],
            &owner(),
        );
        let found: Vec<_> = places.found.iter().map(|place| (place.folder.as_path(), place.version, place.controllers.clone())).collect();
        assert_eq!(
            found,
            [
                (two.path(), Version::Two, vec![Controller::Memory, Controller::Processes]),
                (cpu.path(), Version::One, vec![Controller::Processor]),
            ]
        );
        assert_eq!(fs::read_to_string(two.path().join("cgroup.subtree_control")).unwrap(), "+memory +pids");
        assert_eq!(places.held(), Held { memory: Some(Version::Two), processes: Some(Version::Two), processor: Some(Version::One) });
    }

    #[test]
    fn a_hierarchy_without_the_controllers_is_passed_over() {
        let two = delegated("hugetlb");
        let places = Places::find(vec![hierarchy(Version::Two, two.path(), &[])], &owner());
        assert_eq!(places.held(), Held::default());
        assert_eq!(places.refused().count(), 0);
        assert_eq!(fs::read_to_string(two.path().join("cgroup.subtree_control")).unwrap(), "");
    }

    #[test]
    fn a_folder_that_takes_no_group_is_refused_with_its_reason() {
        let places = Places::find(vec![hierarchy(Version::One, Path::new("/proc/self"), &[Controller::Memory])], &owner());
        assert_eq!(places.held(), Held::default());
        assert_eq!(places.refused().count(), 1);
        let undelegated = delegated("memory");
        fs::remove_file(undelegated.path().join("cgroup.subtree_control")).unwrap();
        let places = Places::find(vec![hierarchy(Version::Two, undelegated.path(), &[])], &owner());
        assert_eq!(places.held(), Held::default());
        assert!(places.refused().next().unwrap().contains("not delegated"));
    }
}
