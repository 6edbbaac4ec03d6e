#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;
use bytes::Bytes;

const OURS: &str = r#"{"name":"sallyport","version":"1"}"#;

fn cross(result: &'static str, from: Revision, method: Method, to: Revision) -> Result<String, Failure> {
    let result = RawObject::parse(&Bytes::from_static(result.as_bytes())).unwrap();
    let identity = ServerIdentity { info: RawJson::from_static(OURS) };
    reply_for(Reply { result, revision: from }, method, to, &identity).map(|result| result.to_json().as_str().to_owned())
}

#[test]
fn one_legacy_revision_passes_byte_for_byte() {
    let text = r#"{ "content" : [ {"type":"text","text":"1.0"} ],  "x":1.50 }"#;
    assert_eq!(cross(text, Revision::V2025_06_18, Method::ToolsCall, Revision::V2025_06_18).unwrap(), text);
    assert_eq!(cross(text, Revision::V2025_06_18, Method::ToolsCall, Revision::V2025_11_25).unwrap(), text);
    assert_eq!(cross(text, Revision::V2025_11_25, Method::ToolsCall, Revision::V2025_06_18).unwrap(), text);
}

#[test]
fn a_legacy_result_becomes_a_modern_one() {
    assert_eq!(
        cross(r#"{"tools":[],"_meta":{"a/b":1}}"#, Revision::V2025_06_18, Method::ToolsList, Revision::LATEST).unwrap(),
        format!(
            r#"{{"tools":[],"_meta":{{"a/b":1,"io.modelcontextprotocol/serverInfo":{OURS}}},"resultType":"complete","ttlMs":0,"cacheScope":"private"}}"#
        )
    );
    let called = cross(r#"{"content":[]}"#, Revision::V2024_11_05, Method::ToolsCall, Revision::LATEST).unwrap();
    assert!(called.contains(r#""resultType":"complete""#) && !called.contains("ttlMs"), "{called}");
}

#[test]
fn a_modern_result_carries_our_name_and_asks_back() {
    let asked = r#"{"resultType":"input_required","requestState":"s","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"up"}}}"#;
    let seen = cross(asked, Revision::LATEST, Method::ToolsCall, Revision::LATEST).unwrap();
    assert!(seen.contains("input_required") && seen.contains(OURS) && !seen.contains("\"up\""), "{seen}");
}

#[test]
fn a_modern_result_loses_what_no_legacy_client_knows() {
    let modern =
        r#"{"resultType":"complete","ttlMs":5,"cacheScope":"public","tools":[],"_meta":{"io.modelcontextprotocol/serverInfo":{}}}"#;
    assert_eq!(cross(modern, Revision::LATEST, Method::ToolsList, Revision::V2025_11_25).unwrap(), r#"{"tools":[]}"#);
    let vendor = r#"{"_meta":{"com.x/y":1,"io.modelcontextprotocol/serverInfo":{}},"content":[]}"#;
    assert_eq!(
        cross(vendor, Revision::LATEST, Method::ToolsCall, Revision::V2025_06_18).unwrap(),
        r#"{"_meta":{"com.x/y":1},"content":[]}"#
    );
}

#[test]
fn what_a_legacy_client_cannot_take_is_refused_by_name() {
    for kind in ["input_required", "task", "hologram"] {
        let text: &'static str = format!(r#"{{"resultType":"{kind}"}}"#).leak();
        let failure = cross(text, Revision::LATEST, Method::ToolsCall, Revision::V2025_11_25).unwrap_err();
        assert!(matches!(failure.kind, FailureKind::CannotCross) && failure.public.contains(kind), "{failure}");
    }
    assert!(cross(r#"{"resultType":7}"#, Revision::LATEST, Method::ToolsCall, Revision::V2025_11_25).is_err());
}

#[test]
fn structured_content_that_is_no_object_goes_and_its_text_stays() {
    let with_text = r#"{"content":[{"type":"text","text":"[1]"}],"structuredContent":[1]}"#;
    assert_eq!(
        cross(with_text, Revision::LATEST, Method::ToolsCall, Revision::V2025_11_25).unwrap(),
        r#"{"content":[{"type":"text","text":"[1]"}]}"#
    );
    let without = r#"{"content":[],"structuredContent":[1]}"#;
    assert_eq!(
        cross(without, Revision::LATEST, Method::ToolsCall, Revision::V2025_11_25).unwrap(),
        r#"{"content":[{"type":"text","text":"[1]"}]}"#
    );
    let object = r#"{"content":[],"structuredContent":{"a":1}}"#;
    assert_eq!(cross(object, Revision::LATEST, Method::ToolsCall, Revision::V2025_06_18).unwrap(), object);
}

#[test]
fn listings_keep_only_schemas_that_the_revision_knows() {
    let list = r#"{"tools":[{"name":"a","outputSchema":{"type":"array"}},{"name":"b","title":"B","outputSchema":{"type":"object"}}]}"#;
    assert_eq!(
        cross(list, Revision::LATEST, Method::ToolsList, Revision::V2025_11_25).unwrap(),
        r#"{"tools":[{"name":"a"},{"name":"b","title":"B","outputSchema":{"type":"object"}}]}"#
    );
    assert_eq!(
        cross(list, Revision::V2025_11_25, Method::ToolsList, Revision::V2025_03_26).unwrap(),
        r#"{"tools":[{"name":"a"},{"name":"b"}]}"#
    );
}

#[test]
fn the_oldest_clients_get_text_for_links_and_audio() {
    let call = r#"{"content":[{"type":"resource_link","uri":"file:///a","name":"a"},{"type":"audio","data":"","mimeType":"audio/wav"}]}"#;
    let newer = cross(call, Revision::V2025_11_25, Method::ToolsCall, Revision::V2025_03_26).unwrap();
    assert!(newer.contains("resource a: file:///a") && newer.contains(r#""type":"audio""#), "{newer}");
    let oldest = cross(call, Revision::V2025_11_25, Method::ToolsCall, Revision::V2024_11_05).unwrap();
    assert!(!oldest.contains(r#""type":"audio""#) && oldest.contains("audio/wav"), "{oldest}");
    let prompt = r#"{"messages":[{"role":"user","content":{"type":"audio","mimeType":"audio/wav"}}]}"#;
    let seen = cross(prompt, Revision::V2025_03_26, Method::PromptsGet, Revision::V2024_11_05).unwrap();
    assert!(seen.contains(r#""role":"user""#) && seen.contains(r#""type":"text""#), "{seen}");
}

#[test]
fn a_missing_resource_has_the_code_of_the_era() {
    let old = ErrorObject::new(ErrorObject::RESOURCE_NOT_FOUND, "no");
    assert_eq!(error_for(old.clone(), Method::ResourcesRead, Era::Modern).code, -32602);
    assert_eq!(error_for(old, Method::ResourcesRead, Era::Legacy).code, -32002);
    let mut new = ErrorObject::new(ErrorObject::INVALID_PARAMS, "no");
    assert_eq!(error_for(new.clone(), Method::ResourcesRead, Era::Legacy).code, -32602);
    new.data = Some(RawJson::from_static(r#"{"uri":"a:b"}"#));
    assert_eq!(error_for(new.clone(), Method::ToolsCall, Era::Legacy).code, -32602);
    assert_eq!(error_for(new, Method::ResourcesRead, Era::Legacy).code, -32002);
    assert_eq!(error_for(ErrorObject::new(-32021, "x"), Method::ToolsCall, Era::Legacy).code, -32600);
    assert_eq!(error_for(ErrorObject::new(-32021, "x"), Method::ToolsCall, Era::Modern).code, -32021);
}

proptest::proptest! {
    #[test]
    fn no_result_makes_it_panic(
        text in "[{}\\[\\]\",:a-z0-9]{0,60}",
        method in proptest::sample::select(Method::ALL),
        from in proptest::sample::select(&Revision::ALL[..]),
        to in proptest::sample::select(&Revision::ALL[..]),
    ) {
        let identity = ServerIdentity::new("s", "1");
        for shape in [format!("{{\"content\":{text}}}"), format!("{{\"tools\":[{text}],\"messages\":[{{\"content\":{text}}}]}}"), text] {
            if let Ok(result) = RawObject::parse(&Bytes::from(shape)) {
                let _ = reply_for(Reply { result, revision: from }, method, to, &identity)
                    .map(|result| RawJson::parse(result.to_bytes()).unwrap());
            }
        }
    }
}
