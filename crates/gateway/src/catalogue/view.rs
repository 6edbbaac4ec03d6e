//! What one endpoint offers: its tools, prompts, resources and resource templates, each under the name clients see.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sallyport_policy::{Annotations, Circumstances, Pin, Policy, Principal, Resource};
use sallyport_protocol::revisions::reply_for;
use sallyport_protocol::{Era, Failure, FailureKind, Method, RawJson, RawObject, Reply, Revision, ServerIdentity};

use super::seen::Seen;
use crate::tasks::Support;

/// Entries of one page at most. A thousand tools are served in one piece; a server with a hundred thousand is paged.
pub(super) const PAGE_ENTRIES: usize = 2_000;

/// Prepared lists kept per lane: one per caller, revision and page. Few callers list at all between two changes.
pub(super) const PREPARED: usize = 64;

/// One thing that is offered.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The name or URI that clients see.
    pub(crate) exposed: String,
    /// The server that has it.
    pub(crate) server: Arc<str>,
    /// Its own name or URI there.
    pub(crate) own: String,
    /// Its entry in the list, as clients see it.
    pub(crate) raw: RawJson,
    /// The revision that the entry was written in.
    pub(crate) revision: Revision,
    /// What its server says that it does, for tools.
    pub(crate) annotations: Annotations,
    /// Whether the server's annotations are believed.
    pub(crate) trusted: bool,
    /// Whether a tool's definition is the recorded one.
    pub(crate) pin: Pin,
    /// Whether it is a tool that is for the pages of MCP Apps alone.
    pub(crate) for_apps_alone: bool,
    /// The pages of MCP Apps that a tool names, by their own URIs.
    pub(crate) pages: Vec<String>,
    /// How a tool may run.
    pub(crate) tasks: Support,
    /// Whether its server says that in `raw`, which is for clients of one revision alone.
    pub(crate) says_execution: bool,
    /// A tool's `inputSchema`, if it asks for arguments to be repeated in headers (`x-mcp-header`).
    pub(crate) header_schema: Option<RawJson>,
}

impl Item {
    /// The entry in a list for clients of that revision.
    fn listed_for(&self, revision: Revision) -> RawJson {
        let execution = self.tasks.execution(revision).filter(|_| !self.says_execution);
        let must_go = self.says_execution && revision != Revision::V2025_11_25;
        let Some(mut entry) = self.raw.object().ok().filter(|_| must_go || execution.is_some()) else { return self.raw.clone() };
        entry.remove(EXECUTION);
        if let Some(execution) = execution {
            entry.set(EXECUTION, execution);
        }
        entry.to_json()
    }
}

/// The member of a tool that says how it may run (2025-11-25).
pub(crate) const EXECUTION: &str = "execution";

/// The four lists of MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The list that a method asks for.
    pub(crate) fn listed_by(method: Method) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.method() == method)
    }

    fn method(self) -> Method {
        match self {
            Self::Tools => Method::ToolsList,
            Self::Prompts => Method::PromptsList,
            Self::Resources => Method::ResourcesList,
            Self::Templates => Method::ResourceTemplatesList,
        }
    }

    /// The member of the result that holds the list.
    fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// What policy is asked about an item of this list.
    pub(super) fn resource(self, item: &Item) -> Resource<'_> {
        match self {
            Self::Tools => Resource::tool(&item.server, &item.own, item.annotations, item.trusted).pinned_as(item.pin),
            Self::Prompts => Resource::prompt(&item.server, &item.own),
            Self::Resources | Self::Templates => Resource::resource(&item.server, &item.own),
        }
    }
}

/// One of the four lists of one endpoint, in its order, with the answers that were prepared from it.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    items: Vec<Item>,
    by_name: HashMap<String, usize>,
    prepared: Mutex<Vec<(Wanted, RawObject)>>,
}

/// What makes two list requests the same.
#[derive(Clone, Debug)]
struct Wanted {
    principal: Principal,
    revision: Revision,
    shows_apps: bool,
    offset: usize,
}

impl Wanted {
    /// Whether the same is to be listed: another token of the same caller may be good for less.
    fn is(&self, other: &Self) -> bool {
        self.principal.may_the_same(&other.principal)
            && (self.revision, self.shows_apps, self.offset) == (other.revision, other.shows_apps, other.offset)
    }
}

/// Who asks for a list, and how it is made for them.
pub(crate) struct ListRequest<'a> {
    pub(crate) principal: &'a Principal,
    pub(crate) circumstances: Circumstances,
    pub(crate) policy: &'a Policy,
    pub(crate) identity: &'a ServerIdentity,
    /// The client's revision.
    pub(crate) revision: Revision,
    /// Whether it knows which tools are for apps alone: another would put them before the model.
    pub(crate) shows_apps: bool,
    /// The cursor it sent.
    pub(crate) cursor: Option<&'a str>,
    /// Names the state of the catalogue that cursors belong to.
    pub(crate) generation: &'a str,
}

