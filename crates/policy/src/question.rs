//! What policy is asked: everything that a decision may depend on.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::arguments::Kinds;
use crate::replay::Replaying;
use crate::rooms::elsewhere;
use crate::{Action, Arguments, Principal, PrincipalKind, Resource, ResourceKind};

/// What is known of the moment of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// The time.
    pub time: SystemTime,
    /// Where the request comes from.
    pub origin: Origin,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This machine itself.
    ThisMachine,
    /// That address.
    Address(IpAddr),
    /// Somewhere that nobody has told: a proxy stands between.
    Unknown,
}

impl Origin {
    /// The address, where one is known.
    #[must_use]
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address),
            Self::ThisMachine | Self::Unknown => None,
        }
    }
}

/// `None` is this machine itself.
impl From<Option<IpAddr>> for Origin {
    fn from(address: Option<IpAddr>) -> Self {
        address.map_or(Self::ThisMachine, Self::Address)
    }
}

impl Circumstances {
    /// From this machine, at `time`.
    #[must_use]
    pub fn local(time: SystemTime) -> Self {
        Self { time, origin: Origin::ThisMachine }
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
    }
}

/// May this principal do this with that, now?
#[derive(Debug)]
pub struct Question<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// What.
    pub action: Action,
    /// With what.
    pub resource: Resource<'a>,
    /// When and from where.
    pub circumstances: Circumstances,
    kinds: &'a Arc<Kinds>,
    /// The arguments as they are understood: worked out once, for all engines.
    understood: OnceLock<Result<Option<Value>, String>>,
    /// There where it is asked about a recorded call.
    pub(crate) replaying: Option<&'a Replaying>,
}

impl<'a> Question<'a> {
    pub(crate) fn new(
        principal: &'a Principal,
        action: Action,
        resource: &Resource<'a>,
        circumstances: Circumstances,
        kinds: &'a Arc<Kinds>,
    ) -> Self {
        Self { principal, action, resource: *resource, circumstances, kinds, understood: OnceLock::new(), replaying: None }
    }

    /// What is done, as rules name it: `list` as long as the arguments of a tool are not known. A prompt or resource is listed for what
    /// is done with it: nothing about that is unknown, so a list is decided as its use.
    #[must_use]
    pub fn action_name(&self) -> &'static str {
        let action = match (self.action, self.resource.kind) {
            (_, ResourceKind::Tool) if self.resource.arguments == Arguments::Unknown => Action::List,
            (Action::List, ResourceKind::Prompt) => Action::Get,
            (Action::List, ResourceKind::Resource) => Action::Read,
            (action, _) => action,
        };
        action.as_str()
    }

    /// The arguments, with queries, paths and addresses taken apart; `None` while they are not known.
    ///
    /// # Errors
    /// Why nobody can tell what the arguments mean; names an argument, never its value.
    pub fn arguments(&self) -> Result<Option<&Value>, &str> {
        let read = || match self.resource.arguments {
            Arguments::Unknown => Ok(None),
            Arguments::Recorded(recorded) => Ok(Some(recorded.value())),
            Arguments::Given(text) => self.kinds.understand(self.resource.server, self.resource.name, text).map(Some),
        };
        self.understood.get_or_init(read).as_ref().map(Option::as_ref).map_err(String::as_str)
    }

    /// Works the [arguments](Self::arguments) out elsewhere, where that takes more than a look.
    pub(crate) async fn understand(&self) {
        let Resource { server, name, arguments: Arguments::Given(text), .. } = self.resource else { return };
        if self.understood.get().is_none() && self.kinds.is_work(server, name) {
            let understood = understood(self.principal.tenant(), self.kinds, server, name, text).await.map(Some);
            let _ = self.understood.set(understood); // whoever asked before knows the same
        }
    }

    /// All of it as one JSON document: what Rego calls `input`.
    ///
    /// # Errors
    /// As [`arguments`](Self::arguments).
    pub fn document(&self) -> Result<Value, &str> {
        let mut document = json!({
            "principal": subject(self.principal),
            "action": self.action_name(),
            "server": self.resource.server,
            "resource": self.resource_document(),
            "time": self.circumstances.seconds(),
            "origin": self.origin(),
            "taint": [],
        });
        if let (Some(arguments), Some(members)) = (self.arguments()?, document.as_object_mut()) {
            members.insert("args".to_owned(), arguments.clone());
        }
        Ok(document)
    }

    /// What it is about, without arguments.
    #[must_use]
    pub fn resource_document(&self) -> Value {
        let resource = &self.resource;
        json!({
            "kind": resource.kind.as_str(),
            "name": resource.name,
            "read_only": resource.changes_nothing(),
            "destructive": resource.is_destructive(),
            "idempotent": resource.is_idempotent(),
            "open_world": resource.is_open_world(),
            "trusted": resource.trusted,
            "pin": resource.pin,
        })
    }

    /// Where the request comes from.
    #[must_use]
    pub fn origin(&self) -> Value {
        let mut origin = Map::new();
        origin.insert("loopback".into(), (self.circumstances.origin == Origin::ThisMachine).into());
        if let Some(address) = self.circumstances.origin.address() {
            origin.insert("address".into(), address.to_string().into());
        }
        origin.into()
    }
}

/// The arguments of a call, worked out elsewhere.
pub(crate) async fn understood(whose: &str, kinds: &Arc<Kinds>, server: &str, tool: &str, text: &str) -> Result<Value, String> {
    let (kinds, server, tool, text) = (Arc::clone(kinds), server.to_owned(), tool.to_owned(), text.to_owned());
    elsewhere(whose, move || kinds.understand(&server, &tool, &text)).await.unwrap_or_else(|none| Err(none.to_string()))
}

/// Who, as a document: `id` (which no other tenant's principal has), `kind`, `tenant`, `groups`, and `scopes` where its token has such
/// bounds.
pub(crate) fn subject(principal: &Principal) -> Value {
    let groups: Vec<&str> = principal.groups().iter().map(|group| &**group).collect();
    let mut subject = json!({ "id": &*principal.full_id(), "kind": kind(principal), "tenant": principal.tenant(), "groups": groups });
    if let (Some(scopes), Some(members)) = (principal.scopes(), subject.as_object_mut()) {
        members.insert("scopes".to_owned(), scopes.iter().collect());
    }
    subject
}

/// How a principal was established, as rules name it.
pub(crate) fn kind(principal: &Principal) -> &'static str {
    match principal.kind() {
        PrincipalKind::LocalUser => "local",
        PrincipalKind::Key(_) => "key",
        PrincipalKind::User { .. } => "user",
        PrincipalKind::Client { .. } => "client",
    }
}
