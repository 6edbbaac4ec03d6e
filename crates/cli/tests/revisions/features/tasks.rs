//! Calls that go on after they were answered.

use sallyport_protocol::Revision;
use serde_json::{Value, json};

use crate::cell::{Cell, Outcome, expect, text_of};
use crate::feature::{Feature, Instead, Word};

const TASKS: Word = Word::since(Revision::V2025_11_25, "{revision} has no tasks");

pub(crate) const FEATURES: [Feature; 4] = [
    Feature {
        name: "a task",
        means: "begun by a call, looked at, and its result fetched; of 2025-11-25's core or as 2026-07-28's extension",
        clients: TASKS,
        servers: TASKS,
        carried: |cell| Box::pin(task(cell)),
        instead: Some(Instead { gets: "the result itself, as soon as the gateway has it", check: |cell| Box::pin(hidden(cell)) }),
    },
    Feature {
        name: "a task that fails",
        means: "the tool's own error as the task's result",
        clients: TASKS,
        servers: TASKS,
        carried: |cell| Box::pin(failing(cell)),
        instead: Some(Instead { gets: "the error itself, as soon as the gateway has it", check: |cell| Box::pin(hidden_failure(cell)) }),
    },
    Feature {
        name: "a task that asks",
        means: "a form in the middle of a task",
        clients: TASKS,
        servers: TASKS,
        carried: |cell| Box::pin(asking(cell)),
        instead: Some(Instead {
            gets: "the question in the call, where it has forms, else its failure",
            check: |cell| Box::pin(hidden_question(cell)),
        }),
    },
    Feature {
        name: "a task that is cancelled",
        means: "by `tasks/cancel`",
        clients: TASKS,
        servers: TASKS,
        carried: |cell| Box::pin(cancelled(cell)),
        instead: Some(Instead { gets: "no task, so nothing to cancel but the call", check: |cell| Box::pin(hidden(cell)) }),
    },
];

fn work() -> Value {
    json!({ "seconds": 0.2, "label": "seven" })
}

async fn task(cell: &Cell) -> Outcome {
    let task = cell.client.begin_task(&cell.name("slow_compute"), work()).await?;
    let times = if cell.is_legacy() { ["ttl", "pollInterval"] } else { ["ttlMs", "pollIntervalMs"] };
    expect(times.iter().all(|time| !task[*time].is_null()), "the times in the client's words", &task)?;
    let now = cell.client.request("tasks/get", json!({ "taskId": task["taskId"] })).await?;
    expect(now["status"] == "working" || now["status"] == "completed", "a status", &now)?;
    let result = cell.client.finish_task(&task).await?;
    expect(text_of(&result) == "computed seven", "the result", &result)
}

async fn hidden(cell: &Cell) -> Outcome {
    let result = cell.call("slow_compute", work()).await?;
    expect(text_of(&result) == "computed seven", "the result", &result)
}

async fn failing(cell: &Cell) -> Outcome {
    let task = cell.client.begin_task(&cell.name("failing_job"), json!({})).await?;
    let result = cell.client.finish_task(&task).await?;
    expect(result["isError"] == true && text_of(&result).starts_with("the job failed"), "the tool's error", &result)
}

async fn hidden_failure(cell: &Cell) -> Outcome {
    let why = cell.failing_call("failing_job", json!({})).await?;
    expect(why.starts_with("the job failed"), "the tool's error", &why)
}

async fn asking(cell: &Cell) -> Outcome {
    let mark = cell.client.mark();
    let task = cell.client.begin_task(&cell.name("confirm_delete"), json!({ "filename": "a.txt" })).await?;
    let result = cell.client.finish_task(&task).await?;
    expect(text_of(&result) == "Deleted a.txt", "what the person agreed to", &result)?;
    let asked = cell.client.heard(mark).iter().filter(|heard| heard.is_question).count();
    expect(asked == 1, "one question", asked)
}

async fn hidden_question(cell: &Cell) -> Outcome {
    if cell.client_end.revision < Revision::V2025_06_18 {
        let why = cell.failing_call("confirm_delete", json!({ "filename": "a.txt" })).await?;
        return expect(!why.is_empty(), "a reason", &why);
    }
    let result = cell.call("confirm_delete", json!({ "filename": "a.txt" })).await?;
    expect(text_of(&result) == "Deleted a.txt", "what the person agreed to", &result)
}

async fn cancelled(cell: &Cell) -> Outcome {
    let task = cell.client.begin_task(&cell.name("slow_compute"), json!({ "seconds": 30, "label": "never" })).await?;
    let params = json!({ "taskId": task["taskId"] });
    cell.client.request("tasks/cancel", params.clone()).await?;
    for _ in 0..40 {
        let now = cell.client.request("tasks/get", params.clone()).await?;
        if now["status"] == "cancelled" {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Err("the task was not cancelled".into())
}
