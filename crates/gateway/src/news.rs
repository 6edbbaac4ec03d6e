//! What servers say unasked, told to those who listen at the endpoints concerned.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sallyport_policy::Principal;
use sallyport_protocol::{Endpoint, Event, Listener, Listeners};

use crate::catalogue::uris;
use crate::catalogue::view::Kind;
use crate::gateway::Inner;
use crate::packages::Draw;
use crate::tasks::{Tasks, is_at};

pub(crate) const TASK_STATUS: &str = "notifications/tasks/status";
/// That an address was dealt with, which a session passes on where its client was asked to open it (2025-11-25, elicitation by URL).
const ADDRESS_DONE: &str = "notifications/elicitation/complete";

/// From so many callers on those are forgotten who have left, each time that another comes. Those who listen are bounded by the
/// connections that there may be.
const CALLERS: usize = 1024;

/// The listeners of each endpoint and of each caller. There are as many endpoints as the configuration names: [`crate::Gateway`] admits
/// no other.
#[derive(Debug, Default)]
pub(crate) struct News {
    by_endpoint: Mutex<HashMap<Endpoint, Arc<Listeners>>>,
    by_caller: Mutex<HashMap<Principal, AtEndpoints>>,
}

/// One caller's listeners.
type AtEndpoints = HashMap<Endpoint, Arc<Listeners>>;

impl News {
    /// Adds a caller's listener to an endpoint.
    pub(crate) fn listen(&self, endpoint: &Endpoint, caller: &Principal, listener: &Arc<dyn Listener>) {
        let at_endpoint = self.by_endpoint.lock().unwrap_or_else(PoisonError::into_inner).entry(endpoint.clone()).or_default().clone();
        at_endpoint.add(listener);
        let mut by_caller = self.by_caller.lock().unwrap_or_else(PoisonError::into_inner);
        if by_caller.len() >= CALLERS && !by_caller.contains_key(caller) {
            by_caller.retain(|_, places| places.values().any(|listeners| !listeners.is_empty()));
        }
        by_caller.entry(caller.clone()).or_default().entry(endpoint.clone()).or_default().add(listener);
    }

    /// Tells an event to the listeners of an endpoint.
    pub(crate) fn tell(&self, endpoint: &Endpoint, event: &Event) {
        let listeners = self.by_endpoint.lock().unwrap_or_else(PoisonError::into_inner).get(endpoint).cloned();
        if let Some(listeners) = listeners {
            listeners.tell(event);
        }
    }

    /// Tells an event to one caller, wherever they listen.
    pub(crate) fn tell_caller(&self, caller: &Principal, event: &Event) {
        self.tell_caller_at(caller, |_| true, event);
    }

    /// Tells an event to one caller, where they listen at some endpoints.
    fn tell_caller_at(&self, caller: &Principal, is_told: impl Fn(&Endpoint) -> bool, event: &Event) {
        let places = self.by_caller.lock().unwrap_or_else(PoisonError::into_inner).get(caller).cloned();
        let places = places.iter().flatten().filter(|(endpoint, _)| is_told(endpoint));
        places.for_each(|(_, listeners)| listeners.tell(event));
    }

