//! Where a legacy server's questions wait for a modern client: it is asked by the result of its request, and answers with its next
//! one (2026-07-28, multi round-trip requests).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sallyport_protocol::input::{self, Answers, INPUT_KEY, MOST_QUESTIONS, Question};
use sallyport_protocol::{
    Asker, BoxFuture, CallerId, Client, ErrorObject, Failure, FailureKind, FailureSource, RawJson, RawObject, Reply, Retry,
};
use tokio::sync::{Notify, oneshot};

/// How long further questions are waited for after the first: those that a server asks at the same time are asked in one round.
/// They come microseconds apart; a person does not notice this.
const GATHER: Duration = Duration::from_millis(10);

/// The client of one call, as its server sees it.
pub(crate) struct Inbox {
    client: Arc<Client>,
    caller: CallerId,
    inside: Mutex<Inside>,
    arrived: Notify,
}

struct Inside {
    /// The request that waits for the call's end now; `None` while the call is parked.
    present: Option<Arc<dyn Asker>>,
    /// Progress that nobody was there to hear.
    unheard: Option<RawObject>,
    open: Vec<Open>,
    /// Answers that came before their questions.
    early: HashMap<String, RawObject>,
    /// What the client would have had to declare.
    lacking: Option<RawJson>,
    asked: u32,
}

/// A question without an answer.
struct Open {
    key: String,
    question: Question,
    answer: oneshot::Sender<RawObject>,
    /// The client has been told of it.
    is_put: bool,
}

