//! What an endpoint says of itself: capabilities and instructions of the servers behind it, and which of them are missing.

use sallyport_policy::Principal;
use sallyport_protocol::{Discovery, Endpoint, Incoming, RawJson, RawObject, Revision};

use crate::catalogue::{Catalogue, Member, extensions, newest};
use crate::decide::circumstances;
use crate::gateway::Parts;
use crate::tasks;
use crate::upstream::Freshness;

/// Characters of one server's instructions that are passed on at a merged endpoint: every model reads all of them.
const MAX_INSTRUCTIONS: usize = 2_000;

/// What an endpoint says of itself to a caller: nothing of servers that the caller sees nothing of.
pub(crate) async fn discovery(parts: &Parts, principal: &Principal, incoming: &Incoming) -> Discovery {
    let endpoint = &incoming.endpoint;
    let catalogue = parts.catalogue.load_full();
    let members = catalogue.seen_by(principal, circumstances(incoming.peer), &parts.policy, endpoint).await;
    let revision = newest(&members);
    Discovery {
        revision,
        capabilities: match endpoint {
            Endpoint::Server(_) => own_capabilities(members.first().and_then(|member| member.listing.discovery.as_deref())),
            Endpoint::All | Endpoint::Toolset(_) => merged_capabilities(&catalogue, &members, endpoint, revision),
        },
        identity: parts.identity_of_gateway.clone(),
        instructions: instructions(&members, endpoint),
    }
}

