//! Questions that a legacy server puts to its client while a request runs.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sallyport_protocol::revisions::{answer_for, question_for};
use sallyport_protocol::{BoxFuture, CallerToken, Era, ErrorObject, Message, RawJson, RawObject, RequestId, Revision, input};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::flight::{Call, Flight, Flights, Known};
use super::shared::Shared;

/// Questions at once on one connection. People answer them; nobody answers more.
const MOST_QUESTIONS: usize = 64;

/// Questions that follow each other within this time were asked at once, for one request. They come microseconds apart.
const AT_ONCE: Duration = Duration::from_millis(10);
/// Names of tools and prompts that are known to ask: more than any server in use has.
const MOST_ASKERS: usize = 256;

/// The way back to the server for an answer.
pub(crate) trait Back: Send + Sync + 'static {
    /// Sends an answer, as part of a request of `caller` where it belongs to one; where it cannot be sent the connection knows by itself.
    fn send_back(&self, message: Message, caller: Option<Arc<CallerToken>>) -> BoxFuture<'_, ()>;
}

/// The questions being asked, by the server's own ids, each with the request that it belongs to.
#[derive(Debug)]
pub(crate) struct Questions {
    asked: Mutex<HashMap<RequestId, Asked>>,
    /// The request through which the last question was put, and when.
    last: Mutex<Option<(u64, Instant)>>,
    /// What names those that asked, as far as there was no doubt who did.
    askers: Mutex<HashSet<RawJson>>,
    /// Room for answers on their way that nobody was asked for: to pings, and refusals.
    answering: Arc<Semaphore>,
}

/// The way back for one answer.
#[derive(Clone)]
struct Way {
    back: Arc<dyn Back>,
    /// Whose request the answer is part of, as far as it is known.
    caller: Option<Arc<CallerToken>>,
}

impl Way {
    async fn send(self, message: Message) {
        self.back.send_back(message, self.caller).await;
    }
}

/// A question that is being asked.
struct Asked {
    /// The request that it belongs to.
    flight: u64,
    asking: AbortHandle,
    way: Way,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Asked(for {})", self.flight)
    }
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            asked: Mutex::default(),
            last: Mutex::default(),
            askers: Mutex::default(),
            answering: Arc::new(Semaphore::new(MOST_QUESTIONS)),
        }
    }
}

impl Questions {
    fn open(&self) -> MutexGuard<'_, HashMap<RequestId, Asked>> {
        lock(&self.asked)
    }

    /// Takes a question of the server's that belongs to `flight`, if to any.
    pub(crate) fn take(
        &self,
        shared: &Arc<Shared>,
        back: Arc<dyn Back>,
        id: RequestId,
        method: String,
        params: RawObject,
        flight: Option<Arc<Flight>>,
    ) {
        if shared.discovery().revision.era() == Era::Modern {
            tracing::debug!(server = shared.server(), method, "ignored a request: in this revision servers send none");
            return;
        }
        let way = Way { back, caller: flight.as_ref().and_then(|flight| flight.credential()).cloned() };
        let flight = flight.filter(|_| shared.options.questions);
        let refusal = match flight.filter(|flight| flight.call().is_some()) {
            _ if method == "ping" => return self.answer(way, Message::Result { id, result: RawObject::new() }),
            _ if !input::is_question(&method) => "no such method",
            Some(flight) => return self.ask(shared, way, id, method, params, flight),
            None => "the question cannot be attributed to one request",
        };
        self.answer(way, Message::Error { id: Some(id), error: ErrorObject::new(ErrorObject::METHOD_NOT_FOUND, refusal) });
    }

    /// The call that a question without a stream of its own belongs to.
    pub(crate) fn attribute(&self, flights: &Flights) -> Option<Arc<Flight>> {
        let last = *lock(&self.last);
        let asked_just_now = last.filter(|(_, at)| at.elapsed() < AT_ONCE).map(|(flight, _)| flight);
        let waits = |flight| self.open().values().any(|asked| asked.flight == flight);
        let asks = |name: Option<&RawJson>| name.is_some_and(|name| lock(&self.askers).contains(name));
        if let Some(sole) = flights.sole_call() {
            self.learn(&sole);
            return Some(sole);
        }
        flights.asking_call(&Known { asked_just_now, waits: &waits, asks: &asks })
    }

    /// Remembers that what the request names asks.
    fn learn(&self, flight: &Flight) {
        let Some(name) = flight.call().and_then(|call| call.name.as_ref()) else { return };
        let mut askers = lock(&self.askers);
        if askers.len() < MOST_ASKERS && !askers.contains(name) {
            // A copy, which does not keep the whole request's text.
            askers.extend(RawJson::parse(Bytes::copy_from_slice(name.as_bytes())));
        }
    }

    fn ask(&self, shared: &Arc<Shared>, way: Way, id: RequestId, method: String, params: RawObject, flight: Arc<Flight>) {
        let mut open = self.open();
        if open.len() >= MOST_QUESTIONS || open.contains_key(&id) {
            drop(open);
            let error = ErrorObject::new(ErrorObject::INTERNAL, "too many questions at once");
            return self.answer(way, Message::Error { id: Some(id), error });
        }
        let (shared, number, key, kept) = (Arc::clone(shared), flight.id, id.clone(), way.clone());
        let carrier = Arc::clone(&flight);
        let asking = tokio::spawn(async move {
            let Some(call) = flight.call() else { return };
            let message = match put(call, &method, params, shared.discovery().revision).await {
                Ok(result) => Message::Result { id: id.clone(), result },
                Err(error) => Message::Error { id: Some(id.clone()), error },
            };
            shared.questions.open().remove(&id);
            way.send(message).await;
        });
        *lock(&self.last) = Some((number, Instant::now()));
        carrier.has_asked.store(true, Ordering::Relaxed);
        open.insert(key, Asked { flight: number, asking: asking.abort_handle(), way: kept });
    }

    /// Sends an answer in the background. A server that asks and does not read gets no more of them.
    fn answer(&self, way: Way, message: Message) {
        if let Ok(room) = Arc::clone(&self.answering).try_acquire_owned() {
            tokio::spawn(async move {
                way.send(message).await;
                drop(room);
            });
        }
    }

    /// The server wants an answer no longer.
    pub(crate) fn withdraw(&self, id: &RequestId) {
        if let Some(asked) = self.open().remove(id) {
            asked.asking.abort();
        }
    }

    /// The request is over, and so are its questions. Their server is told: it may have asked them for another request.
    pub(crate) fn abandon(&self, flight: u64) {
        let over: Vec<_> = self.open().extract_if(|_, asked| asked.flight == flight).collect();
        for (id, asked) in over {
            asked.asking.abort();
            let error = ErrorObject::new(ErrorObject::INTERNAL, "the request that was to carry the answer is over");
            if tokio::runtime::Handle::try_current().is_ok() {
                self.answer(asked.way, Message::Error { id: Some(id), error });
            }
        }
    }
}

/// Puts a question to the client of a call, in the words of the client's revision, and gives its answer in the server's.
async fn put(call: &Call, method: &str, params: RawObject, server: Revision) -> Result<RawObject, ErrorObject> {
    let client = call.context.client.revision;
    let params = question_for(method, params, server, client)
        .map_err(|failure| ErrorObject::new(ErrorObject::METHOD_NOT_FOUND, failure.public.into_owned()))?;
    let answer = call.context.asker.ask(method, params).await?;
    Ok(answer_for(method, answer, client, server))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
