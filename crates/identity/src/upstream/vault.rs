//! Where users' grants are kept: rows of the store, sealed with AES-256-GCM under a key that lies beside it in a file of its own, or that the
//! operator keeps wherever a reference leads.
//!
//! A sealed row is bound to what it is found by, so that it cannot be put in another user's place. The keys are read at each use: what
//! another process rotated is in force at once.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use sallyport_secrets::{SecretError, SecretReference};
use sallyport_store::{Store, StoreError};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Keys that the file holds: the one in force and, after a rotation, the one before, which another process may just be sealing with.
const MOST_KEYS: usize = 2;
/// Bytes of the file at most: two lines.
const LARGEST_FILE: u64 = 4 * 1024;
/// Bytes of a key.
const KEY: usize = 32;

/// The kept grants. Clones are the same vault.
#[derive(Clone)]
pub struct Vault {
    pub(crate) store: Store,
    keys: Arc<Source>,
}

/// Where the keys are.
enum Source {
    /// In a file of the gateway's own.
    File(PathBuf),
    /// Where the operator says, who makes them.
    Reference(SecretReference),
}

impl Vault {
    /// The vault in `store`, its keys in the file `keys`, which is made (0600) at the first use.
    #[must_use]
    pub fn new(store: Store, keys: PathBuf) -> Self {
        Self { store, keys: Arc::new(Source::File(keys)) }
    }

    /// The vault in `store`, its keys what `reference` leads to: 32 bytes in base64, on a line for the key in force and, where that is new,
    /// one for the key before.
    #[must_use]
    pub fn with_keys_of(store: Store, reference: SecretReference) -> Self {
        Self { store, keys: Arc::new(Source::Reference(reference)) }
    }

    /// The store that the grants lie in.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Seals `text` for the row that `bound` names.
    pub(crate) fn seal(&self, bound: &str, text: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.keys.read()?.seal(bound, text).ok_or(VaultError::NoRandomNumbers)
    }

    /// Opens what was sealed for the row that `bound` names; `None` where its key is gone, or it was sealed for another row.
    pub(crate) fn open(&self, bound: &str, sealed: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        Ok(self.keys.read()?.open(bound, sealed))
    }

    /// The same of what is kept, and has to be opened.
    ///
    /// `None` where the keys are the gateway's own: what they do not open is lost, and asked for again. Keys that an operator keeps may be the
    /// wrong ones for the moment, and nothing is given up for that.
    pub(crate) fn open_kept(&self, bound: &str, sealed: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        match (self.open(bound, sealed)?, &*self.keys) {
            (None, Source::Reference(reference)) => Err(VaultError::WrongKeys(reference.clone())),
            (opened, _) => Ok(opened),
        }
    }

    /// Makes another key, and seals everything anew with it. The key before stays in the file until the next rotation, for a process
    /// that is in the middle of something. Keys that the operator keeps are not made here: everything is sealed with the first of them.
    /// Says how many grants there are.
    ///
    /// # Errors
    /// Where the keys or the store cannot be read or written, and where a row cannot be opened; nothing is changed then but that the new
    /// key is there already. Where a reference leads to one key alone, so that there is none to change to.
    pub async fn rotate(&self) -> Result<usize, VaultError> {
        let keys = match &*self.keys {
            Source::File(path) => {
                let keys = Keys::read_or_make(path)?.rotated().ok_or(VaultError::NoRandomNumbers)?;
                keys.write(path)?;
                keys
            }
            Source::Reference(reference) => match Keys::of_reference(reference)? {
                Keys(keys) if keys.len() == 1 => return Err(VaultError::NothingNew(reference.clone())),
                keys => keys,
            },
        };
        let resealed = self.store.reseal_upstream(move |bound, sealed| keys.seal(bound, &keys.open(bound, sealed)?)).await;
        resealed.map_err(VaultError::Store)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = match &*self.keys {
            Source::File(path) => path.display().to_string(),
            Source::Reference(reference) => reference.to_string(),
        };
        out.debug_struct("Vault").field("keys", &keys).finish_non_exhaustive()
    }
}

impl Source {
    fn read(&self) -> Result<Keys, VaultError> {
        match self {
            Self::File(path) => Keys::read_or_make(path),
            Self::Reference(reference) => Keys::of_reference(reference),
        }
    }
}

