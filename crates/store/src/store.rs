//! The file, and the two ways to it.

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::StoreError;
use crate::migration::migrate;

/// For how long a write waits for another process's: each takes milliseconds, and nobody is to wait for one that was suspended.
const PATIENCE: Duration = Duration::from_secs(5);

/// An open store. Clones are the same one.
#[derive(Clone)]
pub struct Store {
    path: Arc<PathBuf>,
    connection: Arc<Mutex<Connection>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store at `path`, and makes it, closed to all other users, where there is none. Its folder must exist.
    ///
    /// # Errors
    /// Where the file cannot be opened or is no store, and where a newer version of the program has written it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let made = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path); // SQLite would ask the umask
        made.map_err(|error| {
            let hint = "the file and its folder have to belong to the user who runs the gateway";
            StoreError::new(format!("the store {} cannot be opened: {error}", path.display()), hint)
        })?;
        let connection = Connection::open(path).map_err(|cause| StoreError::of(path, cause))?;
        let store = Self { path: Arc::new(path.to_owned()), connection: Arc::new(Mutex::new(connection)) };
        store.settle()?;
        Ok(store)
    }

    fn settle(&self) -> Result<(), StoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let migrated = (|| {
            connection.busy_timeout(PATIENCE)?;
            // Readers do not wait for a writer; what was told to be kept survives a loss of power.
            connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")?;
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let migrated = migrate(&transaction)?;
            transaction.commit().map(|()| migrated)
        })();
        migrated.map_err(|cause| StoreError::of(&self.path, cause))?.map_err(|name| {
            let message = format!("the store {} was written by a newer version of this program (it has `{name}`)", self.path.display());
            StoreError::new(message, "run that version, or put back the copy of the store from before it was upgraded")
        })
    }

    /// Asks the store something.
    ///
    /// # Errors
    /// What `question` answers, and where the store cannot be read.
    pub async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(TransactionBehavior::Deferred, question).await
    }

    /// Changes the store in one transaction: all of it is kept or nothing, and no other process's write comes between what `change`
    /// reads and what it writes.
    ///
    /// # Errors
    /// What `change` answers (nothing is kept then), and where the store cannot be written.
    pub async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(TransactionBehavior::Immediate, change).await
    }

    async fn run<T: Send + 'static>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        let running = tokio::task::spawn_blocking(move || {
            let mut connection = store.connection.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = connection.transaction_with_behavior(behavior).and_then(|transaction| {
                let outcome = work(&transaction)?;
                transaction.commit().map(|()| outcome)
            });
            outcome.map_err(|cause| StoreError::of(&store.path, cause))
        });
        running.await.unwrap_or_else(|_| Err(StoreError::new("a question to the store broke off", "the log says why")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    async fn count(store: &Store) -> i64 {
        store.read(|tables| tables.query_row("SELECT count(*) FROM thing", (), |row| row.get(0))).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_processes_writes_do_not_come_between_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let (one, other) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
        one.write(|tables| tables.execute_batch("CREATE TABLE thing (number INTEGER) STRICT")).await.unwrap();
        let add = |store: Store| async move {
            for _ in 0..50 {
                let next = |tables: &Transaction<'_>| {
                    let highest: i64 = tables.query_row("SELECT coalesce(max(number), 0) FROM thing", (), |row| row.get(0))?;
                    tables.execute("INSERT INTO thing VALUES (?1)", (highest + 1,))
                };
                store.write(next).await.unwrap();
            }
        };
        let both = (tokio::spawn(add(one.clone())), tokio::spawn(add(other)));
        both.0.await.unwrap();
        both.1.await.unwrap();
        let distinct = one.read(|tables| tables.query_row("SELECT count(DISTINCT number) FROM thing", (), |row| row.get(0))).await;
        assert_eq!((count(&one).await, distinct.unwrap()), (100, 100_i64));
    }

    #[tokio::test]
    async fn a_change_that_fails_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db")).unwrap();
        store.write(|tables| tables.execute_batch("CREATE TABLE thing (number INTEGER PRIMARY KEY) STRICT")).await.unwrap();
        let failed = store.write(|tables| {
            tables.execute("INSERT INTO thing VALUES (1)", ())?;
            tables.execute("INSERT INTO thing VALUES (1)", ())
        });
        assert!(failed.await.unwrap_err().is_conflict());
        assert_eq!(count(&store).await, 0);
    }

    #[test]
    fn the_file_is_its_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let _store = Store::open(&path).unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
        }
    }

    #[test]
    fn what_is_no_store_is_told_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        std::fs::write(&path, "dear diary, this is not a database at all").unwrap();
        let error = Store::open(&path).unwrap_err();
        assert!(error.to_string().contains("is damaged, or is no store"), "{error}");
        assert!(error.hint().is_some());
        assert_eq!(std::fs::read(&path).unwrap(), b"dear diary, this is not a database at all");
        let error = Store::open(&folder.path().join("no/store.db")).unwrap_err();
        assert!(error.to_string().contains("cannot be opened"), "{error}");
    }
}
