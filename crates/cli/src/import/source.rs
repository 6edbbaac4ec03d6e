//! Where servers are taken from.

use std::path::{Path, PathBuf};

use clap::ValueEnum as _;
use sallyport_gateway::config::client_file::{self, ClientFile};
use sallyport_gateway::config::model::ServerConfig;
use sallyport_gateway::config::{Invocation, read_bounded};
use serde_json::{Map, Value, json};

use crate::arguments::Client;
use crate::client_files::ClientFiles;
use crate::output::Failure;

/// A file of another client.
#[derive(Debug)]
pub(super) struct Source {
    /// What tells its servers from another client's of the same name.
    pub(super) title: &'static str,
    pub(super) file: PathBuf,
    /// Whether it was asked for by its name: then having no servers in it is an error.
    asked_for: bool,
}

/// The files that are there: those of one client, one file, or those of all clients.
pub(super) fn find(from: Option<&str>, invocation: &Invocation) -> Result<Vec<Source>, Failure> {
    let files = ClientFiles::of(invocation).ok_or_else(|| Failure::new("HOME is not set").hint("set it to your home folder"))?;
    let of_client = |client: Client| {
        let there = files.all(client).into_iter().filter(|file| file.is_file());
        there.map(move |file| Source { title: client.name(), file, asked_for: false })
    };
    let Some(from) = from else { return Ok(Client::ALL.into_iter().flat_map(of_client).collect()) };
    if let Ok(client) = Client::from_str(from, true) {
        let there: Vec<_> = of_client(client).collect();
        if there.is_empty() {
            let looked_at: Vec<_> = files.all(client).iter().map(|file| file.display().to_string()).collect();
            return Err(
                Failure::new(format!("{} has no configuration here", client.title())).hint(format!("looked at {}", looked_at.join(", ")))
            );
        }
        return Ok(there);
    }
    let file = invocation.folder.join(from);
    if !file.is_file() {
        let clients = Client::ALL.map(Client::name).join(", ");
        return Err(Failure::new(format!("`{}` is neither a client nor a file", from.escape_debug())).hint(format!("clients: {clients}")));
    }
    Ok(vec![Source { title: "imported", file, asked_for: true }])
}

impl Source {
    /// Reads its servers.
    pub(super) fn read(&self, invocation: &Invocation) -> Result<ClientFile, Failure> {
        let mut text = read_bounded(&self.file)?;
        if is_toml(&self.file) {
            text = from_codex(&text).map_err(|problem| Failure::new(format!("{} cannot be read: {problem}", self.file.display())))?;
        }
        let setting = client_file::Setting { folder: &invocation.folder, variables: &*invocation.variables };
        let mut read = match client_file::read(&text, &setting) {
            // A client's settings need not name servers.
            Err(_) if !self.asked_for && names_no_servers(&text) => client_file::read("{\"mcpServers\":{}}", &setting),
            read => read,
        }
        .map_err(|mut errors| {
            errors.iter_mut().for_each(|error| error.file = Some(self.file.clone()));
            errors
        })?;
        for warning in &mut read.warnings {
            warning.file = Some(self.file.clone());
            if is_toml(&self.file) {
                warning.place = None; // it is that of the translation
            }
        }
        Ok(read)
    }
}

