//! Requests that the gateway makes for itself: lists, signs of life.

use std::sync::Arc;
use std::time::Duration;

use sallyport_protocol::{
    Asker, BoxFuture, CallerToken, Cancel, Client, Context, ErrorObject, Failure, FailureKind, McpServer, RawObject, Reply, Request, Retry,
    Revision, ServerIdentity,
};

use crate::catalogue::extensions;

/// How long a server that was told to stop working on a request may take to let go of it.
pub(crate) const LEAVE: Duration = Duration::from_millis(250);

/// Who the gateway is when it asks on its own account.
#[derive(Clone)]
pub(crate) struct Own {
    server: Arc<str>,
    client: Arc<Client>,
}

impl Own {
    /// The gateway as a client of `server`.
    pub(crate) fn new(server: &Arc<str>, identity: &ServerIdentity) -> Self {
        let mut capabilities = RawObject::new();
        capabilities.set("extensions", extensions::OWN);
        let client = Client { revision: Revision::LATEST, capabilities, info: Some(identity.info.clone()) };
        Self { server: server.clone(), client: Arc::new(client) }
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    fn context(&self) -> Context {
        Context { client: self.client.clone(), asker: Arc::new(Nobody), cancel: Cancel::new(), credential: None }
    }
}

/// Asks `server` and waits at most `limit` for the answer.
///
/// # Errors
/// The server's own failures, and `TimedOut`.
pub(crate) async fn ask(server: &dyn McpServer, own: &Own, request: Request, limit: Duration) -> Result<Reply, Failure> {
    ask_for(server, own, request, None, limit).await
}

/// The same for who once asked for it, with what was shown then.
pub(crate) async fn ask_for(
    server: &dyn McpServer,
    own: &Own,
    request: Request,
    credential: Option<Arc<CallerToken>>,
    limit: Duration,
) -> Result<Reply, Failure> {
    let method = request.method;
    let context = Context { credential, ..own.context() };
    let cancel = context.cancel.clone();
    let mut work = server.handle(request, context);
    if let Ok(outcome) = tokio::time::timeout(limit, &mut work).await {
        return outcome;
    }
    cancel.cancel();
    let _ = tokio::time::timeout(LEAVE, work).await;
    let text = format!("server `{}`: {}: no answer within {limit:?}", own.server, method.as_str());
    Err(Failure::upstream(&own.server, FailureKind::TimedOut(limit), Retry::Safe, text))
}

/// Whom a server meets that asks back during a request of the gateway's own.
pub(crate) struct Nobody;

impl Asker for Nobody {
    fn notify(&self, _: &str, _: RawObject) {}

    fn ask<'a>(&'a self, _: &'a str, _: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        Box::pin(async {
            Err(ErrorObject::new(ErrorObject::METHOD_NOT_FOUND, "nobody is here to answer: the gateway asks on its own account"))
        })
    }
}
