//! How a server fares: what state it is in, and when it is started again after it failed.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use sallyport_protocol::{Failure, Revision, ServerIdentity};
use sallyport_telemetry::metric;

/// What state a server is in.
#[derive(Clone, Debug)]
pub enum UpstreamState {
    /// Not started; the first request starts it.
    Idle,
    /// Being started or connected to.
    Starting {
        /// Since when.
        since: Instant,
        /// What is going on, for people: "installing …", "connecting".
        doing: Cow<'static, str>,
    },
    /// Answering.
    Ready {
        /// The revision that is spoken with it.
        revision: Revision,
        /// Who it says it is.
        identity: ServerIdentity,
    },
    /// Not there; requests fail at once.
    Failed {
        /// Why.
        outage: Outage,
        /// When the next attempt is made.
        retry_at: Instant,
    },
    /// Stopped for good.
    Stopped,
}

impl UpstreamState {
    /// A short name, for people and logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting { .. } => "starting",
            Self::Ready { .. } => "ready",
            Self::Failed { .. } => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// Whether a package is being installed for it, or that is waited for: it may take minutes where everything else takes seconds.
    #[must_use]
    pub fn is_installing(&self) -> bool {
        matches!(self, Self::Starting { doing, .. } if doing.contains("install"))
    }

    /// The state as the metrics have it.
    pub(crate) fn measured(&self) -> metric::UpstreamState {
        match self {
            Self::Idle | Self::Stopped => metric::UpstreamState::Stopped,
            Self::Starting { .. } => metric::UpstreamState::Starting,
            Self::Ready { .. } => metric::UpstreamState::Ready,
            Self::Failed { .. } => metric::UpstreamState::Unreachable,
        }
    }
}

/// Why a server is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outage {
    /// The reason, fit for a client: lower case, names no secret, does not name the server.
    pub why: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The last lines the server wrote to stderr. For the operator alone: a server may print what it was given.
    pub last_words: Vec<String>,
    /// It is no outage, but the way to the server is another one now: it is gone at once.
    pub at_once: bool,
    /// The key of `limits` that it went beyond, if that is why.
    pub limit: Option<&'static str>,
}

impl Outage {
    /// An outage without hint and last words.
    #[must_use]
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), ..Self::default() }
    }

    /// A failure of the server `name` as the reason of an outage.
    pub(crate) fn of_failure(name: &str, failure: &Failure) -> Self {
        let hint = failure.hint.as_ref().map(ToString::to_string);
        Self { hint, last_words: failure.internal.iter().cloned().collect(), ..Self::new(nameless(name, &failure.public)) }
    }

    /// The reason with the last words, for a log.
    #[must_use]
    pub fn for_the_log(&self) -> String {
        if self.last_words.is_empty() { self.why.clone() } else { format!("{}; its last words: {}", self.why, self.last_words.join(" | ")) }
    }
}

/// What a failure says of the server `name`, without the name: who quotes it has named the server already.
pub(crate) fn nameless(name: &str, text: &str) -> String {
    let rest = text.strip_prefix("server `").and_then(|rest| rest.strip_prefix(name)).and_then(|rest| rest.strip_prefix('`'));
    match rest {
        Some(rest) if rest.starts_with(' ') => format!("it{rest}"),
        Some(rest) => rest.trim_start_matches([':', ',', ' ']).to_owned(),
        None => text.to_owned(),
    }
}

/// The pace at which a failing server is started again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The first wait; each further failure doubles it.
    pub(crate) first: Duration,
    /// The longest wait.
    pub(crate) cap: Duration,
    /// A server that was ready for so long has proved itself: its end counts as the first failure again.
    pub(crate) proven: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),   // long enough that a crash loop costs little, short enough that nobody waits
            cap: Duration::from_secs(60),    // who repaired the cause waits a minute at most
            proven: Duration::from_secs(30), // slow interpreters take seconds to come up and die; none of the crash loops seen took this long
        }
    }
}

/// Counts a server's failures and says when to try again: its circuit breaker.
#[derive(Debug, Default)]
pub(crate) struct Health {
    pace: Pace,
    failures: u32,
}

impl Health {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, failures: 0 }
    }

    /// Takes note that a start failed, and says how long to wait before the next.
    pub(crate) fn start_failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.wait(self.failures)
    }

    /// Takes note that the server ended after it was ready for `lived`. The first end is forgiven (no wait);
    /// a server that ends again before it has proved itself is in a loop and waits.
    pub(crate) fn ended(&mut self, lived: Duration) -> Duration {
        if lived >= self.pace.proven {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 { Duration::ZERO } else { self.wait(self.failures - 1) }
    }

    fn wait(&self, failures: u32) -> Duration {
        backoff(&self.pace, failures, roll())
    }
}

/// The wait after the `failures`th failure in a row: doubled each time up to the cap, then shortened by up to a fifth,
/// so that servers which failed together do not come back together. `roll` is any number.
fn backoff(pace: &Pace, failures: u32, roll: u64) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    let wait = pace.first.saturating_mul(doubled).min(pace.cap);
    wait.mul_f64(1.0 - (roll % 1000) as f64 / 5000.0)
}

/// A number nobody can tell beforehand; not for secrets.
fn roll() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_installs_is_told_from_one_that_does_not() {
        let starting = |doing| UpstreamState::Starting { since: Instant::now(), doing: Cow::Borrowed(doing) };
        assert!(starting("installing a@1").is_installing() && starting("waiting for another installation of a@1").is_installing());
        assert!(!starting("connecting").is_installing() && !UpstreamState::Idle.is_installing());
    }

    #[test]
    fn waits_double_up_to_the_cap_and_never_exceed_it() {
        let pace = Pace::default();
        let full: Vec<u64> = (1..=9).map(|failures| backoff(&pace, failures, 0).as_secs()).collect();
        assert_eq!(full, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(&pace, u32::MAX, 0), pace.cap);
        for roll in 0..2000 {
            let wait = backoff(&pace, 3, roll);
            assert!(wait <= Duration::from_secs(4) && wait >= Duration::from_millis(3200), "{wait:?}");
        }
    }

    #[test]
    fn the_first_end_is_forgiven_and_a_loop_is_not() {
        let mut health = Health::default();
        let soon = Duration::from_secs(1);
        assert_eq!(health.ended(soon), Duration::ZERO);
        assert!(health.ended(soon) > Duration::from_millis(700));
        assert!(health.ended(soon) > Duration::from_millis(1500));
        assert_eq!(health.ended(Pace::default().proven), Duration::ZERO, "it had proved itself");
    }

    #[test]
    fn a_start_that_fails_is_not_forgiven() {
        let mut health = Health::default();
        assert!(health.start_failed() > Duration::from_millis(700));
        assert!(health.start_failed() > Duration::from_millis(1500));
    }

    #[test]
    fn a_servers_name_is_said_once() {
        assert_eq!(nameless("a", "server `a` cannot be reached: no route"), "it cannot be reached: no route");
        assert_eq!(nameless("a", "server `a`: tools/list: no answer"), "tools/list: no answer");
        assert_eq!(nameless("a", "server `ab` cannot be reached"), "server `ab` cannot be reached");
    }
}
