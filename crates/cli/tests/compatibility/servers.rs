//! The public servers: how each is started, how the gateway is told of it, and what is asked of it.

mod everything;
mod fetch;
mod filesystem;
mod git;
mod memory;
mod time;

use std::collections::BTreeMap;
use std::path::Path;

use crate::visit::{Step, Target};

pub(crate) use everything::Everything;

/// A server with everything that is to be known about it.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// How a client reaches it without the gateway.
    pub(crate) direct: Target,
    /// Its table in the gateway's configuration, without the heading.
    pub(crate) configuration: String,
    pub(crate) steps: Vec<(Step, Expectation)>,
    /// Tools that are not called, each with the reason.
    pub(crate) not_called: Vec<(&'static str, &'static str)>,
    /// Tools that the server offers only to clients that say they can be asked. The gateway's own session says so for all
    /// its clients, and whoever cannot be asked gets an error.
    pub(crate) asking: Vec<&'static str>,
    /// Tools that answer with what they asked before, when another client may have been asked: nothing can be said of what a client gets
    /// that cannot be asked.
    pub(crate) remembering: Vec<&'static str>,
    /// Entries of lists that only one side may have, each with the reason.
    pub(crate) one_sided: Vec<(&'static str, &'static str)>,
    /// Puts files back to where they were before a visit.
    pub(crate) reset: Box<dyn Fn(&Path) + Send>,
}

/// What is known about the answer to a step beforehand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expectation {
    /// Places that differ between two direct runs as well, each the start of a JSON pointer.
    pub(crate) unstable: Vec<&'static str>,
    /// How it gets from one era to the other.
    pub(crate) crosses: Crossing,
}

/// Whether a step can be carried from one era to the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Crossing {
    /// A request and its result: always.
    #[default]
    Always,
    /// A subscription or task: each era has its own requests for it, and those of the other are unknown there.
    InOtherWords,
    /// A question to the client: if the client can be asked; otherwise an error says so.
    Question,
}

impl Server {
    /// All eight, with what they may change below `folder`.
    pub(crate) fn all(folder: &Path, remote: &Everything) -> Vec<Self> {
        vec![
            everything::stdio(),
            everything::sse(remote),
            everything::streamable_http(remote),
            filesystem::server(folder),
            memory::server(folder),
            git::server(folder),
            time::server(),
            fetch::server(),
        ]
    }

    /// npm `server-filesystem` alone.
    pub(crate) fn filesystem(folder: &Path) -> Self {
        filesystem::server(folder)
    }

    /// PyPI `mcp-server-time` alone.
    pub(crate) fn time() -> Self {
        time::server()
    }

    /// The plain steps.
    pub(crate) fn plan(&self) -> Vec<Step> {
        self.steps.iter().map(|(step, _)| step.clone()).collect()
    }

    pub(crate) fn expectation(&self, step: &Step) -> Expectation {
        self.steps.iter().find(|(known, _)| known == step).map(|(_, expectation)| expectation.clone()).unwrap_or_default()
    }

    /// Marks the tools that ask as ones that only the gateway has.
    pub(crate) fn expect_nobody_asked(&mut self) {
        self.steps.retain(|(step, _)| !step.tool().is_some_and(|tool| self.remembering.contains(&tool)));
        let remembered = self.remembering.iter().map(|tool| (*tool, "answers with what it asked before, maybe another client"));
        self.not_called.extend(remembered);
        self.one_sided.extend(self.asking.drain(..).map(|tool| (tool, "offered only to clients that can be asked")));
    }

    /// Whether a list may lack the entry on one side.
    pub(crate) fn is_one_sided(&self, entry: &str) -> bool {
        self.one_sided.iter().any(|(known, _)| *known == entry)
    }
}

/// A step whose answer is the same every time.
fn stable(step: Step) -> (Step, Expectation) {
    (step, Expectation::default())
}

/// A step whose answer differs at `places` from run to run, for the reason given.
fn unstable(step: Step, places: &[&'static str], _because: &str) -> (Step, Expectation) {
    (step, Expectation { unstable: places.to_vec(), ..Expectation::default() })
}

/// A step in which the server asks the client back.
fn question(step: Step) -> (Step, Expectation) {
    (step, Expectation { crosses: Crossing::Question, ..Expectation::default() })
}

/// A step that the other era puts otherwise, for the reason given.
fn in_other_words(step: Step, _because: &str) -> (Step, Expectation) {
    (step, Expectation { crosses: Crossing::InOtherWords, ..Expectation::default() })
}

/// A command with an environment of its own: the same with and without the gateway, which hands on nothing of its own.
fn command(words: Vec<String>, environment: &[(&str, &str)]) -> Target {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut env: BTreeMap<String, String> = environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    env.entry("PATH".to_owned()).or_insert(path);
    Target::Command { command: words, env }
}

/// The lines of the configuration that start `target`.
fn stdio_configuration(target: &Target) -> String {
    let Target::Command { command, env } = target else { return String::new() };
    let words: Vec<String> = command.iter().map(|word| format!("{word:?}")).collect();
    let variables: Vec<String> = env.iter().map(|(key, value)| format!("{key} = {value:?}")).collect();
    format!("command = [{}]\nenv = {{ {} }}\n", words.join(", "), variables.join(", "))
}

/// Nothing to put back.
fn keeps_nothing() -> Box<dyn Fn(&Path) + Send> {
    Box::new(|_| {})
}
