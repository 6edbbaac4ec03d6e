//! The configurations of MCP clients, taken as they are: `mcpServers` (Claude Desktop, Claude Code, Cursor and most others),
//! VS Code's `servers` with `inputs`, Zed's `context_servers`. Comments and trailing commas are accepted.

mod entry;
mod variables;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use jsonc_parser::ast::{Object, ObjectProp, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions};
use sallyport_policy::SCOPE_OF_ALL;

use crate::config::Variables;
use crate::config::diagnostic::{Diagnostic, LineIndex, Places, Report, join};
use crate::config::model::Config;
use crate::config::validate::{LONGEST_NAME, is_name};

/// Where a client's file is read, which its variables depend on.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The project's folder: `${workspaceFolder}`.
    pub folder: &'a Path,
    /// The environment.
    pub variables: &'a Variables,
}

impl fmt::Debug for Setting<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Setting").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A client's file in the terms of a `sallyport.toml`.
#[derive(Debug)]
pub struct ClientFile {
    /// Its servers.
    pub config: Config,
    /// What could not be taken over.
    pub warnings: Vec<Diagnostic>,
    /// Where everything stands, by the paths of `config`.
    pub(crate) places: Places,
    /// What the client's file calls each server.
    pub(crate) own_paths: OwnPaths,
}

/// The paths that a client's file has for its servers, by their names here.
#[derive(Debug, Default)]
pub(crate) struct OwnPaths(BTreeMap<String, String>);

impl OwnPaths {
    /// What the client's file calls the key that `path` names here.
    pub(crate) fn own(&self, path: &str) -> String {
        let Some(rest) = path.strip_prefix("servers.") else { return path.to_owned() };
        let (name, key) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
        let Some(own) = self.0.get(name) else { return path.to_owned() };
        let argument = key.strip_prefix(".command[").and_then(|rest| rest.strip_suffix(']')?.parse::<usize>().ok());
        match argument {
            Some(index) if index > 0 => format!("{own}.args[{}]", index - 1),
            _ => format!("{own}{key}"),
        }
    }
}

/// Reads the text of a client's file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(text: &str, setting: &Setting<'_>) -> Result<ClientFile, Vec<Diagnostic>> {
    let parsed = jsonc_parser::parse_to_ast(text, &CollectOptions::default(), &OPTIONS).map_err(|error| {
        let mut diagnostic = Diagnostic::new("", error.kind().to_string().to_lowercase());
        diagnostic.place = Some(LineIndex::new(text).place(error.range().start));
        vec![diagnostic]
    })?;
    let tables = match &parsed.value {
        Some(Value::Object(root)) => tables(root, setting.folder),
        _ => Vec::new(),
    };
    if tables.is_empty() {
        let nothing = Diagnostic::new("", "no servers are named here")
            .hint("servers are expected in `mcpServers` (most clients), `servers` (VS Code) or `context_servers` (Zed)");
        return Err(vec![nothing]);
    }
    let mut reading = Reading { setting: *setting, lines: LineIndex::new(text), report: Report::default(), file: ClientFile::empty() };
    for (path, table) in tables {
        reading.table(&path, table);
    }
    let Reading { report, mut file, .. } = reading;
    if !report.errors.is_empty() {
        return Err(report.errors);
    }
    file.warnings = report.warnings;
    Ok(file)
}

/// What clients accept over strict JSON; anything looser would hide slips.
const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// The tables of servers in a file, with their paths.
fn tables<'r, 't>(root: &'r Object<'t>, folder: &Path) -> Vec<(String, &'r Object<'t>)> {
    let at = |keys: &[&str]| {
        let table = keys.iter().try_fold(root, |table, key| table.get_object(key))?;
        Some((keys.iter().fold(String::new(), |path, key| join(&path, key)), table))
    };
    // Claude Code keeps a project's servers in `projects`, by the project's folder.
    let project = folder.to_str().unwrap_or_default();
    let known: [&[&str]; 5] =
        [&["mcpServers"], &["servers"], &["mcp", "servers"], &["context_servers"], &["projects", project, "mcpServers"]];
    known.into_iter().filter_map(at).collect()
}

/// A file while it is read.
struct Reading<'a> {
    setting: Setting<'a>,
    lines: LineIndex<'a>,
    report: Report,
    file: ClientFile,
}

impl ClientFile {
    fn empty() -> Self {
        Self { config: Config::default(), warnings: Vec::new(), places: Places::default(), own_paths: OwnPaths::default() }
    }
}

impl Reading<'_> {
    /// Reads a table of servers.
    fn table(&mut self, path: &str, table: &Object<'_>) {
        for property in &table.properties {
            let written = property.name.as_str();
            let own_path = join(path, written);
            let name = self.name(&own_path, written, property);
            if let Some(other) = self.file.own_paths.0.get(&name) {
                let error = Diagnostic::new(&own_path, format!("`{own_path}` and `{other}` both come out as the server `{name}`"));
                self.error(error.hint("rename one of them"), property);
                continue;
            }
            self.file.own_paths.0.insert(name.clone(), own_path.clone());
            self.note(&join("servers", &name), property);
            let Some(entry) = property.value.as_object() else {
                self.error(Diagnostic::new(&own_path, "a server is an object"), property);
                continue;
            };
            if let Some(server) = self.entry(&name, &own_path, entry) {
                self.file.config.servers.insert(name, server);
            }
        }
    }

    /// The name of a server here, with a warning when it is not its own.
    fn name(&mut self, own_path: &str, written: &str, property: &ObjectProp<'_>) -> String {
        let name = fitting_name(written);
        if name != written {
            let hint = match written {
                SCOPE_OF_ALL => "`mcp` is the scope of all servers",
                _ => "names are letters, digits, `-` and `_`, at most 32",
            };
            let warning = Diagnostic::new(own_path, format!("`{}` is called `{name}` here", written.escape_debug()));
            self.warn(warning.hint(hint), property);
        }
        name
    }

    /// Notes where the key `path` of the translated configuration stands.
    fn note(&mut self, path: &str, place: &impl Ranged) {
        self.file.places.note(&self.lines, path.to_owned(), place.start());
    }

    fn error(&mut self, mut diagnostic: Diagnostic, place: &impl Ranged) {
        diagnostic.place = Some(self.lines.place(place.start()));
        self.report.error(diagnostic);
    }

    fn warn(&mut self, mut diagnostic: Diagnostic, place: &impl Ranged) {
        diagnostic.place = Some(self.lines.place(place.start()));
        self.report.warn(diagnostic);
    }
}

/// The name that a server called `written` has here.
#[must_use]
pub fn fitting_name(written: &str) -> String {
    if is_name(written) && written != SCOPE_OF_ALL {
        return written.to_owned();
    }
    let mut name = String::new();
    for letter in written.chars() {
        let letter = if letter.is_ascii_alphanumeric() { letter } else { '-' };
        if letter != '-' || name.ends_with(|last: char| last != '-') {
            name.push(letter);
        }
    }
    name.truncate(LONGEST_NAME);
    let name = name.trim_end_matches('-');
    match name {
        "" => "server".to_owned(),
        SCOPE_OF_ALL => format!("{SCOPE_OF_ALL}-server"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
