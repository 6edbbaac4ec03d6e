//! Rules for arguments that no call can ever meet, since no tool is called so or takes such an argument.

use std::collections::BTreeSet;

use sallyport_gateway::config::{matches, nearest};
use sallyport_gateway::plan::Plan;
use sallyport_policy::{ArgumentRule, InvalidPolicy};

use super::tools::Tools;

/// Each rule that stands on a server whose tools are known, and is about none of them.
pub(super) fn matching(plan: &Plan, tools: &Tools) -> Vec<InvalidPolicy> {
    let rules = plan.servers.iter().flat_map(|(name, server)| {
        let placed = move |(index, rule)| (name.as_str(), format!("servers.{name}.arguments[{index}]"), rule);
        server.rules.arguments.iter().enumerate().map(placed)
    });
    rules.filter(|(server, ..)| tools.knows(server)).filter_map(|(server, place, rule)| never(server, place, rule, tools)).collect()
}

fn never(server: &str, place: String, rule: &ArgumentRule, tools: &Tools) -> Option<InvalidPolicy> {
    let about: Vec<&str> = tools.names(server).filter(|name| matches(&rule.tools, name)).collect();
    if about.is_empty() {
        let written = rule.tools.join(", ");
        let message = format!("no tool of `{server}` is called `{written}`, so the rule can never match");
        return Some(InvalidPolicy {
            place: format!("{place}.tools"),
            message,
            hint: meant(&written, "its tools are", tools.names(server)),
        });
    }
    // A tool that does not say what it takes may take anything.
    let taken: BTreeSet<String> =
        about.iter().map(|name| tools.arguments(server, name)).collect::<Option<Vec<_>>>()?.into_iter().flatten().collect();
    if taken.contains(&rule.argument) {
        return None;
    }
    let message = format!("`{}` takes no argument `{}`, so the rule can never match", about.join("`, `"), rule.argument);
    let hint = meant(&rule.argument, "what they take is", taken.iter().map(String::as_str));
    Some(InvalidPolicy { place: format!("{place}.argument"), message, hint })
}

fn meant<'n>(written: &str, all: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
    match nearest(written, names.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{all}: {}", names.take(20).collect::<Vec<_>>().join(", ")), // enough to see a misspelling
    }
}
