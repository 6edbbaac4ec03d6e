//! Which era one message is of (protocol.md's rules for servers: per message, the first match decides).

use http::HeaderMap;
use sallyport_protocol::{RawObject, Revision};

use crate::headers::PROTOCOL_VERSION;

/// The `_meta` key that only modern requests have.
pub(crate) const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

/// A message's era, and what was found out on the way.
pub(crate) enum Spoken {
    /// `_meta` names a version, or a header one from 2026-07-28 on. `_meta` comes opened where it is an object.
    Modern(Option<RawObject>),
    /// Anything else.
    Legacy,
}

impl Spoken {
    /// Looks at a message with these parameters, which came with these headers (none over stdio).
    pub(crate) fn of(params: Option<&RawObject>, headers: Option<&HeaderMap>) -> Self {
        if let Some(meta) = envelope(params) {
            return Self::Modern(Some(meta));
        }
        if headers.is_some_and(names_modern_version) {
            return Self::Modern(params.and_then(|params| params.get_object("_meta").ok().flatten()));
        }
        Self::Legacy
    }

    pub(crate) fn is_modern(&self) -> bool {
        matches!(self, Self::Modern(_))
    }
}

/// `_meta`, if it names a version: only modern messages do, even those of a version that is not spoken here.
fn envelope(params: Option<&RawObject>) -> Option<RawObject> {
    // Nearly all legacy messages have no `_meta`, or one with a progress token alone.
    params?
        .get("_meta")
        .filter(|meta| memchr::memmem::find(meta.as_bytes(), b"protocolVersion").is_some())
        .and_then(|meta| meta.object().ok())
        .filter(|meta| meta.get(VERSION_KEY).is_some())
}

/// Whether a header names 2026-07-28 or a later revision. Names of revisions are dates, so they sort as text.
pub(crate) fn names_modern_version(headers: &HeaderMap) -> bool {
    let is_modern = |value: &[u8]| is_date(value) && value >= Revision::V2026_07_28.as_str().as_bytes();
    headers.get_all(PROTOCOL_VERSION).iter().any(|value| is_modern(value.as_bytes().trim_ascii()))
}

fn is_date(text: &[u8]) -> bool {
    text.len() == 10 && text.iter().enumerate().all(|(at, byte)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use bytes::Bytes;
    use http::HeaderValue;

    fn is_modern(params: &'static str, version: Option<&'static str>) -> bool {
        let params = RawObject::parse(&Bytes::from_static(params.as_bytes())).unwrap();
        let mut headers = HeaderMap::new();
        if let Some(version) = version {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(version));
        }
        Spoken::of(Some(&params), Some(&headers)).is_modern()
    }

    #[test]
    fn the_envelope_decides_before_the_header() {
        assert!(is_modern(r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"1999-01-01"}}"#, Some("2025-06-18")));
        assert!(is_modern("{}", Some("2026-07-28")));
        assert!(is_modern("{}", Some("2031-01-01")));
        for version in [None, Some("2025-11-25"), Some("latest"), Some("9")] {
            assert!(!is_modern(r#"{"_meta":{"progressToken":"protocolVersion"}}"#, version), "{version:?}");
        }
    }
}
