//! A connection that serves calls, and what its calls find out about it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sallyport_protocol::{Cancel, Discovery, McpServer};
use sallyport_sandbox::Exceeded;
use tokio::sync::Notify;

use crate::upstream::health::Outage;
use crate::upstream::reach::Look;
use crate::upstream::standby::Sleeper;

/// How long a call whose connection broke waits to hear why: the end of a child is known a moment after its pipe closes.
const REASON_WITHIN: Duration = Duration::from_millis(250);
/// Calls in a row without an answer after which a server is asked for a sign of life.
const SILENT_CALLS: u32 = 3;

/// A connection that serves calls.
pub(crate) struct Link {
    pub(crate) server: Arc<dyn McpServer>,
    pub(crate) discovery: Arc<Discovery>,
    pub(crate) since: Instant,
    /// It outlives a lost exchange: the next one connects anew (HTTP).
    pub(crate) reconnects: bool,
    /// There where the server may be asleep.
    pub(crate) sleeper: Option<Arc<Sleeper>>,
    look: Option<Look>,
    /// Which limit a failing call has shown that it meets.
    met: OnceLock<Exceeded>,
    /// Why it ended, once it did.
    end: OnceLock<Outage>,
    ended: Cancel,
    /// Calls in a row that got no answer.
    silent: AtomicU32,
    given_up: OnceLock<String>,
    give_up: Notify,
    /// Somebody should ask for a sign of life.
    pub(crate) doubt: Notify,
}

impl Link {
    pub(crate) fn new(server: Arc<dyn McpServer>, reconnects: bool, sleeper: Option<Arc<Sleeper>>, look: Option<Look>) -> Arc<Self> {
        Arc::new(Self {
            discovery: server.discovery(),
            server,
            since: Instant::now(),
            reconnects,
            sleeper,
            look,
            met: OnceLock::new(),
            end: OnceLock::new(),
            ended: Cancel::new(),
            silent: AtomicU32::new(0),
            given_up: OnceLock::new(),
            give_up: Notify::new(),
            doubt: Notify::new(),
        })
    }

    /// Takes note that the server answered, well or not.
    pub(crate) fn answered(&self) {
        if self.silent.load(Ordering::Relaxed) != 0 {
            self.silent.store(0, Ordering::Relaxed);
        }
    }

    /// Takes note that a call got no answer.
    pub(crate) fn stayed_silent(&self) {
        if (self.silent.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(SILENT_CALLS) {
            self.doubt.notify_one();
        }
    }

    /// Looks which of its limits the server meets at the moment; on a thread that may wait.
    pub(crate) async fn look(&self) -> Option<Exceeded> {
        let look = self.look.clone()?;
        tokio::task::spawn_blocking(move || look()).await.ok()? // the gateway is ending
    }

    /// Takes note of a limit that was met; whether that is the first time.
    pub(crate) fn note_met(&self, exceeded: Exceeded) -> bool {
        self.met.set(exceeded).is_ok()
    }

    /// Which limit a call that failed has met, since it was connected.
    pub(crate) fn met(&self) -> Option<Exceeded> {
        self.met.get().copied()
    }

    /// Asks the keeper to replace the connection.
    pub(crate) fn give_up(&self, why: String) {
        let _ = self.given_up.set(why); // the first reason stays
        self.give_up.notify_one();
    }

    /// Waits until somebody gave the connection up, and says why.
    pub(crate) async fn given_up(&self) -> String {
        self.give_up.notified().await;
        self.given_up.get().cloned().unwrap_or_default()
    }

    /// Says why the connection ended.
    pub(crate) fn set_end(&self, outage: Outage) {
        let _ = self.end.set(outage); // the first reason stays
        self.ended.cancel();
    }

    /// Why the connection ended; waits a moment to hear it.
    pub(crate) async fn end(&self) -> Option<&Outage> {
        let _ = tokio::time::timeout(REASON_WITHIN, self.ended.cancelled()).await;
        self.end.get()
    }
}