impl Lane {
    pub(crate) fn new(items: Vec<Item>) -> Self {
        let by_name = items.iter().enumerate().map(|(at, item)| (item.exposed.clone(), at)).collect();
        Self { items, by_name, prepared: Mutex::default() }
    }

    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    pub(crate) fn get(&self, exposed: &str) -> Option<&Item> {
        self.by_name.get(exposed).map(|at| &self.items[*at])
    }

    /// Whether both would be listed alike.
    pub(crate) fn lists_as(&self, other: &Self) -> bool {
        self.items.len() == other.items.len()
            && self.items.iter().zip(&other.items).all(|(one, two)| one.raw == two.raw && one.tasks == two.tasks && one.pin == two.pin)
    }

    /// The page that is asked for, of what policy lets this caller see. A list that was asked for before comes out of memory.
    ///
    /// # Errors
    /// `InvalidParams` for a cursor that is not of this state of the catalogue.
    pub(crate) async fn list(&self, kind: Kind, request: &ListRequest<'_>) -> Result<Reply, Failure> {
        let offset = request.cursor.map_or(Ok(0), |cursor| read_cursor(cursor, request.generation))?;
        let wanted = Wanted { principal: request.principal.clone(), revision: request.revision, shows_apps: request.shows_apps, offset };
        let lasts = request.policy.is_lasting();
        let result = match self.known(&wanted).filter(|_| lasts) {
            Some(result) => result,
            None => {
                let result = self.prepare(kind, request, offset).await?;
                if lasts {
                    self.keep(wanted, result.clone());
                }
                result
            }
        };
        Ok(Reply { result, revision: request.revision })
    }

    async fn prepare(&self, kind: Kind, request: &ListRequest<'_>, offset: usize) -> Result<RawObject, Failure> {
        let (page, next) = self.visible(kind, request, offset).await;
        let revision = page.iter().map(|item| item.revision).max().unwrap_or(request.revision);
        let mut result = RawObject::new();
        let entries: Vec<RawJson> = page.iter().map(|item| item.listed_for(request.revision)).collect();
        result.set(kind.member(), RawJson::of_array(&entries));
        if let Some(next) = next {
            result.set("nextCursor", RawJson::string(&format!("{}.{next}", request.generation)));
        }
        if revision.era() == Era::Modern {
            result.set("resultType", RawJson::from_static("\"complete\""));
            // What a list holds depends on who asks, and it changes without notice to caches in between.
            result.set("ttlMs", RawJson::from_static("0"));
            result.set("cacheScope", RawJson::from_static("\"private\""));
        }
        let result = reply_for(Reply { result, revision }, kind.method(), request.revision, request.identity)?;
        // Written and opened once here, so that it is one piece of text from now on.
        result.to_json().object().map_err(|error| Failure::internal("a list could not be put together").with_internal(error))
    }

    /// What policy lets this caller see from `offset` on, as much as fits on a page, and where the next page begins.
    async fn visible(&self, kind: Kind, request: &ListRequest<'_>, offset: usize) -> (Vec<&Item>, Option<usize>) {
        let offered = self.items.iter().enumerate().skip(offset).filter(|(_, item)| request.shows_apps || !item.for_apps_alone);
        let offered: Vec<(usize, &Item)> = offered.collect();
        let mut page = Vec::new();
        for some in offered.chunks(PAGE_ENTRIES) {
            let resources: Vec<Resource<'_>> = some.iter().map(|(_, item)| kind.resource(item)).collect();
            let allowed = request.policy.allows_each(request.principal, request.circumstances, &resources).await;
            for ((at, item), _) in some.iter().zip(allowed).filter(|(_, allowed)| *allowed) {
                if page.len() == PAGE_ENTRIES {
                    return (page, Some(*at));
                }
                page.push(*item);
            }
        }
        (page, None)
    }

    fn known(&self, wanted: &Wanted) -> Option<RawObject> {
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.iter().find(|(known, _)| known.is(wanted)).map(|(_, result)| result.clone())
    }

    fn keep(&self, wanted: Wanted, result: RawObject) {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if prepared.len() == PREPARED {
            prepared.remove(0);
        }
        prepared.push((wanted, result));
    }
}

fn read_cursor(cursor: &str, generation: &str) -> Result<usize, Failure> {
    let offset = cursor.strip_prefix(generation).and_then(|rest| rest.strip_prefix('.')).and_then(|offset| offset.parse().ok());
    offset.ok_or_else(|| {
        Failure::client(FailureKind::InvalidParams, "the cursor belongs to a list that has changed since")
            .with_hint("list again from the start")
    })
}

/// What one endpoint offers.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) tools: Lane,
    pub(crate) prompts: Lane,
    pub(crate) resources: Lane,
    pub(crate) templates: Lane,
    pub(super) seen: Seen,
}

impl View {
    pub(crate) fn lane(&self, kind: Kind) -> &Lane {
        match kind {
            Kind::Tools => &self.tools,
            Kind::Prompts => &self.prompts,
            Kind::Resources => &self.resources,
            Kind::Templates => &self.templates,
        }
    }
}
