//! Servers that every principal has a connection of its own to, since each goes there in its own name.
//!
//! A principal sees [`Parts`] of its own then: the same as everybody's, with its own connections to such servers and the lists that it was
//! given over them. So whatever takes `Parts` (lists, calls, subscriptions, tasks) is one principal's from there on, and nothing of
//! another's is within reach.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use sallyport_identity::upstream::{Owner, Subject};
use sallyport_policy::Principal;
use sallyport_protocol::{CallerToken, Endpoint, Event, Listener};

use crate::catalogue::view::Kind;
use crate::catalogue::{Catalogue, uris};
use crate::gateway::{Inner, Parts, Server, generation, members};
use crate::news::{News, TASK_STATUS};
use crate::upstream::{Person, Upstream};

/// Principals whose connections a gateway keeps open, each tenant's its own. Who has not called for the longest time makes room; the next call opens them again.
pub(crate) const MOST: usize = 1000;

/// The principals that have called lately.
#[derive(Default)]
pub(crate) struct Persons(Mutex<HashMap<Principal, Seen>>);

struct Seen {
    last: Instant,
    what: What,
}

enum What {
    /// What a principal sees who has called since the configuration in force is.
    Met { parts: Arc<Parts>, subject: Subject },
    /// The programs of one who has not yet: they have run since before, and wait for the next call.
    Waiting(BTreeMap<Arc<str>, Server>),
}

impl What {
    fn parts(&self) -> Option<&Arc<Parts>> {
        match self {
            Self::Met { parts, .. } => Some(parts),
            Self::Waiting(_) => None,
        }
    }

    /// The programs that are this principal's alone.
    fn programs(&self) -> impl Iterator<Item = (&Arc<str>, &Server)> {
        let servers = match self {
            Self::Met { parts, .. } => &parts.servers,
            Self::Waiting(servers) => servers,
        };
        servers.iter().filter(|(_, server)| server.upstream.plan().is_program() && server.upstream.plan().is_personal())
    }
}

impl fmt::Debug for Persons {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Persons")
    }
}

impl Persons {
    fn seen(&self) -> MutexGuard<'_, HashMap<Principal, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The parts of all who have called since the configuration in force is, in no order.
    pub(crate) fn all(&self) -> Vec<(Principal, Arc<Parts>)> {
        self.seen().iter().filter_map(|(principal, seen)| Some((principal.clone(), seen.what.parts()?.clone()))).collect()
    }

    /// All who are there, with parts or without.
    pub(crate) fn principals(&self) -> HashSet<Principal> {
        self.seen().keys().cloned().collect()
    }

    /// Everybody's own programs.
    pub(crate) fn programs(&self) -> Vec<Arc<Upstream>> {
        self.seen().values().flat_map(|seen| seen.what.programs().map(|(_, server)| server.upstream.clone())).collect()
    }

    /// For another configuration: everybody's own programs that may go on, as `may_go_on` says. They wait for the next call.
    pub(crate) fn carried_over(&self, may_go_on: impl Fn(&Principal, &Arc<str>, &Server) -> bool) -> Self {
        let mut carried = HashMap::new();
        for (principal, seen) in &*self.seen() {
            let going_on = seen.what.programs().filter(|(name, server)| may_go_on(principal, name, server));
            let going_on: BTreeMap<_, _> = going_on.map(|(name, server)| (name.clone(), server.clone())).collect();
            if !going_on.is_empty() {
                carried.insert(principal.clone(), Seen { last: seen.last, what: What::Waiting(going_on) });
            }
        }
        Self(Mutex::new(carried))
    }

    /// Under what subscriptions are counted at programs that wait for a call.
    pub(crate) fn waiting_scopes(&self) -> HashSet<Arc<str>> {
        let seen = self.seen();
        let waiting = seen.iter().filter(|(_, seen)| seen.what.parts().is_none());
        waiting.flat_map(|(principal, seen)| seen.what.programs().map(|(name, _)| own_scope(name, &principal.full_id()))).collect()
    }
}

/// Under what subscriptions of a principal are counted at its own connection to a server.
fn own_scope(server: &Arc<str>, person: &str) -> Arc<str> {
    format!("{server}\n{person}").into()
}

