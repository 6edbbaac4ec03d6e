//! A bundle: one container's `config.json`, which says in the runtime's words what the profile says, and the folder it lies in.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sallyport_telemetry::state_folder::private_folder;
use serde_json::{Value, json};

use super::image::Image;
use super::runtime::Known;
use super::{seccomp, text_of};
use crate::cgroup::{self, PERIOD, SHARES};
use crate::egress::synthetic;
use crate::error::Error;
use crate::launch::unprivileged_id;
use crate::policy::{Access, Around, Target, View};
use crate::profile::{Limits, Network, Profile, Program};
use crate::turn;

/// Where runtimes put the control groups of our containers, in each hierarchy.
const GROUPS: &str = "sallyport-oci";

/// The file beside the folders whose lock is held by whoever makes or sweeps one.
const TURN: &str = "lock";

/// Reads and writes of the kernel's own settings, as container engines mask them.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// One container's folder. Dropping it removes the folder and what the runtime left outside of it.
#[derive(Debug)]
pub(super) struct Bundle {
    place: PathBuf,
    id: String,
    /// Held as long as the gateway lives: a folder whose lock is free was left by one that was killed.
    _lock: File,
}

/// Removes what gateways that are gone have left.
fn sweep(all: &Path) {
    for left in fs::read_dir(all).into_iter().flatten().flatten() {
        let Ok(lock) = File::open(left.path().join("lock")) else { continue };
        if lock.try_lock().is_ok() {
            remove(&left.path(), &left.file_name().to_string_lossy());
        }
    }
}

fn remove(place: &Path, name: &str) {
    remove_groups(&id_of(name));
    if let Err(error) = fs::remove_dir_all(place) {
        tracing::warn!(%error, place = %place.display(), "the folder of a container cannot be removed");
    }
}

/// Removes what gateways that were killed have left; does nothing where there never was a container.
pub(super) fn clear(state: &Path) {
    let all = folder_of(state);
    let Ok(turn) = File::options().write(true).open(all.join(TURN)) else { return };
    if turn::take_now(&turn) {
        sweep(&all);
    }
}

/// Where all containers have their folders.
fn folder_of(state: &Path) -> PathBuf {
    state.join("oci")
}

/// Removes the container's control groups. The processes in them have ended, or do just now, with the gateway.
fn remove_groups(id: &str) {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let groups = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).map(|hierarchy| hierarchy.join(GROUPS).join(id));
    // Missing where the runtime made none, or removed it itself.
    groups.filter(|group| group.is_dir()).for_each(|group| cgroup::remove(&group));
}

fn id_of(name: &str) -> String {
    format!("sallyport-{name}")
}

impl Bundle {
    /// A new folder for one container. Those of gateways that were killed are removed first.
    pub(super) fn reserve(state: &Path) -> Result<Self, Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let all = folder_of(state);
        private_folder(&all).map_err(|error| Error::new(error.to_string()).with_hint(error.hint()))?;
        let name = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let place = all.join(&name);
        let reserve = || {
            // One at a time: a folder whose lock is not held yet would look left behind.
            let turn = File::create(all.join(TURN))?;
            turn::take(&turn, turn::SHORT)?;
            sweep(&all);
            DirBuilder::new().mode(0o700).create(&place)?;
            fs::create_dir(place.join("mount"))?;
            let lock = File::create(place.join("lock"))?;
            lock.lock()?;
            Ok(lock)
        };
        let lock = reserve().map_err(|cause| Error::io(format_args!("folder {} cannot be made", place.display()), &cause))?;
        Ok(Self { id: id_of(&name), _lock: lock, place })
    }

    /// Writes what the runtime is to start.
    pub(super) fn write(&self, image: &Image, view: &View, profile: &Profile, program: &Program, runtime: Known) -> Result<(), Error> {
        let io = |cause: std::io::Error| Error::io(format_args!("bundle {} cannot be written", self.place.display()), &cause);
        for (file, text) in own_files(&profile.network) {
            let path = self.place.join(file);
            fs::write(&path, text).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o444))).map_err(io)?;
        }
        let config = self.config(image, view, profile, program, runtime)?;
        // It holds the program's variables; the folder is private.
        fs::write(self.place.join("config.json"), serde_json::to_vec(&config).map_err(|error| io(error.into()))?).map_err(io)
    }

    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    fn config(&self, image: &Image, view: &View, profile: &Profile, program: &Program, runtime: Known) -> Result<Value, Error> {
        let owner = owner(view, program)?;
        let Target { path, args, env, cwd } = image.target(profile, program)?;
        let args = [vec![text_of(&path)?], args].concat();
        let mut mounts = own_mounts(&profile.limits);
        for file in own_files(&profile.network).iter().map(|(file, _)| *file) {
            mounts.push(bind(&self.place.join(file), &format!("/etc/{file}"), &["ro"])?);
        }
        for (number, tree) in view.outermost().enumerate() {
            let access: &[&str] = match tree.access {
                Access::System | Access::Read | Access::Hidden => &["ro"],
                // What is written cannot be executed, what is executed cannot be written.
                Access::Write if !view.exec_in_write => &["rw", "noexec"],
                Access::Write => &["rw"],
            };
            mounts.push(bind(&Around::mount_of(&self.place, number), &text_of(&tree.path)?, access)?);
        }
        let mut linux = json!({
            "namespaces": namespaces(runtime),
            "cgroupsPath": format!("/{GROUPS}/{}", self.id),
            "resources": {
                "devices": [{ "allow": false, "access": "rwm" }],
                "memory": { "limit": bytes(profile.limits.memory_mb) },
                "pids": { "limit": profile.limits.processes },
                "cpu": processor(&profile.limits),
            },
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        });
        if runtime != Known::Runsc {
            linux["seccomp"] = seccomp::profile(&profile.seccomp); // gVisor's own kernel answers the program's calls
        }
        Ok(json!({
            "ociVersion": "1.0.2",
            "root": { "path": text_of(&self.place.join("mount/root"))?, "readonly": true },
            "hostname": "mcp",
            "mounts": mounts,
            "linux": linux,
            "process": {
                "terminal": false,
                "user": { "uid": owner, "gid": owner },
                "args": args,
                "env": env.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect::<Vec<_>>(),
                "cwd": text_of(&cwd)?,
                "noNewPrivileges": true,
                "capabilities": { "bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": [] },
                "rlimits": rlimits(&profile.limits),
            },
        }))
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let name = self.place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        remove(&self.place, &name);
    }
}

