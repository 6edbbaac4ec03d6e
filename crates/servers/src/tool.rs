//! What a tool is: one type, in one file, that says and does everything about it.

mod error;
mod schema;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sallyport_protocol::{Cancel, RawJson, RawObject};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use error::ToolError;

/// One tool of a built-in server.
pub(crate) trait Tool: 'static {
    /// What the server's tools share.
    type State: Send + Sync + 'static;
    /// The arguments. Unknown ones are refused (`deny_unknown_fields`), so that a misspelt one is never ignored.
    type Input: DeserializeOwned + JsonSchema;
    /// The structured result: always an object, since revisions before 2026-07-28 allow nothing else.
    type Output: Serialize + JsonSchema;

    /// The tool's name.
    const NAME: &'static str;
    /// The name that people read.
    const TITLE: &'static str;
    /// What a model reads: short, and true to the last word.
    const DESCRIPTION: &'static str;
    /// What a call does to the world.
    const EFFECT: Effect;

    /// Does it. Runs on a thread of its own and may block; asks `job` now and then whether to go on.
    fn run(state: &Self::State, input: Self::Input, job: &Job) -> Result<Self::Output, ToolError>;

    /// What a model reads of the result; `None`: the structured result as text (2026-07-28, tools, structured content).
    fn content(_output: &Self::Output) -> Option<Content> {
        None
    }
}

/// What a call does to the world: the annotations a client decides by. No tool here reaches beyond its folder,
/// so `openWorldHint` is always false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Changes nothing.
    Reads,
    /// Adds, and takes nothing away; doing it twice adds twice or fails.
    Adds,
    /// Adds, and takes nothing away; doing it twice is doing it once.
    Ensures,
    /// May lose what was there; doing it twice differs from doing it once.
    Changes,
    /// May lose what was there; doing it twice is doing it once.
    Replaces,
}

impl Effect {
    fn annotations(self) -> serde_json::Value {
        serde_json::json!({
            "readOnlyHint": self == Self::Reads,
            "destructiveHint": matches!(self, Self::Changes | Self::Replaces),
            "idempotentHint": matches!(self, Self::Reads | Self::Ensures | Self::Replaces),
            "openWorldHint": false,
        })
    }
}

/// One block of a result's `content`.
#[derive(Debug)]
pub(crate) enum Content {
    /// Text.
    Text(String),
    /// An image: base64 and its type.
    Image(String, &'static str),
    /// Sound: base64 and its type.
    Audio(String, &'static str),
}

impl Content {
    fn to_json(&self) -> RawJson {
        let mut block = RawObject::new();
        match self {
            Self::Text(text) => {
                block.set("type", RawJson::from_static("\"text\""));
                block.set("text", RawJson::string(text));
            }
            Self::Image(data, mime) => set_media(&mut block, "image", data, mime),
            Self::Audio(data, mime) => set_media(&mut block, "audio", data, mime),
        }
        array_of(&block)
    }
}

fn set_media(block: &mut RawObject, kind: &str, data: &str, mime: &str) {
    block.set("type", RawJson::string(kind));
    block.set("data", RawJson::string(data));
    block.set("mimeType", RawJson::string(mime));
}

fn array_of(block: &RawObject) -> RawJson {
    let mut text = vec![b'['];
    block.write_to(&mut text);
    text.push(b']');
    RawJson::parse(text).unwrap_or(RawJson::from_static("[]"))
}

/// A call at work: says whether its result is still wanted.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    cancel: Cancel,
    abandoned: Arc<AtomicBool>,
}

impl Job {
    pub(crate) fn new(cancel: Cancel) -> Self {
        Self { cancel, abandoned: Arc::default() }
    }

    /// Fails where nobody waits for the result any more.
    pub(crate) fn check(&self) -> Result<(), ToolError> {
        if self.cancel.is_cancelled() || self.abandoned.load(Ordering::Relaxed) {
            return Err(ToolError::cancelled());
        }
        Ok(())
    }

    /// Abandons the job when it is dropped: with the future of the call.
    pub(crate) fn guard(&self) -> impl Drop + Send + use<> {
        struct Abandon(Arc<AtomicBool>);
        impl Drop for Abandon {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        Abandon(Arc::clone(&self.abandoned))
    }
}

/// A [`Tool`] in a server's list: how it is described, and how it is called.
pub(crate) struct Entry<S> {
    pub(crate) name: &'static str,
    pub(crate) definition: serde_json::Value,
    pub(crate) call: fn(&S, &RawJson, &Job) -> Result<RawObject, ToolError>,
}

impl<S: Send + Sync + 'static> Entry<S> {
    /// The entry of a tool.
    pub(crate) fn of<T: Tool<State = S>>() -> Self {
        let definition = serde_json::json!({
            "name": T::NAME,
            "title": T::TITLE,
            "description": T::DESCRIPTION,
            "inputSchema": schema::of_input::<T::Input>(),
            "outputSchema": schema::of_output::<T::Output>(),
            "annotations": T::EFFECT.annotations(),
        });
        Self { name: T::NAME, definition, call: call::<T> }
    }
}

/// Reads the arguments, runs the tool, writes its result (2026-07-28, `CallToolResult`).
fn call<T: Tool>(state: &T::State, arguments: &RawJson, job: &Job) -> Result<RawObject, ToolError> {
    let input = read_arguments(arguments)?;
    let output = T::run(state, input, job)?;
    let structured = RawJson::encode(&output).map_err(ToolError::internal)?;
    let content = T::content(&output).unwrap_or_else(|| Content::Text(structured.as_str().to_owned()));
    let mut result = RawObject::new();
    result.set("resultType", RawJson::from_static("\"complete\""));
    result.set("content", content.to_json());
    result.set("structuredContent", structured);
    Ok(result)
}

/// The result that tells a model what was wrong, so that it can do better.
pub(crate) fn failed(error: &ToolError) -> RawObject {
    let mut result = RawObject::new();
    result.set("resultType", RawJson::from_static("\"complete\""));
    result.set("content", Content::Text(error.to_string()).to_json());
    result.set("isError", RawJson::from_static("true"));
    result
}

fn read_arguments<I: DeserializeOwned>(arguments: &RawJson) -> Result<I, ToolError> {
    let mut reader = serde_json::Deserializer::from_slice(arguments.as_bytes());
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner().to_string();
        // Line and column of a text that the model never saw help nobody.
        let reason = reason.split(" at line ").next().unwrap_or_default();
        match path.as_str() {
            "." => ToolError::new(format!("wrong arguments: {reason}")),
            path => ToolError::new(format!("argument `{path}`: {reason}")),
        }
    })
}
