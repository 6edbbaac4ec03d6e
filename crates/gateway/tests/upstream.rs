//! Real children in real sandboxes, failing in every way: what the calls are told, and what is left of the processes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "upstream/remote.rs"]
mod remote;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use sallyport_gateway::plan::{RemotePlan, RemoteTransport, ServerPlan, Source, Start, StdioPlan, Template, Timeouts};
use sallyport_gateway::upstream::{Entry, Freshness, Listing, Pins, Routed, Surroundings, Upstream, UpstreamState, WayOut};
use sallyport_policy::{Action, Circumstances, Config, Effect, Permitted, Policy, Principal, Resource};
use sallyport_protocol::{
    Asker, BoxFuture, Cancel, Client, Context, ErrorObject, Failure, FailureKind, Method, RawJson, RawObject, Reply, Request, Retry,
    Revision, ServerIdentity,
};
use sallyport_sandbox::egress::{Allowed, Untold};
use sallyport_sandbox::{Host, Network};
use sallyport_telemetry::{Audit, ConnectionOutcome, Folders, Metrics, Outcome};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(30);
/// Interpreters start in well under a second on a quiet machine; these tests run beside others.
const PATIENT: Timeouts = Timeouts {
    connect: Duration::from_secs(20),
    list: Duration::from_secs(10),
    call: Duration::from_secs(20),
    call_max: Duration::from_secs(60),
};

struct Fixture {
    upstream: Arc<Upstream>,
    state: TempDir,
}

impl Fixture {
    fn new(mode: &str, timeouts: Timeouts) -> Self {
        Self::of(mode, timeouts, |_| {})
    }

    fn of(mode: &str, timeouts: Timeouts, change: impl FnOnce(&mut ServerPlan)) -> Self {
        Self::at(Host::with_launcher(launcher()), mode, timeouts, change)
    }

    fn at(host: Host, mode: &str, timeouts: Timeouts, change: impl FnOnce(&mut ServerPlan)) -> Self {
        Self::within(tempfile::tempdir().unwrap(), host, mode, timeouts, change)
    }

    fn within(state: TempDir, host: Host, mode: &str, timeouts: Timeouts, change: impl FnOnce(&mut ServerPlan)) -> Self {
        let folder = |name: &str| state.path().join(name);
        let folders = Folders { state: folder("state"), cache: folder("cache"), config: folder("config") };
        let (way_out, pins) = (Arc::new(WayOut::new(&folders)), Arc::new(Pins::new(&folders)));
        let surroundings = Surroundings {
            host,
            identity: ServerIdentity::new("sallyport", "0"),
            metrics: Arc::new(Metrics::new()),
            way_out,
            pins,
            folders,
        };
        let mut plan = plan(mode, timeouts);
        change(&mut plan);
        Self { upstream: Upstream::new(plan, Arc::new(surroundings)), state }
    }

    async fn call(&self, tool: &str) -> Result<Reply, Failure> {
        self.upstream.send(permitted(request(tool)), context()).await
    }

    /// The text that a tool answers with.
    async fn text(&self, tool: &str) -> String {
        let reply = self.call(tool).await.unwrap();
        let content = reply.result.get("content").unwrap().array().unwrap();
        content[0].object().unwrap().get_str("text").unwrap().into_owned()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Upstream) -> bool) {
        let begun = Instant::now();
        while !is_so(&self.upstream) {
            assert!(begun.elapsed() < LONG, "not yet: {what}; {:?}", self.upstream.state());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.state.path().join("state/servers/child.log")).unwrap_or_default()
    }
}

/// The sandbox's own launcher, which lies beside the folder of this test's binary.
fn launcher() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let launcher = deps.parent().and_then(Path::parent).unwrap().join("sallyport-launcher");
    assert!(launcher.exists(), "build it first: cargo build -p sallyport-sandbox --bin sallyport-launcher");
    launcher
}

