//! Forms of elicitation without the kinds of fields that 2025-11-25 brought.
//!
//! A choice with titles becomes one with `enumNames`. A multiple choice becomes a yes-or-no field for each of its options, whose
//! name tells to which field it belongs, so that the answer is put together again without knowing the question.

use super::{NoWord, Revision, change_object};
use crate::raw::{RawJson, RawObject};

/// Stands between a field's name and an option's value: "colours ∋ red" reads "red is among the colours".
const HOLDS: &str = " ∋ ";

/// Fields of one form at most, options of multiple choices among them: a person is to fill them in.
const MOST_FIELDS: usize = 256;

/// Writes a form of 2025-11-25 (its `PrimitiveSchemaDefinition`s) as one of 2025-06-18.
pub(super) fn narrow(params: &mut RawObject) -> Result<(), NoWord> {
    let mut outcome = Ok(());
    change_object(params, "requestedSchema", |schema| {
        narrow_schema(schema).unwrap_or_else(|no_word| {
            outcome = Err(no_word);
            false
        })
    });
    outcome
}

fn narrow_schema(schema: &mut RawObject) -> Result<bool, NoWord> {
    let Ok(Some(properties)) = schema.get_object("properties") else { return Ok(false) };
    let required: Vec<RawJson> = schema.get("required").and_then(|names| names.array().ok()).unwrap_or_default();
    let mut form = Form { fields: Vec::new(), required, changed: false };
    for (name, field) in properties.iter() {
        form.take(name, field)?;
        if form.fields.len() > MOST_FIELDS {
            return Err(NoWord::new(format!("a form of more than {MOST_FIELDS} fields"), Revision::V2025_11_25));
        }
    }
    if form.changed {
        let mut properties = RawObject::new();
        form.fields.iter().for_each(|(name, field)| properties.set(name, field.clone()));
        schema.set("properties", properties.to_json());
        if schema.get("required").is_some() {
            schema.set("required", RawJson::of_array(&form.required));
        }
    }
    Ok(form.changed)
}

/// A form on its way.
struct Form {
    fields: Vec<(String, RawJson)>,
    /// The names of fields that must be filled in, as JSON strings.
    required: Vec<RawJson>,
    changed: bool,
}

impl Form {
    fn take(&mut self, name: &str, field: &RawJson) -> Result<(), NoWord> {
        let mut written = field.clone();
        if let Ok(mut opened) = field.object() {
            match opened.get_str("type").as_deref() {
                Some("array") => return self.spread(name, &opened),
                Some("boolean") => {} // the only one that had a default already
                _ => {
                    if opened.remove("default").is_some() | name_options(&mut opened) {
                        self.changed = true;
                        written = opened.to_json();
                    }
                }
            }
        }
        self.fields.push((name.to_owned(), written));
        Ok(())
    }

    /// Puts a yes-or-no field in for each option of a multiple choice.
    fn spread(&mut self, name: &str, field: &RawObject) -> Result<(), NoWord> {
        let no_choice = || NoWord::new(format!("a form whose field `{name}` is no choice of texts"), Revision::V2025_11_25);
        let options = field.get_object("items").ok().flatten().and_then(|items| options_of(&items)).ok_or_else(no_choice)?;
        let chosen = field.get("default").and_then(|chosen| chosen.array().ok()).unwrap_or_default();
        let title = field.get_str("title");
        let required = self.required.iter().any(|known| known.string_value().as_deref() == Some(name));
        self.required.retain(|known| known.string_value().as_deref() != Some(name));
        self.changed = true;
        for option in options.into_iter().take(MOST_FIELDS + 1) {
            let key = format!("{name}{HOLDS}{}", option.value);
            let mut yes_or_no = RawObject::new();
            yes_or_no.set("type", RawJson::from_static("\"boolean\""));
            let shown = option.title.as_deref().unwrap_or(&option.value);
            yes_or_no.set("title", RawJson::string(&format!("{}: {shown}", title.as_deref().unwrap_or(name))));
            if let Some(description) = field.get("description") {
                yes_or_no.set("description", description.clone());
            }
            if chosen.iter().any(|chosen| chosen.string_value().as_deref() == Some(option.value.as_str())) {
                yes_or_no.set("default", RawJson::from_static("true"));
            }
            if required {
                self.required.push(RawJson::string(&key)); // answered yes or no, so that "none" can be told from "not said"
            }
            self.fields.push((key, yes_or_no.to_json()));
        }
        Ok(())
    }
}

/// One option of a choice.
struct Choice {
    value: String,
    title: Option<String>,
}

/// The options of a choice: `enum`, or `oneOf`/`anyOf` with titles. `None` where it is no choice.
fn options_of(schema: &RawObject) -> Option<Vec<Choice>> {
    if let Some(values) = schema.get("enum") {
        let plain = |value: &RawJson| Some(Choice { value: value.string_value()?.into_owned(), title: None });
        return values.array().ok()?.iter().map(plain).collect();
    }
    let titled = |option: &RawJson| {
        let option = option.object().ok()?;
        Some(Choice { value: option.get_str("const")?.into_owned(), title: option.get_str("title").map(|title| title.into_owned()) })
    };
    schema.get("oneOf").or_else(|| schema.get("anyOf"))?.array().ok()?.iter().map(titled).collect()
}

/// Turns a choice with titles into `enum` and `enumNames`.
fn name_options(field: &mut RawObject) -> bool {
    if field.get("oneOf").is_none() {
        return false;
    }
    let Some(options) = options_of(field) else { return false };
    let values: Vec<RawJson> = options.iter().map(|option| RawJson::string(&option.value)).collect();
    let names: Vec<RawJson> = options.iter().map(|option| RawJson::string(option.title.as_ref().unwrap_or(&option.value))).collect();
    field.remove("oneOf");
    field.set("enum", RawJson::of_array(&values));
    field.set("enumNames", RawJson::of_array(&names));
    true
}

/// Puts the answers to a multiple choice together again.
pub(super) fn gather(content: &mut RawObject) -> bool {
    let mut choices: Vec<(String, Vec<RawJson>)> = Vec::new();
    let mut said = Vec::new();
    for (key, value) in content.iter() {
        let Some((name, option)) = key.split_once(HOLDS) else { continue };
        let chosen = match value.as_str() {
            "true" => Some(RawJson::string(option)),
            "false" => None,
            _ => continue,
        };
        said.push(key.to_owned());
        match choices.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.extend(chosen),
            None => choices.push((name.to_owned(), chosen.into_iter().collect())),
        }
    }
    content.retain(|key| !said.iter().any(|gone| gone == key));
    for (name, values) in &choices {
        content.set(name, RawJson::of_array(values));
    }
    !choices.is_empty()
}
