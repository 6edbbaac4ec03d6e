//! Questions that a server put to a client, until they are answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sallyport_protocol::{ErrorObject, Failure, FailureKind, RawObject, RequestId};
use tokio::sync::oneshot;

/// Questions that may be open at once in one session: a person answers them one by one.
const MOST_OPEN: usize = 32;

/// Addresses that a client was asked to open and that are remembered; one beyond pushes out the oldest. Its completion is then
/// not told, which the client learns by asking again.
const MOST_ADDRESSES: usize = 32;

/// A client's answer to a question.
pub(crate) type Answered = Result<RawObject, ErrorObject>;

/// The open questions of one session.
#[derive(Default)]
pub(crate) struct Questions {
    next: AtomicU64,
    open: Mutex<Vec<(u64, oneshot::Sender<Answered>)>>,
    /// The `elicitationId`s of the addresses that the client was asked to open (2025-11-25).
    addresses: Mutex<Vec<Box<str>>>,
}

/// A question that waits for its answer. Dropping it withdraws the question.
pub(crate) struct Question<'a> {
    questions: &'a Questions,
    number: u64,
    answer: oneshot::Receiver<Answered>,
}

impl Questions {
    /// Opens a question; `None` where too many are open.
    pub(crate) fn open(&self) -> Option<Question<'_>> {
        let (sender, answer) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut open = self.lock();
        if open.len() >= MOST_OPEN {
            return None;
        }
        open.push((number, sender));
        Some(Question { questions: self, number, answer })
    }

    /// Takes a client's answer; one to no open question is ignored.
    pub(crate) fn answer(&self, id: &RequestId, answered: Answered) {
        let Some(number) = id.as_u64() else { return };
        if let Some(sender) = self.take(number) {
            // The one who asked may have left in between.
            let _ = sender.send(answered);
        }
    }

    /// Notes that the client was asked to open an address: it may be told when that is done.
    pub(crate) fn opens_address(&self, params: &RawObject) {
        let Some(id) = params.get_str("elicitationId") else { return };
        let mut addresses = super::lock(&self.addresses);
        if addresses.len() >= MOST_ADDRESSES {
            addresses.remove(0);
        }
        addresses.push(id.into());
    }

    /// Notes the addresses that a failure (-32042) asks the client to open.
    pub(crate) fn opens_addresses_of(&self, failure: &Failure) {
        let FailureKind::Upstream(error) = &failure.kind else { return };
        if error.code != ErrorObject::URL_ELICITATION_REQUIRED {
            return;
        }
        let list = error.data.as_ref().and_then(|data| data.object().ok()?.get("elicitations")?.array().ok());
        let elicitations = list.iter().flatten().filter_map(|elicitation| elicitation.object().ok());
        elicitations.take(MOST_ADDRESSES).for_each(|elicitation| self.opens_address(&elicitation));
    }

    /// Whether a notification that an address was dealt with is for this client; it is told once.
    pub(crate) fn address_done(&self, params: &RawObject) -> bool {
        let Some(id) = params.get_str("elicitationId") else { return false };
        let mut addresses = super::lock(&self.addresses);
        let Some(at) = addresses.iter().position(|known| **known == *id) else { return false };
        addresses.remove(at);
        if addresses.is_empty() {
            *addresses = Vec::new();
        }
        true
    }

    fn take(&self, number: u64) -> Option<oneshot::Sender<Answered>> {
        let mut open = self.lock();
        let at = open.iter().position(|(known, _)| *known == number)?;
        let (_, sender) = open.swap_remove(at);
        if open.is_empty() {
            *open = Vec::new();
        }
        Some(sender)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, oneshot::Sender<Answered>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Question<'_> {
    /// The id that the question's JSON-RPC request has.
    pub(crate) fn id(&self) -> RequestId {
        RequestId::number(self.number)
    }

    /// Waits for the answer, perhaps for ever; `None` if it can no longer come.
    pub(crate) async fn answered(mut self) -> Option<Answered> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.questions.take(self.number);
    }
}
