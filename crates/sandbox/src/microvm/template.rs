//! Machines that have booted, kept as files, and the copies that go on from there. A template is saved before anything of a program is in it:
//! no argument, no environment, no secret. It is the same for all programs whose machines have as much memory and as
//! many folders to write.
//!
//! Each copy has the memory as a file of its own, as a machine that boots has: a monitor that was broken into changes nobody else's machine,
//! and the memory can be given back without swap. Where the file system can share blocks until one side writes, that costs nothing. What else
//! there is of a machine each copy gets as a sealed one: its monitor runs as the user to whom the template belongs.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{
    MemfdFlags, Mode, OFlags, SealFlags, SeekFrom, copy_file_range, fcntl_add_seals, ioctl_ficlone, memfd_create, open, seek,
};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::prepare::{failed, hexadecimal};
use super::qemu::{self, PROGRAM, Qemu};
use super::ready::{Connected, Ready, apart, nobodys};
use super::room::Room;
use super::run_in;
use super::vmm::{Accelerator, Begins, Shape, Vmm};
use crate::backend::Host;
use crate::error::Error;
use crate::profile::{Profile, Program};
use crate::turn;

/// Changes whenever a machine that was saved before would not go on.
const FORMAT: u32 = 1;

/// One for each size of memory and number of folders to write that is in use; some thirty megabytes each.
const MOST: usize = 4;
/// Those that nobody has used for longer are taken away; they are made anew in seconds.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a host cannot do is tried so often, and then machines boot.
const MOST_FAILURES: u32 = 3;

const MEMORY: &str = "memory";
const STATE: &str = "state";
const KERNEL: &str = "kernel";
/// The one that is being made.
const UNFINISHED: &str = "unfinished";

/// In the folder of machines.
fn templates_in(machines: &Path) -> PathBuf {
    machines.join("templates")
}

/// A copy, where machines can be copied. Not with KVM so far: there a boot takes a fraction of a second, and nobody has shown yet that the
/// clock of a copy is right.
pub(super) async fn clone(host: &Host, shape: &Shape, profile: &Profile, program: &Program) -> Option<Ready> {
    static FAILURES: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());
    let failures = || FAILURES.lock().unwrap_or_else(PoisonError::into_inner);
    if shape.accelerator == Accelerator::Kvm {
        return None;
    }
    let digest = digest(shape);
    if failures().get(&digest).is_some_and(|count| *count >= MOST_FAILURES) {
        return None;
    }
    match copied(host, shape, &digest, profile, program).await {
        Ok(ready) => Some(ready),
        Err(error) => {
            tracing::warn!(server = program.name, %error, "a microVM boots, because it cannot be copied");
            *failures().entry(digest).or_default() += 1;
            None
        }
    }
}

async fn copied(host: &Host, shape: &Shape, digest: &str, profile: &Profile, program: &Program) -> Result<Ready, Error> {
    let machines = host.machines()?;
    let Template { memory, state, kernel } = template(host, shape, &templates_in(&machines), digest).await?;
    let memory_mb = shape.memory_mb;
    let room = move || {
        let room = Room::new(&run_in(&machines), memory_mb)?;
        copy(&memory, &room.memory).map_err(|cause| failed("the memory of a microVM cannot be copied", &cause))?;
        Ok((room, sealed(&state).map_err(|cause| failed("the state of a microVM cannot be copied", &cause))?))
    };
    let (room, state) = apart(room).await?;
    let mut connected = Connected::new(host, shape, Begins::Saved, room, profile, program).await?;
    connected.steer(move |steer| Qemu.restore(steer, &state)).await?;
    Ok(connected.ready(kernel, true))
}

/// Everything that a saved machine depends on: this boot of this host, the monitor, the kernel, the init, the memory.
fn digest(shape: &Shape) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let stamp = |path: &Path| fs::metadata(path).ok().map(|found| (found.len(), found.modified().ok()));
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let monitor = std::env::split_paths(&paths).find_map(|folder| stamp(&folder.join(PROGRAM)));
    let Shape { guest, memory_mb, folders, .. } = shape;
    let folders = folders.len();
    let (kernel, line) = (stamp(&guest.kernel), qemu::COMMAND_LINE);
    let all = format!(
        "{FORMAT} {boot} {monitor:?} {memory_mb} {folders} {line} {} {kernel:?} {}",
        guest.kernel.display(),
        guest.initramfs.display()
    );
    hexadecimal(Sha256::digest(all).get(..8).unwrap_or_default())
}

/// The files of one.
struct Template {
    memory: File,
    state: File,
    kernel: String,
}

