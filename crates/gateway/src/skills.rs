//! `skills/list` (skills extension): asked for anew each time, since nothing tells that a server's skills have changed.

use std::sync::Arc;

use futures_util::future::join_all;
use sallyport_policy::{Circumstances, Principal, Resource};
use sallyport_protocol::{Context, Endpoint, Failure, FailureKind, Incoming, Meta, RawJson, RawObject, Reply, Request, Revision};

use crate::catalogue::{extensions, uris};
use crate::decide::circumstances;
use crate::gateway::{Inner, Parts, Server};
use crate::upstream::Upstream;

/// Pages of one server's list at most; it stops a cursor that leads on for ever.
const MOST_PAGES: usize = 100;
/// Skills of one server in a merged list at most: far beyond what a model can be told of.
const MOST_SKILLS: usize = 1_000;
/// Bytes of one server's skills in a merged list at most. A skill of 512 files, the most that every client takes, is 80 KiB.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// A list that is asked for, and for whom.
struct Asked<'a> {
    parts: &'a Parts,
    principal: &'a Principal,
    circumstances: Circumstances,
    meta: &'a Meta,
    context: &'a Context,
}

impl Inner {
    /// The skills of an endpoint that this caller may see: of one server page by page as it lists them, of several in one page.
    pub(crate) async fn list_skills(
        &self,
        parts: &Parts,
        request: Request,
        principal: &Principal,
        incoming: &Incoming,
        context: &Context,
    ) -> Result<Reply, Failure> {
        let Incoming { endpoint, peer, .. } = incoming;
        parts.catalogue.load().require(request.method, endpoint)?;
        let asked = Asked { parts, principal, circumstances: circumstances(*peer), meta: &request.meta, context };
        match endpoint {
            Endpoint::Server(name) => asked.page(&parts.server(name)?.upstream, request.params).await,
            Endpoint::All | Endpoint::Toolset(_) if request.params.get("cursor").is_some() => {
                Err(Failure::client(FailureKind::InvalidParams, "the list of skills has one page at this endpoint"))
            }
            Endpoint::All | Endpoint::Toolset(_) => Ok(asked.merged(endpoint).await),
        }
    }
}

