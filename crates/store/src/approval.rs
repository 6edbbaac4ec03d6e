//! Calls that wait for a person's approval, and what became of them.
//!
//! One is kept for each call that is asked about: of two requests for the same call, the second finds the first. It is good for one
//! passage: [`take`] is one transaction, so of two that come at once, in whichever process, one goes through.

use rusqlite::{OptionalExtension as _, Row, Transaction};

use crate::migration::Migration;

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "approval",
        sql: "CREATE TABLE approval (
            handle TEXT PRIMARY KEY, binding BLOB NOT NULL, tenant TEXT NOT NULL, principal TEXT NOT NULL, server TEXT NOT NULL,
            action TEXT NOT NULL, target TEXT NOT NULL, arguments TEXT NOT NULL, attributes TEXT, reason TEXT NOT NULL, rule TEXT NOT NULL,
            standing TEXT NOT NULL, made INTEGER NOT NULL, ends INTEGER NOT NULL, decided INTEGER, decider TEXT, continues BLOB
        ) STRICT, WITHOUT ROWID;
        CREATE UNIQUE INDEX approval_of_call ON approval (binding) WHERE standing <> 'used';
        CREATE INDEX approval_of_principal ON approval (tenant, principal, standing)",
    },
    Migration { name: "approval: questions", sql: "ALTER TABLE approval ADD COLUMN questions TEXT NOT NULL DEFAULT ''" },
];

/// What one call is that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Names it to people; nothing hangs on its being secret.
    pub handle: String,
    /// The digest of the call.
    pub binding: [u8; 32],
    /// Whose it is; empty where there are no tenants.
    pub tenant: String,
    /// Who calls.
    pub principal: String,
    /// The server.
    pub server: String,
    /// What is done: `call`, `read`, `get`.
    pub action: String,
    /// The tool's, prompt's or resource's own name.
    pub target: String,
    /// The arguments, as they came.
    pub arguments: String,
    /// What they mean, as far as rules declare it: a JSON object.
    pub attributes: Option<String>,
    /// Why a person is asked.
    pub reason: String,
    /// The place in the configuration that asks.
    pub rule: String,
}

/// How one stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has decided.
    Pending,
    /// Somebody has approved it, and it has not been used.
    Approved,
    /// Somebody has refused it.
    Refused,
    /// The call has gone through.
    Used,
}

/// One that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The call.
    pub asked: Asked,
    /// How it stands.
    pub standing: Standing,
    /// When it was asked for, in seconds since 1970.
    pub made: i64,
    /// When it is over.
    pub ends: i64,
    /// When it was decided.
    pub decided: Option<i64>,
    /// Who decided.
    pub decider: Option<String>,
}

/// What becomes of a call that needs an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It begins, this once.
    Through(Approval),
    /// It goes on, this once, with answers to what [`go_on`] has kept of its server's questions.
    GoesOn(Approval, String),
    /// It waits, or somebody refused it.
    Stopped(Approval),
    /// Nobody has asked for one.
    None,
}

/// How many may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of one principal that nobody has decided.
    pub pending: u32,
    /// Of all principals, however they stand.
    pub kept: u32,
}

/// Why one is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The principal has too many that nobody has decided.
    OfPrincipal,
    /// There are too many in all.
    OfAll,
}

impl Standing {
    /// Its name in the store and for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::Used => "used",
        }
    }

    fn read(text: &str) -> Self {
        match text {
            "pending" => Self::Pending,
            "approved" => Self::Approved,
            "used" => Self::Used,
            _ => Self::Refused, // what nobody knows lets nothing through
        }
    }
}

const COLUMNS: &str = "handle, binding, tenant, principal, server, action, target, arguments, attributes, reason, rule, standing, made, ends, \
                       decided, decider, continues, questions";

fn read(row: &Row<'_>) -> Result<Approval, rusqlite::Error> {
    Ok(Approval {
        asked: Asked {
            handle: row.get(0)?,
            binding: row.get(1)?,
            tenant: row.get(2)?,
            principal: row.get(3)?,
            server: row.get(4)?,
            action: row.get(5)?,
            target: row.get(6)?,
            arguments: row.get(7)?,
            attributes: row.get(8)?,
            reason: row.get(9)?,
            rule: row.get(10)?,
        },
        standing: Standing::read(&row.get::<_, String>(11)?),
        made: row.get(12)?,
        ends: row.get(13)?,
        decided: row.get(14)?,
        decider: row.get(15)?,
    })
}

/// Uses the approval of the call with this binding, if there is one. `continues` is the digest of the state that a request brings back which
/// goes on with a call: what [`go_on`] has left is for the one with that state alone.
///
/// # Errors
/// Where the store cannot be written.
pub fn take(tables: &Transaction<'_>, binding: &[u8; 32], continues: Option<&[u8; 32]>, now: i64) -> Result<Taken, rusqlite::Error> {
    let find = format!("SELECT {COLUMNS} FROM approval WHERE binding = ?1 AND standing <> 'used' AND ends > ?2");
    let read = |row: &Row<'_>| Ok((read(row)?, row.get::<_, Option<[u8; 32]>>(16)?, row.get::<_, String>(17)?));
    let found = tables.query_row(&find, (binding, now), read).optional()?;
    let Some((approval, expected, questions)) = found else { return Ok(Taken::None) };
    if approval.standing != Standing::Approved || expected.is_some() && expected.as_ref() != continues {
        return Ok(Taken::Stopped(approval));
    }
    tables.execute("UPDATE approval SET standing = 'used' WHERE handle = ?1", (&approval.asked.handle,))?;
    Ok(if expected.is_some() { Taken::GoesOn(approval, questions) } else { Taken::Through(approval) })
}

