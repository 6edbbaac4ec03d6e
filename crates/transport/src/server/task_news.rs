//! What becomes of the tasks that a stream of changes tells of (the tasks extension, task status notifications).
//!
//! No server need say it by itself, and one of 2025-11-25 says less than is to be told: so the front is asked for each task, as often
//! as its server wants to be, for as long as the stream is open.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sallyport_protocol::{Client, Event, Incoming, Listener as _, Method, RawObject};
use tokio::time::sleep;

use super::door::Door;
use super::subscription::{Subscription, TASK_CHANGED, asked};

/// How often a task is asked for whose server does not say.
const INTERVAL: Duration = Duration::from_secs(1);
/// The bounds of what a server may say: no busier, and no later than a person notices.
const BRIEFEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);

/// The stream that is told, and on whose behalf the front is asked.
#[derive(Clone)]
pub(crate) struct TaskNews {
    pub(crate) door: Arc<Door>,
    pub(crate) incoming: Incoming,
    pub(crate) client: Arc<Client>,
    pub(crate) subscription: Weak<Subscription>,
}

impl TaskNews {
    /// Tells of one task until it ends, or the front knows it no more. `task` is what it is at now.
    pub(crate) async fn tell(self, id: String, task: RawObject) {
        let mut seen = news(task);
        // Between the client's last look and now it may have got somewhere; that it still works is no news.
        if status(&seen).is_some_and(|status| status != "working") {
            self.pass_on(&seen);
        }
        while !matches!(status(&seen).as_deref(), None | Some("completed" | "failed" | "cancelled")) {
            sleep(interval(&seen)).await;
            if self.subscription.strong_count() == 0 {
                return;
            }
            let Some(task) = asked(&self.door, &self.incoming, &self.client, Method::TasksGet, ("taskId", &id)).await else { return };
            let now = news(task);
            if now != seen {
                self.pass_on(&now);
                seen = now;
            }
        }
    }

    fn pass_on(&self, task: &RawObject) {
        if let Some(subscription) = self.subscription.upgrade() {
            subscription.hear(&Event::Other(TASK_CHANGED.to_owned(), task.clone()));
        }
    }
}

/// A task as a notification tells of it: without what makes it a result.
fn news(mut task: RawObject) -> RawObject {
    task.retain(|key| !matches!(key, "resultType" | "_meta"));
    task
}

fn status(task: &RawObject) -> Option<String> {
    task.get_str("status").map(std::borrow::Cow::into_owned)
}

fn interval(task: &RawObject) -> Duration {
    let wanted = task.get("pollIntervalMs").and_then(|interval| interval.decode::<u64>().ok());
    wanted.map_or(INTERVAL, Duration::from_millis).clamp(BRIEFEST, LONGEST)
}
