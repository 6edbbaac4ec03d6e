//! Limits on calls, with a clock: the step of the pipeline after the decision.

use std::sync::Arc;
use std::time::Instant;

use sallyport_policy::{Account, Exceeded, Held, InvalidPolicy, LimitKind, LimitRule, Limits, Metered, Principal};
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

    /// Counts a call as long as what it gives lives, or says that it may not go on now. Gives nothing where no limit is about it.
    pub(crate) fn hold(
        &self,
        principal: &Principal,
        server: &str,
        target: &Target,
        metrics: &ServerMetrics,
    ) -> Result<Option<Arc<Counted>>, Failure> {
        let call = Metered { tenant: principal.tenant(), principal, server, tool: &target.own, is_listed: target.is_listed };
        let held = self.limits.take(&call, self.began.elapsed()).map_err(|exceeded| {
            metrics.call_limited(match exceeded.kind {
                LimitKind::Rate => ReachedLimit::Rate,
                LimitKind::AtOnce => ReachedLimit::AtOnce,
                LimitKind::Budget => ReachedLimit::Budget,
            });
            refused(exceeded, server, target)
        })?;
        Ok(held.is_limited().then(|| Arc::new(Counted { held, began: self.began })))
    }
}

/// A call that limits count. It runs until everybody has let go of this: its request, whoever keeps it while it waits for its caller, the
/// task that it became.
#[derive(Debug)]
pub(crate) struct Counted {
    held: Held,
    began: Instant,
}

impl Counted {
    /// Whether a limit counts how many such calls run at once.
    pub(crate) fn counts_at_once(&self) -> bool {
        self.held.counts_at_once()
    }

    /// What the call's bytes are charged to, also when it runs no longer.
    pub(crate) fn bill(&self) -> Bill {
        Bill { account: self.held.account(), began: self.began }
    }
}

/// What bytes are charged to.
#[derive(Clone, Debug)]
pub(crate) struct Bill {
    account: Account,
    began: Instant,
}

impl Bill {
    /// Counts bytes; `weigh` is asked only where that means anything.
    pub(crate) fn charge(&self, weigh: impl FnOnce() -> usize) {
        if self.account.counts_bytes() {
            self.account.spend(weigh() as u64, self.began.elapsed());
        }
    }
}

/// The bytes of a result.
pub(crate) fn weight(result: &RawObject) -> usize {
    result.iter().map(|(key, value)| key.len() + value.as_bytes().len()).sum()
}

fn refused(exceeded: Exceeded, server: &str, target: &Target) -> Failure {
    let text = format!("a call of {:?} at server `{server}` is {exceeded}", target.own);
    let hint = format!("try again in {} s", whole_seconds(exceeded.retry_after));
    let Exceeded { place, most, used, retry_after, .. } = exceeded;
    let limited = Limited { limit: place.as_str().to_owned().into(), most, used, retry_after };
    Failure::new(FailureKind::Limited(limited), FailureSource::Gateway, Retry::Safe, text).with_hint(hint)
}
