//! Newer versions of servers' packages that run beside the ones that are locked, each for a share of the callers.
//!
//! A caller sees [`Parts`] in which those servers are replaced whose newer version it has drawn. So whatever takes `Parts` (lists, calls,
//! prompts, resources, tasks, subscriptions) is of one version for one caller, and nothing else has to know that there are two.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use sallyport_policy::{Policy, Principal};
use sallyport_protocol::{Endpoint, Failure, Method};
use tokio::sync::OnceCell;

use crate::build::Adopter;
use crate::catalogue::Catalogue;
use crate::catalogue::view::Kind;
use crate::decide;
use crate::gateway::{Inner, Parts, Server, members};
use crate::news::Audience;
use crate::packages::{Canary, Draw};
use crate::plan::Plan;
use crate::tasks::{self, Line, Task};
use crate::upstream::Upstream;

/// Servers of which a newer version may have a share at the same time. Every choice of them that a caller has drawn costs a catalogue of
/// its own, so six are 64 at most.
pub(crate) const MOST: usize = 6;

/// Which of the newer versions a caller has drawn: a bit for each, in the order of the servers' names.
type Drawn = u8;

/// The newer versions, and what those see who have drawn some of them.
#[derive(Default)]
pub(crate) struct Canaries {
    by_server: BTreeMap<Arc<str>, Beside>,
    /// Parts are never among their own views, which would keep them for ever.
    views: Mutex<HashMap<Drawn, View>>,
}

/// What those see who have drawn the same, made when the first of them comes; `None` where policy could not be made for them.
type View = Arc<OnceCell<Option<Arc<Parts>>>>;

/// A newer version, and who gets it.
#[derive(Clone)]
struct Beside {
    draw: Draw,
    key: String,
    server: Server,
}

impl fmt::Debug for Canaries {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.by_server.keys()).finish()
    }
}

impl Canaries {
    fn is_empty(&self) -> bool {
        self.by_server.is_empty()
    }

    fn views(&self) -> MutexGuard<'_, HashMap<Drawn, View>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drawn_by(&self, caller: &Principal) -> Drawn {
        if self.is_empty() {
            return 0;
        }
        let id = caller.full_id();
        let bit = |(at, beside): (usize, &Beside)| Drawn::from(beside.draw.takes(&id)) << at;
        self.by_server.values().enumerate().map(bit).sum()
    }

    fn those(&self, drawn: Drawn) -> impl Iterator<Item = (&Arc<str>, &Beside)> {
        self.by_server.iter().enumerate().filter(move |(at, _)| drawn >> at & 1 == 1).map(|(_, found)| found)
    }

    /// The newer versions.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.by_server.values().map(|beside| &beside.server.upstream)
    }

    /// What those see who have drawn something; only what was asked for already is there.
    fn made(&self) -> Vec<(Drawn, Arc<Parts>)> {
        self.views().iter().filter_map(|(drawn, view)| Some((*drawn, view.get()?.clone()?))).collect()
    }
}

impl Adopter {
    /// Starts what has a share of a server's callers beside it. What had one before and is locked for all now takes the server's place as
    /// it runs.
    pub(crate) fn with_canaries(&self, servers: &mut BTreeMap<Arc<str>, Server>, plan: &Plan, before: &Canaries) -> Canaries {
        let mut by_server = BTreeMap::new();
        for (name, server) in servers.iter_mut() {
            let old = before.by_server.get(name).filter(|old| {
                let same_plan = old.server.upstream.plan() == server.upstream.plan();
                same_plan && old.server.kept.holds(&server.kept)
            });
            if let Some(promoted) = old.filter(|old| server.locked.as_ref().is_some_and(|entry| entry.locked.key() == old.key)) {
                let upstream = promoted.server.upstream.clone();
                upstream.promote();
                *server = self.listen(upstream, server.kept.clone(), server.locked.clone(), plan);
            }
            let Some(entry) = server.locked.clone() else { continue };
            server.version = Some(entry.locked.version.as_str().into());
            let Some(canary) = &entry.canary else { continue };
            if server.upstream.plan().is_personal() {
                tracing::warn!(server = %name, "nobody gets the newer version: each caller has a program of its own (`shared = false`)");
                continue;
            }
            if by_server.len() == MOST {
                let version = &canary.locked.version;
                tracing::warn!(server = %name, version, "nobody gets the newer version: {MOST} servers have one for a share of their callers");
                continue;
            }
            let draw = Draw::new(name, canary);
            if let Some(beside) = self.beside(server, canary, &draw, old, plan) {
                server._relay = self.relay(&server.upstream, plan, Some(Audience { draw, has_drawn: false }));
                by_server.insert(name.clone(), beside);
            }
        }
        Canaries { by_server, views: Mutex::default() }
    }

