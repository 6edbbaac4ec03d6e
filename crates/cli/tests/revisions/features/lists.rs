//! Lists, and reading what is on them.

use serde_json::{Value, json};

use crate::cell::{Cell, Outcome, expect};
use crate::feature::{Feature, Word};

pub(crate) const FEATURES: [Feature; 6] = [
    Feature {
        name: "tools",
        means: "the list of tools, with their schemas",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(tools(cell)),
        instead: None,
    },
    Feature {
        name: "resources",
        means: "the list of resources, page by page, and reading texts and bytes",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(resources(cell)),
        instead: None,
    },
    Feature {
        name: "resource templates",
        means: "the list of templates, and reading what one makes",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(templates(cell)),
        instead: None,
    },
    Feature {
        name: "prompts",
        means: "the list of prompts, and getting one with arguments",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(prompts(cell)),
        instead: None,
    },
    Feature {
        name: "completion",
        means: "suggestions for an argument",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(completion(cell)),
        instead: None,
    },
    Feature {
        name: "how long a list is fresh",
        means: "`ttlMs` and `cacheScope`; for a server without the words the gateway says what is safe",
        clients: Word::since(sallyport_protocol::Revision::V2026_07_28, "{revision} has no word for caching"),
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(freshness(cell)),
        instead: None,
    },
];

async fn tools(cell: &Cell) -> Outcome {
    let tools = cell.list("tools/list", "name").await?;
    expect(tools.contains_key("test_simple_text"), "the server's tools", tools.keys())?;
    let schema = tools.get("json_schema_2020_12_tool").map(|tool| tool["inputSchema"].clone()).unwrap_or_default();
    let keywords = ["$schema", "$defs", "allOf", "if", "then", "else", "additionalProperties"];
    expect(keywords.iter().all(|keyword| !schema[*keyword].is_null()), "every keyword of the schema", &schema)
}

async fn resources(cell: &Cell) -> Outcome {
    let resources = cell.list("resources/list", "uri").await?;
    expect(resources.contains_key("test://static-text"), "the server's resources", resources.keys())?;
    expect(resources.contains_key("test://watched-resource"), "the resources of every page", resources.keys())?;
    let text = read(cell, "test://static-text").await?;
    expect(text["text"] == "This is the content of the static text resource.", "the text", &text)?;
    let bytes = read(cell, "test://static-binary").await?;
    expect(bytes["blob"].as_str().is_some_and(|blob| blob.starts_with("iVBORw0KGgo")), "the bytes", &bytes)
}

async fn templates(cell: &Cell) -> Outcome {
    let templates = cell.list("resources/templates/list", "uriTemplate").await?;
    expect(templates.contains_key("test://template/{id}/data"), "the server's template", templates.keys())?;
    let made = read(cell, "test://template/7/data").await?;
    expect(made["text"].as_str().is_some_and(|text| text.contains("Data for ID: 7")), "what the template makes", &made)
}

/// The first content of a resource, which has to be named as it was asked for.
pub(super) async fn read(cell: &Cell, uri: &str) -> Outcome<Value> {
    let result = cell.request("resources/read", json!({ "uri": cell.uri(uri) })).await?;
    let content = result["contents"][0].clone();
    expect(content["uri"] == cell.uri(uri), "the URI that was asked for", &content)?;
    Ok(content)
}

async fn prompts(cell: &Cell) -> Outcome {
    let prompts = cell.list("prompts/list", "name").await?;
    expect(prompts.contains_key("test_prompt_with_arguments"), "the server's prompts", prompts.keys())?;
    let params = json!({ "name": cell.name("test_prompt_with_arguments"), "arguments": { "arg1": "one", "arg2": "two" } });
    let result = cell.request("prompts/get", params).await?;
    let text = &result["messages"][0]["content"]["text"];
    expect(*text == "Prompt with arguments: arg1='one', arg2='two'", "the prompt with its arguments", text)
}

async fn completion(cell: &Cell) -> Outcome {
    let reference = json!({ "type": "ref/prompt", "name": cell.name("test_prompt_with_arguments") });
    let params = json!({ "ref": reference, "argument": { "name": "arg1", "value": "par" } });
    let result = cell.request("completion/complete", params).await?;
    expect(result["completion"]["values"] == json!(["paris", "park", "party"]), "three suggestions", &result)
}

async fn freshness(cell: &Cell) -> Outcome {
    for page in cell.client.pages("tools/list").await? {
        let scope = page["cacheScope"].as_str().unwrap_or_default();
        expect(page["ttlMs"].is_u64() && ["public", "private"].contains(&scope), "a time and a scope", (&page["ttlMs"], scope))?;
    }
    Ok(())
}
