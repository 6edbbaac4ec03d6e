//! More rights than the program was given.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{getegid, geteuid, getgid, getuid};

use super::files::{list, list_others};
use super::processes::of_other;
use super::{Attack, Stopped, Tried, in_child, monitor, raw};
use crate::probe::TRIAL_ARGUMENT;

pub(super) fn gain(attack: &Attack<'_>) {
    let (readable, writable) = (&attack.given.readable, &attack.given.writable);
    for (name, mode) in [("set-uid", 0o4755), ("set-gid", 0o2755)] {
        attack.attempt(&format!("{name} bit"), || set_bit(&writable.join(name), mode));
        attack.attempt(&format!("a new file with the {name} bit"), || make_with_bit(&writable.join(name), mode));
    }
    for (name, folder) in [("/tmp", PathBuf::from("/tmp")), ("/dev/shm", "/dev/shm".into()), ("the writable folder", writable.clone())] {
        attack.attempt(&format!("run a file in {name}"), || in_child(|| run(&folder.join("program"))));
    }
    for call in raw::BECOME_ROOT {
        attack.attempt(call.name, || in_child(|| Ok(call.make(0).map(drop)?)));
    }
    attack.attempt("write its own program", || {
        Ok(File::options().append(true).open(std::env::current_exe()?).map(|_| "opened".to_owned())?)
    });
    for folder in [Path::new("/usr"), Path::new("/etc"), Path::new("/"), Path::new("/dev"), readable] {
        let name = if folder == readable { "the readable folder".into() } else { folder.display().to_string() };
        attack.attempt(&format!("a new file in {name}"), || create(&folder.join("planted")));
    }
    attack.attempt("write into the readable folder's file", || {
        Ok(File::options().append(true).open(readable.join("file")).map(|_| "opened".to_owned())?)
    });
    attack.attempt("hard link out of the readable folder", || {
        let link = writable.join("hard-link");
        fs::hard_link(readable.join("file"), &link)?;
        fs::remove_file(link)?;
        Ok("linked".to_owned())
    });
    attack.attempt("give a file to root", || {
        chown(writable, Some(0), Some(0))?;
        Ok("given".to_owned())
    });
    attack.attempt("kernel settings", || {
        let path = "/proc/sys/kernel/hostname";
        let same = fs::read(path)?;
        fs::write(path, same)?;
        Ok("written".to_owned())
    });
    attack.attempt("capabilities and filters", sets);
}

fn set_bit(path: &Path, mode: u32) -> Tried {
    let file = File::create(path)?;
    let set = file.set_permissions(fs::Permissions::from_mode(mode));
    has_bit(path, set)
}

fn make_with_bit(path: &Path, mode: u32) -> Tried {
    File::options().write(true).create_new(true).mode(mode).open(path)?;
    has_bit(path, Ok(()))
}

fn has_bit(path: &Path, set: io::Result<()>) -> Tried {
    let (found, removed) = (fs::metadata(path)?.mode(), fs::remove_file(path));
    set.and(removed)?;
    if found & 0o6000 == 0 { Err(Stopped::by("the bit is dropped")) } else { Ok(format!("mode {found:o}")) }
}

/// It is no program, but where files may run that is found out only after it was looked at.
fn run(path: &Path) -> Result<(), Stopped> {
    fs::write(path, "no program")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    let error = Command::new(path).exec();
    fs::remove_file(path)?;
    if error.kind() == io::ErrorKind::PermissionDenied { Err(error.into()) } else { Ok(()) }
}

fn create(path: &Path) -> Tried {
    File::create_new(path)?;
    fs::remove_file(path)?;
    Ok("made".to_owned())
}

/// What the kernel says that this process has.
fn sets() -> Tried {
    let status = fs::read_to_string("/proc/self/status")?;
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t")).unwrap_or("nothing").to_owned();
    let has_some = |key: &&str| u64::from_str_radix(&value(key), 16) != Ok(0);
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].into_iter().filter(has_some);
    let missing = [("NoNewPrivs", "1"), ("Seccomp", "2")].into_iter().filter(|(key, wanted)| value(key) != *wanted);
    let wrong: Vec<String> = sets.chain(missing.map(|(key, _)| key)).map(|key| format!("{key} {}", value(key))).collect();
    if wrong.is_empty() { Err(Stopped::by("none, and filtered")) } else { Ok(wrong.join(", ")) }
}

pub(super) fn of_root(attack: &Attack<'_>) {
    for folder in ["/etc/ssl/private", "/etc/pki/tls/private"] {
        attack.attempt(folder, || list(Path::new(folder)));
    }
    attack.attempt("/root", || match &attack.given.machines {
        None => list(Path::new("/root")),
        // Their files may lie there.
        Some(machines) => list_others(Path::new("/root"), &monitor::shown(machines)?),
    });
    attack.attempt("command line of init", || of_other(1, "cmdline"));
    attack.attempt("keys of the host's root", || {
        let keys = fs::read_to_string("/proc/keys")?;
        let of_root = keys.lines().filter(|line| line.split_ascii_whitespace().nth(5) == Some("0")).count();
        if of_root == 0 { Err(Stopped::by("none")) } else { Ok(format!("{of_root} of them")) }
    });
    attack.attempt("another id than the one inside", || {
        let ids = [getuid().as_raw(), geteuid().as_raw(), getgid().as_raw(), getegid().as_raw()];
        let groups = rustix::process::getgroups()?.into_iter().map(|group| group.as_raw());
        let known = ids.into_iter().chain(groups).all(|id| attack.given.ids.contains(&id));
        if known { Err(Stopped::by("no other")) } else { Ok(format!("{ids:?}")) }
    });
}

/// One that takes any arguments, and ends well. This one is larger than a file may be where it was built for debugging.
fn some_program() -> io::Result<File> {
    File::open("/usr/bin/true").or_else(|_| File::open(std::env::current_exe()?))
}

pub(super) fn run_from_memory(attack: &Attack<'_>) {
    attack.attempt("a program in a memfd", || {
        let mut memory = File::from(memfd_create("program", MemfdFlags::empty())?);
        io::copy(&mut some_program()?, &mut memory)?;
        memory.flush()?;
        let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
        // Opened to be read only: what is open for writing cannot be executed.
        let readable = File::open(&path)?;
        drop(memory);
        let ended = Command::new(format!("/proc/self/fd/{}", readable.as_raw_fd())).arg(TRIAL_ARGUMENT).stdin(Stdio::null()).status()?;
        if ended.success() { Ok("it ran".to_owned()) } else { Err(Stopped::by(ended.to_string())) }
    });
}
