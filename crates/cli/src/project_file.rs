//! The `sallyport.toml` that a subcommand changes: comments and order stay as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use owo_colors::OwoColorize;
use sallyport_gateway::config::model::{ServerConfig, Value};
use sallyport_gateway::config::{self, Diagnostic, FILE_NAME, Invocation, plain_secret};
use sallyport_gateway::plan::{Origin, Plan, RemoteTransport};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, TomlError, Value as TomlValue};

use crate::arguments::{Global, Target};
use crate::output::{self, Failure};
use crate::{atomic_write, tenant};

/// A configuration file while it is changed.
#[derive(Debug)]
pub(crate) struct ProjectFile {
    origin: Origin,
    path: PathBuf,
    /// What was in it; `None` when it is to be made.
    old: Option<String>,
    document: DocumentMut,
    invocation: Invocation,
    /// Whose servers it is about, if not the gateway's own.
    tenant: Option<String>,
}

impl ProjectFile {
    /// Opens the configuration that holds, or prepares a new one: the file of `--config`, your own with `--user`, else
    /// `sallyport.toml` here. A new file starts with the servers that the built-in default had.
    pub(crate) fn open(global: &Global, target: &Target) -> Result<Self, Failure> {
        let invocation = global.invocation()?;
        let path = path(&invocation, target)?;
        if config::is_json(&path) {
            return Err(Failure::new(format!("{} belongs to another client and is not changed", path.display()))
                .hint("`sallyport import --from FILE` makes a sallyport.toml of it"));
        }
        let old = if path.is_file() { Some(config::read_bounded(&path)?) } else { None };
        let folder = path.parent().unwrap_or(&invocation.folder).to_owned();
        let is_own = config::user_file(&invocation).as_ref() == Some(&path);
        let origin = Origin { file: Some(path.clone()), folder: if is_own { invocation.folder.clone() } else { folder } };
        let document = old.as_deref().map_or_else(|| Ok(DocumentMut::new()), |text| parse(text, &origin, &invocation))?;
        let mut file = Self { origin, path, old, document, invocation, tenant: None };
        if file.old.is_none() {
            for (name, server) in config::built_in_default(&file.origin.folder).servers {
                file.insert(&name, &server)?;
            }
        }
        Ok(file)
    }

    /// The same, about the servers of a tenant, which is there already. What is wrong in the file is told once it is changed, unless the
    /// change mends it.
    pub(crate) fn of_tenant(mut self, name: Option<&str>) -> Result<Self, Failure> {
        self.tenant = name.map(str::to_owned);
        let is_there = |tenant: &str| self.document.get("tenants").and_then(|tenants| tenants.get(tenant)).is_some();
        if !name.is_none_or(is_there) {
            self.plan()?;
        }
        Ok(self)
    }

    /// Whose servers it is about, if not the gateway's own.
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// The key of a server, as diagnostics have it.
    pub(crate) fn key_of(&self, name: &str) -> String {
        self.tenant.as_ref().map_or_else(|| format!("servers.{name}"), |tenant| format!("tenants.{tenant}.servers.{name}"))
    }

    /// How the program was called.
    pub(crate) fn invocation(&self) -> &Invocation {
        &self.invocation
    }