/// The keys, the one in force first, each with its number.
struct Keys(Vec<(u32, Zeroizing<[u8; KEY]>)>);

impl Keys {
    fn read_or_make(path: &Path) -> Result<Self, VaultError> {
        match Self::read(path) {
            Err(VaultError::File { why: std::io::ErrorKind::NotFound, .. }) => {}
            read => return read,
        }
        let made = Self(vec![(1, fresh().ok_or(VaultError::NoRandomNumbers)?)]);
        match made.create(path) {
            Ok(()) => Ok(made),
            Err(VaultError::File { why: std::io::ErrorKind::AlreadyExists, .. }) => Self::read(path), // another process was faster
            Err(error) => Err(error),
        }
    }

    fn read(path: &Path) -> Result<Self, VaultError> {
        let failed = |error: std::io::Error| VaultError::File { path: path.to_owned(), why: error.kind() };
        let about = fs::metadata(path).map_err(failed)?;
        if about.mode() & 0o077 != 0 {
            return Err(VaultError::OpenToOthers(path.to_owned()));
        }
        if !about.is_file() || about.len() > LARGEST_FILE {
            return Err(VaultError::NoKeys(path.to_owned()));
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
        Self::of_lines(&text).ok_or_else(|| VaultError::NoKeys(path.to_owned()))
    }

    fn of_reference(reference: &SecretReference) -> Result<Self, VaultError> {
        let text = sallyport_secrets::resolve(reference).map_err(VaultError::Secret)?;
        Self::of_lines(text.expose()).ok_or_else(|| VaultError::NoKeysAt(reference.clone()))
    }

    fn of_lines(text: &str) -> Option<Self> {
        let keys: Vec<_> = text.lines().map(key_of_line).collect::<Option<_>>()?;
        (1..=MOST_KEYS).contains(&keys.len()).then_some(Self(keys))
    }

    /// Makes the file whole or not at all: another process that reads it never finds half of it.
    fn create(&self, path: &Path) -> Result<(), VaultError> {
        let failed = |error: std::io::Error| VaultError::File { path: path.to_owned(), why: error.kind() };
        let beside = self.write_beside(path)?;
        let linked = fs::hard_link(&beside, path).map_err(failed);
        let _ = fs::remove_file(beside); // what is left of it does no harm: it is as closed as the file itself
        linked
    }

    fn write(&self, path: &Path) -> Result<(), VaultError> {
        let failed = |error: std::io::Error| VaultError::File { path: path.to_owned(), why: error.kind() };
        fs::rename(self.write_beside(path)?, path).map_err(failed)
    }

    fn write_beside(&self, path: &Path) -> Result<PathBuf, VaultError> {
        let beside = path.with_extension(format!("new-{}-{}", std::process::id(), self.0.first().map_or(0, |(number, _)| *number)));
        let failed = |error: std::io::Error| VaultError::File { path: beside.clone(), why: error.kind() };
        let _ = fs::remove_file(&beside); // of a process that died
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside).map_err(failed)?;
        let mut text = Zeroizing::new(String::new());
        for (number, key) in &self.0 {
            text.push_str(&format!("{number} {}\n", STANDARD.encode(key.as_slice())));
        }
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(beside)
    }

    fn rotated(self) -> Option<Self> {
        let newest = self.0.into_iter().next()?;
        Some(Self(vec![(newest.0.wrapping_add(1), fresh()?), newest]))
    }

    /// The number of the key, a nonce, the sealed text.
    fn seal(&self, bound: &str, text: &[u8]) -> Option<Vec<u8>> {
        let (number, key) = self.0.first()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = text.to_vec();
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_slice()).ok()?);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound.as_bytes()), &mut sealed).ok()?;
        Some([number.to_be_bytes().as_slice(), &nonce, &sealed].concat())
    }

    fn open(&self, bound: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (number, rest) = sealed.split_first_chunk::<4>()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
        // The number says which key it was first of all; a key that an operator keeps may have got another, or none.
        let is_of_number = |known: &&(u32, _)| known.0 == u32::from_be_bytes(*number);
        let (its, others) = (self.0.iter().filter(is_of_number), self.0.iter().filter(|known| !is_of_number(known)));
        its.chain(others).find_map(|(_, key)| opened_by(key, nonce, bound, rest))
    }
}

