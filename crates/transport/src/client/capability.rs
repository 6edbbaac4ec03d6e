//! What a modern server is told that the client of a request can do.

use std::borrow::Cow;

use sallyport_protocol::{Client, Era, RawObject};

/// Capabilities that mean being asked in the middle of a request. A legacy client is asked by requests of the server, a modern one by
/// results; a modern server's question to a legacy client would have to cross, so such a client is said to have none of them.
const QUESTIONS: [&str; 4] = ["elicitation", "sampling", "roots", "tasks"];

/// The `clientCapabilities` that go with a client's request to a modern server.
pub(crate) fn declared(client: &Client) -> Cow<'_, RawObject> {
    let crossing = client.revision.era() == Era::Legacy && QUESTIONS.iter().any(|name| client.capabilities.get(name).is_some());
    if !crossing {
        return Cow::Borrowed(&client.capabilities);
    }
    let mut rest = client.capabilities.clone();
    for name in QUESTIONS {
        rest.remove(name);
    }
    Cow::Owned(rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use sallyport_protocol::{RawJson, Revision};

    #[test]
    fn a_legacy_client_can_not_be_asked_by_a_modern_server() {
        let capabilities = RawJson::from_static(r#"{"elicitation":{},"extensions":{"a/b":{}},"roots":{"listChanged":true}}"#);
        let client = |revision| Client { revision, capabilities: capabilities.object().unwrap(), info: None };
        let text = |client: &Client| declared(client).to_json();
        assert_eq!(text(&client(Revision::V2026_07_28)), capabilities);
        assert_eq!(text(&client(Revision::V2025_11_25)).as_str(), r#"{"extensions":{"a/b":{}}}"#);
    }
}