/// All but the network's, in which the container stays; gVisor makes its own, empty.
fn namespaces(runtime: Known) -> Value {
    let mut kinds = vec!["mount", "pid", "ipc", "uts"];
    if !runtime.shares_network() {
        kinds.push("network");
    }
    kinds.into_iter().map(|kind| json!({ "type": kind })).collect()
}

/// Files in `/etc` that are the boundary's and not the image's.
fn own_files(network: &Network) -> Vec<(&'static str, String)> {
    let mut files = vec![("hosts", "127.0.0.1 localhost mcp\n::1 localhost\n".to_owned())];
    if matches!(network, Network::Only(_)) {
        files.push(("resolv.conf", format!("nameserver {}\noptions timeout:2 attempts:2\n", synthetic::GATEWAY)));
    }
    files
}

/// Whom the program runs as: the owner of the first folder that it may write, else an id that nobody has.
fn owner(view: &View, program: &Program) -> Result<u32, Error> {
    let written = view.trees.iter().find(|tree| tree.access == Access::Write);
    let Some(path) = written.map(|tree| &tree.path) else { return Ok(unprivileged_id(&program.name, &program.scope)) };
    let found = fs::metadata(path).map_err(|cause| Error::io(format_args!("root {} cannot be shown", path.display()), &cause))?;
    if found.uid() == 0 {
        return Err(Error::new(format!("root {} to write belongs to root, whom no container is run as", path.display()))
            .with_hint("give the folder to the user for whom the server works (`chown`)"));
    }
    Ok(found.uid())
}

fn bind(source: &Path, destination: &str, access: &[&str]) -> Result<Value, Error> {
    // With what is mounted below it, on which the launcher has set the same flags.
    let options = [&["rbind", "rprivate", "nosuid", "nodev"], access].concat();
    Ok(json!({ "type": "bind", "source": text_of(source)?, "destination": destination, "options": options }))
}

fn own_mounts(limits: &Limits) -> Vec<Value> {
    let scratch = |destination: &str, megabytes: u32| {
        let options = ["nosuid", "nodev", "noexec", "mode=1777", "nr_inodes=16k", &format!("size={megabytes}m")];
        json!({ "type": "tmpfs", "source": "tmpfs", "destination": destination, "options": options })
    };
    vec![
        json!({ "type": "proc", "source": "proc", "destination": "/proc", "options": ["nosuid", "nodev", "noexec"] }),
        json!({ "type": "tmpfs", "source": "tmpfs", "destination": "/dev", "options": ["nosuid", "strictatime", "mode=755", "size=64k"] }),
        scratch("/tmp", limits.tmp_mb),
        scratch("/dev/shm", limits.shm_mb),
    ]
}

fn rlimits(limits: &Limits) -> Value {
    let limit = |name: &str, value: u64| json!({ "type": name, "soft": value, "hard": value });
    json!([
        limit("RLIMIT_NOFILE", limits.open_files.into()),
        limit("RLIMIT_FSIZE", bytes(limits.file_mb)),
        limit("RLIMIT_DATA", bytes(limits.memory_mb)),
        limit("RLIMIT_CORE", 0),
    ])
}

/// Shares and a quota, as our own groups have them; the runtime turns shares into what version 2 calls weight.
fn processor(limits: &Limits) -> Value {
    let shares = u64::from(limits.cpu_weight) * SHARES / 100;
    match limits.cpus {
        Some(cpus) => json!({ "shares": shares, "quota": cpus.quota(PERIOD), "period": PERIOD }),
        None => json!({ "shares": shares }),
    }
}

fn bytes(megabytes: u32) -> u64 {
    u64::from(megabytes) * 1024 * 1024
}
