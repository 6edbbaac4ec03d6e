//! What the gateway knows of a failure that a server has told itself: it is added, and nothing of the server's is changed.

use sallyport_protocol::{Failure, FailureKind, RawJson, RawObject};

use super::{META_KEY, describe, text, words};

/// Adds what is known of it to a result that says that the call failed: for the model behind the content, for machines in `_meta`.
pub(crate) fn add_to_result(result: &mut RawObject, known: &Failure) {
    let mut meta = result.get_object("_meta").ok().flatten().unwrap_or_default();
    let Some(told) = describe(known).filter(|_| meta.get(META_KEY).is_none()) else { return };
    meta.set(META_KEY, told.to_json());
    let mut content = result.get("content").and_then(|content| content.array().ok()).unwrap_or_default();
    content.push(words(&text(known)));
    result.set("content", RawJson::of_array(&content));
    result.set("_meta", meta.to_json());
}

/// The same for an error of the server's: in its data, where these can hold it.
pub(crate) fn add_to_error(mut failure: Failure, known: &Failure) -> Failure {
    if let (FailureKind::Upstream(error), Some(mut told)) = (&mut failure.kind, describe(known)) {
        let data = error.data.as_ref().filter(|data| !data.is_null());
        if let Ok(mut data) = data.map_or_else(|| Ok(RawObject::new()), RawJson::object)
            && data.get(META_KEY).is_none()
        {
            told.set("text", RawJson::string(&text(known)));
            data.set(META_KEY, told.to_json());
            error.data = Some(data.to_json());
        }
    }
    failure
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use sallyport_protocol::{ErrorObject, Retry};

    use super::*;

    const TOLD: &str = r#"{"kind":"limit_exceeded","server":"s","retry":"unsafe","limit":"open_files"}"#;

    fn known() -> Failure {
        Failure::upstream("s", FailureKind::LimitExceeded("open_files"), Retry::Unknown, "server `s` is full").with_hint("more")
    }

    fn added_to(result: &str) -> String {
        let mut result = RawJson::parse(result.to_owned()).unwrap().object().unwrap();
        add_to_result(&mut result, &known());
        result.to_json().as_str().to_owned()
    }

    #[test]
    fn what_a_server_said_in_a_result_stays() {
        let words = r#"{"type":"text","text":"server `s` is full; hint: more"}"#;
        let before = r#"{"content":[{"type":"text","text":"EMFILE"}],"isError":true,"x":1,"_meta":{"own":2}}"#;
        let after = format!(
            r#"{{"content":[{{"type":"text","text":"EMFILE"}},{words}],"isError":true,"x":1,"_meta":{{"own":2,"dev.sallyport/failure":{TOLD}}}}}"#
        );
        assert_eq!(added_to(before), after);
        let after = format!(r#"{{"content":[{words}],"isError":true,"_meta":{{"dev.sallyport/failure":{TOLD}}}}}"#);
        assert_eq!(added_to(r#"{"content":[],"isError":true}"#), after);
        let by_a_gateway_behind = r#"{"content":[],"isError":true,"_meta":{"dev.sallyport/failure":{}}}"#;
        assert_eq!(added_to(by_a_gateway_behind), by_a_gateway_behind);
    }

    #[test]
    fn what_a_server_said_in_an_error_stays() {
        let told = format!(r#"{},"text":"server `s` is full; hint: more"}}"#, TOLD.trim_end_matches('}'));
        let with = |data: Option<&str>| {
            let data = data.map(|data| RawJson::parse(data.to_owned()).unwrap());
            let error = ErrorObject { data, ..ErrorObject::new(-32000, "EMFILE") };
            let failure = Failure::upstream("s", FailureKind::Upstream(error), Retry::Unknown, "EMFILE");
            let FailureKind::Upstream(error) = add_to_error(failure, &known()).kind else { panic!("it is the server's error") };
            assert_eq!((error.code, error.message.as_str()), (-32000, "EMFILE"));
            error.data.unwrap().as_str().to_owned()
        };
        assert_eq!(with(None), format!(r#"{{"dev.sallyport/failure":{told}}}"#));
        assert_eq!(with(Some("null")), format!(r#"{{"dev.sallyport/failure":{told}}}"#));
        assert_eq!(with(Some(r#"{"uri":"a:b"}"#)), format!(r#"{{"uri":"a:b","dev.sallyport/failure":{told}}}"#));
        assert_eq!(with(Some(r#""words""#)), r#""words""#, "there is no place in it");
    }
}
