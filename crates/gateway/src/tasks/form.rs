//! A task on the wire, in both forms: of 2025-11-25's core, and of the extension `io.modelcontextprotocol/tasks` of 2026-07-28.
//!
//! In here a task is an object of the extension: `taskId`, `status`, `ttlMs`, `pollIntervalMs` and whatever else its server says of it.
//!
//! | | 2025-11-25 | extension |
//! | --- | --- | --- |
//! | made | `{task: {…}}` | `{resultType: "task", …}` |
//! | its times | `ttl`, `pollInterval` | `ttlMs`, `pollIntervalMs` |
//! | its result | `tasks/result` | `result` or `error` in `tasks/get` |
//! | a tool's own error (`isError`) | `failed` | `completed` |
//! | its questions | requests, marked with [`RELATED`] | `inputRequests` in `tasks/get` |

use std::borrow::Cow;

use sallyport_protocol::{Era, ErrorObject, RawJson, RawObject, Reply, Revision};

/// The `_meta` key with which 2025-11-25 names the task that a message belongs to.
pub(crate) const RELATED: &str = "io.modelcontextprotocol/related-task";

/// The members whose names differ, and hold milliseconds: 2025-11-25's name and the extension's.
const TIMES: [(&str, &str); 2] = [("ttl", "ttlMs"), ("pollInterval", "pollIntervalMs")];

/// Members of the extension's answers that 2025-11-25 has elsewhere or not at all.
const OF_THE_EXTENSION: [&str; 5] = ["resultType", "result", "error", "inputRequests", "_meta"];

/// What a task is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Working,
    InputRequired,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    /// The status of a task; `None` where it is none of the five.
    pub(crate) fn of(task: &RawObject) -> Option<Self> {
        Some(match task.get_str("status")?.as_ref() {
            "working" => Self::Working,
            "input_required" => Self::InputRequired,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            _ => return None,
        })
    }

    /// Whether the task stays as it is for ever.
    pub(crate) const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    const fn json(self) -> RawJson {
        RawJson::from_static(match self {
            Self::Working => "\"working\"",
            Self::InputRequired => "\"input_required\"",
            Self::Completed => "\"completed\"",
            Self::Failed => "\"failed\"",
            Self::Cancelled => "\"cancelled\"",
        })
    }
}

/// Sets a task's status.
pub(crate) fn set_status(task: &mut RawObject, status: Status) {
    task.set("status", status.json());
}

/// A task's id.
pub(crate) fn id(task: &RawObject) -> Option<Cow<'_, str>> {
    task.get_str("taskId").filter(|id| !id.is_empty())
}

/// The task that a tool's result is instead of an answer, if it is one. `as_task` says whether the request asked for one, without
/// which a legacy result with a member `task` is a result like any other.
pub(crate) fn made(reply: &Reply, as_task: bool) -> Option<RawObject> {
    match reply.revision.era() {
        Era::Modern if reply.result.get("resultType").is_some_and(|kind| kind.as_str() == "\"task\"") => {
            let mut task = reply.result.clone();
            task.remove("resultType");
            task.remove("requestState"); // belongs to questions that came before the task
            Some(task)
        }
        Era::Legacy if as_task => {
            let mut task = from_core(reply.result.get_object("task").ok().flatten()?);
            if let Some(meta) = reply.result.get("_meta") {
                task.set("_meta", meta.clone()); // what the model may be told in the meantime
            }
            Some(task)
        }
        _ => None,
    }
}

/// The task that an answer to `tasks/get` or `tasks/cancel` describes.
pub(crate) fn described(reply: &Reply) -> RawObject {
    match reply.revision.era() {
        Era::Modern => reply.result.clone(),
        Era::Legacy => from_core(reply.result.clone()),
    }
}