impl Inbox {
    /// An inbox for the call of `client`; `early` holds the answers that came with the first request.
    pub(crate) fn new(client: Arc<Client>, caller: CallerId, early: Answers) -> Arc<Self> {
        let inside = Inside { present: None, unheard: None, open: Vec::new(), early: early.into_iter().collect(), lacking: None, asked: 0 };
        Arc::new(Self { client, caller, inside: Mutex::new(inside), arrived: Notify::new() })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on `asker` hears what the server says on the way.
    pub(crate) fn attach(&self, asker: Arc<dyn Asker>) {
        let unheard = {
            let mut inside = self.inside();
            inside.present = Some(Arc::clone(&asker));
            inside.unheard.take()
        };
        if let Some(progress) = unheard {
            asker.notify("notifications/progress", progress);
        }
    }

    /// Waits until the server has asked something that the client was not told of, perhaps for ever.
    pub(crate) async fn asked(&self) {
        loop {
            while !self.has_new() {
                self.arrived.notified().await;
            }
            tokio::time::sleep(GATHER).await;
            if self.has_new() {
                return; // it may have been withdrawn in the meantime
            }
        }
    }

    fn has_new(&self) -> bool {
        self.inside().open.iter().any(|open| !open.is_put)
    }

    /// All open questions, which are now put to the client; nobody is there from now on.
    pub(crate) fn put(&self) -> Vec<(String, Question)> {
        let mut inside = self.inside();
        inside.present = None;
        let put = |open: &mut Open| {
            open.is_put = true;
            (open.key.clone(), open.question.clone())
        };
        inside.open.iter_mut().map(put).collect()
    }

    /// Gives the server the answers that it waits for. Questions without one, or with one that is none, will be put again; answers to
    /// nothing are ignored.
    pub(crate) fn answer(&self, answers: Answers) {
        let mut answers: HashMap<String, RawObject> = answers.into_iter().collect();
        let mut inside = self.inside();
        for mut open in std::mem::take(&mut inside.open) {
            let fits = |answer: &RawObject| input::fault_of_answer(&open.question.method, answer).is_none();
            match answers.remove(&open.key).filter(fits) {
                // The server may have withdrawn it.
                Some(answer) => drop(open.answer.send(answer)),
                None => {
                    open.is_put = false;
                    inside.open.push(open);
                }
            }
        }
        drop(inside);
        self.arrived.notify_one();
    }

    /// The outcome as the client is to see it: a call that failed after the client could not be asked has failed for that.
    pub(crate) fn judge(&self, outcome: Result<Reply, Failure>) -> Result<Reply, Failure> {
        let Some(required) = self.inside().lacking.take() else { return outcome };
        let failed = match &outcome {
            Ok(reply) => reply.result.get("isError").is_some_and(|is_error| is_error.as_bytes().as_ref() == b"true"),
            Err(failure) => matches!(failure.kind, FailureKind::Upstream(_)),
        };
        if !failed {
            return outcome;
        }
        let text = "the server had to ask the client something that the client does not declare it can be asked";
        Err(Failure::new(FailureKind::MissingCapability(required), FailureSource::Client, Retry::Unknown, text))
    }

    /// Takes a question; gives its answer, or where that will come.
    fn take(&self, method: &str, mut params: RawObject) -> Result<Taken, ErrorObject> {
        let refused = |why: &str| ErrorObject::new(ErrorObject::METHOD_NOT_FOUND, why);
        let mut inside = self.inside();
        if let Some(required) = input::lacking(&self.client, method, &params) {
            inside.lacking = Some(required);
            return Err(refused("the client did not declare the capability that this needs"));
        }
        if inside.open.len() >= MOST_QUESTIONS {
            return Err(ErrorObject::new(ErrorObject::INVALID_REQUEST, "too many questions are open already"));
        }
        let key = match own_key(&mut params) {
            Some(key) if inside.open.iter().all(|open| open.key != key) => key,
            _ => inside.next_key(),
        };
        if let Some(answer) = inside.early.remove(&key).filter(|answer| input::fault_of_answer(method, answer).is_none()) {
            return Ok(Taken::Answered(answer));
        }
        let (answer, answered) = oneshot::channel();
        inside.open.push(Open { key: key.clone(), question: Question { method: method.to_owned(), params }, answer, is_put: false });
        drop(inside);
        self.arrived.notify_one();
        Ok(Taken::Open { key, answered })
    }
}

enum Taken {
    Answered(RawObject),
    Open { key: String, answered: oneshot::Receiver<RawObject> },
}

impl Inside {
    /// A key that no other question of this call had. It stays the same for the same order of questions.
    fn next_key(&mut self) -> String {
        self.asked += 1;
        format!("question-{}", self.asked)
    }
}

/// The key that the server chose for its question; the member that says so is for us alone.
fn own_key(params: &mut RawObject) -> Option<String> {
    let mut meta = params.get_object("_meta").ok().flatten()?;
    let key = meta.remove(INPUT_KEY)?.string_value().map(std::borrow::Cow::into_owned)?;
    if meta.is_empty() {
        params.remove("_meta");
    } else {
        params.set("_meta", meta.to_json());
    }
    let fits = (1..=64).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    fits.then_some(key)
}

impl Asker for Inbox {
    fn notify(&self, method: &str, params: RawObject) {
        let present = {
            let mut inside = self.inside();
            if inside.present.is_none() && method == "notifications/progress" {
                inside.unheard = Some(params);
                return;
            }
            inside.present.clone()
        };
        if let Some(present) = present {
            present.notify(method, params);
        }
    }

    fn ask<'a>(&'a self, method: &'a str, params: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        Box::pin(async move {
            match self.take(method, params)? {
                Taken::Answered(answer) => Ok(answer),
                Taken::Open { key, answered } => {
                    let _withdrawn = Withdrawn { inbox: self, key };
                    answered.await.map_err(|_| ErrorObject::new(ErrorObject::INVALID_REQUEST, "the client did not answer"))
                }
            }
        })
    }

    fn caller(&self) -> Option<&CallerId> {
        Some(&self.caller)
    }
}

/// Takes a question back when it is waited for no longer.
struct Withdrawn<'a> {
    inbox: &'a Inbox,
    key: String,
}

impl Drop for Withdrawn<'_> {
    fn drop(&mut self) {
        self.inbox.inside().open.retain(|open| open.key != self.key);
    }
}
