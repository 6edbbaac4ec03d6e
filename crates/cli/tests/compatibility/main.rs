//! Every public client through the gateway to every public server, compared with the same client going there directly.
//!
//! The clients and servers come from `cargo xtask peers`; without them these tests cannot run, so a plain `cargo test`
//! leaves them out and `cargo xtask test` runs them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking and says why")]

mod browser;
mod clients;
mod compare;
mod endpoint;
#[path = "../harness/mod.rs"]
mod harness;
mod login;
#[path = "../tokens/provider.rs"]
#[allow(dead_code, reason = "the tests of tokens use the rest")]
mod provider;
mod servers;
#[path = "../faults/session.rs"]
mod session;
mod visit;

use std::collections::BTreeSet;
use std::path::Path;

use clients::Client;
use compare::{Difference, Pair, unstable};
use endpoint::Endpoint;
use harness::gateway::{Gateway, Project};
use serde_json::Value;
use servers::{Crossing, Everything, Server};
use visit::{Answer, Reply, Step, Target, Visit};

macro_rules! compatibility {
    ($($name:ident: $client:expr;)+) => {$(
        #[test]
        #[ignore = "needs the peers that `cargo xtask peers` installs"]
        fn $name() {
            all_servers_at_all_endpoints($client);
        }
    )+};
}

compatibility! {
    ts_sdk_1: |_| Client::ts_sdk_1();
    ts_client_2_auto: |_| Client::ts_client_2("auto");
    ts_client_2_legacy: |_| Client::ts_client_2("legacy");
    ts_client_2_pinned: |_| Client::ts_client_2(clients::MODERN);
    pypi_mcp_1: |_| Client::pypi_mcp_1();
    pypi_mcp_2_auto: |_| Client::pypi_mcp_2("auto");
    pypi_mcp_2_legacy: |_| Client::pypi_mcp_2("legacy");
    rmcp_initialize: |_| Client::rmcp("legacy");
    rmcp_discover: |_| Client::rmcp("auto");
    inspector: |home| Client::inspector("legacy", home);
    wire_legacy: |_| Client::wire("legacy");
    wire_modern: |_| Client::wire(clients::MODERN);
}

/// Where no gateway runs for the configuration, `sallyport stdio` is one itself.
#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn stdio_without_a_gateway_running() {
    let project = Project::new("");
    let mut servers = vec![Server::filesystem(&project.path("")), Server::time()];
    servers.iter_mut().for_each(Server::expect_nobody_asked);
    project.configure(&configuration(&servers));
    let mut client = Client::wire("legacy");
    let mut found = Vec::new();
    let direct: Direct = servers.iter().map(|server| visit_directly(&project, &mut client, server, &mut found)).collect();
    found.extend(visit_merged(&project, "stdio", stdio_of(&project), &mut client, &servers, &direct));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What the client got from each server without the gateway, in the order of the servers.
type Direct = Vec<Option<Answer>>;

fn all_servers_at_all_endpoints(client: impl FnOnce(&Path) -> Client) {
    let project = Project::new("");
    let everything = Everything::start(&project.path(""));
    let mut client = client(&project.home());
    let mut servers = Server::all(&project.path(""), &everything);
    if client.is_costly {
        servers.retain(|server| matches!(server.direct, Target::Command { .. }));
    }
    if !client.can_be_asked {
        servers.iter_mut().for_each(Server::expect_nobody_asked);
    }
    project.configure(&configuration(&servers));

    let mut found = Vec::new();
    let direct: Direct = servers.iter().map(|server| visit_directly(&project, &mut client, server, &mut found)).collect();
    assert!(found.is_empty(), "without the gateway:\n{}", found.join("\n"));

    let gateway = project.up();
    if !client.is_costly {
        for (server, direct) in servers.iter().zip(&direct) {
            found.extend(visit_single(&project, &gateway, &mut client, server, direct.as_ref()));
        }
    }
    let http = Target::Url { url: gateway.url("/mcp"), transport: "streamable-http" };
    found.extend(visit_merged(&project, "/mcp", http, &mut client, &servers, &direct));
    if client.knows_sse() && !client.is_modern() && !client.is_costly {
        let sse = Target::Url { url: gateway.url("/sse"), transport: "sse" };
        found.extend(visit_merged(&project, "/sse", sse, &mut client, &servers, &direct));
    }
    found.extend(visit_merged(&project, "stdio", stdio_of(&project), &mut client, &servers, &direct));

    let log = gateway.log();
    assert!(found.is_empty(), "{} differences:\n{}\n\nthe gateway's log ends:\n{}", found.len(), found.join("\n"), tail(&log));
}

fn stdio_of(project: &Project) -> Target {
    Target::Command { command: project.stdio_command(), env: project.environment().into_iter().collect() }
}

