//! The keys that tokens are signed with.

use rusqlite::{Row, Transaction};

use crate::migration::Migration;

pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    name: "signing_key",
    sql: "CREATE TABLE signing_key (
        id TEXT PRIMARY KEY, algorithm TEXT NOT NULL, pkcs8 BLOB NOT NULL, signs_from INTEGER NOT NULL, signs_until INTEGER NOT NULL,
        ends INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID",
}];

/// One key pair. All moments in seconds since 1970.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// What tokens call it (`kid`).
    pub id: String,
    /// What it signs by (`alg`).
    pub algorithm: String,
    /// The pair.
    pub pkcs8: Vec<u8>,
    /// From when on it signs. It is published before.
    pub signs_from: i64,
    /// When the next one takes over.
    pub signs_until: i64,
    /// When the last token that it signed has ended, and nobody need know it any more.
    pub ends: i64,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

fn read(row: &Row<'_>) -> Result<SigningKey, rusqlite::Error> {
    Ok(SigningKey {
        id: row.get(0)?,
        algorithm: row.get(1)?,
        pkcs8: row.get(2)?,
        signs_from: row.get(3)?,
        signs_until: row.get(4)?,
        ends: row.get(5)?,
    })
}

/// Keeps a key.
///
/// # Errors
/// Where the store cannot be written.
pub fn add(tables: &Transaction<'_>, key: &SigningKey) -> Result<(), rusqlite::Error> {
    let values = (&key.id, &key.algorithm, &key.pkcs8, key.signs_from, key.signs_until, key.ends);
    tables.execute("INSERT INTO signing_key VALUES (?1, ?2, ?3, ?4, ?5, ?6)", values).map(drop)
}

/// Every key that has not ended, the one that signs the longest first.
///
/// # Errors
/// Where the store cannot be read.
pub fn list(tables: &Transaction<'_>, now: i64) -> Result<Vec<SigningKey>, rusqlite::Error> {
    let mut all = tables.prepare("SELECT * FROM signing_key WHERE ends > ?1 ORDER BY signs_until DESC, id")?;
    all.query_map((now,), read)?.collect()
}

/// Forgets the keys that have ended.
///
/// # Errors
/// Where the store cannot be written.
pub fn sweep(tables: &Transaction<'_>, now: i64) -> Result<(), rusqlite::Error> {
    tables.execute("DELETE FROM signing_key WHERE ends <= ?1", (now,)).map(drop)
}
