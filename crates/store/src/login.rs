//! Who is logged in at which browser, and how often somebody tried.

use rusqlite::{OptionalExtension as _, Transaction};

use crate::migration::Migration;

pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    name: "login",
    sql: "CREATE TABLE login (cookie BLOB PRIMARY KEY, user TEXT NOT NULL, since INTEGER NOT NULL, ends INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        CREATE INDEX login_of_user ON login (user, since);
        CREATE TABLE login_try (who BLOB PRIMARY KEY, failures INTEGER NOT NULL, last INTEGER NOT NULL) STRICT, WITHOUT ROWID",
}];

/// Browsers of one user at once: more than anybody has, and a bound to what one person can fill the store with.
const BROWSERS: i64 = 20;
/// Names and addresses whose failures are counted: past that, those who tried longest ago are forgotten.
const COUNTED: i64 = 10_000;
/// Longest that a next try is put off, in seconds: long enough against guessing, short enough for who was guessed at.
const LONGEST_WAIT: i64 = 15 * 60;

/// Remembers that the holder of a cookie, by its digest, is `user`.
///
/// # Errors
/// Where the store cannot be written.
pub fn add(tables: &Transaction<'_>, cookie: &[u8; 32], user: &str, now: i64, ends: i64) -> Result<(), rusqlite::Error> {
    tables.execute("INSERT INTO login VALUES (?1, ?2, ?3, ?4)", (cookie, user, now, ends))?;
    let beyond = "DELETE FROM login WHERE cookie IN (SELECT cookie FROM login WHERE user = ?1 ORDER BY since DESC LIMIT -1 OFFSET ?2)";
    tables.execute(beyond, (user, BROWSERS)).map(drop)
}

