//! Which era one message is of (protocol.md's rules for servers: per message, the first match decides).

use http::HeaderMap;
use sallyport_protocol::{Era, RawObject, Revision};

use crate::headers::PROTOCOL_VERSION;

/// The `_meta` key that only modern requests have.
pub(crate) const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

/// The era of a message with these parameters, which came with these headers (none over stdio).
pub(crate) fn era_of(params: Option<&RawObject>, headers: Option<&HeaderMap>) -> Era {
    if has_envelope(params) || headers.is_some_and(names_modern_version) { Era::Modern } else { Era::Legacy }
}

/// Whether `_meta` names a version: only modern messages do, even those of a version that is not spoken here.
fn has_envelope(params: Option<&RawObject>) -> bool {
    // Nearly all legacy messages have no `_meta`, or one with a progress token alone.
    params
        .and_then(|params| params.get("_meta"))
        .filter(|meta| memchr::memmem::find(meta.as_bytes(), b"protocolVersion").is_some())
        .and_then(|meta| meta.object().ok())
        .is_some_and(|meta| meta.get(VERSION_KEY).is_some())
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

    fn era(params: &'static str, version: Option<&'static str>) -> Era {
        let params = RawObject::parse(&Bytes::from_static(params.as_bytes())).unwrap();
        let mut headers = HeaderMap::new();
        if let Some(version) = version {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(version));
        }
        era_of(Some(&params), Some(&headers))
    }

    #[test]
    fn the_envelope_decides_before_the_header() {
        assert_eq!(era(r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"1999-01-01"}}"#, Some("2025-06-18")), Era::Modern);
        assert_eq!(era("{}", Some("2026-07-28")), Era::Modern);
        assert_eq!(era("{}", Some("2031-01-01")), Era::Modern);
        for version in [None, Some("2025-11-25"), Some("latest"), Some("9")] {
            assert_eq!(era(r#"{"_meta":{"progressToken":"protocolVersion"}}"#, version), Era::Legacy, "{version:?}");
        }
    }
}
