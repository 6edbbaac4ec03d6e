//! The tasks that a server works on between requests: while there is one, it must not sleep.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sallyport_protocol::{Method, RawObject, Request};

/// Tasks remembered at most. Beyond it the others keep the server awake.
const MOST: usize = 1_000;
/// How long a task without a limit of its own keeps its server awake when nobody asks for it any more.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Tasks that have not ended, as far as the server has said, and until when they count.
#[derive(Debug, Default)]
pub(super) struct Tasks(Mutex<HashMap<String, Instant>>);

/// What a request can say of a task.
pub(super) enum About {
    /// It may begin one.
    Any,
    /// It asks for this one.
    One(String),
    /// Its answer is this one's result.
    ResultOf(String),
}

impl Tasks {
    /// What the answer to `request` can say; `None` for most.
    pub(super) fn about(&self, request: &Request) -> Option<About> {
        let id = || request.params.get_str("taskId").map(std::borrow::Cow::into_owned);
        match request.method {
            Method::ToolsCall => Some(About::Any),
            Method::TasksGet | Method::TasksCancel => id().map(About::One),
            Method::TasksResult => id().map(About::ResultOf),
            _ => None,
        }
    }

    /// Takes note of what an answer says: `{"task": {…}}` (2025-11-25), or the task's own members (tasks extension).
    pub(super) fn note(&self, about: About, result: &RawObject) {
        let wrapped = result.get_object("task").ok().flatten();
        let task = wrapped.as_ref().unwrap_or(result);
        let (id, is_over) = match about {
            About::Any if wrapped.is_none() && result.get_str("resultType").as_deref() != Some("task") => return,
            About::Any => (task.get_str("taskId").map(std::borrow::Cow::into_owned), is_over(task)),
            About::One(id) => (Some(id), is_over(task)),
            About::ResultOf(id) => (Some(id), true),
        };
        let Some(id) = id else { return };
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_over {
            running.remove(&id);
        } else if running.len() < MOST {
            running.insert(id, Instant::now() + lasts(task));
        }
    }

    /// Whether the server works on one.
    pub(super) fn any(&self) -> bool {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.is_empty() {
            let now = Instant::now();
            running.retain(|_, until| *until > now);
        }
        !running.is_empty()
    }
}

fn is_over(task: &RawObject) -> bool {
    matches!(task.get_str("status").as_deref(), Some("completed" | "failed" | "cancelled"))
}

/// How long the server keeps the task.
fn lasts(task: &RawObject) -> Duration {
    let limit = ["ttl", "ttlMs"].into_iter().find_map(|key| task.get(key)?.as_str().parse().ok().map(Duration::from_millis));
    limit.unwrap_or(LONGEST).min(LONGEST)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use sallyport_protocol::RawJson;

    use super::*;

    fn object(text: &'static str) -> RawObject {
        RawJson::from_static(text).object().unwrap()
    }

    fn told(tasks: &Tasks, method: Method, result: &'static str) -> bool {
        let request = Request::new(method, object(r#"{"taskId":"t"}"#));
        if let Some(about) = tasks.about(&request) {
            tasks.note(about, &object(result));
        }
        tasks.any()
    }

    #[test]
    fn a_task_counts_until_it_is_over() {
        let tasks = Tasks::default();
        assert!(!told(&tasks, Method::ToolsCall, r#"{"content":[]}"#));
        for begun in
            [r#"{"task":{"taskId":"t","status":"working","ttl":60000}}"#, r#"{"resultType":"task","taskId":"t","status":"working"}"#]
        {
            for (method, over) in [
                (Method::TasksGet, r#"{"taskId":"t","status":"completed"}"#),
                (Method::TasksCancel, r#"{"taskId":"t","status":"cancelled"}"#),
                (Method::TasksResult, r#"{"content":[]}"#),
            ] {
                assert!(told(&tasks, Method::ToolsCall, begun));
                assert!(told(&tasks, Method::TasksGet, r#"{"taskId":"t","status":"input_required"}"#));
                assert!(!told(&tasks, method, over));
            }
        }
    }

    #[test]
    fn a_task_that_nobody_asks_for_is_forgotten() {
        let tasks = Tasks::default();
        assert!(!told(&tasks, Method::ToolsCall, r#"{"task":{"taskId":"t","status":"working","ttl":0}}"#));
        assert_eq!(lasts(&object(r#"{"ttl":null}"#)), LONGEST);
        assert_eq!(lasts(&object(r#"{"ttl":99999999999}"#)), LONGEST);
    }
}
