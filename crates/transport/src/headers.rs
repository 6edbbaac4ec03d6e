//! The headers that MCP adds to HTTP: their names, their encoding, and which argument of a tool goes into which.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use sallyport_protocol::RawJson;
use serde_json::Value;

/// The revision that the message is written in (2025-06-18 and later).
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The method in the body (2026-07-28).
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// The name, URI or task id in the body (2026-07-28).
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The session (2025-03-26 to 2025-11-25).
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The event after which a broken stream is to go on (2025-03-26 to 2025-11-25).
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Begins the names of headers that repeat an argument (2026-07-28, `x-mcp-header`).
pub const PARAM_PREFIX: &str = "mcp-param-";

/// The annotation of a tool's input schema that asks for such a header.
const ANNOTATION: &str = "x-mcp-header";
const SENTINEL_START: &str = "=?base64?";
const SENTINEL_END: &str = "?=";
/// Integers beyond ±(2^53 − 1) are not told apart by every JSON reader and may not be annotated values.
const LARGEST_INTEGER: f64 = 9_007_199_254_740_991.0;

/// A text as a header's value: as it is where HTTP can carry it, else in base64 between markers (2026-07-28, §`x-mcp-header`).
#[must_use]
pub fn encode_value(text: &str) -> HeaderValue {
    let marked = text.starts_with(SENTINEL_START) && text.ends_with(SENTINEL_END);
    let carried = text.bytes().all(|byte| matches!(byte, 0x20..=0x7e | b'\t')) && text.trim_ascii().len() == text.len();
    let plain = if carried && !marked { HeaderValue::from_str(text).ok() } else { None };
    plain.unwrap_or_else(|| {
        let wrapped = format!("{SENTINEL_START}{}{SENTINEL_END}", STANDARD.encode(text));
        HeaderValue::try_from(wrapped).unwrap_or(HeaderValue::from_static("")) // base64 always is a header value
    })
}

/// The text that a header's value carries.
///
/// # Errors
/// [`BadValue`] where the value is no visible ASCII, or has the markers and no base64 of UTF-8 between them.
pub fn decode_value(value: &HeaderValue) -> Result<Cow<'_, str>, BadValue> {
    let text = value.to_str().map_err(|_| BadValue)?;
    let Some(wrapped) = text.strip_prefix(SENTINEL_START).and_then(|rest| rest.strip_suffix(SENTINEL_END)) else {
        return Ok(Cow::Borrowed(text));
    };
    let bytes = STANDARD.decode(wrapped).map_err(|_| BadValue)?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| BadValue)
}

/// A header's value that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadValue;

impl fmt::Display for BadValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the value is neither visible ASCII nor base64 of UTF-8 between `=?base64?` and `?=`")
    }
}

impl std::error::Error for BadValue {}

/// Which arguments of a tool are repeated in headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamHeaders(Vec<ParamHeader>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct ParamHeader {
    header: HeaderName,
    /// The names of the properties that lead to the argument.
    path: Vec<String>,
    /// Integers are compared by value, everything else as text.
    integer: bool,
}

impl ParamHeaders {
    /// Reads the annotations of a tool's `inputSchema`.
    ///
    /// # Errors
    /// [`BadAnnotation`] where one of them is not as 2026-07-28 allows it; over HTTP such a tool must not be offered.
    pub fn of_schema(schema: &RawJson) -> Result<Self, BadAnnotation> {
        if memchr::memmem::find(schema.as_bytes(), ANNOTATION.as_bytes()).is_none() {
            return Ok(Self::default()); // nearly every schema
        }
        let schema: Value = schema.decode().map_err(|error| BadAnnotation(format!("the input schema cannot be read: {error}")))?;
        let mut found = Self::default();
        found.collect(&schema, &mut Vec::new(), true)?;
        Ok(found)
    }

    /// Whether no argument is repeated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The headers that go with a call with these `arguments`.
    ///
    /// # Errors
    /// [`BadArgument`] where a value is an integer too large for a header.
    pub fn for_arguments(&self, arguments: Option<&RawJson>) -> Result<Vec<(HeaderName, HeaderValue)>, BadArgument> {
        let mut out = Vec::with_capacity(self.0.len());
        for param in &self.0 {
            if let Some(text) = param.text_in(arguments)? {
                out.push((param.header.clone(), encode_value(&text)));
            }
        }
        Ok(out)
    }

    /// Checks the headers that came with a call against its `arguments`. Headers that no annotation asks for are ignored.
    ///
    /// # Errors
    /// [`BadArgument`] where an annotated argument and its header are not both there and equal, or both absent.
    pub fn check(&self, headers: &HeaderMap, arguments: Option<&RawJson>) -> Result<(), BadArgument> {
        for param in &self.0 {
            let wanted = param.text_in(arguments)?;
            let mut values = headers.get_all(&param.header).iter();
            let found = values.next().map(decode_value).transpose().map_err(|bad| param.bad(&bad.to_string()))?;
            if values.next().is_some() {
                return Err(param.bad("it is there twice"));
            }
            match (wanted, found) {
                (None, None) => {}
                (Some(wanted), Some(found)) if wanted == found || (param.integer && equal_numbers(&wanted, &found)) => {}
                (Some(_), Some(_)) => return Err(param.bad("its value is not the argument's")),
                (Some(_), None) => return Err(param.bad("it is missing though the argument is there")),
                (None, Some(_)) => return Err(param.bad("it is there though the argument is not")),
            }
        }
        Ok(())
    }

