//! The headers that repeat parts of a request's body from 2026-07-28 on.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Input schemas by tool, as `tools/list` gave them.
pub(super) type Schemas = HashMap<String, Value>;

/// `Mcp-Method`, `Mcp-Name` and a `Mcp-Param-*` for each annotated argument.
pub(super) fn mirrored(message: &Value, schemas: &Schemas) -> Vec<(String, String)> {
    let method = message["method"].as_str().unwrap_or_default();
    let params = &message["params"];
    let mut headers = vec![("Mcp-Method".to_owned(), method.to_owned())];
    let name = match method {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        "tasks/get" | "tasks/update" | "tasks/cancel" => params["taskId"].as_str(),
        _ => None,
    };
    headers.extend(name.map(|name| ("Mcp-Name".to_owned(), encoded(name))));
    if let Some(schema) = name.filter(|_| method == "tools/call").and_then(|name| schemas.get(name)) {
        add_arguments(schema, &params["arguments"], &mut headers);
    }
    headers
}

fn add_arguments(schema: &Value, arguments: &Value, headers: &mut Vec<(String, String)>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let value = &arguments[name];
        match (property["x-mcp-header"].as_str(), value) {
            (_, Value::Null) => {}
            (Some(header), Value::String(text)) => headers.push((format!("Mcp-Param-{header}"), encoded(text))),
            (Some(header), value) => headers.push((format!("Mcp-Param-{header}"), value.to_string())),
            (None, value) => add_arguments(property, value, headers),
        }
    }
}

/// The text itself where a header can hold it, else Base64 between marks.
fn encoded(text: &str) -> String {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) && text.trim() == text;
    if plain && !text.starts_with("=?base64?") { text.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(text)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_header_cannot_hold_is_wrapped() {
        let texts = ["plain", " led by a space", "h\u{e9}llo", "=?base64?eA==?="];
        assert_eq!(
            texts.map(encoded),
            ["plain", "=?base64?IGxlZCBieSBhIHNwYWNl?=", "=?base64?aMOpbGxv?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="]
        );
    }

    #[test]
    fn arguments_are_mirrored_where_the_schema_says_so() {
        let schema = json!({ "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "limits": { "properties": { "rows": { "type": "integer", "x-mcp-header": "Rows" } } },
            "quiet": { "type": "boolean", "x-mcp-header": "Quiet" },
        }});
        let schemas = Schemas::from([("query".to_owned(), schema)]);
        let arguments = json!({ "region": "eu", "limits": { "rows": 7 }, "quiet": null });
        let message = json!({ "method": "tools/call", "params": { "name": "query", "arguments": arguments } });
        let mut headers: Vec<String> = mirrored(&message, &schemas).into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
        headers.sort();
        assert_eq!(headers, ["Mcp-Method: tools/call", "Mcp-Name: query", "Mcp-Param-Region: eu", "Mcp-Param-Rows: 7"]);
    }
}
