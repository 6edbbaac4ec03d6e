//! Which gateways run, so that `stdio`, `tools` and `call` use the one that is there already.
//!
//! A running gateway leaves a note in the user's own state folder, in a file of its own. A note is believed only while the very process
//! that wrote it lives: its port may be somebody else's by then, and what is sent there are a key and tool calls. Of several gateways for
//! one configuration the one that has run longest is used: another that comes and goes changes nothing for whoever uses it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sallyport_gateway::plan::Origin;
use serde::{Deserialize, Serialize};

/// Bytes of a note at most; ours have some 300.
const MAX_NOTE: u64 = 16 * 1024;

/// A gateway that serves a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Its process.
    pub(crate) pid: u32,
    /// When that process began, in clock ticks since the machine's start: a pid alone is given out again.
    born: u64,
    /// Where it answers, without a path: `http://127.0.0.1:7420`.
    pub(crate) url: String,
    /// The file it was configured by, for people.
    configuration: Option<PathBuf>,
}

/// The note of this process. It is taken back by [`withdraw`](Self::withdraw).
#[derive(Debug)]
pub(crate) struct Note {
    file: PathBuf,
    written: Running,
}

impl Note {
    /// Tells other processes of this user that this one serves the configuration of `origin` at `url`.
    ///
    /// # Errors
    /// Where the note cannot be written.
    pub(crate) fn leave(folder: &Path, origin: &Origin, url: &str) -> io::Result<Self> {
        let pid = std::process::id();
        let born = born(pid).ok_or_else(|| io::Error::other("the start of this process is not known"))?;
        let written = Running { pid, born, url: url.to_owned(), configuration: origin.file.clone() };
        clear(folder);
        let file = folder.join(format!("{}.{pid}.json", named(origin)));
        let unfinished = file.with_extension("new");
        fs::write(&unfinished, serde_json::to_vec(&written)?)?;
        fs::rename(&unfinished, &file)?;
        Ok(Self { file, written })
    }

    /// Takes the note back, unless a process of the same number, in another container, has put its own in the place.
    pub(crate) fn withdraw(self) {
        if read(&self.file).as_ref() == Some(&self.written) {
            let _ = fs::remove_file(&self.file); // a note left behind is not believed
        }
    }
}

/// The gateway that serves the configuration of `origin`, if one runs; of several the one that has run longest.
pub(crate) fn find(folder: &Path, origin: &Origin) -> Option<Running> {
    let named = format!("{}.", named(origin));
    let is_of_it = |file: &PathBuf| {
        let name = file.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&named) && name.ends_with(".json"))
    };
    let notes = files(folder).filter(is_of_it).filter_map(|file| read(&file));
    notes.filter(|note| born(note.pid) == Some(note.born)).min_by_key(|note| (note.born, note.pid))
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Removes the notes, and unfinished ones, of gateways that were killed and so could not.
fn clear(folder: &Path) {
    for file in files(folder) {
        let is_left = match file.extension().and_then(|extension| extension.to_str()) {
            Some("json") => read(&file).is_some_and(|note| born(note.pid) != Some(note.born)),
            Some("new") => writer(&file).is_some_and(|pid| born(pid).is_none()),
            _ => false,
        };
        if is_left {
            let _ = fs::remove_file(&file); // another start may be doing the same
        }
    }
}

/// Who began to write `HASH.PID.new`.
fn writer(file: &Path) -> Option<u32> {
    Path::new(file.file_stem()?).extension()?.to_str()?.parse().ok()
}

fn read(file: &Path) -> Option<Running> {
    let length = fs::metadata(file).ok()?.len();
    (length <= MAX_NOTE).then(|| fs::read(file).ok())?.and_then(|text| serde_json::from_slice(&text).ok())
}

/// What the notes of a configuration are named by: where it came from.
fn named(origin: &Origin) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hash = DefaultHasher::new(); // SipHash with a fixed key: the same in every process of one version
    (origin.file.as_deref(), origin.folder.as_path()).hash(&mut hash);
    format!("{:016x}", hash.finish())
}

/// When a process began that has not ended (fields 22 and 3 of `/proc/PID/stat`; the second may hold spaces and brackets). One that nobody waits
/// for is listed on when it was killed.
fn born(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind_the_name) = stat.rsplit_once(')')?;
    let mut fields = behind_the_name.split_whitespace();
    let state = fields.next()?;
    fields.nth(18)?.parse().ok().filter(|_| !matches!(state, "Z" | "X"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn origin(file: &str) -> Origin {
        Origin { file: Some(file.into()), folder: "/p".into() }
    }

    #[test]
    fn a_note_is_found_for_its_configuration_and_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let note = Note::leave(folder.path(), &origin("/p/a.toml"), "http://127.0.0.1:1").unwrap();
        assert_eq!(find(folder.path(), &origin("/p/a.toml")).unwrap().url, "http://127.0.0.1:1");
        assert_eq!(find(folder.path(), &origin("/p/b.toml")), None);
        note.withdraw();
        assert_eq!(find(folder.path(), &origin("/p/a.toml")), None);
    }

    #[test]
    fn a_note_of_a_process_that_is_gone_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let note = Note::leave(folder.path(), &origin("/p/a.toml"), "http://127.0.0.1:1").unwrap();
        for faked in [Running { born: note.written.born + 1, ..note.written.clone() }, Running { pid: u32::MAX, ..note.written.clone() }] {
            fs::write(&note.file, serde_json::to_vec(&faked).unwrap()).unwrap();
            assert_eq!(find(folder.path(), &origin("/p/a.toml")), None);
        }
        fs::write(&note.file, "{").unwrap();
        assert_eq!(find(folder.path(), &origin("/p/a.toml")), None);
    }

    #[test]
    fn of_several_gateways_the_one_is_found_that_has_run_longest() {
        let folder = tempfile::tempdir().unwrap();
        let origin = origin("/p/a.toml");
        // Process 1 was there before this one.
        let first = Running { pid: 1, born: born(1).unwrap(), url: "http://127.0.0.1:1".into(), configuration: None };
        let file = folder.path().join(format!("{}.1.json", named(&origin)));
        fs::write(&file, serde_json::to_vec(&first).unwrap()).unwrap();
        let second = Note::leave(folder.path(), &origin, "http://127.0.0.1:2").unwrap();
        assert_eq!(find(folder.path(), &origin), Some(first));
        fs::remove_file(&file).unwrap();
        assert_eq!(find(folder.path(), &origin).unwrap().url, "http://127.0.0.1:2");
        fs::write(&file, "{").unwrap();
        second.withdraw();
        assert_eq!(find(folder.path(), &origin), None);
    }
}
