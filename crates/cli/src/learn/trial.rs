//! Holds trials: starts the server in a gateway of its own, asks it for what it offers, calls tools, waits for whoever works with it.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use sallyport_gateway::plan::Plan;
use sallyport_gateway::upstream::{Freshness, Listing};
use sallyport_protocol::{Method, RawJson, RawObject};
use sallyport_sandbox::learn::{self, Record};
use sallyport_telemetry::log::Stderr;

use super::door::Door;
use crate::arguments::LearnArguments;
use crate::output::{self, Failure};
use crate::reach::Reach;
use crate::start::{self, GRACE, Opened};
use crate::tools::shown;
use crate::{starting, up};

/// How often the line on the terminal is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Characters of an answer that are shown: enough to see whether it was the one that was meant.
const SHOWN: usize = 160;

/// One server on trial, in a gateway of this process.
pub(super) struct Trial {
    name: String,
    trial: learn::Trial,
    reach: Reach,
    calls: Vec<(String, RawJson)>,
    waits: Option<Wait>,
    door: Option<Door>,
}

/// What came of one trial.
pub(super) struct Tried {
    /// What the sandbox saw of it.
    pub(super) record: Record,
    /// It told what it offers.
    pub(super) answered: bool,
}

/// How long somebody may work with the server.
#[derive(Clone, Copy)]
enum Wait {
    For(Duration),
    UntilTold,
}

impl Trial {
    /// Prepares everything; starts the server at the endpoint's opening, if there is somebody to use it.
    pub(super) async fn open(plan: Plan, name: &str, arguments: &LearnArguments, terminal: &impl IsTerminal) -> Result<Self, Failure> {
        let calls = calls(name, &arguments.call)?;
        let waits = match arguments.r#for {
            Some(time) => Some(Wait::For(time)),
            None if calls.is_empty() && !arguments.json && terminal.is_terminal() && std::io::stdin().is_terminal() => {
                Some(Wait::UntilTold)
            }
            None => None,
        };
        let listener = match waits {
            Some(_) => Some(up::listen(&plan).await?),
            None => None,
        };
        let trial = learn::Trial::of(name);
        let options = up::options(&plan)?;
        let opened = Opened::in_trial(plan, Stderr::Off, trial.clone())?;
        let door = listener.map(|listener| Door::open(listener, &opened, options)).transpose()?;
        opened.gateway.start();
        Ok(Self { name: name.to_owned(), trial, reach: Reach::Here(Box::new(opened)), calls, waits, door })
    }

    /// Holds one trial.
    pub(super) async fn hold(&self, number: u32) -> Result<Tried, Failure> {
        if number > 1 {
            output::note(format!("round {number}: again, with what was proposed"));
        }
        let listing = self.listing().await;
        let answered = matches!(listing.freshness, Freshness::Fresh | Freshness::Stale { .. });
        tell_listing(&self.name, &listing);
        if answered {
            for (tool, arguments) in &self.calls {
                self.call(tool, arguments).await;
            }
        }
        if let Some(wait) = self.waits {
            self.wait(wait).await;
        }
        Ok(Tried { record: self.trial.record(), answered })
    }

    /// Puts another configuration of the server in force and begins a new record.
    pub(super) async fn renew(&self, plan: Plan) -> Result<(), Failure> {
        let Reach::Here(opened) = &self.reach else { return Ok(()) };
        self.trial.renew();
        opened.gateway.reload(plan, GRACE).await.map_err(|error| start::unusable(&error))?;
        Ok(())
    }

    /// Ends the server and the endpoint.
    pub(super) async fn close(self) {
        if let Some(door) = self.door {
            door.close().await;
        }
        self.reach.close().await;
    }

    async fn listing(&self) -> Arc<Listing> {
        let Reach::Here(opened) = &self.reach else { return Arc::default() };
        let servers = opened.gateway.upstreams();
        starting::wait_for(&servers).await;
        servers.first().map(|server| server.listing()).unwrap_or_default()
    }

    /// Calls one tool. That it fails is no failure of the trial: it may be refused what it needs.
    async fn call(&self, tool: &str, arguments: &RawJson) {
        let mut params = RawObject::new();
        params.set("name", RawJson::string(tool));
        params.set("arguments", arguments.clone());
        let told = match self.reach.ask(Method::ToolsCall, params).await {
            Ok(result) => {
                let failed = result.get("isError").is_some_and(|value| value.as_str() == "true");
                format!("{} {}", if failed { "failed:" } else { "answered:" }, text_of(&result))
            }
            Err(failure) => format!("failed: {}", failure.message()),
        };
        let told: String = told.chars().take(SHOWN).collect();
        output::note(format!("`{tool}` {}", shown(&told).replace('\n', " ")));
    }

    /// Waits while somebody works with the server, and shows what has come to light.
    async fn wait(&self, wait: Wait) {
        if let Some(door) = &self.door {
            output::note(format!("work with it at {}; {}", door.url, wait.end()));
        }
        let (line, begun) = (ProgressBar::new_spinner(), Instant::now());
        let mut told = std::pin::pin!(up::told_by_signal());
        while !wait.is_over(begun) {
            tokio::select! {
                () = &mut told => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            line.set_message(summary(&self.trial.record()));
            line.tick();
        }
        line.finish_and_clear();
    }
}