fn is_toml(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

fn names_no_servers(text: &str) -> bool {
    !["mcpServers", "\"servers\"", "context_servers"].iter().any(|table| text.contains(table))
}

/// Codex's `[mcp_servers.NAME]` in the common shape.
fn from_codex(text: &str) -> Result<String, String> {
    let file: toml::Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let file = serde_json::to_value(file).map_err(|error| error.to_string())?;
    let mut servers = Map::new();
    for (name, entry) in file.get("mcp_servers").and_then(Value::as_object).into_iter().flatten() {
        let mut server = Map::new();
        let mut headers = Map::new();
        for (key, value) in entry.as_object().into_iter().flatten() {
            match key.as_str() {
                "http_headers" => headers.extend(value.as_object().cloned().unwrap_or_default()),
                "env_http_headers" => {
                    headers.extend(value.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), variable("", value))))
                }
                "bearer_token_env_var" => {
                    headers.insert("Authorization".to_owned(), variable("Bearer ", value));
                }
                // What Codex passes on from its own environment.
                "env_vars" => server.entry("env").or_insert_with(|| json!({})).as_object_mut().into_iter().for_each(|env| {
                    env.extend(
                        value.as_array().into_iter().flatten().filter_map(|name| Some((name.as_str()?.to_owned(), variable("", name)))),
                    );
                }),
                "env" => server.entry("env").or_insert_with(|| json!({})).as_object_mut().into_iter().for_each(|env| {
                    env.extend(value.as_object().cloned().unwrap_or_default());
                }),
                "startup_timeout_sec" | "startup_timeout_ms" | "tool_timeout_sec" | "enabled_tools" | "disabled_tools" | "required" => {}
                _ => {
                    server.insert(key.clone(), value.clone());
                }
            }
        }
        if !headers.is_empty() {
            server.insert("headers".to_owned(), Value::Object(headers));
        }
        servers.insert(name.clone(), Value::Object(server));
    }
    Ok(json!({ "mcpServers": servers }).to_string())
}

/// The value of the environment variable that `name` names.
fn variable(before: &str, name: &Value) -> Value {
    Value::String(format!("{before}${{{}}}", name.as_str().unwrap_or_default()))
}

/// Whether an entry is Sallyport's own: a gateway that served itself would ask itself for ever.
pub(super) fn is_sallyport(server: &ServerConfig) -> bool {
    let program = server.command.iter().flatten().next().map(|program| program.rsplit('/').next().unwrap_or(program));
    let ours = |url: &str| url.starts_with("http://127.0.0.1:7420/") || url.starts_with("http://localhost:7420/");
    program == Some("sallyport") || server.url.as_deref().is_some_and(ours)
}

/// Whether two entries reach the same server in the same way.
pub(super) fn is_same(one: &ServerConfig, other: &ServerConfig) -> bool {
    let reached = |server: &ServerConfig| {
        (server.command.clone(), server.url.clone(), server.env.clone(), server.headers.clone(), server.cwd.clone())
    };
    reached(one) == reached(other)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn codexs_keys_become_the_common_ones() {
        let text = from_codex(
            r#"
model = "o"
[mcp_servers.a]
command = "npx"
args = ["-y", "a"]
env = { A = "b" }
env_vars = ["TOKEN"]
startup_timeout_sec = 20
[mcp_servers.b]
url = "https://b.example.com/mcp"
bearer_token_env_var = "B"
http_headers = { X = "y" }
env_http_headers = { Z = "Z_VALUE" }
enabled = false
"#,
        )
        .unwrap();
        let wanted = json!({ "mcpServers": {
            "a": { "command": "npx", "args": ["-y", "a"], "env": { "A": "b", "TOKEN": "${TOKEN}" } },
            "b": { "url": "https://b.example.com/mcp", "enabled": false, "headers": { "Authorization": "Bearer ${B}", "X": "y", "Z": "${Z_VALUE}" } },
        } });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wanted);
    }

    #[test]
    fn our_own_entry_is_known_again() {
        let stdio = ServerConfig { command: Some(vec!["/opt/bin/sallyport".into(), "stdio".into()]), ..ServerConfig::default() };
        let http = ServerConfig { url: Some("http://127.0.0.1:7420/mcp".into()), ..ServerConfig::default() };
        let other = ServerConfig { command: Some(vec!["npx".into(), "sallyport".into()]), ..ServerConfig::default() };
        assert!(is_sallyport(&stdio) && is_sallyport(&http) && !is_sallyport(&other));
    }
}
