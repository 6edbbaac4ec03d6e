//! What holds for everything that crosses between revisions.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;
use sallyport_protocol::revisions::{
    answer_for, capabilities_for, implementation_for, notification_for, params_for, question_for, reply_for, server_capabilities_for,
};
use sallyport_protocol::{Era, Failure, Message, Method, RawJson, RawObject, Reply, Revision, ServerIdentity};
use serde_json::Value;

use crate::corpus;
use crate::generate::{NOTIFICATIONS, array_of, json, object, object_of, one_of, string};

const QUESTIONS: [&str; 3] = ["elicitation/create", "sampling/createMessage", "roots/list"];

fn open(text: &str) -> RawObject {
    RawObject::parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn reply(result: RawObject, from: Revision, method: Method, to: Revision) -> Result<RawObject, Failure> {
    reply_for(Reply { result, revision: from }, method, to, &ServerIdentity::new("us", "1"))
}

fn block() -> BoxedStrategy<String> {
    object_of(vec![
        ("type", one_of(&["\"text\"", "\"audio\"", "\"image\"", "\"resource_link\"", "\"resource\"", "\"tool_use\"", "\"new\""])),
        ("text", string().boxed()),
        ("mimeType", string().boxed()),
        ("uri", string().boxed()),
        ("name", string().boxed()),
        ("title", string().boxed()),
        ("icons", one_of(&["[]", "[{}]"])),
        ("annotations", one_of(&[r#"{"lastModified":"x"}"#, r#"{"priority":1,"lastModified":"x"}"#, r#"{"audience":[]}"#])),
    ])
}

fn entry() -> BoxedStrategy<String> {
    object_of(vec![
        ("name", string().boxed()),
        ("title", string().boxed()),
        ("icons", one_of(&["[]"])),
        ("execution", one_of(&[r#"{"taskSupport":"required"}"#])),
        ("outputSchema", one_of(&[r#"{"type":"object"}"#, r#"{"type":"array"}"#, "true"])),
        ("annotations", one_of(&[r#"{"title":"t"}"#, r#"{"lastModified":"x"}"#, "{}"])),
        ("arguments", one_of(&[r#"[{"name":"a","title":"A"}]"#])),
    ])
}

fn result() -> BoxedStrategy<String> {
    let message = || object_of(vec![("role", one_of(&["\"user\""])), ("content", prop_oneof![block(), array_of(block())].boxed())]);
    object_of(vec![
        ("resultType", one_of(&["\"complete\"", "\"complete\"", "\"complete\"", "\"input_required\"", "\"task\""])),
        ("ttlMs", one_of(&["5"])),
        ("cacheScope", one_of(&["\"public\""])),
        ("content", array_of(block())),
        ("structuredContent", prop_oneof![object().boxed(), json().boxed()].boxed()),
        ("messages", array_of(message())),
        ("tools", array_of(entry())),
        ("prompts", array_of(entry())),
        ("resources", array_of(entry())),
        ("resourceTemplates", array_of(entry())),
        (
            "_meta",
            one_of(&[
                r#"{"io.modelcontextprotocol/serverInfo":{"name":"them"},"com.x/kept":1}"#,
                r#"{"io.modelcontextprotocol/related-task":{"taskId":"1"}}"#,
                r#"{"io.modelcontextprotocol/other":1}"#,
            ]),
        ),
    ])
}

fn capabilities() -> BoxedStrategy<String> {
    object_of(vec![
        ("elicitation", one_of(&["{}", r#"{"form":{}}"#, r#"{"url":{}}"#, r#"{"form":{},"url":{}}"#])),
        ("sampling", one_of(&["{}", r#"{"tools":{},"context":{}}"#])),
        ("roots", one_of(&["{}", r#"{"listChanged":true}"#])),
        ("tasks", one_of(&["{}", r#"{"list":{},"requests":{"tools":{"call":{}}}}"#])),
        ("completions", one_of(&["{}"])),
        ("prompts", one_of(&[r#"{"listChanged":true}"#])),
        ("resources", one_of(&[r#"{"subscribe":true}"#])),
        ("logging", one_of(&["{}"])),
        (
            "extensions",
            one_of(&["{}", r#"{"io.modelcontextprotocol/tasks":{}}"#, r#"{"io.modelcontextprotocol/tasks":{},"com.x/y":{"a":1}}"#]),
        ),
    ])
}

fn question() -> BoxedStrategy<String> {
    let options = r#"{"type":"array","items":{"enum":["a","b"]},"default":["a"]}"#;
    let titled = r#"{"type":"array","title":"T","items":{"anyOf":[{"const":"a","title":"A"}]}}"#;
    let field = select(vec![
        options,
        titled,
        r#"{"type":"string","default":"x"}"#,
        r#"{"type":"boolean","default":true}"#,
        r#"{"type":"string","oneOf":[{"const":"a","title":"A"}]}"#,
        r#"{"type":"string","enum":["a"],"enumNames":["A"]}"#,
    ]);
    let form = (field.clone(), field)
        .prop_map(|(one, other)| format!(r#"{{"type":"object","properties":{{"one":{one},"other":{other}}},"required":["one"]}}"#));
    let message = object_of(vec![("role", one_of(&["\"user\""])), ("content", prop_oneof![block(), array_of(block())].boxed())]);
    object_of(vec![
        ("mode", one_of(&["\"form\"", "\"form\"", "\"url\""])),
        ("message", string().boxed()),
        ("url", string().boxed()),
        ("elicitationId", string().boxed()),
        ("requestedSchema", form.boxed()),
        ("task", one_of(&[r#"{"ttl":1}"#])),
        ("messages", array_of(message)),
        ("tools", one_of(&["[]", "[{}]"])),
        ("toolChoice", one_of(&["{}"])),
        ("_meta", one_of(&[r#"{"dev.sallyport/inputKey":"k"}"#, r#"{"io.modelcontextprotocol/related-task":{}}"#])),
    ])
}

fn answer() -> BoxedStrategy<String> {
    let content = prop_oneof![object().boxed(), block(), array_of(block()), one_of(&[r#"{"one ∋ a":true,"one ∋ b":false,"x":"y"}"#])];
    object_of(vec![
        ("action", one_of(&["\"accept\"", "\"decline\""])),
        ("content", content.boxed()),
        ("role", one_of(&["\"assistant\""])),
        ("resultType", one_of(&["\"complete\""])),
    ])
}

fn revision() -> impl Strategy<Value = Revision> {
    select(&Revision::ALL[..])
}

/// The newer first.
fn downwards() -> impl Strategy<Value = (Revision, Revision)> {
    (revision(), revision()).prop_map(|(one, other)| (one.max(other), one.min(other)))
}

fn value(object: &RawObject) -> Value {
    object.to_json().decode().unwrap()
}

fn is_json(object: &RawObject) -> bool {
    serde_json::from_slice::<Value>(&object.to_bytes()).is_ok_and(|value| value.is_object())
}

/// The members that no revision names.
fn unknown(object: &RawObject) -> Option<RawJson> {
    object.get("x-unknown").cloned()
}

#[test]
fn recorded_results_cross_to_every_revision() {
    for (from, text) in corpus::messages() {
        let Ok(Message::Result { result, .. }) = Message::parse(&text) else { continue };
        for method in Method::ALL.iter().copied() {
            for to in Revision::ALL {
                if let Ok(crossed) = reply(result.clone(), from, method, to) {
                    assert!(is_json(&crossed), "{from} {to}");
                    // A client of the server's own legacy revision gets the very bytes: nothing was copied.
                    let same = crossed.unchanged().map(|text| text.as_ptr()) == result.unchanged().map(|text| text.as_ptr());
                    assert!(from != to || to.era() == Era::Modern || same, "{from}");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn results_cross(text in result(), method in select(Method::ALL), (from, to) in (revision(), revision())) {
        let Ok(crossed) = reply(open(&text), from, method, to) else { return Ok(()) };
        prop_assert!(is_json(&crossed));
        prop_assert_eq!(unknown(&crossed), unknown(&open(&text)));
        if to.era() == Era::Legacy && from == to {
            prop_assert_eq!(crossed.to_bytes(), text);
        }
    }

    #[test]
    fn a_narrowed_result_is_narrow_and_says_what_the_older_can_say(
        text in result(),
        method in select(Method::ALL),
        (from, to) in downwards(),
    ) {
        let Ok(narrow) = reply(open(&text), from, method, to) else { return Ok(()) };
        prop_assert_eq!(&reply(narrow.clone(), from, method, to).unwrap().to_json(), &narrow.to_json());
        let says_nothing = narrow.get("_meta").is_some_and(|meta| meta.object().map_or(true, |meta| meta.is_empty()));
        if says_nothing || text.contains("related-task") || text.contains("\"execution\"") {
            return Ok(()); // the first is nothing to keep, and the newest revision has no word for the others
        }
        let widened = reply(narrow.clone(), to, method, from).unwrap();
        prop_assert_eq!(reply(widened, from, method, to).unwrap().to_json().decode::<Value>().unwrap(), narrow.to_json().decode::<Value>().unwrap());
    }

    #[test]
    fn a_long_way_is_the_sum_of_its_steps(text in result(), method in select(Method::ALL), (from, to) in (revision(), revision())) {
        let direct = reply(open(&text), from, method, to);
        let between = Revision::ALL.into_iter().filter(|mid| *mid > from.min(to) && *mid < from.max(to));
        for middle in between {
            let stepwise = reply(open(&text), from, method, middle).and_then(|result| reply(result, middle, method, to));
            prop_assert_eq!(stepwise.map(|result| result.to_json()).ok(), direct.clone().map(|result| result.to_json()).ok());
        }
    }

    #[test]
    fn capabilities_cross(text in capabilities(), (from, to) in (revision(), revision())) {
        let own = open(&text);
        for translate in [capabilities_for, server_capabilities_for] {
            let crossed = translate(&own, from, to).into_owned();
            prop_assert!(is_json(&crossed));
            prop_assert_eq!(unknown(&crossed), unknown(&own));
            if from > to {
                prop_assert_eq!(&translate(&crossed, from, to).to_json(), &crossed.to_json());
                let widened = translate(&crossed, to, from).into_owned();
                prop_assert_eq!(value(&translate(&translate(&widened, from, to), to, from)), value(&widened));
            }
        }
    }

    #[test]
    fn questions_and_answers_cross(
        asked in question(),
        answered in answer(),
        method in select(&QUESTIONS[..]),
        (from, to) in (revision(), revision()),
    ) {
        if let Ok(crossed) = question_for(method, open(&asked), from, to) {
            prop_assert!(is_json(&crossed));
            prop_assert_eq!(unknown(&crossed), unknown(&open(&asked)));
            if from >= to {
                prop_assert_eq!(question_for(method, crossed.clone(), from, to).unwrap().to_json(), crossed.to_json());
            }
        }
        let crossed = answer_for(method, open(&answered), from, to);
        prop_assert!(is_json(&crossed));
        prop_assert_eq!(unknown(&crossed), unknown(&open(&answered)));
        prop_assert_eq!(answer_for(method, crossed.clone(), from, to).to_json(), crossed.to_json());
    }

    #[test]
    fn a_multiple_choice_comes_back_as_it_was_asked(chosen in proptest::sample::subsequence(vec!["a", "b", "c d", "∋"], 0..=4)) {
        let asked = r#"{"requestedSchema":{"properties":{"m":{"type":"array","items":{"enum":["a","b","c d","∋"]}}},"required":["m"]}}"#;
        let narrow = question_for("elicitation/create", open(asked), Revision::LATEST, Revision::V2025_06_18).unwrap();
        let narrow = value(&narrow);
        let mut content = serde_json::Map::new();
        for name in narrow["requestedSchema"]["required"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            content.insert(name.to_owned(), chosen.iter().any(|option| name == format!("m ∋ {option}")).into());
        }
        let answer = RawObject::encode(&serde_json::json!({"action": "accept", "content": content})).unwrap();
        let answer = answer_for("elicitation/create", answer, Revision::V2025_06_18, Revision::LATEST);
        let mut found: Vec<String> = answer.get_object("content").unwrap().unwrap().get("m").unwrap().decode().unwrap();
        found.sort_unstable();
        let mut expected: Vec<String> = chosen.iter().map(|option| (*option).to_owned()).collect();
        expected.sort_unstable();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn parameters_notifications_and_names_cross(
        text in object(),
        method in select(Method::ALL),
        told in select(NOTIFICATIONS),
        (from, to) in (revision(), revision()),
    ) {
        prop_assert!(is_json(&params_for(method, &open(&text), from, to)));
        let heard = notification_for(told, open(&text), from, to);
        prop_assert!(heard.as_ref().is_none_or(is_json));
        prop_assert!(from != to || heard.is_some_and(|heard| heard.to_bytes() == text));
        let info = implementation_for(&RawJson::parse(text).unwrap(), to);
        prop_assert_eq!(implementation_for(&info, to), info);
    }
}
