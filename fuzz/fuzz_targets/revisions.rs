//! Crossing between revisions: no panic, valid JSON, and what was made narrow stays as it is.
//!
//! The first three bytes choose the revisions and the method, the rest is the payload.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sallyport_protocol::revisions::{
    answer_for, capabilities_for, implementation_for, notification_for, params_for, question_for, reply_for, server_capabilities_for,
};
use sallyport_protocol::{Failure, Method, RawJson, RawObject, Reply, Revision, ServerIdentity};

const QUESTIONS: [&str; 3] = ["elicitation/create", "sampling/createMessage", "roots/list"];
const NOTIFICATIONS: [&str; 3] = ["notifications/progress", "notifications/tools/list_changed", "notifications/tasks"];

fuzz_target!(|data: &[u8]| {
    let Some(([from, to, which], payload)) = data.split_first_chunk::<3>() else { return };
    let (from, to) = (*choose(&Revision::ALL, *from), *choose(&Revision::ALL, *to));
    let method = *choose(Method::ALL, *which);
    let (asked, told) = (*choose(&QUESTIONS, *which), *choose(&NOTIFICATIONS, *which));
    let Ok(payload) = RawObject::parse(&Bytes::copy_from_slice(payload)) else { return };

    let reply = |result, to| reply_for(Reply { result, revision: from }, method, to, &ServerIdentity::new("us", "1"));
    if let Ok(result) = reply(payload.clone(), to) {
        written(&result);
        assert!(from < to || same(&reply(result.clone(), to), &result));
    }
    if let Ok(question) = question_for(asked, payload.clone(), from, to) {
        written(&question);
        assert!(from < to || same(&question_for(asked, question.clone(), from, to), &question));
    }
    written(&answer_for(asked, payload.clone(), from, to));
    written(&params_for(method, &payload, from, to));
    written(&notification_for(told, payload.clone(), from, to).unwrap_or_default());
    for translate in [capabilities_for, server_capabilities_for] {
        let capabilities = translate(&payload, from, to);
        written(&capabilities);
        assert!(from < to || translate(&capabilities, from, to).to_json() == capabilities.to_json());
    }
    let info = implementation_for(&payload.to_json(), to);
    assert_eq!(implementation_for(&info, to), info);
});

fn choose<T>(all: &[T], byte: u8) -> &T {
    &all[usize::from(byte) % all.len()]
}

fn written(object: &RawObject) {
    assert!(RawJson::parse(object.to_bytes()).is_ok_and(|value| value.object().is_ok()));
}

fn same(again: &Result<RawObject, Failure>, once: &RawObject) -> bool {
    again.as_ref().is_ok_and(|again| again.to_json() == once.to_json())
}
