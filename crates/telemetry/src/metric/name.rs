//! The table of metrics. The reference page is made from it.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in ranges, in seconds.
    Histogram,
}

/// A label and its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Which values it takes; always few.
    pub values: &'static str,
}

const SERVER: Label = Label {
    name: "server",
    values: "names of configured servers; empty for calls that no server was found for. Beside it stands `version` for a version of a \
             package that came in for a share of the callers",
};

/// Expands the table.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $variant:ident = $kind:ident $name:literal [$($label:expr),*];)*) => {
        /// Every metric that there is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum MetricName { $($(#[doc = $help])+ $variant,)* }

        impl MetricName {
            /// Every metric, in the order of the reference page.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name as it is scraped.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it is.
            #[must_use]
            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// Its labels.
            #[must_use]
            pub fn labels(self) -> &'static [Label] {
                match self { $(Self::$variant => &[$($label),*],)* }
            }

            /// What it counts.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($help),+).trim_ascii(),)* }
            }
        }
    };
}

metrics! {
    /// Requests for tools, resources, prompts and completions that have ended
    Calls = Counter "sallyport_calls_total" [
        SERVER, Label { name: "outcome", values: "`ok`, `tool_error`, `input_required`, `denied`, `failed`, `cancelled`" }
    ];
    /// From a request's last byte in to its answer's first byte out
    CallDuration = Histogram "sallyport_call_duration_seconds" [SERVER];
    /// The part of the duration that the gateway itself took, without the server's
    Overhead = Histogram "sallyport_overhead_seconds" [SERVER];
    /// Requests that have not ended yet
    CallsInFlight = Gauge "sallyport_calls_in_flight" [SERVER];
    /// Calls of tools that were refused because their callers' calls are beyond one of `[[limits]]`
    CallsLimited = Counter "sallyport_limited_calls_total" [SERVER, Label { name: "limit", values: "`rate`, `at_once`, `budget`" }];
    /// Calls that wait, between two requests of their clients, for the answer to what their servers asked
    ParkedCalls = Gauge "sallyport_parked_calls" [];
    /// Sessions of HTTP clients whose revision has a handshake
    Sessions = Gauge "sallyport_sessions" [];
    /// Streams of events that clients have open: news of a session, answers that take long, subscriptions
    OpenStreams = Gauge "sallyport_open_streams" [];
    /// 1 for the state that the server is in, 0 for the others
    UpstreamState = Gauge "sallyport_upstream_state" [
        SERVER, Label { name: "state", values: "`stopped`, `starting`, `ready`, `unreachable`" }
    ];
    /// 1 for the state of the server's circuit breaker, 0 for the others
    BreakerState = Gauge "sallyport_breaker_state" [
        SERVER, Label { name: "state", values: "`closed` (calls pass), `open` (calls fail at once), `half_open` (one call tries)" }
    ];
    /// Times that a server's process was started again after it had ended on its own
    ChildRestarts = Counter "sallyport_child_restarts_total" [SERVER];
    /// Connections that a server made, or wanted to make, through its sandbox's way out
    Connections = Counter "sallyport_server_connections_total" [
        SERVER, Label {
            name: "outcome",
            values: "`ok`, `refused` (`network` or a limit does not allow it), `failed` (the other side is not there), `name_refused` (a name that `network` does not name was asked for)"
        }
    ];
    /// 1 for how far down the server's program is on standby, 0 for the others
    Standby = Gauge "sallyport_standby" [
        SERVER, Label { name: "state", values: "`awake`, `frozen`, `reclaimed` (frozen, and its memory given back), `stopped`" }
    ];
    /// From the wake of a server on standby to its answer to the request that woke it; from `stopped`, until it was ready
    Wake = Histogram "sallyport_wake_seconds" [
        SERVER,
        Label { name: "from", values: "`frozen`, `reclaimed`, `stopped`" },
        Label { name: "backend", values: "what its program runs in: `os`, `landlock`, `microvm`, `oci`, `wasm`, `none`, `other`" }
    ];
    /// Audit records that could not be kept because the disk or the queue was full
    AuditLost = Counter "sallyport_audit_lost_records_total" [];
}

impl MetricName {
    /// The name without what the encoder adds to it by kind.
    pub(super) fn registered(self) -> &'static str {
        let name = self.as_str();
        let added = match self.kind() {
            Kind::Counter => "_total",
            Kind::Histogram => "_seconds",
            Kind::Gauge => "",
        };
        name.strip_suffix(added).unwrap_or(name)
    }
}
