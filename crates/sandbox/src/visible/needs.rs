//! What a program cannot do without, found by looking at it: its interpreter, that one's prefix, a script's package tree,
//! the paths it is given.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::view::{ViewBuilder, walk};
use super::{find_in, home, is_executable, may_be_shown};
use crate::profile::Program;

/// A script's interpreter may itself be a script, but the kernel stops at four.
const MOST_INTERPRETERS: usize = 4;

/// The kernel reads this much of a `#!` line.
const SHEBANG_BYTES: u64 = 256;

/// What a `#!` line names.
pub(super) enum Named {
    /// What the kernel starts.
    File(PathBuf),
    /// What `env` looks for in `PATH`.
    Program(String),
}

/// What a program needs beside the system's trees.
#[derive(Default)]
pub(super) struct Needs {
    /// Files and folders to show.
    pub(super) trees: Vec<PathBuf>,
    /// Folders for `PATH`: where the program and its interpreters were found.
    pub(super) folders: Vec<PathBuf>,
}

/// Where an interpreter was found. It is the program that names it, and the program may be hostile.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// In a folder of `PATH`, which is the user's: as good as a command of his.
    Path,
    /// Among what is shown anyway, where a link may have been made to lead anywhere.
    Shown,
}

/// What `path`, started with the program's arguments, needs. `search` is the `PATH` in which `env` would look, `shown` what is shown
/// without the program.
pub(super) fn of(path: &Path, program: &Program, search: &OsString, shown: &ViewBuilder) -> Needs {
    let mut needs = Needs::default();
    needs.command(path);
    let mut script = path.to_path_buf();
    for _ in 1..MOST_INTERPRETERS {
        let Some(found) = interpreter(&script, search) else { break };
        let Some(place) = needs.place(&found, search, shown) else { break };
        needs.executable(&found, place);
        script = found;
    }
    for argument in &program.args {
        needs.argument(argument);
    }
    needs
}

impl Needs {
    /// What the user himself has named, with its package tree.
    fn command(&mut self, path: &Path) {
        self.executable(path, Place::Path);
        if let Ok(walk) = walk(path) {
            self.package_tree(&walk.canonical);
        }
    }

    /// Where an interpreter lies that a program names; nothing of any other is shown. A `#!` line could else have any folder of the
    /// host shown.
    fn place(&self, interpreter: &Path, search: &OsString, shown: &ViewBuilder) -> Option<Place> {
        let (folder, name) = (interpreter.parent()?, interpreter.file_name()?);
        if !is_executable(interpreter) {
            return None;
        }
        if std::env::split_paths(search).any(|searched| searched.is_absolute() && searched == folder) {
            return Some(Place::Path);
        }
        // The folder's links are followed, the last one is not: that of an environment's `python` leads out of it.
        let real = folder.canonicalize().ok()?.join(name);
        let is_own = self.trees.iter().any(|tree| real.starts_with(tree));
        (is_own || shown.shows(&real)).then_some(Place::Shown)
    }

    /// The file, every name it goes by, and the prefix round each of these.
    fn executable(&mut self, path: &Path, place: Place) {
        self.trees.push(path.to_path_buf());
        self.folders.extend(path.parent().map(Path::to_path_buf).filter(|folder| !self.folders.contains(folder)));
        let Ok(walk) = walk(path) else { return };
        let names = walk.links.iter().map(|(link, _)| link.as_path());
        for name in names.chain([path, walk.canonical.as_path()]) {
            self.prefix(name, place);
        }
    }

    /// `PREFIX/bin/name` brings its prefix along: whole if it is an environment of its own, else the parts that hold code.
    fn prefix(&mut self, executable: &Path, place: Place) {
        let Some(folder) = executable.parent() else { return };
        let Some(prefix) = folder.parent() else { return };
        if !narrow_enough(prefix) {
            return;
        }
        let whole = match folder.file_name().and_then(|name| name.to_str()) {
            // A virtual environment may be somebody's whole project, and no link of an environment leads to another one.
            Some("bin" | "sbin") => prefix.join("conda-meta").exists() || place == Place::Path && prefix.join("pyvenv.cfg").exists(),
            // pyenv, rbenv, nodenv: the shim is a script that looks for the real program below the same prefix
            Some("shims") => place == Place::Path && prefix.join("versions").is_dir(),
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

/// What to let a program read, so that an executable in it can be run: the prefix round `PREFIX/bin/name`, where it may be shown.
pub(super) fn to_read(executable: &Path) -> &Path {
    let folder = executable.parent().filter(|folder| folder.file_name().is_some_and(|name| name == "bin"));
    folder.and_then(Path::parent).filter(|prefix| narrow_enough(prefix)).unwrap_or(executable)
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

/// The interpreter in the `#!` line, found as the kernel and `env` would find it. One that is not named by an absolute path depends on
/// where the program is started: it is none.
fn interpreter(script: &Path, search: &OsString) -> Option<PathBuf> {
    match named(script)? {
        Named::File(file) => Some(file),
        Named::Program(name) => find_in(search, &name),
    }
}

/// What the `#!` line names, if it can be told.
pub(super) fn named(script: &Path) -> Option<Named> {
    let mut start = Vec::new();
    File::open(script).ok()?.take(SHEBANG_BYTES).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| matches!(byte, b'\n' | 0)).next()?;
    let (interpreter, argument) = word(after_blanks(line));
    let interpreter = Path::new(OsStr::from_bytes(interpreter));
    let file = match interpreter.file_name()?.as_bytes() {
        b"env" if interpreter.is_absolute() => {
            let name = OsStr::from_bytes(of_env(argument)?);
            if !name.as_bytes().contains(&b'/') {
                return name.to_str().map(|name| Named::Program(name.to_owned()));
            }
            PathBuf::from(name)
        }
        _ => interpreter.to_path_buf(),
    };
    file.is_absolute().then_some(Named::File(file))
}

/// What `env` starts, given all that follows it in the line as one argument. Options, variables and quotes other than a leading `-S` are
/// rare there, and whoever takes them for something else shows the wrong file.
fn of_env(argument: &[u8]) -> Option<&[u8]> {
    let split = [&b"-S"[..], b"--split-string="].into_iter().find_map(|option| argument.strip_prefix(option));
    let name = match split {
        Some(words) => word(after_blanks(words)).0,
        None => argument,
    };
    let is_plain = |byte: &u8| !byte.is_ascii_whitespace() && !b"=\"'\\$#".contains(byte);
    (!name.is_empty() && !name.starts_with(b"-") && name.iter().all(is_plain)).then_some(name)
}

/// The first word and what follows it, without the blanks round it.
fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let (word, rest) = line.split_at(line.iter().position(is_blank).unwrap_or(line.len()));
    let rest = after_blanks(rest);
    let end = rest.iter().rposition(|byte| !is_blank(byte)).map_or(0, |last| last + 1);
    (word, rest.get(..end).unwrap_or_default())
}

fn after_blanks(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    line.get(start..).unwrap_or_default()
}

/// What the kernel splits the line at.
fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
