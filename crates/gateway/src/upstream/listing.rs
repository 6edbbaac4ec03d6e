//! What a server offers: its four lists, as it last told them.

use std::sync::Arc;

use sallyport_policy::{Annotations, Pin};
use sallyport_protocol::{Discovery, Method, RawJson, RawObject, Revision};

/// The lists of one server. They are the last good ones whatever [`freshness`](Self::freshness) says; whether they may be shown is
/// for its reader to decide ([`Freshness::is_shown`]).
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// `tools/list`.
    pub tools: Arc<[Entry]>,
    /// `resources/list`.
    pub resources: Arc<[Entry]>,
    /// `resources/templates/list`.
    pub templates: Arc<[Entry]>,
    /// `prompts/list`.
    pub prompts: Arc<[Entry]>,
    /// What the server says of itself; `None` until it was reached for the first time.
    pub discovery: Option<Arc<Discovery>>,
    /// How far the lists can be relied on.
    pub freshness: Freshness,
}

/// How far a server's lists can be relied on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// They were not asked for yet, or the answer is not there yet: the lists are empty and mean nothing.
    #[default]
    Pending,
    /// They are what the server says now.
    Fresh,
    /// They are what the server said some time ago, or part of what it says.
    Stale {
        /// Why they are not fresh.
        why: String,
    },
    /// The server cannot be reached, or never told what it offers: its entries belong in no list.
    Gone {
        /// Why, fit for a client.
        why: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl Freshness {
    /// Whether the entries may be shown in a list.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        matches!(self, Self::Fresh | Self::Stale { .. })
    }
}

/// A tool, resource, resource template or prompt, as its server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The server's own name for it: a tool's or prompt's name, a resource's URI, a template.
    pub name: String,
    /// The description as it came.
    pub raw: RawObject,
    /// The revision it was written in.
    pub revision: Revision,
    /// What the server says that a tool does, which is not what is known.
    pub annotations: Annotations,
    /// Whether a tool's definition is the recorded one.
    pub pin: Pin,
}

impl Entry {
    /// Reads an entry; says what is wrong with it where it is none.
    pub(crate) fn read(kind: Kind, json: &RawJson, revision: Revision) -> Result<Self, String> {
        let raw = json.object().map_err(|error| format!("it is no JSON object: {error}"))?;
        let key = kind.key();
        let name = match raw.get(key).map(RawJson::string_value) {
            None => return Err(format!("`{key}` is missing")),
            Some(None) => return Err(format!("`{key}` is not a string")),
            Some(Some(name)) if name.is_empty() => return Err(format!("`{key}` is empty")),
            Some(Some(name)) => name.into_owned(),
        };
        let hints = raw.get("annotations").filter(|_| kind == Kind::Tools).and_then(|hints| hints.object().ok());
        let hint = |key: &str| hints.as_ref().and_then(|hints| hints.get(key)).and_then(|value| value.decode::<bool>().ok());
        let annotations = Annotations {
            read_only: hint("readOnlyHint"),
            destructive: hint("destructiveHint"),
            idempotent: hint("idempotentHint"),
            open_world: hint("openWorldHint"),
        };
        Ok(Self { annotations, name, revision, raw, pin: Pin::Unpinned })
    }

    /// Whether the server says that a call may be carried out twice.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.annotations.read_only == Some(true) || self.annotations.idempotent == Some(true)
    }
}

/// The four lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tools,
    Resources,
    Templates,
    Prompts,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Tools, Self::Resources, Self::Templates, Self::Prompts];

    pub(crate) fn method(self) -> Method {
        match self {
            Self::Tools => Method::ToolsList,
            Self::Resources => Method::ResourcesList,
            Self::Templates => Method::ResourceTemplatesList,
            Self::Prompts => Method::PromptsList,
        }
    }

    /// The capability without which a server is not asked for this list.
    pub(crate) fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources | Self::Templates => "resources",
            Self::Prompts => "prompts",
        }
    }

    /// The member of a page that holds the entries.
    pub(crate) fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
            Self::Prompts => "prompts",
        }
    }

    /// The member of an entry that names it.
    fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }
}

impl Listing {
    /// The entries of one kind.
    pub(crate) fn of(&self, kind: Kind) -> &Arc<[Entry]> {
        match kind {
            Kind::Tools => &self.tools,
            Kind::Resources => &self.resources,
            Kind::Templates => &self.templates,
            Kind::Prompts => &self.prompts,
        }
    }

    pub(crate) fn set(&mut self, kind: Kind, entries: Arc<[Entry]>) {
        match kind {
            Kind::Tools => self.tools = entries,
            Kind::Resources => self.resources = entries,
            Kind::Templates => self.templates = entries,
            Kind::Prompts => self.prompts = entries,
        }
    }

    /// Whether there is any entry in it.
    pub(crate) fn is_empty(&self) -> bool {
        Kind::ALL.into_iter().all(|kind| self.of(kind).is_empty())
    }
}
