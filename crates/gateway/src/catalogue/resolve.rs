//! Which server a request is for, and under which of its own names.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use sallyport_policy::{Action, Annotations, Pin, Resource};
use sallyport_protocol::{Endpoint, Failure, FailureKind, Method, RawJson, RawObject, Request};

use super::view::{Item, Kind};
use super::{Catalogue, Member, extensions, names, spelling, uris};
use crate::plan::ToolsetPlan;
use crate::tasks::Support;
use crate::upstream::{Freshness, Listing, Routed};

/// A request whose server is known, in that server's own names.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) routed: Routed,
    pub(crate) action: Action,
    pub(crate) target: Target,
    /// The label to put before URIs in the result; `None` where the server's own URIs are shown.
    pub(crate) expose: Option<String>,
}

/// Longest name, in bytes, that is asked for at its server though it is not listed: eight times what the specification recommends for tools.
const LONGEST_UNLISTED: usize = 1024;

/// What a call uses.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) kind: TargetKind,
    /// The own name or URI at its server.
    pub(crate) own: String,
    pub(crate) annotations: Annotations,
    pub(crate) trusted: bool,
    /// Whether a tool's definition is the recorded one.
    pub(crate) pin: Pin,
    /// How a tool may run.
    pub(crate) tasks: Support,
    /// Whether its server lists it: any other name is the caller's own word.
    pub(crate) is_listed: bool,
}

/// The kinds of things that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetKind {
    Tool,
    Prompt,
    Resource,
    /// A method of an extension that only the server knows.
    Method,
}

impl Target {
    /// What no more is known of than its own name or URI.
    pub(crate) fn named(kind: TargetKind, own: &str) -> Self {
        let (annotations, pin) = (Annotations::default(), Pin::Unpinned);
        Self { kind, own: own.to_owned(), annotations, trusted: false, pin, tasks: Support::Never, is_listed: false }
    }

    /// What a tool is to be called with, for policy to look at; a call that says nothing calls it with nothing.
    pub(crate) fn arguments(&self, request: &Request) -> Option<RawJson> {
        let given = || request.params.get("arguments").cloned().unwrap_or_else(|| RawObject::new().to_json());
        (self.kind == TargetKind::Tool).then(given)
    }

    /// What is told in place of a refusal: of a URI that is taken only as its server lists it, what is told where no server does. Who may
    /// not see it does not learn that it is there.
    pub(crate) fn refused_as(&self) -> Option<Failure> {
        (self.kind == TargetKind::Resource && !spelling::is_plain(&self.own)).then(oddly_spelt)
    }

    /// What policy is asked about.
    pub(crate) fn resource<'a>(&'a self, server: &'a str) -> Resource<'a> {
        match self.kind {
            TargetKind::Tool => Resource::tool(server, &self.own, self.annotations, self.trusted).pinned_as(self.pin),
            TargetKind::Prompt => Resource::prompt(server, &self.own),
            TargetKind::Resource => Resource::resource(server, &self.own),
            TargetKind::Method => Resource::method(server, &self.own),
        }
    }
}

impl Catalogue {
    /// Finds the server and its own name for what a request names.
    ///
    /// # Errors
    /// `InvalidParams` where the request names nothing, `NotFound` or `ResourceNotFound` where no server has that name,
    /// `MethodNotFound` where the endpoint does not have the method.
    pub(crate) fn resolve(&self, mut request: Request, endpoint: &Endpoint) -> Result<Call, Failure> {
        self.require(request.method, endpoint)?;
        let (action, reference) = read_reference(&request)?;
        let (member, target) = match &reference {
            Reference::Named(kind, name) => self.find_named(*kind, name, endpoint)?,
            Reference::Uri(uri) => self.find_resource(uri, request.method, endpoint)?,
            Reference::Method => self.find_server(request.method, endpoint)?,
        };
        let expose = match endpoint {
            Endpoint::Server(_) => None,
            Endpoint::All | Endpoint::Toolset(_) => {
                write_reference(&mut request, &target);
                Some(member.label.clone())
            }
        };
        Ok(Call { routed: Routed { server: member.name.clone(), request }, action, target, expose })
    }

