//! `sallyport up`: the gateway with its HTTP endpoint, until it is told to end.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use owo_colors::OwoColorize;
use sallyport_gateway::Gateway;
use sallyport_gateway::config::Invocation;
use sallyport_gateway::plan::{Plan, TlsPlan};
use sallyport_telemetry::log::Stderr;
use sallyport_transport::server::tls::{self, Tls, TlsError};
use sallyport_transport::server::{Hosts, Workers, http};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::approval_pages::ApprovalPages;
use crate::arguments::{Global, UpArguments};
use crate::output::{self, Failure};
use crate::reload::Print;
use crate::running::{self, Note, Running};
use crate::start::{self, GRACE, Opened};
use crate::{connect, pages, reload, tenant_pages, view};

pub(crate) fn run(global: &Global, arguments: &UpArguments) -> Result<(), Failure> {
    let invocation = global.invocation()?;
    let (plan, read) = reload::read(&invocation)?;
    output::warnings(&plan.warnings);
    start::raise_descriptor_limit();
    start::runtime()?.block_on(serve(invocation, plan, read, arguments))
}

async fn serve(invocation: Invocation, plan: Plan, read: Print, arguments: &UpArguments) -> Result<(), Failure> {
    let shows_view = !arguments.no_view && std::io::stdout().is_terminal();
    let listener = listen(&plan).await?;
    let address = listener.local_addr().map_err(|error| Failure::new(format!("the endpoint has no address: {error}")))?;
    let workers = Workers::start().map_err(|error| Failure::new(format!("no threads can be started: {error}")))?;
    let options = http::Options { workers: Some(workers.turns()), ..options(&plan)? };
    let tls = options.tls.clone();
    let opened = Opened::open(plan, if shows_view { Stderr::Off } else { Stderr::Auto })?;
    let plan = opened.gateway.plan();
    let url = url(&plan, address);
    let known_as = plan.public_url.as_ref().map_or_else(|| url.clone(), ToString::to_string);
    known_as.parse().iter().for_each(|base| opened.gateway.reached_at(base));
    if let Some(other) = running_already(&plan) {
        output::note(format!(
            "note: a gateway for this configuration runs already (process {}) at {}: `stdio`, `tools` and `call` use that one for as long as it runs",
            other.pid, other.url
        ));
    }
    let note = leave_note(&opened, &plan, &url);
    let (stop, stopping) = watch::channel(false);
    let door =
        tokio::spawn(http::serve(listener, Arc::new(opened.gateway.clone()), with_pages(options, &opened.gateway), told(stopping.clone())));
    opened.gateway.tend().await.map_err(Failure::new)?; // without keys nobody could log in: that is told at once
    opened.gateway.start();
    let tending = tokio::spawn(tend(opened.gateway.clone()));
    let watched = opened.gateway.clone();
    let withdrawing = tokio::spawn(async move { watched.end_programs_with_keys(GRACE).await });
    let reloading = tokio::spawn(reload::watch(opened.gateway.clone(), invocation, tls, read));
    if shows_view {
        view::run(&opened, &url, stop.clone(), stopping.clone());
    } else {
        greet(&plan, &url)?;
    }
    until_told_to_end(stopping).await;
    let _ = stop.send(true); // the view may have said so itself
    reloading.abort();
    tending.abort();
    withdrawing.abort();
    if let Some(note) = note {
        note.withdraw();
    }
    tracing::info!("ending: calls in flight may finish");
    let ending = async {
        let drained = door.await;
        opened.close().await;
        drained.map_err(|error| Failure::new(format!("the endpoint failed: {error}")))
    };
    let ended = tokio::select! {
        ended = ending => ended,
        () = told_by_signal() => Err(Failure::new("ended at once, as a second signal said: calls in flight were given up")),
    };
    drop(workers); // after the servers: some of their tasks may live there
    ended
}

/// How often authorization servers forget what has ended, and look after their keys.
const TEND_EVERY: Duration = Duration::from_secs(60);

/// Looks after the authorization servers for as long as it is awaited.
async fn tend(gateway: Gateway) {
    loop {
        tokio::time::sleep(TEND_EVERY).await;
        let _ = gateway.tend().await; // the log has it; the next minute tries again
    }
}

pub(crate) async fn listen(plan: &Plan) -> Result<TcpListener, Failure> {
    TcpListener::bind(plan.listen).await.map_err(|error| {
        let failure = Failure::new(format!("{} cannot be listened on: {error}", plan.listen));
        match running_already(plan) {
            Some(other) => failure.hint(format!("a gateway for this configuration runs already (process {}) at {}", other.pid, other.url)),
            None => failure
                .hint("choose another address with `--listen 127.0.0.1:PORT` or `listen` in the configuration; port 0 takes a free one"),
        }
    })
}

