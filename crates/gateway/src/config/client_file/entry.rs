//! One server of a client's file.

use std::collections::BTreeMap;

use jsonc_parser::ast::{Object, ObjectProp, Value};
use jsonc_parser::common::Ranged;

use crate::config::client_file::Reading;
use crate::config::diagnostic::{Diagnostic, join};
use crate::config::model::{self, ServerConfig};
use crate::config::template::verbatim;
use crate::plan::RemoteTransport;

/// Keys that say nothing about how a server is reached: what clients show, approve and remember.
const OF_THE_CLIENT: [&str; 16] = [
    "alwaysAllow",
    "autoApprove",
    "description",
    "dev",
    "disabledTools",
    "gallery",
    "icon",
    "name",
    "sandbox",
    "settings",
    "source",
    "timeout",
    "tools",
    "trust",
    "version",
    "id",
];

impl Reading<'_> {
    /// Reads the server `name`. `None` when it cannot be taken over; the report says why.
    pub(super) fn entry(&mut self, name: &str, own_path: &str, entry: &Object<'_>) -> Option<ServerConfig> {
        let path = join("servers", name);
        let mut server = ServerConfig::default();
        let mut kind = None;
        for property in &entry.properties {
            let key = property.name.as_str();
            let own_key = join(own_path, key);
            match key {
                "type" | "transport" => kind = self.text(&own_key, property),
                "command" => self.command(&path, &own_key, property, &mut server),
                "args" => self.arguments(&path, &own_key, property, &mut server),
                "env" => server.env = self.values(&join(&path, "env"), &own_key, property),
                "headers" => server.headers = self.values(&join(&path, "headers"), &own_key, property),
                "url" | "serverUrl" | "httpUrl" => {
                    self.note(&join(&path, "url"), property);
                    server.url = self.text(&own_key, property).and_then(|text| self.references(&own_key, &text, property));
                }
                "cwd" => {
                    self.note(&join(&path, "cwd"), property);
                    server.cwd = self.text(&own_key, property).and_then(|text| self.replaced(&own_key, &text, property));
                }
                "disabled" => server.disabled = self.switch(&own_key, property),
                "enabled" => server.disabled = !self.switch(&own_key, property),
                "envFile" => {
                    let warning = Diagnostic::new(own_key, "`envFile` is not read").hint("put its variables into `env`, as `${env:NAME}`");
                    self.warn(warning, property);
                }
                key if OF_THE_CLIENT.contains(&key) => {}
                _ => self.warn(Diagnostic::new(own_key, "the key means nothing here"), property),
            }
        }
        if server.command.is_none() && server.url.is_none() {
            let warning = Diagnostic::new(own_path, "the server is left out: its entry names neither a command nor a URL");
            self.warn(warning.hint("clients' own extensions run in the client only"), entry);
            return None;
        }
        self.kind(kind.as_deref(), own_path, &mut server, entry);
        Some(server)
    }

    /// What `type` says about how MCP is carried.
    fn kind(&mut self, kind: Option<&str>, own_path: &str, server: &mut ServerConfig, entry: &Object<'_>) {
        let kind = kind.map(|kind| kind.to_ascii_lowercase().replace(['-', '_'], ""));
        match kind.as_deref() {
            None | Some("stdio") => {}
            Some("http" | "streamablehttp") => server.transport = RemoteTransport::StreamableHttp,
            Some("sse") => server.transport = RemoteTransport::Sse,
            Some(_) => {
                let error = Diagnostic::new(join(own_path, "type"), "MCP cannot be carried this way here");
                self.error(error.hint("known are `stdio`, `http` and `sse`"), entry);
            }
        }
        if server.command.is_some() {
            server.transport = RemoteTransport::Auto;
        }
    }

    /// The program: a text, a list of program and arguments, or Zed's older object of all.
    fn command(&mut self, path: &str, own_path: &str, property: &ObjectProp<'_>, server: &mut ServerConfig) {
        self.note(&join(path, "command"), property);
        match &property.value {
            Value::Object(object) => {
                for property in &object.properties {
                    let own_path = join(own_path, property.name.as_str());
                    match property.name.as_str() {
                        "path" | "command" => self.program(&own_path, property, server),
                        "args" => self.arguments(path, &own_path, property, server),
                        "env" => server.env = self.values(&join(path, "env"), &own_path, property),
                        _ => self.warn(Diagnostic::new(own_path, "the key means nothing here"), property),
                    }
                }
            }
            Value::Array(_) => self.arguments(path, own_path, property, server),
            _ => self.program(own_path, property, server),
        }
    }

    fn program(&mut self, own_path: &str, property: &ObjectProp<'_>, server: &mut ServerConfig) {
        let program = self.text(own_path, property).and_then(|text| self.replaced(own_path, &text, property));
        if let Some(program) = program {
            server.command.get_or_insert_default().insert(0, program);
        }
    }

    fn arguments(&mut self, path: &str, own_path: &str, property: &ObjectProp<'_>, server: &mut ServerConfig) {
        let Some(array) = property.value.as_array() else {
            return self.error(Diagnostic::new(own_path, "arguments are a list of texts"), property);
        };
        let is_command = property.name.as_str() == "command";
        for (index, value) in array.elements.iter().enumerate() {
            let own_path = format!("{own_path}[{index}]");
            let argument = scalar(value).and_then(|text| self.references(&own_path, &text, value));
            match argument {
                Some(argument) => {
                    let at = if is_command { index } else { index + 1 };
                    self.note(&format!("{}[{at}]", join(path, "command")), value);
                    server.command.get_or_insert_default().push(argument);
                }
                None if scalar(value).is_none() => self.error(Diagnostic::new(own_path, "an argument is a text"), value),
                None => {}
            }
        }
    }

    /// The values of `env` or `headers`.
    fn values(&mut self, path: &str, own_path: &str, property: &ObjectProp<'_>) -> BTreeMap<String, model::Value> {
        self.note(path, property);
        let mut values = BTreeMap::new();
        let Some(table) = property.value.as_object() else {
            if property.value.as_null_keyword().is_none() {
                self.error(Diagnostic::new(own_path, "an object of texts is wanted"), property);
            }
            return values;
        };
        for property in &table.properties {
            let name = property.name.as_str();
            let own_path = join(own_path, name);
            self.note(&join(path, name), property);
            match (&property.value, scalar(&property.value)) {
                (Value::NullKeyword(_), _) => {}
                (_, None) => self.error(Diagnostic::new(own_path, "a text is wanted"), property),
                (_, Some(text)) => {
                    let value = match self.references(&own_path, &text, property) {
                        Some(written) if written.contains("${env:") => model::Value::Written(shortest(written)),
                        Some(_) => verbatim(&text),
                        None => continue,
                    };
                    values.insert(name.to_owned(), value);
                }
            }
        }
        values
    }

    fn text(&mut self, own_path: &str, property: &ObjectProp<'_>) -> Option<String> {
        let text = property.value.as_string_lit().map(|text| text.value.clone().into_owned());
        if text.is_none() {
            self.error(Diagnostic::new(own_path, "a text is wanted"), property);
        }
        text
    }

    fn switch(&mut self, own_path: &str, property: &ObjectProp<'_>) -> bool {
        match property.value.as_boolean_lit() {
            Some(switch) => switch.value,
            None => {
                self.error(Diagnostic::new(own_path, "`true` or `false` is wanted"), property);
                false
            }
        }
    }

    /// `text` with its variables as references.
    fn references(&mut self, own_path: &str, text: &str, place: &impl Ranged) -> Option<String> {
        let variables = self.setting.references(text);
        for warning in variables.notes {
            self.warn(Diagnostic::new(own_path, warning), place);
        }
        variables.text.map_err(|bad| self.error(Diagnostic::new(own_path, bad.message).hint(bad.hint), place)).ok()
    }

    /// `text` with its variables replaced by their values: for what must be known before anything starts.
    fn replaced(&mut self, own_path: &str, text: &str, place: &impl Ranged) -> Option<String> {
        self.setting.replaced(text).map_err(|bad| self.error(Diagnostic::new(own_path, bad.message).hint(bad.hint), place)).ok()
    }
}

/// A reference that is a value as a whole, in its shorter form.
fn shortest(written: String) -> String {
    let inner = written.strip_prefix("${env:").and_then(|rest| rest.strip_suffix('}'));
    match inner {
        Some(name) if !name.contains('}') => format!("env:{name}"),
        _ => written,
    }
}

/// A text, number or switch as the text that a client would make of it.
fn scalar(value: &Value<'_>) -> Option<String> {
    match value {
        Value::StringLit(text) => Some(text.value.clone().into_owned()),
        Value::NumberLit(number) => Some(number.value.to_owned()),
        Value::BooleanLit(switch) => Some(switch.value.to_string()),
        _ => None,
    }
}