impl Asked<'_> {
    /// A page as the server wrote it, without what the caller may not see.
    async fn page(&self, upstream: &Upstream, params: RawObject) -> Result<Reply, Failure> {
        let mut reply = upstream.list_skills(params, self.meta.clone(), self.context.clone()).await?;
        let listed = skills_in(&reply.result);
        let count = listed.len();
        let seen = self.seen(upstream.name(), listed).await;
        if seen.len() < count {
            reply.result.set("skills", RawJson::of_array(&seen));
        }
        // What is left of it depends on who asks.
        reply.result.set("cacheScope", RawJson::from_static("\"private\""));
        Ok(reply)
    }

    /// The skills of all servers that have any, in the order of the servers' names. A server that does not answer is left out, as
    /// its tools are: a list of skills may be partial.
    async fn merged(&self, endpoint: &Endpoint) -> Reply {
        let servers = self.servers(endpoint);
        let listed = join_all(servers.iter().map(|(upstream, label)| self.all_of(upstream, label))).await;
        let skills: Vec<RawJson> = listed.into_iter().flatten().collect();
        let mut result = RawObject::new();
        result.set("skills", RawJson::of_array(&skills));
        result.set("resultType", RawJson::from_static("\"complete\""));
        result.set("ttlMs", RawJson::from_static("0"));
        result.set("cacheScope", RawJson::from_static("\"private\""));
        Reply { result, revision: Revision::LATEST }
    }

    /// The servers of an endpoint that have skills and are there, with their labels.
    fn servers(&self, endpoint: &Endpoint) -> Vec<(Arc<Upstream>, String)> {
        let catalogue = self.parts.catalogue.load();
        let with_skills = catalogue.members_of(endpoint).into_iter().filter(|member| {
            member.listing.freshness.is_shown() && member.listing.discovery.as_deref().is_some_and(extensions::has_skills)
        });
        with_skills
            .filter_map(|member| {
                let Server { upstream, .. } = self.parts.servers.get(&member.name)?;
                Some((upstream.clone(), member.label.clone()))
            })
            .collect()
    }

    /// All skills of one server that the caller may see, with exposed URIs: those that came in time.
    async fn all_of(&self, upstream: &Upstream, label: &str) -> Vec<RawJson> {
        let mut found = Found { label, skills: Vec::new(), bytes: 0 };
        let outcome = tokio::time::timeout(upstream.plan().timeouts.list, self.gather(upstream, &mut found)).await;
        let why = match outcome {
            Ok(Ok(None)) => return found.skills,
            Ok(Ok(Some(why))) => why.to_owned(),
            Ok(Err(failure)) => failure.public.into_owned(),
            Err(_) => "it takes too long".to_owned(),
        };
        tracing::warn!(server = %upstream.name(), skills = found.skills.len(), "the list of skills is not complete: {why}");
        found.skills
    }

    /// Gathers one server's skills page by page; says why they are not all, where they are not.
    async fn gather(&self, upstream: &Upstream, found: &mut Found<'_>) -> Result<Option<&'static str>, Failure> {
        // Several servers' progress towards one token would go up and down.
        let meta = Meta { progress_token: None, ..self.meta.clone() };
        let mut params = RawObject::new();
        for _ in 0..MOST_PAGES {
            let page = upstream.list_skills(params.clone(), meta.clone(), self.context.clone()).await?.result;
            for skill in self.seen(upstream.name(), skills_in(&page)).await {
                if !found.add(&skill) {
                    return Ok(Some("it is longer than the gateway takes"));
                }
            }
            let Some(next) = page.get("nextCursor").filter(|next| next.string_value().is_some()) else { return Ok(None) };
            if params.get("cursor") == Some(next) {
                return Ok(Some("the server's cursor does not move on"));
            }
            params.set("cursor", next.clone());
        }
        Ok(Some("it has more pages than the gateway takes"))
    }

    /// The skills that policy lets the caller see: as the resources that their URIs name. One without a URI nobody can see.
    async fn seen(&self, server: &str, skills: Vec<RawJson>) -> Vec<RawJson> {
        let uri = |skill: &RawJson| skill.object().ok().and_then(|skill| skill.get_str("uri").map(std::borrow::Cow::into_owned));
        let skills: Vec<(String, RawJson)> = skills.into_iter().filter_map(|skill| Some((uri(&skill)?, skill))).collect();
        let resources: Vec<Resource<'_>> = skills.iter().map(|(uri, _)| Resource::resource(server, uri)).collect();
        let seen = self.parts.policy.allows_each(self.principal, self.circumstances, &resources).await;
        skills.into_iter().zip(seen).filter(|(_, seen)| *seen).map(|((_, skill), _)| skill).collect()
    }
}

/// The skills of one server while its pages come in.
struct Found<'a> {
    label: &'a str,
    skills: Vec<RawJson>,
    bytes: usize,
}

impl Found<'_> {
    /// Adds a skill under exposed URIs; `false` where there is no room left.
    fn add(&mut self, skill: &RawJson) -> bool {
        let Some(skill) = uris::exposed_skill(skill, self.label) else { return true };
        self.bytes += skill.as_bytes().len();
        if self.skills.len() == MOST_SKILLS || self.bytes > MOST_BYTES {
            return false;
        }
        self.skills.push(skill);
        true
    }
}