    /// Whether a server of this name is in it.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.server(name).is_some()
    }

    fn server(&self, name: &str) -> Option<&Item> {
        let holder = match &self.tenant {
            Some(tenant) => self.document.get("tenants")?.get(tenant)?,
            None => self.document.as_item(),
        };
        holder.get("servers")?.get(name)
    }

    /// The table that has the servers in it, or will have.
    fn holder(&mut self) -> Option<&mut Item> {
        match &self.tenant {
            Some(tenant) => self.document.get_mut("tenants")?.get_mut(tenant),
            None => Some(self.document.as_item_mut()),
        }
    }

    fn servers(&mut self) -> Option<&mut dyn TableLike> {
        self.holder()?.get_mut("servers")?.as_table_like_mut()
    }

    /// Adds a server at the end.
    pub(crate) fn insert(&mut self, name: &str, server: &ServerConfig) -> Result<(), Failure> {
        let broken = || Failure::new("`servers` is not a table");
        let holder = self.holder().ok_or_else(broken)?;
        let none = if holder.is_inline_table() {
            Item::Value(TomlValue::InlineTable(InlineTable::new()))
        } else {
            let mut servers = Table::new();
            servers.set_implicit(true);
            Item::Table(servers)
        };
        let servers = holder.as_table_like_mut().ok_or_else(broken)?.entry("servers").or_insert(none);
        let table = table(server)?;
        match servers {
            Item::Table(servers) => servers.insert(name, Item::Table(table)),
            Item::Value(TomlValue::InlineTable(servers)) => {
                servers.insert(name, TomlValue::InlineTable(table.into_inline_table()));
                None
            }
            _ => return Err(broken()),
        };
        Ok(())
    }

    /// The file itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that relative paths start from.
    pub(crate) fn folder(&self) -> &Path {
        &self.origin.folder
    }

    /// Whether it is not as it was.
    pub(crate) fn has_changed(&self) -> bool {
        self.document.to_string() != self.old.as_deref().unwrap_or_default()
    }

    /// The texts in a list of a server.
    pub(crate) fn list_of(&self, name: &str, key: &str) -> Vec<String> {
        let list = self.server(name).and_then(|server| server.get(key)?.as_array());
        list.into_iter().flatten().filter_map(TomlValue::as_str).map(str::to_owned).collect()
    }

    /// Adds to a list of a server what is not in it yet. Whether that was anything.
    pub(crate) fn extend(&mut self, name: &str, key: &str, entries: &[String]) -> Result<bool, Failure> {
        let there = self.list_of(name, key);
        let new: Vec<&String> = entries.iter().filter(|entry| !there.contains(entry)).collect();
        if new.is_empty() {
            return Ok(false);
        }
        let at = self.key_of(name);
        let broken = || Failure::new(format!("`{at}.{key}` is not a list"));
        let server = self.servers().and_then(|servers| servers.get_mut(name)?.as_table_like_mut()).ok_or_else(broken)?;
        let list = server.entry(key).or_insert_with(|| Item::Value(TomlValue::Array(Array::new()))).as_array_mut().ok_or_else(broken)?;
        for entry in new {
            // A list with an entry on each line stays one.
            let before = list.iter().last().and_then(|last| last.decor().prefix()?.as_str()).filter(|before| before.contains('\n'));
            match before.map(str::to_owned) {
                Some(before) => list.push_formatted(TomlValue::from(entry).decorated(before, "")),
                None => list.push(entry),
            }
        }
        Ok(true)
    }

    /// Takes a server out. Whether it was there.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.servers().is_some_and(|servers| servers.remove(name).is_some())
    }

    /// Shows what changes and, unless it is a dry run, writes it. Refuses to write what could not be read again.
    pub(crate) fn save(&self, target: &Target) -> Result<Plan, Failure> {
        let plan = self.check()?;
        if target.dry_run {
            return if target.json { Ok(plan) } else { self.show().map(|()| plan) };
        }
        let new = self.document.to_string();
        atomic_write::replace(&self.path, &new).map_err(|error| {
            Failure::new(format!("{} cannot be written: {error}", self.path.display()))
                .hint("look whose the folder is and whether its disk has room; `--dry-run` shows what to write by hand")
        })?;
        let done = if self.old.is_some() { "changed" } else { "made" };
        output::note(format!("{done} {}", self.path.display()));
        if self.old.is_none() {
            self.tell_of_default();
        }
        Ok(plan)
    }

    /// What became of it, for programs.
    pub(crate) fn outcome<'a>(&'a self, written: bool, warnings: &'a [Diagnostic]) -> Outcome<'a> {
        Outcome { file: &self.path, written, warnings }
    }

    /// The plan that the changed file would make.
    pub(crate) fn check(&self) -> Result<Plan, Failure> {
        Ok(config::read(&self.document.to_string(), self.origin.clone(), &self.invocation)?)
    }

    /// The plan of whose servers it is about.
    pub(crate) fn plan(&self) -> Result<Plan, Failure> {
        tenant::of(self.check()?, self.tenant())
    }

    /// What is wrong with it as it is now.
    pub(crate) fn errors(&self) -> Vec<config::Diagnostic> {
        config::read(&self.document.to_string(), self.origin.clone(), &self.invocation).err().unwrap_or_default()
    }

    /// Shows what changes.
    pub(crate) fn show(&self) -> Result<(), Failure> {
        output::line(diff(&self.path.display().to_string(), self.old.as_deref().unwrap_or_default(), &self.document.to_string()))
    }

    fn tell_of_default(&self) {
        let kept: Vec<String> = config::built_in_default(&self.origin.folder).servers.into_keys().filter(|name| self.has(name)).collect();
        if !kept.is_empty() {
            output::note(format!(
                "note: from now on this file says what is served. It names the servers that were there without it ({}): remove what you do not want.",
                kept.join(", ")
            ));
        }
    }
}

/// What became of the file, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome<'a> {
    file: &'a Path,
    /// Else it only would have been.
    written: bool,
    warnings: &'a [Diagnostic],
}

/// A server that was added or removed, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Changed<'a> {
    pub(crate) server: &'a str,
    /// The keys whose secrets went to files of their own.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) secrets: &'a [String],
    #[serde(flatten)]
    pub(crate) outcome: Outcome<'a>,
}

fn parse(text: &str, origin: &Origin, invocation: &Invocation) -> Result<DocumentMut, Failure> {
    text.parse().map_err(|error: TomlError| match config::read(text, origin.clone(), invocation) {
        // What is wrong with it is told by the reader that knows places.
        Err(errors) => errors.into(),
        Ok(_) => Failure::new(format!("the file cannot be changed: {}", error.message())),
    })
}

