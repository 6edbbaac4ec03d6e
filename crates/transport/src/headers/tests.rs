#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;

fn schema(text: &'static str) -> Result<ParamHeaders, BadAnnotation> {
    ParamHeaders::of_schema(&RawJson::from_static(text))
}

fn sent(params: &ParamHeaders, arguments: &'static str) -> Vec<(String, String)> {
    let headers = params.for_arguments(Some(&RawJson::from_static(arguments))).unwrap();
    headers.into_iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

#[test]
fn values_survive_the_header_whatever_they_hold() {
    for text in ["echo", "a b\tc", "ünï", " lead", "trail ", "=?base64?eA==?=", "line\nbreak", "", "=?base64?", "日本"] {
        assert_eq!(decode_value(&encode_value(text)).unwrap(), text, "{text:?}");
    }
    assert_eq!(encode_value("file:///a b"), "file:///a b");
    assert_eq!(encode_value("é"), "=?base64?w6k=?=");
}

#[test]
fn broken_wrapping_is_refused_and_other_case_is_literal() {
    assert_eq!(decode_value(&HeaderValue::from_static("=?base64?!!?=")), Err(BadValue));
    assert_eq!(decode_value(&HeaderValue::from_static("=?base64?/w==?=")), Err(BadValue));
    assert_eq!(decode_value(&HeaderValue::from_bytes(b"caf\xe9").unwrap()), Err(BadValue));
    assert_eq!(decode_value(&HeaderValue::from_static("=?BASE64?eA==?=")).unwrap(), "=?BASE64?eA==?=");
}

#[test]
fn annotated_arguments_become_headers() {
    let params = schema(
        r#"{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "count":{"type":"integer","x-mcp-header":"Count"},
            "deep":{"type":"object","properties":{"dry":{"type":"boolean","x-mcp-header":"Dry-Run"}}},
            "x-mcp-header":{"type":"string"}}}"#,
    )
    .unwrap();
    let mut headers = sent(&params, r#"{"region":"eu","count":42.0,"deep":{"dry":false}}"#);
    headers.sort();
    let expected = [("mcp-param-count", "42"), ("mcp-param-dry-run", "false"), ("mcp-param-region", "eu")];
    assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(sent(&params, r#"{"region":null,"deep":{}}"#), []);
    assert_eq!(params.for_arguments(None).unwrap(), []);
    assert!(params.for_arguments(Some(&RawJson::from_static(r#"{"count":9007199254740993}"#))).is_err());
}

#[test]
fn annotations_that_may_not_be_there_are_named() {
    for (bad, what) in [
        (r#"{"properties":{"a":{"type":"string","x-mcp-header":""}}}"#, "no text"),
        (r#"{"properties":{"a":{"type":"string","x-mcp-header":7}}}"#, "no text"),
        (r#"{"properties":{"a":{"type":"string","x-mcp-header":"a b"}}}"#, "no name of a header"),
        (r#"{"properties":{"a":{"type":"string","x-mcp-header":"a\nb"}}}"#, "no name of a header"),
        (r#"{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}"#, "no string, integer or boolean"),
        (r#"{"properties":{"a":{"type":"object","x-mcp-header":"A"}}}"#, "no string, integer or boolean"),
        (r#"{"properties":{"a":{"x-mcp-header":"A"}}}"#, "no string, integer or boolean"),
        (r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}"#, "another property has"),
        (r#"{"properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}}"#, "no chain"),
        (r#"{"oneOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}"#, "no chain"),
        (r##"{"$defs":{"d":{"type":"string","x-mcp-header":"A"}},"properties":{"a":{"$ref":"#/$defs/d"}}}"##, "no chain"),
    ] {
        let error = schema(bad).unwrap_err();
        assert!(error.0.contains(what), "{bad}: {error}");
    }
    assert!(schema(r#"{"properties":{"a":{"enum":[{"x-mcp-header":""}]}}}"#).unwrap().is_empty());
}

#[test]
fn header_and_argument_must_agree() {
    let params = schema(r#"{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}}"#).unwrap();
    let check = |header: Option<&'static str>, arguments: &'static str| {
        let headers = header.map(|value| (HeaderName::from_static("mcp-param-n"), HeaderValue::from_static(value)));
        params.check(&headers.into_iter().collect(), Some(&RawJson::from_static(arguments)))
    };
    assert!(check(Some("42"), r#"{"n":42}"#).is_ok());
    assert!(check(Some("42.0"), r#"{"n":42}"#).is_ok());
    assert!(check(None, r#"{"n":null}"#).is_ok());
    for (header, arguments) in [
        (Some("43"), r#"{"n":42}"#),
        (None, r#"{"n":42}"#),
        (Some("42"), "{}"),
        (Some("=?base64?*?="), r#"{"n":42}"#),
        (Some("inf"), r#"{"n":1}"#),
    ] {
        assert!(check(header, arguments).is_err(), "{header:?} {arguments}");
    }
}
