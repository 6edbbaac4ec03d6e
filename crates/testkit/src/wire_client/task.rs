//! Tasks: of the core of 2025-11-25, which the client asks for, and of the extension, which the server decides on.

use std::time::Duration;

use sallyport_protocol::{Era, Revision};
use serde_json::{Map, Value, json};

use super::WireClient;
use super::fault::{Answer, Fault};

/// Between two looks at a task, where the server names no time.
const POLL: Duration = Duration::from_millis(50);
/// More looks than any test's task takes.
const LOOKS: usize = 400;

impl WireClient {
    /// `tools/call` such that the answer is a task; its `Task` is what comes back.
    ///
    /// # Errors
    /// When the call fails, or is answered with something else than a task.
    pub async fn begin_task(&self, tool: &str, arguments: Value) -> Answer {
        let mut params = json!({ "name": tool, "arguments": arguments });
        let modern = self.revision().era() == Era::Modern;
        if !modern {
            params["task"] = json!({ "ttl": 60_000 });
        }
        let answer = self.request("tools/call", params).await?;
        let task = if modern { &answer } else { &answer["task"] };
        if task["taskId"].is_string() { Ok(task.clone()) } else { Err(Fault::NotSpoken(format!("no task: {answer}"))) }
    }

    /// Follows a task to its end and gives what the call would have given.
    ///
    /// # Errors
    /// When the task fails, is cancelled, or does not end.
    pub async fn finish_task(&self, task: &Value) -> Answer {
        let id = &task["taskId"];
        if self.revision() == Revision::V2025_11_25 {
            // Waits for the end by itself, and carries the questions meanwhile.
            return self.request("tasks/result", json!({ "taskId": id })).await;
        }
        for _ in 0..LOOKS {
            let now = self.request("tasks/get", json!({ "taskId": id })).await?;
            match now["status"].as_str() {
                Some("completed") => return Ok(now["result"].clone()),
                Some("failed") => return Err(Fault::of_error(&now["error"], None)),
                Some("cancelled") => return Err(Fault::Closed("the task was cancelled".to_owned())),
                Some("input_required") => self.update_task(id, &now["inputRequests"]).await?,
                _ => {}
            }
            let pause = now["pollIntervalMs"].as_u64().map_or(POLL, Duration::from_millis);
            tokio::time::sleep(pause.min(POLL)).await;
        }
        Err(Fault::TimedOut)
    }

    async fn update_task(&self, id: &Value, requests: &Value) -> Result<(), Fault> {
        let mut responses = Map::new();
        for (key, question) in requests.as_object().into_iter().flatten() {
            if let Some(answer) = self.inbox.ask(0, question) {
                responses.insert(key.clone(), answer);
            }
        }
        self.request("tasks/update", json!({ "taskId": id, "inputResponses": responses })).await.map(|_acknowledged| ())
    }
}