/// Who holds the cookie with this digest, and since when: the user's name and seconds since 1970.
///
/// # Errors
/// Where the store cannot be read.
pub fn find(tables: &Transaction<'_>, cookie: &[u8; 32], now: i64) -> Result<Option<(String, i64)>, rusqlite::Error> {
    let holder = "SELECT user, since FROM login WHERE cookie = ?1 AND ends > ?2";
    tables.query_row(holder, (cookie, now), |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// Forgets a cookie.
///
/// # Errors
/// Where the store cannot be written.
pub fn remove(tables: &Transaction<'_>, cookie: &[u8; 32]) -> Result<(), rusqlite::Error> {
    tables.execute("DELETE FROM login WHERE cookie = ?1", (cookie,)).map(drop)
}

/// Logs a user out everywhere.
///
/// # Errors
/// Where the store cannot be written.
pub fn remove_user(tables: &Transaction<'_>, user: &str) -> Result<(), rusqlite::Error> {
    tables.execute("DELETE FROM login WHERE user = ?1", (user,)).map(drop)
}

/// A try that was taken, and what was counted before it.
#[derive(Debug)]
pub struct Try {
    who: [u8; 32],
    /// How many there were, and when the last.
    before: (i64, i64),
}

/// Takes one try for `who`, counted before it is known how it ends, so that many at once are no more than many one after the other.
/// `free` of them come without a wait; each further one doubles it. `Err` says in how many seconds the next may come. For each
/// quarter of an hour without a try one is forgotten, so that those of days do not add up.
///
/// # Errors
/// Where the store cannot be written.
pub fn take_try(tables: &Transaction<'_>, who: &[u8; 32], free: i64, now: i64) -> Result<Result<Try, i64>, rusqlite::Error> {
    let found: Option<(i64, i64)> =
        tables.query_row("SELECT failures, last FROM login_try WHERE who = ?1", (who,), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let before = found.map_or((0, now), |(failures, last)| ((failures - (now - last).max(0) / LONGEST_WAIT).max(0), last));
    if let Some((failures, last)) = found {
        let wait = if failures < free {
            0
        } else {
            1_i64.checked_shl(u32::try_from(failures - free + 1).unwrap_or(63).min(20)).unwrap_or(i64::MAX)
        };
        let ready = last + wait.min(LONGEST_WAIT);
        if ready > now {
            return Ok(Err(ready - now));
        }
    }
    let counted =
        "INSERT INTO login_try VALUES (?1, ?2, ?3) ON CONFLICT (who) DO UPDATE SET failures = excluded.failures, last = excluded.last";
    tables.execute(counted, (who, before.0 + 1, now))?;
    Ok(Ok(Try { who: *who, before }))
}

/// Takes a try back that was no failure. Those that were stay counted: who succeeds once has not guessed less.
///
/// # Errors
/// Where the store cannot be written.
pub fn give_back(tables: &Transaction<'_>, taken: &Try) -> Result<(), rusqlite::Error> {
    let (failures, last) = taken.before;
    // If it was the last one, it is as if it had not been.
    let as_before = "UPDATE login_try SET failures = ?2, last = ?3 WHERE who = ?1 AND failures = ?2 + 1";
    if tables.execute(as_before, (&taken.who, failures, last))? == 0 {
        tables.execute("UPDATE login_try SET failures = failures - 1 WHERE who = ?1 AND failures > 0", (&taken.who,))?;
    }
    Ok(())
}

/// Forgets the failures of `who`, who has shown the right password.
///
/// # Errors
/// Where the store cannot be written.
pub fn forget_tries(tables: &Transaction<'_>, who: &[u8; 32]) -> Result<(), rusqlite::Error> {
    tables.execute("DELETE FROM login_try WHERE who = ?1", (who,)).map(drop)
}

/// Forgets what has ended. Failures are counted for a day at most.
///
/// # Errors
/// Where the store cannot be written.
pub fn sweep(tables: &Transaction<'_>, now: i64) -> Result<(), rusqlite::Error> {
    tables.execute("DELETE FROM login WHERE ends <= ?1", (now,))?;
    tables.execute("DELETE FROM login_try WHERE last <= ?1", (now - 24 * 60 * 60,))?;
    let beyond = "DELETE FROM login_try WHERE who IN (SELECT who FROM login_try ORDER BY last DESC LIMIT -1 OFFSET ?1)";
    tables.execute(beyond, (COUNTED,)).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::store::Store;

    const WHO: [u8; 32] = [7; 32];
    const FREE: i64 = 3;

    /// A try at that second; with `succeeds` it is given back.
    async fn tried(store: &Store, now: i64, succeeds: bool) -> Result<(), i64> {
        let tried = store.write(move |tables| {
            let taken = match take_try(tables, &WHO, FREE, now)? {
                Ok(taken) => taken,
                Err(wait) => return Ok(Err(wait)),
            };
            if succeeds { give_back(tables, &taken).map(Ok) } else { Ok(Ok(())) }
        });
        tried.await.unwrap()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db")).unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn successes_neither_count_nor_pay_for_failures() {
        let (_folder, store) = store();
        for second in 0..10 {
            assert_eq!(tried(&store, second, true).await, Ok(()), "many people behind one address log in");
        }
        for second in 10..13 {
            assert_eq!(tried(&store, second, false).await, Ok(()));
            assert_eq!(tried(&store, second, true).await, if second < 12 { Ok(()) } else { Err(2) });
        }
        assert_eq!(tried(&store, 14, true).await, Ok(()));
        assert_eq!(tried(&store, 14, false).await, Ok(()), "the success waited, and what it waited for was still there");
        assert_eq!(tried(&store, 15, true).await, Err(3));
    }

    #[tokio::test]
    async fn failures_are_forgotten_one_by_one() {
        let (_folder, store) = store();
        for now in [0, 0, 0, 2] {
            assert_eq!(tried(&store, now, false).await, Ok(()));
        }
        let later = 2 + 2 * LONGEST_WAIT;
        assert_eq!(tried(&store, later, false).await, Ok(()), "of four two are left");
        assert_eq!(tried(&store, later, false).await, Err(2));
    }

    #[tokio::test]
    async fn a_try_is_given_back_though_others_came_after_it() {
        let (_folder, store) = store();
        let left = store.write(|tables| {
            let first = take_try(tables, &WHO, FREE, 5)?.unwrap();
            take_try(tables, &WHO, FREE, 6)?.unwrap();
            give_back(tables, &first)?;
            tables.query_row("SELECT failures, last FROM login_try", (), |row| Ok((row.get(0)?, row.get(1)?)))
        });
        assert_eq!(left.await.unwrap(), (1_i64, 6_i64));
    }
}
