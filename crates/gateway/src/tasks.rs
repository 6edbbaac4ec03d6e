//! Whose task is whose: a task's id alone does not say which server works on it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use sallyport_policy::Principal;
use sallyport_protocol::{RawObject, Request};

/// Tasks remembered at most, over all callers. A task lives minutes; the oldest is forgotten first.
const REMEMBERED: usize = 10_000;

/// The server and tool behind each task that was handed out.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_id: HashMap<(Principal, String), (Arc<str>, String)>,
    oldest_first: VecDeque<(Principal, String)>,
}

impl Tasks {
    /// Remembers the task that a tool's result hands out, if it does (2025-11-25: `task`; tasks extension: `resultType` "task").
    pub(crate) fn note(&self, principal: &Principal, server: &Arc<str>, tool: &str, result: &RawObject) {
        let id = match result.get_object("task") {
            Ok(Some(task)) => task.get_str("taskId").map(std::borrow::Cow::into_owned),
            _ if result.get_str("resultType").as_deref() == Some("task") => result.get_str("taskId").map(std::borrow::Cow::into_owned),
            _ => None,
        };
        let Some(id) = id else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.oldest_first.len() == REMEMBERED
            && let Some(oldest) = known.oldest_first.pop_front()
        {
            known.by_id.remove(&oldest);
        }
        let key = (principal.clone(), id);
        if known.by_id.insert(key.clone(), (server.clone(), tool.to_owned())).is_none() {
            known.oldest_first.push_back(key);
        }
    }

    /// The server and tool of the task that a request names. Another caller's task is not there.
    pub(crate) fn find(&self, principal: &Principal, request: &Request) -> Option<(Arc<str>, String)> {
        let id = request.params.get_str("taskId")?.into_owned();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(&(principal.clone(), id)).cloned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use sallyport_protocol::{Method, RawJson};

    fn object(text: &'static str) -> RawObject {
        RawJson::from_static(text).object().unwrap()
    }

    #[test]
    fn a_task_is_found_by_its_owner_alone() {
        let tasks = Tasks::default();
        let (me, other) = (Principal::local_user(), Principal::key("other"));
        tasks.note(&me, &"s".into(), "slow", &object(r#"{"task":{"taskId":"t1"}}"#));
        tasks.note(&me, &"s".into(), "slow", &object(r#"{"resultType":"task","taskId":"t2"}"#));
        for id in ["t1", "t2"] {
            let mut params = RawObject::new();
            params.set("taskId", RawJson::string(id));
            let request = Request::new(Method::TasksGet, params);
            assert_eq!(tasks.find(&me, &request).unwrap(), ("s".into(), "slow".to_owned()));
            assert_eq!(tasks.find(&other, &request), None);
        }
    }

    #[test]
    fn the_oldest_task_is_forgotten_first() {
        let tasks = Tasks::default();
        for at in 0..=REMEMBERED {
            let result = RawJson::parse(format!(r#"{{"task":{{"taskId":"{at}"}}}}"#)).unwrap().object().unwrap();
            tasks.note(&Principal::local_user(), &"s".into(), "t", &result);
        }
        let known = tasks.0.lock().unwrap();
        assert_eq!(known.by_id.len(), REMEMBERED);
        assert!(!known.by_id.contains_key(&(Principal::local_user(), "0".to_owned())));
    }
}
