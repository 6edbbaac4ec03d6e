//! Another kernel for a test: Debian's, on an emulated processor, with this machine's own files as its root, to read. What a test wants of
//! a kernel that it does not get of the one it runs on: control groups of version 2 alone, another version of Landlock, other settings.
#![allow(clippy::print_stderr, reason = "a fetch says what it is doing")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use sallyport_sandbox::microvm;
use serde_json::Value;

/// An instruction takes four nanoseconds of the kernel's time, however busy this machine is, and its counter counts those: deadlines inside
/// do not pass while nothing is done there.
const CLOCK: &str = "shift=2,sleep=on";
const KERNEL: &str = "console=ttyS0 reboot=t panic=-1 quiet loglevel=0 mitigations=off random.trust_cpu=on cryptomgr.notests nokaslr audit=0 \
     apparmor=0 ima=off i8042.nokbd i8042.noaux nowatchdog tsc=reliable tsc_early_khz=1000000 lpj=4000000";

/// What mounts the root, in the order in which they need each other; a kernel may have some built in.
const MODULES: &[&str] = &["virtio_ring", "virtio", "virtio_mmio", "netfs", "fscache", "9pnet", "9pnet_virtio", "9p"];

/// PID 1 until the root is there. The machine ends with the program that it becomes.
const INIT: &str = r#"#!/busybox sh
/busybox mkdir -p /proc /root
/busybox mount -t proc none /proc
for module in $MODULES; do [ -f /$module.ko ] && /busybox insmod /$module.ko; done
/busybox mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,msize=524288,ro root /root
/busybox umount /proc
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec /busybox switch_root /root /usr/bin/python3 $COMMAND
"#;

/// Boots one and has it run a Python script as its init, root, with nothing mounted but the root; gives the lines of JSON that it prints.
/// No word may hold a space. `settings` are more of the kernel's command line.
pub(crate) fn run(script: &Path, arguments: &[&str], settings: &str) -> Vec<Value> {
    let (guest, folder) = (prepared(), tempfile::tempdir().unwrap());
    let initramfs = initramfs(&guest, &busybox(), folder.path(), &[&[script.to_str().unwrap()], arguments].concat().join(" "));
    let output = Command::new("qemu-system-x86_64")
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"])
        .args(["-M", "microvm,isa-serial=on,rtc=on", "-m", "768M", "-smp", "1", "-cpu", "max"])
        .args(["-accel", "tcg,thread=single,tb-size=128", "-icount", CLOCK])
        .args(["-fsdev", "local,id=root,security_model=none,multidevs=remap,readonly=on,path=/"])
        .args(["-device", "virtio-9p-device,fsdev=root,mount_tag=root"])
        .arg("-kernel")
        .arg(guest.join("vmlinux"))
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", &format!("{KERNEL} {settings}")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (said, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let told: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(!told.is_empty(), "the kernel said: {said}\n{stderr}");
    told
}

fn initramfs(guest: &Path, busybox: &Path, folder: &Path, command: &str) -> PathBuf {
    let made = folder.join("root");
    fs::create_dir(&made).unwrap();
    fs::copy(busybox, made.join("busybox")).unwrap();
    for module in MODULES.iter().map(|module| format!("{module}.ko")).filter(|module| guest.join(module).exists()) {
        fs::copy(guest.join(&module), made.join(module)).unwrap();
    }
    let init = made.join("init");
    fs::write(&init, INIT.replace("$MODULES", &MODULES.join(" ")).replace("$COMMAND", command)).unwrap();
    fs::set_permissions(&init, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let names: Vec<String> = fs::read_dir(&made).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let archive = folder.join("initramfs");
    let mut cpio = Command::new("cpio")
        .args(["--create", "--format=newc", "--quiet"])
        .current_dir(&made)
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&archive).unwrap())
        .spawn()
        .unwrap();
    cpio.stdin.take().unwrap().write_all(names.join("\n").as_bytes()).unwrap();
    assert!(cpio.wait().unwrap().success());
    archive
}

/// Where what tests fetch is kept, locked against another test that fetches the same.
fn peers() -> (PathBuf, fs::File) {
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let peers = std::env::var_os("SALLYPORT_PEERS").map_or_else(|| repository.join(".peers"), PathBuf::from);
    fs::create_dir_all(&peers).unwrap();
    let lock = fs::File::create(peers.join("microvm.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    (std::path::absolute(peers).unwrap(), lock)
}

/// The kernel of all tests, fetched once.
pub(crate) fn prepared() -> PathBuf {
    let (peers, _lock) = peers();
    let guest = peers.join("microvm");
    if !microvm::prepared(&guest).is_ok_and(|prepared| prepared.writes) {
        microvm::prepare(&microvm::Source::Package, &guest, &|doing| eprintln!("{doing}")).unwrap();
    }
    guest
}

/// A shell and the programs of an init, linked statically; fetched once.
fn busybox() -> PathBuf {
    let (peers, _lock) = peers();
    let kept = peers.join("busybox");
    if !kept.exists() {
        let folder = tempfile::tempdir_in(&peers).unwrap();
        let unpacked = "apt-get download busybox-static && dpkg-deb -x busybox-static_*.deb . && mv bin/busybox \"$0\"";
        let fetched = Command::new("sh").args(["-c", unpacked]).arg(&kept).current_dir(folder.path()).output().unwrap();
        assert!(kept.exists(), "busybox-static: {}", String::from_utf8_lossy(&fetched.stderr));
    }
    kept
}
