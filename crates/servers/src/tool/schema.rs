//! JSON Schemas of arguments and results, from their types (dialect 2020-12, as 2026-07-28 has it by default).

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

pub(super) fn of_input<T: JsonSchema>() -> Value {
    of::<T>(settings().for_deserialize())
}

pub(super) fn of_output<T: JsonSchema>() -> Value {
    of::<T>(settings().for_serialize())
}

/// Without references: a model reads a schema once, from top to bottom.
fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    })
}

fn of<T: JsonSchema>(settings: SchemaSettings) -> Value {
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.remove("description"); // the tool's own description stands beside the schema
    }
    shrink(&mut schema);
    schema
}

/// Takes away what tells a model nothing: Rust's own names and widths, and `null` as another way to leave out an
/// optional member (it is still accepted).
fn shrink(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("title");
    object.remove("format");
    object.remove("default");
    drop_null_type(object);
    drop_null_choice(object);
    for (key, value) in object.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(shrink),
            ("anyOf" | "oneOf", Value::Array(choices)) => choices.iter_mut().for_each(shrink),
            ("items", items) => shrink(items),
            _ => {}
        }
    }
}

fn drop_null_type(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
}

fn drop_null_choice(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else { return };
    choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
    if let [Value::Object(only)] = choices.as_mut_slice() {
        let only = std::mem::take(only);
        object.remove("anyOf");
        for (key, value) in only {
            object.entry(key).or_insert(value);
        }
    }
}