impl Template {
    fn open(folder: &Path) -> Option<Self> {
        let state = File::open(folder.join(STATE)).ok()?;
        // The least lately used one goes first.
        let _unmarked = state.set_modified(SystemTime::now());
        Some(Self { memory: File::open(folder.join(MEMORY)).ok()?, state, kernel: fs::read_to_string(folder.join(KERNEL)).ok()? })
    }
}

async fn template(host: &Host, shape: &Shape, templates: &Path, digest: &str) -> Result<Template, Error> {
    let folder = templates.join(digest);
    if let Some(made) = Template::open(&folder) {
        return Ok(made);
    }
    let place = templates.to_path_buf();
    // Whoever comes second waits for the first, and finds it made.
    let _lock = apart(move || lock(&place).map_err(|cause| unusable(&place, &cause))).await?;
    if let Some(made) = Template::open(&folder) {
        return Ok(made);
    }
    make(host, shape, templates, &folder).await?;
    Template::open(&folder).ok_or_else(|| Error::new("a microVM's template is not where it was put"))
}

fn unusable(templates: &Path, cause: &io::Error) -> Error {
    failed(format_args!("folder {} for templates of microVMs cannot be used", templates.display()), cause)
}

fn lock(templates: &Path) -> io::Result<OwnedFd> {
    DirBuilder::new().recursive(true).mode(0o700).create(templates)?;
    let lock = open(templates, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    turn::take(&lock, turn::LONG)?;
    Ok(lock)
}

/// Boots a machine that sees an empty disk, until its init waits, and saves it.
async fn make(host: &Host, shape: &Shape, templates: &Path, folder: &Path) -> Result<(), Error> {
    let (run, unfinished, memory_mb) = (run_in(&host.machines()?), templates.join(UNFINISHED), shape.memory_mb);
    let place = unfinished.clone();
    let begun = apart(move || {
        let state = begin(&place).map_err(|cause| unusable(&place, &cause))?;
        Ok((Room::new(&run, memory_mb)?, state))
    });
    let (room, state) = begun.await?;
    let mut connected = Connected::new(host, shape, Begins::ToBeSaved, room, &Profile::default(), &nobodys("template")).await?;
    let kernel = connected.booted().await?;
    connected.steer(move |steer| Qemu.save(steer, &state)).await?;
    let memory = connected.ended().await;
    let (templates, folder) = (templates.to_path_buf(), folder.to_path_buf());
    apart(move || {
        let finished = finish(&memory, &kernel, &unfinished, &folder);
        sweep(&templates, &folder);
        finished.map_err(|cause| unusable(&templates, &cause))
    })
    .await
}

/// The file for the state, in a new folder.
fn begin(unfinished: &Path) -> io::Result<File> {
    let _of_one_that_was_killed = fs::remove_dir_all(unfinished);
    DirBuilder::new().mode(0o700).create(unfinished)?;
    private(&unfinished.join(STATE))
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

fn finish(memory: &File, kernel: &str, unfinished: &Path, folder: &Path) -> io::Result<()> {
    copy_what_is_not_zero(memory, &private(&unfinished.join(MEMORY))?)?;
    private(&unfinished.join(KERNEL))?.write_all_at(kernel.as_bytes(), 0)?;
    let _damaged = fs::remove_dir_all(folder);
    fs::rename(unfinished, folder)
}

/// Takes away what a gateway has left that was killed while it made one.
pub(super) fn clear(machines: &Path) {
    let templates = templates_in(machines);
    let Ok(lock) = open(&templates, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else { return };
    // Somebody makes one just now.
    if turn::take_now(&lock) {
        let _none = fs::remove_dir_all(templates.join(UNFINISHED));
    }
}

/// Takes away what nobody uses; what a copy is made of just now stays open for it.
fn sweep(templates: &Path, but: &Path) {
    let used = |path: &Path| fs::metadata(path.join(STATE)).and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let paths = fs::read_dir(templates).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut others: Vec<(SystemTime, PathBuf)> = paths.filter(|path| path != but).map(|path| (used(&path), path)).collect();
    others.sort_unstable_by(|one, other| other.cmp(one));
    for (position, (used, path)) in others.iter().enumerate() {
        let is_old = used.elapsed().is_ok_and(|age| age > KEPT);
        if is_old || position + 1 >= MOST {
            let _stays_for_the_next = fs::remove_dir_all(path);
        }
    }
}

/// Small enough that little is copied for nothing, large enough that a file has few holes.
const CHUNK: usize = 64 * 1024;

/// A kernel clears memory that it frees: most of what it has touched is zero.
fn copy_what_is_not_zero(from: &File, to: &File) -> io::Result<()> {
    let size = from.metadata()?.len();
    to.set_len(size)?;
    let mut chunk = vec![0; CHUNK];
    each_piece(from, size, |start, end| {
        let mut at = start;
        while at < end {
            let count = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let Some(chunk) = chunk.get_mut(..count) else { break };
            from.read_exact_at(chunk, at)?;
            if chunk.iter().any(|byte| *byte != 0) {
                to.write_all_at(chunk, at)?;
            }
            at += count as u64;
        }
        Ok(())
    })
}

/// All of it, sharing blocks where that can be; holes stay holes.
fn copy(from: &File, to: &File) -> io::Result<()> {
    if ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let size = from.metadata()?.len();
    to.set_len(size)?;
    each_piece(from, size, |start, end| {
        let (mut reads, mut writes) = (start, start);
        while reads < end {
            let rest = usize::try_from(end - reads).unwrap_or(usize::MAX);
            if copy_file_range(from, Some(&mut reads), to, Some(&mut writes), rest)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    })
}

/// A copy that nobody can change, whoever opens it again. One for each monitor, which shares its offset.
fn sealed(mut state: &File) -> io::Result<File> {
    let mut copy = File::from(memfd_create("state", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    io::copy(&mut state, &mut copy)?;
    fcntl_add_seals(&copy, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    copy.rewind()?;
    Ok(copy)
}

/// What of a file is no hole.
fn each_piece(file: &File, size: u64, mut piece: impl FnMut(u64, u64) -> io::Result<()>) -> io::Result<()> {
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break, // only a hole is left
            start => start?,
        };
        let end = seek(file, SeekFrom::Hole(start))?;
        piece(start, end)?;
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn copies_are_whole_and_holes_stay_holes() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let file = |name: &str| private(&folder.path().join(name)).unwrap();
        let memory = file("memory");
        memory.set_len(64 << 20).unwrap();
        let places: [(u64, &[u8]); 4] = [(0, b"first"), (5 << 20, &[0; 200_000]), (9 << 20, b"in the middle"), ((64 << 20) - 4, b"last")];
        for (at, bytes) in places {
            memory.write_all_at(bytes, at).unwrap();
        }
        let (template, clone) = (file("template"), file("clone"));
        copy_what_is_not_zero(&memory, &template).unwrap();
        copy(&template, &clone).unwrap();
        for copied in [&template, &clone] {
            copied.sync_all().unwrap();
            let found = copied.metadata().unwrap();
            assert!(found.len() == 64 << 20 && found.blocks() * 512 <= 4 * CHUNK as u64, "{}", found.blocks());
            for (at, bytes) in places {
                let mut there = vec![1; bytes.len()];
                copied.read_exact_at(&mut there, at).unwrap();
                assert_eq!(there, bytes);
            }
        }
    }

    #[test]
    fn a_monitor_cannot_change_what_the_next_one_starts_from() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATE);
        fs::write(&path, "the state").unwrap();
        let given = sealed(&File::open(&path).unwrap()).unwrap();
        assert_eq!(io::read_to_string(&given).unwrap(), "the state");
        // Whoever has a descriptor opens the file behind it anew, with the rights of its owner.
        let again = OpenOptions::new().read(true).write(true).open(format!("/proc/self/fd/{}", given.as_raw_fd())).unwrap();
        for open in [&given, &again] {
            assert_eq!(open.write_at(b"x", 0).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            assert_eq!(open.set_len(0).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
        assert!(fcntl_add_seals(&again, SealFlags::empty()).is_err(), "nor can it be unsealed");
        assert_eq!(fs::read_to_string(&path).unwrap(), "the state");
        assert_ne!(given.metadata().unwrap().ino(), fs::metadata(&path).unwrap().ino());
    }

    #[test]
    fn few_templates_are_kept_and_none_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let made = |name: &str, age: Duration| {
            let path = folder.path().join(name);
            begin(&path).unwrap().set_modified(now - age).unwrap();
            path
        };
        let hour = Duration::from_secs(3600);
        let own = made("own", KEPT * 2);
        let kept: Vec<PathBuf> = (1..MOST).map(|age| made(&format!("kept {age}"), hour * u32::try_from(age).unwrap())).collect();
        let (one_too_many, old) = (made("one too many", hour * 9), made("old", KEPT + hour));
        sweep(folder.path(), &own);
        assert!(own.exists() && kept.iter().all(|path| path.exists()));
        assert!(!one_too_many.exists() && !old.exists());
    }
}