    /// The servers that a request may be for and that have not told yet what they offer; `toolsets` says what their tools are called there.
    pub(crate) fn pending_for(&self, request: &Request, endpoint: &Endpoint, toolsets: &BTreeMap<String, ToolsetPlan>) -> Vec<Arc<str>> {
        let mut pending = self.members.values().filter(|member| matches!(member.listing.freshness, Freshness::Pending)).peekable();
        if pending.peek().is_none() || !extensions::may_have(request.method, endpoint) {
            return Vec::new();
        }
        let Ok((_, reference)) = read_reference(request) else { return Vec::new() };
        let may_mean = |member: &&Member| match (endpoint, &reference) {
            (Endpoint::Server(name), _) => member.name == *name,
            (_, Reference::Named(_, name)) => {
                let exposed = renamed(endpoint, name, toolsets).unwrap_or(name);
                exposed.split_once(names::SEPARATOR).is_some_and(|(server, _)| *server == *member.name)
            }
            (_, Reference::Uri(uri)) => uris::split(uri).is_some_and(|(label, _)| label == member.label),
            (_, Reference::Method) => false, // such methods are at a server's own endpoint alone
        };
        pending.filter(may_mean).map(|member| member.name.clone()).collect()
    }

    fn find_named(&self, kind: Kind, name: &str, endpoint: &Endpoint) -> Result<(&Member, Target), Failure> {
        let target_kind = if kind == Kind::Tools { TargetKind::Tool } else { TargetKind::Prompt };
        if let Some(item) = self.view(endpoint)?.lane(kind).get(name)
            && let Some(member) = self.members.get(&item.server)
        {
            let Item { ref own, annotations, trusted, pin, tasks, .. } = *item;
            return Ok((member, Target { kind: target_kind, own: own.clone(), annotations, trusted, pin, tasks, is_listed: true }));
        }
        // A name that is not listed may still be known to its server: not listed yet, gone for the moment, or for apps
        // only. The server itself, or the state it is in, gives the better answer.
        let (member, own) = self.unlisted(name, endpoint).ok_or_else(|| unknown(target_kind, name))?;
        Ok((member, Target::named(target_kind, own)))
    }

    fn unlisted<'n>(&self, name: &'n str, endpoint: &Endpoint) -> Option<(&Member, &'n str)> {
        if name.len() > LONGEST_UNLISTED {
            return None;
        }
        match endpoint {
            Endpoint::Server(server) => Some((self.members.get(server)?, name)),
            Endpoint::All if !self.refused_names.contains(name) => {
                let (server, own) = name.split_once(names::SEPARATOR)?;
                (names::exposed(server, own) == name).then_some(())?;
                Some((self.members.get(server)?, own))
            }
            // A toolset is a selection: what is not in it is not there.
            Endpoint::All | Endpoint::Toolset(_) => None,
        }
    }

    fn find_resource(&self, uri: &str, method: Method, endpoint: &Endpoint) -> Result<(&Member, Target), Failure> {
        let missing = || match extensions::concern(method) {
            // Invalid parameters in every revision (skills extension, error handling).
            true => Failure::client(FailureKind::NotFound, "there is no such skill or directory"),
            false => Failure::client(FailureKind::ResourceNotFound(uri.to_owned()), "there is no such resource"),
        };
        let (member, own) = match endpoint {
            Endpoint::Server(server) => (self.members.get(server).ok_or_else(missing)?, Cow::Borrowed(uri)),
            Endpoint::All | Endpoint::Toolset(_) => {
                let (label, own) = uris::split(uri).ok_or_else(missing)?;
                let member = self.members_of(endpoint).into_iter().find(|member| member.label == label).ok_or_else(missing)?;
                (member, own)
            }
        };
        // What was subscribed to can be left, whatever is selected by now.
        if matches!(endpoint, Endpoint::Toolset(_)) && method != Method::ResourcesUnsubscribe && !self.names_page(endpoint, member, &own) {
            return Err(missing());
        }
        if extensions::concern(method) && !member.has_method(method) {
            return Err(missing()); // others of the endpoint have the method: what this one has is no skill, or no directory
        }
        // What was subscribed to can be left, whatever is listed by now.
        if method != Method::ResourcesUnsubscribe && !spelling::is_plain(&own) && !lists(member, &own) {
            return Err(oddly_spelt());
        }
        Ok((member, Target::named(TargetKind::Resource, &own)))
    }

    /// Whether a tool of the endpoint names a page of its server.
    fn names_page(&self, endpoint: &Endpoint, member: &Member, uri: &str) -> bool {
        let names = |item: &Item| item.server == member.name && item.pages.iter().any(|page| page == uri);
        self.view(endpoint).is_ok_and(|view| view.tools.items().iter().any(names))
    }

    /// The server whose own endpoint this is.
    fn find_server(&self, method: Method, endpoint: &Endpoint) -> Result<(&Member, Target), Failure> {
        let member = self.members_of(endpoint).into_iter().next().ok_or_else(|| no_method(method))?;
        Ok((member, Target::named(TargetKind::Method, method.as_str())))
    }
}

