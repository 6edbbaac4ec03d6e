//! The way of every request, from whichever door, in the order of this file.

use std::sync::Arc;

use sallyport_policy::{Denied, Principal};
use sallyport_protocol::{Client, Context, Endpoint, Failure, FailureKind, FailureSource, Incoming, Method, Reply, Request, Retry};

use crate::catalogue::resolve::{Call, Target};
use crate::catalogue::view::{Kind, ListRequest};
use crate::catalogue::{extensions, uris};
use crate::gateway::{Inner, Parts, Server};
use crate::subscriptions::Step;
use crate::tasks::{self, Line};
use crate::trail::Trail;
use crate::upstream::Routed;

impl Inner {
    /// Answers one request and writes down what became of it.
    pub(crate) async fn serve(self: Arc<Self>, request: Request, incoming: Incoming, context: Context) -> Result<Reply, Failure> {
        let mut trail = Trail::begin(&request, &incoming, &context);
        let parts = self.parts.load_full();
        let outcome = self.run(&parts, request, &incoming, context, &mut trail).await;
        trail.finish(&outcome, &self.audit, &parts);
        outcome
    }

    /// The pipeline itself: who, what, may it, send, and back.
    async fn run(
        &self,
        parts: &Arc<Parts>,
        request: Request,
        incoming: &Incoming,
        context: Context,
        trail: &mut Trail,
    ) -> Result<Reply, Failure> {
        let principal = parts.authenticate(incoming)?;
        trail.authenticated(&principal);
        if let Some(kind) = Kind::listed_by(request.method) {
            return self.list(parts, kind, &request, &principal, &incoming.endpoint, &context).await;
        }
        if tasks::concern(request.method) {
            return self.serve_task(parts, request, &principal, &incoming.endpoint, context, trail).await;
        }
        if extensions::concern(request.method) {
            parts.wait_for_listings(&incoming.endpoint).await; // until then it is not known who has the method
        }
        if request.method == Method::SkillsList {
            return self.list_skills(parts, request, &principal, &incoming.endpoint, &context).await;
        }
        let call = parts.catalogue.load().resolve(request, &incoming.endpoint)?;
        trail.resolved(&call);
        let Call { mut routed, action, target, expose } = call;
        let wish = tasks::prepare(&mut routed.request, &context.client, target.tasks);
        let Server { upstream, metrics, .. } = parts.server(&routed.server)?;
        let method = routed.request.method;
        let permitted = parts
            .policy
            .decide(&principal, action, &target.resource(upstream.name()), routed)
            .map_err(|denied| refused(trail, &denied, &target))?;
        trail.permitted(permitted.decision());
        if let Some(answered) = self.count_subscription(method, upstream.name(), &target.own)? {
            return Ok(answered);
        }
        trail.sending();
        let _in_flight = metrics.call_started();
        let client = context.client.clone();
        let line = Line { parts: parts.clone(), upstream: upstream.clone(), principal, action, target, wish };
        let reply = self.questions.exchange(&line, permitted, context).await;
        trail.answered();
        exposed(self.settle(method, &line, &client, reply), method, expose.as_deref())
    }

    /// A page of one of the four lists, of what this caller may see.
    async fn list(
        &self,
        parts: &Parts,
        kind: Kind,
        request: &Request,
        principal: &Principal,
        endpoint: &Endpoint,
        context: &Context,
    ) -> Result<Reply, Failure> {
        parts.wait_for_listings(endpoint).await;
        let catalogue = parts.catalogue.load();
        let cursor = request.params.get_str("cursor");
        catalogue.view(endpoint)?.lane(kind).list(
            kind,
            &ListRequest {
                principal,
                policy: &parts.policy,
                identity: &parts.identity_of_gateway,
                revision: context.client.revision,
                shows_apps: extensions::shows_apps(&context.client),
                cursor: cursor.as_deref(),
                generation: catalogue.generation(),
            },
        )
    }

    /// Answers a subscription that its server need not hear of.
    fn count_subscription(&self, method: Method, server: &Arc<str>, uri: &str) -> Result<Option<Reply>, Failure> {
        if !matches!(method, Method::ResourcesSubscribe | Method::ResourcesUnsubscribe) {
            return Ok(None);
        }
        match self.subscriptions.count(method, server, uri) {
            Step::Tell => Ok(None),
            Step::Counted => {
                Ok(Some(Reply { result: sallyport_protocol::RawObject::new(), revision: sallyport_protocol::Revision::LATEST_LEGACY }))
            }
            Step::Full => Err(Failure::new(
                FailureKind::Overloaded,
                FailureSource::Gateway,
                Retry::Safe,
                "there are too many subscriptions to resources",
            )),
        }
    }

    /// What must be remembered of an answer.
    fn settle(&self, method: Method, line: &Line, client: &Client, reply: Result<Reply, Failure>) -> Result<Reply, Failure> {
        if reply.is_err() && method == Method::ResourcesSubscribe {
            self.subscriptions.undo(line.upstream.name(), &line.target.own);
        }
        self.tasks.hand_out(line, client, reply?)
    }
}

/// The answer under the names of the endpoint it goes to.
fn exposed(mut outcome: Result<Reply, Failure>, method: Method, label: Option<&str>) -> Result<Reply, Failure> {
    match (&mut outcome, label) {
        (Ok(reply), Some(label)) => uris::expose_in_reply(&mut reply.result, method, label),
        (Err(Failure { kind: FailureKind::Upstream(error), .. }), Some(label)) => uris::expose_in_error(error, label),
        _ => {}
    }
    outcome
}

fn refused(trail: &mut Trail, denied: &Denied<Routed>, target: &Target) -> Failure {
    trail.denied(&denied.decision);
    let (what, server) = (denied.value.request.method.as_str(), &denied.value.server);
    Failure::new(
        FailureKind::Denied,
        FailureSource::Gateway,
        Retry::Never,
        format!("`{what}` of {:?} at server `{server}` is {}", target.own, denied.decision),
    )
    .with_hint(denied.decision.hint())
}
