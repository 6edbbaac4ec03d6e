//! `sallyport tools`: what a client would see.

use owo_colors::OwoColorize;
use sallyport_gateway::{Gateway, config};
use sallyport_protocol::{Method, RawJson};

use crate::arguments::{Global, ToolsArguments};
use crate::output::{self, Failure};
use crate::reach::{self, Reach};
use crate::{start, starting, tenant};

/// Characters of a description that are shown: the first line of most.
const SHOWN: usize = 100;

pub(crate) fn run(global: &Global, arguments: &ToolsArguments) -> Result<(), Failure> {
    let plan = tenant::of(config::load(&global.invocation()?)?, arguments.of.tenant.as_deref())?;
    output::warnings(&plan.warnings);
    let names: Vec<(String, String)> = plan.servers.values().map(|server| (server.name.clone(), server.in_commands())).collect();
    let tools = start::runtime()?.block_on(async {
        let reach = Reach::open(plan).await?;
        reach.settle(None).await;
        let tools = reach::all(&reach, Method::ToolsList, "tools").await;
        match &reach {
            Reach::Here(opened) => tell_missing(&opened.gateway),
            Reach::Running(_) => tools.iter().for_each(|tools| tell_without_tools(&names, tools)),
        }
        reach.close().await;
        tools
    })?;
    let wanted: Vec<RawJson> = tools.into_iter().filter(|tool| matches(tool, arguments.filter.as_deref())).collect();
    if arguments.json {
        return output::json(&wanted);
    }
    if wanted.is_empty() {
        output::note(match &arguments.filter {
            Some(filter) => format!("no tool has `{filter}` in its name or description"),
            None => "there are no tools to be seen".to_owned(),
        });
    }
    wanted.iter().try_for_each(tell)
}

fn matches(tool: &RawJson, filter: Option<&str>) -> bool {
    let Some(filter) = filter else { return true };
    let filter = filter.to_lowercase();
    ["name", "description"].iter().any(|key| text(tool, key).to_lowercase().contains(&filter))
}

fn tell(tool: &RawJson) -> Result<(), Failure> {
    let description = text(tool, "description");
    let first = beginning(description.lines().next().unwrap_or_default());
    output::line(format!("{}  {}", shown(&text(tool, "name")).bold(), shown(&first).dimmed()))
}

/// As much of a text as is shown, with a mark where more follows.
fn beginning(text: &str) -> String {
    let mut letters = text.chars();
    let shown: String = letters.by_ref().take(SHOWN).collect();
    if letters.next().is_none() { shown } else { format!("{}…", shown.trim_end()) }
}

/// Says which servers are missing from the list of a gateway that runs elsewhere: why, its log knows. `servers` are their names, and these
/// as commands take them.
fn tell_without_tools(servers: &[(String, String)], tools: &[RawJson]) {
    let listed: Vec<String> = tools.iter().map(|tool| text(tool, "name")).collect();
    let is_there = |server: &str| listed.iter().any(|tool| tool.split_once("__").is_some_and(|(of, _)| of == server));
    for (server, in_commands) in servers.iter().filter(|(server, _)| !is_there(server)) {
        output::note(format!(
            "server `{server}` has no tools here: it is not available, or offers none that may be seen\n  hint: `sallyport logs` says why, \
             `sallyport logs {in_commands}` what it wrote"
        ));
    }
}

/// Says which servers are missing from the list of a gateway in this process, and why.
fn tell_missing(gateway: &Gateway) {
    for upstream in gateway.upstreams() {
        use sallyport_gateway::upstream::Freshness;
        match &upstream.listing().freshness {
            Freshness::Fresh => {}
            Freshness::Pending => {
                let doing = starting::doing(&upstream).map(|doing| format!(" ({doing})")).unwrap_or_default();
                output::note(format!("server `{}` has not answered yet{doing}; its tools are missing here", upstream.name()));
            }
            Freshness::Stale { why } => output::note(format!("server `{}`: the list may be old ({why})", upstream.name())),
            Freshness::Gone { why, hint } => {
                let hint = hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
                output::note(format!("server `{}` cannot be reached: {why}{hint}", upstream.name()));
            }
        }
    }
    for refusal in gateway.refusals() {
        let (server, tool) = &refusal.refused;
        let (holder, held) = &refusal.holder;
        output::note(format!(
            "`{tool}` of server `{server}` is not offered: `{held}` of `{holder}` has that name, or one that looks like it"
        ));
    }
}

fn text(tool: &RawJson, key: &str) -> String {
    tool.object().ok().and_then(|tool| tool.get_str(key).map(std::borrow::Cow::into_owned)).unwrap_or_default()
}

/// A server's text without what would steer a terminal.
pub(crate) fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() && character != '\n' { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_filter_looks_into_name_and_description() {
        let tool = RawJson::from_static(r#"{"name":"git__log","description":"Shows commits"}"#);
        for filter in [None, Some("LOG"), Some("commit")] {
            assert!(matches(&tool, filter));
        }
        assert!(!matches(&tool, Some("blame")));
    }

    #[test]
    fn a_long_description_shows_that_it_goes_on() {
        assert_eq!(beginning("Shows commits."), "Shows commits.");
        assert_eq!(beginning(&"ä".repeat(SHOWN)), "ä".repeat(SHOWN));
        assert_eq!(beginning(&"ä ".repeat(SHOWN)), format!("{}ä…", "ä ".repeat(SHOWN / 2 - 1)));
    }

    #[test]
    fn a_servers_text_cannot_steer_the_terminal() {
        assert_eq!(shown("a\u{1b}[31mb\nc"), "a\u{fffd}[31mb\nc");
    }
}