    /// Those who listen, or did lately.
    pub(crate) fn callers(&self) -> Vec<Principal> {
        self.by_caller.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Tells an event to those listeners of an endpoint who are of `audience`.
    fn tell_audience(&self, endpoint: &Endpoint, event: &Event, audience: &Audience) {
        let by_caller = self.by_caller.lock().unwrap_or_else(PoisonError::into_inner);
        let here = by_caller.iter().filter_map(|(caller, places)| Some((caller, places.get(endpoint)?.clone())));
        let concerned: Vec<_> = here.filter(|(caller, _)| audience.includes(caller)).map(|(_, listeners)| listeners).collect();
        drop(by_caller);
        concerned.iter().for_each(|listeners| listeners.tell(event));
    }

    /// Tells one caller that lists have changed, where it listens to them.
    pub(crate) fn tell_caller_changes(&self, caller: &Principal, changes: &[(Endpoint, Kind)]) {
        let places = self.by_caller.lock().unwrap_or_else(PoisonError::into_inner).get(caller).cloned().unwrap_or_default();
        for (endpoint, event) in events(changes) {
            places.get(endpoint).iter().for_each(|listeners| listeners.tell(&event));
        }
    }

    /// Tells that lists have changed, once an endpoint and kind of event.
    pub(crate) fn tell_changes(&self, changes: &[(Endpoint, Kind)]) {
        events(changes).for_each(|(endpoint, event)| self.tell(endpoint, &event));
    }
}

/// What tells of the changes. Resources and their templates share one notification.
fn events(changes: &[(Endpoint, Kind)]) -> impl Iterator<Item = (&Endpoint, Event)> {
    changes.iter().enumerate().filter_map(|(at, (endpoint, kind))| {
        let told = changes.iter().take(at).any(|(earlier, other)| earlier == endpoint && event_of(*other).1 == event_of(*kind).1);
        (!told).then(|| (endpoint, event_of(*kind).0))
    })
}

/// Who hears one version of a server that another runs beside.
pub(crate) struct Audience {
    pub(crate) draw: Draw,
    /// Whether it is those who have drawn the newer version.
    pub(crate) has_drawn: bool,
}

impl Audience {
    fn includes(&self, caller: &Principal) -> bool {
        self.draw.takes(&caller.full_id()) == self.has_drawn
    }
}

fn event_of(kind: Kind) -> (Event, u8) {
    match kind {
        Kind::Tools => (Event::ToolsChanged, 0),
        Kind::Prompts => (Event::PromptsChanged, 1),
        Kind::Resources | Kind::Templates => (Event::ResourcesChanged, 2),
    }
}

/// Hears one server and passes on what it says: as it is at the server's own endpoint, under exposed names at the merged one.
pub(crate) struct Relay {
    pub(crate) server: Arc<str>,
    /// Tells the version of the server.
    pub(crate) scope: Arc<str>,
    /// Who hears it, where not all callers get this version.
    pub(crate) audience: Option<Audience>,
    pub(crate) news: Arc<News>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) inner: Weak<Inner>,
    /// The merged endpoint and the toolsets.
    pub(crate) merged: Vec<Endpoint>,
    /// All callers are the same one, who may hear what the server says of nobody's request.
    pub(crate) has_one_caller: bool,
}

impl Relay {
    fn tell(&self, endpoint: &Endpoint, event: &Event) {
        match &self.audience {
            None => self.news.tell(endpoint, event),
            Some(audience) => self.news.tell_audience(endpoint, event, audience),
        }
    }
}

