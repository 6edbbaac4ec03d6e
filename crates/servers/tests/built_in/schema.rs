//! The part of JSON Schema 2020-12 that the built-in tools use; a keyword outside of it fails the test.

use serde_json::{Map, Value};

pub fn check(schema: &Value, value: &Value, at: &str) {
    if let Err(why) = fits(schema, value, at) {
        panic!("{why}");
    }
}

fn fits(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = schema.as_object().ok_or_else(|| format!("{at}: schema is no object"))?;
    for (keyword, rule) in schema {
        let kept = match keyword.as_str() {
            "type" => type_fits(rule, value),
            "enum" => rule.as_array().unwrap().contains(value),
            "const" => rule == value,
            "minimum" => value.as_f64().is_some_and(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_some_and(|number| number <= rule.as_f64().unwrap()),
            "oneOf" | "anyOf" => rule.as_array().unwrap().iter().any(|choice| fits(choice, value, at).is_ok()),
            "required" => rule.as_array().unwrap().iter().all(|key| value.get(key.as_str().unwrap()).is_some()),
            "items" => return_first(value.as_array().unwrap().iter().map(|item| fits(rule, item, &format!("{at}[]"))))?,
            "properties" => properties_fit(rule.as_object().unwrap(), value, at)?,
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                *rule == true || value.as_object().unwrap().keys().all(|key| known.is_some_and(|known| known.contains_key(key)))
            }
            "description" => true,
            other => return Err(format!("{at}: the checker does not know `{other}`")),
        };
        if !kept {
            return Err(format!("{at}: {value} does not fit `{keyword}`: {rule}"));
        }
    }
    Ok(())
}

fn return_first(all: impl Iterator<Item = Result<(), String>>) -> Result<bool, String> {
    all.collect::<Result<(), String>>().map(|()| true)
}

fn properties_fit(properties: &Map<String, Value>, value: &Value, at: &str) -> Result<bool, String> {
    let object = value.as_object().ok_or_else(|| format!("{at}: {value} is no object"))?;
    if let Some(unknown) = object.keys().find(|key| !properties.contains_key(*key)) {
        return Err(format!("{at}: `{unknown}` is not in the schema"));
    }
    return_first(properties.iter().filter_map(|(key, schema)| Some(fits(schema, object.get(key)?, &format!("{at}.{key}")))))
}

fn type_fits(rule: &Value, value: &Value) -> bool {
    match rule.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("unexpected type {other}"),
    }
}
