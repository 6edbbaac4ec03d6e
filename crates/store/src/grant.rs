//! What users granted to the gateway at upstream servers, the clients that it is there, and the logins under way.
//!
//! Whatever opens a door is sealed before it comes here: a copy of the file gives nobody a token of another server.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use crate::migration::Migration;
use crate::{Store, StoreError};

/// Logins under way at most, over all users: each lasts ten minutes, and a call that needs a grant begins one. Past that, whoever has begun the
/// most makes room with the oldest of theirs, so that a program which tries again and again is in nobody's way but its user's.
const MOST_LOGINS: i64 = 10_000;

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "upstream grant",
        sql: "
CREATE TABLE upstream_grant (
    tenant TEXT NOT NULL, principal TEXT NOT NULL, resource TEXT NOT NULL, issuer TEXT NOT NULL,
    generation INTEGER NOT NULL, sealed BLOB NOT NULL, expires INTEGER NOT NULL, updated INTEGER NOT NULL,
    lease_holder TEXT NOT NULL DEFAULT '', lease_until INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, principal, resource, issuer)
) STRICT;
CREATE TABLE upstream_client (
    issuer TEXT NOT NULL, redirect TEXT NOT NULL, generation INTEGER NOT NULL, sealed BLOB,
    PRIMARY KEY (issuer, redirect)
) STRICT;
CREATE TABLE upstream_login (id TEXT PRIMARY KEY, sealed BLOB NOT NULL, expires INTEGER NOT NULL) STRICT;
",
    },
    Migration {
        name: "upstream grant: owner of a login",
        sql: "ALTER TABLE upstream_login ADD COLUMN owner TEXT NOT NULL DEFAULT '';
            CREATE INDEX upstream_login_of_owner ON upstream_login (owner, expires)",
    },
];

/// Whose grant it is, for what, by whom: what a grant is found by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GrantId {
    /// The user's tenant; empty where there are none.
    pub tenant: String,
    /// The user, unique in the tenant.
    pub principal: String,
    /// The server's address.
    pub resource: String,
    /// Who issued the tokens.
    pub issuer: String,
}

/// A kept grant.
#[derive(Clone, Debug)]
pub struct KeptGrant {
    /// What it is found by.
    pub id: GrantId,
    /// Which of the gateway's clients at the issuer it was given to.
    pub generation: i64,
    /// Its tokens, sealed.
    pub sealed: Vec<u8>,
    /// When the access token ends (the refresh token lives on), in seconds since 1970.
    pub expires: i64,
    /// When it was written last, in seconds since 1970.
    pub updated: i64,
}

const GRANT: &str = "SELECT tenant, principal, resource, issuer, generation, sealed, expires, updated FROM upstream_grant";

fn grant(row: &Row<'_>) -> Result<KeptGrant, rusqlite::Error> {
    let id = GrantId { tenant: row.get(0)?, principal: row.get(1)?, resource: row.get(2)?, issuer: row.get(3)? };
    Ok(KeptGrant { id, generation: row.get(4)?, sealed: row.get(5)?, expires: row.get(6)?, updated: row.get(7)? })
}

