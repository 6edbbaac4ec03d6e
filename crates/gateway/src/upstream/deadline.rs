//! How long a call may take: so long without a sign of life, and so long altogether.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use sallyport_protocol::{Asker, BoxFuture, CallerId, ErrorObject, Method, RawObject};
use tokio::time::{Instant, sleep_until};

use crate::plan::Timeouts;

/// The limits of one call, running since it came in. A retry does not start them anew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    began: Instant,
    quiet: Duration,
    total: Duration,
}

impl Deadline {
    pub(crate) fn start(timeouts: &Timeouts, method: Method) -> Self {
        // The result of a task comes when the task is over: that nothing is heard until then says nothing of the server.
        let quiet = if method == Method::TasksResult { timeouts.call_max } else { timeouts.call };
        Self { began: Instant::now(), quiet, total: timeouts.call_max }
    }

    /// Waits until a limit is passed, and says which. Progress and an open question to the caller move the first limit,
    /// nothing moves the second.
    pub(crate) async fn passed(&self, signs: &Signs) -> Duration {
        let end = self.began + self.total;
        loop {
            let quiet_end = signs.last() + self.quiet;
            sleep_until(quiet_end.min(end)).await;
            if Instant::now() >= end {
                return self.total;
            }
            if signs.last() + self.quiet <= Instant::now() {
                return self.quiet;
            }
        }
    }

    /// The moment until which a call waits for its server to start.
    pub(crate) fn start_by(&self) -> Instant {
        self.began + self.quiet.min(self.total)
    }

    /// The limit that [`start_by`](Self::start_by) comes from.
    pub(crate) fn start_limit(&self) -> Duration {
        self.quiet.min(self.total)
    }
}

/// The caller as a server sees it, and a note of when the server last showed that it works on the call.
pub(crate) struct Signs {
    caller: Arc<dyn Asker>,
    began: Instant,
    /// Milliseconds after `began`.
    last: AtomicU64,
    /// Questions that the caller has not answered yet: while there is one, nobody waits for the server.
    questions: AtomicU32,
}

impl Signs {
    pub(crate) fn of(caller: Arc<dyn Asker>, deadline: &Deadline) -> Arc<Self> {
        Arc::new(Self { caller, began: deadline.began, last: AtomicU64::new(0), questions: AtomicU32::new(0) })
    }

    /// Takes note of a sign of life.
    pub(crate) fn note(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        if self.questions.load(Ordering::Relaxed) > 0 {
            return Instant::now();
        }
        self.began + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

impl Asker for Signs {
    fn notify(&self, method: &str, params: RawObject) {
        if method == "notifications/progress" {
            self.note();
        }
        self.caller.notify(method, params);
    }

    fn ask<'a>(&'a self, method: &'a str, params: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        Box::pin(async move {
            let _open = Question::open(self);
            self.caller.ask(method, params).await
        })
    }

    fn caller(&self) -> Option<&CallerId> {
        self.caller.caller()
    }
}

/// A question while it is open; its end is a sign of life, also when nobody waits for the answer any more.
struct Question<'a>(&'a Signs);

impl<'a> Question<'a> {
    fn open(signs: &'a Signs) -> Self {
        signs.questions.fetch_add(1, Ordering::Relaxed);
        Self(signs)
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.0.note();
        self.0.questions.fetch_sub(1, Ordering::Relaxed);
    }
}
