//! A stream stays open for as long as its caller may come in.
//!
//! A request is let in once, but a stream that it opens may stay open for days: longer than the token that it was opened with. So the front
//! is asked about it again and again, as if it were opened now; what has expired, was revoked or is configured no more ends it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use sallyport_protocol::{Admission, BoxFuture, Caller, CallerId, Failure, FailureKind, Front, Incoming};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

/// Seconds from one time that the front is asked to the next. It knows most callers by one look-up.
const EVERY: u32 = 5;
/// How long it may take to find out about one. Longer, and it is not known this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// For how long it may not be known, since an issuer does not answer: a restart of one does not end all streams.
const UNTOLD: Duration = Duration::from_secs(5 * 60);
/// Callers of whom somebody else is asked at once, of each round.
const AT_ONCE: usize = 64;

/// By whose right a stream is open.
pub(crate) struct Standing {
    incoming: Incoming,
    caller: CallerId,
    /// It is being found out: an issuer that is slow holds up what is known of its own callers alone.
    is_asked: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_over: bool,
    /// Since when the front cannot tell.
    untold: Option<Instant>,
    /// Wakes the stream.
    waker: Option<Waker>,
}

impl Standing {
    /// The right of a caller that was let in.
    pub(crate) fn of(incoming: &Incoming, caller: &CallerId) -> Arc<Self> {
        // What was found out then is not what is asked.
        let incoming = Incoming { recognised: None, ..incoming.clone() };
        Arc::new(Self { incoming, caller: caller.clone(), is_asked: AtomicBool::new(false), state: Mutex::default() })
    }

    /// Whether it is over; wakes the stream when that becomes so.
    pub(crate) fn is_over(&self, cx: &Context<'_>) -> bool {
        let mut state = self.state();
        if !state.is_over && state.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        state.is_over
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` while somebody is at it.
    fn turn(self: Arc<Self>) -> Option<Turn> {
        (!self.is_asked.swap(true, Ordering::AcqRel)).then(|| Turn(self))
    }

    /// Asks the front, which mostly knows at once; what it has to ask somebody else for is left to be waited for.
    fn ask(&self, front: &dyn Front) -> Option<BoxFuture<'static, Result<Caller, Failure>>> {
        // Who had to show a certificate to be connected at all needs it whatever else is shown.
        if self.incoming.certificate.as_ref().is_some_and(|certificate| certificate.withdrawn.is_cancelled()) {
            self.end();
            return None;
        }
        match front.admit(&self.incoming) {
            Admission::Known(known) => self.learn(Ok(known)),
            Admission::Asks(asks) => return Some(asks),
        }
        None
    }

    /// Takes note of what the front says; `Err` where it has not said it in time.
    fn learn(&self, told: Result<Result<Caller, Failure>, Elapsed>) {
        let may_stay = match told {
            Ok(Ok(Caller { id, .. })) => {
                self.state().untold = None;
                id == self.caller
            }
            Err(_) | Ok(Err(Failure { kind: FailureKind::Http(503), .. })) => {
                self.state().untold.get_or_insert_with(Instant::now).elapsed() < UNTOLD
            }
            Ok(Err(failure)) => {
                tracing::debug!(%failure, "a stream ends: its caller may not come in any more");
                false
            }
        };
        if !may_stay {
            self.end();
        }
    }

    fn end(&self) {
        let waker = {
            let mut state = self.state();
            state.is_over = true;
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

/// The one who finds out about a stream; whatever becomes of that, the next may.
struct Turn(Arc<Standing>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.is_asked.store(false, Ordering::Release);
    }
}

/// The open streams of a door.
#[derive(Default)]
pub(crate) struct Standings(Mutex<Listed>);

#[derive(Default)]
struct Listed {
    open: Vec<Weak<Standing>>,
    /// Seconds since they were looked at.
    since: u32,
}

impl Standings {
    /// Looks after an open stream from now on. As many as there may be connections.
    pub(crate) fn add(&self, standing: &Arc<Standing>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).open.push(Arc::downgrade(standing));
    }

    /// To be called once a second: asks the front, when it is time, and ends the streams of those who may not come in any more.
    pub(crate) fn second(&self, front: &Arc<dyn Front>) {
        let open = {
            let mut listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            listed.since += 1;
            listed.open.retain(|standing| standing.strong_count() > 0);
            if listed.since < EVERY {
                return;
            }
            listed.since = 0;
            let turns = listed.open.iter().filter_map(Weak::upgrade).filter_map(Standing::turn);
            turns.collect::<Vec<Turn>>()
        };
        let asks = |turn: Turn| Some((turn.0.ask(&**front)?, turn));
        let mut waited_for: Vec<_> = open.into_iter().filter_map(asks).collect();
        if waited_for.is_empty() {
            return;
        }
        // Those of whom nobody could tell the last time come last, and so hold up nobody else.
        waited_for.sort_by_cached_key(|(_, turn)| turn.0.state().untold.is_some());
        tokio::spawn(stream::iter(waited_for).for_each_concurrent(AT_ONCE, |(asks, turn)| async move {
            turn.0.learn(timeout(PATIENCE, asks).await);
        }));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use sallyport_protocol::{CallerToken, Endpoint, Peer, Revision};
    use sallyport_testkit::{ScriptedFront, ScriptedServer};

    use super::*;

    fn open(standings: &Standings, key: &str) -> Arc<Standing> {
        let credential = Some(Arc::new(CallerToken::new(key)));
        let incoming =
            Incoming { tenant: None, endpoint: Endpoint::All, credential, certificate: None, peer: Peer::Loopback, recognised: None };
        let standing = Standing::of(&incoming, &CallerId(key.into()));
        standings.add(&standing);
        standing
    }

    fn is_over(standing: &Arc<Standing>) -> bool {
        standing.is_over(&Context::from_waker(Waker::noop()))
    }

    /// Until everybody has been asked about once more, and whoever answers at once has answered.
    async fn a_round(standings: &Standings, front: &Arc<dyn Front>) {
        (0..EVERY).for_each(|_| standings.second(front));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_issuer_holds_up_what_is_known_of_its_own_callers_alone() {
        let keys = ScriptedFront::with_keys(ScriptedServer::new(Revision::LATEST), &["slow", "gone", "elsewhere", "stays"]);
        let (keys, standings) = (Arc::new(keys), Standings::default());
        let front = Arc::clone(&keys) as Arc<dyn Front>;
        keys.ask_elsewhere("slow", Duration::from_secs(60 * 60));
        keys.ask_elsewhere("elsewhere", Duration::ZERO);
        let slow: Vec<_> = (0..2 * AT_ONCE).map(|_| open(&standings, "slow")).collect();
        let [gone, elsewhere, stays] = ["gone", "elsewhere", "stays"].map(|key| open(&standings, key));

        keys.revoke("gone");
        a_round(&standings, &front).await;
        assert!(is_over(&gone), "no issuer has to be asked about it");
        let all = PATIENCE * 3;
        tokio::time::sleep(all).await; // even the last of the slow ones was waited for
        keys.revoke("elsewhere");
        a_round(&standings, &front).await;
        assert!(is_over(&elsewhere), "another issuer tells of it");
        assert!(!is_over(&stays) && !slow.iter().any(is_over), "a restart of an issuer ends no stream");

        tokio::time::sleep(UNTOLD).await;
        a_round(&standings, &front).await;
        tokio::time::sleep(all).await;
        assert!(slow.iter().all(is_over) && !is_over(&stays));
    }
}