/// One server's own, as it wrote them, but for tasks, which the gateway makes whole; of one that has not been reached, or that the caller sees
/// nothing of, that it may have tools.
fn own_capabilities(discovery: Option<&Discovery>) -> RawObject {
    match discovery {
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

/// What any of the servers has, as far as the endpoint lets it be used. Lists change when servers come and go, so that is always declared.
fn merged_capabilities(catalogue: &Catalogue, members: &[&Member], endpoint: &Endpoint, revision: Revision) -> RawObject {
    let discoveries = || members.iter().filter_map(|member| member.listing.discovery.as_deref());
    let any = |capability: &str| discoveries().any(|discovery| discovery.has(capability));
    let mut capabilities = RawObject::new();
    capabilities.set("tools", RawJson::from_static(r#"{"listChanged":true}"#));
    let is_whole = *endpoint == Endpoint::All;
    if any("resources") && (is_whole || catalogue.has_pages(endpoint)) {
        capabilities.set("resources", RawJson::from_static(r#"{"subscribe":true,"listChanged":true}"#));
    }
    if any("prompts") && is_whole {
        capabilities.set("prompts", RawJson::from_static(r#"{"listChanged":true}"#));
    }
    // What is completed are prompts and resources.
    if any("completions") && is_whole {
        capabilities.set("completions", RawJson::from_static("{}"));
    }
    if any("logging") {
        capabilities.set("logging", RawJson::from_static("{}"));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::time::Duration;

    use sallyport_policy::Scopes;
    use sallyport_protocol::{FailureKind, Front as _, Peer as From};

    use super::*;
    use crate::Gateway;
    use crate::tasks::tests::before_starting;
    use crate::upstream::Outage;
    use crate::upstream::tests::scripted::{NAME, Peer, Starts, fine, now, plan, reply};

    const LONG: Duration = Duration::from_secs(3600);
    const CAPABLE: &str = r#"{"tools":{},"resources":{},"completions":{},"extensions":{"io.modelcontextprotocol/ui":{}}}"#;
    /// What an endpoint says that has nothing.
    const NOTHING: &str = r#"{"tools":{"listChanged":true}}"#;

    fn incoming(endpoint: Endpoint) -> Incoming {
        Incoming { tenant: None, endpoint, credential: None, certificate: None, peer: From::Stdio, recognised: None }
    }

    /// A gateway before a server that can many things and has instructions; `rules` stand below it.
    async fn before(starts: Starts, rules: &str) -> Gateway {
        let gateway = before_starting(starts, plan(), &format!("{rules}\n[toolsets.some]\ntools = [\"{NAME}__*\"]\n"));
        gateway.0.parts.load_full().server(NAME).unwrap().upstream.listed(Duration::from_secs(1)).await;
        gateway
    }

    fn capable() -> Starts {
        Starts::of([Ok(Peer::calling(|_, _| fine()).declaring(CAPABLE).instructing("do as I say"))])
    }

    /// Somebody whose token is good for this.
    fn scoped(scopes: &str) -> Principal {
        Principal::user("https://issuer.example.com", "alice").limited_to(Scopes::parse(scopes).unwrap())
    }

    /// What each of some callers is told at an endpoint.
    async fn told(gateway: &Gateway, principal: &Principal, endpoint: Endpoint) -> (String, Option<String>) {
        let discovery = discovery(&gateway.0.parts.load_full(), principal, &incoming(endpoint)).await;
        (discovery.capabilities.to_json().as_str().to_owned(), discovery.instructions)
    }

    fn endpoints() -> [Endpoint; 3] {
        [Endpoint::All, Endpoint::Server(NAME.into()), Endpoint::Toolset("some".into())]
    }

    #[tokio::test(start_paused = true)]
    async fn who_sees_nothing_of_a_server_is_told_nothing_of_it() {
        let cedar = "[[policy.engines]]\ncedar = { text = 'permit(principal, action, resource); forbid(principal == User::\"key:ci\", action, resource);' }\n";
        let (key, boss) = (Principal::key("ci"), Principal::key("boss"));
        for (rules, principal, sees) in [
            ("", key.clone(), true),
            ("deny = [\"*\"]", key.clone(), false),
            ("deny = [\"other\"]", key.clone(), true),
            ("allow = [\"other\"]", key.clone(), false),
            ("read_only = true", key.clone(), false),
            ("ask = [\"t\"]", key.clone(), true),
            ("", scoped("files"), true),
            ("", scoped("files:t"), true),
            ("", scoped("files:other"), false),
            ("", scoped("files:read"), false),
            ("", scoped("other"), false),
            ("", scoped(""), false),
            (cedar, key.clone(), false),
            (cedar, Principal::key("boss"), true),
        ] {
            let gateway = before(capable(), rules).await;
            for endpoint in endpoints() {
                let (capabilities, instructions) = told(&gateway, &principal, endpoint.clone()).await;
                assert_eq!(instructions.is_some_and(|text| text.contains("do as I say")), sees, "{rules} {principal:?} {endpoint}");
                assert_eq!(capabilities != NOTHING, sees, "{rules} {principal:?} {endpoint}: {capabilities}");
            }
        }
        // What was told to one is not what the next is told.
        let gateway = before(capable(), cedar).await;
        for (principal, sees) in [(&boss, true), (&key, false), (&boss, true), (&key, false)] {
            assert_eq!(told(&gateway, principal, Endpoint::All).await.1.is_some(), sees, "{principal:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_use_nothing_of_a_server_does_not_hear_that_it_is_missing() {
        let starting = || Starts::of([Ok(Peer::calling(|_, _| fine()))]).taking(LONG);
        let broken = || Starts::of([Err(Outage::new("it exited with code 1"))]);
        let permits = "[[policy.engines]]\ncedar = { text = 'permit(principal, action, resource);' }\n";
        for (rules, principal, hears) in [
            ("", Principal::key("ci"), true),
            ("deny = [\"*\"]", Principal::key("ci"), false),
            ("deny = [\"t\"]", Principal::key("ci"), true),
            ("allow = []", Principal::key("ci"), false),
            ("allow = [\"t\"]", Principal::key("ci"), true),
            ("read_only = true", Principal::key("ci"), true),
            ("", scoped("files:t"), true),
            ("", scoped("mcp:read"), true),
            ("", scoped("other other:read mcp:t"), false),
            (permits, Principal::key("ci"), false), // nobody can say by these before the tools are known
        ] {
            for (starts, what) in [(starting(), "still starting"), (broken(), "exited with code 1")] {
                let gateway = before(starts, rules).await;
                for endpoint in [Endpoint::All, Endpoint::Server(NAME.into())] {
                    let (_, instructions) = told(&gateway, &principal, endpoint.clone()).await;
                    assert_eq!(instructions.as_ref().is_some_and(|text| text.contains(what)), hears, "{rules} {principal:?} {endpoint}");
                    assert!(hears || instructions.is_none(), "{instructions:?}");
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_lists_nothing_is_told_of_to_who_may_use_it() {
        let empty = || {
            let peer = Peer::new(|_, _| now(reply(r#"{"tools":[],"resources":[],"resourceTemplates":[]}"#)))
                .declaring(CAPABLE)
                .instructing("do as I say");
            Starts::of([Ok(peer)])
        };
        let permits = "[[policy.engines]]\ncedar = { text = 'permit(principal, action, resource); forbid(principal == User::\"key:other\", action, resource);' }\n";
        for (rules, principal, sees) in [
            ("", Principal::key("ci"), true),
            ("", scoped("other"), false),
            (permits, Principal::key("ci"), true),
            (permits, Principal::key("other"), false),
        ] {
            let gateway = before(empty(), rules).await;
            assert_eq!(told(&gateway, &principal, Endpoint::All).await.1.is_some(), sees, "{rules} {principal:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_in_particular_is_greeted_by_nothing() {
        let gateway = before(capable(), "[identity]\napi_keys = true\n").await;
        let incoming = Incoming { peer: From::Remote([192, 0, 2, 1].into()), ..incoming(Endpoint::All) };
        let refused = gateway.discover(&incoming).await.unwrap_err();
        assert!(matches!(refused.kind, FailureKind::Unauthenticated), "{refused}");
    }
}
