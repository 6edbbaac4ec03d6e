//! What tokens, a thousand policies and limits cost on a call's way through the gateway, beside the same call with lists and a key:
//! `cargo xtask bench policy`.
//!
//! All gateways are in this process, each with a hundred servers, and are called in turn as a door calls them. What is measured is
//! processor time as the kernel counts it: of the one thread that the pipeline runs on, and of all threads, where the servers' own work
//! and the writing of records come in. Where processors halt between two calls everything costs more, the difference as well: so it is
//! measured a second time with processors that never halt, as those of a gateway with much to do. Compare figures of one run.
//!
//! With the name of a gateway as an argument (`-- "lists, a key"`) that one alone is called, and less often: for a profiler.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench is a program for developers")]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, thread};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use sallyport_gateway::Gateway;
use sallyport_gateway::config::{self, Invocation};
use sallyport_gateway::plan::Origin;
use sallyport_gateway::upstream::{Pins, Surroundings, WayOut};
use sallyport_protocol::{
    Asker, BoxFuture, CallerToken, Cancel, Client, Context, Endpoint, ErrorObject, Failure, Front as _, Incoming, Method, Peer, RawObject,
    Reply, Request, Revision, ServerIdentity,
};
use sallyport_sandbox::Host;
use sallyport_telemetry::{Audit, Folders, Metrics};

const SERVERS: usize = 100;
/// Tools of each server that policies name.
const TOOLS: [&str; 10] = [
    "read_file",
    "read_media",
    "list_directory",
    "directory_tree",
    "search_files",
    "get_file_info",
    "write_file",
    "edit_file",
    "create_directory",
    "move_file",
];
const KEY: &str = "k-0123456789abcdef0123456789abcdef";
const PUBLIC: &str = "http://127.0.0.1:1";
/// How often it is looked whether a gateway is ready, ten times a second.
const LOOKS: usize = 600;
const ROUNDS: usize = 25;
const CALLS: u32 = 2000;
/// What all of it may cost more than lists and a key, in microseconds of processor time.
const TARGET: f64 = 20.0;

/// A gateway, and what a caller shows there.
struct House {
    gateway: Gateway,
    shown: String,
    _folder: tempfile::TempDir,
}

impl House {
    fn new(configuration: &str) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().canonicalize().unwrap();
        fs::write(folder.join("a.txt"), "hello").unwrap();
        fs::write(folder.join("policies.cedar"), policies()).unwrap();
        fs::write(folder.join("key"), KEY).unwrap();
        fs::set_permissions(folder.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
        let mut text = configuration.to_owned();
        (0..SERVERS).for_each(|number| write!(text, "[servers.s{number}]\nbuiltin = {{ filesystem = {{ write = true }} }}\n").unwrap());
        let metrics = Arc::new(Metrics::new());
        let audit = Audit::to_file(&folder.join("audit.jsonl"), &metrics).unwrap();
        let folders = Folders { state: folder.join("s"), cache: folder.join("c"), config: folder.join("g") };
        let (way_out, pins) = (Arc::new(WayOut::new(&folders)), Arc::new(Pins::new(&folders)));
        let identity = ServerIdentity::new("sallyport", "0");
        let surroundings = Surroundings { host: Host::this_binary(), folders, identity, metrics: metrics.clone(), way_out, pins };
        let gateway = Gateway::build(plan(&folder, &text), audit, metrics, Arc::new(surroundings)).unwrap();
        Self { gateway, shown: KEY.to_owned(), _folder: temporary }
    }

