//! What is recorded of every call, and of every connection that a server makes: who, what, the decision, the outcome, the time each step took. Of the
//! arguments only what rules declare them to be, and never the result.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use crate::{Timestamp, TraceId, hex, trace_context};

/// Longest text in a record, in bytes: holds every name that MCP allows (128) and nearly every URI, and keeps a line that
/// hostile peers fill under 64 KiB even when every character is escaped.
const LONGEST_TEXT: usize = 1024;

/// One call, or one connection of a server. Borrowed where it is written, owned (`'static`) where a viewer reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditRecord<'a> {
    /// When the request had arrived: RFC 3339, UTC, microseconds.
    #[cfg_attr(test, schemars(with = "String"))]
    pub time: Timestamp,
    /// Names this record. Those of one run of the gateway share their first half and count up in the second.
    #[cfg_attr(test, schemars(with = "String"))]
    pub id: RecordId,
    /// The W3C trace that the call belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub trace_id: Option<TraceId>,
    /// Who called: `local` (the one person at this machine), `key:NAME`, `user:SUBJECT@ISSUER` or `client:NAME@ISSUER`. Missing if the
    /// caller was not let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Text<'a>>,
    /// The authorization server that vouches for the caller, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Text<'a>>,
    /// Whose tenant the caller is of. Missing where there are no tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Text<'a>>,
    /// The client program, as it names itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Text<'a>>,
    /// The revision of MCP that the client speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Text<'a>>,
    /// Where the call came in, such as `stdio` or `/mcp`; `sandbox` for what a server itself does.
    pub endpoint: Text<'a>,
    /// The method, such as `tools/call`; `network/connect` or `network/resolve` for what a server itself does; `approval/approve` or
    /// `approval/refuse` for a person's decision, whose principal is then the caller here.
    pub method: Text<'a>,
    /// The server that it was for. Missing if none was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Text<'a>>,
    /// The version of the server's package that served it, where it is locked: of two that run beside each other, which one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Text<'a>>,
    /// The tool's or prompt's name or the resource's URI, as the server knows it; the `HOST:PORT` or name that a server wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Text<'a>>,
    /// What can be said of the arguments without telling them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<ArgumentDigest>,
    /// What the arguments mean, as far as rules for arguments declare what they are: a query's tables, a path's folders, a number; `null`
    /// where the call did not have the argument. Missing with what follows if all of it is more than 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<serde_json::Value>,
    /// How long the arguments are whose length a rule bounds: characters, or entries of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<serde_json::Value>,
    /// How many arguments the call had that are not among the attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<u32>,
    /// What policy was asked with beside that, so that another policy can be asked about the call: see `sallyport policy shadow`. Missing
    /// if it was not asked, or if the groups and scopes are more than 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked<'a>>,
    /// What policy said: `allow`, `ask` or `deny`. Missing if the call ended before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Text<'a>>,
    /// The place in the configuration that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Text<'a>>,
    /// The handle of the approval that the call waits for or has used, or that was decided about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Text<'a>>,
    /// How it ended.
    pub outcome: Outcome,
    /// What kind of failure it was, where the outcome is `failed` or `denied`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Text<'a>>,
    /// Bytes of the result that went to the client; of a connection, those that the server received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,
    /// Bytes that the server sent on its connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
    /// How long each step took, in microseconds. A step that was not reached is missing.
    #[serde(rename = "duration_us")]
    pub durations: Durations,
}

/// What policy was asked with, beside the caller's name, the tool and the arguments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Asked<'a> {
    /// The caller's groups. Missing if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Text<'a>>,
    /// The scopes of the caller's token. Missing if it has no such bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Text<'a>>,
    /// The address that the request came from, behind a proxy as the proxy tells it, or `unknown` where it does not. Missing for this
    /// machine itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Text<'a>>,
    /// Whether the server calls the tool read-only. Missing if it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Whether the server says that the tool may change or take away what is there. Missing if it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destructive: Option<bool>,
    /// Whether the server says that the same call twice does no more than once. Missing if it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// Whether the server says that the tool reaches things beyond a closed set. Missing if it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_world: Option<bool>,
    /// Whether the tool's definition was the recorded one: `pinned`, `changed`, or `unpinned` where none was recorded. Missing if it was no
    /// tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Text<'a>>,
}

/// Written down for the address of a request that a proxy has passed on without saying whose it is (as in RFC 7239, section 6.2).
pub const UNKNOWN_ADDRESS: &str = "unknown";

/// Most bytes of groups and scopes in a record: those of everybody but who is in hundreds of groups.
const MOST_ASKED: usize = 4096;

