//! Clients of every revision through the gateway to servers of every revision, over every transport that the revision has.
//!
//! Each cell has a wire client of this repository at one end, its fixture server at the other, and the real program between
//! them. What a cell is expected to hold is data (`features`); the same data makes `docs/reference/revisions.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking and says why")]

mod cell;
mod ends;
mod feature;
mod features;
mod fixture;
#[path = "../harness/mod.rs"]
mod harness;
mod page;

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use cell::Cell;
use ends::End;
use feature::{Feature, Verdict};
use fixture::Fixtures;
use harness::gateway::{Gateway, Project};

/// A check that hangs must not hang the test; the longest honest one waits for a task of two seconds.
const LIMIT: Duration = Duration::from_secs(25);

#[test]
fn every_client_gets_through_to_every_server() {
    let project = Project::new("");
    let fixtures = Fixtures::start(&project);
    project.configure(&fixtures.configuration());
    let gateway = project.up();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let begin = Instant::now();
    // Servers side by side; at each server one client after the other, because some features change what the others see.
    let found = runtime.block_on(join_all(End::all().map(|server| visit_all(&project, &gateway, server))));
    let found: Vec<String> = found.into_iter().flatten().collect();
    eprintln!("the cells took {:.1} s", begin.elapsed().as_secs_f64());
    assert!(found.is_empty(), "{} times something else than expected:\n{}", found.len(), found.join("\n"));
}

/// Every client at one server; what went otherwise than expected.
async fn visit_all(project: &Project, gateway: &Gateway, server: End) -> Vec<String> {
    let mut found = Vec::new();
    for client in End::all() {
        if !is_wanted(client, server) {
            continue;
        }
        match Cell::open(project, gateway, client, server).await {
            Ok(cell) => found.extend(visit(cell).await),
            Err(fault) => found.push(format!("client {client}, server {server}: {fault}")),
        }
    }
    found
}

/// `SALLYPORT_CELL="2025-11-25 over stdio, 2026-07-28"` looks at some cells alone: each part has to occur in the cell's name.
fn is_wanted(client: End, server: End) -> bool {
    let wanted = std::env::var("SALLYPORT_CELL").unwrap_or_default();
    let name = format!("client {client}, server {server}");
    wanted.split(", ").all(|part| name.contains(part))
}

/// All features in one cell.
async fn visit(cell: Cell) -> Vec<String> {
    let mut found = Vec::new();
    for feature in features::all() {
        let check = match feature.verdict(cell.client_end.revision, cell.server_end.revision) {
            Verdict::Carried => feature.carried,
            Verdict::Instead(instead, _) => instead.check,
            Verdict::Unsaid(_) => continue,
        };
        let outcome = tokio::time::timeout(LIMIT, check(&cell)).await.unwrap_or_else(|_elapsed| Err("it hangs".into()));
        if let Err(what) = outcome {
            found.push(format!("client {}, server {}: {}: {what}", cell.client_end, cell.server_end, feature.name));
        }
    }
    cell.client.close().await;
    found
}

#[test]
fn the_page_is_up_to_date() {
    page::check();
}

/// A client that has no word for something a server says must get something else: nothing is left out in silence.
#[test]
fn whatever_a_client_cannot_understand_has_a_substitute() {
    let excused = |feature: &Feature| feature.instead.is_some() || feature.is_the_clients_own();
    let silent: Vec<&str> = features::all().filter(|feature| !excused(feature)).map(|feature| feature.name).collect();
    assert!(silent.is_empty(), "no word, and nothing instead: {silent:?}");
}
