//! npm `server-everything`: every feature of the 2025 revisions, over each of its three transports.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::{Crossing, Expectation, Server, command, in_other_words, keeps_nothing, question, stable, stdio_configuration, unstable};
use crate::harness::{loopback, peers};
use crate::visit::{Step, Target};

const PROGRAM: &str = "@modelcontextprotocol/server-everything/dist/index.js";

/// The two processes that serve it over HTTP, shared by the clients of one test.
pub(crate) struct Everything {
    processes: Vec<Child>,
    sse: u16,
    streamable_http: u16,
}

impl Everything {
    pub(crate) fn start(folder: &Path) -> Self {
        let (sse, streamable_http) = (loopback::free_port(), loopback::free_port());
        let processes = vec![serve(folder, "sse", sse), serve(folder, "streamableHttp", streamable_http)];
        let everything = Self { processes, sse, streamable_http };
        for port in [sse, streamable_http] {
            loopback::wait_for_port(port, Duration::from_secs(30));
        }
        everything
    }
}

impl Drop for Everything {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Both fail only when it is gone already.
            let _killed = process.kill();
            let _reaped = process.wait();
        }
    }
}

fn serve(folder: &Path, transport: &str, port: u16) -> Child {
    let log = File::create(folder.join(format!("everything-{transport}.log"))).expect("the project is writable");
    let twin = log.try_clone().expect("a file can be opened twice");
    let mut command = Command::new(peers::node());
    command.args(["--require", &peers::driver("loopback.cjs"), &peers::npm(PROGRAM), transport]).env("PORT", port.to_string());
    command.stdin(Stdio::null()).stdout(log).stderr(twin).spawn().expect("node starts")
}

pub(crate) fn stdio() -> Server {
    let direct = command(vec![peers::node(), peers::npm(PROGRAM), "stdio".to_owned()], &[]);
    let configuration = stdio_configuration(&direct);
    let mut server = everything("everything", direct, configuration);
    server.steps.extend(task());
    server
}

pub(crate) fn sse(remote: &Everything) -> Server {
    let url = format!("http://127.0.0.1:{}/sse", remote.sse);
    let configuration = format!("url = {url:?}\n");
    everything("everything-sse", Target::Url { url, transport: "sse" }, configuration)
}

pub(crate) fn streamable_http(remote: &Everything) -> Server {
    let url = format!("http://127.0.0.1:{}/mcp", remote.streamable_http);
    let configuration = format!("url = {url:?}\n");
    everything("everything-http", Target::Url { url, transport: "streamable-http" }, configuration)
}

fn everything(name: &'static str, direct: Target, configuration: String) -> Server {
    let mut steps = lists();
    steps.extend(calls());
    steps.extend(questions());
    steps.extend(prompts_and_resources());
    steps.extend(subscription());
    Server {
        name,
        direct,
        configuration,
        steps,
        not_called: vec![
            ("toggle-simulated-logging", "sends log messages at random from then on, to every later step"),
            ("simulate-research-query", "answers with a task, which `wire` alone follows"),
        ],
        asking: vec!["get-roots-list", "trigger-sampling-request", "trigger-elicitation-request", "trigger-url-elicitation"],
        remembering: vec!["get-roots-list"],
        one_sided: vec![("demo://resource/session/a.gz", "made by an earlier visit to the same process, which the gateway keeps running")],
        reset: keeps_nothing(),
    }
}

fn lists() -> Vec<(Step, Expectation)> {
    ["tools/list", "prompts/list", "resources/list", "resources/templates/list"].map(|method| stable(Step::list(method))).into()
}

fn calls() -> Vec<(Step, Expectation)> {
    vec![
        stable(Step::call("echo", &json!({ "message": "héllo \u{1F980} \"quoted\" \\ line\nbreak" }))),
        stable(Step::call("get-sum", &json!({ "a": 2.5, "b": -7 }))),
        stable(Step::call("get-annotated-message", &json!({ "messageType": "error", "includeImage": true }))),
        stable(Step::call("get-tiny-image", &json!({}))),
        stable(Step::call("get-resource-links", &json!({ "count": 3 }))),
        unstable(
            Step::call("get-resource-reference", &json!({ "resourceType": "Text", "resourceId": 3 })),
            &["/content/1/resource/text"],
            "the text tells the time it was made",
        ),
        stable(Step::call("get-structured-content", &json!({ "location": "Chicago" }))),
        stable(Step::call(
            "gzip-file-as-resource",
            &json!({ "name": "a.gz", "data": "data:text/plain;base64,aGVsbG8=", "outputType": "resource" }),
        )),
        stable(Step::call("trigger-long-running-operation", &json!({ "duration": 0.3, "steps": 3 }))),
        unstable(Step::call("get-env", &json!({})), &["/content/0/text"], "the environment of the server's process is not the client's"),
        stable(Step::call("get-sum", &json!({ "a": "not a number" }))),
        stable(Step::call("no-such-tool", &json!({}))),
    ]
}