impl Asked<'_> {
    /// The same, unless the groups and scopes would make a record long.
    #[must_use]
    pub fn bounded(self) -> Option<Self> {
        let scopes = self.scopes.as_ref().map_or(0, |scopes| scopes.as_str().len());
        let bytes = self.groups.iter().map(|group| group.as_str().len() + 4).sum::<usize>() + scopes;
        (bytes <= MOST_ASKED && !self.groups.iter().chain(&self.scopes).any(Text::is_cut)).then_some(self)
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With a result.
    Ok,
    /// With a result that says `isError`: the tool did not do what it was asked.
    ToolError,
    /// With questions to the client: its next request goes on with the call.
    InputRequired,
    /// Before it reached a server: the caller is unknown, or policy says no.
    Denied,
    /// Without a result.
    Failed,
    /// The client took it back.
    Cancelled,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 6] = [Self::Ok, Self::ToolError, Self::InputRequired, Self::Denied, Self::Failed, Self::Cancelled];

    /// The name in records and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::InputRequired => "input_required",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How long the steps of a call took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Durations {
    /// Finding out who calls.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "micros")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub authenticate: Option<Duration>,
    /// Finding the server and what is asked of it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "micros")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub resolve: Option<Duration>,
    /// Asking policy.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "micros")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub decide: Option<Duration>,
    /// Waiting for the server, with the start of its process if it had to be started.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "micros")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub upstream: Option<Duration>,
    /// All of it, from the request's last byte in to the answer's first byte out.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "micros")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub total: Option<Duration>,
}

/// SHA-256 and size of the arguments as the client sent them: enough to tell whether two calls were the same, and to
/// prove later what a call was by showing its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ArgumentDigest {
    /// `sha256:` and 64 hexadecimal digits, over the bytes of the arguments' JSON.
    #[cfg_attr(test, schemars(with = "String"))]
    pub digest: Sha256Digest,
    /// How many bytes of JSON the arguments are.
    pub bytes: u64,
}

impl ArgumentDigest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(arguments: &[u8]) -> Self {
        Self { digest: Sha256Digest(Sha256::digest(arguments).into()), bytes: arguments.len() as u64 }
    }
}

/// A SHA-256 digest, shown as `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sha256Digest(pub [u8; 32]);

impl Serialize for Sha256Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 71];
        text[..7].copy_from_slice(b"sha256:");
        hex::write(&self.0, &mut text[7..]);
        serializer.serialize_str(hex::ascii(&text))
    }
}

impl<'de> Deserialize<'de> for Sha256Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.strip_prefix("sha256:")
            .and_then(hex::read)
            .map(Self)
            .ok_or_else(|| de::Error::custom("a digest is `sha256:` and 64 lower-case hexadecimal digits"))
    }
}

/// Names a record: 8 random bytes of this run of the gateway, then a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId([u8; 16]);

impl RecordId {
    /// The next one.
    #[must_use]
    pub fn next() -> Self {
        static RUN: OnceLock<[u8; 8]> = OnceLock::new();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(RUN.get_or_init(trace_context::random));
        bytes[8..].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Self(bytes)
    }

    fn text(self) -> [u8; 32] {
        let mut text = [0; 32];
        hex::write(&self.0, &mut text);
        text
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(hex::ascii(&self.text()))
    }
}

impl Serialize for RecordId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(hex::ascii(&self.text()))
    }
}

impl<'de> Deserialize<'de> for RecordId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        hex::read(&text).map(Self).ok_or_else(|| de::Error::custom("an id has 32 lower-case hexadecimal digits"))
    }
}

/// A text of bounded length: what peers say about themselves cannot make a record long. What is cut ends in `…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(transparent)]
pub struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the beginning of a longer one, and so another than what was meant.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.0.len() > LONGEST_TEXT
    }
}

impl<'a> From<Cow<'a, str>> for Text<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        if text.len() <= LONGEST_TEXT {
            return Self(text);
        }
        let (kept, _) = text.split_at(text.floor_char_boundary(LONGEST_TEXT));
        Self(Cow::Owned(format!("{kept}…")))
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Cow::Borrowed(text).into()
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Cow::<str>::Owned(text).into()
    }
}

impl<'de> Deserialize<'de> for Text<'_> {
    /// Into text of its own: a viewer keeps records longer than the line they came in.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Text::from)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Durations as numbers of microseconds with one decimal: the gateway's own steps take less than one.
mod micros {
    use super::{Deserialize, Deserializer, Duration, Serializer, de};

    /// Two months, above which a duration in a file is no duration of a call.
    const MOST: f64 = 5e12;

    #[expect(clippy::ref_option, reason = "serde hands the field over in this form")]
    pub(super) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        let tenths = (duration.unwrap_or_default().as_secs_f64() * 1e7).round();
        serializer.serialize_f64(tenths / 10.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let micros = f64::deserialize(deserializer)?;
        if !(0.0..MOST).contains(&micros) {
            return Err(de::Error::custom("a duration is a number of microseconds"));
        }
        Ok(Some(Duration::from_secs_f64(micros / 1e6)))
    }
}

#[cfg(test)]
pub(crate) mod tests;
