//! The project that the program may write: what runs from there on the host later, and what the gateway reads in it.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{CWD, RenameFlags, rename, renameat_with};

use super::{Attack, Stopped, Tried, raw, report_fault};

/// In the writable folder: now a folder with a file in it, now a link to where the canary is.
pub(in crate::attack) const SWAPPED: &str = "swapped";
const OTHER: &str = "other";

/// What no file there has.
const MODE: u32 = 0o777;

pub(super) fn race(attack: &Attack<'_>) {
    let (swapped, other) = (attack.given.writable.join(SWAPPED), attack.given.writable.join(OTHER));
    let name = attack.given.canary.file_name().map(PathBuf::from).unwrap_or_default();
    let prepared = fs::create_dir(&swapped)
        .and_then(|()| fs::write(swapped.join(&name), "harmless"))
        .and_then(|()| symlink(&attack.given.outside, &other));
    report_fault("the race is prepared", prepared);
    attack.attempt("a folder swapped for a link", || {
        raw::start(|| {
            let start = Instant::now();
            while start.elapsed() < attack.given.race {
                let exchanged = renameat_with(CWD, &swapped, CWD, &other, RenameFlags::EXCHANGE);
                // Not every file system can: then there is nothing at the path for a moment.
                let _lost_at_most = exchanged.or_else(|_| swap(&swapped, &other));
            }
        })?;
        Err(Stopped::by("the gateway never followed it"))
    });
}

fn swap(one: &Path, other: &Path) -> rustix::io::Result<()> {
    let aside = one.with_extension("aside");
    rename(one, &aside).and_then(|()| rename(other, one)).and_then(|()| rename(&aside, other))
}

pub(super) fn plant(attack: &Attack<'_>) {
    let writable = &attack.given.writable;
    for entry in &attack.given.deny_write {
        let path = writable.join(entry);
        if path.is_dir() {
            attack.attempt(&format!("a file in {entry}"), || write_new(&path.join("planted")));
        } else {
            attack.attempt(&format!("write {entry}"), || {
                Ok(File::options().append(true).create(true).open(&path).map(|_| "opened".to_owned())?)
            });
        }
        attack.attempt(&format!("remove {entry}"), || remove(&path));
        attack.attempt(&format!("move {entry} away"), || Ok(fs::rename(&path, writable.join("moved")).map(|()| "moved".to_owned())?));
        attack.attempt(&format!("move another one to {entry}"), || {
            fs::write(writable.join("mine"), "planted")?;
            Ok(fs::rename(writable.join("mine"), &path).map(|()| "moved".to_owned())?)
        });
        attack.attempt(&format!("a link in the place of {entry}"), || Ok(symlink("mine", &path).map(|()| "linked".to_owned())?));
        attack.attempt(&format!("another mode of {entry}"), || {
            fs::set_permissions(&path, fs::Permissions::from_mode(MODE))?;
            // gVisor says that it went well, and asks the host in vain.
            let has_changed = fs::metadata(&path)?.mode() & 0o7777 == MODE;
            if has_changed { Ok("changed".to_owned()) } else { Err(Stopped::by("it keeps its mode")) }
        });
    }
    attack.attempt("move the folder above away", || {
        Ok(fs::rename(writable.join(".git"), writable.join("moved")).map(|()| "moved".to_owned())?)
    });
}

fn write_new(path: &Path) -> Tried {
    File::create_new(path)?;
    Ok("made".to_owned())
}

fn remove(path: &Path) -> Tried {
    if path.is_dir() {
        fs::remove_dir(path)?
    } else {
        fs::remove_file(path)?
    };
    Ok("removed".to_owned())
}
