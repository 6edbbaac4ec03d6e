//! Secrets that are moved out of a configuration into files that only the user may read.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sallyport_gateway::config::model::{ServerConfig, Value};
use sallyport_gateway::config::plain_secret;
use sallyport_secrets::Secret;

use crate::atomic_write;

/// The secrets that are to be written, and where.
pub(crate) struct SecretFiles {
    folder: PathBuf,
    pending: Vec<(PathBuf, Secret)>,
    taken: BTreeSet<PathBuf>,
}

impl SecretFiles {
    /// Files in `folder`, which need not exist yet.
    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        Self { folder, pending: Vec::new(), taken: BTreeSet::new() }
    }

    /// Moves the plain-text secrets of `server` out of its entry; references take their place. Says which keys they were.
    pub(crate) fn take_from(&mut self, name: &str, server: &mut ServerConfig) -> Vec<String> {
        let mut moved = Vec::new();
        for (table, values) in [("env", &mut server.env), ("headers", &mut server.headers)] {
            for (key, value) in values {
                if let Some(secret) = plain_text(value).filter(|text| plain_secret::is_likely(key, text)) {
                    *value = Value::Written(format!("file:{}", self.file(name, key, secret).display()));
                    moved.push(format!("{table}.{key}"));
                }
            }
        }
        for (index, argument) in server.command.iter_mut().flatten().enumerate().skip(1) {
            if let Some((before, secret)) = secret_argument(argument) {
                let file = self.file(name, &format!("argument-{index}"), secret);
                *argument = format!("{before}${{file:{}}}", file.display());
                moved.push(format!("command[{index}]"));
            }
        }
        moved
    }

    /// Writes what was moved.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(self) -> io::Result<()> {
        self.pending.iter().try_for_each(|(file, secret)| atomic_write::create_private(file, secret.expose()))
    }

    /// The file for a secret: a new one, or the one that holds the very same already.
    fn file(&mut self, server: &str, key: &str, secret: String) -> PathBuf {
        let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
        let name: String = format!("{server}-{key}").chars().map(letter).collect();
        let secret = Secret::new(secret);
        for number in 1.. {
            let file = self.folder.join(if number == 1 { name.clone() } else { format!("{name}-{number}") });
            if self.taken.contains(&file) {
                continue;
            }
            let there = fs::read_to_string(&file).map(Secret::new);
            let is_same = there.as_ref().is_ok_and(|there| there.expose() == secret.expose());
            if is_same || (there.is_err() && !exists(&file)) {
                self.taken.insert(file.clone());
                if !is_same {
                    self.pending.push((file.clone(), secret));
                }
                return file;
            }
        }
        unreachable!("there are more numbers than files")
    }
}

fn exists(file: &Path) -> bool {
    fs::symlink_metadata(file).is_ok()
}

/// The text of a value that has no reference in it.
fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::Verbatim(verbatim) => Some(verbatim.text.clone()),
        Value::Written(text) if !text.contains("${") && !sallyport_secrets::SecretReference::is_meant_by(text) => Some(text.clone()),
        Value::Written(_) => None,
    }
}

/// The part of an argument that is a secret, and what stands before it: `--token=SECRET`, `Authorization: Bearer SECRET`.
fn secret_argument(argument: &str) -> Option<(String, String)> {
    if argument.contains("${") {
        return None;
    }
    let split = argument.split_once('=').map(|(name, value)| (name, "=", value));
    let split = split.or_else(|| argument.split_once(": ").map(|(name, value)| (name, ": ", value)));
    let (name, separator, value) = split.unwrap_or(("", "", argument));
    let is_secret = plain_secret::is_likely(name.trim_start_matches('-'), value);
    is_secret.then(|| (format!("{name}{separator}"), value.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn server() -> ServerConfig {
        let written = |text: &str| Value::Written(text.to_owned());
        ServerConfig {
            command: Some(vec!["npx".into(), "-y".into(), "pkg@1.2.3".into(), "--api-key=hunter2".into(), "${env:TOKEN}".into()]),
            env: [("GITHUB_TOKEN", "ghp_x"), ("LOG", "debug"), ("OTHER_TOKEN", "env:OTHER")]
                .map(|(key, text)| (key.to_owned(), written(text)))
                .into(),
            headers: [("Authorization".to_owned(), written("Bearer hunter2"))].into(),
            ..ServerConfig::default()
        }
    }

    #[test]
    fn secrets_leave_the_entry_and_settings_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = SecretFiles::in_folder(folder.path().join("secrets"));
        let mut server = server();
        assert_eq!(files.take_from("gh", &mut server), ["env.GITHUB_TOKEN", "headers.Authorization", "command[3]"]);
        let told = format!("{server:?}");
        assert!(!told.contains("hunter2") && !told.contains("ghp_x"), "{told}");
        assert!(told.contains("debug") && told.contains("env:OTHER") && told.contains("pkg@1.2.3"), "{told}");
        files.write().unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("secrets/gh-headers-authorization")).ok(), None);
        assert_eq!(fs::read_to_string(folder.path().join("secrets/gh-authorization")).unwrap(), "Bearer hunter2");
        assert_eq!(fs::read_to_string(folder.path().join("secrets/gh-argument-3")).unwrap(), "hunter2");
    }

    #[test]
    fn the_same_secret_is_written_once_and_another_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let mut files = SecretFiles::in_folder(folder.path().to_owned());
            let file = files.file("a", "TOKEN", text.to_owned());
            files.write().unwrap();
            file
        };
        let first = file("one");
        assert_eq!(file("one"), first);
        assert_eq!(file("two"), folder.path().join("a-token-2"));
    }
}
