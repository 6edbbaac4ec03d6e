//! What a legacy server asks of a modern client while it works on a task.
//!
//! The server asks by requests, on the stream of `tasks/result` where that has streams (2025-11-25, input required status); the client
//! is told by `tasks/get`, and answers by `tasks/update`. So once a task requires input, somebody must wait for its result: a follower.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use sallyport_policy::Permitted;
use sallyport_protocol::input::{Answers, Question};
use sallyport_protocol::{Cancel, Context, ErrorObject, Failure, FailureKind, Meta, Method, Reply, Request};
use tokio::sync::watch;
use tokio::time::timeout;

use super::form::Ending;
use super::line::{Line, naming};
use crate::questions::inbox::Inbox;
use crate::upstream::{Routed, Upstream};

/// How long `tasks/get` waits for the questions of a task that says it has some: they are on their way.
const ARRIVES_WITHIN: Duration = Duration::from_secs(1);

/// Waits for a task's result on behalf of nobody in particular, and keeps what its server asks meanwhile.
pub(crate) struct Follower {
    inbox: Arc<Inbox>,
    /// Held by what waits there.
    upstream: Weak<Upstream>,
    cancel: Cancel,
    ending: watch::Sender<Option<Ending>>,
    failed: AtomicBool,
}

impl Follower {
    /// The leave to wait for the result of the task `own`.
    ///
    /// # Errors
    /// `Denied`.
    pub(crate) async fn permitted(line: &Line, own: &str) -> Result<Permitted<Routed>, Failure> {
        line.permit(Request { method: Method::TasksResult, params: naming(own), meta: Meta::default() }).await
    }

    /// Begins to wait for a task's result; `context` says what its client can be asked.
    pub(crate) fn start(line: &Line, permitted: Permitted<Routed>, context: &Context) -> Arc<Self> {
        let follower = Arc::new(Self {
            inbox: Inbox::new(context.client.clone(), line.caller(), Answers::new()),
            upstream: Arc::downgrade(&line.upstream),
            cancel: Cancel::new(),
            ending: watch::Sender::new(None),
            failed: AtomicBool::new(false),
        });
        let (upstream, this) = (line.upstream.clone(), follower.clone());
        let context = Context { asker: follower.inbox.clone(), cancel: follower.cancel.clone(), ..context.clone() };
        tokio::spawn(async move {
            let outcome = upstream.send(permitted, context).await;
            this.note(outcome);
        });
        follower
    }

    fn note(&self, outcome: Result<Reply, Failure>) {
        match outcome {
            Ok(reply) => _ = self.ending.send_replace(Some(Ok(reply.result))),
            Err(Failure { kind: FailureKind::Upstream(error), .. }) if !is_unknown(&error) => {
                self.ending.send_replace(Some(Err(error)));
            }
            Err(failure) => {
                tracing::debug!(%failure, "a task is followed no longer");
                self.failed.store(true, Ordering::Release);
                self.ending.send_replace(None); // wakes whoever waits
            }
        }
    }

    /// Whether it gave up; the next one may be luckier.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// What the task ended with, if it has.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.borrow().clone()
    }

    /// All open questions. Where there are none and `is_expected`, they are waited for a little.
    pub(crate) async fn questions(&self, is_expected: bool) -> Vec<(String, Question)> {
        let open = self.inbox.put();
        if !open.is_empty() || !is_expected {
            return open;
        }
        let mut ending = self.ending.subscribe();
        let arrived = async {
            tokio::select! {
                () = self.inbox.asked() => {}
                _ = ending.changed() => {}
            }
        };
        let _ = timeout(ARRIVES_WITHIN, arrived).await; // late: the next `tasks/get` tells of them
        self.inbox.put()
    }

    /// Gives the server a client's answers. Those to no open question, and those that are none, are ignored.
    pub(crate) fn answer(&self, answers: Answers) {
        self.inbox.answer(answers);
    }

    /// Whether it waits at a server that `which` names.
    pub(crate) fn is_at(&self, which: impl Fn(&Upstream) -> bool) -> bool {
        self.upstream.upgrade().is_some_and(|upstream| which(&upstream))
    }

    /// Waits no longer.
    pub(crate) fn stop(&self) {
        self.cancel.cancel();
    }
}

/// Whether a server says that it does not know the task.
pub(crate) fn is_unknown(error: &ErrorObject) -> bool {
    error.code == ErrorObject::INVALID_PARAMS
}

impl fmt::Debug for Follower {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Follower").field("has_failed", &self.has_failed()).finish_non_exhaustive()
    }
}
