//! Handles that are looked up once and then used on every call.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::Labels;
use crate::audit::Outcome;

/// The numbers of one server. Clones count together.
#[derive(Clone, Debug)]
pub struct ServerMetrics {
    /// In the order of [`Outcome::ALL`].
    pub(super) calls: [Counter; Outcome::ALL.len()],
    pub(super) duration: Histogram,
    pub(super) overhead: Histogram,
    pub(super) in_flight: Gauge,
    pub(super) restarts: Counter,
    /// In the order of [`ReachedLimit::ALL`].
    pub(super) limited: [Counter; 3],
    /// In the order of [`ConnectionOutcome::ALL`].
    pub(super) connections: [Counter; 4],
    /// In the order of [`UpstreamState::ALL`].
    pub(super) state: [Gauge; 4],
    /// In the order of [`BreakerState::ALL`].
    pub(super) breaker: [Gauge; 3],
    /// In the order of [`StandbyState::ALL`].
    pub(super) standby: [Gauge; 4],
    pub(super) all_wakes: Family<Labels, Histogram>,
    pub(super) labels: Labels,
}

/// How long one program's wakes take. Clones count together.
#[derive(Clone, Debug)]
pub struct WakeMetrics {
    /// In the order of [`StandbyState::ASLEEP`].
    wakes: [Histogram; 3],
}

/// The back-ends that programs run in, as `sandbox` names them.
pub(super) const BACKENDS: [&str; 7] = ["os", "landlock", "microvm", "oci", "wasm", "none", "other"];

impl WakeMetrics {
    /// The program was woken from `state`, which took so long. That it was awake is no wake.
    pub fn woken(&self, from: StandbyState, took: Duration) {
        let position = StandbyState::ASLEEP.iter().position(|state| *state == from);
        if let Some(histogram) = position.and_then(|position| self.wakes.get(position)) {
            histogram.observe(took.as_secs_f64());
        }
    }
}

impl ServerMetrics {
    /// A call is in flight as long as the returned value lives.
    pub fn call_started(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// A call has ended after `total`, of which the server took `upstream`.
    pub fn call_finished(&self, outcome: Outcome, total: Duration, upstream: Duration) {
        self.calls[outcome as usize].inc();
        self.duration.observe(total.as_secs_f64());
        self.overhead.observe(total.saturating_sub(upstream).as_secs_f64());
    }

    /// A call was refused because of a limit.
    pub fn call_limited(&self, limit: ReachedLimit) {
        self.limited[limit as usize].inc();
    }

    /// The server's process was started again after it had ended on its own.
    pub fn child_restarted(&self) {
        self.restarts.inc();
    }

    /// A connection that the server made, or wanted to make, is over.
    pub fn connection_ended(&self, outcome: ConnectionOutcome) {
        self.connections[outcome as usize].inc();
    }

    /// The server is in this state now.
    pub fn set_state(&self, state: UpstreamState) {
        choose(&self.state, state as usize);
    }

    /// The server's breaker is in this state now.
    pub fn set_breaker(&self, state: BreakerState) {
        choose(&self.breaker, state as usize);
    }

    /// The server's program is so far down on standby now.
    pub fn set_standby(&self, state: StandbyState) {
        choose(&self.standby, state as usize);
    }

    /// The wakes of the server's program, which runs in that back-end; one that is not known counts as `other`, so that there are few.
    #[must_use]
    pub fn wakes(&self, backend: &str) -> WakeMetrics {
        let backend = BACKENDS.into_iter().find(|known| *known == backend).unwrap_or("other");
        let labels = |state: StandbyState| of_wake(&self.labels, state, backend);
        WakeMetrics { wakes: StandbyState::ASLEEP.map(|state| self.all_wakes.get_or_create_owned(&labels(state))) }
    }
}

/// The labels of the wakes from one state in one back-end.
pub(super) fn of_wake(server: &Labels, from: StandbyState, backend: &str) -> Labels {
    let own = [("from", from.as_str().to_owned()), ("backend", backend.to_owned())];
    server.iter().cloned().chain(own).collect()
}

/// Sets the chosen gauge to 1 and the others to 0.
fn choose(gauges: &[Gauge], chosen: usize) {
    for (index, gauge) in gauges.iter().enumerate() {
        gauge.set(i64::from(index == chosen));
    }
}

/// A call in flight; dropping it says that it is no longer, however it ended.
#[derive(Debug)]
#[must_use = "the call counts as in flight only as long as this lives"]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What a front door has open. Clones count together; the default counts for nobody.
#[derive(Clone, Debug, Default)]
pub struct DoorMetrics {
    pub(super) sessions: Gauge,
    pub(super) streams: Gauge,
}

impl DoorMetrics {
    /// So many sessions are open now.
    pub fn set_sessions(&self, number: usize) {
        self.sessions.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// A stream is open as long as the returned value lives.
    pub fn stream_opened(&self) -> OpenStream {
        self.streams.inc();
        OpenStream(self.streams.clone())
    }
}

/// A stream that is open; dropping it says that it is no longer.
#[derive(Debug)]
#[must_use = "the stream counts as open only as long as this lives"]
pub struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How a connection out of a sandbox ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionOutcome {
    /// It was made.
    Ok,
    /// It may not be.
    Refused,
    /// It could not be made.
    Failed,
    /// It did not come to one: the name may not be known.
    NameRefused,
}

impl ConnectionOutcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Refused, Self::Failed, Self::NameRefused];

    /// The name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::NameRefused => "name_refused",
        }
    }
}

/// Which part of a limit on calls was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReachedLimit {
    /// Calls in a time.
    Rate,
    /// Calls at once.
    AtOnce,
    /// What is spent in a time.
    Budget,
}

impl ReachedLimit {
    /// Every part.
    pub const ALL: [Self; 3] = [Self::Rate, Self::AtOnce, Self::Budget];

    /// The name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::AtOnce => "at_once",
            Self::Budget => "budget",
        }
    }
}

/// How a server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamState {
    /// Not started, or ended in order.
    Stopped,
    /// On its way up.
    Starting,
    /// Answers.
    Ready,
    /// Cannot be reached.
    Unreachable,
}

impl UpstreamState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Stopped, Self::Starting, Self::Ready, Self::Unreachable];

    /// The name in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unreachable => "unreachable",
        }
    }
}

/// How a circuit breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls fail at once.
    Open,
    /// One call tries whether the server is back.
    HalfOpen,
}

impl BreakerState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The name in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// How far down a server's program is on standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StandbyState {
    /// It runs.
    Awake,
    /// It is stopped where it was.
    Frozen,
    /// And its memory was given back.
    Reclaimed,
    /// It was ended; the next request starts it.
    Stopped,
}

impl StandbyState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Awake, Self::Frozen, Self::Reclaimed, Self::Stopped];

    /// The states from which a server is woken.
    pub const ASLEEP: [Self; 3] = [Self::Frozen, Self::Reclaimed, Self::Stopped];

    /// The name in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Awake => "awake",
            Self::Frozen => "frozen",
            Self::Reclaimed => "reclaimed",
            Self::Stopped => "stopped",
        }
    }
}

/// The count of lost audit records.
#[derive(Clone, Debug)]
pub struct RecordsLost(pub(super) Counter);

impl RecordsLost {
    /// So many more.
    pub fn add(&self, records: u64) {
        self.0.inc_by(records);
    }

    /// How many in all.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}
