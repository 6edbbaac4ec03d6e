//! The way of every request, from whichever door, in the order of this file.

use std::ops::ControlFlow;
use std::sync::Arc;

use sallyport_policy::{Arguments, Denied, Effect, Principal, Reason};
use sallyport_protocol::{Context, Failure, FailureKind, FailureSource, Incoming, Method, RawObject, Reply, Request, Retry, Revision};

use crate::approvals::{Brought, Held, Passage, bare};
use crate::catalogue::resolve::{Call, Target};
use crate::catalogue::view::{Kind, ListRequest};
use crate::catalogue::{extensions, uris};
use crate::decide::circumstances;
use crate::gateway::{Inner, Parts, Server};
use crate::limits::weight;
use crate::subscriptions::{Key, Step, Turn};
use crate::tasks::{self, Line};
use crate::trail::Trail;
use crate::upstream::Routed;

impl Inner {
    /// Answers one request and writes down what became of it.
    pub(crate) async fn serve(self: Arc<Self>, request: Request, incoming: Incoming, context: Context) -> Result<Reply, Failure> {
        let context = Context { credential: incoming.credential.clone(), ..context };
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
        let principal = parts.authenticate(incoming, request.method).await?;
        trail.authenticated(&principal);
        // A subscription is ended as who made it, whose token may be an old one by now.
        let shown = incoming.credential.as_ref().filter(|_| request.method != Method::ResourcesUnsubscribe);
        let parts = &self.seen_by(parts, &principal, shown).await;
        trail.sees(parts);
        if let Some(kind) = Kind::listed_by(request.method) {
            return self.list(parts, kind, &request, &principal, incoming, &context).await;
        }
        if tasks::concern(request.method) {
            return self.serve_task(parts, request, &principal, incoming, context, trail).await;
        }
        if request.method == Method::SkillsList {
            parts.wait_for_listings(&incoming.endpoint).await; // until then it is not known who has skills
            return self.list_skills(parts, request, &principal, incoming, &context).await;
        }
        if extensions::concern(request.method) {
            parts.wait_for_extensions(&request, &incoming.endpoint).await; // until then it is not known whether its server has the method
        }
        self.wait_for_target(parts, &principal, &request, &incoming.endpoint, &context.cancel).await?;
        let call = parts.catalogue.load().resolve(request, &incoming.endpoint)?;
        trail.resolved(&call);
        let Call { mut routed, action, target, expose } = call;
        let brought = Brought::take(&mut routed.request);
        let wish = tasks::prepare(&mut routed.request, &context.client, target.tasks);
        let Server { upstream, metrics, .. } = parts.server(&routed.server)?;
        let credential = context.credential.filter(|_| upstream.plan().goes_by_callers_token());
        let context = Context { credential, ..context };
        let method = routed.request.method;
        let given = target.arguments(&routed.request);
        let resource =
            target.resource(upstream.name()).with(given.as_ref().map_or(Arguments::Unknown, |given| Arguments::Given(given.as_str())));
        let recorded = match &given {
            Some(given) => parts.policy.recorded(principal.tenant(), upstream.name(), &target.own, given.as_str()).await,
            None => None,
        };
        trail.understood(recorded);
        let attributes = trail.attributes();
        let permitted = match parts.policy.give_up(routed) {
            Ok(permitted) => Ok(permitted),
            Err(routed) => parts.policy.decide(&principal, action, &resource, circumstances(incoming.peer), routed).await,
        };
        let (permitted, pass) = match permitted {
            Ok(permitted) => (permitted, None),
            Err(denied) if denied.decision.effect == Effect::Ask => {
                trail.denied(&denied.decision);
                let held = Held {
                    parts,
                    in_force: &self.parts,
                    principal: &principal,
                    action,
                    resource,
                    attributes,
                    context: &context,
                    peer: incoming.peer,
                };
                match Box::pin(self.approvals.pass(&held, denied, &brought)).await? {
                    Passage::Through(permitted, pass) => (permitted, Some(pass)),
                    Passage::Waits(told, handle) => {
                        trail.approval(&handle);
                        return told;
                    }
                }
            }
            Err(denied) => return Err(refused(parts, incoming, trail, &denied, &target)),
        };
        trail.permitted(permitted.decision());
        pass.iter().for_each(|pass| trail.approval(&pass.handle));
        // Who brings the answer that a call waits for goes on with that call, and makes no other.
        let counted = match (method, self.questions.continued(&principal, &permitted.value().request, upstream.name(), &context)) {
            (Method::ToolsCall, None) => parts.limits.hold(&principal, upstream.name(), &target, metrics),
            (_, continued) => Ok(continued),
        };
        let counted = match (counted, &pass) {
            (Err(failure), Some(pass)) => {
                let beyond = Err(failure);
                self.approvals.settle(pass, &beyond).await;
                return beyond;
            }
            (counted, _) => counted?,
        };
        let sent = given.as_ref().map_or(0, |given| given.as_bytes().len());
        let by = context.credential.as_ref().map(|token| token.digest());
        let subscription = (parts.subscribed_at(upstream.name()), target.own.clone(), by);
        let turn = match self.turn_to_subscribe(method, &principal, subscription).await? {
            ControlFlow::Break(answered) => return Ok(answered),
            ControlFlow::Continue(turn) => turn,
        };
        trail.sending();
        let _in_flight = metrics.call_started();
        let client = context.client.clone();
        let context = if pass.is_some() { bare::context(context) } else { context };
        let line = Line {
            parts: parts.clone(),
            upstream: upstream.clone(),
            principal,
            action,
            target,
            wish,
            peer: incoming.peer,
            counted,
            approval: pass.as_ref().map(|pass| pass.approved),
        };
        let reply = self.questions.exchange(&line, permitted, context).await;
        trail.answered();
        if let Some(pass) = &pass {
            self.approvals.settle(pass, &reply).await;
        }
        if reply.is_ok() || method == Method::ResourcesUnsubscribe {
            turn.into_iter().for_each(|turn| {
                turn.told();
                self.follow(method, &line);
            });
        }
        let reply = reply.and_then(|reply| self.tasks.hand_out(&line, &client, reply));
        if let Some(counted) = &line.counted {
            // A call that failed has only been sent.
            counted.bill().charge(|| sent + reply.as_ref().map_or(0, |reply| weight(&reply.result)));
        }
        exposed(reply, method, expose.as_deref())
    }

