//! `sallyport tools`: what a client would see.

use owo_colors::OwoColorize;
use sallyport_gateway::config;
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
    let tools = start::runtime()?.block_on(async {
        let reach = Reach::open(plan).await?;
        reach.settle(None).await;
        let tools = reach::all(&reach, Method::ToolsList, "tools").await;
        tell_missing(&reach);
        reach.close().await;
        tools
    })?;
    let mut wanted = tools.into_iter().filter(|tool| matches(tool, arguments.filter.as_deref()));
    if arguments.json {
        return output::json(&wanted.collect::<Vec<_>>());
    }
    wanted.try_for_each(|tool| tell(&tool))
}

fn matches(tool: &RawJson, filter: Option<&str>) -> bool {
    let Some(filter) = filter else { return true };
    let filter = filter.to_lowercase();
    ["name", "description"].iter().any(|key| text(tool, key).to_lowercase().contains(&filter))
}

fn tell(tool: &RawJson) -> Result<(), Failure> {
    let description = text(tool, "description");
    let first: String = description.lines().next().unwrap_or_default().chars().take(SHOWN).collect();
    output::line(format!("{}  {}", shown(&text(tool, "name")).bold(), shown(&first).dimmed()))
}

/// Says which servers are missing from the list, where this process knows.
fn tell_missing(reach: &Reach) {
    let Reach::Here(opened) = reach else { return };
    for upstream in opened.gateway.upstreams() {
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
    for refusal in opened.gateway.refusals() {
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
    fn a_servers_text_cannot_steer_the_terminal() {
        assert_eq!(shown("a\u{1b}[31mb\nc"), "a\u{fffd}[31mb\nc");
    }
}
