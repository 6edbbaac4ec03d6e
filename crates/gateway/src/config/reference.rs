//! The manual page and the JSON Schema of the configuration, made from the types that read it.

use std::fmt::{self, Write as _};

use schemars::Schema;
use serde_json::Value;

use crate::config::model::Config;

/// The JSON Schema of a `sallyport.toml`, for editors.
#[must_use]
pub fn schema() -> Schema {
    schemars::schema_for!(Config)
}

/// The manual page of the configuration, as Markdown.
#[must_use]
pub fn page() -> String {
    let schema = schema().to_value();
    let mut page = Page { text: INTRODUCTION.to_owned(), definitions: schema.get("$defs").cloned().unwrap_or_default() };
    // Writing into a text cannot fail.
    let _ = page.section("", false, &schema);
    page.text
}

/// What stands before the keys. Its example is read by a test.
const INTRODUCTION: &str = include_str!("reference/introduction.md");

/// The table whose own tables are those of the file itself.
const TENANT: &str = "tenants.NAME";

/// The one of its tables that is another.
const TLS_OF_TENANT: &str = "tenants.NAME.tls";

/// The page while it is written.
struct Page {
    text: String,
    definitions: Value,
}

impl Page {
    /// Writes the keys of the table `name`, or of each table in the list of that name, then the tables below it.
    fn section(&mut self, name: &str, is_list: bool, schema: &Value) -> fmt::Result {
        let title = match (name, is_list) {
            ("", _) => "Top level".to_owned(),
            (_, false) => format!("`[{name}]`"),
            (_, true) => format!("`[[{name}]]`"),
        };
        write!(self.text, "\n## {title}\n\n")?;
        if !name.is_empty() {
            write!(self.text, "{}\n\n", description(schema))?;
        }
        let mut below = Vec::new();
        for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let target = self.resolve(property);
            let text = if description(property).is_empty() { description(&target) } else { description(property) };
            writeln!(self.text, "- **`{key}`** ({}): {text}{}", self.kind(property), default_of(property, &text))?;
            self.choices(&target)?;
            below.extend(self.tables(&join(name, key), &target));
        }
        if name == TENANT {
            writeln!(self.text, "\nThe tables below it are those of the same names above, but for `tls`.")?;
            below.retain(|(name, ..)| name == TLS_OF_TENANT);
        }
        below.into_iter().try_for_each(|(name, is_list, schema)| self.section(&name, is_list, &schema))
    }

    /// Writes what each of the values that a key may have means.
    fn choices(&mut self, schema: &Value) -> fmt::Result {
        for choice in variants(schema) {
            if let (Some(value), text) = (choice.get("const").and_then(Value::as_str), description(choice))
                && !text.is_empty()
            {
                writeln!(self.text, "  - `\"{value}\"`: {text}")?;
            }
        }
        Ok(())
    }

    /// The tables that a value of this kind is or holds, with their names and whether there is a list of them.
    fn tables(&self, name: &str, schema: &Value) -> Vec<(String, bool, Value)> {
        let mut tables = Vec::new();
        if schema.get("properties").is_some() {
            tables.push((name.to_owned(), false, schema.clone()));
        }
        if let Some(entry) = schema.get("additionalProperties").filter(|entry| entry.is_object()) {
            tables.extend(self.tables(&format!("{name}.NAME"), &self.resolve(entry)));
        }
        if let Some(entry) = schema.get("items").map(|entry| self.resolve(entry)).filter(|entry| entry.get("properties").is_some()) {
            tables.push((name.to_owned(), true, entry));
        }
        // A switch, or a table in its place: `standby = false`, `standby = { … }`.
        if is_switch(schema) {
            tables.extend(variants(schema).map(|choice| (name.to_owned(), false, self.resolve(choice))));
        }
        // A choice by key: `{ filesystem = { … } }`.
        for (key, choice) in variants(schema).flat_map(|choice| choice.get("properties").and_then(Value::as_object).into_iter().flatten()) {
            let mut table = self.resolve(choice);
            if let (Some(fields), text) = (table.as_object_mut(), description(choice))
                && !text.is_empty()
            {
                fields.insert("description".to_owned(), text.into());
            }
            tables.push((format!("{name}.{key}"), false, table));
        }
        tables.retain(|(_, _, table)| table.get("properties").and_then(Value::as_object).is_some_and(|keys| !keys.is_empty()));
        tables
    }

    /// The kind of value in a word or two.
    fn kind(&self, schema: &Value) -> String {
        let target = self.resolve(schema);
        let words = match target.get("type").map(|kind| kind.as_str().or_else(|| kind.get(0)?.as_str())) {
            Some(Some("array")) => {
                return format!("list of {}s", target.get("items").map_or_else(|| "value".to_owned(), |item| self.kind(item)));
            }
            Some(Some("object")) => return "table".to_owned(),
            Some(Some("boolean")) => "`true` or `false`",
            Some(Some("integer" | "number")) => "number",
            Some(Some("string")) => "string",
            _ if target == Value::Bool(true) => "value",
            _ if is_switch(&target) => "`true`, `false` or table",
            _ if variants(&target).any(|choice| choice.get("const").is_some()) => "string",
            _ if variants(&target).any(|choice| choice.get("type").and_then(Value::as_str) == Some("string")) => "string or table",
            _ => "table",
        };
        words.to_owned()
    }

    /// What a reference, or an optional value, stands for.
    fn resolve(&self, schema: &Value) -> Value {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/")) {
            return self.definitions.get(name).cloned().unwrap_or_default();
        }
        let mut choices = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
        let is_null = |choice: &&Value| choice.get("type").and_then(Value::as_str) == Some("null");
        match (choices.clone().any(|choice| is_null(&choice)), choices.find(|choice| !is_null(choice))) {
            (true, Some(choice)) => self.resolve(choice),
            _ => schema.clone(),
        }
    }
}

