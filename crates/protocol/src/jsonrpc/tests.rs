#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn parse(text: &str) -> Result<Message, NotAMessage> {
    Message::parse(&Bytes::copy_from_slice(text.as_bytes()))
}

fn line(message: &Message) -> String {
    String::from_utf8(message.to_line()).unwrap()
}

#[test]
fn a_message_is_written_as_it_was_read() {
    for text in [
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"x":1.0e2}}}"#,
        r#"{"jsonrpc":"2.0","id":"a\"b","method":"ping"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":-3,"result":{"content":[ ],"future":{"kept":true}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no such tool","data":{"x":[1]}}}"#,
        r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request"}}"#,
    ] {
        assert_eq!(line(&parse(text).unwrap()), text);
    }
}

#[test]
fn a_line_holds_no_line_break() {
    let message = parse("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":{\n  \"a\": \"x\\ny\"\r\n}}").unwrap();
    assert_eq!(line(&message), r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{   "a": "x\ny"  }}"#);
}

#[test]
fn what_is_no_message_is_answered_with_its_code_and_id() {
    for (text, code, id) in [
        ("", ErrorObject::PARSE, None),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,", ErrorObject::PARSE, Some("1")),
        ("[]", ErrorObject::INVALID_REQUEST, None),
        (r#"{"id":1,"method":"x"}"#, ErrorObject::INVALID_REQUEST, Some("1")),
        (r#"{"jsonrpc":"2.0","id":1}"#, ErrorObject::INVALID_REQUEST, Some("1")),
        (r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, ErrorObject::INVALID_REQUEST, None),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#, ErrorObject::INVALID_REQUEST, None),
        (r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, ErrorObject::INVALID_REQUEST, None),
        (r#"{"jsonrpc":"2.0","id":2,"method":"x","params":[1]}"#, ErrorObject::INVALID_PARAMS, Some("2")),
        (r#"{"jsonrpc":"2.0","id":2,"method":"x","params":{"a":1,"a":2}}"#, ErrorObject::INVALID_PARAMS, Some("2")),
        (r#"{"jsonrpc":"2.0","id":3,"id":4,"method":"x"}"#, ErrorObject::INVALID_REQUEST, Some("4")),
        (r#"{"jsonrpc":"2.0","id":5,"result":{},"error":{"code":1,"message":""}}"#, ErrorObject::INVALID_REQUEST, Some("5")),
        (r#"{"jsonrpc":"2.0","id":5,"result":[]}"#, ErrorObject::INVALID_REQUEST, Some("5")),
    ] {
        let refused = parse(text).unwrap_err();
        assert_eq!((refused.error.code, refused.id.as_ref().map(|id| id.as_json().as_str())), (code, id), "{text}");
    }
}

#[test]
fn an_error_with_a_bogus_id_is_still_an_error() {
    let message = parse(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request"}}"#).unwrap();
    assert!(matches!(message, Message::Error { id: None, error } if error.code == -32000));
}

#[test]
fn a_batch_is_read_message_by_message() {
    let text = Bytes::from_static(br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}, 5]"#);
    let batch = Message::parse_batch(&text, 10).unwrap();
    assert!(matches!(&batch[0], Ok(Message::Request { .. })));
    assert!(batch[1].is_err());
    assert!(Message::parse_batch(&text, 1).is_err());
    assert!(Message::parse_batch(&Bytes::from_static(b"[]"), 1).is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in ".*") {
        let _ = parse(&text);
    }

    #[test]
    fn any_id_comes_back_in_its_type(number: i64, text in "[a-z\"\\\\ ]{0,40}") {
        for id in [number.to_string(), serde_json::to_string(&text).unwrap()] {
            let frame = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            proptest::prop_assert_eq!(line(&parse(&frame).unwrap()), frame);
        }
    }
}
