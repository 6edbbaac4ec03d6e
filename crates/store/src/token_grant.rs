//! What clients may do in whose name: the families of tokens.
//!
//! A refresh token is not kept: it names its grant and its generation, and the grant's secret proves it. So a family is one row however
//! often it was refreshed, and every token of it that was ever given out is known again.

use rusqlite::{OptionalExtension as _, Row, Transaction};

use crate::migration::Migration;

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "token_grant",
        sql: "CREATE TABLE token_grant (
            id TEXT PRIMARY KEY, user TEXT NOT NULL, client TEXT NOT NULL, client_name TEXT NOT NULL, resource TEXT NOT NULL,
            scopes TEXT NOT NULL, secret BLOB NOT NULL, generation INTEGER NOT NULL, since INTEGER NOT NULL, used INTEGER NOT NULL,
            idle_until INTEGER NOT NULL, ends INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX token_grant_of_user ON token_grant (user, since);
        CREATE TABLE revoked (id TEXT PRIMARY KEY, ends INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE used_once (id BLOB PRIMARY KEY, ends INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    },
    Migration {
        name: "token_grant: used_once by client",
        sql: "ALTER TABLE used_once ADD COLUMN client TEXT NOT NULL DEFAULT '';
        CREATE INDEX used_once_of_client ON used_once (client)",
    },
    Migration {
        name: "token_grant: withdrawals",
        sql: "CREATE TABLE withdrawal (count INTEGER NOT NULL) STRICT; INSERT INTO withdrawal VALUES (0)",
    },
];

/// Grants of one user: more than clients that a person uses, and a bound to what a broken one can make.
const OF_ONE_USER: i64 = 500;
/// Ids that are to be seen only once, at a time: each is signed, and kept for an hour.
const ONCE: i64 = 100_000;
/// How many of them may be of clients that anybody can make: those that were configured always have room.
const ONCE_OF_STRANGERS: i64 = 50_000;

/// How many of them of one such client: one for each token, which is good for a quarter of an hour.
const ONCE_OF_ONE_STRANGER: i64 = 1_000;

/// For how many seconds after its end a token may still be taken, by clocks that differ.
const SKEW: i64 = 60;

/// One family of tokens. Moments in seconds since 1970.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenGrant {
    /// Its id, which its access tokens name as `sid`.
    pub id: String,
    /// In whose name.
    pub user: String,
    /// The client.
    pub client: String,
    /// What the client calls itself.
    pub client_name: String,
    /// The endpoint.
    pub resource: String,
    /// What for.
    pub scopes: String,
    /// Proves its refresh tokens.
    pub secret: [u8; 32],
    /// How often it was refreshed.
    pub generation: i64,
    /// When it was given.
    pub since: i64,
    /// When it was last refreshed.
    pub used: i64,
    /// When it ends unless it is refreshed.
    pub idle_until: i64,
    /// When it ends in any case.
    pub ends: i64,
}

impl std::fmt::Debug for TokenGrant {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("TokenGrant").field("id", &self.id).field("user", &self.user).field("client", &self.client).finish_non_exhaustive()
    }
}

const COLUMNS: &str = "id, user, client, client_name, resource, scopes, secret, generation, since, used, idle_until, ends";

fn read(row: &Row<'_>) -> Result<TokenGrant, rusqlite::Error> {
    Ok(TokenGrant {
        id: row.get(0)?,
        user: row.get(1)?,
        client: row.get(2)?,
        client_name: row.get(3)?,
        resource: row.get(4)?,
        scopes: row.get(5)?,
        secret: row.get(6)?,
        generation: row.get(7)?,
        since: row.get(8)?,
        used: row.get(9)?,
        idle_until: row.get(10)?,
        ends: row.get(11)?,
    })
}

/// Keeps a grant. Of one user's too many the oldest ends.
///
/// # Errors
/// Where the store cannot be written.
pub fn add(tables: &Transaction<'_>, grant: &TokenGrant) -> Result<(), rusqlite::Error> {
    let TokenGrant { id, user, client, client_name, resource, scopes, secret, generation, since, used, idle_until, ends } = grant;
    let values = (id, user, client, client_name, resource, scopes, secret, generation, since, used, idle_until, ends);
    let added = format!("INSERT INTO token_grant ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)");
    tables.execute(&added, values)?;
    let beyond = "DELETE FROM token_grant WHERE id IN (SELECT id FROM token_grant WHERE user = ?1 ORDER BY since DESC LIMIT -1 OFFSET ?2)";
    tables.execute(beyond, (user, OF_ONE_USER)).map(drop)
}

/// The grant of that id, unless it has ended.
///
/// # Errors
/// Where the store cannot be read.
pub fn find(tables: &Transaction<'_>, id: &str, now: i64) -> Result<Option<TokenGrant>, rusqlite::Error> {
    let found = format!("SELECT {COLUMNS} FROM token_grant WHERE id = ?1 AND idle_until > ?2 AND ends > ?2");
    tables.query_row(&found, (id, now), read).optional()
}

/// Every grant, the newest first.
///
/// # Errors
/// Where the store cannot be read.
pub fn list(tables: &Transaction<'_>, now: i64) -> Result<Vec<TokenGrant>, rusqlite::Error> {
    let all = format!("SELECT {COLUMNS} FROM token_grant WHERE idle_until > ?1 AND ends > ?1 ORDER BY since DESC, id");
    tables.prepare(&all)?.query_map((now,), read)?.collect()
}

