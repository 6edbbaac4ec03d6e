//! The Inspector's command line: a process for every step.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::peers;
use crate::visit::{Answer, Reply, Step, Target, Visit};

const PROGRAM: &str = "@modelcontextprotocol/inspector/clients/launcher/build/index.js";

pub(crate) struct Inspector {
    /// It keeps files in the home folder.
    home: PathBuf,
}

impl Inspector {
    pub(crate) fn new(home: &Path) -> Self {
        Self { home: home.to_path_buf() }
    }

    /// It does not tell the revision, so that is the one it was asked to speak.
    pub(crate) fn visit(&mut self, visit: &Visit) -> Answer {
        let steps = visit.steps.iter().map(|step| self.step(visit, step)).collect();
        let revision = if visit.mode == "legacy" { super::LEGACY } else { super::MODERN };
        Answer { connect: json!({ "result": { "revision": revision } }), steps }
    }

    fn step(&self, visit: &Visit, step: &Step) -> Reply {
        let mut command = Command::new(peers::node());
        command.env_clear().env("HOME", &self.home).env("PATH", std::env::var("PATH").unwrap_or_default());
        command.arg(peers::npm(PROGRAM)).args(["--cli", "--format", "json", "--quiet"]);
        command.args(["--protocol-era", if visit.mode == "legacy" { "legacy" } else { "modern" }]);
        command.args(["--method", step.method]);
        command.args(arguments(step));
        add_target(&mut command, &visit.target);
        let output = command.stdin(Stdio::null()).output().expect("node starts");
        read(&output)
    }
}

fn arguments(step: &Step) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match step.method {
        "tools/call" => {
            vec!["--tool-name".to_owned(), text(&step.params["name"]), "--tool-args-json".to_owned(), step.params["arguments"].to_string()]
        }
        "resources/read" => vec!["--uri".to_owned(), text(&step.params["uri"])],
        "prompts/get" => {
            let mut words = vec!["--prompt-name".to_owned(), text(&step.params["name"])];
            for (name, value) in step.params["arguments"].as_object().into_iter().flatten() {
                words.extend(["--prompt-args".to_owned(), format!("{name}={}", text(value))]);
            }
            words
        }
        _ => Vec::new(),
    }
}

fn add_target(command: &mut Command, target: &Target) {
    match target {
        Target::Command { command: words, env } => {
            for (name, value) in env {
                command.args(["-e", &format!("{name}={value}")]);
            }
            command.arg("--").args(words);
        }
        Target::Url { url, transport } => {
            command.args(["--transport", if *transport == "sse" { "sse" } else { "http" }, "--server-url", url]);
        }
    }
}

/// On stdout `{"result": …}`, on stderr `{"error": …}` after whatever else was to be said.
fn read(output: &Output) -> Reply {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut lines = stdout.lines().chain(stderr.lines().rev()).filter(|line| line.starts_with('{'));
    lines.find_map(|line| serde_json::from_str(line).ok()).unwrap_or_else(|| Reply::of_error(&stderr.trim()))
}