/// The result that hands a task out to a client of that revision.
pub(crate) fn handed_out(task: &RawObject, to: Revision) -> RawObject {
    match to.era() {
        Era::Modern => {
            let mut result = RawObject::new();
            result.set("resultType", RawJson::from_static("\"task\""));
            task.iter().for_each(|(key, value)| result.set(key, value.clone()));
            result
        }
        Era::Legacy => {
            let mut result = RawObject::new();
            result.set("task", to_core(task).to_json());
            let mut meta = task.get_object("_meta").ok().flatten().unwrap_or_default();
            meta.remove("io.modelcontextprotocol/serverInfo"); // 2025-11-25 says it once, in the handshake
            if !meta.is_empty() {
                result.set("_meta", meta.to_json());
            }
            result
        }
    }
}

/// A task as 2025-11-25 describes it.
pub(crate) fn to_core(task: &RawObject) -> RawObject {
    let mut core = renamed(task, |key| TIMES.into_iter().find(|(_, modern)| *modern == key).map(|(core, _)| core));
    if is_tool_error(task) {
        set_status(&mut core, Status::Failed);
    }
    core.retain(|key| !OF_THE_EXTENSION.contains(&key));
    if core.get("ttl").is_none() {
        core.set("ttl", RawJson::from_static("null")); // required; unlimited is what saying nothing comes to
    }
    core
}

/// A task of 2025-11-25 as the extension describes it.
fn from_core(core: RawObject) -> RawObject {
    let mut task = renamed(&core, |key| TIMES.into_iter().find(|(core, _)| *core == key).map(|(_, modern)| modern));
    // The extension knows whole milliseconds only, and `null` for a task that is kept for ever.
    if !task.get("ttlMs").is_some_and(is_count) {
        task.set("ttlMs", RawJson::from_static("null"));
    }
    if task.get("pollIntervalMs").is_some_and(|interval| !is_count(interval)) {
        task.remove("pollIntervalMs");
    }
    task
}

fn is_count(value: &RawJson) -> bool {
    value.decode::<u64>().is_ok_and(|count| count > 0)
}

fn renamed(object: &RawObject, name: impl Fn(&str) -> Option<&'static str>) -> RawObject {
    let mut out = RawObject::new();
    object.iter().for_each(|(key, value)| out.set(name(key).unwrap_or(key), value.clone()));
    out
}

/// Whether the task ended with a tool's own error, which 2025-11-25 calls failed and the extension completed.
fn is_tool_error(task: &RawObject) -> bool {
    let result = || task.get_object("result").ok().flatten();
    Status::of(task) == Some(Status::Completed)
        && result().is_some_and(|result| result.get("isError").is_some_and(|is_error| is_error.as_str() == "true"))
}

/// What a task that ended leaves: the answer that its request would have had.
pub(crate) type Ending = Result<RawObject, ErrorObject>;

/// The ending that an object of the extension holds, if it holds one.
pub(crate) fn ending(task: &RawObject) -> Option<Ending> {
    match Status::of(task)? {
        Status::Completed => task.get_object("result").ok().flatten().map(Ok),
        Status::Failed => task.get("error").map(|error| Err(ErrorObject::read(error))),
        Status::Working | Status::InputRequired | Status::Cancelled => None,
    }
}

/// Puts an ending into an object of the extension.
pub(crate) fn set_ending(task: &mut RawObject, ending: &Ending) {
    match ending {
        Ok(result) => {
            set_status(task, Status::Completed);
            let mut result = unrelated(result.clone());
            complete(&mut result);
            task.set("result", result.to_json());
        }
        Err(error) => {
            set_status(task, Status::Failed);
            let mut object = RawObject::new();
            object.set("code", RawJson::encode(&error.code).unwrap_or(RawJson::from_static("-32603")));
            object.set("message", RawJson::string(&error.message));
            if let Some(data) = &error.data {
                object.set("data", data.clone());
            }
            task.set("error", object.to_json());
        }
    }
}

/// Says of a result that it is one, as every result of 2026-07-28 does, also inside of a task.
pub(crate) fn complete(result: &mut RawObject) {
    if result.get("resultType").is_none() {
        result.set("resultType", RawJson::from_static("\"complete\""));
    }
}