impl Store {
    /// The newest grant of a user for a server, whoever issued it.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn upstream_grant(&self, tenant: &str, principal: &str, resource: &str) -> Result<Option<KeptGrant>, StoreError> {
        let (tenant, principal, resource) = (tenant.to_owned(), principal.to_owned(), resource.to_owned());
        self.read(move |tables| {
            let sql = format!("{GRANT} WHERE tenant = ?1 AND principal = ?2 AND resource = ?3 ORDER BY updated DESC LIMIT 1");
            tables.query_row(&sql, params![tenant, principal, resource], grant).optional()
        })
        .await
    }

    /// Every grant, by tenant, user and server.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn upstream_grants(&self) -> Result<Vec<KeptGrant>, StoreError> {
        self.read(|tables| {
            let mut all = tables.prepare(&format!("{GRANT} ORDER BY tenant, principal, resource, issuer"))?;
            all.query_map((), grant)?.collect()
        })
        .await
    }

    /// Keeps a grant in the place of the one of the same id. Whoever renews that one has lost the right to.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn keep_upstream_grant(&self, kept: KeptGrant) -> Result<(), StoreError> {
        self.write(move |tables| {
            let KeptGrant { id, generation, sealed, expires, updated } = kept;
            tables.execute(
                "INSERT INTO upstream_grant (tenant, principal, resource, issuer, generation, sealed, expires, updated)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE
                 SET generation = excluded.generation, sealed = excluded.sealed, expires = excluded.expires, updated = excluded.updated,
                     lease_holder = '', lease_until = 0",
                params![id.tenant, id.principal, id.resource, id.issuer, generation, sealed, expires, updated],
            )?;
            Ok(())
        })
        .await
    }

    /// Keeps what a grant was renewed to, for who has the right to renew it; `false` where the grant was forgotten, or given anew, since.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn renew_upstream_grant(&self, kept: KeptGrant, holder: String) -> Result<bool, StoreError> {
        self.write(move |tables| {
            let KeptGrant { id, generation, sealed, expires, updated } = kept;
            let changed = tables.execute(
                "UPDATE upstream_grant SET generation = ?5, sealed = ?6, expires = ?7, updated = ?8
                 WHERE tenant = ?1 AND principal = ?2 AND resource = ?3 AND issuer = ?4 AND lease_holder = ?9",
                params![id.tenant, id.principal, id.resource, id.issuer, generation, sealed, expires, updated, holder],
            )?;
            Ok(changed == 1)
        })
        .await
    }

    /// Forgets the grants of a user for a server, where `holder` still has the right to renew the one of this id: what was given anew stays.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn give_up_upstream_grant(&self, id: GrantId, holder: String) -> Result<(), StoreError> {
        self.write(move |tables| {
            tables.execute(
                "DELETE FROM upstream_grant WHERE tenant = ?1 AND principal = ?2 AND resource = ?3 AND EXISTS
                 (SELECT 1 FROM upstream_grant WHERE tenant = ?1 AND principal = ?2 AND resource = ?3 AND issuer = ?4 AND lease_holder = ?5)",
                params![id.tenant, id.principal, id.resource, id.issuer, holder],
            )?;
            Ok(())
        })
        .await
    }

    /// Forgets the grants of a user (`None`: of all; a user without a tenant: of that id in any) for a server (`None`: for all), and says how many there were.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn forget_upstream_grants(
        &self,
        owner: Option<(Option<String>, String)>,
        resource: Option<String>,
    ) -> Result<usize, StoreError> {
        let (tenant, principal) = owner.map_or((None, None), |(tenant, principal)| (tenant, Some(principal)));
        self.write(move |tables| {
            tables.execute(
                "DELETE FROM upstream_grant WHERE (?1 IS NULL OR tenant = ?1) AND (?2 IS NULL OR principal = ?2)
                 AND (?3 IS NULL OR resource = ?3)",
                params![tenant, principal, resource],
            )
        })
        .await
    }

    /// Takes the right to renew a grant, from `now` to `until`; `false` where somebody else has it.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn lease_upstream_grant(&self, id: GrantId, holder: String, now: i64, until: i64) -> Result<bool, StoreError> {
        self.write(move |tables| {
            let changed = tables.execute(
                "UPDATE upstream_grant SET lease_holder = ?5, lease_until = ?7
                 WHERE tenant = ?1 AND principal = ?2 AND resource = ?3 AND issuer = ?4 AND (lease_until <= ?6 OR lease_holder = ?5)",
                params![id.tenant, id.principal, id.resource, id.issuer, holder, now, until],
            )?;
            Ok(changed == 1)
        })
        .await
    }

    /// Holds on to the right to renew a grant until `until`; `false` where it is lost.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn prolong_upstream_lease(&self, id: GrantId, holder: String, until: i64) -> Result<bool, StoreError> {
        self.write(move |tables| {
            let changed = tables.execute(
                "UPDATE upstream_grant SET lease_until = ?6
                 WHERE tenant = ?1 AND principal = ?2 AND resource = ?3 AND issuer = ?4 AND lease_holder = ?5",
                params![id.tenant, id.principal, id.resource, id.issuer, holder, until],
            )?;
            Ok(changed == 1)
        })
        .await
    }

    /// Gives the right to renew a grant back.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn release_upstream_grant(&self, id: GrantId, holder: String) -> Result<(), StoreError> {
        self.write(move |tables| {
            tables.execute(
                "UPDATE upstream_grant SET lease_until = 0
                 WHERE tenant = ?1 AND principal = ?2 AND resource = ?3 AND issuer = ?4 AND lease_holder = ?5",
                params![id.tenant, id.principal, id.resource, id.issuer, holder],
            )?;
            Ok(())
        })
        .await
    }

    /// The client that the gateway is at an issuer, with its generation; the client is `None` where it was given up.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn upstream_client(&self, issuer: &str, redirect: &str) -> Result<Option<(i64, Option<Vec<u8>>)>, StoreError> {
        let (issuer, redirect) = (issuer.to_owned(), redirect.to_owned());
        self.read(move |tables| {
            let sql = "SELECT generation, sealed FROM upstream_client WHERE issuer = ?1 AND redirect = ?2";
            tables.query_row(sql, params![issuer, redirect], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .await
    }

    /// Keeps a client that was registered anew, unless another process was faster; says which one holds.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn keep_upstream_client(&self, issuer: String, redirect: String, sealed: Vec<u8>) -> Result<(i64, Vec<u8>), StoreError> {
        self.write(move |tables| {
            tables.execute(
                "INSERT INTO upstream_client (issuer, redirect, generation, sealed) VALUES (?1, ?2, 1, ?3) ON CONFLICT DO UPDATE
                 SET sealed = excluded.sealed, generation = generation + 1 WHERE sealed IS NULL",
                params![issuer, redirect, sealed],
            )?;
            let sql = "SELECT generation, sealed FROM upstream_client WHERE issuer = ?1 AND redirect = ?2";
            tables.query_row(sql, params![issuer, redirect], |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .await
    }

    /// Gives up a client that its issuer does not know any more.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn give_up_upstream_client(&self, issuer: String, generation: i64) -> Result<(), StoreError> {
        self.write(move |tables| {
            let sql = "UPDATE upstream_client SET sealed = NULL WHERE issuer = ?1 AND generation = ?2";
            tables.execute(sql, params![issuer, generation]).map(|_| ())
        })
        .await
    }

    /// Keeps a login under way, which `owner` is to finish, and forgets those that are over.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn begin_upstream_login(
        &self,
        id: String,
        sealed: Vec<u8>,
        owner: String,
        (now, expires): (i64, i64),
    ) -> Result<(), StoreError> {
        self.write(move |tables| {
            tables.execute("DELETE FROM upstream_login WHERE expires <= ?1", (now,))?;
            let count: i64 = tables.query_row("SELECT count(*) FROM upstream_login", (), |row| row.get(0))?;
            if count >= MOST_LOGINS {
                let oldest_of_most = "DELETE FROM upstream_login WHERE id = (SELECT id FROM upstream_login WHERE owner =
                    (SELECT owner FROM upstream_login GROUP BY owner ORDER BY count(*) DESC, min(expires) LIMIT 1) ORDER BY expires LIMIT 1)";
                tables.execute(oldest_of_most, ())?;
            }
            let sql = "INSERT INTO upstream_login (id, sealed, expires, owner) VALUES (?1, ?2, ?3, ?4)";
            tables.execute(sql, params![id, sealed, expires, owner]).map(drop)
        })
        .await
    }

    /// A login under way, which stays.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn upstream_login(&self, id: String, now: i64) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(move |tables| {
            let sql = "SELECT sealed FROM upstream_login WHERE id = ?1 AND expires > ?2";
            tables.query_row(sql, params![id, now], |row| row.get(0)).optional()
        })
        .await
    }

    /// Takes a login under way: it is had once, by one process.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn take_upstream_login(&self, id: String, now: i64) -> Result<Option<Vec<u8>>, StoreError> {
        self.write(move |tables| {
            let sql = "DELETE FROM upstream_login WHERE id = ?1 RETURNING sealed, expires";
            let taken: Option<(Vec<u8>, i64)> = tables.query_row(sql, (id,), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            Ok(taken.filter(|(_, expires)| *expires > now).map(|(sealed, _)| sealed))
        })
        .await
    }

    /// Seals everything anew, all of it or nothing: `anew` gets what each is bound to and its sealed bytes. Logins under way are dropped.
    /// Says how many grants there are.
    ///
    /// # Errors
    /// Where the store cannot be written, or `anew` gives nothing for one of them.
    pub async fn reseal_upstream(&self, anew: impl Fn(&str, &[u8]) -> Option<Vec<u8>> + Send + 'static) -> Result<usize, StoreError> {
        let failed = || rusqlite::Error::ToSqlConversionFailure("something kept cannot be opened with the keys that there are".into());
        self.write(move |tables| {
            tables.execute("DELETE FROM upstream_login", ())?;
            let grants: Vec<KeptGrant> = tables.prepare(GRANT)?.query_map((), grant)?.collect::<Result<_, _>>()?;
            for kept in &grants {
                let sealed = anew(&kept.id.bound(), &kept.sealed).ok_or_else(failed)?;
                reseal_grant(tables, &kept.id, &sealed)?;
            }
            let sql = "SELECT issuer, redirect, sealed FROM upstream_client WHERE sealed IS NOT NULL";
            let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let clients: Vec<(String, String, Vec<u8>)> = tables.prepare(sql)?.query_map((), row)?.collect::<Result<_, _>>()?;
            for (issuer, redirect, sealed) in clients {
                let sealed = anew(&client_bound(&issuer, &redirect), &sealed).ok_or_else(failed)?;
                let sql = "UPDATE upstream_client SET sealed = ?3 WHERE issuer = ?1 AND redirect = ?2";
                tables.execute(sql, params![issuer, redirect, sealed])?;
            }
            Ok(grants.len())
        })
        .await
    }
}

