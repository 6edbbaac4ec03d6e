//! What a program cannot do without, found by looking at it: its interpreter, that one's prefix, a script's package tree,
//! the paths it is given.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::view::walk;
use super::{find_in, home, may_be_shown};
use crate::profile::Program;

/// A script's interpreter may itself be a script, but the kernel stops at four.
const MOST_INTERPRETERS: usize = 4;

/// The kernel reads this much of a `#!` line.
const SHEBANG_BYTES: u64 = 256;

/// What a program needs beside the system's trees.
#[derive(Default)]
pub(super) struct Needs {
    /// Files and folders to show.
    pub(super) trees: Vec<PathBuf>,
    /// Folders for `PATH`: where the program and its interpreters were found.
    pub(super) folders: Vec<PathBuf>,
}

/// What `path`, started with the program's arguments, needs. `search` is the `PATH` in which `env` would look.
pub(super) fn of(path: &Path, program: &Program, search: &OsString) -> Needs {
    let mut needs = Needs::default();
    let mut next = Some(path.to_path_buf());
    for _ in 0..MOST_INTERPRETERS {
        let Some(executable) = next else { break };
        needs.executable(&executable);
        next = interpreter(&executable, search);
    }
    for argument in &program.args {
        needs.argument(argument);
    }
    needs
}

impl Needs {
    /// The file, every name it goes by, the prefix round each of these, and its package tree.
    fn executable(&mut self, path: &Path) {
        self.trees.push(path.to_path_buf());
        self.folders.extend(path.parent().map(Path::to_path_buf).filter(|folder| !self.folders.contains(folder)));
        let Ok(walk) = walk(path) else { return };
        let names = walk.links.iter().map(|(link, _)| link.as_path());
        for name in names.chain([path, walk.canonical.as_path()]) {
            self.prefix(name);
        }
        self.package_tree(&walk.canonical);
    }

    /// `PREFIX/bin/name` brings its prefix along: whole if it is an environment of its own, else the parts that hold code.
    fn prefix(&mut self, executable: &Path) {
        let Some(folder) = executable.parent() else { return };
        let Some(prefix) = folder.parent() else { return };
        if !narrow_enough(prefix) {
            return;
        }
        let whole = match folder.file_name().and_then(|name| name.to_str()) {
            Some("bin" | "sbin") => ["pyvenv.cfg", "conda-meta"].iter().any(|mark| prefix.join(mark).exists()),
            // pyenv, rbenv, nodenv: the shim is a script that looks for the real program below the same prefix
            Some("shims") => prefix.join("versions").is_dir(),
            _ => return,
        };
        if whole {
            self.trees.push(prefix.to_path_buf());
        } else if prefix.join("lib").is_dir() {
            self.trees.extend(["bin", "lib", "lib64", "libexec"].map(|part| prefix.join(part)));
        }
    }

    /// An existing absolute path, also as the value of `--option=PATH`, and the package tree if it is a script.
    fn argument(&mut self, argument: &str) {
        let value = argument.split_once('=').map_or(argument, |(_, value)| value);
        for candidate in [argument, value].map(Path::new) {
            let Ok(walk) = walk(candidate) else { continue };
            if !candidate.is_absolute() || !may_be_shown(&walk.canonical) || is_made_anew(&walk.canonical) {
                continue;
            }
            self.trees.push(candidate.to_path_buf());
            if walk.canonical.is_file() {
                self.package_tree(&walk.canonical);
            }
        }
    }

    /// What a script imports lies round it: the outermost `node_modules` or the `site-packages` it is in, else the
    /// nearest folder that says that it is a package or an environment.
    fn package_tree(&mut self, script: &Path) {
        let installed = ["node_modules", "site-packages", "dist-packages"];
        let marks = ["package.json", "pyproject.toml", "pyvenv.cfg"];
        let folders: Vec<&Path> = script.ancestors().skip(1).filter(|folder| narrow_enough(folder)).collect();
        let named = |folder: &&&Path| folder.file_name().is_some_and(|name| installed.iter().any(|known| name == *known));
        let marked = |folder: &&&Path| marks.iter().any(|mark| folder.join(mark).exists());
        let tree = folders.iter().rfind(named).or_else(|| folders.iter().find(marked));
        self.trees.extend(tree.map(|folder| folder.to_path_buf()));
    }
}

/// Whether a folder may be shown for the sake of one file in it: not one that holds a whole home, or the system.
fn narrow_enough(folder: &Path) -> bool {
    let home = home();
    may_be_shown(folder) && !is_shared_by_all(folder) && !home.is_some_and(|home| home.starts_with(folder))
}

/// Folders in which everybody's things lie side by side.
fn is_shared_by_all(folder: &Path) -> bool {
    ["/etc", "/home", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/usr", "/var", "/var/tmp"]
        .iter()
        .any(|shared| folder == Path::new(shared))
}

/// Folders that the sandbox has of its own: an argument that names one means that one.
fn is_made_anew(folder: &Path) -> bool {
    ["/etc", "/run", "/tmp"].iter().any(|own| folder == Path::new(own))
}

/// The interpreter in the `#!` line, found as `env` would find it.
fn interpreter(script: &Path, search: &OsString) -> Option<PathBuf> {
    let mut start = Vec::new();
    File::open(script).ok()?.take(SHEBANG_BYTES).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let interpreter = Path::new(words.next()?);
    if interpreter.file_name()? != "env" {
        return Some(interpreter.to_path_buf());
    }
    let name = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    find_in(search, name)
}
