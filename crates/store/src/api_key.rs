//! Keys that were given out: what was said of each when it was made, and never the key itself.

use std::collections::HashSet;

use rusqlite::{OptionalExtension as _, Row, params};

use crate::migration::Migration;
use crate::{Store, StoreError};

pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    name: "api_key",
    sql: "CREATE TABLE api_key (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            digest BLOB NOT NULL UNIQUE,
            scopes TEXT,
            member_of TEXT NOT NULL,
            tenant TEXT NOT NULL,
            made INTEGER NOT NULL,
            ends INTEGER,
            used INTEGER
          ) STRICT;
          CREATE INDEX api_key_name ON api_key (tenant, name)",
}];

/// How exactly it is known when a key was used last, in seconds: one write a minute and key at most.
const USE_GRAIN: u64 = 60;

/// A key that was given out. Moments are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Names this very key in lists; no secret.
    pub id: String,
    /// Whose it is. During a rotation two keys have the same.
    pub name: String,
    /// What it is good for, as on the wire; `None` for everything that policy allows.
    pub scopes: Option<String>,
    /// The groups of its holder.
    pub groups: Vec<String>,
    /// Whose tenant it is of; empty where there are none.
    pub tenant: String,
    /// When it was made.
    pub made: u64,
    /// From when on it is not good any more.
    pub ends: Option<u64>,
    /// When it was used last, to the minute.
    pub used: Option<u64>,
}

impl ApiKey {
    /// Whether it is good at `now`.
    #[must_use]
    pub fn is_good(&self, now: u64) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }

    fn of(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let groups: String = row.get("member_of")?;
        Ok(Self {
            id: row.get("id")?,
            name: row.get("name")?,
            scopes: row.get("scopes")?,
            groups: groups.split('\n').filter(|group| !group.is_empty()).map(str::to_owned).collect(),
            tenant: row.get("tenant")?,
            made: moment(row.get("made")?),
            ends: row.get::<_, Option<i64>>("ends")?.map(moment),
            used: row.get::<_, Option<i64>>("used")?.map(moment),
        })
    }
}

/// SQLite's numbers have a sign, moments have none.
fn moment(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or_default()
}