fn oddly_spelt() -> Failure {
    let what =
        "the URI can be spelt in a plainer way, without `.`, `..`, `//`, `localhost`, spaces, capitals and `%` that it does not need";
    Failure::client(FailureKind::InvalidParams, what)
}

/// Whether the server itself spells it like that.
fn lists(member: &Member, uri: &str) -> bool {
    let Listing { resources, templates, .. } = &*member.listing;
    resources.iter().chain(templates.iter()).any(|entry| entry.name == uri)
}

/// What is called otherwise at a toolset is called this at the merged endpoint.
fn renamed<'t>(endpoint: &Endpoint, name: &str, toolsets: &'t BTreeMap<String, ToolsetPlan>) -> Option<&'t str> {
    let Endpoint::Toolset(toolset) = endpoint else { return None };
    let renamed = toolsets.get(&**toolset)?.rename.iter().find(|(_, here)| *here == name);
    renamed.map(|(exposed, _)| exposed.as_str())
}

fn unknown(kind: TargetKind, name: &str) -> Failure {
    let what = if kind == TargetKind::Tool { "tool" } else { "prompt" };
    // The name comes from outside: shown in part, and in quotes.
    let shown: String = name.chars().take(80).collect();
    Failure::client(FailureKind::NotFound, format!("there is no {what} {shown:?}"))
}

/// What a request names.
enum Reference {
    Named(Kind, String),
    Uri(String),
    /// Nothing that could be understood: the method is all that is known.
    Method,
}

fn read_reference(request: &Request) -> Result<(Action, Reference), Failure> {
    let text = |key: &str| {
        let missing = || Failure::client(FailureKind::InvalidParams, format!("`{}` needs the string `{key}`", request.method.as_str()));
        request.params.get_str(key).map(Cow::into_owned).ok_or_else(missing)
    };
    Ok(match request.method {
        Method::ToolsCall => (Action::Call, Reference::Named(Kind::Tools, text("name")?)),
        Method::PromptsGet => (Action::Get, Reference::Named(Kind::Prompts, text("name")?)),
        Method::ResourcesRead | Method::SkillsGet | Method::DirectoryRead => (Action::Read, Reference::Uri(text("uri")?)),
        Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => (Action::Subscribe, Reference::Uri(text("uri")?)),
        Method::Complete => (Action::Complete, completed(&request.params)?),
        Method::Extension(_) => (Action::Call, Reference::Method),
        other => return Err(no_method(other)),
    })
}

pub(super) fn no_method(method: Method) -> Failure {
    Failure::client(FailureKind::MethodNotFound, format!("`{}` is no method of this endpoint", method.as_str()))
}

fn completed(params: &RawObject) -> Result<Reference, Failure> {
    let bad = || Failure::client(FailureKind::InvalidParams, "`completion/complete` needs a `ref` to a prompt's name or a resource's URI");
    let reference = params.get_object("ref").ok().flatten().ok_or_else(bad)?;
    match reference.get_str("type").as_deref() {
        Some("ref/prompt") => reference.get_str("name").map(|name| Reference::Named(Kind::Prompts, name.into_owned())),
        Some("ref/resource") => reference.get_str("uri").map(|uri| Reference::Uri(uri.into_owned())),
        _ => None,
    }
    .ok_or_else(bad)
}

/// Puts the server's own name where the exposed one stood.
fn write_reference(request: &mut Request, target: &Target) {
    let own = RawJson::string(&target.own);
    let key = if target.kind == TargetKind::Resource { "uri" } else { "name" };
    if request.method != Method::Complete {
        request.params.set(key, own);
    } else if let Ok(Some(mut reference)) = request.params.get_object("ref") {
        reference.set(key, own);
        request.params.set("ref", reference.to_json());
    }
}

/// Hands out the server of a call.
impl Call {
    pub(crate) fn server(&self) -> &Arc<str> {
        &self.routed.server
    }
}