fn skills_in(page: &RawObject) -> Vec<RawJson> {
    page.get("skills").and_then(|skills| skills.array().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use sallyport_protocol::Method;

    use super::*;
    use crate::tasks::tests::before;
    use crate::upstream::tests::scripted::{Answer, NAME, Peer, context, now, object};

    /// What a server that answers `skills/list` like this, where the first argument is the cursor, lists at an endpoint.
    async fn listed(endpoint: Endpoint, page: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Result<RawObject, Failure> {
        let peer = Peer::modern(move |request, _| match request.method {
            Method::SkillsList => page(&request.params.get_str("cursor").unwrap_or_default()),
            _ => now(modern(r#"{"tools":[]}"#)),
        });
        let peer = peer.declaring(r#"{"tools":{},"extensions":{"io.modelcontextprotocol/skills":{}}}"#);
        let gateway = before(&peer).await;
        let parts = gateway.0.parts.load_full();
        let request = Request::new(Method::SkillsList, RawObject::new());
        let incoming = Incoming {
            tenant: None,
            endpoint,
            credential: None,
            certificate: None,
            peer: sallyport_protocol::Peer::Stdio,
            recognised: None,
        };
        let reply = gateway.0.list_skills(&parts, request, &Principal::local_user(), &incoming, &context()).await?;
        Ok(reply.result)
    }

    fn modern(result: &str) -> Result<Reply, Failure> {
        Ok(Reply { result: object(result), revision: Revision::LATEST })
    }

    fn skill(name: &str) -> String {
        format!(r#"{{"uri":"skill://{name}/SKILL.md","resources":"dynamic"}}"#)
    }

    fn uris(result: &RawObject) -> Vec<String> {
        let uri = |skill: &RawJson| skill.object().unwrap().get_str("uri").unwrap().into_owned();
        skills_in(result).iter().map(uri).collect()
    }

    #[tokio::test]
    async fn all_pages_of_a_server_are_merged_into_one() {
        let merged = listed(Endpoint::All, |cursor| {
            now(match cursor {
                "" => modern(&format!(r#"{{"skills":[{},{{"name":"none"}},3],"nextCursor":"2"}}"#, skill("a"))),
                _ => modern(&format!(r#"{{"skills":[{}]}}"#, skill("b/c"))),
            })
        });
        let merged = merged.await.unwrap();
        assert_eq!(uris(&merged), [format!("skill://{NAME}.mcp/a/SKILL.md"), format!("skill://{NAME}.mcp/b/c/SKILL.md")]);
        assert!(merged.get("nextCursor").is_none());
    }

    #[tokio::test]
    async fn at_its_own_endpoint_a_server_lists_its_pages_as_it_wrote_them() {
        let text = format!(r#"[ {} ]"#, skill("a"));
        let page = format!(r#"{{"skills":{text},"nextCursor":"2","ttlMs":7,"cacheScope":"public","x":1}}"#);
        let own = listed(Endpoint::Server(NAME.into()), move |_| now(modern(&page))).await.unwrap();
        assert_eq!(own.to_json().as_str(), format!(r#"{{"skills":{text},"nextCursor":"2","ttlMs":7,"cacheScope":"private","x":1}}"#));
        assert!(listed(Endpoint::Server(NAME.into()), |_| now(modern("{}"))).await.unwrap_err().public.contains("`skills` is missing"));
    }

    #[tokio::test]
    async fn a_list_without_end_is_cut() {
        let endless = listed(Endpoint::All, |_| now(modern(&format!(r#"{{"skills":[{}],"nextCursor":"x"}}"#, skill("a")))));
        assert_eq!(uris(&endless.await.unwrap()).len(), 2, "the first page, and the one that its cursor leads back to");
        let pages = Arc::new(AtomicUsize::new(0));
        let counted = pages.clone();
        let many = listed(Endpoint::All, move |_| {
            let next = counted.fetch_add(1, Ordering::Relaxed);
            now(modern(&format!(r#"{{"skills":[],"nextCursor":"{next}"}}"#)))
        });
        assert!(uris(&many.await.unwrap()).is_empty());
        assert_eq!(pages.load(Ordering::Relaxed), MOST_PAGES);
        let long = vec![skill("a"); MOST_SKILLS + 1].join(",");
        let long = listed(Endpoint::All, move |_| now(modern(&format!(r#"{{"skills":[{long}]}}"#))));
        assert_eq!(uris(&long.await.unwrap()).len(), MOST_SKILLS);
        let large = format!(r#"{{"uri":"skill://a/SKILL.md","x":"{}"}}"#, "x".repeat(MOST_BYTES / 2));
        let large = listed(Endpoint::All, move |_| now(modern(&format!(r#"{{"skills":[{large},{large}]}}"#))));
        assert_eq!(uris(&large.await.unwrap()).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_fails_or_is_slow_is_left_out() {
        let slow = listed(Endpoint::All, |cursor| match cursor {
            "" => now(modern(&format!(r#"{{"skills":[{}],"nextCursor":"2"}}"#, skill("a")))),
            _ => Box::pin(std::future::pending()),
        });
        assert_eq!(uris(&slow.await.unwrap()).len(), 1, "what came in time");
        let failing = listed(Endpoint::All, |_| now(Err(Failure::internal("no"))));
        assert!(uris(&failing.await.unwrap()).is_empty());
    }
}
