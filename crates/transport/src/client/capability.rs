//! What a modern server is told that the client of a request can do.

use std::borrow::Cow;

use sallyport_protocol::revisions::capabilities_for;
use sallyport_protocol::{Client, Era, RawJson, RawObject, Revision};

/// Capabilities that mean being asked in the middle of a request.
const QUESTIONS: [&str; 3] = ["elicitation", "sampling", "roots"];

/// The extension that lets a server answer a call of a tool with a task.
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// The `clientCapabilities` that go with a client's request to a modern server: what the client declared, in the words of the newest
/// revision; without what lets the server ask, where it may not. A legacy client is said to take tasks, since the gateway sees them to
/// their end for it; a modern one says so by itself, or wants its server to do without.
pub(crate) fn declared(client: &Client, questions: bool) -> Cow<'_, RawObject> {
    let mut declared = capabilities_for(&client.capabilities, client.revision, Revision::LATEST);
    if client.revision.era() == Era::Legacy {
        add_tasks(declared.to_mut());
    }
    if questions || QUESTIONS.iter().all(|name| declared.get(name).is_none()) {
        return declared;
    }
    let mut rest = declared.into_owned();
    rest.retain(|name| !QUESTIONS.contains(&name));
    Cow::Owned(rest)
}

fn add_tasks(capabilities: &mut RawObject) {
    let mut extensions = capabilities.get_object("extensions").ok().flatten().unwrap_or_default();
    extensions.set(TASKS, RawJson::from_static("{}"));
    capabilities.set("extensions", extensions.to_json());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    #[test]
    fn what_a_client_can_is_declared_in_the_newest_words() {
        let capabilities = RawJson::from_static(r#"{"elicitation":{},"extensions":{"a/b":{}},"roots":{"listChanged":true},"tasks":{}}"#);
        let client = |revision| Client { revision, capabilities: capabilities.object().unwrap(), info: None };
        let text = |client: &Client, questions| declared(client, questions).to_json().as_str().to_owned();
        assert_eq!(text(&client(Revision::V2026_07_28), true), capabilities.as_str());
        assert_eq!(
            text(&client(Revision::V2025_11_25), true),
            r#"{"elicitation":{"form":{}},"extensions":{"a/b":{},"io.modelcontextprotocol/tasks":{}},"roots":{}}"#
        );
        assert_eq!(text(&client(Revision::V2025_11_25), false), r#"{"extensions":{"a/b":{},"io.modelcontextprotocol/tasks":{}}}"#);
    }
}
