//! What no tool should propose to show: where keys and passwords lie, and folders that hold everything.

use std::path::Path;

use crate::profile::DENY_WRITE;

/// Below a home folder.
const IN_HOME: &[&str] = &[
    ".ssh",
    ".aws",
    ".azure",
    ".gnupg",
    ".kube",
    ".docker",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".pgpass",
    ".my.cnf",
    ".vault-token",
    ".git-credentials",
    ".password-store",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".config/gcloud",
    ".config/gh",
    ".config/op",
    ".config/sops",
    ".config/sallyport",
    ".config/google-chrome",
    ".config/chromium",
    ".local/share/keyrings",
    ".local/state/sallyport",
    ".mozilla",
    ".thunderbird",
    ".bash_history",
    ".zsh_history",
];

/// Anywhere.
const PLACES: &[&str] =
    &["/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/ssl/private", "/etc/ssh", "/var/run/secrets", "/run/secrets"];

/// By their names, wherever they are.
const NAMES: &[&str] = &[".ssh", ".aws", ".gnupg", ".kube", ".netrc", ".git-credentials", ".env", "id_rsa", "id_ed25519", "id_ecdsa"];

/// By how their names end.
const ENDINGS: &[&str] = &["pem", "key", "p12", "pfx", "kdbx", "keystore"];

/// Whether a path is where secrets lie.
pub(super) fn holds_secrets(path: &Path, home: Option<&Path>) -> bool {
    let below = home.and_then(|home| path.strip_prefix(home).ok());
    let in_home = below.is_some_and(|below| IN_HOME.iter().any(|secret| below.starts_with(secret)));
    let by_name = path.iter().any(|part| NAMES.iter().any(|name| part == *name));
    let by_start = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".env."));
    let by_ending = path.extension().is_some_and(|ending| ENDINGS.iter().any(|secret| ending.eq_ignore_ascii_case(secret)));
    in_home || by_name || by_start || by_ending || PLACES.iter().any(|place| path.starts_with(place))
}

/// Whether what is written at a path is run, or obeyed, outside of any sandbox: wherever it lies, what the deny-write list keeps.
pub(super) fn is_obeyed(path: &Path) -> bool {
    let mut names = DENY_WRITE.iter().map(|entry| entry.trim_start_matches("~/").trim_end_matches('?'));
    names.any(|obeyed| path.ancestors().any(|around| around.ends_with(obeyed)))
}

/// Folders of a home that hold a bit of everything.
const BROAD_IN_HOME: &[&str] = &[".config", ".local", ".local/share", ".local/state", ".cache"];

/// Folders of the system that do.
const BROAD: &[&str] = &["/var/lib", "/var/log", "/var/cache", "/var/tmp", "/var/run", "/usr/local", "/usr/share", "/usr/lib"];

/// Whether a folder holds far more than one program needs: a home, what is around it, a folder at the top.
pub(super) fn holds_too_much(folder: &Path, home: Option<&Path>) -> bool {
    let names = folder.components().count() - 1; // without the root
    let is_home = names == 2 && (folder.starts_with("/home") || folder.starts_with("/Users"));
    let is_runtime = names == 3 && folder.starts_with("/run/user");
    let around_home = home.is_some_and(|home| home.starts_with(folder));
    let in_home = home
        .and_then(|home| folder.strip_prefix(home).ok())
        .is_some_and(|below| BROAD_IN_HOME.iter().any(|broad| below == Path::new(broad)));
    names <= 1 || is_home || is_runtime || around_home || in_home || BROAD.iter().any(|broad| folder == Path::new(broad))
}
