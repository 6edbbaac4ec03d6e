//! A request in the newest model: method, parameters, and what `_meta` says.

use crate::method::Method;
use crate::raw::{RawJson, RawObject};

/// Prefix of the `_meta` keys that belong to the protocol (2026-07-28, `_meta`).
pub const PROTOCOL_PREFIX: &str = "io.modelcontextprotocol/";

/// The names under that prefix that belong to one leg alone. Extensions have names under it too, and those cross.
const OF_ONE_LEG: [&str; 6] = ["protocolVersion", "clientInfo", "clientCapabilities", "logLevel", "subscriptionId", "serverInfo"];

/// The `_meta` key with which a modern request asks for log messages.
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";

/// A request, whoever wrote it and in whichever revision.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is asked.
    pub method: Method,
    /// The parameters without `_meta`. All of them survive, known or not.
    pub params: RawObject,
    /// What `_meta` said.
    pub meta: Meta,
}

/// `_meta` of a request, without the keys that belong to one leg alone (version, client, capabilities).
#[derive(Clone, Debug, Default)]
pub struct Meta {
    /// The sender's own token for progress. Another one is made for the next leg.
    pub progress_token: Option<RawJson>,
    /// From which level on log messages are wanted with this request (modern revisions).
    pub log_level: Option<LogLevel>,
    /// Every other key, as it came: trace context, vendors' keys.
    pub other: RawObject,
}

impl Request {
    /// A request without `_meta`.
    #[must_use]
    pub fn new(method: Method, params: RawObject) -> Self {
        Self { method, params, meta: Meta::default() }
    }

    /// What the request names: the tool or prompt, the resource's URI, the task.
    #[must_use]
    pub fn name(&self) -> Option<std::borrow::Cow<'_, str>> {
        self.params.get_str(self.method.name_parameter()?)
    }
}

impl Meta {
    /// Takes `_meta` out of `params` and reads it. The keys of one leg are left out: the caller has read them.
    ///
    /// # Errors
    /// Where `_meta` is no object, a progress token neither string nor integer, a log level unknown.
    pub fn take_from(params: &mut RawObject) -> Result<Self, BadMeta> {
        let Some(raw) = params.remove("_meta") else { return Ok(Self::default()) };
        Self::of(raw.object().map_err(|_| BadMeta("`_meta` must be an object"))?)
    }

    /// Reads `_meta` that was opened already. The keys of one leg are left out: the caller has read them.
    ///
    /// # Errors
    /// Where a progress token is neither string nor integer, a log level unknown.
    pub fn of(mut meta: RawObject) -> Result<Self, BadMeta> {
        let progress_token = meta.remove("progressToken");
        if progress_token.as_ref().is_some_and(|token| crate::jsonrpc::RequestId::from_json(token).is_none()) {
            return Err(BadMeta("`progressToken` must be a string or an integer"));
        }
        let log_level = match meta.get_str(LOG_LEVEL) {
            Some(name) => Some(LogLevel::from_name(&name).ok_or(BadMeta("`logLevel` is none of the eight levels"))?),
            None if meta.get(LOG_LEVEL).is_some() => return Err(BadMeta("`logLevel` must be a string")),
            None => None,
        };
        meta.retain(|key| !key.strip_prefix(PROTOCOL_PREFIX).is_some_and(|name| OF_ONE_LEG.contains(&name)));
        Ok(Self { progress_token, log_level, other: meta })
    }
}

/// What is wrong with a request's `_meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMeta(pub &'static str);

/// How grave a log message is, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What happens.
    Info,
    /// What is worth a look.
    Notice,
    /// What may become a fault.
    Warning,
    /// A fault.
    Error,
    /// A grave fault.
    Critical,
    /// Somebody must act.
    Alert,
    /// Nothing works.
    Emergency,
}

impl LogLevel {
    const NAMES: [(Self, &str); 8] = [
        (Self::Debug, "debug"),
        (Self::Info, "info"),
        (Self::Notice, "notice"),
        (Self::Warning, "warning"),
        (Self::Error, "error"),
        (Self::Critical, "critical"),
        (Self::Alert, "alert"),
        (Self::Emergency, "emergency"),
    ];

    /// The level of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(level, _)| *level)
    }

    /// The level's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(level, _)| *level == self).map_or("debug", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use bytes::Bytes;

    fn take(params: &'static str) -> Result<(Meta, RawObject), BadMeta> {
        let mut params = RawObject::parse(&Bytes::from_static(params.as_bytes())).unwrap();
        Meta::take_from(&mut params).map(|meta| (meta, params))
    }

    #[test]
    fn keys_of_one_leg_go_and_all_others_stay() {
        let (meta, params) = take(
            r#"{"name":"x","_meta":{"progressToken":5,"traceparent":"00-a","io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/logLevel":"error","io.modelcontextprotocol/related-task":{},"com.example/k":[1]}}"#,
        )
        .unwrap();
        assert_eq!(meta.progress_token.unwrap().as_str(), "5");
        assert_eq!(meta.log_level, Some(LogLevel::Error));
        assert_eq!(
            meta.other.to_json().as_str(),
            r#"{"traceparent":"00-a","io.modelcontextprotocol/related-task":{},"com.example/k":[1]}"#
        );
        assert_eq!(params.to_json().as_str(), r#"{"name":"x"}"#);
    }

    #[test]
    fn bad_meta_is_named() {
        assert!(take(r#"{"_meta":[]}"#).is_err());
        assert!(take(r#"{"_meta":{"progressToken":{}}}"#).is_err());
        assert!(take(r#"{"_meta":{"io.modelcontextprotocol/logLevel":"loud"}}"#).is_err());
    }
}
