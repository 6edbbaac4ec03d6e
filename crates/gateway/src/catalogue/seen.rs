//! Which servers of an endpoint a caller sees anything of: nobody is told of the others.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use sallyport_policy::{Circumstances, Policy, Principal, Resource};
use sallyport_protocol::Endpoint;

use super::view::{Kind, PAGE_ENTRIES, PREPARED};
use super::{Catalogue, Member, extensions};

/// The names of the servers that each caller sees anything of, for as long as that cannot change.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Vec<(Principal, Names)>>);

type Names = Arc<HashSet<Arc<str>>>;

impl Seen {
    fn by(&self, principal: &Principal) -> Option<Names> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(known, _)| known.may_the_same(principal)).map(|(_, names)| names.clone())
    }

    fn keep(&self, principal: &Principal, names: Names) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == PREPARED {
            known.remove(0);
        }
        known.push((principal.clone(), names));
    }
}

impl Catalogue {
    /// The servers that answer at an endpoint, of those that this caller sees anything of there. Policy is asked as it is for lists.
    pub(crate) async fn seen_by(
        &self,
        principal: &Principal,
        circumstances: Circumstances,
        policy: &Policy,
        endpoint: &Endpoint,
    ) -> Vec<&Member> {
        let Ok(view) = self.view(endpoint) else { return Vec::new() };
        let members = self.members_of(endpoint);
        let names = match view.seen.by(principal).filter(|_| policy.is_lasting()) {
            Some(names) => names,
            None => {
                let asked = match endpoint {
                    Endpoint::Toolset(_) => view.tools.items().iter().map(|item| Kind::Tools.resource(item)).collect(),
                    Endpoint::All | Endpoint::Server(_) => members.iter().flat_map(|member| member.all(policy)).collect(),
                };
                let seen = servers_of_allowed(principal, circumstances, policy, asked).await;
                let named = members.iter().filter(|member| seen.contains(&*member.name));
                let names: Names = Arc::new(named.map(|member| member.name.clone()).collect());
                if policy.is_lasting() {
                    view.seen.keep(principal, names.clone());
                }
                names
            }
        };
        members.into_iter().filter(|member| names.contains(&member.name)).collect()
    }
}

/// The servers of those resources that policy lets this caller see. Of a server that is seen no more is asked.
async fn servers_of_allowed<'a>(
    principal: &Principal,
    circumstances: Circumstances,
    policy: &Policy,
    asked: Vec<Resource<'a>>,
) -> HashSet<&'a str> {
    let mut seen = HashSet::new();
    let mut asked = asked.into_iter();
    loop {
        let some: Vec<Resource<'a>> = asked.by_ref().filter(|resource| !seen.contains(resource.server)).take(PAGE_ENTRIES).collect();
        if some.is_empty() {
            return seen;
        }
        let allowed = policy.allows_each(principal, circumstances, &some).await;
        seen.extend(some.iter().zip(allowed).filter(|(_, allowed)| *allowed).map(|(resource, _)| resource.server));
    }
}

impl Member {
    /// All that the server has told that it offers, also where it cannot be reached by now. Where its lists are not all that there is, or
    /// nothing is known, the server as a whole stands for the rest.
    fn all(&self, policy: &Policy) -> Vec<Resource<'_>> {
        let listing = &self.listing;
        let tools = listing.tools.iter();
        let tools = tools.map(|tool| Resource::tool(&self.name, &tool.name, tool.annotations, self.trusted).pinned_as(tool.pin));
        let prompts = listing.prompts.iter().map(|prompt| Resource::prompt(&self.name, &prompt.name));
        let resources = listing.resources.iter().chain(listing.templates.iter());
        let resources = resources.map(|resource| Resource::resource(&self.name, &resource.name));
        let mut all: Vec<Resource<'_>> = tools.chain(prompts).chain(resources).collect();
        let is_part = all.is_empty() || listing.discovery.as_deref().is_some_and(extensions::has_skills);
        // An engine that does not know the tools would fail, and so deny.
        if is_part && (listing.freshness.is_shown() || !policy.decides_by_tools()) {
            all.push(Resource::server(&self.name));
        }
        all
    }
}
