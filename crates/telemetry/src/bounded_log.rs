//! A file that only grows up to a bound, and then makes room by giving up its oldest part.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Most processes that write logs of one name at once, each into a file of its own: more gateways of one user than
/// anybody runs, few enough to try in turn.
const MOST_WRITERS: usize = 64;

/// How much a log may hold: at most `bytes_per_file * files`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A file that would become longer is set aside. At least 1.
    pub bytes_per_file: u64,
    /// How many files are kept, with the one that is being written. At least 1.
    pub files: usize,
}

/// The writing end of a bounded log.
///
/// `name.log` is the newest part, `name.log.1` the one before, and so on. Files are readable for their owner alone. While
/// one process writes `name.log`, another one that opens the same log gets `name-2.log`: two writers that rotate one file
/// would lose each other's lines.
#[derive(Debug)]
pub struct BoundedLog {
    path: PathBuf,
    file: File,
    length: u64,
    bounds: Bounds,
    /// Held as long as we write; the kernel lets it go however the process ends.
    _claim: File,
}

impl BoundedLog {
    /// Goes on at the end of the log at `path`, whose folder exists.
    ///
    /// # Errors
    /// When no file can be opened there.
    pub fn open(path: &Path, bounds: Bounds) -> io::Result<Self> {
        let (path, claim) = claim(path)?;
        let file = append_to(&path)?;
        let length = file.metadata()?.len();
        Ok(Self { path, file, length, bounds, _claim: claim })
    }

    /// The file that is being written.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds `bytes`, to one file if one can hold them all.
    ///
    /// # Errors
    /// When they could not be written; what had been written of a piece is taken back, so that a full disk leaves no
    /// half lines.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let most = usize::try_from(self.bounds.bytes_per_file).unwrap_or(usize::MAX).max(1);
        bytes.chunks(most).try_for_each(|piece| self.append_piece(piece))
    }

    fn append_piece(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.length > 0 && self.length + piece.len() as u64 > self.bounds.bytes_per_file {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all(piece) {
            let _ = self.file.set_len(self.length); // devices have no length; then there is nothing to take back
            return Err(error);
        }
        self.length += piece.len() as u64;
        Ok(())
    }

    /// Goes on in a new file. If the old one is gone (removed by hand, or set aside by an attempt that could not open the
    /// new one), the others stay where they are.
    fn rotate(&mut self) -> io::Result<()> {
        if fs::exists(&self.path)? {
            self.set_aside()?;
        }
        self.file = append_to(&self.path)?;
        self.length = self.file.metadata()?.len();
        Ok(())
    }

    /// Makes the newest file number 1, number 1 number 2, and so on; the last one is overwritten.
    fn set_aside(&self) -> io::Result<()> {
        let oldest = self.bounds.files.saturating_sub(1);
        for number in (1..oldest).rev() {
            ignore_missing(fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1)))?;
        }
        if oldest == 0 {
            return ignore_missing(fs::remove_file(&self.path));
        }
        ignore_missing(fs::rename(&self.path, numbered(&self.path, 1)))
    }
}

impl Write for BoundedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The files that make up the log at `path`, the oldest first, over every process that has written it.
///
/// # Errors
/// When its folder cannot be read.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut found = Vec::new();
    for entry in folder.read_dir()? {
        let candidate = entry?.path();
        let ours = (1..=MOST_WRITERS).find_map(|writer| part_of(&of_writer(path, writer), &candidate));
        found.extend(ours.map(|number| (number, candidate)));
    }
    found.sort_by(|(one, one_path), (other, other_path)| other.cmp(one).then_with(|| one_path.cmp(other_path)));
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// 0 for the log's newest file, n for its n-th older one.
fn part_of(log: &Path, candidate: &Path) -> Option<usize> {
    let (log, candidate) = (log.file_name()?.to_str()?, candidate.file_name()?.to_str()?);
    match candidate.strip_prefix(log)? {
        "" => Some(0),
        rest => rest.strip_prefix('.')?.parse().ok(),
    }
}

/// The first file of this log that no other process writes, and the lock that says so.
fn claim(path: &Path) -> io::Result<(PathBuf, File)> {
    for writer in 1..=MOST_WRITERS {
        let path = of_writer(path, writer);
        let lock = append_to(&lock_of(&path))?;
        match lock.try_lock() {
            Ok(()) => return Ok((path, lock)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("{MOST_WRITERS} processes write this log already")))
}

/// `name.log` for the first writer, `name-2.log` for the second.
fn of_writer(path: &Path, writer: usize) -> PathBuf {
    if writer == 1 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{writer}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

fn lock_of(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".lock");
    path.with_file_name(name)
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn log(folder: &Path, bytes_per_file: u64, files: usize) -> BoundedLog {
        BoundedLog::open(&folder.join("a.log"), Bounds { bytes_per_file, files }).unwrap()
    }

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap()
    }

    #[test]
    fn the_newest_part_keeps_the_name_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(folder.path(), 10, 3);
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n", "six\n", "seven\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        assert_eq!(read(folder.path(), "a.log"), "six\nseven\n");
        assert_eq!(read(folder.path(), "a.log.1"), "four\nfive\n");
        assert_eq!(read(folder.path(), "a.log.2"), "three\n");
        assert!(!folder.path().join("a.log.3").exists());
        let names: Vec<_> = files(log.path()).unwrap().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["a.log.2", "a.log.1", "a.log"]);
    }

    #[test]
    fn a_log_is_continued_and_private() {
        let folder = tempfile::tempdir().unwrap();
        log(folder.path(), 10, 2).append(b"12345678").unwrap();
        log(folder.path(), 10, 2).append(b"abc").unwrap();
        assert_eq!((read(folder.path(), "a.log.1"), read(folder.path(), "a.log")), ("12345678".into(), "abc".into()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(folder.path().join("a.log")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_second_writer_gets_a_file_of_its_own_as_long_as_the_first_lives() {
        let folder = tempfile::tempdir().unwrap();
        let first = log(folder.path(), 10, 2);
        let second = log(folder.path(), 10, 2);
        assert!(first.path().ends_with("a.log") && second.path().ends_with("a-2.log"));
        assert_eq!(files(first.path()).unwrap().len(), 2);
        drop(first);
        assert!(log(folder.path(), 10, 2).path().ends_with("a.log"));
    }

    #[test]
    fn a_file_that_was_removed_by_hand_is_made_anew_and_the_older_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(folder.path(), 4, 3);
        for line in ["one\n", "two\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        fs::remove_file(log.path()).unwrap();
        log.append(b"new\n").unwrap();
        assert_eq!((read(folder.path(), "a.log.1"), read(folder.path(), "a.log")), ("one\n".into(), "new\n".into()));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_device_is_an_error_and_not_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join("a.log")).unwrap();
        let mut log = log(folder.path(), 10, 2);
        assert_eq!(log.append(b"line\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))] // each makes real files

        #[test]
        fn no_sequence_of_writes_passes_the_bounds(
            bytes_per_file in 1_u64..20, count in 1_usize..4,
            writes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut log = log(folder.path(), bytes_per_file, count);
            writes.iter().for_each(|bytes| log.append(bytes).unwrap());
            let parts = files(log.path()).unwrap();
            prop_assert!(parts.len() <= count);
            let mut kept = Vec::new();
            for part in parts {
                let bytes = fs::read(part).unwrap();
                prop_assert!(bytes.len() as u64 <= bytes_per_file);
                kept.extend(bytes);
            }
            prop_assert!(writes.concat().ends_with(&kept));
        }
    }
}