    /// The newer version: the one that runs already, else a new one.
    fn beside(&self, server: &Server, canary: &Canary, draw: &Draw, old: Option<&Beside>, plan: &Plan) -> Option<Beside> {
        let key = canary.locked.key();
        let upstream = match old.filter(|old| old.key == key) {
            Some(same) => same.server.upstream.clone(),
            None => {
                let (version, share) = (&canary.locked.version, canary.share);
                tracing::info!(server = %draw.server(), version, "{share} of the callers get this version");
                let new = Upstream::of_canary(server.upstream.plan().clone(), &self.surroundings(), canary.locked.clone())?;
                new.take_the_place_of(&server.upstream);
                new
            }
        };
        let mut listened = self.listen(upstream, server.kept.clone(), server.locked.clone(), plan);
        listened._relay = self.relay(&listened.upstream, plan, Some(Audience { draw: draw.clone(), has_drawn: true }));
        listened.version = Some(canary.locked.version.as_str().into());
        Some(Beside { draw: draw.clone(), key, server: listened })
    }
}

impl Parts {
    /// All servers, each version of them.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.servers.values().map(|server| &server.upstream).chain(self.canaries.upstreams())
    }

    /// What a caller sees by the versions that it has drawn, where that is made already.
    pub(crate) fn drawn_already(self: &Arc<Self>, caller: &Principal) -> Option<Arc<Parts>> {
        match self.canaries.drawn_by(caller) {
            0 => Some(self.clone()),
            drawn => self.canaries.views().get(&drawn)?.get().map(|made| made.clone().unwrap_or_else(|| self.clone())),
        }
    }

    /// Whether that is still to be made.
    pub(crate) fn is_to_be_made_for(self: &Arc<Self>, caller: &Principal) -> bool {
        !self.canaries.is_empty() && self.drawn_already(caller).is_none()
    }

    /// What those see who have drawn this. Policy is made for it where an engine has to know the tools, which takes its time.
    fn view(&self, drawn: Drawn, generation: String) -> Option<Arc<Self>> {
        let mut servers = self.servers.clone();
        servers.extend(self.canaries.those(drawn).map(|(name, beside)| (name.clone(), beside.server.clone())));
        let members = members(&servers);
        let policy = policy_of(self)?;
        decide::learn(&policy, &members);
        let catalogue = Catalogue::new(generation, members, &self.plan.toolsets);
        Some(Arc::new(Self { policy, ..self.with_servers(servers, ArcSwap::from_pointee(catalogue), None) }))
    }
}

