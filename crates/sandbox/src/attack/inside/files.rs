//! Files that were not shown to the program.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{Attack, Stopped, Tried};

/// What people keep in their homes and others would like to have.
const OF_A_HOME: &[&str] = &[".ssh", ".aws", ".gnupg", ".config", ".mozilla", ".netrc", ".bash_history", ".docker/config.json"];

pub(super) fn of_the_user(attack: &Attack<'_>) {
    let given = attack.given;
    attack.attempt("canary file", || read(&given.canary));
    attack.attempt("canary folder", || list(&given.outside));
    attack.attempt("size of the canary file", || Ok(format!("{} bytes", fs::metadata(&given.canary)?.len())));
    let homes = given.home.iter().map(|home| home.as_path()).chain([Path::new("/root")]);
    for home in homes {
        for name in OF_A_HOME {
            let path = home.join(name);
            attack.attempt(&path.display().to_string(), || if path.is_dir() { list(&path) } else { read(&path) });
        }
    }
    let up = given.writable.join("../../../../../../../..");
    attack.attempt("canary through ..", || read(&up.join(given.canary.strip_prefix("/").unwrap_or(&given.canary))));
    attack.attempt("canary through a planted link", || {
        let link = given.writable.join("link");
        symlink(&given.canary, &link)?;
        let got = read(&link);
        fs::remove_file(&link)?;
        got
    });
    attack.attempt("canary through /proc/self/root", || {
        read(&Path::new("/proc/self/root").join(given.canary.strip_prefix("/").unwrap_or(&given.canary)))
    });
    attack.attempt("hard link to the canary", || {
        let link = given.writable.join("hard-link");
        fs::hard_link(&given.canary, &link)?;
        let got = read(&link);
        fs::remove_file(&link)?;
        got
    });
}

pub(super) fn of_the_host(attack: &Attack<'_>) {
    for file in ["/etc/shadow", "/etc/gshadow", "/etc/hostname", "/etc/machine-id", "/etc/sudoers", "/etc/fstab"] {
        attack.attempt(file, || read(Path::new(file)));
    }
    for folder in ["/sys", "/var/log", "/boot", "/home", "/mnt", "/srv"] {
        attack.attempt(folder, || list(Path::new(folder)));
    }
    attack.attempt("users of the host", || {
        let users = fs::read_to_string("/etc/passwd")?;
        let names: Vec<&str> = users.lines().filter_map(|line| line.split(':').next()).collect();
        if names == ["mcp"] { Err(Stopped::by("one user")) } else { Ok(names.join(" ")) }
    });
    attack.attempt("name of the host", || {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if name == "mcp" { Err(Stopped::by("a name of its own")) } else { Ok(name) }
    });
}

pub(super) fn read(path: &Path) -> Tried {
    Ok(String::from_utf8_lossy(&fs::read(path)?).chars().take(200).collect())
}

/// Without the folders that are only the way to something which is shown.
pub(super) fn list_others(folder: &Path, shown: &[PathBuf]) -> Tried {
    let names = fs::read_dir(folder)?.flatten().map(|entry| entry.file_name());
    let others = names.filter(|name| !shown.iter().any(|shown| shown.starts_with(folder.join(name))));
    let others: Vec<String> = others.map(|name| name.to_string_lossy().into_owned()).collect();
    if others.is_empty() { Err(Stopped::by("only the way to what is shown")) } else { Ok(others.join(" ")) }
}

pub(super) fn list(folder: &Path) -> Tried {
    let names: Vec<String> = fs::read_dir(folder)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    Ok(names.join(" "))
}
