//! A server that a user has to grant access to first: the one question that the gateway asks on its own account.
//!
//! It is the error of 2025-11-25 for that (-32042); `questions` says it in the words of the client's revision.

use sallyport_protocol::{ErrorObject, Failure, FailureKind, RawJson, RawObject, Retry};

/// The failure that asks the user to open `link`. `id` tells the question from others.
pub(crate) fn consent_needed(server: &str, id: &str, link: &str) -> Failure {
    let message = format!("Grant the gateway access to `{server}` in your name");
    let mut asked = RawObject::new();
    asked.set("mode", RawJson::from_static("\"url\""));
    // The first letters are enough to tell it from others, and open nothing.
    asked.set("elicitationId", RawJson::string(id.get(..8).unwrap_or_default()));
    asked.set("url", RawJson::string(link));
    asked.set("message", RawJson::string(&message));
    let mut data = RawObject::new();
    data.set("elicitations", RawJson::of_array(&[asked.to_json()]));
    // Without the link: this is what logs hold, and the link is for its user alone.
    let text = format!("access to server `{server}` has to be granted first");
    let error = ErrorObject { data: Some(data.to_json()), ..ErrorObject::new(ErrorObject::URL_ELICITATION_REQUIRED, text.clone()) };
    Failure::upstream(server, FailureKind::Upstream(error), Retry::Safe, text).with_hint("open the address, then make the call again")
}