    /// Walks a schema. Annotations may stand only where a chain of `properties` leads (`reachable`).
    fn collect(&mut self, schema: &Value, path: &mut Vec<String>, reachable: bool) -> Result<(), BadAnnotation> {
        let Value::Object(keywords) = schema else { return Ok(()) };
        for (keyword, value) in keywords {
            match (keyword.as_str(), value) {
                (ANNOTATION, name) if reachable => self.add(name, keywords.get("type"), path)?,
                (ANNOTATION, _) => return Err(BadAnnotation(format!("`{ANNOTATION}` stands where no chain of `properties` leads"))),
                ("properties", Value::Object(properties)) => {
                    for (name, property) in properties {
                        path.push(name.clone());
                        self.collect(property, path, reachable)?;
                        path.pop();
                    }
                }
                // Data, in which nothing is an annotation.
                ("enum" | "const" | "default" | "examples", _) => {}
                ("$defs" | "definitions" | "patternProperties" | "dependentSchemas", Value::Object(schemas)) => {
                    schemas.values().try_for_each(|inner| self.collect(inner, path, false))?;
                }
                (_, Value::Array(schemas)) => schemas.iter().try_for_each(|inner| self.collect(inner, path, false))?,
                (_, inner) => self.collect(inner, path, false)?,
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &Value, kind: Option<&Value>, path: &[String]) -> Result<(), BadAnnotation> {
        let bad = |what: &str| BadAnnotation(format!("`{ANNOTATION}` of `{}` {what}", path.join(".")));
        let kind = kind.and_then(Value::as_str);
        if !matches!(kind, Some("string" | "integer" | "boolean")) {
            return Err(bad("stands at a property that is no string, integer or boolean"));
        }
        let name = name.as_str().filter(|name| !name.is_empty()).ok_or_else(|| bad("is no text"))?;
        let header = HeaderName::try_from(format!("{PARAM_PREFIX}{name}")).map_err(|_| bad("is no name of a header"))?;
        if self.0.iter().any(|known| known.header == header) {
            return Err(bad("names a header that another property has"));
        }
        self.0.push(ParamHeader { header, path: path.to_vec(), integer: kind == Some("integer") });
        Ok(())
    }
}

impl ParamHeader {
    /// The argument as the header has it; `None` where it is absent or null.
    fn text_in(&self, arguments: Option<&RawJson>) -> Result<Option<String>, BadArgument> {
        let Some(mut value) = arguments.cloned() else { return Ok(None) };
        for name in &self.path {
            let Ok(object) = value.object() else { return Ok(None) };
            match object.get(name) {
                Some(inner) => value = inner.clone(),
                None => return Ok(None),
            }
        }
        match value.as_bytes().first() {
            Some(b'"') => Ok(value.string_value().map(Cow::into_owned)),
            Some(b't' | b'f') => Ok(Some(value.as_str().to_owned())),
            Some(b'-' | b'0'..=b'9') => self.integer(value.as_str()).map(Some),
            _ => Ok(None), // null; an array or object breaks the schema, which the server says itself
        }
    }

    /// An integer in plain decimal, however it was written (`42.0`, `4.2e1`).
    fn integer(&self, written: &str) -> Result<String, BadArgument> {
        let value: f64 = written.parse().map_err(|_| self.bad("the argument is no number"))?;
        if value.fract() != 0.0 || value.abs() > LARGEST_INTEGER {
            return Err(self.bad("the argument is no integer between -(2^53 - 1) and 2^53 - 1"));
        }
        Ok(format!("{value:.0}"))
    }

    fn bad(&self, what: &str) -> BadArgument {
        BadArgument(format!("header `{}`: {what}", self.header))
    }
}

/// Whether two texts are the same JSON number (`42` and `42.0`).
fn equal_numbers(one: &str, other: &str) -> bool {
    // The first bytes shut out `inf` and `nan`, which are numbers to Rust and none to JSON.
    let number = |text: &str| text.bytes().all(|byte| b"0123456789+-.eE".contains(&byte)).then(|| text.parse::<f64>().ok()).flatten();
    number(one).is_some_and(|value| number(other) == Some(value))
}

/// Why a tool cannot be offered over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAnnotation(pub String);

impl fmt::Display for BadAnnotation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for BadAnnotation {}

/// Why an argument and its header do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadArgument(pub String);

impl fmt::Display for BadArgument {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for BadArgument {}

#[cfg(test)]
mod tests;
