#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
//! Clients and servers of both eras in this process; time stands still but for the waits.

mod legacy_server;
mod limits;
mod modern_server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sallyport_policy::{Action, Principal};
use sallyport_protocol::{Cancel, Context, Endpoint, Front as _, Incoming, Peer as From, Request, Revision, ServerIdentity};
use sallyport_sandbox::Host;
use sallyport_telemetry::{Audit, Folders, Metrics};
use tokio::time::timeout;

use super::wish::Wish;
use super::*;
use crate::Gateway;
use crate::catalogue::resolve::{Target, TargetKind};
use crate::config::{self, Invocation};
use crate::gateway::{Parts, Server};
use crate::news::Relay;
use crate::plan::{Origin, ServerPlan};
use crate::upstream::tests::scripted::{NAME, Peer, Starts, fine, object, plan, upstream};
use crate::upstream::{Pins, Surroundings, Upstream, WayOut};

const LONG: Duration = Duration::from_secs(3600);
const TAKES_TASKS: &str = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}},"elicitation":{}}"#;

/// A gateway of one server that is never reached: for its policy, which allows everything, and for who it says it is.
fn gateway() -> Gateway {
    limited("")
}

/// The same, with what stands below its server in the configuration.
fn limited(limits: &str) -> Gateway {
    let folder = tempfile::tempdir().unwrap().keep();
    let text = format!("[policy]\ndefault = \"allow\"\n[servers.{NAME}]\nurl = \"http://127.0.0.1:1/mcp\"\n{limits}");
    let invocation = Invocation { file: None, listen: None, folder: folder.clone(), variables: Arc::new(|_| None) };
    let plan = config::read(&text, Origin { file: None, folder: folder.clone() }, &invocation).unwrap();
    let metrics = Arc::new(Metrics::new());
    let audit = Audit::to_file(&folder.join("audit.jsonl"), &metrics).unwrap();
    std::fs::remove_dir_all(&folder).unwrap(); // an open file is written to all the same
    let folders = Folders { state: folder.join("s"), cache: folder.join("c"), config: folder.join("g") };
    let identity = ServerIdentity::new("sallyport", "0");
    let (way_out, pins) = (Arc::new(WayOut::new(&folders)), Arc::new(Pins::new(&folders)));
    let surroundings = Surroundings { host: Host::this_binary(), folders, identity, metrics: metrics.clone(), way_out, pins };
    Gateway::build(plan, audit, metrics, Arc::new(surroundings)).unwrap()
}

/// The parts of such a gateway.
pub(crate) fn parts() -> Arc<Parts> {
    gateway().0.parts.load_full()
}

/// The way of a call of the tool `t` to a server.
pub(crate) fn line(parts: &Arc<Parts>, upstream: &Arc<Upstream>, principal: &Principal) -> Line {
    Line {
        parts: parts.clone(),
        upstream: upstream.clone(),
        principal: principal.clone(),
        action: Action::Call,
        target: Target::named(TargetKind::Tool, "t"),
        wish: Wish::default(),
        peer: sallyport_protocol::Peer::Stdio,
        counted: None,
        approval: None,
    }
}

/// A gateway before `peer`, which has listed its tools.
pub(crate) async fn before(peer: &Arc<Peer>) -> Gateway {
    before_plan(peer, plan()).await
}

async fn before_plan(peer: &Arc<Peer>, plan: ServerPlan) -> Gateway {
    before_limited(peer, plan, "").await
}

async fn before_limited(peer: &Arc<Peer>, plan: ServerPlan, limits: &str) -> Gateway {
    let gateway = before_starting(Starts::of([Ok(peer.clone())]), plan, limits);
    let parts = gateway.0.parts.load_full();
    parts.server(NAME).unwrap().upstream.listed(LONG).await;
    gateway
}

/// A gateway before a server that is started only when it is called; `configuration` stands below the server.
pub(crate) fn before_starting(starts: Starts, plan: ServerPlan, configuration: &str) -> Gateway {
    with_parts(configuration, |gateway, parts| {
        let upstream = upstream(plan, starts).0;
        let inner = Arc::downgrade(&gateway.0);
        upstream.on_change(Arc::new(move |_| inner.upgrade().iter().for_each(|inner| inner.rebuild())));
        let server = parts.servers.get_mut(NAME).unwrap();
        let (news, tasks) = (gateway.0.news.clone(), gateway.0.tasks.clone());
        let inner = Arc::downgrade(&gateway.0);
        let relay =
            Relay { server: NAME.into(), scope: NAME.into(), audience: None, news, tasks, inner, merged: Vec::new(), has_one_caller: true };
        *server = Server { _relay: Arc::new(relay), upstream, ..server.clone() };
        server.upstream.listeners().add(&server._relay);
    })
}

/// A gateway whose parts are others than its configuration comes to.
pub(crate) fn with_parts(configuration: &str, change: impl FnOnce(&Gateway, &mut Parts)) -> Gateway {
    let (gateway, other) = (limited(configuration), limited(configuration));
    let mut parts = Arc::into_inner(other.0.parts.swap(gateway.0.parts.load_full())).unwrap();
    change(&gateway, &mut parts);
    gateway.0.parts.store(Arc::new(parts));
    gateway.0.rebuild();
    gateway
}