/// Lets the call that took the approval `handle` go on once more, with the answers to what its server asks: the request that brings back
/// the state with this digest. `questions` says what was asked, for whoever takes it.
///
/// # Errors
/// Where the store cannot be written; also where the call was asked for anew meanwhile.
pub fn go_on(tables: &Transaction<'_>, handle: &str, (state, questions): (&[u8; 32], &str), ends: i64) -> Result<(), rusqlite::Error> {
    let again = "UPDATE approval SET standing = 'approved', continues = ?2, questions = ?3, ends = max(ends, ?4)
        WHERE handle = ?1 AND standing = 'used'";
    tables.execute(again, (handle, state, questions, ends)).map(drop)
}

/// Gives the approval `handle` back: the call that took it was never carried out.
///
/// # Errors
/// As [`go_on`].
pub fn give_back(tables: &Transaction<'_>, handle: &str) -> Result<(), rusqlite::Error> {
    tables.execute("UPDATE approval SET standing = 'approved' WHERE handle = ?1 AND standing = 'used'", (handle,)).map(drop)
}

/// Keeps that a person is asked about a call, and says which one is kept: an earlier one where the same call waits already.
///
/// # Errors
/// Where the store cannot be written.
pub fn ask(
    tables: &Transaction<'_>,
    asked: &Asked,
    (now, ends): (i64, i64),
    bounds: Bounds,
) -> Result<Result<(Approval, bool), Full>, rusqlite::Error> {
    tables.execute("DELETE FROM approval WHERE ends <= ?1", (now,))?;
    // Who begins anew does not go on with the call that was approved.
    let given_up = "UPDATE approval SET standing = 'used' WHERE binding = ?1 AND standing = 'approved' AND continues IS NOT NULL";
    tables.execute(given_up, (&asked.binding,))?;
    let find = format!("SELECT {COLUMNS} FROM approval WHERE binding = ?1 AND standing <> 'used'");
    if let Some(known) = tables.query_row(&find, (&asked.binding,), read).optional()? {
        return Ok(Ok((known, false)));
    }
    let own = "SELECT count(*) FROM approval WHERE tenant = ?1 AND principal = ?2 AND standing = 'pending'";
    let own: u32 = tables.query_row(own, (&asked.tenant, &asked.principal), |row| row.get(0))?;
    if own >= bounds.pending {
        return Ok(Err(Full::OfPrincipal));
    }
    // What was used is kept for people to look at, and makes room.
    let used =
        "DELETE FROM approval WHERE handle IN (SELECT handle FROM approval WHERE standing = 'used' ORDER BY made DESC LIMIT -1 OFFSET ?1)";
    let all: u32 = tables.query_row("SELECT count(*) FROM approval", (), |row| row.get(0))?;
    if all >= bounds.kept && tables.execute(used, (bounds.kept / 10,))? == 0 {
        return Ok(Err(Full::OfAll));
    }
    let Asked { handle, binding, tenant, principal, server, action, target, arguments, attributes, reason, rule } = asked;
    tables.execute(
        "INSERT INTO approval VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 'pending', ?12, ?13, NULL, NULL, NULL, '')",
        rusqlite::params![handle, binding, tenant, principal, server, action, target, arguments, attributes, reason, rule, now, ends],
    )?;
    let kept = Approval { asked: asked.clone(), standing: Standing::Pending, made: now, ends, decided: None, decider: None };
    Ok(Ok((kept, true)))
}

/// The one with this handle, if it is not over.
///
/// # Errors
/// Where the store cannot be read.
pub fn find(tables: &Transaction<'_>, handle: &str, now: i64) -> Result<Option<Approval>, rusqlite::Error> {
    let find = format!("SELECT {COLUMNS} FROM approval WHERE handle = ?1 AND ends > ?2");
    tables.query_row(&find, (handle, now), read).optional()
}

/// All that are not over, the newest first; of one tenant alone where it is given.
///
/// # Errors
/// Where the store cannot be read.
pub fn list(tables: &Transaction<'_>, tenant: Option<&str>, now: i64) -> Result<Vec<Approval>, rusqlite::Error> {
    let find = format!("SELECT {COLUMNS} FROM approval WHERE ends > ?1 AND (?2 IS NULL OR tenant = ?2) ORDER BY made DESC, handle");
    let mut found = tables.prepare(&find)?;
    found.query_map((now, tenant), read)?.collect()
}

/// Decides about one that nobody has decided, or refuses one after all that was approved and has not been used. `None` where there is nothing to
/// decide any more, it is over, or there is none. An approval is good until `ends`.
///
/// # Errors
/// Where the store cannot be written.
pub fn decide(
    tables: &Transaction<'_>,
    handle: &str,
    approves: bool,
    decider: &str,
    (now, ends): (i64, i64),
) -> Result<Option<Approval>, rusqlite::Error> {
    let decided = "UPDATE approval SET standing = ?2, decider = ?3, decided = ?4, ends = CASE WHEN ?2 = 'approved' THEN ?5 ELSE ends END
        WHERE handle = ?1 AND ends > ?4 AND (standing = 'pending' OR standing = 'approved' AND ?2 = 'refused')";
    let standing = if approves { Standing::Approved } else { Standing::Refused };
    if tables.execute(decided, (handle, standing.as_str(), decider, now, ends))? == 0 {
        return Ok(None);
    }
    find(tables, handle, now)
}

/// Forgets what is over.
///
/// # Errors
/// Where the store cannot be written.
pub fn sweep(tables: &Transaction<'_>, now: i64) -> Result<(), rusqlite::Error> {
    tables.execute("DELETE FROM approval WHERE ends <= ?1", (now,)).map(drop)
}

#[cfg(test)]
mod tests;