impl Inner {
    /// What a caller sees of `parts` by the versions that it has drawn. What is locked for all, where policy cannot be made for those: nobody
    /// is decided about by what another is offered.
    pub(crate) async fn drawn_by(&self, parts: &Arc<Parts>, caller: &Principal) -> Arc<Parts> {
        let drawn = parts.canaries.drawn_by(caller);
        if drawn == 0 {
            return parts.clone();
        }
        let view = parts.canaries.views().entry(drawn).or_default().clone();
        let mut is_new = false;
        let made = view.get_or_init(async || {
            is_new = true;
            let (parts, generation) = (parts.clone(), self.next_generation());
            // Off the threads that carry calls.
            tokio::task::spawn_blocking(move || parts.view(drawn, generation)).await.ok().flatten()
        });
        let made = made.await.clone();
        if let Some(made) = made.as_deref().filter(|_| is_new) {
            // Whoever made the catalogues anew in the meantime did not find this one; others may have looked at it already.
            let changes = self.rebuild_of(made);
            self.tell_drawn(parts, drawn, &changes);
        }
        made.unwrap_or_else(|| parts.clone())
    }

    /// Puts the catalogues together again of those who have drawn something, and tells them what `told`, which all are told, leaves out.
    pub(crate) fn rebuild_views(&self, parts: &Parts, told: &[(Endpoint, Kind)]) {
        for (drawn, view) in parts.canaries.made() {
            let mut changes = self.rebuild_of(&view);
            changes.retain(|change| !told.contains(change));
            self.tell_drawn(parts, drawn, &changes);
        }
    }

    /// Tells those who have drawn the same what changed for them.
    fn tell_drawn(&self, parts: &Parts, drawn: Drawn, changes: &[(Endpoint, Kind)]) {
        if !changes.is_empty() {
            let callers = self.news.callers().into_iter().filter(|caller| parts.canaries.drawn_by(caller) == drawn);
            callers.for_each(|caller| self.news.tell_caller_changes(&caller, changes));
        }
    }

    /// Tells those callers who get another version now than they did what is another for them.
    pub(crate) async fn tell_moved(&self, before: &Arc<Parts>, now: &Arc<Parts>) {
        if before.canaries.is_empty() && now.canaries.is_empty() {
            return;
        }
        for caller in self.news.callers() {
            let (was, is) = (before.canaries.drawn_by(&caller), now.canaries.drawn_by(&caller));
            if (was, is) == (0, 0) {
                continue; // told with all
            }
            let Some(seen) = before.drawn_already(&caller) else { continue }; // has not looked yet
            let changes = self.drawn_by(now, &caller).await.catalogue.load().changes_since(&seen.catalogue.load());
            self.news.tell_caller_changes(&caller, &changes);
        }
    }

    /// Asks the other version of a server, if there is one, to tell of what this one was asked to, or no longer to.
    pub(crate) fn follow(&self, method: Method, line: &Line) {
        let parts = self.parts.load();
        let name = line.upstream.name();
        if parts.canaries.by_server.contains_key(name) {
            let others = parts.upstreams().filter(|other| other.name() == name && !Arc::ptr_eq(other, &line.upstream));
            others.for_each(|other| other.follow(method, &line.target.own));
        }
    }

    /// The version of a server that works on a task: its caller may get another by now. `seen` is what the caller sees.
    ///
    /// # Errors
    /// Where that version is gone, and the task with it.
    pub(crate) fn maker_of(&self, task: &Task, seen: &Parts) -> Result<Arc<Upstream>, Failure> {
        let own = &seen.server(&task.server)?.upstream;
        if *own.scope() == task.scope || task.kept.is_some() {
            return Ok(own.clone());
        }
        let parts = self.parts.load();
        let made = parts.upstreams().find(|upstream| *upstream.name() == task.server && *upstream.scope() == task.scope).cloned();
        made.ok_or_else(|| tasks::lost(&task.server, &task.id))
    }
}

/// The policy for another view of the servers: an engine that has to know what they offer has to know it of these.
fn policy_of(parts: &Parts) -> Option<Arc<Policy>> {
    if !parts.policy.needs_tools() {
        return Some(parts.policy.clone());
    }
    let made = decide::policy_of(&parts.plan);
    made.inspect_err(|error| tracing::error!("newer versions are not used, since policy cannot be made for them: {error}"))
        .ok()
        .map(Arc::new)
}

#[cfg(test)]
mod tests;
