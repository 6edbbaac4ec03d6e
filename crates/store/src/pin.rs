//! What tools were when they were seen first: a digest of each definition.
//!
//! A tool's definition is told by its server, which may tell another one tomorrow. What is recorded here is what the gateway has taken for
//! granted once, and compares with.

use std::collections::HashMap;

use rusqlite::{Transaction, params};

use crate::migration::Migration;
use crate::{Store, StoreError};

pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    name: "tool pin",
    sql: "CREATE TABLE tool_pin (
        server TEXT NOT NULL, source BLOB NOT NULL, owner TEXT NOT NULL, tool TEXT NOT NULL, digest BLOB NOT NULL,
        PRIMARY KEY (server, source, owner, tool)
    ) STRICT, WITHOUT ROWID",
}];

/// Whose tools they are that are recorded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PinnedServer {
    /// The server's name in the configuration.
    pub server: String,
    /// The digest of what the configuration says that it is: gateways of several projects share a store, and call their servers alike.
    pub source: [u8; 32],
    /// To whom it tells its tools over a connection of their own; empty where it tells everybody the same.
    pub owner: String,
}

/// The digests of tools' definitions, by the tools' own names.
pub type ToolPins = HashMap<String, [u8; 32]>;

fn recorded(tables: &Transaction<'_>, of: &PinnedServer) -> Result<ToolPins, rusqlite::Error> {
    let mut all = tables.prepare("SELECT tool, digest FROM tool_pin WHERE server = ?1 AND source = ?2 AND owner = ?3")?;
    all.query_map(params![of.server, of.source, of.owner], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

impl Store {
    /// What is recorded of the tools of a server.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn tool_pins(&self, of: PinnedServer) -> Result<ToolPins, StoreError> {
        self.read(move |tables| recorded(tables, &of)).await
    }

    /// Records `tools` of a server of which nothing is recorded, and says what is recorded then: of two processes that see a server for the
    /// first time at once, both compare with what the first has seen.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn pin_tools(&self, of: PinnedServer, tools: ToolPins) -> Result<ToolPins, StoreError> {
        self.write(move |tables| {
            let known = recorded(tables, &of)?;
            if !known.is_empty() {
                return Ok(known);
            }
            let mut insert = tables.prepare("INSERT INTO tool_pin (server, source, owner, tool, digest) VALUES (?1, ?2, ?3, ?4, ?5)")?;
            for (tool, digest) in &tools {
                insert.execute(params![of.server, of.source, of.owner, tool, digest])?;
            }
            Ok(tools)
        })
        .await
    }

    /// Forgets what is recorded of a server's tools, whoever was told them, and says of how many: what the server tells next is recorded.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn forget_tool_pins(&self, server: &str, source: [u8; 32]) -> Result<usize, StoreError> {
        let server = server.to_owned();
        self.write(move |tables| tables.execute("DELETE FROM tool_pin WHERE server = ?1 AND source = ?2", (server, source))).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn of(server: &str, owner: &str) -> PinnedServer {
        PinnedServer { server: server.to_owned(), source: [7; 32], owner: owner.to_owned() }
    }

    fn pins(tools: &[(&str, u8)]) -> ToolPins {
        tools.iter().map(|(name, byte)| ((*name).to_owned(), [*byte; 32])).collect()
    }

    #[tokio::test]
    async fn what_was_seen_first_is_what_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let (one, other) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
        assert_eq!(one.tool_pins(of("s", "")).await.unwrap(), pins(&[]));
        assert_eq!(one.pin_tools(of("s", ""), pins(&[("a", 1), ("b", 2)])).await.unwrap(), pins(&[("a", 1), ("b", 2)]));
        let later = other.pin_tools(of("s", ""), pins(&[("a", 9), ("c", 3)])).await.unwrap();
        assert_eq!(later, pins(&[("a", 1), ("b", 2)]), "who comes later compares");
        assert_eq!(other.tool_pins(of("s", "")).await.unwrap(), later);
    }

    #[tokio::test]
    async fn servers_and_owners_are_apart_and_a_server_is_forgotten_whole() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db")).unwrap();
        for (server, owner, byte) in [("s", "", 1), ("s", "key:a", 2), ("t", "", 3)] {
            store.pin_tools(of(server, owner), pins(&[("a", byte)])).await.unwrap();
        }
        assert_eq!(store.tool_pins(of("s", "key:a")).await.unwrap(), pins(&[("a", 2)]));
        let namesake = PinnedServer { source: [8; 32], ..of("s", "") };
        store.pin_tools(namesake.clone(), pins(&[("a", 4)])).await.unwrap();
        assert_eq!(store.forget_tool_pins("s", [7; 32]).await.unwrap(), 2);
        assert_eq!(store.tool_pins(namesake).await.unwrap(), pins(&[("a", 4)]), "another project's");
        assert_eq!(store.tool_pins(of("s", "")).await.unwrap(), pins(&[]));
        assert_eq!(store.tool_pins(of("t", "")).await.unwrap(), pins(&[("a", 3)]));
    }
}