    /// A page of one of the four lists, of what this caller may see.
    async fn list(
        &self,
        parts: &Parts,
        kind: Kind,
        request: &Request,
        principal: &Principal,
        incoming: &Incoming,
        context: &Context,
    ) -> Result<Reply, Failure> {
        parts.wait_for_listings(&incoming.endpoint).await;
        let catalogue = parts.catalogue.load_full();
        let cursor = request.params.get_str("cursor");
        let lane = catalogue.view(&incoming.endpoint)?.lane(kind);
        lane.list(
            kind,
            &ListRequest {
                principal,
                circumstances: circumstances(incoming.peer),
                policy: &parts.policy,
                identity: &parts.identity_of_gateway,
                revision: context.client.revision,
                shows_apps: extensions::shows_apps(&context.client),
                cursor: cursor.as_deref(),
                generation: catalogue.generation(),
            },
        )
        .await
    }

    /// The right to tell a server of a subscription, for the two requests that need it; or the answer, where it need not hear of it.
    async fn turn_to_subscribe(
        &self,
        method: Method,
        principal: &Principal,
        subscription: Key,
    ) -> Result<ControlFlow<Reply, Option<Turn<'_>>>, Failure> {
        if !matches!(method, Method::ResourcesSubscribe | Method::ResourcesUnsubscribe) {
            return Ok(ControlFlow::Continue(None));
        }
        match self.subscriptions.count(method, principal, subscription).await {
            Step::Tell(turn) => Ok(ControlFlow::Continue(Some(turn))),
            Step::Counted => Ok(ControlFlow::Break(Reply { result: RawObject::new(), revision: Revision::LATEST_LEGACY })),
            Step::Full => {
                let text = "there are too many subscriptions to resources";
                Err(Failure::new(FailureKind::Overloaded, FailureSource::Gateway, Retry::Safe, text))
            }
        }
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

fn refused(parts: &Parts, incoming: &Incoming, trail: &mut Trail, denied: &Denied<Routed>, target: &Target) -> Failure {
    trail.denied(&denied.decision);
    if let Some(told) = target.refused_as().or_else(|| not_decided(parts, denied)) {
        return told;
    }
    let (what, server) = (denied.value.request.method.as_str(), &denied.value.server);
    if let (Reason::Scope, Some(scope)) = (denied.decision.reason, &denied.decision.detail) {
        let told = format!("`{what}` of {:?} at server `{server}` needs a token with the scope `{scope}`", target.own);
        return parts.ask_for_scope(incoming.tenant.as_deref(), &incoming.endpoint, told, scope);
    }
    Failure::new(
        FailureKind::Denied,
        FailureSource::Gateway,
        Retry::Never,
        format!("`{what}` of {:?} at server `{server}` is {}", target.own, denied.decision),
    )
    .with_hint(denied.decision.hint())
}

/// Where nothing could be decided since the server has not told what it offers, that is what is told: it says nothing of the caller.
fn not_decided(parts: &Parts, denied: &Denied<Routed>) -> Option<Failure> {
    if denied.decision.reason != Reason::EngineFailed || !parts.policy.decides_by_tools() {
        return None;
    }
    let upstream = &parts.server(&denied.value.server).ok()?.upstream;
    (!upstream.listing().freshness.is_shown()).then(|| upstream.not_listed(denied.value.request.method))
}
