//! Where every message of the server's ends up, whichever way it came: answers go to whoever waits for them, questions to the
//! person, notifications onto the record.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot};

use super::fault::{Answer, Fault};
use super::heard::{Heard, Stream};
use super::person::Person;

/// The client's memory, shared with the tasks that read its streams.
#[derive(Debug)]
pub(super) struct Inbox {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    heard: Mutex<Vec<Heard>>,
    news: Notify,
    person: Person,
}

impl Inbox {
    pub(super) fn new(person: Person) -> Self {
        Self { waiting: Mutex::default(), heard: Mutex::default(), news: Notify::new(), person }
    }

    /// From now on the answer of that id has a taker.
    pub(super) fn expect(&self, id: u64) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiting).insert(id, sender);
        receiver
    }

    /// Takes in a message, or a batch of them. What it gives back is to be sent to the server.
    pub(super) fn take(&self, message: Value, stream: Stream, status: Option<u16>) -> Vec<Value> {
        if let Value::Array(batch) = message {
            return batch.into_iter().flat_map(|message| self.take(message, stream, status)).collect();
        }
        let method = message["method"].as_str().map(str::to_owned);
        match (method, message["id"].as_u64()) {
            (Some(method), _) => self.take_said(&method, &message, stream).into_iter().collect(),
            (None, Some(id)) => {
                let answer = match message.get("error") {
                    Some(error) => Err(Fault::of_error(error, status)),
                    None => Ok(message["result"].clone()),
                };
                self.settle(id, answer);
                Vec::new()
            }
            (None, None) => Vec::new(),
        }
    }

    /// A notification or a question: both go onto the record, and a question gets an answer.
    fn take_said(&self, method: &str, message: &Value, stream: Stream) -> Option<Value> {
        let id = message.get("id");
        let params = message["params"].clone();
        let is_question = id.is_some() && method != "ping";
        let answer = id.map(|id| match (method, self.person.answer(method, &params)) {
            ("ping", _) => json!({ "jsonrpc": "2.0", "id": id, "result": {} }),
            (_, Some(result)) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            (_, None) => json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "nobody is there to answer" } }),
        });
        self.record(Heard { stream, method: method.to_owned(), params, is_question });
        answer
    }

    /// Puts a question of `inputRequests` to the person.
    pub(super) fn ask(&self, id: u64, question: &Value) -> Option<Value> {
        let method = question["method"].as_str().unwrap_or_default().to_owned();
        let params = question["params"].clone();
        let answer = self.person.answer(&method, &params);
        self.record(Heard { stream: Stream::Request(id), method, params, is_question: true });
        answer
    }

    fn record(&self, heard: Heard) {
        lock(&self.heard).push(heard);
        self.news.notify_waiters();
    }

    /// Gives the answer to whoever waits for that id, if anybody still does.
    pub(super) fn settle(&self, id: u64, answer: Answer) {
        let waiting = lock(&self.waiting).remove(&id);
        if let Some(waiting) = waiting {
            let _nobody_waits_any_more = waiting.send(answer);
        }
    }

    /// Ends everything that waits: the connection is gone.
    pub(super) fn close(&self, why: &str) {
        let waiting: Vec<_> = lock(&self.waiting).drain().collect();
        for (_, waiting) in waiting {
            let _nobody_waits_any_more = waiting.send(Err(Fault::Closed(why.to_owned())));
        }
    }

    /// Everything heard from the `from`th on.
    pub(super) fn heard(&self, from: usize) -> Vec<Heard> {
        lock(&self.heard).get(from..).unwrap_or_default().to_vec()
    }

    /// How much was heard.
    pub(super) fn mark(&self) -> usize {
        lock(&self.heard).len()
    }

    /// Waits until something that `wanted` accepts was heard from the `from`th on.
    pub(super) async fn wait(&self, from: usize, wanted: impl Fn(&Heard) -> bool) -> Heard {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // Enlisted before looking, so that nothing slips in between.
            news.as_mut().enable();
            if let Some(found) = self.heard(from).into_iter().find(&wanted) {
                return found;
            }
            news.await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
