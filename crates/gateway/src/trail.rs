//! What one request leaves behind: its audit record and its figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sallyport_policy::{Annotations, Decision, Origin, Pin, Principal, Recorded};
use sallyport_protocol::{Context, Endpoint, Failure, FailureKind, Incoming, Method, Peer, Reply, Request, Revision, input};
use sallyport_telemetry::{
    ArgumentDigest, Asked, Audit, AuditRecord, Durations, Outcome, RecordId, Timestamp, TraceContext, TraceId, UNKNOWN_ADDRESS,
};

use crate::catalogue::resolve::{Call, TargetKind};
use crate::decide::circumstances;
use crate::gateway::{Parts, Server};

/// Bytes of what is recorded of arguments: the tables of a long query fit, and a record stays one line of a few KiB.
const MOST_ATTRIBUTES: usize = 4096;

/// Gathers, step by step, what is written down when a request has been answered.
pub(crate) struct Trail {
    began: Instant,
    /// When the last step ended.
    mark: Instant,
    time: Timestamp,
    method: Method,
    tenant: Option<std::sync::Arc<str>>,
    endpoint: Endpoint,
    peer: Peer,
    client: Option<String>,
    revision: Revision,
    trace_id: Option<TraceId>,
    arguments: Option<ArgumentDigest>,
    /// What they mean, as far as that is written down.
    recorded: Option<Recorded>,
    target: Option<String>,
    /// What the server says that the tool does.
    annotations: Annotations,
    /// Whether the tool's definition is the recorded one; `None` for what is no tool.
    pin: Option<Pin>,
    server: Option<Arc<str>>,
    principal: Option<Principal>,
    /// What the caller sees.
    seen: Option<Arc<Parts>>,
    decision: Option<Decision>,
    approval: Option<String>,
    durations: Durations,
}

impl Trail {
    /// Begins with what is known of the request itself. Arguments are digested, never kept.
    pub(crate) fn begin(request: &Request, incoming: &Incoming, context: &Context) -> Self {
        let now = Instant::now();
        let arguments = request.params.get("arguments").map(|arguments| ArgumentDigest::of(arguments.as_bytes()));
        let trace = request.meta.other.get_str("traceparent");
        Self {
            began: now,
            mark: now,
            time: Timestamp::now(),
            method: request.method,
            tenant: incoming.tenant.clone(),
            endpoint: incoming.endpoint.clone(),
            peer: incoming.peer,
            client: context.client.name(),
            revision: context.client.revision,
            trace_id: trace.and_then(|parent| TraceContext::parse(&parent)).map(|trace| trace.trace_id()),
            arguments,
            recorded: None,
            target: None,
            annotations: Annotations::default(),
            pin: None,
            server: None,
            principal: None,
            seen: None,
            decision: None,
            approval: None,
            durations: Durations::default(),
        }
    }

    fn step(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let took = now.duration_since(self.mark);
        self.mark = now;
        Some(took)
    }

    pub(crate) fn authenticated(&mut self, principal: &Principal) {
        self.durations.authenticate = self.step();
        self.principal = Some(principal.clone());
    }

    /// From here on it is known which versions of the servers the caller gets.
    pub(crate) fn sees(&mut self, parts: &Arc<Parts>) {
        self.seen = Some(parts.clone());
    }

    pub(crate) fn resolved(&mut self, call: &Call) {
        self.durations.resolve = self.step();
        self.server = Some(call.server().clone());
        self.target = Some(call.target.own.clone());
        self.annotations = call.target.annotations;
        self.pin = (call.target.kind == TargetKind::Tool).then_some(call.target.pin);
    }

    /// What the arguments mean, as far as that may be written down.
    pub(crate) fn understood(&mut self, recorded: Option<Recorded>) {
        let bytes = |members: &serde_json::Map<_, _>| serde_json::to_string(members).map_or(MOST_ATTRIBUTES, |text| text.len());
        self.recorded = recorded.filter(|recorded| bytes(&recorded.attributes) + bytes(&recorded.sizes) <= MOST_ATTRIBUTES);
    }

    /// What is written down of that.
    pub(crate) fn attributes(&self) -> Option<serde_json::Value> {
        self.recorded.as_ref().map(|recorded| recorded.attributes.clone().into())
    }

    pub(crate) fn permitted(&mut self, decision: &Decision) {
        self.durations.decide = self.step();
        self.decision = Some(decision.clone());
    }

    pub(crate) fn denied(&mut self, decision: &Decision) {
        self.permitted(decision);
    }

    /// A person is asked about it, or has approved it: the handle.
    pub(crate) fn approval(&mut self, handle: &str) {
        self.approval = Some(handle.to_owned());
    }

