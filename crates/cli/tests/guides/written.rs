//! The configuration that a reader has who writes down what a page shows, from its top to a block.

use std::fmt;

use sallyport_gateway::config::reference;
use toml::{Table, Value};

/// What a server is made of, one of them.
const SOURCES: [&str; 3] = ["command", "url", "builtin"];

/// A configuration that grows block by block.
#[derive(Default)]
pub(crate) struct Written {
    file: Table,
    /// The server that was spoken of last.
    server: Option<String>,
}

impl Written {
    /// Adds a block: tables of the file, or a few lines of the server before it.
    pub(crate) fn add(&mut self, block: &str) -> Result<(), toml::de::Error> {
        let block: Table = toml::from_str(block)?;
        let known = reference::schema();
        let is_of_the_file = |key: &String| known.pointer(&format!("/properties/{key}")).is_some();
        if block.keys().all(is_of_the_file) {
            self.server = servers(&block).and_then(|servers| servers.keys().next_back().cloned()).or_else(|| self.server.take());
            merge(&mut self.file, block, &[]);
        } else {
            let name = self.server.clone().unwrap_or_else(|| "example".to_owned());
            let server = Table::from_iter([(name, Value::Table(block))]);
            merge(&mut self.file, Table::from_iter([("servers".to_owned(), Value::Table(server))]), &[]);
        }
        give_sources(&mut self.file);
        Ok(())
    }
}

impl fmt::Display for Written {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file)
    }
}

fn servers(file: &Table) -> Option<&Table> {
    file.get("servers")?.as_table()
}

/// Puts `more` into `table`, below `path`. What a server already has is replaced key by key, and whole where `more` says anew what it is.
fn merge(table: &mut Table, more: Table, path: &[&str]) {
    let is_server = path.len() >= 2 && path.get(path.len() - 2) == Some(&"servers");
    if is_server && SOURCES.iter().any(|source| more.contains_key(*source)) {
        table.clear();
    }
    for (key, value) in more {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) if !is_server => merge(old, new, &[path, &[&key]].concat()),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

/// Rules for a server are shown without the server: it is some program.
fn give_sources(file: &mut Table) {
    for (_, server) in file.get_mut("servers").and_then(Value::as_table_mut).into_iter().flatten() {
        let Some(server) = server.as_table_mut() else { continue };
        if !SOURCES.iter().any(|source| server.contains_key(*source)) {
            server.insert("command".to_owned(), Value::from(vec!["/usr/bin/example"]));
        }
    }
}
