//! How a client is told that its call waits, and what it brings back.

use sallyport_protocol::input::{self, INPUT_RESPONSES, InputRequired, Question, REQUEST_STATE};
use sallyport_protocol::{
    ApprovalNeeded, Client, Era, Failure, FailureKind, FailureSource, RawJson, RawObject, Reply, Request, Retry, Revision,
};
use sallyport_store::approval::{Approval, Standing};
use sha2::{Digest as _, Sha256};

/// What a `requestState` of this kind begins with. It says which approval the client speaks of, and is neither sealed nor secret: what
/// lets a call through is in the store, and bound to the call. Sealed states of servers have no colon in them.
const STATE: &str = "approval:";
/// The key of the question, in `inputRequests`.
const KEY: &str = "dev.sallyport/approval";

/// What a request brings of an earlier round.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Brought {
    /// It comes back to what the gateway told its client, and its user did not turn away.
    pub(crate) returns: bool,
    /// Its user did not open the page.
    pub(crate) declines: bool,
    /// The digest of what goes on with a call at its server.
    pub(crate) continues: Option<[u8; 32]>,
}

impl Brought {
    /// Takes what the gateway itself told the client out of a request. An answer that says yes says no more than that somebody looked.
    pub(crate) fn take(request: &mut Request) -> Self {
        if !input::may_ask(request.method) {
            return Self::default();
        }
        let state = request.params.get(REQUEST_STATE).and_then(RawJson::string_value).map(std::borrow::Cow::into_owned);
        if !state.as_deref().is_some_and(|state| state.starts_with(STATE)) {
            let answers = request.params.get(INPUT_RESPONSES).is_some();
            let continues = (state.is_some() || answers).then(|| digest(state.as_deref()));
            return Self { continues, ..Self::default() };
        }
        request.params.remove(REQUEST_STATE);
        let answers = request.params.remove(INPUT_RESPONSES).and_then(|answers| input::read_answers(&answers).ok()).unwrap_or_default();
        let declines = answers.iter().any(|(key, answer)| key == KEY && answer.get_str("action").as_deref() != Some("accept"));
        Self { returns: !declines, declines, continues: None }
    }
}

/// By what the request is known that brings back this state.
fn digest(state: Option<&str>) -> [u8; 32] {
    Sha256::digest(state.unwrap_or_default()).into()
}

/// The digest of the state of an answer that asks.
pub(super) fn digest_of(result: &RawObject) -> [u8; 32] {
    digest(result.get_str(REQUEST_STATE).as_deref())
}

/// Tells a client that its call waits: it is asked to open the page where it can be, else refused with what to do.
///
/// # Errors
/// The refusal.
pub(super) fn held(approval: &Approval, client: &Client, page: Option<String>) -> Result<Reply, Failure> {
    let asked = &approval.asked;
    if approval.standing == Standing::Refused {
        let text = format!("the call of {:?} at server `{}` was refused by a person ({})", asked.target, asked.server, asked.handle);
        return Err(Failure::new(FailureKind::Denied, FailureSource::Gateway, Retry::Never, text)
            .with_hint("the refusal holds for these arguments; ask the person who refused it"));
    }
    let can_open = page
        .as_deref()
        .map(|page| elicitation(approval, page))
        .filter(|params| client.revision >= Revision::V2025_11_25 && input::lacking(client, "elicitation/create", params).is_none());
    if let (Some(params), Era::Modern) = (&can_open, client.revision.era()) {
        let question = Question { method: "elicitation/create".to_owned(), params: params.clone() };
        let state = Some(RawJson::string(&format!("{STATE}{}", asked.handle)));
        let result = InputRequired { questions: vec![(KEY.to_owned(), question)], state }.to_result();
        return Ok(Reply { result, revision: Revision::LATEST });
    }
    let text = format!(
        "the call of {:?} at server `{}` waits for a person's approval ({}): {}",
        asked.target, asked.server, asked.handle, asked.reason
    );
    // Nothing to run for who reads this: whoever made the call is not the one to approve it.
    let page = page.map_or_else(String::new, |page| format!(" at {page}, or"));
    let hint = format!(
        "tell your user: it is decided by a person{page} with `sallyport approval` on the gateway's machine; then make the same call again, with \
         the same arguments"
    );
    let needed = ApprovalNeeded { handle: asked.handle.clone(), expires: approval.ends, opens: can_open.map(|params| params.to_json()) };
    Err(Failure::new(FailureKind::ApprovalNeeded(Box::new(needed)), FailureSource::Gateway, Retry::Safe, text).with_hint(hint))
}

/// The question that sends the client's user to the page (elicitation in mode `url`).
fn elicitation(approval: &Approval, page: &str) -> RawObject {
    let asked = &approval.asked;
    let mut params = RawObject::new();
    params.set("mode", RawJson::from_static("\"url\""));
    params.set("elicitationId", RawJson::string(&asked.handle));
    params.set("url", RawJson::string(page));
    params.set("message", RawJson::string(&format!("A person has to approve the call of {:?} at server `{}`", asked.target, asked.server)));
    params
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use sallyport_protocol::Method;

    fn brought(params: &str) -> (Brought, String) {
        let params = RawJson::parse(params.to_owned()).unwrap().object().unwrap();
        let mut request = Request::new(Method::ToolsCall, params);
        let brought = Brought::take(&mut request);
        (brought, request.params.to_json().as_str().to_owned())
    }

    #[test]
    fn what_the_gateway_told_a_client_reaches_no_server() {
        let (own, sent) = brought(
            r#"{"name":"t","requestState":"approval:ab","inputResponses":{"dev.sallyport/approval":{"action":"accept"}},"arguments":{}}"#,
        );
        assert_eq!((own, sent.as_str()), (Brought { returns: true, ..Brought::default() }, r#"{"name":"t","arguments":{}}"#));
        let (declined, _) = brought(r#"{"requestState":"approval:ab","inputResponses":{"dev.sallyport/approval":{"action":"decline"}}}"#);
        assert_eq!(declined, Brought { declines: true, ..Brought::default() });
    }

    #[test]
    fn what_goes_on_at_a_server_is_known_by_its_state() {
        assert_eq!(brought(r#"{"name":"t"}"#).0.continues, None);
        let (own, sent) = brought(r#"{"requestState":"\u0061bc","inputResponses":{}}"#);
        assert_eq!(sent, r#"{"requestState":"\u0061bc","inputResponses":{}}"#);
        assert_eq!(own.continues, brought(r#"{"requestState":"abc"}"#).0.continues);
        assert_ne!(own.continues, brought(r#"{"inputResponses":{}}"#).0.continues);
    }
}
