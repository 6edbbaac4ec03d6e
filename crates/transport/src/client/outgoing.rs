//! Requests as a server of either era wants them.

use sallyport_protocol::raw::write_string;
use sallyport_protocol::request::PROTOCOL_PREFIX;
use sallyport_protocol::revisions::params_for;
use sallyport_protocol::{Client, Era, RawJson, RawObject, Request, Revision, ServerIdentity};

use super::{Options, capability};

/// Room for what surrounds the parameters: the envelope, `_meta` with version, client and a few capabilities.
const ENVELOPE_BYTES: usize = 512;

/// Writes a request as the message `id`, in one pass. `client` is whose request it is; `None` for our own.
pub(crate) fn write_request(id: u64, request: &Request, revision: Revision, options: &Options, client: Option<&Client>) -> Vec<u8> {
    let params = params_for(request.method, &request.params, Revision::LATEST, revision);
    let size: usize = params.iter().map(|(key, value)| key.len() + value.as_bytes().len() + 4).sum();
    let mut out = Vec::with_capacity(size + ENVELOPE_BYTES);
    let mut number = itoa(id);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.append(&mut number);
    out.extend_from_slice(b",\"method\":");
    write_string(&mut out, request.method.as_str());
    out.extend_from_slice(b",\"params\":{");
    let mut first = true;
    for (key, value) in params.iter() {
        write_member(&mut out, &mut first, key, value.as_bytes());
    }
    write_meta(&mut out, first, id, request, revision, options, client);
    out.extend_from_slice(b"}}");
    out
}

/// Writes `_meta`, if there is anything to say in it.
fn write_meta(
    out: &mut Vec<u8>,
    first_param: bool,
    id: u64,
    request: &Request,
    revision: Revision,
    options: &Options,
    client: Option<&Client>,
) {
    let modern = revision.era() == Era::Modern;
    let meta = &request.meta;
    if !modern && meta.progress_token.is_none() && meta.other.is_empty() {
        return;
    }
    let mut first = first_param;
    write_key(out, &mut first, "_meta");
    out.push(b'{');
    let mut first = true;
    if modern {
        write_own(out, &mut first, "protocolVersion", &RawJson::string(revision.as_str()));
        write_own(out, &mut first, "clientInfo", &options.identity.info);
        let declared = |client| capability::declared(client, options.questions).to_json();
        let capabilities = client.map_or(RawJson::from_static("{}"), declared);
        write_own(out, &mut first, "clientCapabilities", &capabilities);
        if let Some(level) = meta.log_level {
            write_own(out, &mut first, "logLevel", &RawJson::string(level.as_str()));
        }
    }
    if meta.progress_token.is_some() {
        write_member(out, &mut first, "progressToken", &itoa(id));
    }
    for (key, value) in meta.other.iter() {
        write_member(out, &mut first, key, value.as_bytes());
    }
    out.push(b'}');
}

fn itoa(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn write_own(out: &mut Vec<u8>, first: &mut bool, key: &str, value: &RawJson) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(PROTOCOL_PREFIX.as_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value.as_bytes());
}

fn write_member(out: &mut Vec<u8>, first: &mut bool, key: &str, value: &[u8]) {
    write_key(out, first, key);
    out.extend_from_slice(value);
}

fn write_key(out: &mut Vec<u8>, first: &mut bool, key: &str) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    write_string(out, key);
    out.push(b':');
}

/// The parameters of `initialize`.
pub(crate) fn initialize_params(identity: &ServerIdentity, capabilities: &RawObject) -> RawObject {
    let mut params = RawObject::new();
    params.set("protocolVersion", RawJson::string(Revision::LATEST_LEGACY.as_str()));
    params.set("capabilities", capabilities.to_json());
    params.set("clientInfo", identity.info.clone());
    params
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use sallyport_protocol::{LogLevel, Method};

    fn request() -> Request {
        let params = RawJson::from_static(r#"{"name":"echo","arguments":{"n": 1.0}}"#).object().unwrap();
        let mut request = Request::new(Method::ToolsCall, params);
        request.meta.other.set("traceparent", RawJson::string("00-a-b-01"));
        request
    }

    fn written(request: &Request, revision: Revision, client: Option<&Client>) -> String {
        String::from_utf8(write_request(7, request, revision, &Options::new("x", ServerIdentity::new("us", "1")), client)).unwrap()
    }

    #[test]
    fn a_legacy_request_is_plain() {
        let mut request = request();
        assert_eq!(
            written(&request, Revision::V2025_11_25, None),
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"n": 1.0},"_meta":{"traceparent":"00-a-b-01"}}}"#
        );
        request.meta = sallyport_protocol::Meta::default();
        request.params = RawObject::new();
        assert_eq!(written(&request, Revision::V2025_11_25, None), r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}"#);
    }

    #[test]
    fn an_older_server_is_told_what_its_revision_has_words_for() {
        let params = RawJson::from_static(r#"{"argument":{"name":"a","value":""},"context":{"arguments":{}}}"#).object().unwrap();
        let request = Request::new(Method::Complete, params);
        assert!(written(&request, Revision::V2025_06_18, None).contains("context"));
        assert!(!written(&request, Revision::V2025_03_26, None).contains("context"));
    }

    #[test]
    fn a_modern_request_says_everything_in_meta() {
        let mut request = request();
        request.meta.progress_token = Some(RawJson::string("theirs"));
        request.meta.log_level = Some(LogLevel::Error);
        let capabilities = RawJson::from_static(r#"{"sampling":{}}"#).object().unwrap();
        let client = Client { revision: Revision::V2026_07_28, capabilities, info: None };
        let text = written(&request, Revision::V2026_07_28, Some(&client));
        let meta = RawJson::parse(text).unwrap().object().unwrap().get_object("params").unwrap().unwrap().get("_meta").unwrap().clone();
        assert_eq!(
            meta.as_str(),
            concat!(
                r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"us","version":"1"},"#,
                r#""io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"io.modelcontextprotocol/logLevel":"error","#,
                r#""progressToken":7,"traceparent":"00-a-b-01"}"#
            )
        );
    }
}
