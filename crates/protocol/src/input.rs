//! Questions in the middle of a request: the `input_required` result, and the answers that come with the retry
//! (2026-07-28, multi round-trip requests).

use std::fmt;

use crate::method::Method;
use crate::raw::{RawJson, RawObject};
use crate::revision::Revision;
use crate::server::Client;

/// The `_meta` key by which a server that asks in the legacy way may name its question: the client then finds the question under
/// this key in `inputRequests`, and an answer sent along under it is used without asking.
pub const INPUT_KEY: &str = "dev.sallyport/inputKey";

/// Questions in one result at most: people answer them, one by one.
pub const MOST_QUESTIONS: usize = 32;
/// Bytes of a key at most.
const LONGEST_KEY: usize = 128;

/// The parameter that carries the answers.
pub const INPUT_RESPONSES: &str = "inputResponses";
/// The member and parameter that carries what the server wants to be told again.
pub const REQUEST_STATE: &str = "requestState";

/// A question: `elicitation/create`, `sampling/createMessage` or `roots/list`.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its method.
    pub method: String,
    /// Its parameters.
    pub params: RawObject,
}

/// Answers, each under the key of its question.
pub type Answers = Vec<(String, RawObject)>;

/// What a result of kind `input_required` says.
#[derive(Clone, Debug, Default)]
pub struct InputRequired {
    /// The questions, each under its key.
    pub questions: Vec<(String, Question)>,
    /// To be sent back as it is; `None` where the server keeps nothing.
    pub state: Option<RawJson>,
}

/// What is wrong with an `input_required` result, or with the answers to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadInput(pub &'static str);

