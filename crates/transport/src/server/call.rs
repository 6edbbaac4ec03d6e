//! A request on its way through the front.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use sallyport_protocol::{BoxFuture, Cancel, Failure, FailureKind, Method, Reply, RequestId, Revision};

use super::answered::Answered;
use super::door::Door;
use crate::session::{MOST_RUNNING, Session};

/// What it means when the one who waits for a call is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The client wants the answer no longer (2026-07-28 over HTTP).
    Cancels,
    /// Nothing: the connection broke (all revisions before).
    MeansNothing,
}

/// A request on its way through the front. It is polled where its answer is awaited, without a task of its own.
///
/// Dropped before its end it goes on by itself: what was begun is also recorded.
pub(crate) struct Call {
    pub(crate) door: Arc<Door>,
    pub(crate) id: RequestId,
    pub(crate) method: Method,
    pub(crate) revision: Revision,
    pub(crate) cancel: Cancel,
    pub(crate) loss: Loss,
    /// The session that lists the call as running.
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) future: Option<BoxFuture<'static, Result<Reply, Failure>>>,
}

impl Future for Call {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        let outcome = match &mut self.future {
            Some(future) => ready!(future.as_mut().poll(cx)),
            None => Err(Failure::internal("the answer was taken already")),
        };
        self.future = None;
        if let Some(session) = self.session.take() {
            session.finish(&self.id);
            if let Err(failure) = &outcome {
                session.questions.opens_addresses_of(failure);
            }
        }
        let mut answered = self.door.answer(&self.id, self.method, self.revision, outcome);
        answered.cancelled |= self.cancel.is_cancelled();
        Poll::Ready(answered)
    }
}

impl Call {
    /// Lists the call in a session, so that it can be cancelled by its id.
    ///
    /// # Errors
    /// Where too many run in the session; the call is then not begun.
    pub(crate) fn list_in(&mut self, session: &Arc<Session>) -> Result<(), Failure> {
        if session.start(&self.id, &self.cancel) {
            self.session = Some(Arc::clone(session));
            return Ok(());
        }
        self.future = None;
        Err(Failure::client(FailureKind::Overloaded, format!("{MOST_RUNNING} requests of this client are running already")))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some(future) = self.future.take() else { return };
        if self.loss == Loss::Cancels {
            self.cancel.cancel();
        }
        let (session, id) = (self.session.take(), self.id.clone());
        self.door.spawn(async move {
            // Nobody is left to take the answer; the front has recorded it.
            let _ = future.await;
            if let Some(session) = session {
                session.finish(&id);
            }
        });
    }
}
