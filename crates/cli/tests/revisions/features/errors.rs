//! Errors, with the code that the client's revision has for them.

use serde_json::json;

use sallyport_testkit::wire_client::Fault;

use crate::cell::{Cell, Outcome, expect, text_of};
use crate::feature::{Feature, Word};

pub(crate) const FEATURES: [Feature; 3] = [
    Feature {
        name: "a tool's own error",
        means: "a result that says it is an error",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(tool_error(cell)),
        instead: None,
    },
    Feature {
        name: "no such tool",
        means: "the error -32602",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(no_such_tool(cell)),
        instead: None,
    },
    Feature {
        name: "no such resource",
        means: "the error -32002 up to 2025-11-25, -32602 with the URI from 2026-07-28 on, whatever the server says",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(no_such_resource(cell)),
        instead: None,
    },
];

async fn tool_error(cell: &Cell) -> Outcome {
    let result = cell.call("test_error_handling", json!({})).await?;
    let told = text_of(&result) == "This tool intentionally returns an error for testing";
    expect(result["isError"] == true && told, "the tool's error", &result)
}

async fn no_such_tool(cell: &Cell) -> Outcome {
    let answer = cell.client.call(&cell.name("no_such_tool"), json!({})).await;
    expect(answer.as_ref().is_err_and(|fault| fault.code() == Some(-32602)), "-32602", &answer)
}

async fn no_such_resource(cell: &Cell) -> Outcome {
    let uri = cell.uri("test://nowhere");
    let answer = cell.client.request("resources/read", json!({ "uri": uri })).await;
    let code = if cell.is_legacy() { -32002 } else { -32602 };
    expect(answer.as_ref().is_err_and(|fault| fault.code() == Some(code)), "the code of the client's revision", &answer)?;
    let named = answer.as_ref().err().and_then(Fault::data).map(|data| data["uri"] == uri);
    expect(cell.is_legacy() || named == Some(true), "the URI in `data`", &answer)
}
