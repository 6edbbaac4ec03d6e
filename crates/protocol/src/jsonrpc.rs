//! JSON-RPC 2.0 as MCP uses it: frames in, frames out.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::raw::{CowText, ObjectSeed, RawJson, RawObject, write_string};

/// Bytes of a request id at most: ids are echoed and kept as long as a request runs.
const MAX_ID_BYTES: usize = 256;

/// A request's id, in exactly the JSON type it had.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(RawJson);

impl RequestId {
    /// An id of our own.
    #[must_use]
    pub fn number(value: u64) -> Self {
        Self(RawJson::parse(Bytes::copy_from_slice(itoa::Buffer::new().format(value).as_bytes())).unwrap_or(RawJson::from_static("0")))
    }

    /// An id out of a message: a string or an integer, of bounded length.
    #[must_use]
    pub fn from_json(value: &RawJson) -> Option<Self> {
        let bytes = value.as_bytes();
        let fits = bytes.len() <= MAX_ID_BYTES;
        let integer = bytes.iter().enumerate().all(|(at, byte)| byte.is_ascii_digit() || (at == 0 && *byte == b'-'));
        (fits && (integer || bytes.first() == Some(&b'"'))).then(|| Self(RawJson::clone(value)))
    }

    /// The number that this id is, where it is one.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.0.decode().ok()
    }

    /// The id as JSON.
    #[must_use]
    pub fn as_json(&self) -> &RawJson {
        &self.0
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0.as_str())
    }
}

/// An error as JSON-RPC has it.
#[derive(Clone, Debug)]
pub struct ErrorObject {
    /// The code (2026-07-28, error codes).
    pub code: i64,
    /// For people.
    pub message: String,
    /// For machines.
    pub data: Option<RawJson>,
}

impl ErrorObject {
    /// Reads an error object, wherever it stands. What is none becomes an internal error that holds it as data.
    #[must_use]
    pub fn read(raw: &RawJson) -> Self {
        read_error(raw)
    }

    /// The text was no JSON.
    pub const PARSE: i64 = -32700;
    /// The message was no request.
    pub const INVALID_REQUEST: i64 = -32600;
    /// There is no such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The parameters do not fit; also: no such tool, prompt, resource.
    pub const INVALID_PARAMS: i64 = -32602;
    /// It failed here.
    pub const INTERNAL: i64 = -32603;
    /// Up to 2025-11-25: no such resource.
    pub const RESOURCE_NOT_FOUND: i64 = -32002;
    /// An address has to be opened first (2025-11-25 only, url elicitation).
    pub const URL_ELICITATION_REQUIRED: i64 = -32042;
    /// 2026-07-28: header and body differ.
    pub const HEADER_MISMATCH: i64 = -32020;
    /// 2026-07-28: the client did not declare what this needs.
    pub const MISSING_CAPABILITY: i64 = -32021;
    /// 2026-07-28: a revision that is not spoken here.
    pub const UNSUPPORTED_VERSION: i64 = -32022;

    /// An error without data.
    #[must_use]
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The error as a JSON object.
    #[must_use]
    pub fn to_json(&self) -> RawJson {
        let mut object = RawObject::new();
        object.set("code", RawJson::encode(&self.code).unwrap_or(RawJson::from_static("-32603")));
        object.set("message", RawJson::string(&self.message));
        if let Some(data) = &self.data {
            object.set("data", data.clone());
        }
        object.to_json()
    }
}

/// One JSON-RPC message.
#[derive(Clone, Debug)]
pub enum Message {
    /// Wants an answer.
    Request {
        /// Names the request among its sender's.
        id: RequestId,
        /// What is asked.
        method: String,
        /// With what; `None` where the member was missing.
        params: Option<RawObject>,
    },
    /// Wants none.
    Notification {
        /// What is told.
        method: String,
        /// With what.
        params: Option<RawObject>,
    },
    /// Answers well. Every result of MCP is an object.
    Result {
        /// The request's id.
        id: RequestId,
        /// The result, opened.
        result: RawObject,
    },
    /// Answers with an error. Some servers send a wrong id or none with it.
    Error {
        /// The request's id where it could be read.
        id: Option<RequestId>,
        /// The error.
        error: ErrorObject,
    },
}

