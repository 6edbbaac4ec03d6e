//! The way of one request's calls to their server.

use std::sync::Arc;

use sallyport_policy::{Action, Approval, Arguments, Decision, Denied, Permitted, Principal};
use sallyport_protocol::{
    CallerId, Context, Era, Failure, FailureKind, FailureSource, Meta, Method, Peer, RawJson, RawObject, Reply, Request, Retry,
};

use super::wish::{Takes, Wish};
use super::{drive, form};
use crate::catalogue::resolve::Target;
use crate::decide::circumstances;
use crate::gateway::Parts;
use crate::limits::Counted;
use crate::upstream::{Routed, Upstream};

/// The way of one request, and of those that it brings about, to their server: on whose behalf, and for the use of what.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) parts: Arc<Parts>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) principal: Principal,
    pub(crate) action: Action,
    pub(crate) target: Target,
    pub(crate) wish: Wish,
    /// From where the request came.
    pub(crate) peer: Peer,
    /// What limits count of the call, for as long as somebody holds this line.
    pub(crate) counted: Option<Arc<Counted>>,
    /// What a person has approved of it.
    pub(crate) approval: Option<Approval>,
}

impl Line {
    /// Who calls, as doors and questions know them.
    pub(crate) fn caller(&self) -> CallerId {
        CallerId(self.principal.full_id())
    }

    /// Asks policy about a further request of the same use: it may be another policy by now.
    ///
    /// # Errors
    /// `Denied`.
    pub(crate) async fn permit(&self, request: Request) -> Result<Permitted<Routed>, Failure> {
        // A call that goes on is decided by its arguments, as it was when it began; what is asked about its task has none.
        let given = if request.method == Method::ToolsCall { self.target.arguments(&request) } else { None };
        let given = given.as_ref().map_or(Arguments::Unknown, |given| Arguments::Given(given.as_str()));
        let routed = Routed { server: self.upstream.name().clone(), request };
        self.decide(given, routed).await.map_err(|denied| self.refused(&denied))
    }

    async fn decide<T>(&self, given: Arguments<'_>, value: T) -> Result<Permitted<T>, Denied<T>> {
        let resource = self.target.resource(self.upstream.name()).with(given);
        // What is asked about a call that was let through is nothing to approve again.
        let approval = if given == Arguments::Unknown { Some(Approval::Begun) } else { self.approval };
        self.parts.policy.decide_approved(&self.principal, self.action, &resource, circumstances(self.peer), approval, value).await
    }

    fn refused<T>(&self, denied: &Denied<T>) -> Failure {
        let text = format!("the use of {:?} at server `{}` is {} by now", self.target.own, self.upstream.name(), denied.decision);
        Failure::new(FailureKind::Denied, FailureSource::Gateway, Retry::Never, text).with_hint(denied.decision.hint())
    }

    /// Whether policy lets the use go on; `note` hears what it decided.
    ///
    /// # Errors
    /// `Denied`.
    pub(crate) async fn may(&self, note: impl FnOnce(&Decision)) -> Result<(), Failure> {
        match self.decide(Arguments::Unknown, ()).await {
            Ok(permitted) => note(permitted.decision()),
            Err(denied) => {
                note(&denied.decision);
                return Err(self.refused(&denied));
            }
        }
        Ok(())
    }

    /// Sends a call. A task that the server makes of it is seen to its end where the client takes the result alone; otherwise the
    /// answer is the task as the server describes it.
    ///
    /// # Errors
    /// As [`Upstream::send`], and what the task failed with.
    pub(crate) async fn send(&self, call: Permitted<Routed>, context: Context) -> Result<Reply, Failure> {
        if !self.hides_tasks(call.value().request.method, &context) {
            return self.upstream.send(call, context).await;
        }
        let (kept, meta) = (context.clone(), call.value().request.meta.other.clone());
        let reply = self.upstream.send(call, context).await?;
        match form::made(&reply, self.wish.as_task) {
            None => Ok(reply),
            Some(task) => Box::pin(drive::hidden(self, &task, reply.revision, &kept, meta)).await,
        }
    }

    /// Whether the answer may be a task that the client must not see.
    fn hides_tasks(&self, method: Method, context: &Context) -> bool {
        let from_modern = || context.client.revision.era() == Era::Legacy && self.upstream.era() == Some(Era::Modern);
        method == Method::ToolsCall && self.wish.takes == Takes::Result && (self.wish.as_task || from_modern())
    }

    /// Sends a request about a task; `meta` holds what goes with it from the client: trace context, vendors' keys.
    ///
    /// # Errors
    /// As [`Upstream::send`], and `Denied`.
    pub(crate) async fn ask(&self, method: Method, params: RawObject, meta: RawObject, context: Context) -> Result<Reply, Failure> {
        let request = Request { method, params, meta: Meta { other: meta, ..Meta::default() } };
        self.upstream.send(self.permit(request).await?, context).await
    }
}

/// The parameters of a request about a task.
pub(crate) fn naming(task: &str) -> RawObject {
    let mut params = RawObject::new();
    params.set("taskId", RawJson::string(task));
    params
}