fn opened_by(key: &[u8; KEY], nonce: &[u8; NONCE_LEN], bound: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    let mut text = Zeroizing::new(sealed.to_vec());
    let length = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(bound.as_bytes()), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

fn fresh() -> Option<Zeroizing<[u8; KEY]>> {
    let mut key = Zeroizing::new([0; KEY]);
    SystemRandom::new().fill(key.as_mut_slice()).ok().map(|()| key)
}

/// A key with its number, as we write them; or alone, as others do: then it goes by its digest.
fn key_of_line(line: &str) -> Option<(u32, Zeroizing<[u8; KEY]>)> {
    let (number, text) = line.split_once(' ').map_or((None, line), |(number, text)| (Some(number), text));
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    let key: Zeroizing<[u8; KEY]> = Zeroizing::new(bytes.as_slice().try_into().ok()?);
    let number = match number {
        Some(number) => number.parse().ok()?,
        None => u32::from_be_bytes(*Sha256::digest(key.as_slice()).first_chunk()?),
    };
    Some((number, key))
}

/// Why the vault cannot be used.
#[derive(Debug)]
pub enum VaultError {
    /// The file of keys cannot be read or written.
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        why: std::io::ErrorKind,
    },
    /// Others than its owner may read the file of keys.
    OpenToOthers(PathBuf),
    /// What lies there are no keys.
    NoKeys(PathBuf),
    /// The reference leads to nothing.
    Secret(SecretError),
    /// What it leads to are no keys.
    NoKeysAt(SecretReference),
    /// It leads to one key, and everything is sealed with that.
    NothingNew(SecretReference),
    /// The keys that it leads to do not open what was sealed.
    WrongKeys(SecretReference),
    /// The system has no random numbers.
    NoRandomNumbers,
    /// The store.
    Store(StoreError),
}

impl VaultError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { .. } => Some("the file and its folder have to belong to the user who runs the gateway".into()),
            Self::OpenToOthers(path) => Some(format!("chmod 600 '{}', then `sallyport vault rotate`", path.display())),
            Self::NoKeys(path) => Some(format!(
                "put the file back from a copy; without it the kept grants are lost: remove {} and run `sallyport vault forget --all`",
                path.display()
            )),
            Self::Secret(error) => Some(error.hint()),
            Self::NoKeysAt(_) => Some(
                "a key is one line, as `openssl rand -base64 32` makes it; the one before it may stand on a second line, and nothing else"
                    .into(),
            ),
            Self::NothingNew(reference) => Some(format!(
                "put a new key (`openssl rand -base64 32`) on a line before the one that `{reference}` holds, start gateways anew that have it in \
                 their environment, rotate, and then take the old line out"
            )),
            Self::WrongKeys(reference) => Some(format!(
                "let `{reference}` lead to the key that grants were sealed with, on a second line if there is a newer; what is sealed with a lost \
                 key is given up by `sallyport vault forget`"
            )),
            Self::NoRandomNumbers => None,
            Self::Store(error) => error.hint().map(str::to_owned),
        }
    }
}