impl Listener for Relay {
    fn hear(&self, event: &Event) {
        let exposed = match event {
            // The catalogue tells these, when it has changed in fact.
            Event::ToolsChanged | Event::PromptsChanged | Event::ResourcesChanged => return,
            Event::ResourceUpdated { uri, params, by } => {
                let label = uris::label(&self.server);
                let mut params = params.clone();
                uris::expose_member(&mut params, "uri", &label);
                Event::ResourceUpdated { uri: uris::expose(&label, uri), params, by: *by }
            }
            // What becomes of a task is for the ears of its owner (2025-11-25, task status notification), where it can be asked about.
            Event::Other(method, params) if method == TASK_STATUS => {
                if let (Some((task, params)), Some(inner)) = (self.tasks.heard(&self.scope, params.clone()), self.inner.upgrade()) {
                    let (parts, event) = (inner.parts.load_full(), Event::Other(method.clone(), params));
                    let parts = parts.drawn_already(&task.owner).unwrap_or(parts);
                    self.news.tell_caller_at(&task.owner, |endpoint| is_at(&task, &parts, endpoint), &event);
                }
                return;
            }
            Event::Other(method, _) if method == ADDRESS_DONE => event.clone(),
            // It may tell of any caller's request, and no rule says who may read it.
            Event::Log(_) | Event::Other(..) if !self.has_one_caller => {
                tracing::debug!(server = %self.server, "told nobody what the server says of no request in particular");
                return;
            }
            Event::Log(_) | Event::Other(..) => event.clone(),
        };
        self.tell(&Endpoint::Server(self.server.clone()), event);
        for endpoint in &self.merged {
            self.tell(endpoint, &exposed);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[derive(Default)]
    struct Ear(Mutex<Vec<String>>);

    impl Listener for Ear {
        fn hear(&self, event: &Event) {
            let text = match event {
                Event::ResourceUpdated { uri, .. } => uri.clone(),
                other => format!("{other:?}"),
            };
            self.0.lock().unwrap().push(text);
        }
    }

    #[test]
    fn an_update_reaches_each_endpoint_under_its_own_uri() {
        let news = Arc::new(News::default());
        let (own, merged) = (Arc::new(Ear::default()), Arc::new(Ear::default()));
        news.listen(&Endpoint::Server("s".into()), &Principal::local_user(), &(own.clone() as Arc<dyn Listener>));
        news.listen(&Endpoint::All, &Principal::local_user(), &(merged.clone() as Arc<dyn Listener>));
        let (server, endpoints) = (Arc::<str>::from("s"), vec![Endpoint::All]);
        let relay = Relay {
            scope: server.clone(),
            server,
            audience: None,
            news,
            tasks: Arc::default(),
            inner: Weak::new(),
            merged: endpoints,
            has_one_caller: true,
        };
        relay.hear(&Event::ResourceUpdated { uri: "a:1".into(), params: sallyport_protocol::RawObject::new(), by: None });
        relay.hear(&Event::ToolsChanged);
        assert_eq!(*own.0.lock().unwrap(), ["a:1"]);
        assert_eq!(*merged.0.lock().unwrap(), ["s.mcp:a:1"]);
    }

    #[test]
    fn what_a_server_says_of_nobodys_request_is_heard_where_there_is_one_caller_alone() {
        let said = |has_one_caller: bool| {
            let (news, ear) = (Arc::new(News::default()), Arc::new(Ear::default()));
            for endpoint in [Endpoint::Server("s".into()), Endpoint::All, Endpoint::Toolset("t".into())] {
                news.listen(&endpoint, &Principal::key("bob"), &(ear.clone() as Arc<dyn Listener>));
            }
            let (server, merged) = (Arc::<str>::from("s"), vec![Endpoint::All, Endpoint::Toolset("t".into())]);
            let relay = Relay {
                scope: server.clone(),
                server,
                audience: None,
                news,
                tasks: Arc::default(),
                inner: Weak::new(),
                merged,
                has_one_caller,
            };
            let text = sallyport_protocol::RawObject::new;
            relay.hear(&Event::Log(text()));
            relay.hear(&Event::Other("vendor/news".into(), text()));
            relay.hear(&Event::Other(ADDRESS_DONE.into(), text()));
            ear.0.lock().unwrap().clone()
        };
        let done = |heard: &[String]| heard.iter().filter(|event| event.contains(ADDRESS_DONE)).count();
        let (alone, many) = (said(true), said(false));
        assert_eq!((alone.len(), done(&alone)), (9, 3));
        assert_eq!((many.len(), done(&many)), (3, 3), "its own session knows which one it waits for: {many:?}");
    }

    #[test]
    fn each_version_is_heard_by_those_who_get_it() {
        let news = Arc::new(News::default());
        let listening = |caller: usize| {
            let (ear, principal) = (Arc::new(Ear::default()), Principal::key(&caller.to_string()));
            news.listen(&Endpoint::All, &principal, &(ear.clone() as Arc<dyn Listener>));
            (ear, Draw::of("salt", 50).takes(&principal.full_id()))
        };
        let ears: Vec<_> = (0..20).map(listening).collect();
        assert!(ears.iter().any(|(_, drawn)| *drawn) && ears.iter().any(|(_, drawn)| !drawn));
        for (has_drawn, uri) in [(false, "a:old"), (true, "a:new")] {
            let (server, merged) = (Arc::<str>::from("s"), vec![Endpoint::All]);
            let audience = Some(Audience { draw: Draw::of("salt", 50), has_drawn });
            let relay = Relay {
                scope: server.clone(),
                server,
                audience,
                news: news.clone(),
                tasks: Arc::default(),
                inner: Weak::new(),
                merged,
                has_one_caller: false,
            };
            relay.hear(&Event::ResourceUpdated { uri: uri.into(), params: sallyport_protocol::RawObject::new(), by: None });
        }
        for (ear, drawn) in &ears {
            assert_eq!(*ear.0.lock().unwrap(), [if *drawn { "s.mcp:a:new" } else { "s.mcp:a:old" }]);
        }
    }

    #[test]
    fn resources_and_templates_are_told_once() {
        let news = News::default();
        let ear = Arc::new(Ear::default());
        news.listen(&Endpoint::All, &Principal::local_user(), &(ear.clone() as Arc<dyn Listener>));
        news.tell_changes(&[(Endpoint::All, Kind::Resources), (Endpoint::All, Kind::Templates), (Endpoint::All, Kind::Tools)]);
        assert_eq!(*ear.0.lock().unwrap(), ["ResourcesChanged", "ToolsChanged"]);
    }
}