fn questions() -> Vec<(Step, Expectation)> {
    vec![
        question(Step::call("get-roots-list", &json!({}))),
        question(Step::call("trigger-sampling-request", &json!({ "prompt": "six times seven", "maxTokens": 10 }))),
        question(Step::call("trigger-elicitation-request", &json!({}))),
        question(Step::call("trigger-url-elicitation", &json!({ "url": "http://127.0.0.1/consent", "elicitationId": "e1" }))),
    ]
}

fn prompts_and_resources() -> Vec<(Step, Expectation)> {
    let template = "demo://resource/dynamic/text/{resourceId}";
    vec![
        stable(Step::prompt("simple-prompt", &json!({}))),
        stable(Step::prompt("args-prompt", &json!({ "city": "Basel", "state": "BS" }))),
        stable(Step::prompt("completable-prompt", &json!({ "department": "Sales", "name": "Eve" }))),
        unstable(
            Step::prompt("resource-prompt", &json!({ "resourceType": "Text", "resourceId": "2" })),
            &["/messages/1/content/resource/text"],
            "the text tells the time it was made",
        ),
        stable(Step::read("demo://resource/static/document/features.md")),
        unstable(Step::read("demo://resource/dynamic/text/1"), &["/contents/0/text"], "the text tells the time it was made"),
        unstable(Step::read("demo://resource/dynamic/blob/1"), &["/contents/0/blob"], "the bytes tell the time they were made"),
        stable(Step::read("demo://resource/nowhere")),
        stable(complete(json!({ "type": "ref/prompt", "name": "completable-prompt" }), "department", "S", json!({}))),
        stable(complete(
            json!({ "type": "ref/prompt", "name": "completable-prompt" }),
            "name",
            "",
            json!({ "arguments": { "department": "Sales" } }),
        )),
        stable(complete(json!({ "type": "ref/resource", "uri": template }), "resourceId", "7", json!({}))),
    ]
}

fn complete(reference: serde_json::Value, argument: &str, value: &str, context: serde_json::Value) -> Step {
    let params = json!({ "ref": reference, "argument": { "name": argument, "value": value }, "context": context });
    Step { method: "completion/complete", params }
}

fn subscription() -> Vec<(Step, Expectation)> {
    let uri = json!({ "uri": "demo://resource/dynamic/text/1" });
    let because = "from 2026-07-28 on there is `subscriptions/listen` instead";
    let update = json!({ "method": "notifications/resources/updated", "seconds": 8 });
    let toggle = || unstable(Step::call("toggle-subscriber-updates", &json!({})), &["/content/0/text"], "the text names the session");
    vec![
        in_other_words(Step { method: "resources/subscribe", params: uri.clone() }, because),
        toggle(),
        in_other_words(Step { method: "wait", params: update }, because),
        toggle(),
        in_other_words(Step { method: "resources/unsubscribe", params: uri }, because),
    ]
}

/// Over one of the three transports, since the work itself takes four seconds.
fn task() -> Vec<(Step, Expectation)> {
    let step = |step, unstable: &[&'static str]| (step, Expectation { unstable: unstable.to_vec(), crosses: Crossing::InOtherWords });
    vec![
        step(
            Step::task("simulate-research-query", &json!({ "topic": "ferries" })),
            &["/task/taskId", "/task/createdAt", "/task/lastUpdatedAt"],
        ),
        step(Step::of_the_task("tasks/get"), &["/taskId", "/createdAt", "/lastUpdatedAt", "/status"]),
        step(Step::of_the_task("tasks/result"), &["/_meta", "/content/0/text"]),
    ]
}
