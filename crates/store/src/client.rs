//! Clients that have registered themselves (RFC 7591).

use rusqlite::{OptionalExtension as _, Transaction};

use crate::migration::Migration;

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "client",
        sql: "CREATE TABLE client (
            id TEXT PRIMARY KEY, document TEXT NOT NULL, secret BLOB, since INTEGER NOT NULL, used INTEGER, ends INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID",
    },
    Migration { name: "client: source", sql: "ALTER TABLE client ADD COLUMN source TEXT NOT NULL DEFAULT ''" },
];

/// Most of them: anybody may register, and each is some 2 KiB.
const MOST: i64 = 1_000;

/// Who makes room for another, the first that there is. Whoever registers many without a login pays with their own, and where half of all are of
/// such, whoever has most of them; then whoever came back
/// least recently and has nothing that is still good; and only then those who may be at the login page, or in use.
const MAKES_ROOM: [&str; 4] = [
    "SELECT id FROM client WHERE used IS NULL AND source =
        (SELECT source FROM client WHERE used IS NULL GROUP BY source
            HAVING count(*) > 10 OR (SELECT count(*) FROM client WHERE used IS NULL) > 500 ORDER BY count(*) DESC, source LIMIT 1)
        ORDER BY since, id LIMIT 1",
    "SELECT id FROM client WHERE used IS NOT NULL AND id NOT IN (SELECT client FROM token_grant) ORDER BY used, id LIMIT 1",
    "SELECT id FROM client WHERE used IS NULL ORDER BY since, id LIMIT 1",
    "SELECT id FROM client ORDER BY used, id LIMIT 1",
];

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

/// Keeps a client that registered from `source`. Where there are too many, another one makes room.
///
/// # Errors
/// Where the store cannot be written.
pub fn add(tables: &Transaction<'_>, client: &Client, source: &str) -> Result<(), rusqlite::Error> {
    let count: i64 = tables.query_row("SELECT count(*) FROM client", (), |row| row.get(0))?;
    if count >= MOST {
        make_room(tables)?;
    }
    let values = (&client.id, &client.document, client.secret, client.since, client.ends, source);
    tables.execute("INSERT INTO client (id, document, secret, since, ends, source) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", values)?;
    Ok(())
}

fn make_room(tables: &Transaction<'_>) -> Result<(), rusqlite::Error> {
    for one in MAKES_ROOM {
        if tables.execute(&format!("DELETE FROM client WHERE id = ({one})"), ())? > 0 {
            break;
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::Store;

    fn client(id: &str, since: i64) -> Client {
        Client { id: id.to_owned(), document: String::new(), secret: None, since, ends: i64::MAX }
    }

    fn add_many(tables: &Transaction<'_>, source: &str, many: i64) {
        for at in 0..many {
            add(tables, &client(&format!("{source}-{at}"), at), source).unwrap();
        }
    }

    fn is_there(tables: &Transaction<'_>, id: &str) -> bool {
        find(tables, id, 0).unwrap().is_some()
    }

    /// A store, and what is done in one transaction of it.
    async fn within(work: impl FnOnce(&Transaction<'_>) + Send + 'static) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db")).unwrap();
        let work = move |tables: &Transaction<'_>| {
            work(tables);
            Ok::<(), rusqlite::Error>(())
        };
        store.write(work).await.unwrap();
    }

    #[tokio::test]
    async fn who_registers_many_makes_room_for_others_and_themselves() {
        within(|tables| {
            add(tables, &client("at the login page", 0), "one").unwrap();
            add_many(tables, "many", 2 * MOST);
            assert!(is_there(tables, "at the login page"));
            assert!(!is_there(tables, "many-0") && is_there(tables, &format!("many-{}", 2 * MOST - 1)));
        })
        .await;
    }

    #[tokio::test]
    async fn few_from_each_of_many_networks_push_out_nobody_who_comes_back() {
        within(|tables| {
            add(tables, &client("used", 0), "one").unwrap();
            touch(tables, "used", 0, i64::MAX).unwrap();
            (0..120).for_each(|network| add_many(tables, &format!("network {network}"), 10));
            assert!(is_there(tables, "used"));
        })
        .await;
    }

    #[tokio::test]
    async fn who_has_nothing_that_is_good_makes_room_before_who_is_in_use() {
        within(|tables| {
            add_many(tables, "used", MOST);
            for at in 0..MOST {
                touch(tables, &format!("used-{at}"), at, i64::MAX).unwrap();
            }
            let grant = "INSERT INTO token_grant VALUES ('g', 'alice', 'used-0', '', '', '', x'00', 1, 0, 0, 9, 9)";
            tables.execute(grant, ()).unwrap();
            add(tables, &client("new", 1), "one").unwrap();
            add(tables, &client("newer", 2), "two").unwrap();
            assert!(is_there(tables, "used-0") && is_there(tables, "new"), "in use, and at the login page");
            assert!(!is_there(tables, "used-1") && !is_there(tables, "used-2"));
        })
        .await;
    }
}
