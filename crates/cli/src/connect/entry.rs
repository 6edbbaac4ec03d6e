//! The entry that makes a client use Sallyport.

use std::net::IpAddr;

use jsonc_parser::cst::CstInputValue;
use sallyport_gateway::plan::Plan;
use serde_json::{Value, json};
use toml_edit::{Array, InlineTable, Table};

use super::edit;
use crate::arguments::Client;
use crate::output::Failure;

/// The name of Sallyport in clients' configurations: tools appear as `mcp__sallyport__…`.
pub(super) const NAME: &str = "sallyport";

/// How a client reaches the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// Over HTTP, with the bearer key that lies in a variable of the client's environment.
    Http { url: String, key: Option<String> },
    /// By launching a command.
    Stdio { program: String, arguments: Vec<String> },
}

impl Way {
    /// Over HTTP, where the client can and a key need not be written in plain text.
    pub(super) fn http(client: Client, plan: &Plan) -> Result<Self, Failure> {
        if client == Client::ClaudeDesktop {
            return Err(Failure::new("Claude Desktop's file can only name commands").hint("leave out --http"));
        }
        if plan.listen.port() == 0 {
            return Err(Failure::new("the port of the endpoint changes with each start").hint("set `listen`, or use --stdio"));
        }
        let key = match plan.keys.first().map(ToString::to_string) {
            None => None,
            Some(reference) => {
                let variable = reference.strip_prefix("env:").filter(|_| client != Client::Zed).map(str::to_owned);
                Some(variable.ok_or_else(|| {
                    Failure::new(format!("{} would need the key itself in its file", client.title()))
                        .hint("use --stdio, which needs no key")
                })?)
            }
        };
        Ok(Self::Http { url: url(plan), key })
    }

    /// By launching this very program.
    pub(super) fn stdio(plan: &Plan) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(|error| Failure::new(format!("the path of this program is not known: {error}")))?;
        // Clients start programs in folders of their own choice: the configuration is named in full.
        let configuration = plan.origin.file.as_ref().unwrap_or(&plan.origin.folder);
        let arguments = vec!["--config".to_owned(), configuration.display().to_string(), "stdio".to_owned()];
        Ok(Self::Stdio { program: program.display().to_string(), arguments })
    }
}

/// The endpoint as a client on this machine reaches it.
fn url(plan: &Plan) -> String {
    let scheme = if plan.tls.is_some() { "https" } else { "http" };
    let mut address = plan.listen;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { IpAddr::from([127, 0, 0, 1]) } else { IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]) });
    }
    format!("{scheme}://{address}/mcp")
}

/// The entry of one client.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) client: Client,
    /// In the order in which they are written.
    fields: Vec<(&'static str, Field)>,
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
enum Field {
    Text(String),
    List(Vec<String>),
    Table(&'static str, String),
}

impl Entry {
    pub(super) fn new(client: Client, way: &Way) -> Self {
        let text = |text: &str| Field::Text(text.to_owned());
        let is_typed = matches!(client, Client::ClaudeCode | Client::VsCode);
        let fields = match way {
            Way::Http { url, key } => {
                let kind = is_typed.then(|| ("type", text("http")));
                let key = key.as_deref().map(|name| key_field(client, name));
                kind.into_iter().chain([("url", text(url))]).chain(key).collect()
            }
            Way::Stdio { program, arguments } => {
                let kind = is_typed.then(|| ("type", text("stdio")));
                kind.into_iter().chain([("command", text(program)), ("args", Field::List(arguments.clone()))]).collect()
            }
        };
        Self { client, fields }
    }

    /// The entry as it stands in a file that has nothing else.
    pub(super) fn to_text(&self) -> String {
        edit::insert("", self).unwrap_or_default().trim_end().to_owned()
    }

    /// The shortest thing that a person can paste.
    pub(super) fn to_paste(&self, way: &Way) -> String {
        match (self.client, way) {
            (Client::ClaudeCode, Way::Http { url, key: None }) => format!("claude mcp add --transport http {NAME} {url}"),
            _ => self.to_text(),
        }
    }

    /// The entry for an edit of a JSON file.
    pub(super) fn to_input(&self) -> CstInputValue {
        let input = |field: &Field| match field {
            Field::Text(text) => CstInputValue::String(text.clone()),
            Field::List(texts) => CstInputValue::Array(texts.iter().cloned().map(CstInputValue::String).collect()),
            Field::Table(key, text) => CstInputValue::Object(vec![((*key).to_owned(), CstInputValue::String(text.clone()))]),
        };
        CstInputValue::Object(self.fields.iter().map(|(key, field)| ((*key).to_owned(), input(field))).collect())
    }

    /// The entry for comparison with one in a JSON file.
    pub(super) fn to_json(&self) -> Value {
        let json = |field: &Field| match field {
            Field::Text(text) => json!(text),
            Field::List(texts) => json!(texts),
            Field::Table(key, text) => json!({ *key: text }),
        };
        self.fields.iter().map(|(key, field)| ((*key).to_owned(), json(field))).collect()
    }

    /// The entry for an edit of a TOML file.
    pub(super) fn to_toml(&self) -> Table {
        let toml = |field: &Field| match field {
            Field::Text(text) => toml_edit::Value::from(text),
            Field::List(texts) => texts.iter().map(String::as_str).collect::<Array>().into(),
            Field::Table(key, text) => InlineTable::from_iter([(*key, text.as_str())]).into(),
        };
        self.fields.iter().map(|(key, field)| (*key, toml(field))).collect()
    }
}

/// What makes a client send the key that lies in the variable `name` of its environment.
fn key_field(client: Client, name: &str) -> (&'static str, Field) {
    match client {
        Client::Codex => ("bearer_token_env_var", Field::Text(name.to_owned())),
        Client::ClaudeCode => ("headers", Field::Table("Authorization", format!("Bearer ${{{name}}}"))),
        _ => ("headers", Field::Table("Authorization", format!("Bearer ${{env:{name}}}"))),
    }
}

/// The table of a client's file that names its servers.
pub(super) fn table(client: Client) -> &'static str {
    match client {
        Client::ClaudeCode | Client::ClaudeDesktop | Client::Cursor => "mcpServers",
        Client::VsCode => "servers",
        Client::Codex => "mcp_servers",
        Client::Zed => "context_servers",
    }
}
