//! Fields that no revision knows: they belong to whoever wrote them.

use serde_json::json;

use crate::cell::{Cell, Outcome, expect, text_of};
use crate::feature::{Feature, Word};

pub(crate) const FEATURES: [Feature; 1] = [Feature {
    name: "unknown fields",
    means: "in `_meta` of a request and of a result, and beside the known members of a result",
    clients: Word::ALWAYS,
    servers: Word::ALWAYS,
    carried: |cell| Box::pin(unknown(cell)),
    instead: None,
}];

async fn unknown(cell: &Cell) -> Outcome {
    let mut params = cell.call_params("test_unknown_fields", &json!({}));
    params["_meta"] = json!({ "com.example/kept": { "n": 1 } });
    let result = cell.request("tools/call", params).await?;
    let seen = text_of(&result);
    expect(seen.contains(r#""com.example/kept":{"n":1}"#), "the request's own `_meta` at the server", &result)?;
    expect(result["_meta"]["com.example/kept"] == json!({ "n": 1 }), "the result's own `_meta`", &result)?;
    expect(result["com.example.beside"] == "kept" && result["content"][0]["com.example.inside"] == "kept", "unknown members", &result)
}
