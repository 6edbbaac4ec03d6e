//! What a tool's result may hold.

use sallyport_protocol::Revision;
use serde_json::{Value, json};

use crate::cell::{Cell, Outcome, expect, text_of};
use crate::feature::{Feature, Instead, Word};

const AUDIO: Word = Word::since(Revision::V2025_03_26, "{revision} has no audio");
const LINKS: Word = Word::since(Revision::V2025_06_18, "{revision} has no links to resources");
const STRUCTURED: Word = Word::since(Revision::V2025_06_18, "{revision} has no structured results");
const ANY_JSON: Word = Word::since(Revision::V2026_07_28, "{revision} has no structured results but objects");

pub(crate) const FEATURES: [Feature; 7] = [
    Feature {
        name: "text",
        means: "a text",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(text(cell)),
        instead: None,
    },
    Feature {
        name: "image",
        means: "a picture, alone and between other blocks",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(image(cell)),
        instead: None,
    },
    Feature {
        name: "embedded resource",
        means: "a resource inside the result",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(embedded(cell)),
        instead: None,
    },
    Feature {
        name: "audio",
        means: "sound",
        clients: AUDIO,
        servers: AUDIO,
        carried: |cell| Box::pin(audio(cell)),
        instead: Some(Instead { gets: "a text that tells of the audio and its type", check: |cell| Box::pin(audio_told(cell)) }),
    },
    Feature {
        name: "resource link",
        means: "a resource to be read if wanted",
        clients: LINKS,
        servers: LINKS,
        carried: |cell| Box::pin(link(cell)),
        instead: Some(Instead {
            gets: "a text with the link's URI, which can be read all the same",
            check: |cell| Box::pin(link_told(cell)),
        }),
    },
    Feature {
        name: "structured result",
        means: "an object, and the schema it follows",
        clients: STRUCTURED,
        servers: STRUCTURED,
        carried: |cell| Box::pin(structured(cell)),
        instead: Some(Instead { gets: "the same as text, and no schema", check: |cell| Box::pin(structured_told(cell)) }),
    },
    Feature {
        name: "structured result of any shape",
        means: "a list, a number, …, and the schema it follows",
        clients: ANY_JSON,
        servers: ANY_JSON,
        carried: |cell| Box::pin(list(cell)),
        instead: Some(Instead { gets: "the same as text, and no schema that is no object's", check: |cell| Box::pin(list_told(cell)) }),
    },
];

async fn block(cell: &Cell, tool: &str) -> Outcome<Value> {
    Ok(cell.call(tool, json!({})).await?["content"][0].clone())
}

async fn text(cell: &Cell) -> Outcome {
    let block = block(cell, "test_simple_text").await?;
    expect(block == json!({ "type": "text", "text": "This is a simple text response for testing." }), "the text", &block)
}

async fn image(cell: &Cell) -> Outcome {
    let alone = block(cell, "test_image_content").await?;
    expect(alone["type"] == "image" && alone["mimeType"] == "image/png" && alone["data"].is_string(), "the image", &alone)?;
    let mixed = cell.call("test_multiple_content_types", json!({})).await?;
    let kinds: Vec<&Value> = mixed["content"].as_array().into_iter().flatten().map(|block| &block["type"]).collect();
    expect(kinds == ["text", "image", "resource"], "the three blocks in their order", kinds)
}

async fn embedded(cell: &Cell) -> Outcome {
    let block = block(cell, "test_embedded_resource").await?;
    let resource = &block["resource"];
    let text = "This is an embedded resource content.";
    expect(resource["uri"] == cell.uri("test://embedded-resource") && resource["text"] == text, "the resource", &block)
}

async fn audio(cell: &Cell) -> Outcome {
    let block = block(cell, "test_audio_content").await?;
    expect(block["type"] == "audio" && block["mimeType"] == "audio/wav" && block["data"].is_string(), "the audio", &block)
}

async fn audio_told(cell: &Cell) -> Outcome {
    let block = block(cell, "test_audio_content").await?;
    expect(block["type"] == "text" && text_in(&block).contains("audio/wav"), "a text about the audio", &block)
}

async fn link(cell: &Cell) -> Outcome {
    let block = block(cell, "test_resource_link").await?;
    expect(block["type"] == "resource_link" && block["uri"] == cell.uri("test://static-text"), "the link", &block)?;
    super::lists::read(cell, "test://static-text").await.map(drop)
}

async fn link_told(cell: &Cell) -> Outcome {
    let block = block(cell, "test_resource_link").await?;
    expect(block["type"] == "text" && text_in(&block).contains(&cell.uri("test://static-text")), "a text with the URI", &block)?;
    super::lists::read(cell, "test://static-text").await.map(drop)
}

fn text_in(block: &Value) -> &str {
    block["text"].as_str().unwrap_or_default()
}

async fn schema_of(cell: &Cell, tool: &str) -> Outcome<Value> {
    let tools = cell.list("tools/list", "name").await?;
    let tool = tools.get(tool).ok_or_else(|| format!("{tool} is not on the list"))?;
    Ok(tool["outputSchema"].clone())
}

async fn structured(cell: &Cell) -> Outcome {
    let schema = schema_of(cell, "structured").await?;
    expect(schema["required"] == json!(["name", "length"]), "the output schema", &schema)?;
    let result = cell.call("structured", json!({ "name": "Ada" })).await?;
    expect(result["structuredContent"] == json!({ "name": "Ada", "length": 3 }), "the object", &result)
}

async fn structured_told(cell: &Cell) -> Outcome {
    let schema = schema_of(cell, "structured").await?;
    expect(schema.is_null(), "no output schema", &schema)?;
    let result = cell.call("structured", json!({ "name": "Ada" })).await?;
    expect(result["structuredContent"].is_null() && text_of(&result).contains("Ada"), "text alone", &result)
}

async fn list(cell: &Cell) -> Outcome {
    let schema = schema_of(cell, "structured_list").await?;
    expect(schema["type"] == "array", "the output schema", &schema)?;
    let result = cell.call("structured_list", json!({})).await?;
    expect(result["structuredContent"] == json!([1, 2, 3]), "the list", &result)
}

async fn list_told(cell: &Cell) -> Outcome {
    let schema = schema_of(cell, "structured_list").await?;
    expect(schema.is_null() || schema["type"] == "object", "no schema but an object's", &schema)?;
    let result = cell.call("structured_list", json!({})).await?;
    let structured = &result["structuredContent"];
    expect((structured.is_null() || structured.is_object()) && text_of(&result) == "[1,2,3]", "the text, and no bare list", &result)
}