impl From<StoreError> for VaultError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for VaultError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, why } => write!(out, "the vault's keys in {} cannot be used: {why}", path.display()),
            Self::OpenToOthers(path) => write!(out, "the vault's keys in {} are open to others", path.display()),
            Self::NoKeys(path) => write!(out, "{} holds no keys of a vault", path.display()),
            Self::Secret(error) => write!(out, "the vault's keys cannot be had: {error}"),
            Self::NoKeysAt(reference) => write!(out, "`{reference}` holds no keys of a vault"),
            Self::NothingNew(reference) => write!(out, "`{reference}` holds one key, so there is none to change to"),
            Self::WrongKeys(reference) => write!(out, "what was granted cannot be opened with the keys that `{reference}` leads to"),
            Self::NoRandomNumbers => out.write_str("this system has no random numbers"),
            Self::Store(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for VaultError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn vault() -> (tempfile::TempDir, Vault) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db")).unwrap();
        let keys = folder.path().join("vault.key");
        (folder, Vault::new(store, keys))
    }

    #[test]
    fn a_row_opens_in_its_own_place_alone() {
        let (_folder, vault) = vault();
        let sealed = vault.seal("grant\0alice", b"token").unwrap();
        assert!(!sealed.windows(5).any(|window| window == b"token"));
        assert_eq!(vault.open("grant\0alice", &sealed).unwrap().unwrap().as_slice(), b"token");
        assert!(vault.open("grant\0bob", &sealed).unwrap().is_none());
        // Before that stands the number, which only says which key is tried first.
        for at in 4..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.open("grant\0alice", &changed).unwrap().is_none(), "changed at {at}");
        }
        assert!(vault.open("grant\0alice", b"").unwrap().is_none());
    }

    #[test]
    fn the_file_of_keys_is_its_users_alone() {
        let (folder, vault) = vault();
        vault.seal("a", b"b").unwrap();
        let path = folder.path().join("vault.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(vault.seal("a", b"b"), Err(VaultError::OpenToOthers(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "hunter2").unwrap();
        let error = vault.seal("a", b"b").unwrap_err();
        assert!(matches!(error, VaultError::NoKeys(_)) && !error.to_string().contains("hunter2"));
    }

    #[tokio::test]
    async fn keys_of_a_reference_are_changed_by_who_keeps_them() {
        let (folder, own) = vault();
        let old = own.seal("a", b"b").unwrap();
        let path = folder.path().join("kept.key");
        let put = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        let vault = Vault::with_keys_of(own.store.clone(), format!("file:{}", path.display()).parse().unwrap());
        assert!(matches!(vault.seal("a", b"b"), Err(VaultError::Secret(_))), "none is made");
        // The file that the gateway had, moved to another place, opens what there is.
        fs::rename(folder.path().join("vault.key"), &path).unwrap();
        assert!(vault.open("a", &old).unwrap().is_some());
        assert!(matches!(vault.rotate().await, Err(VaultError::NothingNew(_))));
        // Without its number it is the same key, and so it is behind one that has the same number.
        let (numbered, bare) =
            (fs::read_to_string(&path).unwrap(), fs::read_to_string(&path).unwrap().trim_end().rsplit(' ').next().unwrap().to_owned());
        put(&bare);
        assert!(vault.open_kept("a", &old).unwrap().is_some());
        put(&format!("1 {}\n{numbered}", STANDARD.encode([8; KEY])));
        assert!(vault.open_kept("a", &old).unwrap().is_some());
        // A wrong one opens nothing, and nothing is taken for lost.
        put(&STANDARD.encode([9; KEY]));
        assert!(vault.open("a", &old).unwrap().is_none());
        assert!(matches!(vault.open_kept("a", &old), Err(VaultError::WrongKeys(_))));
        put(&numbered);

        let (new, moved) = (STANDARD.encode([7; KEY]), fs::read_to_string(&path).unwrap());
        put(&format!("{new}\n{moved}"));
        let sealed = vault.seal("a", b"c").unwrap();
        assert!(vault.open("a", &old).unwrap().is_some() && vault.rotate().await.is_ok());
        put(&format!("{new}\n"));
        assert!(vault.open("a", &old).unwrap().is_none());
        assert_eq!(vault.open("a", &sealed).unwrap().unwrap().as_slice(), b"c");

        for wrong in ["hunter2", "hunter2 hunter2", &format!("{new}\n{new}\n{new}"), &format!("{new}\n\n{new}"), &STANDARD.encode([7; 31])]
        {
            put(wrong);
            let error = vault.seal("a", b"b").unwrap_err();
            let told = format!("{error} {} {vault:?}", error.hint().unwrap());
            assert!(matches!(error, VaultError::NoKeysAt(_)) && !told.contains("hunter2") && !told.contains(&new), "{told}");
        }
        put(&new);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = vault.seal("a", b"b").unwrap_err();
        assert!(matches!(error, VaultError::Secret(_)) && error.hint().unwrap().contains("chmod 600"), "{error}");
    }

    #[tokio::test]
    async fn a_rotation_reaches_other_processes_and_drops_the_key_before_the_last() {
        let (folder, vault) = vault();
        let other = Vault::new(vault.store.clone(), folder.path().join("vault.key"));
        let first = other.seal("a", b"b").unwrap();
        vault.rotate().await.unwrap();
        let second = other.seal("a", b"b").unwrap();
        assert_ne!(first[..4], second[..4], "sealed with the new key");
        assert!(other.open("a", &first).unwrap().is_some(), "somebody may have been in the middle of something");
        vault.rotate().await.unwrap();
        assert!(other.open("a", &first).unwrap().is_none());
        assert!(other.open("a", &second).unwrap().is_some());
    }
}