/// The gateway for the same configuration that is there before this one.
fn running_already(plan: &Plan) -> Option<Running> {
    start::folders().ok().and_then(|folders| running::find(&folders.run_folder(), &plan.origin))
}

/// What the endpoint shows in TLS, and whose certificates it takes.
pub(crate) fn tls(files: &TlsPlan) -> Result<Tls, TlsError> {
    tls::with_clients(&files.certificate, &files.key, files.clients.as_ref())
}

pub(crate) fn options(plan: &Plan) -> Result<http::Options, Failure> {
    let tls = plan.tls.as_ref().map(tls).transpose().map_err(|error| {
        Failure::new(error.to_string())
            .hint("`tls` needs PEM files: `certificate` (the chain, leaf first), `key`, and `client_ca` for clients' certificates")
    })?;
    let mut hosts = Hosts { names: plan.allowed_hosts.clone(), origins: plan.allowed_origins.clone() };
    if let Some(public) = &plan.public_url {
        // By this address callers know us, and the pages of the login are of this origin.
        let public = public.to_string();
        hosts.names.extend(url::Url::parse(&public).ok().and_then(|url| url.host_str().map(str::to_owned)));
        hosts.origins.push(public);
    }
    Ok(http::Options { hosts, tls, proxies: plan.proxies.clone(), ..http::Options::new(start::identity()) })
}

fn with_pages(options: http::Options, gateway: &Gateway) -> http::Options {
    let figures = gateway.door_metrics();
    let gateway = gateway.clone();
    let approvals = ApprovalPages::default();
    http::Options {
        other: Arc::new(move |request, incoming| {
            let (gateway, approvals) = (gateway.clone(), approvals.clone());
            Box::pin(async move {
                match tenant_pages::asked_about(&request, &incoming) {
                    Some(name) => tenant_pages::answer(&gateway, &approvals, &name, request, incoming).await,
                    None => pages::answer(gateway, &approvals, request, incoming).await,
                }
            })
        }),
        figures,
        ..options
    }
}

/// Where the endpoint is, without a path.
pub(crate) fn url(plan: &Plan, address: SocketAddr) -> String {
    format!("{}://{address}", if plan.tls.is_some() { "https" } else { "http" })
}

/// Lets `stdio`, `tools` and `call` find this gateway. They can do without.
fn leave_note(opened: &Opened, plan: &Plan, url: &str) -> Option<Note> {
    Note::leave(&opened.folders.run_folder(), &plan.origin, url)
        .inspect_err(|error| tracing::warn!("other commands will not find this gateway: {error}"))
        .ok()
}

/// What a person, or the log of a service, wants to know at the start.
fn greet(plan: &Plan, url: &str) -> Result<(), Failure> {
    let names: Vec<&str> = plan.servers.keys().map(String::as_str).collect();
    let names = if names.is_empty() { "none yet".to_owned() } else { names.join(", ") };
    output::line(format!("{} {url}/mcp  (servers: {names})", "sallyport is up:".green().bold()))?;
    if !plan.tenants.is_empty() {
        let names: Vec<&str> = plan.tenants.keys().map(|name| &**name).collect();
        output::line(format!("{} {url}/t/NAME/mcp  (tenants: {})", "and for tenants:".green().bold(), names.join(", ")))?;
    }
    for tenant in plan.tenants.values() {
        for (server, what) in view::open_boundaries(tenant) {
            output::line(format!("{} server `{server}` of tenant `{}` {what}", "warning:".yellow().bold(), tenant.tenant_name()))?;
        }
    }
    for (server, what) in view::open_boundaries(plan) {
        output::line(format!("{} server `{server}` {what}", "warning:".yellow().bold()))?;
    }
    if !std::io::stdout().is_terminal() {
        return Ok(());
    }
    for (client, lines) in connect::paste(plan) {
        output::line(format!("\n{}\n{lines}", client.title().bold()))?;
    }
    Ok(())
}

/// Waits for SIGINT, SIGTERM or the view.
async fn until_told_to_end(stopping: watch::Receiver<bool>) {
    tokio::select! {
        () = told_by_signal() => {}
        () = told(stopping) => {}
    }
}

/// Ready at the next SIGINT or SIGTERM.
pub(crate) async fn told_by_signal() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Ready once the gateway is told to end.
pub(crate) async fn told(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await; // the sender is gone: the same
}