    /// From here on the upstream works.
    pub(crate) fn sending(&mut self) {
        self.mark = Instant::now();
    }

    pub(crate) fn answered(&mut self) {
        self.durations.upstream = self.step();
    }

    /// Writes the record and counts the call.
    pub(crate) fn finish(mut self, outcome: &Result<Reply, Failure>, audit: &Audit, parts: &Parts) {
        self.durations.total = Some(self.began.elapsed());
        let (word, failure) = judge(outcome);
        let total = self.durations.total.unwrap_or_default();
        let upstream = self.durations.upstream.unwrap_or_default();
        let metrics = self.target_server().map_or(&parts.unresolved, |server| &server.metrics);
        metrics.call_finished(word, total, upstream);
        if let Err(failure) = outcome {
            let server = self.server.as_deref().unwrap_or_default();
            tracing::debug!(method = self.method.as_str(), server, failure = failure.label(), "{failure}");
        }
        audit.record(&self.record(word, failure, outcome));
    }

    fn target_server(&self) -> Option<&Server> {
        self.seen.as_ref()?.servers.get(self.server.as_ref()?)
    }

    fn record<'a>(&'a self, outcome: Outcome, failure: Option<&'static str>, result: &Result<Reply, Failure>) -> AuditRecord<'a> {
        let recorded = self.recorded.as_ref();
        AuditRecord {
            time: self.time,
            id: RecordId::next(),
            trace_id: self.trace_id,
            principal: self.principal.as_ref().map(|principal| principal.id().into()),
            issuer: self.principal.as_ref().and_then(Principal::issuer).map(Into::into),
            tenant: self.principal.as_ref().map(Principal::tenant).filter(|tenant| !tenant.is_empty()).map(Into::into),
            client: self.client.as_deref().map(Into::into),
            revision: Some(self.revision.as_str().into()),
            endpoint: match (self.peer, self.tenant.as_deref()) {
                (Peer::Stdio, _) => "stdio".into(),
                (_, Some(tenant)) => format!("/t/{tenant}{}", self.endpoint).into(),
                (_, None) => self.endpoint.to_string().into(),
            },
            server: self.server.as_deref().map(Into::into),
            version: self.target_server().and_then(|server| server.version.as_deref()).map(Into::into),
            method: self.method.as_str().into(),
            target: self.target.as_deref().map(Into::into),
            arguments: self.arguments,
            attributes: self.attributes(),
            sizes: recorded.filter(|recorded| !recorded.sizes.is_empty()).map(|recorded| recorded.sizes.clone().into()),
            unrecorded: recorded.and_then(|recorded| recorded.unrecorded),
            asked: self.asked(),
            decision: self.decision.as_ref().map(|decision| decision.effect.as_str().into()),
            rule: self.decision.as_ref().map(|decision| decision.place.as_str().into()),
            approval: self.approval.as_deref().map(Into::into),
            outcome,
            failure: failure.map(Into::into),
            result_bytes: result.as_ref().ok().map(|reply| reply.result.text_len() as u64),
            sent_bytes: None,
            durations: self.durations,
        }
    }

    /// What policy was asked with, where it was asked.
    fn asked(&self) -> Option<Asked<'_>> {
        let (principal, _) = self.principal.as_ref().zip(self.decision.as_ref())?;
        let asked = Asked {
            groups: principal.groups().iter().map(|group| (&**group).into()).collect(),
            scopes: principal.scopes().map(|scopes| scopes.to_string().into()),
            address: match circumstances(self.peer).origin {
                Origin::ThisMachine => None,
                Origin::Address(address) => Some(address.to_string().into()),
                Origin::Unknown => Some(UNKNOWN_ADDRESS.into()),
            },
            read_only: self.annotations.read_only,
            destructive: self.annotations.destructive,
            idempotent: self.annotations.idempotent,
            open_world: self.annotations.open_world,
            pin: self.pin.map(|pin| pin.as_str().into()),
        };
        asked.bounded()
    }
}

fn judge(outcome: &Result<Reply, Failure>) -> (Outcome, Option<&'static str>) {
    match outcome {
        Ok(reply) if reply.result.get("isError").is_some_and(|value| value.as_bytes().as_ref() == b"true") => (Outcome::ToolError, None),
        Ok(reply) if input::is_input_required(&reply.result) => (Outcome::InputRequired, None),
        Ok(_) => (Outcome::Ok, None),
        Err(failure) => match failure.kind {
            FailureKind::Denied | FailureKind::ApprovalNeeded(_) => (Outcome::Denied, Some(failure.label())),
            FailureKind::Cancelled => (Outcome::Cancelled, Some(failure.label())),
            _ => (Outcome::Failed, Some(failure.label())),
        },
    }
}