/// The values that a schema lists.
fn variants(schema: &Value) -> impl Iterator<Item = &Value> {
    ["oneOf", "anyOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten()
}

/// Whether `true` and `false` are among the values.
fn is_switch(schema: &Value) -> bool {
    variants(schema).any(|choice| choice.get("type").and_then(Value::as_str) == Some("boolean"))
}

/// The description of a schema, in one line.
fn description(schema: &Value) -> String {
    schema.get("description").and_then(Value::as_str).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The default that the schema knows, where the text says none.
fn default_of(schema: &Value, text: &str) -> String {
    match schema.get("default") {
        Some(default) if !text.contains("Default:") && !default.is_object() && !default.is_null() => format!(" Default: `{default}`."),
        _ => String::new(),
    }
}

fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::path::Path;

    use super::*;
    use crate::config::{toml_file, validate};
    use crate::plan::Origin;

    /// Compares what is in the repository with what it should be; with `SALLYPORT_BLESS` set, writes it.
    fn check_committed(name: &str, wanted: &str) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
        if std::env::var_os("SALLYPORT_BLESS").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, wanted).unwrap();
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == wanted,
            "docs/reference/{name} is stale: run `SALLYPORT_BLESS=1 cargo nextest run -p sallyport-gateway reference`"
        );
    }

    #[test]
    fn the_manual_page_is_up_to_date() {
        check_committed("configuration.md", &page());
    }

    #[test]
    fn the_schema_is_up_to_date() {
        check_committed("sallyport.schema.json", &format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap()));
    }

    #[test]
    fn every_key_is_described() {
        let page = page();
        let bare: Vec<_> = page.lines().filter(|line| line.starts_with("- **`") && line.trim_end().ends_with("):")).collect();
        assert!(bare.is_empty(), "{bare:?}");
    }

    #[test]
    fn the_example_of_the_manual_page_is_a_configuration() {
        let example = INTRODUCTION.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let (config, _) = toml_file::read(example).unwrap();
        let plan = validate(config, Origin { file: None, folder: "/project".into() }, &|name| Some(format!("/{name}"))).unwrap();
        assert_eq!(plan.warnings, []);
        assert!(plan.servers.len() >= 3);
    }
}
