//! Whether arguments are what a tool takes, as far as its schema says so plainly.

use serde_json::{Map, Value};

/// What is wrong with some arguments, if anything. Looks at which there are and of which type each is: what else a schema may say is its
/// server's to judge.
pub(super) fn problem(schema: &Value, arguments: &Map<String, Value>) -> Option<String> {
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.into_iter().find(|name| !arguments.contains_key(*name)) {
        return Some(format!("the tool needs `{missing}`"));
    }
    let is_closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    arguments.iter().find_map(|(name, value)| match properties.get(name) {
        None if is_closed => Some(format!("the tool takes no `{name}`")),
        None => None,
        Some(property) => of_another_type(property, value).map(|wanted| format!("`{name}` has to be of the type {wanted}")),
    })
}

/// The type that a value should have and has not.
fn of_another_type(property: &Value, value: &Value) -> Option<String> {
    let is_of = |name: &str| match name {
        "string" => value.is_string(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    };
    let names: Vec<&str> = match property.get("type")? {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    (!names.iter().any(|name| is_of(name))).then(|| names.join(" or "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_tool_does_not_take_is_told() {
        let schema = json!({
            "properties": { "sql": { "type": "string" }, "limit": { "type": ["integer", "null"] }, "any": {} }, "required": ["sql"],
            "additionalProperties": false,
        });
        let of = |arguments: Value| problem(&schema, arguments.as_object().unwrap()).unwrap_or_default();
        assert_eq!(of(json!({ "sql": "x", "limit": 3, "any": [] })), "");
        assert_eq!(of(json!({ "sql": "x", "limit": null })), "");
        assert_eq!(of(json!({ "limit": 3 })), "the tool needs `sql`");
        assert_eq!(of(json!({ "sql": 3 })), "`sql` has to be of the type string");
        assert_eq!(of(json!({ "sql": "x", "limit": 3.5 })), "`limit` has to be of the type integer or null");
        assert_eq!(of(json!({ "sql": "x", "lim": 3 })), "the tool takes no `lim`");
        assert_eq!(problem(&json!({}), json!({ "a": 1 }).as_object().unwrap()), None);
    }
}
