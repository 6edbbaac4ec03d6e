//! What all servers offer, put together: one immutable state, made anew when a server's lists change.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use sallyport_protocol::{Endpoint, Failure, FailureKind, RawJson, RawObject, Revision};

use crate::plan::{ServerPlan, Source, ToolsetPlan};
use crate::tasks::Support;
use crate::upstream::{Entry, Freshness, Listing};

pub(crate) mod extensions;
pub(crate) mod names;
pub(crate) mod resolve;
mod seen;
mod spelling;
pub(crate) mod uris;
pub(crate) mod view;

pub use names::Refusal;
use view::{EXECUTION, Item, Kind, Lane, View};

/// One server as the catalogue sees it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: Arc<str>,
    /// Stands for the server in URIs.
    pub(crate) label: String,
    /// Whether what it says of its tools is believed.
    pub(crate) trusted: bool,
    pub(crate) listing: Arc<Listing>,
}

impl Member {
    pub(crate) fn new(plan: &ServerPlan, name: &Arc<str>, listing: Arc<Listing>) -> Self {
        let trusted = plan.trust_annotations || matches!(plan.source, Source::BuiltIn(_));
        Self { name: name.clone(), label: uris::label(name), trusted, listing }
    }

    fn entries(&self, kind: Kind) -> &[Entry] {
        if !self.listing.freshness.is_shown() {
            return &[]; // what cannot be reached is not offered
        }
        match kind {
            Kind::Tools => &self.listing.tools,
            Kind::Prompts => &self.listing.prompts,
            Kind::Resources => &self.listing.resources,
            Kind::Templates => &self.listing.templates,
        }
    }
}

/// What all servers offer at one moment.
#[derive(Debug)]
pub(crate) struct Catalogue {
    /// Names this state; cursors carry it. Unique over restarts.
    generation: String,
    members: BTreeMap<Arc<str>, Member>,
    /// Every server has said what it offers, or that it cannot.
    is_complete: bool,
    merged: View,
    own: BTreeMap<Arc<str>, View>,
    toolsets: BTreeMap<Arc<str>, View>,
    refusals: Vec<Refusal>,
    refused_names: HashSet<String>,
}

impl Catalogue {
    /// Puts the servers' lists together, in the order of the servers' names.
    pub(crate) fn new(generation: String, members: Vec<Member>, toolsets: &BTreeMap<String, ToolsetPlan>) -> Self {
        let members: BTreeMap<Arc<str>, Member> = members.into_iter().map(|member| (member.name.clone(), member)).collect();
        let is_complete = !members.values().any(|member| matches!(member.listing.freshness, Freshness::Pending));
        let mut refusals = Vec::new();
        let merged = merged_view(&members, &mut refusals);
        let own = members.iter().map(|(name, member)| (name.clone(), own_view(member))).collect();
        let toolsets = toolsets.iter().map(|(name, plan)| (Arc::from(name.as_str()), toolset_view(&merged, plan, &mut refusals))).collect();
        let refused_names = refusals.iter().map(|refusal| refusal.exposed.clone()).collect();
        Self { generation, members, is_complete, merged, own, toolsets, refusals, refused_names }
    }

    pub(crate) fn generation(&self) -> &str {
        &self.generation
    }

    /// Whether no server has still to say what it offers.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The names that were refused, for logs, the live view and `check`.
    pub(crate) fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// The servers that answer at an endpoint.
    pub(crate) fn members_of(&self, endpoint: &Endpoint) -> Vec<&Member> {
        match endpoint {
            Endpoint::All => self.members.values().collect(),
            Endpoint::Server(name) => self.members.get(name).into_iter().collect(),
            Endpoint::Toolset(name) => {
                let servers: HashSet<&Arc<str>> =
                    self.toolsets.get(name).into_iter().flat_map(|view| view.tools.items()).map(|item| &item.server).collect();
                self.members.values().filter(|member| servers.contains(&member.name)).collect()
            }
        }
    }

    /// Whether a tool of an endpoint names a page of MCP Apps.
    pub(crate) fn has_pages(&self, endpoint: &Endpoint) -> bool {
        self.view(endpoint).is_ok_and(|view| view.tools.items().iter().any(|item| !item.pages.is_empty()))
    }

    /// What an endpoint offers.
    ///
    /// # Errors
    /// HTTP's own "not found" where there is no such endpoint: it is the URL that is wrong, not the request.
    pub(crate) fn view(&self, endpoint: &Endpoint) -> Result<&View, Failure> {
        match endpoint {
            Endpoint::All => Some(&self.merged),
            Endpoint::Server(name) => self.own.get(name),
            Endpoint::Toolset(name) => self.toolsets.get(name),
        }
        .ok_or_else(|| Failure::client(FailureKind::Http(404), format!("there is no endpoint {endpoint}")))
    }

    /// The endpoints whose list of that kind differs from `before`, or that are new.
    pub(crate) fn changes_since(&self, before: &Self) -> Vec<(Endpoint, Kind)> {
        let all = std::iter::once((Endpoint::All, &self.merged, Some(&before.merged)));
        let own = self.own.iter().map(|(name, view)| (Endpoint::Server(name.clone()), view, before.own.get(name)));
        let toolsets = self.toolsets.iter().map(|(name, view)| (Endpoint::Toolset(name.clone()), view, before.toolsets.get(name)));
        let mut changes = Vec::new();
        for (endpoint, now, then) in all.chain(own).chain(toolsets) {
            let empty = View::default();
            let then = then.unwrap_or(&empty);
            changes.extend(
                Kind::ALL.into_iter().filter(|kind| !now.lane(*kind).lists_as(then.lane(*kind))).map(|kind| (endpoint.clone(), kind)),
            );
        }
        changes
    }
}

