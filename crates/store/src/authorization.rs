//! Logins that are under way: what a client asked for, the codes that it gets, and what people have agreed to.

use rusqlite::{OptionalExtension as _, Transaction};

use crate::migration::Migration;

pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    name: "authorization",
    sql: "CREATE TABLE authorization_request (
            id BLOB PRIMARY KEY, browser BLOB NOT NULL, request TEXT NOT NULL, since INTEGER NOT NULL, ends INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX authorization_request_since ON authorization_request (since);
        CREATE TABLE authorization_code (
            code BLOB PRIMARY KEY, authorization TEXT NOT NULL, token_grant TEXT NOT NULL, is_used INTEGER NOT NULL, ends INTEGER NOT NULL,
            kept_until INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE consent (
            user TEXT NOT NULL, client TEXT NOT NULL, redirect TEXT NOT NULL, resource TEXT NOT NULL, scopes TEXT NOT NULL, ends INTEGER NOT NULL,
            PRIMARY KEY (user, client, redirect, resource)
        ) STRICT, WITHOUT ROWID",
}];

/// Logins under way at once: anybody may begin one. Past that the oldest makes room, so that a flood delays nobody for longer than
/// it lasts.
const REQUESTS: i64 = 10_000;
/// Consents of one user: a hundred clients at ten endpoints each.
const CONSENTS: i64 = 1_000;

/// Keeps what a client asked for at the browser with this cookie (its digest).
///
/// # Errors
/// Where the store cannot be written.
pub fn add_request(
    tables: &Transaction<'_>,
    id: &[u8; 32],
    browser: &[u8; 32],
    request: &str,
    (now, ends): (i64, i64),
) -> Result<(), rusqlite::Error> {
    let count: i64 = tables.query_row("SELECT count(*) FROM authorization_request", (), |row| row.get(0))?;
    if count >= REQUESTS {
        let oldest = "DELETE FROM authorization_request WHERE id = (SELECT id FROM authorization_request ORDER BY since LIMIT 1)";
        tables.execute(oldest, ())?;
    }
    tables.execute("INSERT INTO authorization_request VALUES (?1, ?2, ?3, ?4, ?5)", (id, browser, request, now, ends)).map(drop)
}

/// What was asked for, if at this very browser.
///
/// # Errors
/// Where the store cannot be read.
pub fn find_request(tables: &Transaction<'_>, id: &[u8; 32], browser: &[u8; 32], now: i64) -> Result<Option<String>, rusqlite::Error> {
    let found = "SELECT request FROM authorization_request WHERE id = ?1 AND browser = ?2 AND ends > ?3";
    tables.query_row(found, (id, browser, now), |row| row.get(0)).optional()
}

/// The same, and nobody gets it again.
///
/// # Errors
/// Where the store cannot be written.
pub fn take_request(tables: &Transaction<'_>, id: &[u8; 32], browser: &[u8; 32], now: i64) -> Result<Option<String>, rusqlite::Error> {
    let taken = "DELETE FROM authorization_request WHERE id = ?1 AND browser = ?2 AND ends > ?3 RETURNING request";
    tables.query_row(taken, (id, browser, now), |row| row.get(0)).optional()
}

/// Gives a request to the cookie that a login has put in the place of another.
///
/// # Errors
/// Where the store cannot be written.
pub fn move_request(tables: &Transaction<'_>, id: &[u8; 32], from: &[u8; 32], to: &[u8; 32]) -> Result<bool, rusqlite::Error> {
    let moved = "UPDATE authorization_request SET browser = ?3 WHERE id = ?1 AND browser = ?2";
    Ok(tables.execute(moved, (id, from, to))? == 1)
}

/// What came of a code that was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// It was good, for the first and only time: what was agreed to, and the grant that comes of it.
    Good {
        /// What was agreed to, as it was kept.
        authorization: String,
        /// The id of the grant.
        grant: String,
    },
    /// It was used before: this grant came of it.
    Used(String),
    /// There is none, or it has ended.
    Unknown,
}