impl Inner {
    /// What `principal` sees of `parts`; `token` is what it showed.
    pub(crate) async fn seen_by(&self, parts: &Arc<Parts>, principal: &Principal, token: Option<&Arc<CallerToken>>) -> Arc<Parts> {
        let view = self.drawn_by(parts, principal).await;
        self.connected(parts, view, principal, token)
    }

    /// The same for whoever only listens: that opens no connection, and keeps none open.
    pub(crate) async fn heard_by(&self, parts: &Arc<Parts>, principal: &Principal) -> Arc<Parts> {
        let view = self.drawn_by(parts, principal).await;
        parts.persons.seen().get(principal).and_then(|seen| seen.what.parts().cloned()).unwrap_or(view)
    }

    /// What `principal` sees where it is there already.
    pub(crate) fn seen_already(&self, parts: &Arc<Parts>, principal: &Principal, token: Option<&Arc<CallerToken>>) -> Option<Arc<Parts>> {
        Some(self.connected(parts, parts.drawn_already(principal)?, principal, token))
    }

    /// `view` with the connections of `principal`, which count among all those of `parts` whatever versions of servers they go to.
    fn connected(&self, parts: &Parts, view: Arc<Parts>, principal: &Principal, token: Option<&Arc<CallerToken>>) -> Arc<Parts> {
        if !view.has_personal {
            return view;
        }
        let mut persons = parts.persons.seen();
        if persons.len() >= MOST && !persons.contains_key(principal) {
            let oldest = persons.iter().min_by_key(|(_, seen)| seen.last).map(|(principal, _)| principal.clone());
            if let Some((oldest, gone)) = oldest.and_then(|oldest| persons.remove_entry(&oldest)) {
                self.forget(parts, &oldest, &gone);
            }
        }
        let last = Instant::now();
        if let Some(Seen { what: What::Met { parts, subject }, last: before }) = persons.get_mut(principal) {
            *before = last;
            subject.show(token);
            return parts.clone();
        }
        let waiting = match persons.remove(principal) {
            Some(Seen { what: What::Waiting(servers), .. }) => servers,
            _ => BTreeMap::new(),
        };
        let (parts, subject) = self.meet(&view, principal, &waiting);
        subject.show(token);
        persons.insert(principal.clone(), Seen { last, what: What::Met { parts: parts.clone(), subject } });
        parts
    }

    /// Takes out of `parts` the callers whom `is_gone` names. Gives their programs, which nobody reaches any more.
    pub(crate) fn take_out(&self, parts: &Parts, is_gone: impl Fn(&Principal) -> bool) -> Vec<Arc<Upstream>> {
        let mut persons = parts.persons.seen();
        let gone: Vec<_> = persons.extract_if(|principal, _| is_gone(principal)).collect();
        gone.iter().for_each(|(principal, seen)| self.forget(parts, principal, seen));
        gone.iter().flat_map(|(_, seen)| seen.what.programs().map(|(_, server)| server.upstream.clone())).collect()
    }

    /// Forgets what hangs on the connections of a principal.
    fn forget(&self, parts: &Parts, principal: &Principal, gone: &Seen) {
        // The next connection is another one, which nobody has subscribed at.
        let ending = format!("\n{}", principal.full_id());
        self.subscriptions.retain(|scope| !scope.ends_with(&ending));
        // A version that has a share of the callers is decided about apart.
        gone.what.parts().map_or(&parts.policy, |own| &own.policy).forget(&principal.full_id());
    }

