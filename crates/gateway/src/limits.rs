//! Limits on calls, with a clock: the step of the pipeline after the decision.

use std::time::Instant;

use sallyport_policy::{Exceeded, Held, InvalidPolicy, LimitKind, LimitRule, Limits, Metered, Principal};
use sallyport_protocol::{Failure, FailureKind, FailureSource, Limited, RawObject, Retry};
use sallyport_telemetry::metric::{ReachedLimit, ServerMetrics};

use crate::catalogue::resolve::Target;
use crate::failure::whole_seconds;

/// The limits in force, and since when time is counted.
#[derive(Debug)]
pub(crate) struct CallLimits {
    limits: Limits,
    began: Instant,
}

impl CallLimits {
    /// # Errors
    /// Every rule that cannot be understood or limits nothing.
    pub(crate) fn build(rules: &[LimitRule]) -> Result<Self, Vec<InvalidPolicy>> {
        Ok(Self { limits: Limits::build(rules)?, began: Instant::now() })
    }

    /// The same with what `before` counted.
    pub(crate) fn continuing(self, before: &Self) -> Self {
        Self { limits: self.limits.continuing(&before.limits), began: before.began }
    }

    /// Counts a call as long as what it gives lives, or says that it may not go on now.
    pub(crate) fn hold(&self, principal: &Principal, server: &str, target: &Target, metrics: &ServerMetrics) -> Result<Held, Failure> {
        let call = Metered { tenant: principal.tenant(), principal, server, tool: &target.own };
        self.limits.take(&call, self.began.elapsed()).map_err(|exceeded| {
            metrics.call_limited(match exceeded.kind {
                LimitKind::Rate => ReachedLimit::Rate,
                LimitKind::AtOnce => ReachedLimit::AtOnce,
                LimitKind::Budget => ReachedLimit::Budget,
            });
            refused(exceeded, server, target)
        })
    }
}

/// Counts what a call and its answer weigh; one that failed has only been sent.
pub(crate) fn spend(held: &Held, arguments: usize, result: Option<&RawObject>) {
    if held.counts_bytes() {
        let answer: usize = result.into_iter().flat_map(RawObject::iter).map(|(key, value)| key.len() + value.as_bytes().len()).sum();
        held.spend((arguments + answer) as u64);
    }
}

fn refused(exceeded: Exceeded, server: &str, target: &Target) -> Failure {
    let text = format!("a call of {:?} at server `{server}` is {exceeded}", target.own);
    let hint = format!("try again in {} s", whole_seconds(exceeded.retry_after));
    let Exceeded { place, most, used, retry_after, .. } = exceeded;
    let limited = Limited { limit: place.as_str().to_owned().into(), most, used, retry_after };
    Failure::new(FailureKind::Limited(limited), FailureSource::Gateway, Retry::Safe, text).with_hint(hint)
}