/// An object whose `_meta` names the task that it belongs to.
pub(crate) fn related(mut object: RawObject, task: &str) -> RawObject {
    let mut meta = object.get_object("_meta").ok().flatten().unwrap_or_default();
    let mut named = RawObject::new();
    named.set("taskId", RawJson::string(task));
    meta.set(RELATED, named.to_json());
    object.set("_meta", meta.to_json());
    object
}

/// The same object, its `_meta` naming no task.
pub(crate) fn unrelated(mut object: RawObject) -> RawObject {
    let Some(mut meta) = object.get_object("_meta").ok().flatten().filter(|meta| meta.get(RELATED).is_some()) else { return object };
    meta.remove(RELATED);
    if meta.is_empty() {
        object.remove("_meta");
    } else {
        object.set("_meta", meta.to_json());
    }
    object
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn object(text: &str) -> RawObject {
        RawJson::parse(text.to_owned()).unwrap().object().unwrap()
    }

    fn reply(text: &str, revision: Revision) -> Reply {
        Reply { result: object(text), revision }
    }

    const CORE: &str = r#"{"task":{"taskId":"t","status":"working","createdAt":"c","ttl":60000,"pollInterval":500,"x":1}}"#;
    const EXTENSION: &str =
        r#"{"resultType":"task","taskId":"t","status":"working","createdAt":"c","ttlMs":60000,"pollIntervalMs":500,"x":1}"#;

    #[test]
    fn a_task_is_handed_out_in_either_form() {
        for (text, revision) in [(CORE, Revision::V2025_11_25), (EXTENSION, Revision::V2026_07_28)] {
            let task = made(&reply(text, revision), true).unwrap();
            assert_eq!(id(&task).unwrap(), "t");
            assert_eq!(handed_out(&task, Revision::V2025_11_25).to_json().as_str(), CORE);
            assert_eq!(handed_out(&task, Revision::V2026_07_28).to_json().as_str(), EXTENSION);
        }
    }

    #[test]
    fn a_result_is_a_task_only_where_it_says_so_in_its_revisions_way() {
        assert!(made(&reply(CORE, Revision::V2025_11_25), false).is_none(), "nobody asked for a task");
        assert!(made(&reply(CORE, Revision::V2026_07_28), true).is_none());
        assert!(made(&reply(r#"{"content":[]}"#, Revision::V2025_11_25), true).is_none());
    }

    #[test]
    fn times_that_the_other_form_cannot_say_are_left_out() {
        let core = reply(r#"{"taskId":"t","status":"working","pollInterval":0.5}"#, Revision::V2025_11_25);
        assert_eq!(described(&core).to_json().as_str(), r#"{"taskId":"t","status":"working","ttlMs":null}"#);
        assert_eq!(to_core(&object(r#"{"taskId":"t"}"#)).to_json().as_str(), r#"{"taskId":"t","ttl":null}"#);
    }

    #[test]
    fn a_tools_own_error_is_failed_in_one_form_and_completed_in_the_other() {
        let task = object(r#"{"taskId":"t","status":"completed","ttlMs":null,"result":{"content":[],"isError":true}}"#);
        assert_eq!(to_core(&task).to_json().as_str(), r#"{"taskId":"t","status":"failed","ttl":null}"#);
        let mut failed = object(r#"{"taskId":"t","status":"failed"}"#);
        set_ending(&mut failed, &Ok(related(object(r#"{"isError":true}"#), "t")));
        assert_eq!(failed.to_json().as_str(), r#"{"taskId":"t","status":"completed","result":{"isError":true,"resultType":"complete"}}"#);
    }

    #[test]
    fn an_ending_is_read_as_it_was_written() {
        let mut task = object(r#"{"status":"working"}"#);
        assert!(ending(&task).is_none());
        set_ending(&mut task, &Err(ErrorObject { code: -5, message: "m".into(), data: Some(RawJson::from_static("[1]")) }));
        let error = ending(&task).unwrap().unwrap_err();
        assert_eq!((error.code, error.message.as_str(), error.data.unwrap().as_str()), (-5, "m", "[1]"));
    }
}
