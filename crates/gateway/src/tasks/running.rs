//! How long a task counts as a running call.
//!
//! A server works on a task whether anybody asks for it or not, and few tell unasked when they have done. So where a limit counts calls at
//! once, the gateway asks the server itself until the task has ended.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sallyport_protocol::{Cancel, Client, Context, Failure, FailureKind, Method, RawObject};
use tokio::time::{Instant, sleep};

use super::drive::{LONGEST_POLL, interval};
use super::follow::is_unknown;
use super::form;
use super::line::{Line, naming};
use super::store::Task;
use crate::upstream::own_call::Nobody;

/// The least time between two looks: who waits for the place of a task is told to wait a second.
const BRIEFEST: Duration = Duration::from_secs(1);
/// How long a task counts whose server does not answer: as long as a call waits for its caller.
const UNANSWERED: Duration = Duration::from_secs(10 * 60);
/// How long a task counts at most, whatever its server says: as long as servers are asked to keep one.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Lets go of what a task holds as soon as its server has ended it, where it holds anything.
pub(super) fn watch(task: &Arc<Task>, line: &Line, client: &Arc<Client>, described: &RawObject) {
    if task.is_counted() {
        let line = Line { counted: None, ..line.clone() };
        let look = Look { task: Arc::downgrade(task), own: task.own.clone(), line, client: client.clone() };
        tokio::spawn(look.until_over(interval(described).max(BRIEFEST)));
    }
}

struct Look {
    /// One that is forgotten has let go by itself.
    task: Weak<Task>,
    own: String,
    line: Line,
    client: Arc<Client>,
}

impl Look {
    async fn until_over(self, mut wait: Duration) {
        let began = Instant::now();
        let mut heard = began;
        while began.elapsed() < LONGEST && heard.elapsed() < UNANSWERED {
            sleep(wait).await;
            if self.task.upgrade().is_none_or(|task| !task.is_counted()) {
                return;
            }
            match self.ask().await {
                Ok(task) => {
                    heard = Instant::now();
                    wait = interval(&task).max(BRIEFEST);
                    self.task.upgrade().iter().for_each(|known| known.note(&task));
                }
                Err(Failure { kind: FailureKind::Upstream(error), .. }) if is_unknown(&error) => break,
                Err(_) => wait = (wait * 2).min(LONGEST_POLL),
            }
        }
        self.task.upgrade().iter().for_each(|task| task.let_go());
    }

    async fn ask(&self) -> Result<RawObject, Failure> {
        let context = Context { client: self.client.clone(), asker: Arc::new(Nobody), cancel: Cancel::new() };
        let reply = self.line.ask(Method::TasksGet, naming(&self.own), RawObject::new(), context).await?;
        Ok(form::described(&reply))
    }
}
