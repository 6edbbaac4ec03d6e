//! Requests that have been sent and not been answered.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sallyport_protocol::{CallerToken, Context, Era, LogLevel, Method, RawJson, RawObject, Request, TokenDigest, input};
use tokio::sync::oneshot;

use super::fault::Fault;
use super::shared::Shared;

/// How a request ended.
pub(crate) type Outcome = Result<RawObject, Fault>;

/// All requests in flight on one connection, by their id. The id serves as progress token too.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    last: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Flight>>>,
}

/// What was seen of questions so far.
pub(crate) struct Known<'a> {
    /// The request through which one was put a moment ago: what is asked at once is asked for one request.
    pub(crate) asked_just_now: Option<u64>,
    /// Whether a request waits for an answer.
    pub(crate) waits: &'a dyn Fn(u64) -> bool,
    /// Whether what a request names has asked before.
    pub(crate) asks: &'a dyn Fn(Option<&RawJson>) -> bool,
}

/// One request in flight.
#[derive(Debug)]
pub(crate) struct Flight {
    /// Its id on the wire.
    pub(crate) id: u64,
    purpose: Purpose,
    /// A question was put through it.
    pub(crate) has_asked: AtomicBool,
    /// Who waits for the outcome, where that comes through the connection's shared stream.
    waiting: Mutex<Option<oneshot::Sender<Outcome>>>,
}

/// What a request is for.
pub(crate) enum Purpose {
    /// Somebody asked for it.
    Call(Call),
    /// The connection's own business.
    Own,
    /// What has to go before a call, or beside it; with what its caller showed.
    Aside(Option<Arc<CallerToken>>),
    /// A modern stream of changes.
    Listen(Listening),
}

/// A modern stream of changes.
pub(crate) struct Listening {
    /// Where its acknowledgement goes.
    waiting: Mutex<Option<oneshot::Sender<RawObject>>>,
    caller: Option<Arc<CallerToken>>,
}

/// The part of a call that matters while it runs.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) context: Context,
    log_level: Option<LogLevel>,
    /// The server may ask something back while it works on this. Not so with lists and completions, which the gateway also
    /// asks for on its own account, at any time.
    may_ask: bool,
    /// The tool or prompt that it names.
    pub(crate) name: Option<RawJson>,
    /// The task whose result this waits for (2025-11-25, `tasks/result`).
    task: Option<String>,
    /// The highest progress so far; `None` where none is wanted.
    progress: Option<Mutex<f64>>,
}

impl fmt::Debug for Purpose {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Purpose")
    }
}

impl Purpose {
    /// The purpose of a stream of changes that `caller` wants, or the connection itself; its acknowledgement goes to `acknowledged`.
    pub(crate) fn listen(acknowledged: oneshot::Sender<RawObject>, caller: Option<Arc<CallerToken>>) -> Self {
        Self::Listen(Listening { waiting: Mutex::new(Some(acknowledged)), caller })
    }

    /// The purpose of a client's request.
    pub(crate) fn call(request: &Request, context: Context) -> Self {
        let progress = request.meta.progress_token.is_some().then(|| Mutex::new(f64::NEG_INFINITY));
        let may_ask = input::may_ask(request.method) || request.method == Method::TasksResult;
        let task = (request.method == Method::TasksResult).then(|| request.params.get_str("taskId").map(Cow::into_owned)).flatten();
        let name = request.method.name_parameter().and_then(|key| request.params.get(key)).cloned();
        Self::Call(Call { context, log_level: request.meta.log_level, may_ask, name, task, progress })
    }
}

impl Flights {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Flight>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request of that id.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<Flight>> {
        self.open().get(&id).cloned()
    }

    /// The request that waits for the result of a task: what the server says about the task belongs to it.
    pub(crate) fn of_task(&self, id: &str) -> Option<Arc<Flight>> {
        let is_its = |flight: &&Arc<Flight>| flight.call().is_some_and(|call| call.task.as_deref() == Some(id));
        self.open().values().find(is_its).cloned()
    }

    /// The one call in flight that may ask, if there is exactly one: what the server says without naming a request can only
    /// belong to it.
    pub(crate) fn sole_call(&self) -> Option<Arc<Flight>> {
        let is_call = |flight: &Flight| flight.call().is_some_and(|call| call.may_ask && call.task.is_none());
        // What a task's server asks names the task; one that does not can mean it only where nothing else is there.
        self.sole(is_call).or_else(|| self.sole(|flight| flight.call().is_some_and(|call| call.may_ask)))
    }

