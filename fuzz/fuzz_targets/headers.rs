//! Values of headers and the headers of arguments: no panic; what is encoded is decoded the same, and a call's own headers fit it.
//!
//! The input is a tool's input schema, a zero byte, the arguments of a call, a zero byte, and any value of a header.
#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sallyport_protocol::RawJson;

// By its path: with the crate around it TLS and HTTP would have to be built.
#[rustfmt::skip]
#[path = "../../crates/transport/src/headers.rs"]
#[allow(dead_code, reason = "the target uses what encodes, decodes and compares")]
mod headers;

use headers::{ParamHeaders, decode_value, encode_value};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (schema, arguments, value) = (next(), next(), next());
    if let Ok(text) = std::str::from_utf8(value) {
        assert_eq!(decode_value(&encode_value(text)).expect("what was encoded is decoded"), text);
    }
    let value = HeaderValue::from_bytes(value).ok();
    if let Some(value) = &value {
        let _ = decode_value(value);
    }
    let Ok(schema) = RawJson::parse(schema.to_vec()) else { return };
    let Ok(params) = ParamHeaders::of_schema(&schema) else { return };
    let arguments = RawJson::parse(arguments.to_vec()).ok();
    let Ok(made) = params.for_arguments(arguments.as_ref()) else { return };
    let mut sent = HeaderMap::new();
    for (name, value) in made {
        sent.append(name, value);
    }
    params.check(&sent, arguments.as_ref()).expect("a call's own headers fit it");
    // One more of the same header never does; another value does only where it says the same.
    if let (Some(value), Some(name)) = (value, sent.keys().next().cloned()) {
        let mut other = sent.clone();
        other.insert(&name, value.clone());
        let _ = params.check(&other, arguments.as_ref());
        sent.append(name, value);
        assert!(params.check(&sent, arguments.as_ref()).is_err());
    }
});
