//! The schema that policies are checked against.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Schema, SchemaError};
use serde_json::{Map, Value, json};

use super::names::{CALL, OTHER_ACTIONS};
use super::shape::Shape;
use crate::Pin;

/// The type of what is told of a tool's definition: its names alone can be written, so that none is misspelt.
pub(super) const PIN: &str = "Pin";

/// The schema of some tools' actions, by name, beside what there always is. `others` are actions of other servers: policies may name
/// them, and nothing is done by them.
pub(super) fn schema(tools: &BTreeMap<String, Shape>, others: &BTreeSet<String>) -> Result<Schema, Box<SchemaError>> {
    let mut actions = Map::new();
    actions.insert(CALL.into(), json!({}));
    for (name, types) in OTHER_ACTIONS {
        actions.insert((*name).into(), applied(types, context(None)));
    }
    for name in others {
        actions.insert(name.clone(), json!({ "memberOf": [{ "id": CALL }] }));
    }
    for (name, arguments) in tools {
        let mut action = applied(&["Tool"], context(Some(arguments)));
        if let Some(action) = action.as_object_mut() {
            action.insert("memberOf".into(), json!([{ "id": CALL }]));
        }
        actions.insert(name.clone(), action);
    }
    let schema = json!({ "": { "entityTypes": entity_types(), "actions": actions } });
    Schema::from_json_value(schema).map_err(Box::new)
}

fn applied(types: &[&str], context: Value) -> Value {
    json!({ "appliesTo": { "principalTypes": ["User"], "resourceTypes": types, "context": context } })
}

fn context(arguments: Option<&Shape>) -> Value {
    let mut members = json!({
        "now": { "type": "Extension", "name": "datetime" },
        "loopback": { "type": "Boolean" },
        "address": { "type": "Extension", "name": "ipaddr", "required": false },
        "taint": { "type": "Set", "element": { "type": "String" } },
    });
    if let (Some(arguments), Some(members)) = (arguments, members.as_object_mut()) {
        members.insert("args".into(), arguments.to_schema());
    }
    json!({ "type": "Record", "attributes": members })
}

fn entity_types() -> Value {
    let (text, truth) = (json!({ "type": "String" }), json!({ "type": "Boolean" }));
    let pin = json!({ "type": "Entity", "name": PIN });
    let thing = json!({
        "memberOfTypes": ["Server"],
        "shape": { "type": "Record", "attributes": {
            "server": text, "name": text, "readOnly": truth, "destructive": truth, "idempotent": truth, "openWorld": truth, "trusted": truth,
            "pin": pin,
        } },
    });
    json!({
        "User": {
            "memberOfTypes": ["Group"],
            "shape": { "type": "Record", "attributes": {
                "id": text, "kind": text, "tenant": text,
                "scopes": { "type": "Set", "element": text, "required": false },
            } },
        },
        PIN: { "enum": Pin::ALL },
        "Group": {}, "Server": {}, "Tool": thing, "Resource": thing, "Prompt": thing, "Method": thing,
    })
}
