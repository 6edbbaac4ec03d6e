//! Questions that a legacy server puts to its client while a request runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sallyport_protocol::{BoxFuture, Era, ErrorObject, Message, RawObject, RequestId};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::flight::Flight;
use super::shared::Shared;

/// Questions at once on one connection. People answer them; nobody answers more.
const MOST_QUESTIONS: usize = 64;

/// The way back to the server for an answer.
pub(crate) trait Back: Send + Sync + 'static {
    /// Sends an answer; where it cannot be sent the connection knows by itself.
    fn send_back(&self, message: Message) -> BoxFuture<'_, ()>;
}

/// The questions being asked, by the server's own ids, each with the request that it belongs to.
#[derive(Debug)]
pub(crate) struct Questions {
    asked: Mutex<HashMap<RequestId, (u64, AbortHandle)>>,
    /// Room for answers on their way that nobody was asked for: to pings, and refusals.
    answering: Arc<Semaphore>,
}

impl Default for Questions {
    fn default() -> Self {
        Self { asked: Mutex::default(), answering: Arc::new(Semaphore::new(MOST_QUESTIONS)) }
    }
}

impl Questions {
    fn open(&self) -> MutexGuard<'_, HashMap<RequestId, (u64, AbortHandle)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
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
        let refusal = match (method.as_str(), flight.filter(|flight| flight.call().is_some())) {
            ("ping", _) => return self.answer(back, Message::Result { id, result: RawObject::new() }),
            ("elicitation/create" | "sampling/createMessage" | "roots/list", Some(flight)) => {
                return self.ask(shared, back, id, method, params, flight);
            }
            ("elicitation/create" | "sampling/createMessage" | "roots/list", None) => "the question cannot be attributed to one request",
            _ => "no such method",
        };
        self.answer(back, Message::Error { id: Some(id), error: ErrorObject::new(ErrorObject::METHOD_NOT_FOUND, refusal) });
    }

    fn ask(&self, shared: &Arc<Shared>, back: Arc<dyn Back>, id: RequestId, method: String, params: RawObject, flight: Arc<Flight>) {
        let mut open = self.open();
        if open.len() >= MOST_QUESTIONS || open.contains_key(&id) {
            drop(open);
            let error = ErrorObject::new(ErrorObject::INTERNAL, "too many questions at once");
            return self.answer(back, Message::Error { id: Some(id), error });
        }
        let (shared, number, key) = (Arc::clone(shared), flight.id, id.clone());
        let asking = tokio::spawn(async move {
            let Some(call) = flight.call() else { return };
            let message = match call.context.asker.ask(&method, params).await {
                Ok(result) => Message::Result { id: id.clone(), result },
                Err(error) => Message::Error { id: Some(id.clone()), error },
            };
            shared.questions.open().remove(&id);
            back.send_back(message).await;
        });
        open.insert(key, (number, asking.abort_handle()));
    }

    /// Sends an answer in the background. A server that asks and does not read gets no more of them.
    fn answer(&self, back: Arc<dyn Back>, message: Message) {
        if let Ok(room) = Arc::clone(&self.answering).try_acquire_owned() {
            tokio::spawn(async move {
                back.send_back(message).await;
                drop(room);
            });
        }
    }

    /// The server wants an answer no longer.
    pub(crate) fn withdraw(&self, id: &RequestId) {
        if let Some((_, asking)) = self.open().remove(id) {
            asking.abort();
        }
    }

    /// The request is over, and so are its questions.
    pub(crate) fn abandon(&self, flight: u64) {
        self.open().retain(|_, (number, asking)| {
            let over = *number == flight;
            if over {
                asking.abort();
            }
            !over
        });
    }
}
