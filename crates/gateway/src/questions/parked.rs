//! Calls that wait for a client's answer: the server still works on them, and no request of the client is there.
//!
//! A call is parked under a number and goes on with the round it was parked for; a round is gone on with once. Whoever brings the
//! same round again gets the same outcome while that is kept, and never another execution.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sallyport_protocol::{BoxFuture, CallerId, Cancel, Failure, FailureKind, Reply};
use tokio::task::AbortHandle;

use super::inbox::Inbox;
use crate::limits::Counted;
use crate::upstream::Upstream;

/// How long a parked call waits for its client. People answer within minutes, and a server holds the call open so long.
pub(crate) const WAITS: Duration = Duration::from_secs(10 * 60);
/// How long an outcome is kept for a client whose connection broke before it arrived.
const KEPT: Duration = Duration::from_secs(60);
/// Bytes of an outcome that are kept; a larger one is told once.
const KEPT_BYTES: usize = 256 * 1024;
/// Parked calls of one caller. Further ones end the oldest, which was most likely given up: nobody has to tell us.
const MOST_OF_CALLER: usize = 64;
/// Parked calls of all callers: each holds a call open at its server.
const MOST: usize = 4096;

/// A call that a server works on.
pub(crate) struct Running {
    pub(crate) work: BoxFuture<'static, Result<Reply, Failure>>,
    pub(crate) inbox: Arc<Inbox>,
    /// Ends the work.
    pub(crate) cancel: Cancel,
    /// The server, which the work holds to its end.
    pub(crate) upstream: Weak<Upstream>,
    /// What limits count; the work holds it too, to its end.
    pub(crate) counted: Option<Arc<Counted>>,
}

impl Running {
    /// Ends the call in order, in the background.
    fn abandon(self) {
        self.cancel.cancel();
        tokio::spawn(self.work);
    }
}

/// All parked calls. Clones are the same table.
#[derive(Clone, Default)]
pub(crate) struct Parked(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    /// By number, so that the oldest come first.
    slots: BTreeMap<u64, Slot>,
    last: u64,
}

struct Slot {
    caller: CallerId,
    /// The round that is asked for now.
    round: u32,
    state: State,
    /// What going on with the round before came to.
    outcome: Option<Result<Reply, Failure>>,
    /// Ends the slot in time.
    expiry: Option<AbortHandle>,
}

enum State {
    /// The call waits for its client.
    Waiting(Running),
    /// A request goes on with the call.
    UnderWay,
    /// The call has ended; its outcome is kept for a while.
    Ended,
}

/// The right to go on with a parked call. Dropped without an outcome, it ends the slot.
pub(crate) struct Turn {
    parked: Parked,
    id: u64,
    is_settled: bool,
}

/// What a client that comes back with a round finds.
pub(crate) enum Found {
    /// The call, to be gone on with.
    Waiting(Running, Turn),
    /// What this round has come to already.
    Outcome(Box<Result<Reply, Failure>>),
}

impl Parked {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a call that was not parked yet.
    pub(crate) fn reserve(&self, caller: &CallerId) -> Turn {
        let mut table = self.table();
        table.last += 1;
        let id = table.last;
        let slot = Slot { caller: caller.clone(), round: 0, state: State::UnderWay, outcome: None, expiry: None };
        let crowded = table.push_out(caller);
        table.slots.insert(id, slot);
        drop(table);
        crowded.into_iter().for_each(Running::abandon);
        Turn { parked: self.clone(), id, is_settled: false }
    }

    /// The call `id`, for its round `round`.
    ///
    /// # Errors
    /// Where it is gone, where the round is past and its outcome no longer kept, or where another request goes on with it now.
    pub(crate) fn find(&self, id: u64, round: u32) -> Result<Found, Failure> {
        let mut table = self.table();
        let slot = table
            .slots
            .get_mut(&id)
            .ok_or_else(|| refused("the call that this answers is over: it waited too long, or its server was stopped"))?;
        if slot.round == round + 1
            && let Some(outcome) = &slot.outcome
        {
            return Ok(Found::Outcome(Box::new(outcome.clone())));
        }
        match std::mem::replace(&mut slot.state, State::UnderWay) {
            State::Waiting(running) if slot.round == round => {
                slot.expiry.take().iter().for_each(AbortHandle::abort);
                slot.round += 1;
                slot.outcome = None;
                Ok(Found::Waiting(running, Turn { parked: self.clone(), id, is_settled: false }))
            }
            State::UnderWay if slot.round == round + 1 => {
                Err(refused("another request has brought these answers already and is still waiting"))
            }
            state => {
                slot.state = state;
                Err(refused("these answers were brought already"))
            }
        }
    }

    /// What limits count of the call `id`, where it waits for its round `round`.
    pub(crate) fn counted(&self, id: u64, round: u32) -> Option<Arc<Counted>> {
        let table = self.table();
        let slot = table.slots.get(&id).filter(|slot| slot.round == round)?;
        match &slot.state {
            State::Waiting(running) => running.counted.clone(),
            State::UnderWay | State::Ended => None,
        }
    }

