//! What the action is on.

use crate::Arguments;

/// One tool, resource, prompt or method of one server, with what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// The server's name in the configuration.
    pub server: &'a str,
    /// What it is.
    pub kind: ResourceKind,
    /// The tool's or prompt's own name at its server (not the `server__name` that clients see), the resource's own
    /// URI or URI template, or the method.
    pub name: &'a str,
    /// The tool's `readOnlyHint`, if the server gave one.
    pub read_only: Option<bool>,
    /// Whether what the server says about its tools is believed: built-ins, and servers with `trust_annotations = true`.
    pub trusted: bool,
    /// What a tool is to be called with.
    pub arguments: Arguments<'a>,
}

/// The kinds of things that servers offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// A tool.
    Tool,
    /// A resource or resource template.
    Resource,
    /// A prompt.
    Prompt,
    /// A method of an extension that only its server knows: anything may be behind it.
    Method,
}

impl<'a> Resource<'a> {
    /// A tool of `server`; `read_only` is its annotation and `trusted` says whether to believe it.
    #[must_use]
    pub fn tool(server: &'a str, name: &'a str, read_only: Option<bool>, trusted: bool) -> Self {
        Self { server, kind: ResourceKind::Tool, name, read_only, trusted, arguments: Arguments::Unknown }
    }

    /// A resource or resource template of `server`.
    #[must_use]
    #[expect(clippy::self_named_constructors, reason = "MCP calls this kind of thing a resource as well")]
    pub fn resource(server: &'a str, uri: &'a str) -> Self {
        Self { server, kind: ResourceKind::Resource, name: uri, read_only: None, trusted: false, arguments: Arguments::Unknown }
    }

    /// A prompt of `server`.
    #[must_use]
    pub fn prompt(server: &'a str, name: &'a str) -> Self {
        Self { server, kind: ResourceKind::Prompt, name, read_only: None, trusted: false, arguments: Arguments::Unknown }
    }

    /// A method of an extension that only `server` knows.
    #[must_use]
    pub fn method(server: &'a str, name: &'a str) -> Self {
        Self { server, kind: ResourceKind::Method, name, read_only: None, trusted: false, arguments: Arguments::Unknown }
    }

    /// The same, called with these arguments.
    #[must_use]
    pub fn with(self, arguments: Arguments<'a>) -> Self {
        Self { arguments, ..self }
    }

    /// Whether using it is known to change nothing: resources and prompts by their definition in MCP, tools by a
    /// believed annotation.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        match self.kind {
            ResourceKind::Resource | ResourceKind::Prompt => true,
            ResourceKind::Tool => self.trusted && self.read_only == Some(true),
            ResourceKind::Method => false,
        }
    }
}

impl ResourceKind {
    /// The name in logs and audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Prompt => "prompt",
            Self::Method => "method",
        }
    }
}