    /// Of several calls of one caller the one through which a question that names none is put: the one that asked just now, else one
    /// that waits for no answer yet, best one of a tool that is known to ask, best one that has not asked yet, and the oldest of those,
    /// since servers begin in order. With several callers there is none, since one's question must not reach another.
    pub(crate) fn asking_call(&self, known: &Known<'_>) -> Option<Arc<Flight>> {
        let open = self.open();
        let calls = || open.values().filter_map(|flight| Some((flight, flight.call().filter(|call| call.may_ask && call.task.is_none())?)));
        let first = calls().next().and_then(|(_, call)| call.context.asker.caller().cloned())?;
        if calls().any(|(_, call)| call.context.asker.caller() != Some(&first)) {
            return None;
        }
        let likely = |flight: &Flight, call: &Call| {
            let just_now = known.asked_just_now == Some(flight.id);
            let fresh = !flight.has_asked.load(Ordering::Relaxed);
            (just_now, !(known.waits)(flight.id), (known.asks)(call.name.as_ref()), fresh, Reverse(flight.id))
        };
        calls().max_by_key(|(flight, call)| likely(flight, call)).map(|(flight, _)| Arc::clone(flight))
    }

    /// Ends the request of that id, or the only one that an answer without an id can belong to, and says whether there was one.
    /// It leaves the table at once: what comes right behind its answer belongs to it no longer.
    pub(crate) fn end(&self, id: Option<u64>, outcome: Outcome) -> bool {
        let id = id.or_else(|| self.sole(|flight| !matches!(flight.purpose, Purpose::Listen(_))).map(|flight| flight.id));
        let ended = id.and_then(|id| self.open().remove(&id));
        ended.inspect(|flight| flight.end(outcome)).is_some()
    }

    fn sole(&self, which: impl Fn(&Flight) -> bool) -> Option<Arc<Flight>> {
        let open = self.open();
        let mut found = open.values().filter(|flight| which(flight));
        let sole = found.next()?;
        found.next().is_none().then(|| Arc::clone(sole))
    }

    /// Ends all requests with the same fault.
    pub(crate) fn end_all(&self, fault: &Fault) {
        let all: Vec<_> = self.open().values().cloned().collect();
        for flight in all {
            flight.end(Err(fault.clone()));
        }
    }

    fn begin(&self, purpose: Purpose, waiting: Option<oneshot::Sender<Outcome>>) -> Arc<Flight> {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let flight = Arc::new(Flight { id, purpose, has_asked: AtomicBool::new(false), waiting: Mutex::new(waiting) });
        self.open().insert(id, Arc::clone(&flight));
        flight
    }
}

/// A request's place among those in flight, given up when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    pub(crate) flight: Arc<Flight>,
}

impl Ticket {
    /// A place for a request whose answer comes on a stream of its own.
    pub(crate) fn new(shared: &Arc<Shared>, purpose: Purpose) -> Self {
        Self { shared: Arc::clone(shared), flight: shared.flights.begin(purpose, None) }
    }

    /// A place for a request whose answer comes among others, and where to wait for it.
    pub(crate) fn awaited(shared: &Arc<Shared>, purpose: Purpose) -> (Self, oneshot::Receiver<Outcome>) {
        let (waiting, outcome) = oneshot::channel();
        (Self { shared: Arc::clone(shared), flight: shared.flights.begin(purpose, Some(waiting)) }, outcome)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.flights.open().remove(&self.flight.id);
        self.shared.questions.abandon(self.flight.id);
    }
}

impl Flight {
    /// The call that this is, if it is one.
    pub(crate) fn call(&self) -> Option<&Call> {
        match &self.purpose {
            Purpose::Call(call) => Some(call),
            _ => None,
        }
    }

    /// What its caller showed; nothing where it is the connection's own business.
    pub(crate) fn credential(&self) -> Option<&Arc<CallerToken>> {
        match &self.purpose {
            Purpose::Call(call) => call.context.credential.as_ref(),
            Purpose::Aside(caller) | Purpose::Listen(Listening { caller, .. }) => caller.as_ref(),
            Purpose::Own => None,
        }
    }

    /// By whose token a stream of changes was opened; nothing where it is the connection's, or no such stream.
    pub(crate) fn listens_by(&self) -> Option<TokenDigest> {
        match &self.purpose {
            Purpose::Listen(Listening { caller: Some(caller), .. }) => Some(caller.digest()),
            _ => None,
        }
    }

