//! What runs a machine's instructions. That `/dev/kvm` is there proves nothing: inside some virtual machines it is there and no kernel boots
//! with it, or the boot never ends. So one is booted with it, once, and what came of it is remembered.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::launch::Guest;
use super::prepare::hexadecimal;
use super::qemu::PROGRAM;
use super::ready::{Connected, nobodys};
use super::room::Room;
use super::vmm::{Accelerator, Begins, Shape};
use super::{clock, run_in};
use crate::backend::Host;
use crate::backends::microvm::Acceleration;
use crate::error::Error;
use crate::profile::Profile;

/// A kernel boots with the processor's help within half a second; on a busy machine within a few.
const PROOF_LIMIT: Duration = Duration::from_secs(5);

/// Of the machine that proves it.
const PROOF_MEMORY_MB: u32 = 128;

const DEVICE: &str = "/dev/kvm";

/// How long it is believed that it does not work: it may have been a moment without memory or processors, and a proof costs seconds.
const DOUBTED: Duration = Duration::from_secs(60 * 60);

/// The file with the verdict, in the folder of machines.
const VERDICT: &str = "kvm.json";

/// What a boot showed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Verdict {
    /// Everything that it depends on.
    about: String,
    /// Why it does not work, if it does not.
    problem: Option<String>,
}

/// The accelerator, and why it is not the processor itself.
pub(super) async fn choose(host: &Host, wanted: Acceleration, guest: &Guest) -> Result<(Accelerator, String), Error> {
    let problem = match wanted {
        Acceleration::Emulation => Some("the configuration says so".to_owned()),
        Acceleration::Auto | Acceleration::Kvm => problem(host, guest).await?,
    };
    match (problem, wanted) {
        (None, _) => Ok((Accelerator::Kvm, "kvm".to_owned())),
        (Some(problem), Acceleration::Kvm) => Err(without_kvm(&problem)),
        (Some(problem), _) => {
            let khz = tokio::task::spawn_blocking(clock::khz).await;
            let khz = khz.map_err(|_| Error::new("the clock could not be measured, which is a fault of ours"))?;
            Ok((Accelerator::Emulation { khz }, format!("emulated processor: {problem}")))
        }
    }
}

fn without_kvm(problem: &str) -> Error {
    Error::new(format!("kvm does not work here: {problem}")).with_hint(
        "write `accel = \"auto\"`: without kvm the processor is emulated, and programs run some ten times as slowly; kvm is tried again \
                    when something of it is changed, and after an hour",
    )
}

/// Whether this machine has what is wanted; that it works only a boot shows.
pub(super) fn look_round(wanted: Acceleration) -> Result<(), Error> {
    match no_device() {
        Some(problem) if wanted == Acceleration::Kvm => Err(without_kvm(&problem)),
        _ => Ok(()),
    }
}

fn no_device() -> Option<String> {
    (!Path::new(DEVICE).exists()).then(|| format!("there is no {DEVICE}"))
}

/// Why KVM cannot be used, if it cannot.
async fn problem(host: &Host, guest: &Guest) -> Result<Option<String>, Error> {
    if let Some(problem) = no_device() {
        return Ok(Some(problem));
    }
    let (file, about) = (host.machines()?.join(VERDICT), about(guest));
    if let Some(verdict) = known(&file, &about) {
        return Ok(verdict.problem);
    }
    let verdict = Verdict { about, problem: proof(host, guest).await.err() };
    // If it is not remembered, it is found out again.
    let _unwritten = serde_json::to_vec(&verdict).map(|bytes| fs::write(&file, bytes));
    Ok(verdict.problem)
}

/// What was found out before, if it is about the same. That it works holds until something is another; that it does not, for an hour.
fn known(file: &Path, about: &str) -> Option<Verdict> {
    let verdict: Verdict = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let is_fresh = || fs::metadata(file).and_then(|found| found.modified()).is_ok_and(|at| at.elapsed().is_ok_and(|age| age < DOUBTED));
    (verdict.about == about && (verdict.problem.is_none() || is_fresh())).then_some(verdict)
}

/// This boot of this kernel, the device, the monitor, the guest, and who asks.
fn about(guest: &Guest) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let monitor = std::env::split_paths(&paths).find_map(|folder| fs::metadata(folder.join(PROGRAM)).ok());
    let monitor = monitor.map(|found| (found.len(), found.modified().ok()));
    let device = stamp(Path::new(DEVICE));
    let (user, groups) = (rustix::process::geteuid().as_raw(), rustix::process::getgroups().unwrap_or_default());
    let all = format!("{boot} {monitor:?} {device:?} {user} {groups:?} {}", guest.initramfs.display());
    hexadecimal(&Sha256::digest(all))
}

/// Whose it is and who may use it; the time of the last change of that tells also of access control lists.
fn stamp(device: &Path) -> Option<(u32, u32, u32, i64, i64)> {
    let found = fs::metadata(device).ok()?;
    Some((found.mode(), found.uid(), found.gid(), found.ctime(), found.ctime_nsec()))
}

/// Boots a machine to its first word, and ends it.
async fn proof(host: &Host, guest: &Guest) -> Result<(), String> {
    let told = |error: Error| error.to_string();
    let room = Room::new(&run_in(&host.machines().map_err(told)?), PROOF_MEMORY_MB).map_err(told)?;
    let shape = Shape { guest: guest.clone(), memory_mb: PROOF_MEMORY_MB, accelerator: Accelerator::Kvm, folders: Vec::new() };
    let boot = async {
        let mut connected = Connected::new(host, &shape, Begins::Booting, room, &Profile::default(), &nobodys("kvm")).await?;
        connected.booted().await
    };
    // Whoever is not waited for any more is killed. What the monitor said last stands in the error.
    match timeout(PROOF_LIMIT, boot).await {
        Ok(booted) => booted.map(drop).map_err(told),
        Err(_) => Err(format!("a kernel did not boot with it within {PROOF_LIMIT:?}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use std::fs::{File, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn that_it_does_not_work_is_not_believed_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(VERDICT);
        let found = |problem: Option<&str>, age: Duration| {
            let verdict = Verdict { about: "this".to_owned(), problem: problem.map(str::to_owned) };
            fs::write(&file, serde_json::to_vec(&verdict).unwrap()).unwrap();
            File::options().write(true).open(&file).unwrap().set_modified(SystemTime::now() - age).unwrap();
            ["this", "that"].map(|about| known(&file, about).map(|verdict| verdict.problem))
        };
        assert_eq!(found(Some("no memory"), Duration::ZERO), [Some(Some("no memory".to_owned())), None]);
        assert_eq!(found(Some("no memory"), DOUBTED), [None, None]);
        assert_eq!(found(None, DOUBTED * 100), [Some(None), None]);
    }

    #[test]
    fn who_may_use_the_device_is_part_of_what_it_is_about() {
        let device = tempfile::NamedTempFile::new().unwrap();
        let before = stamp(device.path());
        assert_eq!(stamp(device.path()), before);
        fs::set_permissions(device.path(), Permissions::from_mode(0o666)).unwrap();
        assert_ne!(stamp(device.path()), before);
    }
}