impl Wait {
    fn is_over(self, begun: Instant) -> bool {
        matches!(self, Self::For(time) if begun.elapsed() >= time)
    }

    fn end(self) -> String {
        match self {
            Self::For(time) => format!("for {time:?}, or until Ctrl-C"),
            Self::UntilTold => "Ctrl-C ends the trial".to_owned(),
        }
    }
}

/// The calls that the command line asks for: the tool as the merged endpoint names it, and its arguments.
fn calls(name: &str, written: &[String]) -> Result<Vec<(String, RawJson)>, Failure> {
    let prefix = format!("{name}__");
    let call = |pair: &[String]| {
        let [tool, arguments] = pair else { return Err(Failure::new("`--call` takes a tool and a JSON object")) };
        let read = RawJson::parse(arguments.clone()).and_then(|json| json.object().map(|_| json));
        let arguments = read.map_err(|error| {
            Failure::new(format!("the arguments of `{tool}` are no JSON object: {error}"))
                .hint("quote them for your shell: --call TOOL '{\"path\": \"README.md\"}'")
        })?;
        let tool = if tool.starts_with(&prefix) { tool.clone() } else { format!("{prefix}{tool}") };
        Ok((tool, arguments))
    };
    written.chunks(2).map(call).collect()
}

fn tell_listing(name: &str, listing: &Listing) {
    match &listing.freshness {
        Freshness::Fresh | Freshness::Stale { .. } => {
            let (tools, prompts) = (listing.tools.len(), listing.prompts.len());
            let resources = listing.resources.len() + listing.templates.len();
            output::note(format!("server `{name}` offers: tools {tools}, prompts {prompts}, resources {resources}"));
        }
        Freshness::Pending => output::note(format!("server `{name}` has not told in time what it offers")),
        Freshness::Gone { why, hint } => {
            let hint = hint.as_ref().map(|hint| format!("\n  hint: {}", shown(hint))).unwrap_or_default();
            output::note(format!("server `{name}` cannot be reached: {}{hint}", shown(why)));
        }
    }
}

fn text_of(result: &RawObject) -> String {
    let blocks = result.get("content").and_then(|content| content.array().ok()).unwrap_or_default();
    let text = |block: &RawJson| block.object().ok()?.get_str("text").map(std::borrow::Cow::into_owned);
    blocks.iter().find_map(text).unwrap_or_default()
}

/// What has come to light so far, on one line.
fn summary(record: &Record) -> String {
    let used: u64 = record.used.values().map(|used| used.read + used.written + used.executed).sum();
    let hosts = record.hosts.values().filter(|(allowed, _)| !allowed).count();
    format!("{used} files used · refused: {} paths, {hosts} hosts, {} system calls", record.refused.len(), record.calls.len())
}
