#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;
use crate::failure::FailureKind;
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
        r#"{"tools":[{"name":"a"},{"name":"b","annotations":{"title":"B"}}]}"#
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

fn object(text: &str) -> RawObject {
    RawObject::parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

/// What a payload looks like after it crossed, for each pair of `cases`.
fn check<T: AsRef<str>>(cases: &[(&str, Revision, Revision, &str)], cross: impl Fn(RawObject, Revision, Revision) -> T) {
    for (text, from, to, expected) in cases {
        assert_eq!(cross(object(text), *from, *to).as_ref(), *expected, "{text} from {from} to {to}");
    }
}

fn text(object: &RawObject) -> String {
    object.to_json().as_str().to_owned()
}

use Revision::{
    V2024_11_05 as V2024_11, V2025_03_26 as V2025_03, V2025_06_18 as V2025_06, V2025_11_25 as V2025_11, V2026_07_28 as V2026_07,
};

#[test]
fn entries_keep_what_the_clients_revision_has_words_for() {
    let tool = r#"{"tools":[{"name":"a","title":"A","icons":[],"execution":{"taskSupport":"optional"},"annotations":{"readOnlyHint":true},"inputSchema":{},"x":1}]}"#;
    let seen = |to| cross(tool.to_owned().leak(), V2025_11, Method::ToolsList, to).unwrap();
    assert!(!seen(V2026_07).contains("execution") && seen(V2026_07).contains("icons"));
    assert_eq!(seen(V2025_06), r#"{"tools":[{"name":"a","title":"A","annotations":{"readOnlyHint":true},"inputSchema":{},"x":1}]}"#);
    assert_eq!(seen(V2025_03), r#"{"tools":[{"name":"a","annotations":{"readOnlyHint":true,"title":"A"},"inputSchema":{},"x":1}]}"#);
    assert_eq!(seen(V2024_11), r#"{"tools":[{"name":"a","inputSchema":{},"x":1}]}"#);

    let prompt = r#"{"prompts":[{"name":"a","title":"A","icons":[],"arguments":[{"name":"b","title":"B"}]}]}"#;
    assert_eq!(cross(prompt, V2025_11, Method::PromptsList, V2024_11).unwrap(), r#"{"prompts":[{"name":"a","arguments":[{"name":"b"}]}]}"#);
    let resource = r#"{"resources":[{"uri":"a:b","size":3,"title":"A","icons":[],"annotations":{"priority":1,"lastModified":"x"}}]}"#;
    assert_eq!(
        cross(resource, V2025_11, Method::ResourcesList, V2025_03).unwrap(),
        r#"{"resources":[{"uri":"a:b","size":3,"annotations":{"priority":1}}]}"#
    );
    let template = r#"{"resourceTemplates":[{"uriTemplate":"a:{b}","icons":[]}]}"#;
    assert_eq!(
        cross(template, V2026_07, Method::ResourceTemplatesList, V2025_06).unwrap(),
        r#"{"resourceTemplates":[{"uriTemplate":"a:{b}"}]}"#
    );
}

#[test]
fn a_list_of_several_servers_loses_what_only_one_revision_knows() {
    let mixed = r#"{"resultType":"complete","tools":[{"name":"old","execution":{"taskSupport":"required"}},{"name":"new"}]}"#;
    assert!(!cross(mixed, V2026_07, Method::ToolsList, V2026_07).unwrap().contains("execution"));
}

#[test]
fn content_keeps_its_annotations_but_not_those_that_came_later() {
    let call = r#"{"content":[{"type":"text","text":"t","annotations":{"priority":1,"lastModified":"x"}},{"type":"resource_link","uri":"a:b","name":"n","icons":[]}]}"#;
    assert_eq!(
        cross(call, V2025_11, Method::ToolsCall, V2025_06).unwrap(),
        r#"{"content":[{"type":"text","text":"t","annotations":{"priority":1,"lastModified":"x"}},{"type":"resource_link","uri":"a:b","name":"n"}]}"#
    );
    assert_eq!(
        cross(call, V2025_11, Method::ToolsCall, V2025_03).unwrap(),
        r#"{"content":[{"type":"text","text":"t","annotations":{"priority":1}},{"type":"text","text":"resource n: a:b"}]}"#
    );
}

#[test]
fn a_client_declares_in_each_revisions_words() {
    let cases = [
        (r#"{"elicitation":{}}"#, V2025_06, V2025_11, r#"{"elicitation":{"form":{}}}"#),
        (r#"{"elicitation":{}}"#, V2025_06, V2026_07, r#"{"elicitation":{"form":{}}}"#),
        (r#"{"elicitation":{}}"#, V2025_11, V2026_07, r#"{"elicitation":{"form":{}}}"#),
        (r#"{"elicitation":{"url":{}}}"#, V2025_11, V2026_07, r#"{"elicitation":{"url":{}}}"#),
        (r#"{"elicitation":{"form":{},"url":{}}}"#, V2026_07, V2025_11, r#"{"elicitation":{"form":{},"url":{}}}"#),
        (r#"{"elicitation":{"form":{},"url":{}}}"#, V2026_07, V2025_06, r#"{"elicitation":{}}"#),
        (r#"{"elicitation":{"url":{}},"x":1}"#, V2026_07, V2025_06, r#"{"x":1}"#),
        (r#"{"elicitation":{},"sampling":{}}"#, V2026_07, V2025_03, r#"{"sampling":{}}"#),
        (r#"{"elicitation":{},"sampling":{}}"#, V2024_11, V2026_07, r#"{"sampling":{}}"#),
        (r#"{"sampling":{"tools":{},"context":{},"x":1}}"#, V2026_07, V2025_06, r#"{"sampling":{"x":1}}"#),
        (r#"{"roots":{"listChanged":true},"tasks":{}}"#, V2025_11, V2026_07, r#"{"roots":{}}"#),
        (r#"{"roots":{"listChanged":true},"tasks":{}}"#, V2025_11, V2024_11, r#"{"roots":{"listChanged":true}}"#),
        (r#"{"roots":{}}"#, V2026_07, V2024_11, r#"{"roots":{}}"#),
        (
            r#"{"extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/ui":{}}}"#,
            V2026_07,
            V2025_11,
            r#"{"extensions":{"io.modelcontextprotocol/ui":{}}}"#,
        ),
        (r#"{"experimental":{"a":{}},"roots":[]}"#, V2026_07, V2024_11, r#"{"experimental":{"a":{}},"roots":[]}"#),
    ];
    check(&cases, |capabilities, from, to| text(&capabilities_for(&capabilities, from, to)));
}

#[test]
fn a_server_declares_in_each_revisions_words() {
    let tasks = r#"{"tasks":{"cancel":{},"list":{},"requests":{"tools":{"call":{}}}}}"#;
    let extension = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
    let cases = [
        (r#"{"prompts":{}}"#, V2024_11, V2025_03, r#"{"prompts":{},"completions":{}}"#),
        (r#"{"tools":{}}"#, V2024_11, V2026_07, r#"{"tools":{}}"#),
        (r#"{"prompts":{},"completions":{},"logging":{}}"#, V2026_07, V2024_11, r#"{"prompts":{},"logging":{}}"#),
        (tasks, V2025_11, V2026_07, extension),
        (extension, V2026_07, V2025_11, tasks),
        (tasks, V2025_11, V2025_06, "{}"),
        (extension, V2026_07, V2025_03, "{}"),
        (tasks, V2025_06, V2026_07, "{}"),
        (r#"{"extensions":{"com.x/y":{"a":1}},"tasks":{"list":{}}}"#, V2025_11, V2026_07, r#"{"extensions":{"com.x/y":{"a":1}}}"#),
    ];
    check(&cases, |capabilities, from, to| text(&server_capabilities_for(&capabilities, from, to)));
}

#[test]
fn capabilities_that_mean_the_same_are_borrowed() {
    let plain = object(r#"{"roots":{},"sampling":{},"tools":{}}"#);
    for from in Revision::ALL {
        for to in Revision::ALL {
            assert!(matches!(capabilities_for(&plain, from, to), Cow::Borrowed(_)), "{from} to {to}");
            assert!(matches!(server_capabilities_for(&plain, from, to), Cow::Borrowed(_)), "{from} to {to}");
        }
    }
}

#[test]
fn a_program_describes_itself_as_the_revision_can() {
    let info = RawJson::from_static(r#"{"name":"n","title":"N","version":"1","icons":[],"description":"d","websiteUrl":"u","x":1}"#);
    assert_eq!(implementation_for(&info, V2025_11), info);
    assert_eq!(implementation_for(&info, V2025_06).as_str(), r#"{"name":"n","title":"N","version":"1","x":1}"#);
    assert_eq!(implementation_for(&info, V2024_11).as_str(), r#"{"name":"n","version":"1","x":1}"#);
    assert_eq!(implementation_for(&RawJson::from_static("[1]"), V2024_11).as_str(), "[1]");
}

#[test]
fn parameters_lose_what_the_server_has_no_word_for() {
    let complete = r#"{"ref":{"type":"ref/prompt","name":"p","title":"P"},"context":{"arguments":{}}}"#;
    let call = r#"{"name":"t","task":{"ttl":1},"inputResponses":{},"requestState":"s"}"#;
    let seen = |method, params, from, to| text(&params_for(method, &object(params), from, to));
    assert_eq!(seen(Method::Complete, complete, V2026_07, V2025_06), complete);
    assert_eq!(seen(Method::Complete, complete, V2026_07, V2025_03), r#"{"ref":{"type":"ref/prompt","name":"p"}}"#);
    assert_eq!(seen(Method::ToolsCall, call, V2026_07, V2025_11), r#"{"name":"t","task":{"ttl":1}}"#);
    assert_eq!(seen(Method::ToolsCall, call, V2026_07, V2025_06), r#"{"name":"t"}"#);
    assert_eq!(seen(Method::ToolsCall, r#"{"name":"t","task":{}}"#, V2025_11, V2026_07), r#"{"name":"t"}"#);
}

#[test]
fn a_notification_reaches_only_revisions_that_have_it() {
    let tell = |method: &str, params: &str, from, to| notification_for(method, object(params), from, to).map(|params| text(&params));
    let progress = r#"{"progress":1,"message":"m"}"#;
    assert_eq!(tell("notifications/progress", progress, V2026_07, V2025_03).unwrap(), progress);
    assert_eq!(tell("notifications/progress", progress, V2026_07, V2024_11).unwrap(), r#"{"progress":1}"#);
    let tagged = r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}"#;
    assert_eq!(tell("notifications/tools/list_changed", tagged, V2026_07, V2025_11).unwrap(), "{}");
    assert_eq!(tell("notifications/com.x/any", tagged, V2025_03, V2026_07).unwrap(), tagged);
    for (method, from, to) in [
        ("notifications/elicitation/complete", V2025_11, V2025_06),
        ("notifications/elicitation/complete", V2025_11, V2026_07),
        ("notifications/tasks/status", V2025_11, V2026_07),
        ("notifications/tasks", V2026_07, V2025_11),
        ("notifications/subscriptions/acknowledged", V2026_07, V2025_11),
        ("notifications/roots/list_changed", V2024_11, V2026_07),
    ] {
        assert!(tell(method, "{}", from, to).is_none(), "{method}");
        assert!(tell(method, "{}", from, from).is_some(), "{method}");
    }
}

fn ask(method: &str, params: &str, from: Revision, to: Revision) -> Result<String, Failure> {
    question_for(method, object(params), from, to).map(|params| text(&params))
}

#[test]
fn a_question_by_url_has_an_id_in_one_revision_alone() {
    let modern = r#"{"mode":"url","message":"m","url":"https://x.example"}"#;
    let legacy = ask("elicitation/create", modern, V2026_07, V2025_11).unwrap();
    assert!(object(&legacy).get_str("elicitationId").is_some_and(|id| id.len() == 32), "{legacy}");
    assert_eq!(legacy, ask("elicitation/create", modern, V2026_07, V2025_11).unwrap());
    assert_eq!(ask("elicitation/create", &legacy, V2025_11, V2026_07).unwrap(), modern);
    let failure = ask("elicitation/create", modern, V2026_07, V2025_06).unwrap_err();
    assert!(failure.public.contains("by URL") && failure.hint.unwrap().contains("2025-11-25"));
    let named = r#"{"mode":"url","elicitationId":"own"}"#;
    assert_eq!(ask("elicitation/create", named, V2026_07, V2025_11).unwrap(), named);
}

#[test]
fn a_question_keeps_the_key_that_its_server_gave_it() {
    let params = r#"{"message":"m","requestedSchema":{},"task":{"ttl":1},"_meta":{"dev.sallyport/inputKey":"k","io.modelcontextprotocol/related-task":{}}}"#;
    let expected = r#"{"message":"m","requestedSchema":{},"_meta":{"dev.sallyport/inputKey":"k"}}"#;
    assert_eq!(ask("elicitation/create", params, V2025_11, V2026_07).unwrap(), expected);
    assert_eq!(ask("elicitation/create", params, V2025_11, V2025_06).unwrap(), expected);
    assert_eq!(ask("elicitation/create", params, V2025_11, V2025_11).unwrap(), params);
}

#[test]
fn what_a_revision_cannot_ask_is_refused() {
    assert!(ask("elicitation/create", "{}", V2025_06, V2025_03).is_err());
    assert!(ask("elicitation/create", r#"{"mode":"hologram"}"#, V2026_07, V2025_06).is_err());
    assert!(ask("sampling/createMessage", r#"{"messages":[],"tools":[{}]}"#, V2026_07, V2025_06).is_err());
    let about_tools = r#"{"messages":[{"role":"user","content":[{"type":"tool_result"}]}]}"#;
    assert!(ask("sampling/createMessage", about_tools, V2025_11, V2025_06).is_err());
    assert_eq!(ask("roots/list", "{}", V2026_07, V2024_11).unwrap(), "{}");
}

#[test]
fn a_form_is_written_in_older_words_and_its_answer_in_newer_ones() {
    let form = r#"{"mode":"form","message":"m","requestedSchema":{"type":"object","properties":{
        "plain":{"type":"string","default":"d"},"yes":{"type":"boolean","default":true},
        "one":{"type":"string","oneOf":[{"const":"a","title":"A"}],"default":"a"},
        "many":{"type":"array","title":"Many","items":{"anyOf":[{"const":"x","title":"X"},{"const":"y","title":"Y"}]},"default":["y"]},
        "plainMany":{"type":"array","items":{"type":"string","enum":["v"]}}},"required":["many","plain"]}}"#;
    assert_eq!(
        ask("elicitation/create", form, V2026_07, V2025_06).unwrap(),
        concat!(
            r#"{"message":"m","requestedSchema":{"type":"object","properties":{"plain":{"type":"string"},"#,
            r#""yes":{"type":"boolean","default":true},"one":{"type":"string","enum":["a"],"enumNames":["A"]},"#,
            r#""many ∋ x":{"type":"boolean","title":"Many: X"},"many ∋ y":{"type":"boolean","title":"Many: Y","default":true},"#,
            r#""plainMany ∋ v":{"type":"boolean","title":"plainMany: v"}},"required":["plain","many ∋ x","many ∋ y"]}}"#
        )
    );
    let answer = object(r#"{"action":"accept","content":{"many ∋ x":false,"plain":"p","many ∋ y":true}}"#);
    assert_eq!(
        text(&answer_for("elicitation/create", answer, V2025_06, V2026_07)),
        r#"{"action":"accept","content":{"plain":"p","many":["y"]}}"#
    );
    let plain = r#"{"message":"m","requestedSchema":{"properties":{ "a": {"type":"integer"}}}}"#;
    assert_eq!(ask("elicitation/create", plain, V2025_11, V2025_06).unwrap(), plain);
}

#[test]
fn a_form_too_long_for_a_person_is_refused() {
    let options: Vec<String> = (0..1000).map(|n| format!("\"{n}\"")).collect();
    let many = format!(r#"{{"requestedSchema":{{"properties":{{"m":{{"type":"array","items":{{"enum":[{}]}}}}}}}}}}"#, options.join(","));
    assert!(ask("elicitation/create", &many, V2026_07, V2025_06).is_err());
    let odd = r#"{"requestedSchema":{"properties":{"m":{"type":"array"}}}}"#;
    assert!(ask("elicitation/create", odd, V2026_07, V2025_06).unwrap_err().public.contains("`m`"));
}

#[test]
fn sampling_has_one_block_a_message_before_2025_11_25() {
    let params = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"audio","mimeType":"m"}]},{"role":"assistant","content":{"type":"text","text":"b"}}],"tools":[],"toolChoice":{"mode":"none"}}"#;
    assert_eq!(
        ask("sampling/createMessage", params, V2026_07, V2025_06).unwrap(),
        r#"{"messages":[{"role":"user","content":{"type":"text","text":"a"}},{"role":"user","content":{"type":"audio","mimeType":"m"}},{"role":"assistant","content":{"type":"text","text":"b"}}]}"#
    );
    assert!(!ask("sampling/createMessage", params, V2026_07, V2024_11).unwrap().contains(r#""audio""#));
    let cases = [
        (
            r#"{"content":[{"type":"text","text":"a"},{"type":"image"},{"type":"text","text":"b"}]}"#,
            r#"{"content":{"type":"text","text":"a\nb"}}"#,
        ),
        (r#"{"content":[{"type":"image","data":""}]}"#, r#"{"content":{"type":"image","data":""}}"#),
        (r#"{"content":[]}"#, r#"{"content":{"type":"text","text":""}}"#),
        (r#"{"content":{"type":"text","text":"a"},"x":1}"#, r#"{"content":{"type":"text","text":"a"},"x":1}"#),
    ];
    for (answer, expected) in cases {
        assert_eq!(text(&answer_for("sampling/createMessage", object(answer), V2026_07, V2025_06)), expected);
    }
    let audio = object(r#"{"content":{"type":"audio","mimeType":"audio/wav"}}"#);
    assert!(text(&answer_for("sampling/createMessage", audio, V2025_03, V2024_11)).contains("audio/wav"));
}

#[test]
fn an_answer_is_no_result_of_its_own() {
    let answer = r#"{"resultType":"complete","action":"decline","_meta":{"io.modelcontextprotocol/related-task":{}}}"#;
    assert_eq!(text(&answer_for("elicitation/create", object(answer), V2026_07, V2025_06)), r#"{"action":"decline"}"#);
    assert_eq!(text(&answer_for("elicitation/create", object(r#"{"action":"cancel"}"#), V2025_06, V2026_07)), r#"{"action":"cancel"}"#);
}

#[test]
fn the_way_leads_from_neighbour_to_neighbour() {
    for (at, from) in Revision::ALL.into_iter().enumerate() {
        for (other, to) in Revision::ALL.into_iter().enumerate() {
            let downwards = |step: &Step| matches!(step, Step::Down(_));
            assert_eq!(way(from, to).count(), at.abs_diff(other));
            assert_eq!(way(from, to).filter(downwards).count(), at.saturating_sub(other));
        }
    }
}