/// Why a text is no message.
#[derive(Clone, Debug)]
pub struct NotAMessage {
    /// The id to answer to, where it could be read.
    pub id: Option<RequestId>,
    /// What to answer with.
    pub error: ErrorObject,
}

impl fmt::Display for NotAMessage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.error.message)
    }
}

impl std::error::Error for NotAMessage {}

impl Message {
    /// Reads one message, in one pass over `text`, sharing its bytes.
    ///
    /// # Errors
    /// [`NotAMessage`] with the JSON-RPC error that answers it: no JSON, an array, an envelope that names a
    /// member twice, parameters or a result that is no object.
    pub fn parse(text: &Bytes) -> Result<Self, NotAMessage> {
        let mut parts = Parts::default();
        let mut reader = serde_json::Deserializer::from_slice(text);
        let read = PartsSeed { source: text, parts: &mut parts }.deserialize(&mut reader).and_then(|()| reader.end());
        match read {
            Ok(()) => parts.into_message(),
            Err(error) => Err(parts.refused(&error)),
        }
    }

    /// Reads a batch, which 2025-03-26 knew: one result an element.
    ///
    /// # Errors
    /// Where `text` is no array, an empty one, or one of more than `most` messages.
    pub fn parse_batch(text: &Bytes, most: usize) -> Result<Vec<Result<Self, NotAMessage>>, NotAMessage> {
        let fault = |code, message: String| NotAMessage { id: None, error: ErrorObject::new(code, message) };
        let items: Vec<&RawValue> = serde_json::from_slice(text).map_err(|error| fault(ErrorObject::PARSE, error.to_string()))?;
        if items.is_empty() || items.len() > most {
            return Err(fault(ErrorObject::INVALID_REQUEST, format!("a batch holds 1 to {most} messages, this one {}", items.len())));
        }
        Ok(items.into_iter().map(|raw| Self::parse(&text.slice_ref(raw.get().as_bytes()))).collect())
    }

    /// The message as one line of JSON, without the line's end. Line breaks between tokens become spaces.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.write_to(&mut out);
        if memchr::memchr2(b'\n', b'\r', &out).is_some() {
            // Inside strings a line break is always escaped, so what is found stands between tokens.
            for byte in &mut out {
                if matches!(byte, b'\n' | b'\r') {
                    *byte = b' ';
                }
            }
        }
        out
    }

    /// Appends the message to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Request { id, method, params } => {
                write_head(out, Some(id));
                write_call(out, method, params.as_ref());
            }
            Self::Notification { method, params } => {
                write_head(out, None);
                write_call(out, method, params.as_ref());
            }
            Self::Result { id, result } => {
                out.extend_from_slice(&result_head(id));
                result.write_to(out);
            }
            Self::Error { id, error } => {
                write_head(out, id.as_ref());
                out.extend_from_slice(b",\"error\":");
                out.extend_from_slice(error.to_json().as_bytes());
            }
        }
        out.push(b'}');
    }
}

/// What stands before a result on the wire; `}` stands behind it. So a large result is sent without being copied.
#[must_use]
pub fn result_head(id: &RequestId) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    write_head(&mut out, Some(id));
    out.extend_from_slice(b",\"result\":");
    out
}

fn write_head(out: &mut Vec<u8>, id: Option<&RequestId>) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\"");
    if let Some(id) = id {
        out.extend_from_slice(b",\"id\":");
        out.extend_from_slice(id.0.as_bytes());
    }
}

fn write_call(out: &mut Vec<u8>, method: &str, params: Option<&RawObject>) {
    out.extend_from_slice(b",\"method\":");
    write_string(out, method);
    if let Some(params) = params {
        out.extend_from_slice(b",\"params\":");
        params.write_to(out);
    }
}

/// The envelope's members, as far as they were read when something went wrong.
#[derive(Default)]
struct Parts {
    version: bool,
    id: Option<RawJson>,
    method: Option<String>,
    params: Option<RawObject>,
    result: Option<RawObject>,
    error: Option<RawJson>,
}

