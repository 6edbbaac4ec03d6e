//! What all front doors share: the front behind them, the sessions, what runs.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::StatusCode;
use sallyport_protocol::revisions::reply_for;
use sallyport_protocol::{
    Answer, Asker, BoxFuture, CallerId, Cancel, Client, Context, Era, ErrorObject, Failure, FailureKind, Front, Incoming, Message, Method,
    RawJson, RawObject, Reply, Request, RequestId, Revision, ServerIdentity,
};
use tokio::sync::{Notify, oneshot};

use super::answered::Answered;
use super::body::{ResponseBody, Source};
use super::parts::Parts;
use super::standing::{Standing, Standings};
use super::subscription::Subscription;
use crate::session::{Session, Sessions};

/// What all front doors share.
pub(crate) struct Door {
    pub(crate) front: Arc<dyn Front>,
    /// Who we say we are.
    pub(crate) identity: ServerIdentity,
    pub(crate) sessions: Sessions,
    /// Streams of `subscriptions/listen` that are open.
    listening: Mutex<Vec<Weak<Subscription>>>,
    /// By whose right streams are open.
    pub(crate) standings: Arc<Standings>,
    tasks: Arc<Tasks>,
}

/// Counts what runs apart from any connection.
#[derive(Default)]
struct Tasks {
    running: AtomicUsize,
    ended: Notify,
}

impl Door {
    pub(crate) fn new(front: Arc<dyn Front>, identity: ServerIdentity, sessions: Sessions) -> Arc<Self> {
        Arc::new(Self { front, identity, sessions, listening: Mutex::default(), standings: Arc::default(), tasks: Arc::default() })
    }

    /// Writes the answer to request `id` as a client of `revision` must see it.
    pub(crate) fn answer(&self, id: &RequestId, method: Method, revision: Revision, outcome: Result<Reply, Failure>) -> Answered {
        let written = outcome.and_then(|reply| match method {
            Method::Discover | Method::Initialize => Ok(reply.result), // written here, for this client
            _ => reply_for(reply, method, revision, &self.identity),
        });
        match written {
            Ok(result) => self.result(id, &result),
            Err(failure) => self.refuse(&failure, Some(method), revision.era(), Some(id)),
        }
    }

    /// Writes a result.
    pub(crate) fn result(&self, id: &RequestId, result: &RawObject) -> Answered {
        Answered::new(StatusCode::OK, Parts::of_result(id, result))
    }

    /// Writes a failure.
    pub(crate) fn refuse(&self, failure: &Failure, method: Option<Method>, era: Era, id: Option<&RequestId>) -> Answered {
        let cancelled = matches!(failure.kind, FailureKind::Cancelled);
        match (self.front.answer(failure, method, era), id) {
            (Answer::Result(result), Some(id)) => {
                let revision = if era == Era::Modern { Revision::LATEST } else { Revision::LATEST_LEGACY };
                let reply = Reply { result: result.clone(), revision: Revision::LATEST_LEGACY };
                let result = reply_for(reply, method.unwrap_or(Method::ToolsCall), revision, &self.identity).unwrap_or(result);
                Answered { cancelled, ..self.result(id, &result) }
            }
            (Answer::Result(_), None) => {
                error_answer(StatusCode::BAD_REQUEST, ErrorObject::new(ErrorObject::INVALID_REQUEST, failure.public.clone()), None)
            }
            (Answer::Error { status, error }, id) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Answered { cancelled, challenge: failure.challenge.clone(), ..error_answer(status, error, id) }
            }
        }
    }

    /// Runs a future apart from any connection. A drain waits for it.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return }; // the runtime has gone, and we with it
        let running = Running::new(&self.tasks);
        runtime.spawn(async move {
            future.await;
            drop(running);
        });
    }

    /// Runs a future to its end also when nobody waits for it any more; `None` where it could not be run.
    pub(crate) async fn complete<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (sender, done) = oneshot::channel();
        self.spawn(async move {
            // Dropped unread, the outcome undoes what it holds.
            let _ = sender.send(future.await);
        });
        done.await.ok()
    }

    /// Waits until nothing runs that was [spawned](Self::spawn).
    pub(crate) async fn idle(&self) {
        loop {
            let ended = self.tasks.ended.notified();
            if self.tasks.running.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// A stream that is open for as long as who opened it may come in.
    pub(crate) fn hold_open(&self, source: Source, incoming: &Incoming, caller: &CallerId) -> ResponseBody {
        let standing = Standing::of(incoming, caller);
        self.standings.add(&standing);
        ResponseBody::open(source, standing)
    }

    /// Lists a stream of `subscriptions/listen`, so that a drain closes it.
    pub(crate) fn listens(&self, subscription: &Arc<Subscription>) {
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        listening.retain(|known| known.strong_count() > 0);
        listening.push(Arc::downgrade(subscription));
    }

    /// Closes all streams that would not end by themselves.
    pub(crate) fn end_streams(&self) {
        self.sessions.end_streams();
        let listening = std::mem::take(&mut *self.listening.lock().unwrap_or_else(PoisonError::into_inner));
        listening.iter().filter_map(Weak::upgrade).for_each(|subscription| subscription.end());
    }

    /// Ends what a session that is gone had asked the front to do and to keep up for it: nobody can be told of it any more.
    pub(crate) fn forget(self: &Arc<Self>, session: &Session) {
        session.cancel_all();
        let subscriptions = session.take_subscriptions();
        if let Some(client) = session.client().filter(|_| !subscriptions.is_empty()) {
            self.unsubscribe(client, subscriptions);
        }
    }

    /// Tells the front that a client wants no news of these resources any more, each as who subscribed.
    pub(crate) fn unsubscribe(&self, client: Arc<Client>, subscriptions: Vec<(Incoming, String)>) {
        let front = Arc::clone(&self.front);
        self.spawn(async move {
            for (incoming, uri) in subscriptions {
                let mut params = RawObject::new();
                params.set("uri", RawJson::string(&uri));
                let context = Context { client: Arc::clone(&client), asker: Arc::new(Nobody), cancel: Cancel::new(), credential: None };
                let request = Request::new(Method::ResourcesUnsubscribe, params);
                if let Err(failure) = front.serve(request, incoming, context).await {
                    tracing::debug!(%failure, "a subscription could not be ended");
                }
            }
        });
    }
}

fn error_answer(status: StatusCode, error: ErrorObject, id: Option<&RequestId>) -> Answered {
    let mut text = Vec::with_capacity(128);
    Message::Error { id: id.cloned(), error }.write_to(&mut text);
    Answered { is_error: true, ..Answered::new(status, Parts::from(text)) }
}

struct Running(Arc<Tasks>);

impl Running {
    fn new(tasks: &Arc<Tasks>) -> Self {
        tasks.running.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(tasks))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}

/// The way back to a client that has left.
struct Nobody;

impl Asker for Nobody {
    fn notify(&self, _: &str, _: RawObject) {}

    fn ask<'a>(&'a self, _: &'a str, _: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        Box::pin(std::future::ready(Err(ErrorObject::new(ErrorObject::INVALID_REQUEST, "the client has left"))))
    }
}
