//! Rules and limits that no call can ever meet, since nothing is called so or takes such an argument.

use std::collections::BTreeSet;

use sallyport_gateway::config::{matches, nearest};
use sallyport_gateway::plan::Plan;
use sallyport_policy::{ArgumentRule, InvalidPolicy, LimitRule};

use super::tools::Tools;

/// Whether a rule or limit that names tools is about a server.
pub(super) fn names_tools_of(plan: &Plan, server: &str) -> bool {
    let own = plan.servers.get(server).is_some_and(|server| {
        let rules = &server.rules;
        names_any([rules.allow.as_deref().unwrap_or_default(), &rules.ask, &rules.deny], &rules.arguments)
    });
    let is_about = |glob: &str| matches(&[glob.to_owned()], server);
    own || plan.policy.rules.iter().any(|rule| {
        is_about(&rule.server) && names_any([rule.allow.as_deref().unwrap_or_default(), &rule.ask, &rule.deny], &rule.arguments)
    }) || plan.limits.iter().any(|limit| limit.tools.is_some() && limit.server.as_deref().is_none_or(is_about))
}

fn names_any(lists: [&[String]; 3], arguments: &[ArgumentRule]) -> bool {
    lists.iter().any(|list| !list.is_empty()) || !arguments.is_empty()
}

/// Each rule and limit about servers all of whose tools are known, and about none of them. Of the others nobody can tell.
pub(super) fn matching(plan: &Plan, tools: &Tools) -> Vec<InvalidPolicy> {
    let mut wrong = Vec::new();
    for (name, server) in &plan.servers {
        let Some(about) = About::of(vec![name], tools) else { continue };
        let rules = &server.rules;
        let lists = [("allow", rules.allow.as_deref().unwrap_or_default()), ("ask", &rules.ask), ("deny", &rules.deny)];
        about.rules(&format!("servers.{name}"), lists, &rules.arguments, &mut wrong);
    }
    let named = |glob: &str| plan.servers.keys().map(String::as_str).filter(|name| matches(&[glob.to_owned()], name)).collect::<Vec<_>>();
    for (index, rule) in plan.policy.rules.iter().enumerate() {
        let Some(about) = About::of(named(&rule.server), tools) else { continue };
        let lists = [("allow", rule.allow.as_deref().unwrap_or_default()), ("ask", &rule.ask), ("deny", &rule.deny)];
        about.rules(&format!("policy.rules[{index}]"), lists, &rule.arguments, &mut wrong);
    }
    for (index, limit) in plan.limits.iter().enumerate() {
        let servers = named(limit.server.as_deref().unwrap_or("*"));
        wrong.extend(never_limits(limit, index, &servers, plan));
        let Some(about) = About::of(servers, tools) else { continue };
        let patterns = limit.tools.iter().flatten().enumerate();
        wrong.extend(patterns.filter_map(|(at, glob)| about.tool(&format!("limits[{index}].tools[{at}]"), glob)));
    }
    wrong
}

/// A limit on servers that there are not.
fn never_limits(limit: &LimitRule, index: usize, servers: &[&str], plan: &Plan) -> Option<InvalidPolicy> {
    let glob = limit.server.as_deref().filter(|_| servers.is_empty())?;
    let message = format!("no server is called `{glob}`, so it can never match");
    Some(InvalidPolicy {
        place: format!("limits[{index}].server"),
        message,
        hint: meant(glob, "the servers are", plan.servers.keys().map(String::as_str)),
    })
}

/// The servers that a rule is about.
struct About<'a> {
    servers: Vec<&'a str>,
    tools: &'a Tools,
}

impl<'a> About<'a> {
    /// `None` where the tools of one of them are not known.
    fn of(servers: Vec<&'a str>, tools: &'a Tools) -> Option<Self> {
        (!servers.is_empty() && servers.iter().all(|server| tools.knows(server))).then_some(Self { servers, tools })
    }

    fn rules(&self, place: &str, lists: [(&str, &[String]); 3], arguments: &[ArgumentRule], wrong: &mut Vec<InvalidPolicy>) {
        for (key, list) in lists {
            let patterns = list.iter().enumerate();
            wrong.extend(patterns.filter_map(|(at, glob)| self.anything(&format!("{place}.{key}[{at}]"), glob)));
        }
        wrong.extend(arguments.iter().enumerate().filter_map(|(at, rule)| self.argument(&format!("{place}.arguments[{at}]"), rule)));
    }

    fn names(&self) -> impl Iterator<Item = &'a str> + Clone {
        self.servers.iter().flat_map(|server| self.tools.names(server)).collect::<Vec<_>>().into_iter()
    }

    /// A pattern over tools, prompts and resources. Those with `/` or `:` may be meant for what no list tells: an address that a template
    /// makes, a method of an extension.
    fn anything(&self, place: &str, glob: &str) -> Option<InvalidPolicy> {
        let pattern = [glob.to_owned()];
        let is_other =
            glob.contains(['/', ':']) || self.servers.iter().any(|server| self.tools.others(server).any(|name| matches(&pattern, name)));
        if is_other { None } else { self.tool(place, glob) }
    }

    /// A pattern over tools. One that is for all there is may be written before there is any.
    fn tool(&self, place: &str, glob: &str) -> Option<InvalidPolicy> {
        let pattern = [glob.to_owned()];
        if matches!(glob, "*" | "**") || self.names().any(|name| matches(&pattern, name)) {
            return None;
        }
        let message = format!("no tool of {} is called `{glob}`, so it can never match", self.told());
        Some(InvalidPolicy { place: place.to_owned(), message, hint: meant(glob, "the tools are", self.names()) })
    }

    fn argument(&self, place: &str, rule: &ArgumentRule) -> Option<InvalidPolicy> {
        let about = self.servers.iter().flat_map(|server| self.tools.names(server).map(move |name| (*server, name)));
        let about: Vec<(&str, &str)> = about.filter(|(_, name)| matches(&rule.tools, name)).collect();
        if about.is_empty() {
            let written = rule.tools.join(", ");
            let message = format!("no tool of {} is called `{written}`, so the rule can never match", self.told());
            let place = format!("{place}.tools");
            return Some(InvalidPolicy { place, message, hint: meant(&written, "the tools are", self.names()) });
        }
        // A tool that does not say what it takes may take anything.
        let taken = about.iter().map(|(server, name)| self.tools.arguments(server, name)).collect::<Option<Vec<_>>>()?;
        let taken: BTreeSet<String> = taken.into_iter().flatten().collect();
        if taken.contains(&rule.argument) {
            return None;
        }
        let names: BTreeSet<&str> = about.iter().map(|(_, name)| *name).collect();
        let names = names.into_iter().collect::<Vec<_>>().join("`, `");
        let message = format!("`{names}` takes no argument `{}`, so the rule can never match", rule.argument);
        let hint = meant(&rule.argument, "what they take is", taken.iter().map(String::as_str));
        Some(InvalidPolicy { place: format!("{place}.argument"), message, hint })
    }

    /// The servers, for a message.
    fn told(&self) -> String {
        format!("`{}`", self.servers.join("`, `"))
    }
}

fn meant<'n>(written: &str, all: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
    match nearest(written, names.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.clone().next().is_none() => "there are none".to_owned(),
        None => format!("{all}: {}", names.take(20).collect::<Vec<_>>().join(", ")), // enough to see a misspelling
    }
}
