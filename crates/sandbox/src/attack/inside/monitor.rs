//! The monitor of a machine: from inside that, and from its own place, where whoever has broken it is.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::files::{list, list_others, read};
use super::kernel::open;
use super::{Attack, Tried, raw};
use crate::attack::wire::Machines;

pub(super) fn reach(attack: &Attack<'_>) {
    match &attack.given.machines {
        None => from_inside(attack),
        Some(machines) => from_its_place(attack, machines),
    }
}

/// The machine's ports, by which the monitor and the host hear, and its memory.
fn from_inside(attack: &Attack<'_>) {
    let names = fs::read_dir("/dev").into_iter().flatten().flatten().map(|entry| entry.file_name());
    let ports: Vec<PathBuf> =
        names.filter(|name| name.to_string_lossy().starts_with("vport")).map(|name| Path::new("/dev").join(name)).collect();
    for port in ports.iter().map(PathBuf::as_path).chain(["/dev/vport0p1", "/dev/hvc0", "/dev/mem", "/dev/vda"].map(Path::new)) {
        attack.attempt(&port.display().to_string(), || open(port));
    }
    for file in ["/proc/iomem", "/proc/kcore", "/sys/class/virtio-ports"] {
        attack.attempt(file, || {
            let text = fs::read_to_string(file)?;
            // Whoever may not see addresses reads zeros.
            let addresses = text.lines().filter(|line| !line.trim_start().starts_with("00000000-00000000")).count();
            if addresses == 0 { Err(super::Stopped::by("no address is shown")) } else { Ok(format!("{addresses} addresses")) }
        });
    }
    attack.calls_in_child(raw::PORTS, 0);
}

/// Another machine, whose folder and memory have names of their own, and what all machines are made of.
fn from_its_place(attack: &Attack<'_>, machines: &Machines) {
    let Machines { other, memory, sockets, kernel } = machines;
    let all = other.parent().unwrap_or(other);
    attack.attempt("folder of all machines", || list_others(all, &shown(machines)?));
    attack.attempt("folder of another machine", || list(other));
    let memory = other.join(memory);
    attack.attempt("memory of another machine", || read(&memory));
    attack.attempt("writing memory of another machine", || {
        File::options().write(true).open(&memory)?;
        Ok("opened".to_owned())
    });
    attack.attempt("a link to the memory of another machine", || {
        fs::hard_link(&memory, "link")?;
        Ok("linked".to_owned())
    });
    for socket in sockets {
        attack.attempt(&format!("socket {socket} of another machine"), || {
            UnixStream::connect(other.join(socket))?;
            Ok("connected".to_owned())
        });
    }
    attack.attempt("saved machines", || list(&all.with_file_name("templates")));
    attack.attempt("another kernel for all machines", || replace(kernel));
    attack.attempt("a file beside the kernel", || {
        File::create_new(kernel.with_file_name("new"))?;
        Ok("made".to_owned())
    });
}

/// What a monitor sees of machines: its own folder, and the kernel.
pub(super) fn shown(machines: &Machines) -> std::io::Result<[PathBuf; 2]> {
    Ok([std::env::current_dir()?, machines.kernel.clone()])
}

fn replace(file: &Path) -> Tried {
    File::options().write(true).open(file)?;
    Ok("opened to be written".to_owned())
}