    /// Ends the request. Who waits for it no longer is not disturbed.
    fn end(&self, outcome: Outcome) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waiting) = waiting {
            let _ = waiting.send(outcome); // given up in the meantime where it fails
        }
    }

    /// Notes that a stream of changes is open: what it will carry.
    pub(crate) fn acknowledge(&self, notifications: RawObject) {
        let Purpose::Listen(Listening { waiting, .. }) = &self.purpose else { return };
        if let Some(waiting) = waiting.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = waiting.send(notifications);
        }
    }
}

impl Call {
    /// Passes progress on, if it is wanted and has grown (2025-11-25 and later, progress: "must increase").
    pub(crate) fn pass_progress(&self, mut params: RawObject) {
        let Some(highest) = &self.progress else { return };
        let Some(value) = params.get("progress").and_then(|value| value.decode::<f64>().ok()) else { return };
        {
            let mut highest = highest.lock().unwrap_or_else(PoisonError::into_inner);
            if value <= *highest {
                return;
            }
            *highest = value;
        }
        params.remove("progressToken");
        self.context.asker.notify("notifications/progress", params);
    }

    /// Passes a log message on, if it is wanted. A modern client wants none that it did not ask for.
    pub(crate) fn pass_log(&self, params: RawObject) {
        let level = params.get_str("level").and_then(|name| LogLevel::from_name(&name));
        let wanted = match self.log_level {
            Some(least) => level.is_some_and(|level| level >= least),
            None => self.context.client.revision.era() == Era::Legacy,
        };
        if wanted {
            self.context.asker.notify("notifications/message", params);
        }
    }
}

/// The request that a progress token stands for.
pub(crate) fn of_token(token: &RawJson) -> Option<u64> {
    token.decode().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sallyport_protocol::{Asker, BoxFuture, CallerId, Cancel, Client, ErrorObject, Revision};

    struct Of(Option<CallerId>);

    impl Asker for Of {
        fn notify(&self, _: &str, _: RawObject) {}

        fn ask<'a>(&'a self, _: &'a str, _: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
            Box::pin(std::future::pending())
        }

        fn caller(&self) -> Option<&CallerId> {
            self.0.as_ref()
        }
    }

    /// A call of `tool` that `caller` has in flight.
    fn call(flights: &Flights, tool: &str, caller: Option<&str>) -> Arc<Flight> {
        let mut params = RawObject::new();
        params.set("name", RawJson::string(tool));
        let client = Client { revision: Revision::LATEST, capabilities: RawObject::new(), info: None };
        let asker = Arc::new(Of(caller.map(|caller| CallerId(caller.into()))));
        let context = Context { client: Arc::new(client), asker, cancel: Cancel::new(), credential: None };
        flights.begin(Purpose::call(&Request::new(Method::ToolsCall, params), context), None)
    }

    #[test]
    fn a_question_goes_through_the_call_that_most_likely_asks() {
        let flights = Flights::default();
        let [first, second] = ["a", "b"].map(|tool| call(&flights, tool, Some("me")));
        let carrier = |just_now: Option<u64>, waiting: &[u64], asking: &str| {
            let waits = |id| waiting.contains(&id);
            let asks = |name: Option<&RawJson>| name.is_some_and(|name| *name == RawJson::string(asking));
            flights.asking_call(&Known { asked_just_now: just_now, waits: &waits, asks: &asks }).map(|flight| flight.id)
        };
        assert_eq!(carrier(None, &[], ""), Some(first.id), "the oldest");
        assert_eq!(carrier(None, &[], "b"), Some(second.id), "a tool that is known to ask");
        assert_eq!(carrier(None, &[second.id], "b"), Some(first.id), "which waits already");
        assert_eq!(carrier(Some(second.id), &[second.id], ""), Some(second.id), "what asked a moment ago asks on");
        first.has_asked.store(true, Ordering::Relaxed);
        assert_eq!(carrier(None, &[], ""), Some(second.id), "the first has asked");
    }

    #[test]
    fn the_question_of_one_caller_never_reaches_another() {
        for other in [Some("you"), None] {
            let flights = Flights::default();
            call(&flights, "a", Some("me"));
            call(&flights, "a", other);
            let known = Known { asked_just_now: Some(1), waits: &|_| false, asks: &|_| true };
            assert!(flights.asking_call(&known).is_none(), "{other:?}");
        }
    }
}
