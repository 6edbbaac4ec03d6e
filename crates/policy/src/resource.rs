//! What the action is on.

use crate::{Arguments, Pin};

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
    /// What its server says that using it does.
    pub annotations: Annotations,
    /// Whether what the server says about its tools is believed: built-ins, and servers with `trust_annotations = true`.
    pub trusted: bool,
    /// Whether a tool's definition is the recorded one.
    pub pin: Pin,
    /// What a tool is to be called with.
    pub arguments: Arguments<'a>,
}

/// The method that a server tells of itself by (2026-07-28). The gateway answers it: no server is sent it for a caller.
const DISCOVER: &str = "server/discover";

/// What a server says of one of its tools, each if it says so (2026-07-28, `ToolAnnotations`): words, not knowledge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// `readOnlyHint`: it changes nothing.
    pub read_only: Option<bool>,
    /// `destructiveHint`: it may change or take away what is there, and not only add.
    pub destructive: Option<bool>,
    /// `idempotentHint`: the same call twice does no more than once.
    pub idempotent: Option<bool>,
    /// `openWorldHint`: it reaches things beyond a closed set, such as the web.
    pub open_world: Option<bool>,
}

/// Nothing but `readOnlyHint`.
impl From<Option<bool>> for Annotations {
    fn from(read_only: Option<bool>) -> Self {
        Self { read_only, ..Self::default() }
    }
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
    /// A tool of `server`; `trusted` says whether to believe its annotations, of which many have no more than `readOnlyHint`.
    #[must_use]
    pub fn tool(server: &'a str, name: &'a str, annotations: impl Into<Annotations>, trusted: bool) -> Self {
        Self { annotations: annotations.into(), trusted, ..Self::other(server, ResourceKind::Tool, name) }
    }

    /// A resource or resource template of `server`.
    #[must_use]
    #[expect(clippy::self_named_constructors, reason = "MCP calls this kind of thing a resource as well")]
    pub fn resource(server: &'a str, uri: &'a str) -> Self {
        Self::other(server, ResourceKind::Resource, uri)
    }

    /// A prompt of `server`.
    #[must_use]
    pub fn prompt(server: &'a str, name: &'a str) -> Self {
        Self::other(server, ResourceKind::Prompt, name)
    }

    /// A method of an extension that only `server` knows.
    #[must_use]
    pub fn method(server: &'a str, name: &'a str) -> Self {
        Self::other(server, ResourceKind::Method, name)
    }

    /// `server` as a whole: whether there may be anything of it, as long as nobody knows what there is.
    #[must_use]
    pub fn server(server: &'a str) -> Self {
        Self::method(server, DISCOVER)
    }

    /// Whether it stands for a server as a whole.
    pub(crate) fn is_server(&self) -> bool {
        self.kind == ResourceKind::Method && self.name == DISCOVER
    }

    fn other(server: &'a str, kind: ResourceKind, name: &'a str) -> Self {
        Self { server, kind, name, annotations: Annotations::default(), trusted: false, pin: Pin::Unpinned, arguments: Arguments::Unknown }
    }

    /// The same, called with these arguments.
    #[must_use]
    pub fn with(self, arguments: Arguments<'a>) -> Self {
        Self { arguments, ..self }
    }

    /// The same, whose definition stands so to the recorded one.
    #[must_use]
    pub fn pinned_as(self, pin: Pin) -> Self {
        Self { pin, ..self }
    }

    /// Whether using it is known to change nothing: resources and prompts by their definition in MCP, tools by a
    /// believed annotation.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        match self.kind {
            ResourceKind::Resource | ResourceKind::Prompt => true,
            ResourceKind::Tool => self.says(self.annotations.read_only, true),
            ResourceKind::Method => false,
        }
    }

    /// Whether using it may change or take away what is there: a tool does, unless a believed annotation says that it only adds, or only
    /// reads.
    #[must_use]
    pub fn is_destructive(&self) -> bool {
        !(self.changes_nothing() || self.is_tool() && self.says(self.annotations.destructive, false))
    }

    /// Whether using it twice is known to do no more than using it once.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.changes_nothing() || self.is_tool() && self.says(self.annotations.idempotent, true)
    }

    /// Whether using it may reach things beyond a closed set, such as the web: unless a believed annotation says that it does not.
    #[must_use]
    pub fn is_open_world(&self) -> bool {
        !(self.is_tool() && self.says(self.annotations.open_world, false))
    }

    /// All that engines are told of it: two of the same name with the same of these are the same to them.
    #[cfg(feature = "cedar")]
    pub(crate) fn traits(&self) -> ([bool; 5], Pin) {
        let does = [self.changes_nothing(), self.is_destructive(), self.is_idempotent(), self.is_open_world(), self.trusted];
        (does, self.pin)
    }

    fn is_tool(&self) -> bool {
        self.kind == ResourceKind::Tool
    }

    /// Whether an annotation says that, and is believed. Where it is missing, what MCP takes for granted is the more careful of the two.
    fn says(&self, annotation: Option<bool>, what: bool) -> bool {
        self.trusted && annotation == Some(what)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(resource: &Resource<'_>) -> [bool; 4] {
        [resource.changes_nothing(), resource.is_destructive(), resource.is_idempotent(), resource.is_open_world()]
    }

    /// What nobody has said anything good of.
    const CAREFUL: [bool; 4] = [false, true, false, true];

    #[test]
    fn what_is_missing_or_not_believed_is_taken_for_the_worst() {
        let good = Annotations { read_only: Some(true), destructive: Some(false), idempotent: Some(true), open_world: Some(false) };
        let bad = Annotations { read_only: Some(false), destructive: Some(true), idempotent: Some(false), open_world: Some(true) };
        assert_eq!(told(&Resource::tool("s", "t", good, true)), [true, false, true, false]);
        for (annotations, trusted) in [(good, false), (bad, true), (bad, false), (Annotations::default(), true)] {
            assert_eq!(told(&Resource::tool("s", "t", annotations, trusted)), CAREFUL, "{annotations:?} {trusted}");
        }
    }

    #[test]
    fn each_annotation_counts_alone() {
        let none = Annotations::default();
        for (annotations, expected) in [
            (Annotations { read_only: Some(true), ..none }, [true, false, true, true]),
            (Annotations { read_only: Some(true), destructive: Some(true), idempotent: Some(false), ..none }, [true, false, true, true]),
            (Annotations { destructive: Some(false), ..none }, [false, false, false, true]),
            (Annotations { idempotent: Some(true), ..none }, [false, true, true, true]),
            (Annotations { open_world: Some(false), ..none }, [false, true, false, false]),
        ] {
            assert_eq!(told(&Resource::tool("s", "t", annotations, true)), expected, "{annotations:?}");
        }
    }

    #[test]
    fn what_is_no_tool_has_no_annotations() {
        assert_eq!(told(&Resource::resource("s", "file:///a")), [true, false, true, true]);
        assert_eq!(told(&Resource::prompt("s", "p")), [true, false, true, true]);
        assert_eq!(told(&Resource::method("s", "vendor/thing")), CAREFUL);
    }
}