/// One server under its own names: every entry as the server wrote it.
fn own_view(member: &Member) -> View {
    lanes(|kind| member.entries(kind).iter().map(|entry| item(member, entry, entry.name.clone(), kind, entry.raw.clone())).collect())
}

/// All servers, each entry under its exposed name.
fn merged_view(members: &BTreeMap<Arc<str>, Member>, refusals: &mut Vec<Refusal>) -> View {
    lanes(|kind| {
        let mut register = names::Register::default();
        let mut items = Vec::new();
        for member in members.values() {
            for entry in member.entries(kind) {
                let item = exposed_item(member, entry, kind);
                match kind {
                    // A URI carries its server's label, so two servers' URIs never meet.
                    Kind::Resources | Kind::Templates => items.push(item),
                    Kind::Tools | Kind::Prompts => match register.take(&item.exposed, &member.name, &entry.name) {
                        Ok(()) => items.push(item),
                        Err(refusal) => refusals.push(refusal),
                    },
                }
            }
        }
        items
    })
}

fn exposed_item(member: &Member, entry: &Entry, kind: Kind) -> Item {
    let mut raw = entry.raw.clone();
    let exposed = match kind {
        Kind::Tools | Kind::Prompts => {
            let exposed = names::exposed(&member.name, &entry.name);
            raw.set("name", RawJson::string(&exposed));
            exposed
        }
        Kind::Resources | Kind::Templates => {
            let exposed = uris::expose(&member.label, &entry.name);
            raw.set(if kind == Kind::Resources { "uri" } else { "uriTemplate" }, RawJson::string(&exposed));
            exposed
        }
    };
    uris::expose_ui_reference(&mut raw, &member.label);
    item(member, entry, exposed, kind, raw)
}

fn item(member: &Member, entry: &Entry, exposed: String, kind: Kind, raw: RawObject) -> Item {
    let (mut tasks, mut for_apps_alone, mut pages) = (Support::Never, false, Vec::new());
    if kind == Kind::Tools {
        for_apps_alone = extensions::is_for_apps_alone(&entry.raw);
        pages = uris::ui_references(&entry.raw);
        tasks = Support::of(member.listing.discovery.as_deref(), &entry.raw);
    }
    Item {
        exposed,
        server: member.name.clone(),
        own: entry.name.clone(),
        raw: raw.to_json(),
        tasks,
        says_execution: kind == Kind::Tools && entry.raw.get(EXECUTION).is_some(),
        for_apps_alone,
        pages,
        revision: entry.revision,
        annotations: entry.annotations,
        trusted: member.trusted,
        pin: entry.pin,
        header_schema: header_schema(entry),
    }
}

/// The schema of a tool that asks for headers; few do, so only theirs are kept at hand.
fn header_schema(entry: &Entry) -> Option<RawJson> {
    entry.raw.get("inputSchema").filter(|schema| memchr::memmem::find(schema.as_bytes(), b"x-mcp-header").is_some()).cloned()
}

/// A selection of the merged tools, renamed and re-described. It has no prompts and no resources: what a toolset does not list it does not
/// open. Only the pages of MCP Apps that its tools name belong to these.
fn toolset_view(merged: &View, plan: &ToolsetPlan, refusals: &mut Vec<Refusal>) -> View {
    let patterns: Vec<_> = plan.tools.iter().map(globset::Glob::compile_matcher).collect();
    let mut register = names::Register::default();
    let mut tools = Vec::new();
    for item in merged.tools.items().iter().filter(|item| patterns.iter().any(|pattern| pattern.is_match(&item.exposed))) {
        let item = retold(item, plan);
        match register.take(&item.exposed, &item.server, &item.own) {
            Ok(()) => tools.push(item),
            Err(refusal) => refusals.push(refusal),
        }
    }
    View { tools: Lane::new(tools), ..View::default() }
}

fn retold(item: &Item, plan: &ToolsetPlan) -> Item {
    let (name, text) = (plan.rename.get(&item.exposed), plan.describe.get(&item.exposed));
    let mut item = item.clone();
    if let (true, Ok(mut raw)) = (name.is_some() || text.is_some(), item.raw.object()) {
        if let Some(name) = name {
            raw.set("name", RawJson::string(name));
            item.exposed.clone_from(name);
        }
        if let Some(text) = text {
            raw.set("description", RawJson::string(text));
        }
        item.raw = raw.to_json();
    }
    item
}

fn lanes(mut items: impl FnMut(Kind) -> Vec<Item>) -> View {
    let [tools, prompts, resources, templates] = Kind::ALL.map(|kind| Lane::new(items(kind)));
    View { tools, prompts, resources, templates, ..View::default() }
}

/// The newest revision spoken by any of the servers: what a merged answer is written in.
pub(crate) fn newest(members: &[&Member]) -> Revision {
    members
        .iter()
        .filter_map(|member| member.listing.discovery.as_ref())
        .map(|discovery| discovery.revision)
        .max()
        .unwrap_or(Revision::LATEST)
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests;
