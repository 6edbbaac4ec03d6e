//! What servers offer: asked of themselves, or said by a file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sallyport_gateway::config::nearest;
use sallyport_gateway::plan::{Plan, Source};
use sallyport_gateway::upstream::{Freshness, Upstream};
use sallyport_policy::{Annotations, InvalidPolicy, KnownTool, Pin, Policy, Resource};
use serde_json::{Map, Value};

use super::fits;
use crate::output::{self, Failure};
use crate::start::{self, GRACE};
use crate::starting;
use crate::tools::shown;

/// The tools that are known, by server.
#[derive(Default)]
pub(super) struct Tools {
    by_server: BTreeMap<String, Vec<Tool>>,
    /// The names of prompts and addresses of resources, by server.
    others: BTreeMap<String, BTreeSet<String>>,
}

/// One tool.
pub(super) struct Tool {
    pub(super) name: String,
    /// Its `inputSchema`, as JSON.
    pub(super) schema: Option<String>,
    pub(super) annotations: Annotations,
    pub(super) pin: Pin,
}

impl Tools {
    /// Starts these servers and asks them. One that does not answer is told of, and not known.
    pub(super) fn ask(plan: &Plan, names: &[&str]) -> Result<Self, Failure> {
        let wanted = plan.servers.values().filter(|server| names.contains(&server.name.as_str()));
        let aside = start::Aside::open(plan)?;
        let tools = start::runtime()?.block_on(async {
            let upstreams: Vec<Arc<Upstream>> = wanted.map(|server| Upstream::new(server.clone(), aside.surroundings.clone())).collect();
            starting::wait_for(&upstreams).await;
            let mut tools = Self::default();
            for upstream in &upstreams {
                let listing = upstream.listing();
                if !matches!(listing.freshness, Freshness::Fresh | Freshness::Stale { .. }) {
                    output::note(format!("server `{}` does not answer: what its tools take is not known", upstream.name()));
                    continue;
                }
                if upstream.plan().is_granted_by_users() && listing.tools.len() <= 1 {
                    output::note(format!("server `{}` tells its tools only to who has granted access to it", upstream.name()));
                    continue;
                }
                let others = listing.prompts.iter().chain(listing.resources.iter());
                tools.others.entry(upstream.name().to_string()).or_default().extend(others.map(|entry| entry.name.clone()));
                for tool in listing.tools.iter() {
                    let schema = tool.raw.get("inputSchema").map(|schema| schema.as_str().to_owned());
                    tools.add(upstream.name(), Tool { name: tool.name.clone(), schema, annotations: tool.annotations, pin: tool.pin });
                }
                tools.by_server.entry(upstream.name().to_string()).or_default();
            }
            futures_util::future::join_all(upstreams.iter().map(|upstream| upstream.stop(GRACE))).await;
            tools
        });
        aside.close();
        Ok(tools)
    }

    pub(super) fn add(&mut self, server: &str, tool: Tool) {
        self.by_server.entry(server.to_owned()).or_default().push(tool);
    }

    /// Whether anything is known of a server.
    pub(super) fn knows(&self, server: &str) -> bool {
        self.by_server.contains_key(server)
    }

    /// The tools of a server.
    pub(super) fn names(&self, server: &str) -> impl Iterator<Item = &str> + Clone {
        self.by_server.get(server).map(Vec::as_slice).unwrap_or_default().iter().map(|tool| tool.name.as_str())
    }

    /// The prompts and resources of a server.
    pub(super) fn others(&self, server: &str) -> impl Iterator<Item = &str> {
        self.others.get(server).into_iter().flatten().map(String::as_str)
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.by_server.extend(other.by_server);
        self.others.extend(other.others);
    }

    /// Tells a policy all of it, and gives back what does not fit.
    pub(super) fn teach(&self, policy: &Policy) -> Vec<InvalidPolicy> {
        let mut errors = Vec::new();
        for (server, tools) in &self.by_server {
            let known = tools.iter().map(|tool| KnownTool { name: &tool.name, input_schema: tool.schema.as_deref() });
            errors.extend(policy.learn(server, &known.collect::<Vec<_>>()));
        }
        errors
    }

    /// Whether a server has that tool, and the tool takes these arguments, as far as that is known.
    ///
    /// # Errors
    /// What is not so.
    pub(super) fn fits(&self, server: &str, name: &str, arguments: Option<&Map<String, Value>>) -> Result<(), Failure> {
        let tools = self.by_server.get(server).map(Vec::as_slice).unwrap_or_default();
        let Some(tool) = tools.iter().find(|tool| tool.name == name) else {
            let names = || tools.iter().map(|tool| tool.name.as_str());
            let hint = match nearest(name, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if tools.is_empty() => "the server offers no tools".to_owned(),
                None => format!("its tools are: {}", names().take(20).collect::<Vec<_>>().join(", ")), // enough to see a misspelling
            };
            return Err(Failure::new(format!("server `{server}` has no tool `{name}`")).hint(shown(&hint)));
        };
        let schema = tool.schema.as_deref().and_then(|schema| serde_json::from_str(schema).ok()).unwrap_or(Value::Null);
        match arguments.and_then(|arguments| fits::problem(&schema, arguments)) {
            None => Ok(()),
            Some(problem) => Err(Failure::new(format!("--args does not fit `{server}/{name}`: {problem}"))
                .hint(format!("`sallyport tools --json {name}` shows what it takes; with --offline nothing is compared"))),
        }
    }

    /// The arguments that a tool has by its schema, where that is known and names them all.
    pub(super) fn arguments(&self, server: &str, name: &str) -> Option<BTreeSet<String>> {
        let tool = self.by_server.get(server)?.iter().find(|tool| tool.name == name)?;
        let schema: Value = serde_json::from_str(tool.schema.as_deref()?).ok()?;
        Some(schema.get("properties")?.as_object()?.keys().cloned().collect())
    }

    /// A tool as policy is asked about it.
    pub(super) fn resource<'a>(&self, plan: &'a Plan, server: &'a str, name: &'a str) -> Resource<'a> {
        let known = self.by_server.get(server).into_iter().flatten().find(|tool| tool.name == name);
        let trusted =
            plan.servers.get(server).is_some_and(|server| server.trust_annotations || matches!(server.source, Source::BuiltIn(_)));
        let resource = Resource::tool(server, name, known.map(|tool| tool.annotations).unwrap_or_default(), trusted);
        resource.pinned_as(known.map(|tool| tool.pin).unwrap_or_default())
    }
}
