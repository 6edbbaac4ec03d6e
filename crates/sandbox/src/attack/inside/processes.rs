//! Other processes: their environments, roots, memory, and what can be sent to them.

use std::fs;
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;

use rustix::process::{Pid, Signal, getpid, kill_process, test_kill_process};

use super::files::{list, read};
use super::{Attack, Stopped, Tried, in_child, raw, refused};

const INIT: u32 = 1;

pub(super) fn environments(attack: &Attack<'_>) {
    for process in [INIT, attack.given.gateway, attack.given.neighbour_pid] {
        attack.attempt(&format!("environment of {}", who(attack, process)), || of_other(process, "environ"));
    }
    attack.attempt("environment of anybody", || {
        let found: Vec<String> = others().into_iter().filter_map(|process| of_other(process, "environ").ok()).collect();
        if found.is_empty() { Err(Stopped::by("nobody's")) } else { Ok(found.join(" ")) }
    });
    attack.attempt("that the gateway is there", || {
        fs::metadata(Path::new("/proc").join(attack.given.gateway.to_string()))?;
        if is_own(attack.given.gateway) { Err(Stopped::by("that number is its own")) } else { Ok("it is".to_owned()) }
    });
    attack.attempt("processes of the host", || {
        let others = others();
        if others.is_empty() { Err(Stopped::by("only itself")) } else { Ok(format!("{} of them", others.len())) }
    });
}

/// Pids differ from run to run: a report names roles.
fn who(attack: &Attack<'_>, process: u32) -> &'static str {
    match process {
        INIT => "init",
        _ if process == attack.given.gateway => "the gateway",
        _ => "another server",
    }
}

/// A number of the host may be this program's own inside.
pub(super) fn of_other(process: u32, file: &str) -> Tried {
    if is_own(process) {
        return Err(Stopped::by("that number is its own"));
    }
    read(&Path::new("/proc").join(process.to_string()).join(file))
}

fn is_own(process: u32) -> bool {
    process == std::process::id()
}

fn others() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|process| !is_own(*process)).collect()
}

pub(super) fn ways_back(attack: &Attack<'_>) {
    for process in [INIT, attack.given.gateway].into_iter().filter(|process| !is_own(*process)) {
        for link in ["root", "cwd", "fd"] {
            let path = Path::new("/proc").join(process.to_string()).join(link);
            attack.attempt(&format!("{link} of {}", who(attack, process)), || list(&path));
        }
    }
    descriptors(attack);
}

pub(super) fn descriptors(attack: &Attack<'_>) {
    attack.attempt("open descriptors", || {
        let Ok(listed) = fs::read_dir("/proc/self/fd") else { return beyond_the_first_three() };
        let open: Vec<i32> = listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        // The one that lists them is among them, and closed by now.
        let others = open.into_iter().filter(|descriptor| *descriptor > 2);
        let targets = others.filter_map(|descriptor| fs::read_link(format!("/proc/self/fd/{descriptor}")).ok());
        let targets: Vec<String> = targets.map(|target| target.display().to_string()).collect();
        if targets.is_empty() { Err(Stopped::by("only 0 to 2")) } else { Ok(targets.join(" ")) }
    });
}

/// Where there is no list of them.
fn beyond_the_first_three() -> Tried {
    const MOST: i32 = 4096;
    let open: Vec<String> = (3..MOST).filter(|descriptor| raw::is_open(*descriptor)).map(|descriptor| descriptor.to_string()).collect();
    if open.is_empty() { Err(Stopped::by("only 0 to 2")) } else { Ok(open.join(" ")) }
}

pub(super) fn own_environment(attack: &Attack<'_>) {
    attack.attempt("variables that were not named", || {
        let expected = |name: &String| ["HOME", "LANG", "PATH"].contains(&name.as_str()) || attack.given.variables.contains(name);
        let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        let others: Vec<String> = names.filter(|name| !expected(name)).collect();
        if others.is_empty() { Err(Stopped::by("only what was named")) } else { Ok(others.join(" ")) }
    });
}

pub(super) fn memory(attack: &Attack<'_>) {
    attack.attempt(raw::BE_TRACED.name, || in_child(|| refused(raw::BE_TRACED.make(0)).map(drop)));
    for process in [INIT, attack.given.gateway, attack.given.neighbour_pid].into_iter().filter(|process| !is_own(*process)) {
        for call in raw::OTHER_PROCESSES {
            // In a child: whatever is traced is let go when its tracer ends.
            attack.attempt(&format!("{} of {}", call.name, who(attack, process)), || in_child(|| refused(call.make(process)).map(drop)));
        }
        attack.attempt(&format!("memory file of {}", who(attack, process)), || {
            fs::File::options().read(true).write(true).open(format!("/proc/{process}/mem"))?;
            Ok("opened".to_owned())
        });
    }
}

pub(super) fn signals(attack: &Attack<'_>) {
    let (gateway, neighbour) = (attack.given.gateway, attack.given.neighbour_pid);
    // That one may be signalled is all that is tried where something of the host could be hit; CONT does nothing to who runs.
    for process in [INIT, gateway] {
        attack.attempt(&format!("CONT to {}", who(attack, process)), || send(process, Signal::CONT));
        attack.attempt(&format!("a signal to {}", who(attack, process)), || {
            if is_own(process) {
                return Err(Stopped::by("that number is its own"));
            }
            Ok(test_kill_process(pid(process)?).map(|()| "may be sent".to_owned())?)
        });
    }
    for (name, signal) in [("STOP", Signal::STOP), ("KILL", Signal::KILL)] {
        attack.attempt(&format!("{name} to another server"), || send(neighbour, signal));
    }
    // `kill` of everybody says that it went well also where it reached nobody.
    attack.attempt("a signal to anybody", || {
        let may = |process: &u32| !is_own(*process) && pid(*process).is_ok_and(|process| test_kill_process(process).is_ok());
        let reached = (INIT..gateway.max(neighbour).saturating_add(BEYOND)).filter(may).count();
        if reached == 0 { Err(Stopped::by("nobody")) } else { Ok(format!("may be sent to {reached}")) }
    });
}

/// Numbers of processes that are younger than those that are known.
const BEYOND: u32 = 4096;

fn send(process: u32, signal: Signal) -> Tried {
    if is_own(process) {
        return Err(Stopped::by("that number is its own"));
    }
    kill_process(pid(process)?, signal)?;
    Ok("sent".to_owned())
}

fn pid(process: u32) -> Result<Pid, Stopped> {
    let number = i32::try_from(process).ok().and_then(Pid::from_raw);
    number.ok_or_else(|| Stopped::by("no such process"))
}

pub(super) fn neighbour(attack: &Attack<'_>) {
    let neighbour = &attack.given.neighbour;
    for folder in ["/tmp", "/dev/shm"] {
        attack.attempt(&format!("its file in {folder}"), || read(&Path::new(folder).join(&neighbour.file)));
    }
    attack.attempt("its abstract socket", || connect_abstract(&neighbour.abstract_socket));
    attack.attempt("its process", || send(attack.given.neighbour_pid, Signal::CONT));
    attack.attempt("any process but its own", || {
        let own = getpid().as_raw_nonzero().get().unsigned_abs();
        let others: Vec<u32> = others().into_iter().filter(|process| *process != own).collect();
        if others.is_empty() { Err(Stopped::by("none")) } else { Ok(format!("{} of them", others.len())) }
    });
}

pub(super) fn connect_abstract(name: &str) -> Tried {
    let stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    stream.shutdown(Shutdown::Both)?;
    Ok("connected".to_owned())
}