/// Takes a grant from one generation to the next. `false` where another got there first.
///
/// # Errors
/// Where the store cannot be written.
pub fn advance(tables: &Transaction<'_>, grant: &TokenGrant, now: i64, idle_until: i64) -> Result<bool, rusqlite::Error> {
    let advanced = "UPDATE token_grant SET generation = generation + 1, used = ?3, idle_until = ?4 WHERE id = ?1 AND generation = ?2";
    Ok(tables.execute(advanced, (&grant.id, grant.generation, now, idle_until))? == 1)
}

/// Ends a grant; its access tokens are refused until the last of them would have ended, at `ends`. Says whether there was one.
///
/// # Errors
/// Where the store cannot be written.
pub fn revoke(tables: &Transaction<'_>, id: &str, ends: i64) -> Result<bool, rusqlite::Error> {
    let removed = tables.execute("DELETE FROM token_grant WHERE id = ?1", (id,))?;
    revoke_token(tables, id, ends)?;
    Ok(removed == 1)
}

/// Ends every grant of a user. Says how many there were.
///
/// # Errors
/// Where the store cannot be written.
pub fn revoke_user(tables: &Transaction<'_>, user: &str, ends: i64) -> Result<usize, rusqlite::Error> {
    let mut removed = tables.prepare("DELETE FROM token_grant WHERE user = ?1 RETURNING id")?;
    let removed: Vec<String> = removed.query_map((user,), |row| row.get(0))?.collect::<Result<_, _>>()?;
    removed.iter().try_for_each(|id| revoke_token(tables, id, ends))?;
    Ok(removed.len())
}

/// Refuses one token, by its `jti`, or all of a grant, by its id, until `ends`.
///
/// # Errors
/// Where the store cannot be written.
pub fn revoke_token(tables: &Transaction<'_>, id: &str, ends: i64) -> Result<(), rusqlite::Error> {
    let revoked = "INSERT INTO revoked VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET ends = max(ends, excluded.ends)";
    tables.execute(revoked, (id, ends))?;
    count_withdrawal(tables)
}

/// Counts that a token, or somebody's right to one, was taken back.
pub(crate) fn count_withdrawal(tables: &Transaction<'_>) -> Result<(), rusqlite::Error> {
    tables.execute("UPDATE withdrawal SET count = count + 1", ()).map(drop)
}

/// How often something was taken back. As long as that stays the same, so does every answer of [`is_revoked`] and every user's standing.
///
/// # Errors
/// Where the store cannot be read.
pub fn withdrawals(tables: &Transaction<'_>) -> Result<u64, rusqlite::Error> {
    let count: i64 = tables.query_row("SELECT count FROM withdrawal", (), |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Whether a token was revoked: by its `jti`, or with its grant.
///
/// # Errors
/// Where the store cannot be read.
pub fn is_revoked(tables: &Transaction<'_>, jti: &str, grant: &str) -> Result<bool, rusqlite::Error> {
    tables.query_row("SELECT EXISTS (SELECT 1 FROM revoked WHERE id IN (?1, ?2))", (jti, grant), |row| row.get(0))
}

/// Whether an id of `client` is seen for the first time. Where there are too many nothing is taken for new; `is_stranger` says that anybody
/// can make such a client, which then has less room.
///
/// # Errors
/// Where the store cannot be written.
pub fn first_use(tables: &Transaction<'_>, id: &[u8; 32], client: &str, is_stranger: bool, ends: i64) -> Result<bool, rusqlite::Error> {
    let most = if is_stranger { ONCE_OF_STRANGERS } else { ONCE };
    let count: i64 = tables.query_row("SELECT count(*) FROM used_once", (), |row| row.get(0))?;
    let own = "SELECT count(*) FROM used_once WHERE client = ?1";
    if count >= most || (is_stranger && tables.query_row(own, (client,), |row| row.get::<_, i64>(0))? >= ONCE_OF_ONE_STRANGER) {
        return Ok(false);
    }
    Ok(tables.execute("INSERT OR IGNORE INTO used_once (id, client, ends) VALUES (?1, ?2, ?3)", (id, client, ends))? == 1)
}

/// Forgets what has ended.
///
/// # Errors
/// Where the store cannot be written.
pub fn sweep(tables: &Transaction<'_>, now: i64) -> Result<(), rusqlite::Error> {
    tables.execute("DELETE FROM token_grant WHERE idle_until <= ?1 OR ends <= ?1", (now,))?;
    tables.execute("DELETE FROM revoked WHERE ends <= ?1", (now - SKEW,))?;
    tables.execute("DELETE FROM used_once WHERE ends <= ?1", (now,)).map(drop)
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
        let mut uses = |client: &str, is_stranger| {
            number += 1;
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            first_use(&tables, &id, client, is_stranger, 10).unwrap()
        };
        for _ in 0..ONCE_OF_ONE_STRANGER {
            assert!(uses("greedy", true));
        }
        assert!(!uses("greedy", true));
        assert!(uses("other", true));
        for _ in 0..=ONCE_OF_ONE_STRANGER {
            assert!(uses("configured", false));
        }
        sweep(&tables, 10).unwrap();
        assert!(uses("greedy", true), "when their time is over there is room again");
    }
}