impl fmt::Display for BadInput {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

impl std::error::Error for BadInput {}

/// Whether a request of this method may be answered with questions.
#[must_use]
pub const fn may_ask(method: Method) -> bool {
    matches!(method, Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead | Method::Extension(_))
}

/// Whether a method is that of a question.
#[must_use]
pub fn is_question(method: &str) -> bool {
    matches!(method, "elicitation/create" | "sampling/createMessage" | "roots/list")
}

/// Whether a result asks instead of answering.
#[must_use]
pub fn is_input_required(result: &RawObject) -> bool {
    result.get("resultType").is_some_and(|kind| kind.as_bytes().as_ref() == b"\"input_required\"")
}

/// The capability that `client` would have to declare to be asked this, as `requiredCapabilities` names it (2026-07-28, error
/// -32021); `None` where it can be asked. Form is what an empty `elicitation` stands for.
#[must_use]
pub fn lacking(client: &Client, method: &str, params: &RawObject) -> Option<RawJson> {
    let declared = |capability: &str| client.capabilities.get_object(capability).ok().flatten();
    match method {
        "roots/list" => declared("roots").is_none().then_some(RawJson::from_static(r#"{"roots":{}}"#)),
        "sampling/createMessage" => match declared("sampling") {
            None => Some(RawJson::from_static(r#"{"sampling":{}}"#)),
            Some(sampling) if params.get("tools").is_some() && sampling.get("tools").is_none() => {
                Some(RawJson::from_static(r#"{"sampling":{"tools":{}}}"#))
            }
            Some(_) => None,
        },
        "elicitation/create" => lacking_elicitation(client, declared("elicitation"), params),
        _ => Some(RawJson::from_static("{}")),
    }
}

fn lacking_elicitation(client: &Client, declared: Option<RawObject>, params: &RawObject) -> Option<RawJson> {
    let mode = params.get_str("mode");
    let can = declared.is_some_and(|declared| match mode.as_deref() {
        None | Some("form") => declared.get("form").is_some() || declared.get("url").is_none(),
        Some("url") => client.revision >= Revision::V2025_11_25 && declared.get("url").is_some(),
        Some(_) => false,
    });
    match mode.as_deref() {
        _ if can => None,
        Some("url") => Some(RawJson::from_static(r#"{"elicitation":{"url":{}}}"#)),
        _ => Some(RawJson::from_static(r#"{"elicitation":{"form":{}}}"#)),
    }
}

/// Says what is wrong with an answer to a question of that method, if anything: only what every answer must have is looked at.
#[must_use]
pub fn fault_of_answer(method: &str, answer: &RawObject) -> Option<BadInput> {
    let fits = match method {
        "elicitation/create" => answer.get_str("action").is_some_and(|action| matches!(&*action, "accept" | "decline" | "cancel")),
        "sampling/createMessage" => answer.get("content").is_some(),
        _ => answer.get("roots").is_some_and(|roots| roots.as_bytes().first() == Some(&b'[')),
    };
    (!fits).then_some(BadInput(match method {
        "elicitation/create" => "an answer to an elicitation must have an `action`: accept, decline or cancel",
        "sampling/createMessage" => "an answer to a sampling request must have `content`",
        _ => "an answer to `roots/list` must have the array `roots`",
    }))
}

impl InputRequired {
    /// Reads a result of kind `input_required`.
    ///
    /// # Errors
    /// Where it neither asks nor keeps anything, asks too much, or what it asks is no question.
    pub fn read(result: &RawObject) -> Result<Self, BadInput> {
        let requests = result.get_object("inputRequests").map_err(|_| BadInput("`inputRequests` must be an object"))?;
        let state = result.get(REQUEST_STATE).cloned();
        if state.as_ref().is_some_and(|state| state.as_bytes().first() != Some(&b'"')) {
            return Err(BadInput("`requestState` must be a string"));
        }
        let requests = requests.unwrap_or_default();
        if requests.is_empty() && state.is_none() {
            return Err(BadInput("it requires input and names none"));
        }
        if requests.len() > MOST_QUESTIONS {
            return Err(BadInput("it asks too many questions at once"));
        }
        let questions =
            requests.iter().map(|(key, request)| Ok((key.to_owned(), Question::read(key, request)?))).collect::<Result<_, _>>()?;
        Ok(Self { questions, state })
    }

    /// Writes it as a result.
    #[must_use]
    pub fn to_result(&self) -> RawObject {
        let mut result = RawObject::new();
        result.set("resultType", RawJson::from_static("\"input_required\""));
        if !self.questions.is_empty() {
            let mut requests = RawObject::new();
            for (key, question) in &self.questions {
                requests.set(key, question.to_json());
            }
            result.set("inputRequests", requests.to_json());
        }
        if let Some(state) = &self.state {
            result.set(REQUEST_STATE, state.clone());
        }
        result
    }
}

impl Question {
    fn read(key: &str, request: &RawJson) -> Result<Self, BadInput> {
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Err(BadInput("the key of a question is empty or too long"));
        }
        let request = request.object().map_err(|_| BadInput("each of `inputRequests` must be an object"))?;
        let method = request.get_str("method").filter(|method| is_question(method));
        let method = method.ok_or(BadInput("each of `inputRequests` must name a method that asks the client"))?.into_owned();
        let params = request.get_object("params").map_err(|_| BadInput("a question's `params` must be an object"))?.unwrap_or_default();
        Ok(Self { method, params })
    }

    fn to_json(&self) -> RawJson {
        let mut request = RawObject::new();
        request.set("method", RawJson::string(&self.method));
        request.set("params", self.params.to_json());
        request.to_json()
    }
}

/// Takes the answers out of a request's parameters; `None` where it brings none.
///
/// # Errors
/// Where they are no object of objects, or too many.
pub fn take_answers(params: &mut RawObject) -> Result<Option<Answers>, BadInput> {
    let Some(answers) = params.remove(INPUT_RESPONSES) else { return Ok(None) };
    read_answers(&answers).map(Some)
}

/// Reads the value of `inputResponses`.
///
/// # Errors
/// As [`take_answers`].
pub fn read_answers(answers: &RawJson) -> Result<Answers, BadInput> {
    let answers = answers.object().map_err(|_| BadInput("`inputResponses` must be an object"))?;
    // Keys that nobody asked for are to be ignored; what is bounded is the work of looking at them.
    if answers.len() > 4 * MOST_QUESTIONS {
        return Err(BadInput("`inputResponses` holds too many answers"));
    }
    let open = |(key, answer): (&str, &RawJson)| {
        let answer = answer.object().map_err(|_| BadInput("each of `inputResponses` must be an object"))?;
        Ok((key.to_owned(), answer))
    };
    answers.iter().map(open).collect()
}

/// Writes answers into a request's parameters.
pub fn set_answers(params: &mut RawObject, answers: &Answers) {
    let mut all = RawObject::new();
    for (key, answer) in answers {
        all.set(key, answer.to_json());
    }
    params.set(INPUT_RESPONSES, all.to_json());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn object(text: &str) -> RawObject {
        RawJson::parse(text.to_owned()).unwrap().object().unwrap()
    }

    #[test]
    fn a_result_that_asks_is_read_and_written_alike() {
        let text = r#"{"resultType":"input_required","inputRequests":{"name":{"method":"elicitation/create","params":{"message":"Who?"}},"roots":{"method":"roots/list","params":{}}},"requestState":"s\u00e9"}"#;
        let result = object(text);
        assert!(is_input_required(&result));
        let read = InputRequired::read(&result).unwrap();
        assert_eq!(read.questions.len(), 2);
        assert_eq!(read.to_result().to_json().as_str(), text);
    }

    #[test]
    fn what_asks_nothing_or_nonsense_is_refused() {
        for bad in [
            r#"{"resultType":"input_required"}"#,
            r#"{"inputRequests":{}}"#,
            r#"{"inputRequests":[]}"#,
            r#"{"inputRequests":{"a":1}}"#,
            r#"{"inputRequests":{"":{"method":"roots/list"}}}"#,
            r#"{"inputRequests":{"a":{"method":"tools/call"}}}"#,
            r#"{"requestState":5}"#,
        ] {
            assert!(InputRequired::read(&object(bad)).is_err(), "{bad}");
        }
        assert!(InputRequired::read(&object(r#"{"requestState":"only"}"#)).unwrap().questions.is_empty());
    }

    #[test]
    fn answers_are_objects_under_keys() {
        let mut params = object(r#"{"name":"x","inputResponses":{"a":{"action":"accept"}}}"#);
        let answers = take_answers(&mut params).unwrap().unwrap();
        assert_eq!(params.to_json().as_str(), r#"{"name":"x"}"#);
        set_answers(&mut params, &answers);
        assert_eq!(params.to_json().as_str(), r#"{"name":"x","inputResponses":{"a":{"action":"accept"}}}"#);
        for bad in [r#"{"inputResponses":null}"#, r#"{"inputResponses":{"a":5}}"#, r#"{"inputResponses":[{}]}"#] {
            assert!(take_answers(&mut object(bad)).is_err(), "{bad}");
        }
        assert!(take_answers(&mut object("{}")).unwrap().is_none());
    }
}
