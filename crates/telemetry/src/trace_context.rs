//! The trace that a call belongs to: W3C Trace Context, carried as `traceparent` in `_meta` and HTTP headers.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::hex;

/// `00-` + 32 digits + `-` + 16 digits + `-` + 2 digits.
const LENGTH: usize = 55;
/// The flags that have a meaning: `sampled` and `random-trace-id` (level 2, §3.2.2.5). Others must be sent as 0.
const KNOWN_FLAGS: u8 = 0b11;

/// Identifies a trace over all who take part in it; never all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// One participant's place in a trace: what it puts into the `traceparent` of the requests it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: TraceId,
    span_id: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// The start of a new trace, not sampled.
    #[must_use]
    pub fn root() -> Self {
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&random());
        trace_id[8..].copy_from_slice(&random());
        Self { trace_id: TraceId(trace_id), span_id: random(), flags: 0b10 }
    }

    /// The place of this process after a request that carried `traceparent`: the same trace and flags, a new span. A
    /// missing or malformed value starts a new trace (§4.3, "restart the trace").
    #[must_use]
    pub fn continued(traceparent: Option<&str>) -> Self {
        traceparent.and_then(Self::parse).map_or_else(Self::root, |parent| parent.child())
    }

    /// A new span in the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span_id: random(), ..self }
    }

    /// Reads a `traceparent` (§3.2): version 00 exactly; of later versions, the part that is known.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let mut fields = known.split('-');
        let version: [u8; 1] = hex::read(fields.next()?)?;
        let trace_id: [u8; 16] = hex::read(fields.next()?)?;
        let span_id: [u8; 8] = hex::read(fields.next()?)?;
        let flags: [u8; 1] = hex::read(fields.next()?)?;
        let form = match version[0] {
            0 => rest.is_empty(),
            255 => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let valid = form && fields.next().is_none() && trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id: TraceId(trace_id), span_id, flags: flags[0] & KNOWN_FLAGS })
    }

    /// The trace.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }
}

impl fmt::Display for TraceContext {
    /// The value for `traceparent`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'-'; LENGTH];
        hex::write(&[0], &mut text[..2]);
        hex::write(&self.trace_id.0, &mut text[3..35]);
        hex::write(&self.span_id, &mut text[36..52]);
        hex::write(&[self.flags], &mut text[53..]);
        formatter.write_str(hex::ascii(&text))
    }
}

impl TraceId {
    fn text(self) -> [u8; 32] {
        let mut text = [0; 32];
        hex::write(&self.0, &mut text);
        text
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(hex::ascii(&self.text()))
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(hex::ascii(&self.text()))
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        hex::read(&text).map(Self).ok_or_else(|| de::Error::custom("a trace id has 32 lower-case hexadecimal digits"))
    }
}

/// Eight bytes, not all zero, that do not repeat and do not tell those of another process: a counter under the standard
/// library's randomly keyed hash. Identifiers are public, so nothing stronger is needed, and no system call is made.
pub(crate) fn random() -> [u8; 8] {
    thread_local!(static KEY: RandomState = RandomState::new());
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    KEY.with(|key| key.hash_one(count)).max(1).to_be_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_trace_goes_on_in_a_new_span() {
        let parent = TraceContext::parse(PARENT).unwrap();
        assert_eq!(parent.to_string(), PARENT);
        let ours = TraceContext::continued(Some(PARENT));
        assert_eq!(ours.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(ours.span_id, parent.span_id);
        assert!(ours.to_string().ends_with("-01"));
    }

    #[test]
    fn malformed_parents_start_a_new_trace() {
        let ones = "1".repeat(16);
        for text in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            &format!("00-{ones}-{ones}-{ones}-01"),
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
            assert_ne!(TraceContext::continued(Some(text)).trace_id(), TraceContext::parse(PARENT).unwrap().trace_id());
        }
    }

    #[test]
    fn later_versions_are_read_as_far_as_known_and_unknown_flags_are_dropped() {
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-what-the-future-brings";
        assert_eq!(TraceContext::parse(later).unwrap().to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03");
    }

    #[test]
    fn identifiers_do_not_repeat_over_threads() {
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(|| (0..10_000).map(|_| random()).collect::<Vec<_>>())).collect();
        let all: HashSet<[u8; 8]> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.len(), 40_000);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(seed in any::<u8>()) {
            let context = TraceContext { flags: seed & KNOWN_FLAGS, ..TraceContext::root() };
            prop_assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}", near in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.{0,4}") {
            let _ = TraceContext::parse(&text);
            let _ = TraceContext::parse(&near);
        }
    }
}