/// Keeps a code, by its digest, until `ends`; that it was used is known for longer, until `kept_until`.
///
/// # Errors
/// Where the store cannot be written.
pub fn add_code(
    tables: &Transaction<'_>,
    code: &[u8; 32],
    authorization: &str,
    grant: &str,
    (ends, kept_until): (i64, i64),
) -> Result<(), rusqlite::Error> {
    let values = (code, authorization, grant, ends, kept_until);
    tables.execute("INSERT INTO authorization_code VALUES (?1, ?2, ?3, 0, ?4, ?5)", values).map(drop)
}

/// Uses a code up.
///
/// # Errors
/// Where the store cannot be written.
pub fn take_code(tables: &Transaction<'_>, code: &[u8; 32], now: i64) -> Result<Code, rusqlite::Error> {
    let taken =
        "UPDATE authorization_code SET is_used = 1 WHERE code = ?1 AND is_used = 0 AND ends > ?2 RETURNING authorization, token_grant";
    let good = tables.query_row(taken, (code, now), |row| Ok(Code::Good { authorization: row.get(0)?, grant: row.get(1)? })).optional()?;
    if let Some(good) = good {
        return Ok(good);
    }
    let used = "SELECT token_grant FROM authorization_code WHERE code = ?1 AND is_used = 1";
    let used = tables.query_row(used, (code,), |row| row.get(0)).optional()?;
    Ok(used.map_or(Code::Unknown, Code::Used))
}

/// Who agreed to what: one client, sent back to one place, at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// The user's name.
    pub user: String,
    /// The client's id.
    pub client: String,
    /// Where its answers are sent.
    pub redirect: String,
    /// The endpoint.
    pub resource: String,
}

/// Remembers that the user agreed to these scopes.
///
/// # Errors
/// Where the store cannot be written.
pub fn agree(tables: &Transaction<'_>, consent: &Consent, scopes: &str, ends: i64) -> Result<(), rusqlite::Error> {
    let count: i64 = tables.query_row("SELECT count(*) FROM consent WHERE user = ?1", (&consent.user,), |row| row.get(0))?;
    if count >= CONSENTS {
        return Ok(()); // the user is asked again the next time
    }
    let values = (&consent.user, &consent.client, &consent.redirect, &consent.resource, scopes, ends);
    tables.execute("INSERT OR REPLACE INTO consent VALUES (?1, ?2, ?3, ?4, ?5, ?6)", values).map(drop)
}

/// The scopes that the user agreed to.
///
/// # Errors
/// Where the store cannot be read.
pub fn agreed(tables: &Transaction<'_>, consent: &Consent, now: i64) -> Result<Option<String>, rusqlite::Error> {
    let found = "SELECT scopes FROM consent WHERE user = ?1 AND client = ?2 AND redirect = ?3 AND resource = ?4 AND ends > ?5";
    let values = (&consent.user, &consent.client, &consent.redirect, &consent.resource, now);
    tables.query_row(found, values, |row| row.get(0)).optional()
}

/// Takes back what a user agreed to.
///
/// # Errors
/// Where the store cannot be written.
pub fn disagree(tables: &Transaction<'_>, user: &str, client: &str) -> Result<(), rusqlite::Error> {
    tables.execute("DELETE FROM consent WHERE user = ?1 AND client = ?2", (user, client)).map(drop)
}

/// Forgets what has ended.
///
/// # Errors
/// Where the store cannot be written.
pub fn sweep(tables: &Transaction<'_>, now: i64) -> Result<(), rusqlite::Error> {
    tables.execute("DELETE FROM authorization_request WHERE ends <= ?1", (now,))?;
    tables.execute("DELETE FROM authorization_code WHERE kept_until <= ?1", (now,))?;
    tables.execute("DELETE FROM consent WHERE ends <= ?1", (now,)).map(drop)
}
