//! Works out what of the host's files a program sees: the system's trees, what the profile names, and what the program
//! itself cannot do without.

mod deny;
mod needs;
mod view;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::policy::{Access, Target, View};
use crate::profile::{EnvText, Network, Profile, Program};
use view::ViewBuilder;

/// Read-only and executable, wherever they exist. `/nix/store` is the system of NixOS.
const SYSTEM_TREES: &[&str] = &["/usr", "/lib", "/lib64", "/bin", "/sbin", "/nix/store"];

/// Of `/etc`, what the loader, time zones and TLS need; never `/etc/ssl` whole, which holds private keys.
const SYSTEM_FILES: &[&str] = &[
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates/extracted",
];

/// With a network, the names of ports and protocols.
const NETWORK_FILES: &[&str] = &["/etc/services", "/etc/protocols"];

/// With the host's network, what looking up a name needs. `resolv.conf` is a symbolic link on many hosts.
const HOST_NETWORK_FILES: &[&str] = &["/etc/resolv.conf", "/etc/hosts"];

/// Never shown by being named: the boundary makes its own.
const OWN_TREES: &[&str] = &["/proc", "/sys", "/dev"];

/// The folders searched after those where the program and its interpreters were found.
const STANDARD_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What the program sees, what is executed, and what of the view is not there yet: it must be covered before.
pub(crate) fn resolve(profile: &Profile, program: &Program) -> Result<(View, Target, Vec<PathBuf>), Error> {
    let mut builder = ViewBuilder::default();
    add_system(&mut builder, profile);
    add_roots(&mut builder, profile)?;
    let absent = deny::add(&mut builder, profile);
    if let Some(room) = &program.room {
        builder.add_root(room, Access::Write).map_err(|cause| Error::io("the room of a program cannot be shown", &cause))?;
    }

    let path = locate(program)?;
    let needs = needs::of(&path, program, &search_path(program), &builder);
    for tree in &needs.trees {
        builder.add_if_there(tree, Access::Read);
    }
    hide(&mut builder, profile);
    let view = View { exec_in_write: profile.exec_in_write, ..builder.finish() };
    let cwd = starting_folder(profile, program, &view)?;
    let target = Target { path, args: program.args.clone(), env: environment(program, &needs.folders, Path::new("/tmp")), cwd };
    Ok((view, target, absent))
}

/// Refuses a script whose interpreter it would not find: the kernel's own word for that is that the script is not there.
pub(crate) fn check_interpreter(program: &Program, view: &View, target: &Target) -> Result<(), Error> {
    let script = |names: &str| Error::new(format!("program {} of server {} is a script for {names}", target.path.display(), program.name));
    let is_shown = |path: &Path| view::walk(path).is_ok_and(|walk| view.shows(&walk.canonical));
    match needs::named(&target.path) {
        Some(needs::Named::File(file)) if !file.is_file() => {
            Err(script(&format!("{}, which is not there", file.display())).with_hint("install it, or correct the first line of the script"))
        }
        Some(needs::Named::File(file)) if !is_shown(&file) => {
            let hint = format!("add {:?} to what the server may `read`", needs::to_read(&file));
            Err(script(&format!("{}, which it does not see", file.display())).with_hint(hint))
        }
        Some(needs::Named::Program(name)) => {
            let path = target.env.get("PATH").map(EnvText::expose).unwrap_or_default();
            let found = std::env::split_paths(path).map(|folder| folder.join(&name)).any(|file| is_executable(&file) && is_shown(&file));
            let hint = format!("install {name}; or add its folder to PATH in the server's `env`, and to what the server may `read`");
            if found { Ok(()) } else { Err(script(&format!("{name}, which is in no folder of its PATH that it sees")).with_hint(hint)) }
        }
        _ => Ok(()),
    }
}

/// What the profile itself names, for a boundary that brings its own system and program; and what of it is not there yet.
pub(crate) fn named(profile: &Profile) -> Result<(View, Vec<PathBuf>), Error> {
    let mut builder = ViewBuilder::default();
    add_roots(&mut builder, profile)?;
    let absent = deny::add(&mut builder, profile);
    hide(&mut builder, profile);
    Ok((View { exec_in_write: profile.exec_in_write, ..builder.finish() }, absent))
}

/// The same program without a boundary: its own home, and the gateway's folder if none is named.
pub(crate) fn resolve_unconfined(program: &Program) -> Result<Target, Error> {
    let path = locate(program)?;
    let home = home().unwrap_or_else(|| PathBuf::from("/"));
    let here = || std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let mut env = environment(program, &[], &home);
    let search = search_path(program).to_string_lossy().into_owned();
    env.insert("PATH".to_owned(), EnvText::from(search));
    Ok(Target { path, args: program.args.clone(), env, cwd: program.cwd.clone().unwrap_or_else(here) })
}

fn add_system(builder: &mut ViewBuilder, profile: &Profile) {
    let of_network = match profile.network {
        Network::None => Vec::new(),
        Network::Only(_) => NETWORK_FILES.to_vec(),
        Network::Host => [NETWORK_FILES, HOST_NETWORK_FILES].concat(),
    };
    for path in SYSTEM_TREES.iter().chain(SYSTEM_FILES).chain(&of_network) {
        builder.add_if_there(Path::new(path), Access::System);
    }
}

