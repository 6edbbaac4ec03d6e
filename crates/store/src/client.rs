//! Clients that have registered themselves (RFC 7591).

use rusqlite::{OptionalExtension as _, Transaction};

use crate::migration::Migration;

pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    name: "client",
    sql: "CREATE TABLE client (
        id TEXT PRIMARY KEY, document TEXT NOT NULL, secret BLOB, since INTEGER NOT NULL, used INTEGER, ends INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID",
}];

/// Most of them: anybody may register, and each is some 2 KiB.
const MOST: i64 = 1_000;

/// One registered client. Moments in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its `client_id`.
    pub id: String,
    /// What it registered, as JSON.
    pub document: String,
    /// The digest of its secret, if it has one.
    pub secret: Option<[u8; 32]>,
    /// When it registered.
    pub since: i64,
    /// When it is forgotten unless it is used.
    pub ends: i64,
}

/// Keeps a client. Where there are too many, the one that was never used and registered first makes room; `false` where there is none.
///
/// # Errors
/// Where the store cannot be written.
pub fn add(tables: &Transaction<'_>, client: &Client) -> Result<bool, rusqlite::Error> {
    let count: i64 = tables.query_row("SELECT count(*) FROM client", (), |row| row.get(0))?;
    if count >= MOST {
        let unused = "DELETE FROM client WHERE id = (SELECT id FROM client WHERE used IS NULL ORDER BY since, id LIMIT 1)";
        if tables.execute(unused, ())? == 0 {
            return Ok(false);
        }
    }
    let values = (&client.id, &client.document, client.secret, client.since, client.ends);
    tables.execute("INSERT INTO client (id, document, secret, since, ends) VALUES (?1, ?2, ?3, ?4, ?5)", values)?;
    Ok(true)
}

/// The client of that id.
///
/// # Errors
/// Where the store cannot be read.
pub fn find(tables: &Transaction<'_>, id: &str, now: i64) -> Result<Option<Client>, rusqlite::Error> {
    let found = "SELECT id, document, secret, since, ends FROM client WHERE id = ?1 AND ends > ?2";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Client { id: row.get(0)?, document: row.get(1)?, secret: row.get(2)?, since: row.get(3)?, ends: row.get(4)? })
    };
    tables.query_row(found, (id, now), read).optional()
}

/// Notes that a client got a token, and so is kept until `ends`.
///
/// # Errors
/// Where the store cannot be written.
pub fn touch(tables: &Transaction<'_>, id: &str, now: i64, ends: i64) -> Result<(), rusqlite::Error> {
    tables.execute("UPDATE client SET used = ?2, ends = max(ends, ?3) WHERE id = ?1", (id, now, ends)).map(drop)
}

/// Forgets those who have not come back.
///
/// # Errors
/// Where the store cannot be written.
pub fn sweep(tables: &Transaction<'_>, now: i64) -> Result<(), rusqlite::Error> {
    tables.execute("DELETE FROM client WHERE ends <= ?1", (now,)).map(drop)
}
