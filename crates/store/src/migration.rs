//! How a store gets the tables that this version of the program expects.

use rusqlite::Transaction;

/// One change of the tables. It is made once in a store's life, in the order in which it stands here.
pub(crate) struct Migration {
    /// Never changes once it was released: by it a store knows what it has.
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
}

/// Every thing that is kept, with the changes that its tables went through.
const KEPT: &[&[Migration]] = &[
    crate::api_key::MIGRATIONS,
    crate::user::MIGRATIONS,
    crate::login::MIGRATIONS,
    crate::signing_key::MIGRATIONS,
    crate::client::MIGRATIONS,
    crate::authorization::MIGRATIONS,
    crate::token_grant::MIGRATIONS,
    crate::device::MIGRATIONS,
    crate::grant::MIGRATIONS,
    crate::approval::MIGRATIONS,
    crate::pin::MIGRATIONS,
];

/// Brings the tables up to date.
///
/// # Errors
/// The name of a change that this program does not know: a newer one has written here, and what it meant cannot be kept.
pub(crate) fn migrate(transaction: &Transaction<'_>) -> Result<Result<(), String>, rusqlite::Error> {
    apply(transaction, KEPT)
}

fn apply(transaction: &Transaction<'_>, kept: &[&[Migration]]) -> Result<Result<(), String>, rusqlite::Error> {
    transaction.execute_batch("CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID")?;
    let mut made = transaction.prepare("SELECT name FROM migration")?;
    let made: Vec<String> = made.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?;
    let known = || kept.iter().copied().flatten();
    if let Some(unknown) = made.iter().find(|name| !known().any(|migration| migration.name == name.as_str())) {
        return Ok(Err(unknown.clone()));
    }
    for migration in known().filter(|migration| !made.iter().any(|name| name == migration.name)) {
        transaction.execute_batch(migration.sql)?;
        transaction.execute("INSERT INTO migration (name) VALUES (?1)", (migration.name,))?;
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use rusqlite::Connection;

    use super::*;

    const FIRST: Migration = Migration { name: "thing", sql: "CREATE TABLE thing (id TEXT PRIMARY KEY) STRICT" };
    const SECOND: Migration = Migration { name: "thing: colour", sql: "ALTER TABLE thing ADD COLUMN colour TEXT" };

    #[test]
    fn each_change_is_made_once_and_in_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        let mut run = |kept: &[&[Migration]]| {
            let transaction = connection.transaction().unwrap();
            let outcome = apply(&transaction, kept).unwrap();
            transaction.commit().unwrap();
            outcome
        };
        assert_eq!(run(&[&[FIRST]]), Ok(()));
        assert_eq!(run(&[&[FIRST, SECOND]]), Ok(()));
        assert_eq!(run(&[&[FIRST, SECOND]]), Ok(()));
        assert_eq!(run(&[&[FIRST]]), Err("thing: colour".into()), "an older program must not write into a newer store");
        connection.execute("INSERT INTO thing (id, colour) VALUES ('a', 'red')", ()).unwrap();
    }
}