fn add_roots(builder: &mut ViewBuilder, profile: &Profile) -> Result<(), Error> {
    let named = |paths: &[PathBuf], access| paths.iter().map(move |path| (path.clone(), access)).collect::<Vec<_>>();
    for (path, access) in [named(&profile.read, Access::Read), named(&profile.write, Access::Write)].concat() {
        if !path.is_absolute() {
            return Err(Error::new(format!("root {} is not an absolute path", path.display())));
        }
        let canonical = builder.add_root(&path, access).map_err(|cause| {
            Error::io(format_args!("root {} cannot be shown", path.display()), &cause)
                .with_hint("name an existing file or folder that the gateway's user may enter")
        })?;
        if !may_be_shown(&canonical) {
            return Err(Error::new(format!("root {} cannot be shown to a sandbox", path.display()))
                .with_hint("name the folder that the server works on; the sandbox makes its own /, /proc, /sys and /dev"));
        }
    }
    Ok(())
}

/// Takes out of the view what is not to be read. Comes last: it goes before whatever shows it.
fn hide(builder: &mut ViewBuilder, profile: &Profile) {
    for path in profile.hidden.iter().filter_map(|path| path.canonicalize().ok()) {
        match path.metadata() {
            Ok(found) if found.is_file() || found.is_dir() => builder.add_hidden(&path, found.is_dir()),
            _ => {} // gone meanwhile, or nothing that holds a secret
        }
    }
}

/// The files that are not to be read and lie in what the program would see, if it were launched now. What is not there is left out.
pub(crate) fn hidden(profile: &Profile, program: &Program) -> Vec<PathBuf> {
    let mut builder = ViewBuilder::default();
    add_system(&mut builder, profile);
    for root in profile.read.iter().chain(&profile.write) {
        builder.add_if_there(root, Access::Read);
    }
    if let Ok(path) = locate(program) {
        needs::of(&path, program, &search_path(program), &builder).trees.iter().for_each(|tree| builder.add_if_there(tree, Access::Read));
    }
    let files = profile.hidden.iter().filter_map(|file| file.canonicalize().ok());
    files.filter(|file| builder.shows(file)).collect()
}

/// The first file that is not to be read and lies in what is named, for boundaries that cannot take anything out of a folder.
#[cfg(feature = "wasm")]
pub(crate) fn first_hidden(profile: &Profile) -> Option<PathBuf> {
    let roots: Vec<PathBuf> = profile.read.iter().chain(&profile.write).filter_map(|root| root.canonicalize().ok()).collect();
    let mut hidden = profile.hidden.iter().filter_map(|file| file.canonicalize().ok());
    hidden.find(|file| roots.iter().any(|root| file.starts_with(root)))
}

/// Whether a path may become visible at all.
pub(crate) fn may_be_shown(canonical: &Path) -> bool {
    canonical.parent().is_some() && !OWN_TREES.iter().any(|own| canonical.starts_with(own))
}

/// The home of the gateway's user: what must not be shown as a whole for the sake of one file in it.
fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
}

/// Finds the program's file; the path is absolute, and not canonical: an interpreter finds its own tree by it.
fn locate(program: &Program) -> Result<PathBuf, Error> {
    let folder = program.cwd.clone().or_else(|| std::env::current_dir().ok()).unwrap_or_default();
    let found = if program.command.contains('/') {
        Some(folder.join(&program.command)).filter(|path| path.is_file())
    } else {
        find_in(&search_path(program), &program.command)
    };
    found.ok_or_else(|| {
        Error::new(format!("program {} of server {} is not there", program.command, program.name))
            .with_hint("install it, or give its absolute path as the command")
    })
}

fn search_path(program: &Program) -> OsString {
    match program.env.get("PATH") {
        Some(named) => OsString::from(named.expose()),
        None => std::env::var_os("PATH").unwrap_or_else(|| STANDARD_PATH.into()),
    }
}

/// The first executable file of that name in the folders of `path`.
fn find_in(path: &OsString, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The environment is built, never filtered: what is not named here does not exist.
fn environment(program: &Program, folders: &[PathBuf], home: &Path) -> BTreeMap<String, EnvText> {
    let path: String = folders.iter().map(|folder| format!("{}:", folder.display())).chain([STANDARD_PATH.to_owned()]).collect();
    let mut env = BTreeMap::from([
        ("HOME".to_owned(), EnvText::from(home.to_string_lossy().into_owned())),
        ("LANG".to_owned(), EnvText::from("C.UTF-8")),
        ("PATH".to_owned(), EnvText::from(path)),
    ]);
    env.extend(program.env.clone());
    env
}

fn starting_folder(profile: &Profile, program: &Program, view: &View) -> Result<PathBuf, Error> {
    let Some(cwd) = &program.cwd else {
        let is_folder = |path: &&PathBuf| path.is_dir();
        let root = profile.write.iter().chain(&profile.read).find(is_folder);
        return Ok(root.cloned().unwrap_or_else(|| PathBuf::from("/tmp")));
    };
    let inside = |canonical: &Path| view.trees.iter().any(|tree| canonical.starts_with(&tree.path));
    match cwd.canonicalize() {
        Ok(canonical) if inside(&canonical) || canonical == Path::new("/tmp") => Ok(cwd.clone()),
        Ok(_) => Err(Error::new(format!("working folder {} is not visible in the sandbox", cwd.display()))
            .with_hint("add it to what the server may read or write")),
        Err(cause) => Err(Error::io(format_args!("working folder {} cannot be entered", cwd.display()), &cause)),
    }
}

#[cfg(test)]
mod tests;
