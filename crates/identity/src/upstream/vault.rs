//! Where users' grants are kept: rows of the store, sealed with AES-256-GCM under a key that lies beside it in a file of its own.
//!
//! A sealed row is bound to what it is found by, so that it cannot be put in another user's place. The file of keys is read at each use:
//! what another process rotated is in force at once.

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
use sallyport_store::{Store, StoreError};
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
    keys: Arc<PathBuf>,
}

impl Vault {
    /// The vault in `store`, its keys in the file `keys`, which is made (0600) at the first use.
    #[must_use]
    pub fn new(store: Store, keys: PathBuf) -> Self {
        Self { store, keys: Arc::new(keys) }
    }

    /// The store that the grants lie in.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Seals `text` for the row that `bound` names.
    pub(crate) fn seal(&self, bound: &str, text: &[u8]) -> Result<Vec<u8>, VaultError> {
        Keys::read_or_make(&self.keys)?.seal(bound, text).ok_or(VaultError::NoRandomNumbers)
    }

    /// Opens what was sealed for the row that `bound` names; `None` where its key is gone, or it was sealed for another row.
    pub(crate) fn open(&self, bound: &str, sealed: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        Ok(Keys::read_or_make(&self.keys)?.open(bound, sealed))
    }

    /// Makes another key, and seals everything anew with it. The key before stays in the file until the next rotation, for a process
    /// that is in the middle of something. Says how many grants there are.
    ///
    /// # Errors
    /// Where the keys or the store cannot be read or written, and where a row cannot be opened; nothing is changed then but that the new
    /// key is there already.
    pub async fn rotate(&self) -> Result<usize, VaultError> {
        let keys = Keys::read_or_make(&self.keys)?.rotated().ok_or(VaultError::NoRandomNumbers)?;
        keys.write(&self.keys)?;
        let resealed = self.store.reseal_upstream(move |bound, sealed| keys.seal(bound, &keys.open(bound, sealed)?)).await;
        resealed.map_err(VaultError::Store)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Vault").field("keys", &self.keys).finish_non_exhaustive()
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
        let keys: Option<Vec<_>> = text.lines().map(key_of_line).collect();
        keys.filter(|keys| (1..=MOST_KEYS).contains(&keys.len())).map(Self).ok_or_else(|| VaultError::NoKeys(path.to_owned()))
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
        let (_, key) = self.0.iter().find(|(known, _)| *known == u32::from_be_bytes(*number))?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_slice()).ok()?);
        let mut text = Zeroizing::new(rest.to_vec());
        let length = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(bound.as_bytes()), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

fn fresh() -> Option<Zeroizing<[u8; KEY]>> {
    let mut key = Zeroizing::new([0; KEY]);
    SystemRandom::new().fill(key.as_mut_slice()).ok().map(|()| key)
}

fn key_of_line(line: &str) -> Option<(u32, Zeroizing<[u8; KEY]>)> {
    let (number, text) = line.split_once(' ')?;
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    Some((number.parse().ok()?, Zeroizing::new(bytes.as_slice().try_into().ok()?)))
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
        for at in 0..sealed.len() {
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
