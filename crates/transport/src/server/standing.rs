//! A stream stays open for as long as its caller may come in.
//!
//! A request is let in once, but a stream that it opens may stay open for days: longer than the token that it was opened with. So the front
//! is asked about it again and again, as if it were opened now; what has expired, was revoked or is configured no more ends it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Waker};

use futures_util::{StreamExt as _, stream};
use sallyport_protocol::{Caller, CallerId, Failure, FailureKind, Front, Incoming};

/// Seconds from one time that the front is asked to the next. It knows most callers by one look-up.
const EVERY: u32 = 5;
/// How often it may not know, since an issuer does not answer: for five minutes, so that a restart of one does not end all streams.
const UNTOLD: u32 = 60;
/// Callers of whom somebody else is asked at once.
const AT_ONCE: usize = 8;

/// By whose right a stream is open.
pub(crate) struct Standing {
    incoming: Incoming,
    caller: CallerId,
    /// How often one after the other the front could not tell.
    untold: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_over: bool,
    /// Wakes the stream.
    waker: Option<Waker>,
}

impl Standing {
    /// The right of a caller that was let in.
    pub(crate) fn of(incoming: &Incoming, caller: &CallerId) -> Arc<Self> {
        // What was found out then is not what is asked.
        let incoming = Incoming { recognised: None, ..incoming.clone() };
        Arc::new(Self { incoming, caller: caller.clone(), untold: AtomicU32::new(0), state: Mutex::default() })
    }

    /// Whether it is over; wakes the stream when that becomes so.
    pub(crate) fn is_over(&self, cx: &Context<'_>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.is_over && state.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        state.is_over
    }

    async fn ask(&self, front: &dyn Front) {
        let may_stay = match front.admit(&self.incoming).decided().await {
            Ok(Caller { id, .. }) => {
                self.untold.store(0, Ordering::Relaxed);
                id == self.caller
            }
            Err(Failure { kind: FailureKind::Http(503), .. }) => self.untold.fetch_add(1, Ordering::Relaxed) < UNTOLD,
            Err(failure) => {
                tracing::debug!(%failure, "a stream ends: its caller may not come in any more");
                false
            }
        };
        if !may_stay {
            let waker = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.is_over = true;
                state.waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        }
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
    /// Somebody is still at it.
    is_under_way: bool,
}

impl Standings {
    /// Looks after an open stream from now on. As many as there may be connections.
    pub(crate) fn add(&self, standing: &Arc<Standing>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).open.push(Arc::downgrade(standing));
    }

    /// To be called once a second: asks the front, when it is time, and ends the streams of those who may not come in any more.
    pub(crate) fn second(self: &Arc<Self>, front: &Arc<dyn Front>) {
        let open = {
            let mut listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            listed.since += 1;
            listed.open.retain(|standing| standing.strong_count() > 0);
            if listed.is_under_way || listed.since < EVERY || listed.open.is_empty() {
                return;
            }
            (listed.since, listed.is_under_way) = (0, true);
            listed.open.clone()
        };
        let (this, front) = (Arc::clone(self), Arc::clone(front));
        tokio::spawn(async move {
            let asked = stream::iter(open.iter().filter_map(Weak::upgrade));
            asked
                .for_each_concurrent(AT_ONCE, |standing| {
                    let front = Arc::clone(&front);
                    async move { standing.ask(&*front).await }
                })
                .await;
            this.0.lock().unwrap_or_else(PoisonError::into_inner).is_under_way = false;
        });
    }
}
