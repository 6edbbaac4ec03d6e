//! What an endpoint says of itself: capabilities and instructions of the servers behind it, and which of them are missing.

use sallyport_protocol::{Discovery, Endpoint, RawJson, RawObject, Revision};

use crate::catalogue::{Member, extensions, newest};
use crate::gateway::Parts;
use crate::tasks;
use crate::upstream::Freshness;

/// Characters of one server's instructions that are passed on at a merged endpoint: every model reads all of them.
const MAX_INSTRUCTIONS: usize = 2_000;

/// What `endpoint` says of itself.
pub(crate) fn discovery(parts: &Parts, endpoint: &Endpoint) -> Discovery {
    let catalogue = parts.catalogue.load();
    let members = catalogue.members_of(endpoint);
    let revision = newest(&members);
    Discovery {
        revision,
        capabilities: match endpoint {
            Endpoint::Server(_) => members.first().map_or_else(RawObject::new, |member| own_capabilities(member)),
            Endpoint::All | Endpoint::Toolset(_) => merged_capabilities(&members, endpoint, revision),
        },
        identity: parts.identity_of_gateway.clone(),
        instructions: instructions(&members, endpoint),
    }
}

/// One server's own, as it wrote them, but for tasks, which the gateway makes whole; while it has not been reached, that it may have tools.
fn own_capabilities(member: &Member) -> RawObject {
    match &member.listing.discovery {
        Some(discovery) => {
            let mut capabilities = discovery.capabilities.clone();
            capabilities.remove("tasks");
            if tasks::can(discovery) {
                tasks::announce(&mut capabilities, discovery.revision);
            }
            capabilities
        }
        None => {
            let mut capabilities = RawObject::new();
            capabilities.set("tools", RawJson::from_static(r#"{"listChanged":true}"#));
            capabilities
        }
    }
}

/// What any of the servers has. Lists change when servers come and go, so that is always declared.
fn merged_capabilities(members: &[&Member], endpoint: &Endpoint, revision: Revision) -> RawObject {
    let discoveries = || members.iter().filter_map(|member| member.listing.discovery.as_deref());
    let any = |capability: &str| discoveries().any(|discovery| discovery.has(capability));
    let mut capabilities = RawObject::new();
    capabilities.set("tools", RawJson::from_static(r#"{"listChanged":true}"#));
    if any("resources") {
        capabilities.set("resources", RawJson::from_static(r#"{"subscribe":true,"listChanged":true}"#));
    }
    if any("prompts") && *endpoint == Endpoint::All {
        capabilities.set("prompts", RawJson::from_static(r#"{"listChanged":true}"#));
    }
    for capability in ["completions", "logging"] {
        if any(capability) {
            capabilities.set(capability, RawJson::from_static("{}"));
        }
    }
    let extensions = extensions::merged(discoveries(), endpoint);
    if !extensions.is_empty() {
        capabilities.set("extensions", extensions.to_json());
    }
    if discoveries().any(tasks::can) {
        tasks::announce(&mut capabilities, revision);
    }
    capabilities
}

/// Each server's own instructions, and for the model which servers are missing and why.
fn instructions(members: &[&Member], endpoint: &Endpoint) -> Option<String> {
    let merged = !matches!(endpoint, Endpoint::Server(_));
    let mut paragraphs: Vec<String> = members.iter().filter_map(|member| missing(member)).collect();
    for member in members {
        let Some(own) = member.listing.discovery.as_ref().and_then(|discovery| discovery.instructions.as_deref()) else { continue };
        if merged {
            let cut: String = own.chars().take(MAX_INSTRUCTIONS).collect();
            paragraphs.push(format!("Server `{}` says: {cut}", member.name));
        } else {
            paragraphs.push(own.to_owned());
        }
    }
    (!paragraphs.is_empty()).then(|| paragraphs.join("\n\n"))
}

fn missing(member: &Member) -> Option<String> {
    let name = &member.name;
    match &member.listing.freshness {
        Freshness::Fresh => None,
        Freshness::Pending => Some(format!("Server `{name}` is still starting: its tools will appear when it has.")),
        Freshness::Stale { why } => {
            Some(format!("Server `{name}` did not list its tools just now ({why}); the list is its last good one."))
        }
        Freshness::Gone { why, .. } => Some(format!("Server `{name}` cannot be reached ({why}): its tools are not available.")),
    }
}
