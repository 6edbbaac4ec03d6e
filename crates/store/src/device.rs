//! Logins of programs without a browser that are under way (RFC 8628).

use rusqlite::{OptionalExtension as _, Transaction};

use crate::migration::Migration;

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "device",
        sql: "CREATE TABLE device (
            code BLOB PRIMARY KEY, user_code TEXT NOT NULL UNIQUE, client TEXT NOT NULL, request TEXT NOT NULL, user TEXT, is_denied INTEGER NOT NULL,
            polled INTEGER NOT NULL, ends INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID",
    },
    Migration { name: "device: source", sql: "ALTER TABLE device ADD COLUMN source TEXT NOT NULL DEFAULT ''" },
    // What was agreed to before there was this column was agreed to in no user's epoch.
    Migration { name: "device: epoch", sql: "ALTER TABLE device ADD COLUMN epoch INTEGER NOT NULL DEFAULT -1" },
];

/// Most at once: anybody may begin one, and a person types the code within minutes. Past that, whoever has begun the most makes room with
/// the oldest of theirs, so that a stranger takes the place of nobody else.
const MOST: i64 = 1_000;

/// What has become of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// Nobody has typed its code.
    Pending,
    /// It asks more often than it may.
    TooSoon,
    /// This user agreed to this request.
    Approved {
        /// The user's name.
        user: String,
        /// The user's epoch when they agreed.
        epoch: i64,
        /// What was asked for.
        request: String,
    },
    /// Somebody refused.
    Denied,
    /// There is none, or it has ended.
    Unknown,
}

/// Keeps one, which was begun from `source`. `false` where its user code is taken.
///
/// # Errors
/// Where the store cannot be written.
pub fn add(
    tables: &Transaction<'_>,
    code: &[u8; 32],
    user_code: &str,
    (client, request, source): (&str, &str, &str),
    ends: i64,
) -> Result<bool, rusqlite::Error> {
    let count: i64 = tables.query_row("SELECT count(*) FROM device", (), |row| row.get(0))?;
    if count >= MOST {
        let oldest_of_most = "DELETE FROM device WHERE code = (SELECT code FROM device WHERE source =
            (SELECT source FROM device GROUP BY source ORDER BY count(*) DESC, min(ends) LIMIT 1) ORDER BY ends LIMIT 1)";
        tables.execute(oldest_of_most, ())?;
    }
    let added = "INSERT OR IGNORE INTO device (code, user_code, client, request, user, is_denied, polled, ends, source)
        VALUES (?1, ?2, ?3, ?4, NULL, 0, 0, ?5, ?6)";
    Ok(tables.execute(added, (code, user_code, client, request, ends, source))? == 1)
}

/// What the holder of a user code wants, if nobody has decided.
///
/// # Errors
/// Where the store cannot be read.
pub fn find(tables: &Transaction<'_>, user_code: &str, now: i64) -> Result<Option<String>, rusqlite::Error> {
    let found = "SELECT request FROM device WHERE user_code = ?1 AND user IS NULL AND is_denied = 0 AND ends > ?2";
    tables.query_row(found, (user_code, now), |row| row.get(0)).optional()
}

/// Decides about one: for a user in their epoch, or against it. `false` where somebody has, or it has ended.
///
/// # Errors
/// Where the store cannot be written.
pub fn decide(tables: &Transaction<'_>, user_code: &str, user: Option<(&str, i64)>, now: i64) -> Result<bool, rusqlite::Error> {
    let decided = "UPDATE device SET user = ?2, epoch = ifnull(?3, epoch), is_denied = ?2 IS NULL
        WHERE user_code = ?1 AND user IS NULL AND is_denied = 0 AND ends > ?4";
    Ok(tables.execute(decided, (user_code, user.map(|user| user.0), user.map(|user| user.1), now))? == 1)
}

/// What has become of the one with this code and client; nobody learns of a decision twice. `interval` seconds have to lie between
/// two questions.
///
/// # Errors
/// Where the store cannot be written.
pub fn poll(tables: &Transaction<'_>, code: &[u8; 32], client: &str, interval: i64, now: i64) -> Result<Device, rusqlite::Error> {
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
    let found = "SELECT user, epoch, is_denied, polled, request FROM device WHERE code = ?1 AND client = ?2 AND ends > ?3";
    let found: Option<(Option<String>, i64, bool, i64, String)> = tables.query_row(found, (code, client, now), read).optional()?;
    let Some((user, epoch, is_denied, polled, request)) = found else { return Ok(Device::Unknown) };
    if user.is_some() || is_denied {
        tables.execute("DELETE FROM device WHERE code = ?1", (code,))?;
    } else {
        tables.execute("UPDATE device SET polled = ?2 WHERE code = ?1", (code, now))?;
    }
    Ok(match user {
        Some(user) => Device::Approved { user, epoch, request },
        None if is_denied => Device::Denied,
        None if now < polled + interval => Device::TooSoon,
        None => Device::Pending,
    })
}

/// Forgets what has ended.
///
/// # Errors
/// Where the store cannot be written.
pub fn sweep(tables: &Transaction<'_>, now: i64) -> Result<(), rusqlite::Error> {
    tables.execute("DELETE FROM device WHERE ends <= ?1", (now,)).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn one_stranger_leaves_room_to_the_others() {
        let mut connection = Connection::open_in_memory().unwrap();
        let tables = connection.transaction().unwrap();
        crate::migration::migrate(&tables).unwrap().unwrap();
        let mut number = 0_u64;
        let mut begin = |source: &str, ends: i64| {
            number += 1;
            let (mut code, user_code) = ([0; 32], number.to_string());
            code[..8].copy_from_slice(&number.to_be_bytes());
            assert!(add(&tables, &code, &user_code, ("client", "request", source), ends).unwrap(), "{source}");
            user_code
        };
        let before = begin("203.0.113.7", 100);
        let first = begin("198.51.100.1", 101);
        for _ in 0..2 * MOST {
            begin("198.51.100.1", 101);
        }
        let after = begin("203.0.113.8", 102);
        let is_there = |user_code: &str| find(&tables, user_code, 1).unwrap().is_some();
        assert!(is_there(&before) && is_there(&after), "whoever floods the table makes room");
        assert!(!is_there(&first));
        assert_eq!(tables.query_row("SELECT count(*) FROM device", (), |row| row.get::<_, i64>(0)).unwrap(), MOST);
    }
}