    /// Gets a token at the gateway's own authorization server, to be shown from now on.
    async fn log_in(&mut self) {
        let server = self.gateway.authorization_server().unwrap();
        server.tend().await.unwrap();
        let request = http::Request::post("/oauth/token")
            .header("authorization", format!("Basic {}", BASE64.encode(format!("bench:{KEY}"))))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(format!("grant_type=client_credentials&scope=mcp&resource={PUBLIC}/servers/s7/mcp")));
        let answer = server.answer(request.unwrap(), None).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        self.shown = answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    }

    /// Calls until the servers are there and policies are checked against their tools.
    async fn ready(&self, client: &Arc<Client>) {
        for _ in 0..LOOKS {
            if self.called(client).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.call(client).await;
    }

    async fn call(&self, client: &Arc<Client>) {
        let reply = self.called(client).await.unwrap();
        assert!(reply.result.get("isError").is_none(), "{:?}", reply.result);
    }

    /// One call, as the HTTP door makes it: let in first, then served.
    async fn called(&self, client: &Arc<Client>) -> Result<Reply, Failure> {
        let credential = Some(Arc::new(CallerToken::new(self.shown.as_str())));
        let endpoint = Endpoint::Server("s7".into());
        let mut incoming = Incoming { tenant: None, endpoint, credential, certificate: None, peer: Peer::Loopback, recognised: None };
        let caller = self.gateway.admit(&incoming).decided().await.unwrap();
        incoming.recognised = Some(caller.recognised);
        let params = Bytes::from_static(br#"{"name":"get_file_info","arguments":{"path":"a.txt"}}"#);
        let request = Request::new(Method::ToolsCall, RawObject::parse(&params).unwrap());
        let context = Context { client: client.clone(), asker: Arc::new(Nobody), cancel: Cancel::new(), credential: None };
        self.gateway.serve(request, incoming, context).await
    }
}

fn plan(folder: &Path, text: &str) -> sallyport_gateway::plan::Plan {
    let invocation = Invocation { file: None, listen: None, folder: folder.to_owned(), variables: Arc::new(|_| None) };
    config::read(text, Origin { file: None, folder: folder.to_owned() }, &invocation).unwrap()
}

/// A thousand policies: four for all, and one for nearly every tool.
fn policies() -> String {
    let mut text = String::from(
        "forbid (principal, action in Action::\"call\", resource) unless { principal.tenant == \"\" };
         permit (principal in Group::\"admins\", action, resource);
         forbid (principal, action in Action::\"call\", resource) when { context has address && context.address.isInRange(ip(\"203.0.113.0/24\")) };
         forbid (principal in Group::\"guests\", action in Action::\"call\", resource) unless { resource.readOnly };\n",
    );
    for number in 0..SERVERS * TOOLS.len() - 4 {
        let (server, tool) = (number / TOOLS.len(), TOOLS[number % TOOLS.len()]);
        let path = if tool == "move_file" { "from" } else { "path" };
        let condition = format!("context.args has {path} && context.args.{path} like \"a*\"");
        writeln!(text, "permit (principal is User, action == Action::\"s{server}/{tool}\", resource) when {{ {condition} }};").unwrap();
    }
    text
}

struct Nobody;

impl Asker for Nobody {
    fn notify(&self, _: &str, _: RawObject) {}

    fn ask<'a>(&'a self, method: &'a str, _: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        Box::pin(async move { Err(ErrorObject::new(ErrorObject::METHOD_NOT_FOUND, method.to_owned())) })
    }
}

/// Microseconds of processor time: of this thread, and of all.
#[derive(Clone, Copy)]
struct Time {
    own: f64,
    all: f64,
}

impl Time {
    fn now() -> Self {
        let [own, all] = [ClockId::ThreadCPUTime, ClockId::ProcessCPUTime].map(|clock| {
            let time = clock_gettime(clock);
            time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
        });
        Self { own, all }
    }

    /// The least that a call of each gateway takes in one of many rounds.
    async fn least(houses: &[(&str, House)], client: &Arc<Client>, rounds: usize) -> Vec<Self> {
        let mut least = vec![Self { own: f64::INFINITY, all: f64::INFINITY }; houses.len()];
        for _ in 0..rounds {
            for ((_, house), least) in houses.iter().zip(&mut least) {
                let begun = Self::now();
                for _ in 0..CALLS {
                    house.call(client).await;
                }
                let ended = Self::now();
                least.own = least.own.min((ended.own - begun.own) / f64::from(CALLS));
                least.all = least.all.min((ended.all - begun.all) / f64::from(CALLS));
            }
        }
        least
    }
}

/// Threads that keep the processors from halting for as long as this lives. Whoever else has work goes first.
struct Awake(Arc<AtomicBool>);

impl Awake {
    fn keep() -> Self {
        let lives = Arc::new(AtomicBool::new(true));
        for _ in 0..thread::available_parallelism().unwrap().get() {
            let lives = lives.clone();
            thread::spawn(move || {
                rustix::process::nice(19).unwrap(); // of this thread alone, on Linux
                while lives.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(lives)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Shows what calls of each gateway take, and how much more than those of the first.
fn show(what: &str, names: &[&str], times: &[f64], target: Option<f64>) {
    println!("{:<72} {:>9} {:>9} {:>10}", format!("microseconds, {what}"), "a call", "more", target.map_or("", |_| "at most 20"));
    for (at, (name, time)) in names.iter().zip(times).enumerate() {
        let more = time - times[0];
        // The last is the one with all of it.
        let met = target.filter(|_| at > 0 && at + 1 == names.len()).map_or("", |target| if more <= target { "met" } else { "missed" });
        println!("{name:<72} {time:>9.2} {more:>9.2} {met:>10}");
    }
    println!();
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let lists = "keys = [\"file:key\"]\n[policy]\ndefault = \"deny\"\n[[policy.rules]]\nserver = \"*\"\nallow = [\"get_file_info\"]\n";
    let identity = format!("public_url = \"{PUBLIC}\"\n[identity.server.clients.bench]\nsecret = \"file:key\"\n");
    let limits = "[[limits]]\nrate = { calls = 100000000, seconds = 1 }\n[[limits]]\nat_once = 100\nacross = \"principal\"\n\
                  [[limits]]\nbudget = { seconds = 86400, bytes = 1000000000000 }\nacross = \"tenant\"\n";
    let cedar = "[policy]\ndefault = \"deny\"\nengines = [{ cedar = { files = [\"policies.cedar\"] } }]\n";
    let all = [
        ("lists, a key", lists.to_owned()),
        ("lists, a token", format!("{identity}{}", lists.replace("keys = [\"file:key\"]\n", ""))),
        ("lists, a key, limits", format!("{lists}{limits}")),
        ("1,000 policies, a key", format!("keys = [\"file:key\"]\n{cedar}")),
        ("1,000 policies, a token, limits", format!("{identity}{cedar}{limits}")),
    ];
    let only = env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let capabilities = RawObject::new();
    let client = Arc::new(Client { revision: Revision::LATEST, capabilities, info: None });
    let mut houses = Vec::new();
    for (name, configuration) in all.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
        let mut house = House::new(configuration);
        if name.contains("token") {
            house.log_in().await;
        }
        house.gateway.start();
        house.ready(&client).await;
        houses.push((*name, house));
    }
    let names: Vec<&str> = houses.iter().map(|(name, _)| *name).collect();
    let own = |times: &[Time]| times.iter().map(|time| time.own).collect::<Vec<_>>();
    if only.is_some() {
        return show("of the pipeline's thread", &names, &own(&Time::least(&houses, &client, 1).await), None);
    }
    let as_they_are = Time::least(&houses, &client, ROUNDS).await;
    let awake = Awake::keep();
    let never_halting = Time::least(&houses, &client, ROUNDS).await;
    drop(awake);
    show("of the pipeline's thread, processors halting as they do", &names, &own(&as_they_are), Some(TARGET));
    show("of the pipeline's thread, processors never halting", &names, &own(&never_halting), Some(TARGET));
    show("of all threads, processors halting as they do", &names, &as_they_are.iter().map(|time| time.all).collect::<Vec<_>>(), None);
}