    /// Makes the parts of a principal, in which programs go on that are `waiting`, and opens its connections to servers elsewhere.
    fn meet(&self, parts: &Arc<Parts>, principal: &Principal, waiting: &BTreeMap<Arc<str>, Server>) -> (Arc<Parts>, Subject) {
        let subject = Subject::of(principal.issuer());
        let owner = Owner { tenant: principal.tenant().to_owned(), principal: principal.id().to_owned() };
        let person = Person { owner, subject: subject.clone() };
        let own = Arc::new_cyclic(|own: &Weak<Parts>| {
            let servers = self.own_servers(parts, principal, &person, waiting, own);
            let catalogue = Catalogue::new(generation(&self.run_id, 0), members(&servers), &parts.plan.toolsets);
            parts.with_servers(servers, ArcSwap::from_pointee(catalogue), Some(principal.full_id()))
        });
        if !waiting.is_empty() {
            // Policy has to know what they offer, and it may have changed just now. Its principal was told of all else with everybody.
            let _known = self.rebuild_of(&own);
        }
        // A program waits for the first request that is about it: it takes memory.
        let elsewhere = own.servers.values().map(|server| &server.upstream).filter(|upstream| upstream.plan().is_personal());
        elsewhere.filter(|upstream| !upstream.plan().is_program()).for_each(|upstream| upstream.start());
        (own, subject)
    }

    fn own_servers(
        &self,
        parts: &Parts,
        principal: &Principal,
        person: &Person,
        waiting: &BTreeMap<Arc<str>, Server>,
        own: &Weak<Parts>,
    ) -> BTreeMap<Arc<str>, Server> {
        let server = |server: &Server| {
            if !server.upstream.plan().is_personal() {
                return server.clone();
            }
            let upstream = match waiting.get(server.upstream.name()) {
                Some(same) => same.upstream.clone(),
                None => Upstream::of_person(server.upstream.plan().clone(), &self.adopter.surroundings(), person.clone()),
            };
            let relay: Arc<dyn Listener> =
                Arc::new(Own { server: upstream.name().clone(), principal: principal.clone(), news: self.news.clone() });
            upstream.listeners().add(&relay);
            let (inner, own, principal) = (self.adopter.inner(), own.clone(), principal.clone());
            upstream.on_change(Arc::new(move |_| {
                if let (Some(inner), Some(own)) = (inner.upgrade(), own.upgrade()) {
                    inner.rebuild_own(&own, &principal);
                }
            }));
            Server { upstream, _relay: relay, ..server.clone() }
        };
        parts.servers.iter().map(|(name, found)| (name.clone(), server(found))).collect()
    }

    /// Puts a principal's catalogue together again and tells it what changed.
    pub(crate) fn rebuild_own(&self, own: &Parts, principal: &Principal) {
        self.news.tell_caller_changes(principal, &self.rebuild_of(own));
    }

    /// Puts the catalogues together again of all who have connections of their own, and tells them what `told`, which all are told, leaves out.
    pub(crate) fn rebuild_everybody(&self, parts: &Parts, told: &[(Endpoint, Kind)]) {
        for (principal, own) in parts.persons.all() {
            let mut changes = self.rebuild_of(&own);
            changes.retain(|change| !told.contains(change));
            self.news.tell_caller_changes(&principal, &changes);
        }
    }
}

/// Hears a principal's own connection, and tells that principal alone.
struct Own {
    server: Arc<str>,
    principal: Principal,
    news: Arc<News>,
}

impl Listener for Own {
    fn hear(&self, event: &Event) {
        match event {
            // The catalogue tells these, when it has changed in fact.
            Event::ToolsChanged | Event::PromptsChanged | Event::ResourcesChanged => {}
            Event::ResourceUpdated { uri, params, by } => {
                let label = uris::label(&self.server);
                let mut exposed = params.clone();
                uris::expose_member(&mut exposed, "uri", &label);
                // Under the name of the merged endpoints, and under that of the server's own: it has subscribed to one of them.
                let told = Event::ResourceUpdated { uri: uris::expose(&label, uri), params: exposed, by: *by };
                self.news.tell_caller(&self.principal, &told);
                self.news.tell_caller(&self.principal, event);
            }
            // It has the server's own name of the task: its owner asks.
            Event::Other(method, _) if method == TASK_STATUS => {}
            Event::Log(_) | Event::Other(..) => self.news.tell_caller(&self.principal, event),
        }
    }
}

impl Parts {
    /// Under what subscriptions at a server are counted: a principal's own connection has its own.
    pub(crate) fn subscribed_at(&self, server: &Arc<str>) -> Arc<str> {
        match (&self.person, self.servers.get(server)) {
            (Some(person), Some(found)) if found.upstream.plan().is_personal() => own_scope(server, person),
            _ => server.clone(),
        }
    }
}
