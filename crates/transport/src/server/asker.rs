//! The way back to a client while its request runs.

use std::sync::Arc;

use bytes::Bytes;
use sallyport_protocol::{Asker, BoxFuture, CallerId, Client, Era, ErrorObject, LogLevel, Message, RawJson, RawObject, Revision, input};

use super::outgoing::Outgoing;
use crate::frame::{Line, LineWriter};
use crate::session::{Session, line, notification, wants_log};

/// Where messages of a request go besides its answer.
#[derive(Clone)]
pub(crate) enum Outlet {
    /// The stream of events that the answer goes to.
    Stream(Arc<Outgoing>),
    /// The one stream that a session has (HTTP+SSE).
    Session(Arc<Session>),
    /// The lines of stdout.
    Lines(LineWriter),
    /// The client takes nothing but the answer.
    Nowhere,
}

impl Outlet {
    /// Sends what may be lost.
    fn offer(&self, message: Bytes) -> bool {
        match self {
            Self::Stream(outgoing) => outgoing.offer(message),
            Self::Session(session) => session.news.offer(message),
            Self::Lines(lines) => lines.try_send(Line::new(message)),
            Self::Nowhere => false,
        }
    }

    /// Sends what must arrive, and says whether it still can.
    async fn deliver(&self, message: Bytes) -> bool {
        match self {
            Self::Stream(outgoing) => outgoing.push(message),
            Self::Session(session) => session.news.push(message),
            Self::Lines(lines) => lines.send(Line::new(message)).await.is_ok(),
            Self::Nowhere => false,
        }
    }
}

/// The way back to one client for one request.
pub(crate) struct WayBack {
    pub(crate) outlet: Outlet,
    pub(crate) client: Arc<Client>,
    /// The session, of a legacy client: it alone can be asked.
    pub(crate) session: Option<Arc<Session>>,
    /// The client's own token; without one it wants no progress.
    pub(crate) progress_token: Option<RawJson>,
    /// The least level of log messages. A modern client without one wants none, a legacy client all.
    pub(crate) level: Option<LogLevel>,
}

impl WayBack {
    fn wants(&self, method: &str, params: &mut RawObject) -> bool {
        let revision = self.client.revision;
        match method {
            "notifications/progress" => {
                let Some(token) = &self.progress_token else { return false };
                params.set("progressToken", token.clone());
                if revision < Revision::V2025_03_26 {
                    params.remove("message"); // came with 2025-03-26
                }
                true
            }
            "notifications/message" if revision.era() == Era::Modern => self.level.is_some() && wants_log(self.level, params),
            "notifications/message" => wants_log(self.level, params),
            _ => match self.session.as_ref().and_then(|session| session.translated(method, params)) {
                Some(translated) => {
                    *params = translated;
                    true
                }
                None => false, // the stream of a modern request carries nothing else
            },
        }
    }

    async fn put(&self, method: &str, params: RawObject) -> Result<RawObject, ErrorObject> {
        let Some(session) = self.session.as_ref().filter(|_| self.client.revision.era() == Era::Legacy) else {
            let text = format!("`{method}` cannot cross to a client of revision {}", self.client.revision);
            return Err(ErrorObject::new(ErrorObject::METHOD_NOT_FOUND, text));
        };
        if input::lacking(&self.client, method, &params).is_some() {
            let text = format!("the client did not declare the capability that `{method}` needs");
            return Err(ErrorObject::new(ErrorObject::METHOD_NOT_FOUND, text));
        }
        session.questions.opens_address(&params);
        let unasked = || ErrorObject::new(ErrorObject::INTERNAL, "the client cannot be asked now");
        let question = session.questions.open().ok_or_else(unasked)?;
        let request = Message::Request { id: question.id(), method: method.to_owned(), params: Some(params) };
        if !self.outlet.deliver(line(&request)).await {
            return Err(unasked());
        }
        question.answered().await.unwrap_or_else(|| Err(unasked()))
    }
}

impl Asker for WayBack {
    fn notify(&self, method: &str, mut params: RawObject) {
        if !matches!(self.outlet, Outlet::Nowhere) && self.wants(method, &mut params) {
            self.outlet.offer(notification(method, &params));
        }
    }

    fn ask<'a>(&'a self, method: &'a str, params: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        Box::pin(self.put(method, params))
    }

    fn caller(&self) -> Option<&CallerId> {
        self.session.as_ref().map(|session| session.caller())
    }
}