fn reseal_grant(tables: &Transaction<'_>, id: &GrantId, sealed: &[u8]) -> Result<(), rusqlite::Error> {
    let sql = "UPDATE upstream_grant SET sealed = ?5 WHERE tenant = ?1 AND principal = ?2 AND resource = ?3 AND issuer = ?4";
    tables.execute(sql, params![id.tenant, id.principal, id.resource, id.issuer, sealed]).map(|_| ())
}

impl GrantId {
    /// What a grant's sealed bytes are bound to: they cannot be put into another row.
    #[must_use]
    pub fn bound(&self) -> String {
        ["grant", &self.tenant, &self.principal, &self.resource, &self.issuer].join("\0")
    }
}

/// What a client's sealed bytes are bound to.
#[must_use]
pub fn client_bound(issuer: &str, redirect: &str) -> String {
    ["client", issuer, redirect].join("\0")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db")).unwrap();
        (folder, store)
    }

    fn of(principal: &str, issuer: &str, updated: i64) -> KeptGrant {
        let id = GrantId { tenant: String::new(), principal: principal.into(), resource: "r".into(), issuer: issuer.into() };
        KeptGrant { id, generation: 1, sealed: issuer.as_bytes().to_vec(), expires: 10, updated }
    }

    #[tokio::test]
    async fn a_grant_is_found_by_its_owner_alone() {
        let (_folder, store) = store();
        store.keep_upstream_grant(of("alice", "one", 1)).await.unwrap();
        store.keep_upstream_grant(of("alice", "two", 2)).await.unwrap();
        assert_eq!(store.upstream_grant("", "alice", "r").await.unwrap().unwrap().id.issuer, "two");
        for (tenant, principal, resource) in [("", "bob", "r"), ("t", "alice", "r"), ("", "alice", "s")] {
            assert!(store.upstream_grant(tenant, principal, resource).await.unwrap().is_none());
        }
        assert_eq!(store.forget_upstream_grants(Some((Some(String::new()), "alice".into())), None).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn one_holder_renews_at_a_time() {
        let (_folder, store) = store();
        let kept = of("alice", "one", 1);
        store.keep_upstream_grant(kept.clone()).await.unwrap();
        let lease = |holder: &str, now| store.lease_upstream_grant(kept.id.clone(), holder.into(), now, now + 30);
        assert!(lease("a", 100).await.unwrap());
        assert!(!lease("b", 110).await.unwrap());
        assert!(lease("b", 130).await.unwrap(), "the first one died");
        store.release_upstream_grant(kept.id.clone(), "a".into()).await.unwrap();
        assert!(!lease("a", 131).await.unwrap(), "only the holder gives it back");
    }

    #[tokio::test]
    async fn a_renewal_brings_nothing_back_and_takes_nothing_away_that_is_newer() {
        let (_folder, store) = store();
        let (old, renewed, new) = (of("alice", "one", 1), of("alice", "one", 2), of("alice", "one", 3));
        let begin = async || {
            store.keep_upstream_grant(old.clone()).await.unwrap();
            assert!(store.lease_upstream_grant(old.id.clone(), "a".into(), 100, 130).await.unwrap());
        };
        let renew = || store.renew_upstream_grant(renewed.clone(), "a".into());
        let updated = async || store.upstream_grant("", "alice", "r").await.unwrap().map(|kept| kept.updated);
        begin().await;
        assert!(store.prolong_upstream_lease(old.id.clone(), "a".into(), 200).await.unwrap());
        assert!(renew().await.unwrap());
        assert_eq!(updated().await, Some(2));
        store.forget_upstream_grants(None, None).await.unwrap();
        assert!(!renew().await.unwrap());
        assert_eq!(updated().await, None, "it was forgotten");
        begin().await;
        store.keep_upstream_grant(new.clone()).await.unwrap();
        assert!(!store.prolong_upstream_lease(old.id.clone(), "a".into(), 300).await.unwrap());
        assert!(!renew().await.unwrap());
        store.give_up_upstream_grant(old.id.clone(), "a".into()).await.unwrap();
        assert_eq!(updated().await, Some(3), "it was given anew");
        assert!(store.lease_upstream_grant(old.id.clone(), "b".into(), 110, 140).await.unwrap());
        store.give_up_upstream_grant(old.id.clone(), "b".into()).await.unwrap();
        assert_eq!(updated().await, None);
    }

    #[tokio::test]
    async fn a_login_is_had_once_and_in_time() {
        let (_folder, store) = store();
        store.begin_upstream_login("a".into(), vec![1], "alice".into(), (100, 200)).await.unwrap();
        assert_eq!(store.upstream_login("a".into(), 150).await.unwrap(), Some(vec![1]));
        assert_eq!(store.take_upstream_login("a".into(), 150).await.unwrap(), Some(vec![1]));
        assert_eq!(store.take_upstream_login("a".into(), 150).await.unwrap(), None);
        store.begin_upstream_login("b".into(), vec![1], "alice".into(), (100, 200)).await.unwrap();
        assert_eq!(store.take_upstream_login("b".into(), 200).await.unwrap(), None);
    }

    #[tokio::test]
    async fn one_user_leaves_room_to_the_others() {
        let (_folder, store) = store();
        store
            .write(|tables| {
                let mut add = tables.prepare("INSERT INTO upstream_login (id, sealed, expires, owner) VALUES (?1, x'01', 200, 'alice')")?;
                (1..MOST_LOGINS).try_for_each(|number| add.execute((number.to_string(),)).map(drop))
            })
            .await
            .unwrap();
        for (id, owner) in [("bobs", "bob"), ("another", "alice"), ("carols", "carol")] {
            store.begin_upstream_login(id.into(), vec![1], owner.into(), (100, 201)).await.unwrap();
        }
        for id in ["bobs", "another", "carols"] {
            assert!(store.upstream_login(id.into(), 100).await.unwrap().is_some(), "{id}");
        }
        let count = store.read(|tables| tables.query_row("SELECT count(*) FROM upstream_login", (), |row| row.get::<_, i64>(0)));
        assert_eq!(count.await.unwrap(), MOST_LOGINS, "the first of alice's made room");
    }

    #[tokio::test]
    async fn a_client_that_was_given_up_has_another_generation() {
        let (_folder, store) = store();
        let keep = |sealed: u8| store.keep_upstream_client("i".into(), "r".into(), vec![sealed]);
        assert_eq!(keep(1).await.unwrap(), (1, vec![1]));
        assert_eq!(keep(2).await.unwrap(), (1, vec![1]), "the first one that was registered holds");
        store.give_up_upstream_client("i".into(), 1).await.unwrap();
        assert_eq!(store.upstream_client("i", "r").await.unwrap(), Some((1, None)));
        assert_eq!(keep(3).await.unwrap(), (2, vec![3]));
    }
}