    /// Ends the waiting calls at the servers that `which` names.
    pub(crate) fn abandon(&self, which: impl Fn(&Upstream) -> bool) {
        let ends = |slot: &Slot| match &slot.state {
            State::Waiting(running) => running.upstream.upgrade().is_some_and(|upstream| which(&upstream)),
            State::UnderWay | State::Ended => false,
        };
        let mut table = self.table();
        let ended: Vec<_> = table.slots.extract_if(.., |_, slot| ends(slot)).collect();
        drop(table);
        ended.into_iter().filter_map(|(_, slot)| slot.end()).for_each(Running::abandon);
    }

    /// How many calls wait.
    pub(crate) fn waiting(&self) -> usize {
        self.table().slots.values().filter(|slot| matches!(slot.state, State::Waiting(_))).count()
    }

    /// Ends a slot when its time is over, unless it is gone on with.
    fn expire(&self, id: u64, after: Duration) -> AbortHandle {
        let table = Arc::downgrade(&self.0);
        let expiry = tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let Some(parked) = table.upgrade().map(Self) else { return };
            let slot = parked.table().take_idle(id);
            if let Some(running) = slot.and_then(Slot::end) {
                tracing::debug!(id, "a parked call was given up: no answer came in time");
                running.abandon();
            }
        });
        expiry.abort_handle()
    }
}

impl Table {
    /// Takes a slot out, unless somebody came back to it in this very moment: they go on with the call.
    fn take_idle(&mut self, id: u64) -> Option<Slot> {
        let is_idle = self.slots.get(&id).is_some_and(|slot| !matches!(slot.state, State::UnderWay));
        is_idle.then(|| self.slots.remove(&id)).flatten()
    }

    /// Makes room for one more of `caller`. Only calls that wait are ended, and outcomes forgotten; what is under way goes on.
    fn push_out(&mut self, caller: &CallerId) -> Vec<Running> {
        let is_idle = |slot: &Slot| !matches!(slot.state, State::UnderWay);
        let own = self.slots.values().filter(|slot| slot.caller == *caller).count();
        let oldest = |which: &dyn Fn(&Slot) -> bool| self.slots.iter().find(|(_, slot)| is_idle(slot) && which(slot)).map(|(id, _)| *id);
        let id = if own >= MOST_OF_CALLER {
            oldest(&|slot| slot.caller == *caller)
        } else if self.slots.len() >= MOST {
            oldest(&|_| true)
        } else {
            None
        };
        id.and_then(|id| self.slots.remove(&id)).and_then(Slot::end).into_iter().collect()
    }
}

impl Slot {
    /// The call that is left to be ended, if one waits.
    fn end(mut self) -> Option<Running> {
        self.expiry.take().iter().for_each(AbortHandle::abort);
        match self.state {
            State::Waiting(running) => Some(running),
            State::UnderWay | State::Ended => None,
        }
    }
}

impl Turn {
    /// The number of the call, and the round it is parked for next.
    pub(crate) fn next(&self) -> (u64, u32) {
        (self.id, self.parked.table().slots.get(&self.id).map_or(0, |slot| slot.round))
    }

    /// Parks the call, which asks with `reply`.
    pub(crate) fn park(self, running: Running, reply: &Reply) {
        let expiry = self.parked.expire(self.id, WAITS);
        self.settle(State::Waiting(running), Some(Ok(reply.clone())), expiry);
    }

    /// Notes how the call ended.
    pub(crate) fn end(self, outcome: &Result<Reply, Failure>) {
        let is_small = outcome.as_ref().map_or(true, |reply| reply.result.text_len() <= KEPT_BYTES);
        let expiry = self.parked.expire(self.id, KEPT);
        self.settle(State::Ended, is_small.then(|| outcome.clone()), expiry);
    }

    fn settle(mut self, state: State, outcome: Option<Result<Reply, Failure>>, expiry: AbortHandle) {
        if let Some(slot) = self.parked.table().slots.get_mut(&self.id) {
            slot.state = state;
            slot.outcome = outcome.filter(|_| slot.round > 0); // the first round has none before it
            slot.expiry = Some(expiry);
        }
        self.is_settled = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_settled {
            self.parked.table().slots.remove(&self.id);
        }
    }
}

fn refused(why: &'static str) -> Failure {
    Failure::client(FailureKind::InvalidParams, why).with_hint("see what the call did before it is made anew")
}

impl fmt::Debug for Parked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Parked({} slots)", self.table().slots.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use sallyport_protocol::{Client, RawObject, Revision};

    use super::*;

    fn running() -> Running {
        let client = Client { revision: Revision::LATEST, capabilities: RawObject::new(), info: None };
        let inbox = Inbox::new(Arc::new(client), CallerId("me".into()), Vec::new());
        Running { work: Box::pin(std::future::pending()), inbox, cancel: Cancel::new(), upstream: Weak::new(), counted: None }
    }

    #[tokio::test]
    async fn a_call_that_somebody_has_come_back_to_is_not_given_up_any_more() {
        let (parked, asked) = (Parked::default(), Reply { result: RawObject::new(), revision: Revision::LATEST });
        let turn = parked.reserve(&CallerId("me".into()));
        let (id, round) = turn.next();
        turn.park(running(), &asked);
        let Found::Waiting(call, turn) = parked.find(id, round).unwrap() else { panic!("it waits") };
        parked.expire(id, Duration::ZERO); // its time was over just when the answer came
        tokio::time::sleep(Duration::from_millis(10)).await;
        turn.park(call, &asked);
        assert!(matches!(parked.find(id, round + 1).unwrap(), Found::Waiting(..)));
    }
}