fn configuration(servers: &[Server]) -> String {
    servers.iter().map(|server| format!("[servers.{}]\n{}\n", server.name, server.configuration)).collect()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Goes to the server without the gateway, to compare with. A plain client goes there twice: what differs anyway is the server's doing,
/// whoever its client is.
fn visit_directly(project: &Project, client: &mut Client, server: &Server, found: &mut Vec<Difference>) -> Option<Answer> {
    if !client.reaches(&server.direct) {
        return None;
    }
    let steps = steps_for(client, server);
    let visit = Visit { target: server.direct.clone(), mode: client.direct_mode, steps: steps.clone() };
    (server.reset)(&project.path(""));
    let first = client.visit(&visit);
    assert_eq!(first.steps.len(), steps.len(), "{} cannot be reached directly: {}", server.name, first.connect);
    if !client.is_costly {
        found.extend(uncalled_tools(server, &steps, &first));
    }
    if client.is_plain() {
        (server.reset)(&project.path(""));
        let second = client.visit(&visit);
        let pairs = steps.iter().zip(first.steps.iter().zip(&second.steps));
        found.extend(pairs.flat_map(|(step, (one, two))| unstable(server, step, one, two)));
    }
    Some(first)
}

/// The steps of a server that this client has means for.
fn steps_for(client: &Client, server: &Server) -> Vec<Step> {
    let mut steps: Vec<Step> = server.plan();
    steps.retain(|step| client.can(step));
    if client.is_costly {
        let mut seen = BTreeSet::new();
        steps.retain(|step| seen.insert(step.method));
    }
    steps
}

/// Every tool that is listed has to be called, or listed as one that is not.
fn uncalled_tools(server: &Server, steps: &[Step], answer: &Answer) -> Vec<Difference> {
    let listed = answer.steps.first().map(|reply| compare::entries(Endpoint::Single, server, reply)).unwrap_or_default();
    let called = |tool: &String| steps.iter().any(|step| step.tool() == Some(tool));
    let excused = |tool: &String| server.not_called.iter().any(|(name, _)| name == tool);
    let forgotten = listed.into_keys().filter(|tool| !called(tool) && !excused(tool));
    forgotten.map(|tool| format!("{}: the tool {tool} is listed but the test does not call it", server.name)).collect()
}

fn visit_single(project: &Project, gateway: &Gateway, client: &mut Client, server: &Server, direct: Option<&Answer>) -> Vec<Difference> {
    (server.reset)(&project.path(""));
    let path = format!("/servers/{}/mcp", server.name);
    let target = Target::Url { url: gateway.url(&path), transport: "streamable-http" };
    let steps = steps_for(client, server);
    let answer = client.visit(&Visit { target, mode: client.mode, steps: steps.clone() });
    let mut found = check_connection(&path, client, &answer);
    found.extend(check_steps(&path, Endpoint::Single, client, server, &steps, &answer.steps, direct));
    found
}

/// One visit with the steps of all servers.
fn visit_merged(
    project: &Project,
    place: &str,
    target: Target,
    client: &mut Client,
    servers: &[Server],
    direct: &[Option<Answer>],
) -> Vec<Difference> {
    servers.iter().for_each(|server| (server.reset)(&project.path("")));
    let plans: Vec<Vec<Step>> = servers.iter().map(|server| steps_for(client, server)).collect();
    let addressed = servers.iter().zip(&plans);
    let steps = addressed.flat_map(|(server, plan)| plan.iter().map(|step| Endpoint::Merged.address(server.name, step))).collect();
    let answer = client.visit(&Visit { target, mode: client.mode, steps });
    let mut found = check_connection(place, client, &answer);
    let mut rest = answer.steps.as_slice();
    for ((server, plan), direct) in servers.iter().zip(&plans).zip(direct) {
        let (replies, later) = rest.split_at(plan.len().min(rest.len()));
        rest = later;
        found.extend(check_steps(place, Endpoint::Merged, client, server, plan, replies, direct.as_ref()));
    }
    found
}

fn check_connection(place: &str, client: &Client, answer: &Answer) -> Vec<Difference> {
    match answer.revision() {
        Some(revision) if revision == client.revision_at_gateway => Vec::new(),
        other => vec![format!("{place}: expected revision {}, got {other:?}: {}", client.revision_at_gateway, answer.connect)],
    }
}

fn check_steps(
    place: &str,
    endpoint: Endpoint,
    client: &Client,
    server: &Server,
    steps: &[Step],
    replies: &[Reply],
    direct: Option<&Answer>,
) -> Vec<Difference> {
    let mut found = Vec::new();
    for (index, (step, reply)) in steps.iter().zip(replies).enumerate() {
        let differences = match (server.expectation(step).crosses, direct) {
            (Crossing::Question, _) if !client.can_be_asked => must_fail(step, reply),
            (Crossing::InOtherWords, _) if client.is_modern() && !client.can_listen => put_in_other_words(step, reply),
            (_, Some(direct)) => {
                let (reshaped, modern) = (client.reshapes(), client.is_modern());
                Pair { server, step, endpoint, direct: &direct.steps[index], through: reply, reshaped, modern }.differences()
            }
            // A client without HTTP+SSE has nothing to compare with, but has to be answered all the same.
            (_, None) => Vec::new(),
        };
        found.extend(differences.into_iter().map(|difference| format!("{place}, {}: {difference}", server.name)));
    }
    found
}

/// What cannot be carried has to be answered with an error. Of what is no call, a client may know by itself that its revision
/// has no such thing.
fn must_fail(step: &Step, reply: &Reply) -> Vec<Difference> {
    if reply.is_error() { Vec::new() } else { vec![format!("{} should be an error: {}", step.label(), reply.shown())] }
}

/// From 2026-07-28 on a task is begun and looked at as such, and its result is a part of it; the other requests are unknown.
fn put_in_other_words(step: &Step, reply: &Reply) -> Vec<Difference> {
    if !["task", "tasks/get"].contains(&step.method) {
        return must_fail(step, reply);
    }
    let result: Value = reply.result.as_deref().and_then(|result| serde_json::from_str(result.get()).ok()).unwrap_or_default();
    let is_task = result["taskId"].is_string() && result["status"].is_string() && !result["ttlMs"].is_null();
    if is_task { Vec::new() } else { vec![format!("{} should be a task of 2026-07-28: {}", step.label(), reply.shown())] }
}
