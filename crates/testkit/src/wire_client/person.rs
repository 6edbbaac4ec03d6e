//! Who answers the server's questions: a script in the place of a person, a model and a workspace.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

type Script = dyn Fn(&str, &Value) -> Option<Value> + Send + Sync;

/// Answers questions by script.
#[derive(Clone)]
pub struct Person(Arc<Script>);

impl fmt::Debug for Person {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Person")
    }
}

impl Person {
    /// Answers the question of that method and params with a result, or with `None`: then a server of the handshake era gets
    /// an error, and a call of 2026-07-28 is left where it is, `input_required`.
    pub fn new(script: impl Fn(&str, &Value) -> Option<Value> + Send + Sync + 'static) -> Self {
        Self(Arc::new(script))
    }

    /// Fills in every form, agrees to every page, answers for the model and names one root.
    #[must_use]
    pub fn obliging() -> Self {
        Self::new(|method, params| match method {
            "elicitation/create" if params["mode"] == "url" => Some(json!({ "action": "accept" })),
            "elicitation/create" => Some(json!({ "action": "accept", "content": fill_in(&params["requestedSchema"]) })),
            "sampling/createMessage" => Some(json!({
                "model": "test-model", "role": "assistant", "stopReason": "endTurn",
                "content": { "type": "text", "text": "forty-two" },
            })),
            "roots/list" => Some(json!({ "roots": [{ "uri": "file:///srv/project", "name": "project" }] })),
            _ => None,
        })
    }

    /// Answers nothing.
    #[must_use]
    pub fn absent() -> Self {
        Self::new(|_, _| None)
    }

    pub(super) fn answer(&self, method: &str, params: &Value) -> Option<Value> {
        (self.0)(method, params)
    }
}

/// A value for every field of a form: its default, its first choice, or one of its type.
fn fill_in(schema: &Value) -> Value {
    let fields = schema["properties"].as_object().cloned().unwrap_or_default();
    let content: Map<String, Value> = fields.into_iter().map(|(name, field)| (name, value_for(&field))).collect();
    Value::Object(content)
}

fn value_for(field: &Value) -> Value {
    let choices = [&field["enum"][0], &field["oneOf"][0]["const"]];
    let first = [&field["default"]].into_iter().chain(choices).find(|value| !value.is_null());
    if let Some(value) = first {
        return value.clone();
    }
    match (field["type"].as_str(), field["format"].as_str()) {
        (Some("boolean"), _) => json!(true),
        (Some("integer" | "number"), _) => json!(field["minimum"].as_i64().unwrap_or(7)),
        (Some("array"), _) => json!([value_for(&field["items"])]),
        (_, Some("email")) => json!("ada@example.com"),
        _ => json!("Ada"),
    }
}