/// A client of one revision: what it can, what it was asked, and what it answers.
pub(crate) struct Program {
    gateway: Gateway,
    client: Arc<Client>,
    person: Arc<Person>,
    pub(crate) cancel: Cancel,
    pub(crate) endpoint: Endpoint,
}

#[derive(Default)]
struct Person {
    asked: Mutex<Vec<String>>,
    heard: Mutex<Vec<String>>,
}

impl Asker for Person {
    fn notify(&self, method: &str, params: RawObject) {
        self.heard.lock().unwrap().push(format!("{method} {}", params.to_json().as_str()));
    }

    fn ask<'a>(&'a self, method: &'a str, params: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        self.asked.lock().unwrap().push(format!("{method} {}", params.to_json().as_str()));
        Box::pin(async { Ok(object(r#"{"action":"accept","content":{"name":"Ada"}}"#)) })
    }
}

impl Program {
    pub(crate) fn new(gateway: &Gateway, revision: Revision, capabilities: &str) -> Self {
        Self {
            gateway: gateway.clone(),
            client: Arc::new(Client { revision, capabilities: object(capabilities), info: None }),
            person: Arc::default(),
            cancel: Cancel::new(),
            endpoint: Endpoint::Server(NAME.into()),
        }
    }

    pub(crate) fn incoming(&self) -> Incoming {
        Incoming { tenant: None, endpoint: self.endpoint.clone(), credential: None, certificate: None, peer: From::Stdio, recognised: None }
    }

    pub(crate) async fn ask(&self, method: Method, params: &str) -> Result<RawObject, Failure> {
        let incoming = self.incoming();
        let context = Context { client: self.client.clone(), asker: self.person.clone(), cancel: self.cancel.clone(), credential: None };
        let reply = timeout(LONG, self.gateway.serve(Request::new(method, object(params)), incoming, context)).await.unwrap()?;
        Ok(reply.result)
    }

    async fn about(&self, method: Method, task: &str) -> Result<RawObject, Failure> {
        self.ask(method, &format!(r#"{{"taskId":"{task}"}}"#)).await
    }

    /// Asks for the task until it is at one of the others.
    async fn until(&self, task: &str, is_there: impl Fn(&str) -> bool) -> RawObject {
        loop {
            let task = self.about(Method::TasksGet, task).await.unwrap();
            if is_there(&text(&task, "status")) {
                return task;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn text(object: &RawObject, key: &str) -> String {
    object.get_str(key).unwrap().into_owned()
}

fn inner(object: &RawObject, key: &str) -> RawObject {
    object.get_object(key).unwrap().unwrap()
}

fn code(failure: &Failure) -> i64 {
    match &failure.kind {
        FailureKind::Upstream(error) => error.code,
        FailureKind::MissingCapability(_) => -32021,
        FailureKind::NotFound | FailureKind::InvalidParams => -32602,
        FailureKind::MethodNotFound => -32601,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_a_client_that_declares_tasks_may_speak_of_them() {
    let gateway = before(&Peer::calling(|_, _| fine())).await;
    for (revision, capabilities, expected) in [
        (Revision::V2026_07_28, r#"{"extensions":{}}"#, -32021),
        (Revision::V2026_07_28, TAKES_TASKS, -32602),
        (Revision::V2025_11_25, "{}", -32602),
        (Revision::V2025_06_18, "{}", -32601),
    ] {
        let program = Program::new(&gateway, revision, capabilities);
        let failure = program.about(Method::TasksGet, "nobody's").await.unwrap_err();
        assert_eq!(code(&failure), expected, "{revision} {capabilities}");
    }
}

#[tokio::test]
async fn an_endpoint_announces_tasks_in_the_form_of_its_newest_revision() {
    let legacy = Peer::calling(|_, _| fine()).declaring(r#"{"tools":{},"tasks":{"requests":{"tools":{"call":{}}}}}"#);
    let modern = Peer::modern(|_, _| fine()).declaring(r#"{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{},"a/b":{}}}"#);
    let neither = Peer::calling(|_, _| fine()).declaring(r#"{"tools":{},"tasks":{"requests":{"sampling":{}}}}"#);
    let [tasks, extensions] =
        [r#""tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}"#, r#""io.modelcontextprotocol/tasks":{}"#];
    for (peer, has_tasks, has_extension) in [(legacy, true, false), (modern, false, true), (neither, false, false)] {
        let gateway = before(&peer).await;
        for endpoint in [Endpoint::All, Endpoint::Server(NAME.into())] {
            let client = Program { endpoint, ..Program::new(&gateway, Revision::LATEST, "{}") };
            let discovery = gateway.discover(&client.incoming()).await.unwrap().capabilities.to_json();
            let said = discovery.as_str();
            assert_eq!((said.contains(tasks), said.contains(extensions)), (has_tasks, has_extension), "{said}");
            assert_eq!(said.contains("\"tasks\""), has_tasks, "{said}");
        }
    }
}

#[test]
fn ids_are_not_to_be_guessed() {
    let (one, two) = (mint().unwrap(), mint().unwrap());
    assert!(one != two && one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
}