/// Which file is changed.
fn path(invocation: &Invocation, target: &Target) -> Result<PathBuf, Failure> {
    if let Some(file) = invocation.file.as_ref().filter(|file| !invocation.folder.join(file).is_dir()) {
        return Ok(invocation.folder.join(file).components().collect());
    }
    let own = || {
        config::user_file(invocation).ok_or_else(|| {
            Failure::new("HOME is not set, so there is no place for a configuration of your own").hint("set it to your home folder")
        })
    };
    if target.user {
        return own();
    }
    let found = config::find(invocation)?;
    Ok(found.origin.file.unwrap_or_else(|| found.origin.folder.join(FILE_NAME)))
}

/// The entry of a server, with nothing in it that is the default.
fn table(server: &ServerConfig) -> Result<Table, Failure> {
    let mut table = Table::new();
    let mut put = |key: &str, value: Option<TomlValue>| {
        if let Some(value) = value {
            table.insert(key, Item::Value(value));
        }
    };
    put("command", server.command.as_ref().map(|command| list(command)));
    put("scripts", server.scripts.then(|| true.into()));
    put("url", server.url.as_ref().map(TomlValue::from));
    if let Some(builtin) = &server.builtin {
        let document = toml_edit::ser::to_document(builtin).map_err(|error| Failure::new(error.to_string()))?;
        put("builtin", Some(TomlValue::InlineTable(document.into_table().into_inline_table())));
    }
    put("transport", (server.transport != RemoteTransport::Auto).then(|| transport(server.transport).into()));
    put("disabled", server.disabled.then(|| true.into()));
    put("env", values(&server.env));
    put("headers", values(&server.headers));
    put("cwd", server.cwd.as_ref().map(TomlValue::from));
    put("read", some_list(&server.read));
    put("write", some_list(&server.write));
    put("network", some_list(&server.network));
    Ok(table)
}

fn transport(transport: RemoteTransport) -> &'static str {
    match transport {
        RemoteTransport::Auto => "auto",
        RemoteTransport::StreamableHttp => "streamable_http",
        RemoteTransport::Sse => "sse",
    }
}

fn list(entries: &[String]) -> TomlValue {
    TomlValue::Array(entries.iter().map(String::as_str).collect::<Array>())
}

fn some_list(entries: &[String]) -> Option<TomlValue> {
    (!entries.is_empty()).then(|| list(entries))
}

fn values(values: &BTreeMap<String, Value>) -> Option<TomlValue> {
    let value = |value: &Value| match value {
        Value::Written(text) => TomlValue::from(text),
        Value::Verbatim(verbatim) => TomlValue::InlineTable(InlineTable::from_iter([("text", verbatim.text.as_str())])),
    };
    let table: InlineTable = values.iter().map(|(name, written)| (name.as_str(), value(written))).collect();
    (!table.is_empty()).then_some(TomlValue::InlineTable(table))
}

/// The lines that change, with three around them, in colours.
pub(crate) fn diff(name: &str, old: &str, new: &str) -> String {
    let mut shown = format!("{}\n", name.bold());
    let diff = TextDiff::from_lines(old, new);
    for group in diff.grouped_ops(3) {
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let line = masked(change.value().trim_end_matches('\n'));
            let line = match change.tag() {
                ChangeTag::Insert => format!("+{line}").green().to_string(),
                ChangeTag::Delete => format!("-{line}").red().to_string(),
                ChangeTag::Equal => format!(" {line}"),
            };
            shown.push_str(&line);
            shown.push('\n');
        }
    }
    shown.truncate(shown.trim_end().len());
    shown
}

/// A line of a configuration with whatever looks like a secret left out of its strings.
fn masked(line: &str) -> String {
    let mut shown = String::new();
    let mut name = "";
    for (index, part) in line.split('"').enumerate() {
        if index > 0 {
            shown.push('"');
        }
        if index % 2 == 0 {
            // Outside a string: the last word before `=` names the next one.
            name = part.trim_end_matches(['=', ' ', '[']).rsplit([' ', ',', '{', '\t']).next().unwrap_or_default();
            shown.push_str(part);
        } else {
            shown.push_str(&masked_text(name, part));
        }
    }
    shown
}

fn masked_text(name: &str, text: &str) -> String {
    let is_reference = text.contains("${") || sallyport_secrets::SecretReference::is_meant_by(text);
    match text.split_once('?') {
        Some((endpoint, _)) if text.starts_with("http") => format!("{endpoint}?…"),
        _ if !is_reference && plain_secret::is_likely(name, text) => "…".to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_settings_and_no_secrets() {
        for (line, shown) in [
            (r#"env = { LOG = "debug", API_KEY = "hunter2", T = "env:T" }"#, r#"env = { LOG = "debug", API_KEY = "…", T = "env:T" }"#),
            (r#"url = "https://a.com/mcp?key=hunter2""#, r#"url = "https://a.com/mcp?…""#),
            (r#"command = ["npx", "ghp_0123456789"]"#, r#"command = ["npx", "…"]"#),
            ("# just a comment", "# just a comment"),
            (r#"API_TOKEN = "hunter2"#, r#"API_TOKEN = "…"#),
        ] {
            assert_eq!(masked(line), shown);
        }
    }
}
