//! News that belong to no call.

use std::time::Duration;

use sallyport_testkit::wire_client::{Heard, Subscription};
use serde_json::{Value, json};

use crate::cell::{Cell, Outcome, expect};
use crate::feature::{Feature, Word};

pub(crate) const FEATURES: [Feature; 3] = [
    Feature {
        name: "a resource has changed",
        means: "asked for by `resources/subscribe`, or by `subscriptions/listen` from 2026-07-28 on",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(updated(cell)),
        instead: None,
    },
    Feature {
        name: "the list of tools has changed",
        means: "told to every session, or to those who listen from 2026-07-28 on",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(tools_changed(cell)),
        instead: None,
    },
    Feature {
        name: "the list of prompts has changed",
        means: "told to every session, or to those who listen from 2026-07-28 on",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(prompts_changed(cell)),
        instead: None,
    },
];

const WATCHED: &str = "test://watched-resource";

async fn updated(cell: &Cell) -> Outcome {
    let uri = cell.uri(WATCHED);
    let subscription = cell.client.subscribe(&[&uri]).await?;
    let mark = cell.client.mark();
    cell.call("test_trigger_resource_update", json!({})).await?;
    let news = cell.wait(mark, "notifications/resources/updated").await?;
    expect(news.params["uri"] == uri, "the resource that was subscribed to", &news)?;
    check_tag(&subscription, &news)?;
    let read = super::lists::read(cell, WATCHED).await?;
    expect(read["text"].as_str().is_some_and(|text| text.starts_with("Watched resource, version ")), "the new text", &read)?;
    subscription.end().await?;
    Ok(())
}

/// From 2026-07-28 on news say to which subscription they belong; before, they have no such word.
fn check_tag(subscription: &Subscription<'_>, news: &Heard) -> Outcome {
    expect(*news.subscription() == subscription.id().unwrap_or(Value::Null), "news of this subscription", news)
}

async fn tools_changed(cell: &Cell) -> Outcome {
    changed(cell, "test_trigger_tool_change", "notifications/tools/list_changed", ("tools/list", "extra_tool")).await
}

async fn prompts_changed(cell: &Cell) -> Outcome {
    changed(cell, "test_trigger_prompt_change", "notifications/prompts/list_changed", ("prompts/list", "extra_prompt")).await
}

/// After the news the list has to be the new one.
async fn changed(cell: &Cell, trigger: &str, news: &str, (list, entry): (&str, &str)) -> Outcome {
    let subscription = cell.client.subscribe(&[]).await?;
    let before = cell.list(list, "name").await?.contains_key(entry);
    let mark = cell.client.mark();
    cell.call(trigger, json!({})).await?;
    check_tag(&subscription, &cell.wait(mark, news).await?)?;
    // At the endpoint of all servers another one's news may have come first.
    let looks = if cell.is_merged() { 40 } else { 1 };
    for _ in 0..looks {
        if cell.list(list, "name").await?.contains_key(entry) != before {
            return Ok(subscription.end().await?);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the list is the old one after the news".into())
}
