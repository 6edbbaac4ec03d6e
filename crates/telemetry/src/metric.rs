//! The numbers of `/metrics`, in the OpenMetrics text format.
//!
//! [`MetricName`] is the one table of what there is. Handles are looked up once a server and kept, so that a call costs a
//! few atomic additions.

mod handle;
mod name;

use handle::{BACKENDS, of_wake};
pub use handle::{
    BreakerState, ConnectionOutcome, DoorMetrics, InFlight, OpenStream, ReachedLimit, RecordsLost, ServerMetrics, StandbyState,
    UpstreamState, WakeMetrics,
};
pub use name::{Kind, Label, MetricName};

use prometheus_client::encoding::text;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::audit::Outcome;

/// The `Content-Type` of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Label values in the order of the metric's entry in the table.
type Labels = Vec<(&'static str, String)>;

/// Seconds. The upper ones are those of OpenTelemetry's MCP conventions; servers on this machine answer below its lowest.
const CALL_SECONDS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Seconds. The gateway's own part is tens of microseconds; from 10 ms on something is wrong.
const OVERHEAD_SECONDS: &[f64] = &[0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.1, 1.0];

/// Seconds. A frozen server answers within 3 ms, one whose memory was given back within 25 ms; one that was stopped starts anew.
const WAKE_SECONDS: &[f64] = &[0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// All metrics of one gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: Family<Labels, Counter>,
    durations: Family<Labels, Histogram>,
    overheads: Family<Labels, Histogram>,
    in_flight: Family<Labels, Gauge>,
    parked: Gauge,
    door: DoorMetrics,
    upstream_states: Family<Labels, Gauge>,
    breaker_states: Family<Labels, Gauge>,
    restarts: Family<Labels, Counter>,
    limited: Family<Labels, Counter>,
    connections: Family<Labels, Counter>,
    standby: Family<Labels, Gauge>,
    wakes: Family<Labels, Histogram>,
    audit_lost: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Everything at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        Self {
            calls: register(&mut registry, MetricName::Calls, Family::default()),
            durations: register(&mut registry, MetricName::CallDuration, histograms(|| Histogram::new(CALL_SECONDS.iter().copied()))),
            overheads: register(&mut registry, MetricName::Overhead, histograms(|| Histogram::new(OVERHEAD_SECONDS.iter().copied()))),
            in_flight: register(&mut registry, MetricName::CallsInFlight, Family::default()),
            parked: register(&mut registry, MetricName::ParkedCalls, Gauge::default()),
            door: DoorMetrics {
                sessions: register(&mut registry, MetricName::Sessions, Gauge::default()),
                streams: register(&mut registry, MetricName::OpenStreams, Gauge::default()),
            },
            upstream_states: register(&mut registry, MetricName::UpstreamState, Family::default()),
            breaker_states: register(&mut registry, MetricName::BreakerState, Family::default()),
            limited: register(&mut registry, MetricName::CallsLimited, Family::default()),
            restarts: register(&mut registry, MetricName::ChildRestarts, Family::default()),
            connections: register(&mut registry, MetricName::Connections, Family::default()),
            standby: register(&mut registry, MetricName::Standby, Family::default()),
            wakes: register(&mut registry, MetricName::Wake, histograms(|| Histogram::new(WAKE_SECONDS.iter().copied()))),
            audit_lost: register(&mut registry, MetricName::AuditLost, Counter::default()),
            registry,
        }
    }

    /// The handles of one configured server; `""` stands for calls that no server was found for. Look them up once: names
    /// come from the configuration, never from a request, so that their number is bounded.
    pub fn server(&self, name: &str) -> ServerMetrics {
        self.handles(of_server(name, None))
    }

    /// The handles of a version of a server's package that came in beside another for a share of the callers. There are at most two
    /// versions of one server at a time; see [`forget`](Self::forget).
    pub fn version(&self, name: &str, version: &str) -> ServerMetrics {
        self.handles(of_server(name, Some(version)))
    }

    fn handles(&self, labels: Labels) -> ServerMetrics {
        ServerMetrics {
            calls: Outcome::ALL.map(|outcome| self.calls.get_or_create_owned(&and(&labels, "outcome", outcome.as_str()))),
            duration: self.durations.get_or_create_owned(&labels),
            overhead: self.overheads.get_or_create_owned(&labels),
            in_flight: self.in_flight.get_or_create_owned(&labels),
            limited: ReachedLimit::ALL.map(|limit| self.limited.get_or_create_owned(&and(&labels, "limit", limit.as_str()))),
            restarts: self.restarts.get_or_create_owned(&labels),
            connections: ConnectionOutcome::ALL
                .map(|outcome| self.connections.get_or_create_owned(&and(&labels, "outcome", outcome.as_str()))),
            state: UpstreamState::ALL.map(|state| self.upstream_states.get_or_create_owned(&and(&labels, "state", state.as_str()))),
            standby: StandbyState::ALL.map(|state| self.standby.get_or_create_owned(&and(&labels, "state", state.as_str()))),
            all_wakes: self.wakes.clone(),
            breaker: BreakerState::ALL.map(|state| self.breaker_states.get_or_create_owned(&and(&labels, "state", state.as_str()))),
            labels,
        }
    }

    /// Takes the numbers of a server that is no longer configured, or of one version that is gone, out of the answer.
    pub fn forget(&self, name: &str, version: Option<&str>) {
        let labels = of_server(name, version);
        for outcome in Outcome::ALL {
            self.calls.remove(&and(&labels, "outcome", outcome.as_str()));
        }
        for outcome in ConnectionOutcome::ALL {
            self.connections.remove(&and(&labels, "outcome", outcome.as_str()));
        }
        for limit in ReachedLimit::ALL {
            self.limited.remove(&and(&labels, "limit", limit.as_str()));
        }
        for state in UpstreamState::ALL {
            self.upstream_states.remove(&and(&labels, "state", state.as_str()));
        }
        for state in BreakerState::ALL {
            self.breaker_states.remove(&and(&labels, "state", state.as_str()));
        }
        for state in StandbyState::ALL {
            self.standby.remove(&and(&labels, "state", state.as_str()));
            for backend in BACKENDS {
                self.wakes.remove(&of_wake(&labels, state, backend));
            }
        }
        self.durations.remove(&labels);
        self.overheads.remove(&labels);
        self.in_flight.remove(&labels);
        self.restarts.remove(&labels);
    }

    /// Sets how many calls wait for their clients' answers.
    pub fn set_parked_calls(&self, number: usize) {
        self.parked.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// What the HTTP front door has open.
    pub fn door(&self) -> DoorMetrics {
        self.door.clone()
    }

    /// The count of audit records that could not be kept.
    #[must_use]
    pub fn audit_lost(&self) -> RecordsLost {
        RecordsLost(self.audit_lost.clone())
    }

    /// All numbers, in the form that [`CONTENT_TYPE`] says.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        match text::encode(&mut out, &self.registry) {
            Ok(()) => out,
            Err(_) => String::new(), // writing to a string does not fail
        }
    }
}

type HistogramFamily = Family<Labels, Histogram>;

fn histograms(make: fn() -> Histogram) -> HistogramFamily {
    Family::new_with_constructor(make)
}

/// Registers `metric` as the table describes it.
fn register<M: Metric + Clone>(registry: &mut Registry, name: MetricName, metric: M) -> M {
    let (base, help) = (name.registered(), name.help());
    match name.kind() {
        Kind::Histogram => registry.register_with_unit(base, help, Unit::Seconds, metric.clone()),
        Kind::Counter | Kind::Gauge => registry.register(base, help, metric.clone()),
    }
    debug_assert!(matches!(
        (name.kind(), metric.metric_type()),
        (Kind::Counter, MetricType::Counter) | (Kind::Gauge, MetricType::Gauge) | (Kind::Histogram, MetricType::Histogram)
    ));
    metric
}

fn of_server(name: &str, version: Option<&str>) -> Labels {
    let version = version.map(|version| ("version", version.to_owned()));
    std::iter::once(("server", name.to_owned())).chain(version).collect()
}

fn and(labels: &Labels, key: &'static str, value: &str) -> Labels {
    let mut labels = labels.clone();
    labels.push((key, value.to_owned()));
    labels
}

#[cfg(test)]
mod tests;