impl Parts {
    fn id(&self) -> Option<RequestId> {
        self.id.as_ref().and_then(RequestId::from_json)
    }

    fn refused(&self, error: &serde_json::Error) -> NotAMessage {
        let code = match error.classify() {
            serde_json::error::Category::Data if self.method.is_some() && self.id.is_some() => ErrorObject::INVALID_PARAMS,
            serde_json::error::Category::Data => ErrorObject::INVALID_REQUEST,
            _ => ErrorObject::PARSE,
        };
        NotAMessage { id: self.id(), error: ErrorObject::new(code, format!("not a JSON-RPC message: {error}")) }
    }

    fn into_message(self) -> Result<Message, NotAMessage> {
        let id = self.id();
        let bad = |what: &str| NotAMessage { id: id.clone(), error: ErrorObject::new(ErrorObject::INVALID_REQUEST, what) };
        if !self.version {
            return Err(bad("not a JSON-RPC message: member `jsonrpc` must be \"2.0\""));
        }
        let lost_id = self.id.as_ref().is_some_and(|value| !value.is_null()) && id.is_none();
        match (self.method, self.result, self.error) {
            (Some(_), None, None) if self.id.is_some() && id.is_none() => {
                Err(bad("the id must be a string or an integer of at most 256 bytes"))
            }
            (Some(method), None, None) => Ok(match id {
                Some(id) => Message::Request { id, method, params: self.params },
                None => Message::Notification { method, params: self.params },
            }),
            (None, Some(result), None) => match id {
                Some(id) => Ok(Message::Result { id, result }),
                None => Err(bad("a result needs the id of its request")),
            },
            (None, None, Some(error)) if !lost_id || id.is_none() => Ok(Message::Error { error: read_error(&error), id }),
            _ => Err(bad("a message has one of `method`, `result`, `error`")),
        }
    }
}

#[derive(Deserialize)]
struct WireError<'a> {
    #[serde(default)]
    code: Option<i64>,
    #[serde(borrow, default)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

/// A value that is there, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads an error as forgivingly as can be: it is an answer already.
fn read_error(raw: &RawJson) -> ErrorObject {
    match raw.decode::<WireError<'_>>() {
        Ok(wire) => ErrorObject {
            code: wire.code.unwrap_or(ErrorObject::INTERNAL),
            message: wire.message.map_or_else(|| "an error without a message".to_owned(), Cow::into_owned),
            data: wire.data.and_then(|data| RawJson::parse(Bytes::copy_from_slice(data.get().as_bytes())).ok()),
        },
        Err(_) => ErrorObject { code: ErrorObject::INTERNAL, message: "a malformed error".to_owned(), data: Some(raw.clone()) },
    }
}

struct PartsSeed<'s, 'p> {
    source: &'s Bytes,
    parts: &'p mut Parts,
}

impl<'de> DeserializeSeed<'de> for PartsSeed<'de, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PartsSeed<'de, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("one JSON-RPC message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (source, parts) = (self.source, self.parts);
        while let Some(key) = map.next_key_seed(CowText)? {
            let again = match key.as_ref() {
                "jsonrpc" => {
                    let value = map.next_value_seed(CowText)?;
                    std::mem::replace(&mut parts.version, value == "2.0")
                }
                "id" => parts.id.replace(RawJson::cut(source, map.next_value()?)).is_some(),
                "method" => parts.method.replace(map.next_value_seed(CowText)?.into_owned()).is_some(),
                "params" => parts.params.replace(map.next_value_seed(ObjectSeed { source })?).is_some(),
                "result" => parts.result.replace(map.next_value_seed(ObjectSeed { source })?).is_some(),
                "error" => parts.error.replace(RawJson::cut(source, map.next_value()?)).is_some(),
                _ => {
                    map.next_value::<de::IgnoredAny>()?;
                    false
                }
            };
            if again {
                return Err(de::Error::custom(format_args!("member `{key}` named twice")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
