//! The users of this machine's own authorization server.

use rusqlite::{OptionalExtension as _, Row, Transaction};

use crate::migration::Migration;
use crate::token_grant;

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "user",
        sql: "CREATE TABLE user (
            name TEXT PRIMARY KEY, password TEXT NOT NULL, is_admin INTEGER NOT NULL, groups TEXT NOT NULL, standing TEXT NOT NULL,
            since INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID",
    },
    Migration { name: "user: epoch", sql: "ALTER TABLE user ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0" },
];

/// One person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What they type at the login, and whom their tokens name. Never given to somebody else.
    pub name: String,
    /// The password's hash, in the form of the Password Hashing Competition.
    pub password: String,
    /// Whether they may steer the gateway.
    pub is_admin: bool,
    /// The groups that their tokens name.
    pub groups: Vec<String>,
    /// Whether they may come in.
    pub standing: Standing,
    /// When they were added, in seconds since 1970.
    pub since: i64,
    /// How often everything in their name was ended: tokens say in which epoch they were made.
    pub epoch: i64,
}

/// Whether a user may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Yes.
    Active,
    /// Not for now.
    Disabled,
    /// Never again: the row stays so that nobody else gets the name, and with it what was kept for its holder.
    Removed,
}

impl Standing {
    /// As it is kept and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Removed => "removed",
        }
    }

    fn of(text: &str) -> Self {
        match text {
            "active" => Self::Active,
            "disabled" => Self::Disabled,
            _ => Self::Removed,
        }
    }
}

const COLUMNS: &str = "name, password, is_admin, groups, standing, since, epoch";

fn read(row: &Row<'_>) -> Result<User, rusqlite::Error> {
    let groups: String = row.get(3)?;
    Ok(User {
        name: row.get(0)?,
        password: row.get(1)?,
        is_admin: row.get(2)?,
        groups: groups.split_ascii_whitespace().map(str::to_owned).collect(),
        standing: Standing::of(&row.get::<_, String>(4)?),
        since: row.get(5)?,
        epoch: row.get(6)?,
    })
}

/// Adds a user. Group names hold no white space.
///
/// # Errors
/// A [conflict](crate::StoreError::is_conflict) where there is, or was, one of that name.
pub fn add(tables: &Transaction<'_>, user: &User) -> Result<(), rusqlite::Error> {
    let values = (&user.name, &user.password, user.is_admin, user.groups.join(" "), user.standing.as_str(), user.since, user.epoch);
    tables.execute(&format!("INSERT INTO user ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"), values).map(drop)
}

/// The user of that name, whatever their standing.
///
/// # Errors
/// Where the store cannot be read.
pub fn find(tables: &Transaction<'_>, name: &str) -> Result<Option<User>, rusqlite::Error> {
    tables.query_row(&format!("SELECT {COLUMNS} FROM user WHERE name = ?1"), (name,), read).optional()
}

/// Everybody who was not removed, by name.
///
/// # Errors
/// Where the store cannot be read.
pub fn list(tables: &Transaction<'_>) -> Result<Vec<User>, rusqlite::Error> {
    let mut all = tables.prepare(&format!("SELECT {COLUMNS} FROM user WHERE standing <> 'removed' ORDER BY name"))?;
    all.query_map((), read)?.collect()
}

/// Gives a user another password. Says whether there is one.
///
/// # Errors
/// Where the store cannot be written.
pub fn set_password(tables: &Transaction<'_>, name: &str, password: &str) -> Result<bool, rusqlite::Error> {
    let changed = tables.execute("UPDATE user SET password = ?2 WHERE name = ?1 AND standing <> 'removed'", (name, password))?;
    Ok(changed == 1)
}

/// Puts a user into these groups, and no others. Group names hold no white space.
///
/// # Errors
/// Where the store cannot be written.
pub fn set_groups(tables: &Transaction<'_>, name: &str, groups: &[String]) -> Result<(), rusqlite::Error> {
    tables.execute("UPDATE user SET groups = ?2 WHERE name = ?1", (name, groups.join(" "))).map(drop)
}

/// Lets a user in or not. Who was removed stays so. Says whether there is one.
///
/// # Errors
/// Where the store cannot be written.
pub fn set_standing(tables: &Transaction<'_>, name: &str, standing: Standing) -> Result<bool, rusqlite::Error> {
    let change = "UPDATE user SET standing = ?2 WHERE name = ?1 AND standing <> 'removed'";
    token_grant::count_withdrawal(tables)?;
    Ok(tables.execute(change, (name, standing.as_str()))? == 1)
}

/// Logs a user out everywhere and ends every grant in their name; access tokens are refused until `ends`.
///
/// # Errors
/// Where the store cannot be written.
pub fn end_all(tables: &Transaction<'_>, name: &str, ends: i64) -> Result<(), rusqlite::Error> {
    crate::login::remove_user(tables, name)?;
    end_tokens(tables, name, ends).map(drop)
}

/// Ends every token in a user's name, of whichever grant; those of families are refused until `ends`. Says how many families there were;
/// `None` where there is no such user.
///
/// # Errors
/// Where the store cannot be written.
pub fn end_tokens(tables: &Transaction<'_>, name: &str, ends: i64) -> Result<Option<usize>, rusqlite::Error> {
    let families = token_grant::revoke_user(tables, name, ends)?;
    let changed = tables.execute("UPDATE user SET epoch = epoch + 1 WHERE name = ?1", (name,))?;
    token_grant::count_withdrawal(tables)?;
    Ok((changed == 1).then_some(families))
}
