//! What passes while a call runs.

use std::time::Duration;

use sallyport_protocol::Revision;
use sallyport_testkit::wire_client::{Fault, Heard, Stream};
use serde_json::{Value, json};

use crate::cell::{Cell, Outcome, expect, text_of};
use crate::feature::{Feature, Instead, Word};

const MESSAGE: Word = Word::since(Revision::V2025_03_26, "{revision} has no texts beside progress");

pub(crate) const FEATURES: [Feature; 6] = [
    Feature {
        name: "progress",
        means: "how far a call is",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(progress(cell)),
        instead: None,
    },
    Feature {
        name: "a text beside progress",
        means: "what the server does at the moment",
        clients: MESSAGE,
        servers: MESSAGE,
        carried: |cell| Box::pin(progress_message(cell, true)),
        instead: Some(Instead { gets: "the progress without the text", check: |cell| Box::pin(progress_message(cell, false)) }),
    },
    Feature {
        name: "log messages",
        means: "asked for by `logging/setLevel`, or with each request from 2026-07-28 on",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(logs(cell)),
        instead: None,
    },
    Feature {
        name: "cancellation",
        means: "a notification, or the closed stream from 2026-07-28 on over HTTP; the server stops",
        clients: Word::ALWAYS,
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(cancellation(cell)),
        instead: None,
    },
    Feature {
        name: "ping",
        means: "whether the other side is there",
        clients: Word::until(Revision::V2025_11_25, "{revision} has no ping"),
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(ping(cell)),
        instead: None,
    },
    Feature {
        name: "batches",
        means: "several requests in one message",
        clients: Word::only(Revision::V2025_03_26, "{revision} has no batches"),
        servers: Word::ALWAYS,
        carried: |cell| Box::pin(batch(cell)),
        instead: None,
    },
];

/// The progress of a call, as it was told on the call's own stream.
async fn progress_of(cell: &Cell) -> Outcome<Vec<Heard>> {
    let mark = cell.client.mark();
    let mut params = cell.call_params("test_tool_with_progress", &json!({}));
    params["_meta"] = json!({ "progressToken": "p-1" });
    let flight = cell.client.begin("tools/call", params).await?;
    let stream = if cell.client.is_streamable_http() { Stream::Request(flight.id()) } else { Stream::Only };
    flight.answer().await?;
    let heard = cell.client.heard(mark).into_iter().filter(|heard| heard.method == "notifications/progress");
    let (own, stray): (Vec<Heard>, Vec<Heard>) = heard.partition(|heard| heard.stream == stream && *heard.progress_token() == "p-1");
    expect(stray.is_empty(), "no progress elsewhere", &stray)?;
    Ok(own)
}

async fn progress(cell: &Cell) -> Outcome {
    let told: Vec<Value> = progress_of(cell).await?.into_iter().map(|heard| heard.params).collect();
    let steps: Vec<Option<i64>> = told.iter().map(|params| params["progress"].as_i64()).collect();
    expect(steps == [Some(0), Some(50), Some(100)] && told.iter().all(|params| params["total"] == 100), "three steps", &told)
}

async fn progress_message(cell: &Cell, is_known: bool) -> Outcome {
    let told = progress_of(cell).await?;
    let message = |heard: &Heard| heard.params["message"].is_string();
    expect(told.len() == 3 && told.iter().all(|heard| message(heard) == is_known), "each step, told as it can be", &told)
}

async fn logs(cell: &Cell) -> Outcome {
    cell.client.set_log_level("debug").await?;
    let mark = cell.client.mark();
    cell.call("test_tool_with_logging", json!({})).await?;
    let is_log = |heard: &Heard| heard.method == "notifications/message";
    let last = |heard: &Heard| is_log(heard) && heard.params["data"] == "Tool execution completed";
    cell.client.wait(mark, last).await.map_err(|fault| format!("{fault}; heard {:?}", cell.client.heard(mark)))?;
    let logs: Vec<Heard> = cell.client.heard(mark).into_iter().filter(is_log).collect();
    expect(logs.len() == 3 && logs.iter().all(|log| log.params["level"] == "info"), "three messages", &logs)
}

async fn cancelled(cell: &Cell) -> Outcome<u64> {
    let result = cell.call("cancelled_count", json!({})).await?;
    Ok(text_of(&result).parse()?)
}

async fn cancellation(cell: &Cell) -> Outcome {
    let before = cancelled(cell).await?;
    let flight = cell.client.begin("tools/call", cell.call_params("slow", &json!({ "seconds": 30 }))).await?;
    // The call has to be with the server before it can be cancelled there.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let flight = flight.cancel().await?;
    for _ in 0..100 {
        if cancelled(cell).await? > before {
            let answer = flight.answer_within(Duration::from_millis(100)).await;
            // With a handshake a POST has to be answered with something, and its response may be an error then.
            let may_fail = cell.is_legacy() && cell.client.is_streamable_http();
            let is_over = match &answer {
                None | Some(Err(Fault::Closed(_))) => true,
                Some(Err(_)) => may_fail,
                Some(Ok(_)) => false,
            };
            return expect(is_over, "no answer to what was cancelled", &answer);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the server was not told".into())
}

async fn ping(cell: &Cell) -> Outcome {
    let result = cell.request("ping", json!({})).await?;
    expect(result == json!({}), "an empty result", &result)
}

async fn batch(cell: &Cell) -> Outcome {
    let requests = [
        ("ping", json!({})),
        ("tools/call", cell.call_params("echo", &json!({ "message": "one" }))),
        ("tools/call", cell.call_params("no_such_tool", &json!({}))),
        ("tools/call", cell.call_params("echo", &json!({ "message": "two" }))),
    ];
    let answers = cell.client.batch(&requests).await?;
    let text = |index: usize| answers[index].as_ref().map(text_of).unwrap_or_default();
    let in_place = answers[0] == Ok(json!({})) && text(1) == "one" && answers[2].is_err() && text(3) == "two";
    expect(in_place, "an answer to each", &answers)
}