fn number(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

impl Store {
    /// Keeps a new key, known by the SHA-256 `digest`. Where `replaces` is said, those of the same name and tenant end at that moment, if
    /// they do not end before. `false`, and nothing is kept, where there is or was one of that name and none is to be replaced.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn add_api_key(&self, key: ApiKey, digest: [u8; 32], replaces: Option<u64>) -> Result<bool, StoreError> {
        self.write(move |tables| {
            let (name, tenant, now) = (&key.name, &key.tenant, number(key.made));
            match replaces {
                Some(ends) => {
                    let sql = "UPDATE api_key SET ends = ?3 WHERE name = ?1 AND tenant = ?2 AND (ends IS NULL OR ends > ?3)";
                    tables.execute(sql, params![name, tenant, number(ends)])?;
                }
                None => {
                    // Also of one that has ended: what was kept for its holder would be somebody else's.
                    let sql = "SELECT 1 FROM api_key WHERE name = ?1 AND tenant = ?2";
                    if tables.query_row(sql, params![name, tenant], |_| Ok(())).optional()?.is_some() {
                        return Ok(false);
                    }
                }
            }
            let sql =
                "INSERT INTO api_key (id, name, digest, scopes, member_of, tenant, made, ends) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let groups = key.groups.join("\n");
            tables.execute(sql, params![key.id, name, digest, key.scopes, groups, tenant, now, key.ends.map(number)])?;
            Ok(true)
        })
        .await
    }

    /// The key of `tenant` with this SHA-256, good or not.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn api_key(&self, tenant: &str, digest: [u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        let (sql, tenant) = ("SELECT * FROM api_key WHERE digest = ?1 AND tenant = ?2", tenant.to_owned());
        self.read(move |tables| tables.query_row(sql, params![digest, tenant], ApiKey::of).optional()).await
    }

    /// The names of the keys of `tenant` that are good at `now`.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn names_of_good_api_keys(&self, tenant: &str, now: u64) -> Result<HashSet<String>, StoreError> {
        let (sql, tenant) = ("SELECT name FROM api_key WHERE tenant = ?1 AND (ends IS NULL OR ends > ?2)", tenant.to_owned());
        self.read(move |tables| tables.prepare(sql)?.query_map(params![tenant, number(now)], |row| row.get(0))?.collect()).await
    }

    /// Writes down that a key was used at `now`, where that is not known to the minute.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn note_use_of_api_key(&self, key: &ApiKey, now: u64) -> Result<(), StoreError> {
        if key.used.is_some_and(|used| now < used + USE_GRAIN) {
            return Ok(());
        }
        let (sql, id) = ("UPDATE api_key SET used = ?2 WHERE id = ?1", key.id.clone());
        self.write(move |tables| tables.execute(sql, params![id, number(now)]).map(drop)).await
    }

    /// Every key, the newest first.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.read(|tables| {
            let mut rows = tables.prepare("SELECT * FROM api_key ORDER BY made DESC, id")?;
            rows.query_map((), ApiKey::of)?.collect()
        })
        .await
    }

    /// Ends the good keys of this name, or the one with this id, at `now`; says how many there were.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn revoke_api_key(&self, name: &str, now: u64) -> Result<usize, StoreError> {
        let name = name.to_owned();
        self.write(move |tables| {
            let sql = "UPDATE api_key SET ends = ?2 WHERE (name = ?1 OR id = ?1) AND (ends IS NULL OR ends > ?2)";
            tables.execute(sql, params![name, number(now)])
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn key(id: &str) -> ApiKey {
        ApiKey {
            id: id.into(),
            name: "ci".into(),
            scopes: Some("files:read".into()),
            groups: vec!["build".into(), "two words".into()],
            tenant: String::new(),
            made: 1_000,
            ends: None,
            used: None,
        }
    }

    #[tokio::test]
    async fn a_key_is_good_until_it_ends_and_both_are_while_it_is_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db")).unwrap();
        assert!(store.add_api_key(key("one"), [1; 32], None).await.unwrap());
        assert!(!store.add_api_key(key("two"), [2; 32], None).await.unwrap(), "a name is one caller's");
        assert!(store.add_api_key(ApiKey { made: 2_000, ..key("two") }, [2; 32], Some(2_500)).await.unwrap());

        let old = store.api_key("", [1; 32]).await.unwrap().unwrap();
        store.note_use_of_api_key(&old, 2_100).await.unwrap();
        assert!(old.is_good(2_499) && !old.is_good(2_500));
        assert_eq!(old.groups, key("one").groups);
        assert_eq!(store.api_key("", [3; 32]).await.unwrap(), None);
        assert_eq!(store.api_key("acme", [1; 32]).await.unwrap(), None, "it is not this tenant's");

        let good = |now| store.names_of_good_api_keys("", now);
        assert!(good(3_000).await.unwrap().contains("ci"), "the new one is");
        assert!(store.names_of_good_api_keys("acme", 3_000).await.unwrap().is_empty());
        assert_eq!(store.revoke_api_key("ci", 2_200).await.unwrap(), 2);
        assert_eq!(store.revoke_api_key("ci", 2_300).await.unwrap(), 0);
        assert!(good(2_199).await.unwrap().contains("ci") && good(2_200).await.unwrap().is_empty());
        let listed = store.api_keys().await.unwrap();
        assert!(listed.iter().all(|key| !key.is_good(2_200)));
        assert_eq!(listed.iter().map(|key| (key.id.as_str(), key.used)).collect::<Vec<_>>(), [("two", None), ("one", Some(2_100))]);
    }
}
