//! What makes a machine of a kernel: file systems, drivers, the root that the program sees.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_move};
use rustix::process::{chdir, chroot, umask};
use rustix::system::{finit_module, sethostname, uname};
use sallyport_guest::{CONTROL_PORT, Start, ToHost, VERSION, folder_tag};

use crate::control::Control;
use crate::port;
use crate::step::{Failed, Step};

/// The drivers, in the order in which they need each other.
const MODULES: &str = "/modules.txt";

/// The disk with everything that the program sees.
const DISK: &str = "/dev/vda";
const DISK_LIMIT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Where the program's root stands until it replaces the first one.
const STAGE: &str = "/root";

/// The devices that programs count on, with their numbers.
const DEVICES: [(&str, u32, u32); 5] = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)];

/// Of a folder that the monitor serves. `cache=mmap` keeps nothing but what is mapped, so that both sides see each other's changes at once, and
/// files can be mapped to be written, as databases do. Half a megabyte at a time: fewer turns through an emulated port.
const FOLDER: &CStr = c"trans=virtio,version=9p2000.L,cache=mmap,msize=524288";

/// From the kernel's jump to the first word on the control port.
pub(crate) fn boot() -> Result<Control, Failed> {
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("dev", "/dev", "devtmpfs", quiet, None).step("mount /dev")?;
    mount("sys", "/sys", "sysfs", quiet | MountFlags::NODEV, None).step("mount /sys")?;
    for module in fs::read_to_string(MODULES).step("read the list of modules")?.lines() {
        load(module).step(&format!("load {module}"))?;
    }
    let control = Control::new(port::open(CONTROL_PORT).step("open the control port")?);
    let kernel = uname().release().to_string_lossy().into_owned();
    control.tell(&ToHost::Hello { version: VERSION, kernel });
    Ok(control)
}

fn load(module: &str) -> Result<(), Errno> {
    let file = File::open(module).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    match finit_module(file.as_fd(), c"", 0) {
        Err(Errno::EXIST) => Ok(()), // built in, or loaded by another one
        loaded => loaded,
    }
}

/// Makes the disk the root, with the file systems that are the machine's own; enters it for good.
pub(crate) fn enter_root(start: &Start) -> Result<(), Failed> {
    wait_for(DISK).step("find the disk")?;
    umask(Mode::from_raw_mode(0o022));
    let closed = MountFlags::NOSUID | MountFlags::NODEV;
    mount(DISK, STAGE, "erofs", closed | MountFlags::RDONLY, None).step("mount the disk")?;
    chdir(STAGE).step("enter the disk")?;
    mount("proc", "proc", "proc", closed | MountFlags::NOEXEC, Some(c"hidepid=2")).step("mount /proc")?;
    temporary("tmp", start.tmp_mb, start.tmp_files)?;
    for (number, folder) in start.write.iter().enumerate() {
        writable(number, Path::new(OsStr::from_bytes(folder)), start.exec_in_write)?;
    }
    devices(start)?;
    mount_move(".", "/").step("move the root")?;
    chroot(".").and_then(|()| chdir("/")).step("change the root")?;
    sethostname(b"mcp").step("name the host")
}

fn wait_for(path: &str) -> io::Result<()> {
    let begun = Instant::now();
    while !Path::new(path).exists() {
        if begun.elapsed() > DISK_LIMIT {
            return Err(io::ErrorKind::NotFound.into());
        }
        sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Mounts one of the host's folders where it lies on the host: the disk has an empty one there.
fn writable(number: usize, folder: &Path, exec: bool) -> Result<(), Failed> {
    let flags = if exec { MountFlags::empty() } else { MountFlags::NOEXEC };
    let place = folder.strip_prefix("/").unwrap_or(folder);
    mount(folder_tag(number), place, "9p", flags | MountFlags::NOSUID | MountFlags::NODEV, Some(FOLDER))
        .step(&format!("mount {}", folder.display()))
}

fn temporary(place: &str, megabytes: u32, files: u32) -> Result<(), Failed> {
    let closed = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    tmpfs(place, &format!("size={megabytes}m,nr_inodes={files},mode=1777"), closed).step(&format!("mount /{place}"))
}

/// Five devices and what programs expect beside them; the machine's disk and ports are not among them.
fn devices(start: &Start) -> Result<(), Failed> {
    tmpfs("dev", "size=64k,nr_inodes=32,mode=755", MountFlags::NOSUID | MountFlags::NOEXEC).step("mount /dev")?;
    for (name, major, minor) in DEVICES {
        let (path, mode) = (format!("dev/{name}"), Mode::from_raw_mode(0o666));
        let device = rustix::fs::makedev(major, minor);
        // The umask does not hold for what everybody is to write.
        mknodat(CWD, &path, FileType::CharacterDevice, mode, device)
            .and_then(|()| rustix::fs::chmod(&path, mode))
            .step(&format!("make /{path}"))?;
    }
    for (name, target) in
        [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")]
    {
        symlinkat(target, CWD, format!("dev/{name}")).step("make the links in /dev")?;
    }
    fs::create_dir("dev/shm").step("make /dev/shm")?;
    temporary("dev/shm", start.shm_mb, start.tmp_files)
}

fn tmpfs(place: &str, options: &str, flags: MountFlags) -> Result<(), Errno> {
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    mount("tmpfs", place, "tmpfs", flags, Some(options.as_c_str()))
}
