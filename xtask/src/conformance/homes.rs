//! Folders for a gateway under test, with nothing of the person's who runs it.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::repository::Outcome;

/// What a gateway keeps outside of its project, by the variable that names the place.
const HOMES: [(&str, &str); 5] = [
    ("HOME", "home"),
    ("XDG_STATE_HOME", "state"),
    ("XDG_CONFIG_HOME", "config"),
    ("XDG_CACHE_HOME", "cache"),
    ("XDG_RUNTIME_DIR", "runtime"),
];

/// A program that runs in `folder`, which is made, and keeps everything of its own below it.
pub(crate) fn command(program: &Path, folder: &Path) -> Outcome<Command> {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default()).current_dir(folder);
    for (variable, name) in HOMES {
        let home = folder.join(name);
        fs::create_dir_all(&home).map_err(|error| format!("could not make {}: {error}", home.display()))?;
        command.env(variable, home);
    }
    Ok(command)
}