fn plan(mode: &str, timeouts: Timeouts) -> ServerPlan {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upstream");
    let script = folder.join("server.py");
    ServerPlan {
        name: "child".into(),
        tenant: None,
        source: Source::Stdio(StdioPlan {
            program: "python3".into(),
            arguments: vec![Template::text(script.to_str().unwrap()), Template::text(mode)],
            scripts: false,
            lock: None,
            environment: [("GREETING".to_owned(), Template::text("hello"))].into(),
            read: vec![folder.clone()],
            folder: Some(folder),
            own: Default::default(),
            sandbox: Default::default(),
            write: Vec::new(),
            deny_write: Vec::new(),
            network: Default::default(),
            seccomp: sallyport_sandbox::SystemCalls::default(),
            limits: Default::default(),
            standby: Default::default(),
        }),
        start: Start::Eager,
        shared: false,
        questions: true,
        trust_annotations: false,
        retry: Vec::new(),
        timeouts,
        rules: Default::default(),
    }
}

fn request(tool: &str) -> Request {
    let mut params = RawObject::new();
    params.set("name", RawJson::string(tool));
    params.set("arguments", RawJson::from_static(r#"{"a":1.50}"#));
    let mut request = Request::new(Method::ToolsCall, params);
    request.meta.progress_token = Some(RawJson::from_static("1"));
    request
}

fn permitted(request: Request) -> Permitted<Routed> {
    let config = Config { default: Some(Effect::Allow), ..Config::default() };
    let policy = Policy::build(&config, &[("child".to_owned(), Default::default())].into()).unwrap();
    let resource = Resource::tool("child", "t", None, false);
    let moment = Circumstances::local(std::time::SystemTime::UNIX_EPOCH);
    let caller = Principal::local_user();
    let decided = policy.decide(&caller, Action::Call, &resource, moment, Routed { server: "child".into(), request });
    decided.now_or_never().unwrap().unwrap()
}

/// A caller that nobody asks anything.
struct Silent;

impl Asker for Silent {
    fn notify(&self, _: &str, _: RawObject) {}

    fn ask<'a>(&'a self, _: &'a str, _: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        Box::pin(async { Err(ErrorObject::new(ErrorObject::METHOD_NOT_FOUND, "no")) })
    }
}

fn context() -> Context {
    let client = Client { revision: Revision::LATEST, capabilities: RawObject::new(), info: None };
    Context { client: Arc::new(client), asker: Arc::new(Silent), cancel: Cancel::new(), credential: None }
}

fn has(listing: &Listing, tool: &str) -> bool {
    listing.tools.iter().any(|Entry { name, .. }| name == tool)
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// The pid of this machine's process whose command line holds `mark`.
fn pid_of(mark: &str) -> Option<u32> {
    std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(process.path().join("cmdline")).ok()?;
        let is_it = String::from_utf8_lossy(&line).split('\0').any(|word| word == mark);
        is_it.then_some(pid)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_is_started_listed_called_and_stopped() {
    let child = Fixture::new("mark-life", PATIENT);
    let listing = child.upstream.listed(LONG).await;
    assert_eq!(listing.freshness, Freshness::Fresh);
    assert!(has(&listing, "echo"));
    assert_eq!(child.text("echo").await, r#"{"a": 1.5}"#);
    let environment = child.text("environment").await;
    assert!(environment.contains("GREETING") && !environment.contains("CARGO"), "{environment}");
    let pid = pid_of("mark-life").unwrap();
    child.upstream.stop(LONG).await;
    assert!(!is_alive(pid));
    assert!(matches!(child.upstream.state(), UpstreamState::Stopped));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_killed_in_a_call_is_told_and_replaced() {
    let child = Fixture::new("", PATIENT);
    child.upstream.listed(LONG).await;
    let failure = child.call("die").await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::Unreachable), "{failure:?}");
    assert_eq!(failure.retry, Retry::Unknown);
    assert!(failure.public.contains("server `child`, tool `die`: the server went away: it was killed by signal 9"), "{failure}");
    assert_eq!(child.text("echo").await, r#"{"a": 1.5}"#);
    assert!(has(&child.upstream.listing(), "echo"), "its tools never left the list");
}

#[tokio::test(flavor = "multi_thread")]
async fn last_words_are_for_the_operator() {
    let child = Fixture::new("", PATIENT);
    child.upstream.listed(LONG).await;
    let failure = child.call("leave").await.unwrap_err();
    assert!(failure.public.contains("it exited with code 7"), "{failure}");
    assert!(!failure.public.contains("disk is full"));
    assert!(failure.internal.unwrap().contains("disk is full"));
    assert!(child.log().contains("disk is full"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_exits_at_once_opens_the_breaker() {
    let child = Fixture::new("exit", PATIENT);
    let listing = child.upstream.listed(LONG).await;
    assert!(matches!(&listing.freshness, Freshness::Gone { why, .. } if why.contains("exited with code 3")), "{:?}", listing.freshness);
    let begun = Instant::now();
    let failure = child.call("echo").await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_millis(500), "calls fail at once");
    assert_eq!(failure.retry, Retry::Safe);
    assert!(failure.public.contains("server `child` is not available: it exited with code 3"), "{failure}");
    assert!(failure.internal.unwrap().contains("no configuration found"));
    child.upstream.stop(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_may_write_all_round_the_gateways_own_folders_changes_nothing_in_them() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().canonicalize().unwrap();
    std::fs::create_dir_all(root.join("cache/packages/store/other/tree")).unwrap();
    let code = root.join("cache/packages/store/other/tree/code");
    std::fs::write(&code, "of another server").unwrap();
    let script = "for place in cache/packages/store/other/tree/code cache/new state/new state/servers/new config/new own; do \
                  echo evil >> $place; done; mv cache moved; mv state moved; mv config moved; exit 3";
    let child = Fixture::within(home, Host::with_launcher(launcher()), "", PATIENT, |plan| {
        let Source::Stdio(stdio) = &mut plan.source else { return };
        stdio.program = "/bin/sh".into();
        stdio.arguments = vec![Template::text("-c"), Template::text(script)];
        (stdio.read, stdio.write, stdio.folder) = (Vec::new(), vec![root.clone()], Some(root.clone()));
    });
    let listing = child.upstream.listed(LONG).await;
    assert!(matches!(&listing.freshness, Freshness::Gone { why, .. } if why.contains("exited with code 3")), "{:?}", listing.freshness);
    child.upstream.stop(LONG).await;
    assert!(root.join("own").is_file(), "{}", child.log());
    assert_eq!(std::fs::read_to_string(code).unwrap(), "of another server");
    for made in ["cache/new", "state/new", "state/servers/new", "config/new", "moved"] {
        assert!(!root.join(made).exists(), "{made}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_is_named() {
    let missing = |plan: &mut ServerPlan| {
        if let Source::Stdio(stdio) = &mut plan.source {
            stdio.program = "no-such-program".into();
        }
    };
    let child = Fixture::of("", PATIENT, missing);
    let listing = child.upstream.listed(LONG).await;
    assert!(matches!(&listing.freshness, Freshness::Gone { why, .. } if why.contains("no-such-program")), "{:?}", listing.freshness);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_ends_when_it_is_probed_is_started_without_a_probe() {
    let child = Fixture::new("probe-shy", PATIENT);
    assert_eq!(child.upstream.listed(LONG).await.freshness, Freshness::Fresh);
    assert_eq!(child.text("echo").await, r#"{"a": 1.5}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_hangs_times_out_and_is_replaced_when_it_gives_no_sign() {
    let quick = Timeouts { call: Duration::from_millis(300), list: Duration::from_secs(1), ..PATIENT };
    let child = Fixture::new("mark-hang", quick);
    child.upstream.listed(LONG).await;
    let pid = pid_of("mark-hang").unwrap();
    let failure = child.call("hang").await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::TimedOut(limit) if limit == Duration::from_millis(300)), "{failure:?}");
    assert!(failure.public.contains("server `child`, tool `hang`: no answer and no progress within 300ms"), "{failure}");
    for _ in 0..2 {
        child.call("echo").await.unwrap_err();
    }
    child.until("the hanging child is gone", |_| !is_alive(pid)).await;
    child.until("another is there", |upstream| matches!(upstream.state(), UpstreamState::Ready { .. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_child_times_out_and_dies_when_told_to() {
    let child = Fixture::new("mark-stop", Timeouts { call: Duration::from_secs(1), ..PATIENT });
    child.upstream.listed(LONG).await;
    let pid = pid_of("mark-stop").unwrap();
    assert!(matches!(child.call("stop").await.unwrap_err().kind, FailureKind::TimedOut(_)));
    child.upstream.stop(Duration::from_millis(100)).await;
    assert!(!is_alive(pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_child_does_on_its_way_out_is_recorded_and_counted() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 2]).unwrap();
        stream.write_all(b"hello").unwrap();
    });
    let records = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new());
    let audit = Audit::to_file(&records.path().join("audit.jsonl"), &metrics).unwrap();
    let tap = audit.subscribe();
    let host = Host::with_launcher(launcher()).with_egress(sallyport_gateway::egress::recorded_in(audit, metrics.clone(), ""));
    let fixture = Fixture::at(host, &port.to_string(), PATIENT, |plan| {
        let Source::Stdio(stdio) = &mut plan.source else { panic!("{plan:?}") };
        stdio.network = Network::Only(Allowed::new(vec![format!("127.0.0.1:{port}").parse().unwrap()]).unwrap());
    });
    assert_eq!(fixture.text("connect").await, "hello");

    let refused = tap.recv_timeout(LONG).unwrap();
    assert_eq!((refused.method.as_str(), refused.outcome), ("network/resolve", Outcome::Denied));
    assert_eq!(refused.target.unwrap().as_str(), "elsewhere.test");
    // The resolver may have asked twice.
    let made = std::iter::from_fn(|| tap.recv_timeout(LONG)).find(|record| record.method.as_str() == "network/connect").unwrap();
    assert_eq!((made.outcome, made.sent_bytes, made.result_bytes), (Outcome::Ok, Some(2), Some(5)));
    assert_eq!((made.server.unwrap().as_str(), made.target.unwrap().as_str()), ("child", format!("127.0.0.1:{port}").as_str()));
    assert_eq!(made.rule.unwrap().as_str(), "servers.child.network");
    assert!(metrics.encode().contains(r#"sallyport_server_connections_total{server="child",outcome="ok"} 1"#));
}

#[test]
fn connections_that_are_too_many_to_be_recorded_are_in_a_sum() {
    let records = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new());
    let audit = Audit::to_file(&records.path().join("audit.jsonl"), &metrics).unwrap();
    let tap = audit.subscribe();
    let observer = sallyport_gateway::egress::recorded_in(audit, metrics, "acme").observer;
    for outcome in [ConnectionOutcome::Ok, ConnectionOutcome::Failed, ConnectionOutcome::Refused, ConnectionOutcome::NameRefused] {
        observer.untold("child", &Untold { outcome, count: 12, sent: 3, received: 4 });
    }
    let told = std::iter::from_fn(|| tap.recv_timeout(LONG)).take(4).map(|record| {
        assert_eq!((record.target.unwrap().as_str(), record.tenant.unwrap().as_str()), ("12 others", "acme"));
        (record.method.as_str().to_owned(), record.outcome, record.sent_bytes)
    });
    let expected = [
        ("network/connect", Outcome::Ok, Some(3)),
        ("network/connect", Outcome::Failed, Some(3)),
        ("network/connect", Outcome::Denied, Some(3)),
        ("network/resolve", Outcome::Denied, None),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected.map(|(method, outcome, sent)| (method.to_owned(), outcome, sent)));
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_keeps_a_call_alive() {
    let child = Fixture::new("", Timeouts { call: Duration::from_secs(1), ..PATIENT });
    child.upstream.listed(LONG).await;
    assert_eq!(child.text("work").await, r#"{"a": 1.5}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn babble_is_passed_over_and_malformed_answers_are_named() {
    let child = Fixture::new("", PATIENT);
    assert_eq!(child.text("babble").await, r#"{"a": 1.5}"#);
    let failure = child.call("malformed").await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::Malformed));
    assert!(failure.public.contains("`content` is not an array"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_line_ends_in_a_failure_and_not_in_our_memory() {
    let child = Fixture::new("", PATIENT);
    child.upstream.listed(LONG).await;
    child.call("huge").await.unwrap_err();
    child.until("it serves again", |upstream| matches!(upstream.state(), UpstreamState::Ready { .. })).await;
    assert_eq!(child.text("echo").await, r#"{"a": 1.5}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_closes_its_output_is_replaced() {
    let child = Fixture::new("mark-close", PATIENT);
    child.upstream.listed(LONG).await;
    let pid = pid_of("mark-close").unwrap();
    let failure = child.call("close").await.unwrap_err();
    assert_eq!(failure.retry, Retry::Unknown, "{failure}");
    assert_eq!(child.text("echo").await, r#"{"a": 1.5}"#);
    assert!(!is_alive(pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_closes_its_input_is_replaced() {
    let child = Fixture::new("mark-deaf", PATIENT);
    child.upstream.listed(LONG).await;
    let pid = pid_of("mark-deaf").unwrap();
    child.call("deafen").await.unwrap();
    let begun = Instant::now();
    let failure = child.call("echo").await.unwrap_err();
    assert!(failure.public.contains("its input broke"), "{failure}");
    assert_eq!(child.text("echo").await, r#"{"a": 1.5}"#);
    assert!(begun.elapsed() < Duration::from_secs(10), "nobody waits for a time-out");
    assert!(!is_alive(pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changes_is_fetched_and_told() {
    let child = Fixture::new("", PATIENT);
    child.upstream.listed(LONG).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    child.upstream.on_change(Arc::new(move |name: &Arc<str>| tell.lock().unwrap().push(name.to_string())));
    child.call("grow").await.unwrap();
    child.until("the new tool is listed", |upstream| has(&upstream.listing(), "grown")).await;
    assert_eq!(*told.lock().unwrap(), ["child"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_list_keeps_the_last_good_one() {
    let child = Fixture::new("slow-list", Timeouts { list: Duration::from_secs(2), ..PATIENT });
    assert_eq!(child.upstream.listed(LONG).await.freshness, Freshness::Fresh);
    child.call("grow").await.unwrap();
    child.until("the list is stale", |upstream| matches!(upstream.listing().freshness, Freshness::Stale { .. })).await;
    assert!(has(&child.upstream.listing(), "echo"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_quick_calls_use_one_child() {
    let child = Arc::new(Fixture::new("mark-quick", PATIENT));
    let pid = child.text("pid").await;
    let callers = (0..100).map(|_| {
        let child = child.clone();
        tokio::spawn(async move {
            for _ in 0..100 {
                child.call("echo").await.unwrap();
            }
        })
    });
    futures_util::future::try_join_all(callers).await.unwrap();
    assert_eq!(child.text("pid").await, pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_upstream_leaves_no_process() {
    let child = Fixture::new("mark-drop", PATIENT);
    child.upstream.listed(LONG).await;
    let pid = pid_of("mark-drop").unwrap();
    drop(child);
    let begun = Instant::now();
    while is_alive(pid) {
        assert!(begun.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_goes_and_comes_is_noticed_both_times() {
    let (address, serving) = remote::serve("127.0.0.1:0".parse().unwrap()).await;
    let far = Fixture::of("", PATIENT, |plan| {
        let url = format!("http://{address}/mcp").parse().unwrap();
        plan.source = Source::Remote(RemotePlan { url, transport: RemoteTransport::Auto, headers: Default::default(), credential: None });
    });
    assert_eq!(far.upstream.listed(LONG).await.freshness, Freshness::Fresh);
    assert_eq!(far.text("echo").await, "far away");

    serving.abort();
    let _ = serving.await;
    let failure = far.call("echo").await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::Unreachable), "{failure:?}");
    assert_eq!(failure.retry, Retry::Safe, "{failure}");
    assert!(matches!(far.upstream.listing().freshness, Freshness::Gone { .. }), "its tools left the lists with the first call");

    let (_, serving) = remote::serve(address).await;
    far.until("it is back", |upstream| upstream.listing().freshness == Freshness::Fresh).await;
    assert_eq!(far.text("echo").await, "far away");
    serving.abort();
}
