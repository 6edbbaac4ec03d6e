//! A server in this process that does what a test says, and the way to it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use sallyport_policy::{Action, Circumstances, Config, Effect, Permitted, Policy, Principal, Resource};
use sallyport_protocol::{
    Asker, BoxFuture, Cancel, Client, Context, Discovery, ErrorObject, Failure, FailureKind, Listeners, McpServer, Method, RawObject,
    Reply, Request, Retry, Revision, ServerIdentity,
};
use sallyport_telemetry::Metrics;

use crate::plan::{RemotePlan, RemoteTransport, ServerPlan, Source, Start, Timeouts};
use crate::upstream::health::{Outage, Pace};
use crate::upstream::pins::Pinning;
use crate::upstream::reach::{Doing, Hold, Reach, Reached};
use crate::upstream::{Routed, Upstream};

pub(crate) const NAME: &str = "files";

/// What a scripted server answers.
pub(crate) type Answer = BoxFuture<'static, Result<Reply, Failure>>;
type Script = dyn Fn(Request, Context) -> Answer + Send + Sync;

pub(crate) fn object(text: &str) -> RawObject {
    RawObject::parse(&Bytes::from(text.to_owned())).unwrap()
}

pub(crate) fn reply(text: &str) -> Result<Reply, Failure> {
    Ok(Reply { result: object(text), revision: Revision::LATEST_LEGACY })
}

pub(crate) fn now(outcome: Result<Reply, Failure>) -> Answer {
    Box::pin(std::future::ready(outcome))
}

/// A tools/call that goes well.
pub(crate) fn fine() -> Answer {
    now(reply(r#"{"content":[]}"#))
}

pub(crate) fn tools(names: &[&str]) -> Answer {
    let entries: Vec<String> = names.iter().map(|name| format!(r#"{{"name":"{name}"}}"#)).collect();
    now(reply(&format!(r#"{{"tools":[{}]}}"#, entries.join(","))))
}

/// One life of the server.
pub(crate) struct Peer {
    discovery: Arc<Discovery>,
    pub(crate) listeners: Listeners,
    script: Box<Script>,
    end: Cancel,
    why: Mutex<Outage>,
    pub(crate) closed: Cancel,
}

impl Peer {
    /// A server that offers tools and answers by `script`; a request that the script lets hang fails when the server dies.
    pub(crate) fn new(script: impl Fn(Request, Context) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        let discovery = Discovery {
            revision: Revision::LATEST_LEGACY,
            capabilities: object(r#"{"tools":{"listChanged":true}}"#),
            identity: ServerIdentity::new("scripted", "1"),
            instructions: None,
        };
        Arc::new(Self {
            discovery: Arc::new(discovery),
            listeners: Listeners::default(),
            script: Box::new(script),
            end: Cancel::new(),
            why: Mutex::default(),
            closed: Cancel::new(),
        })
    }

    /// The same server, speaking the newest revision.
    pub(crate) fn modern(script: impl Fn(Request, Context) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        let peer = Arc::into_inner(Self::new(script)).unwrap();
        let discovery = Discovery { revision: Revision::LATEST, ..(*peer.discovery).clone() };
        Arc::new(Self { discovery: Arc::new(discovery), ..peer })
    }

    /// The same server, declaring these capabilities.
    pub(crate) fn declaring(self: Arc<Self>, capabilities: &str) -> Arc<Self> {
        let peer = Arc::into_inner(self).unwrap();
        let discovery = Discovery { capabilities: object(capabilities), ..(*peer.discovery).clone() };
        Arc::new(Self { discovery: Arc::new(discovery), ..peer })
    }

    /// The same server, with these instructions.
    pub(crate) fn instructing(self: Arc<Self>, instructions: &str) -> Arc<Self> {
        let peer = Arc::into_inner(self).unwrap();
        let discovery = Discovery { instructions: Some(instructions.to_owned()), ..(*peer.discovery).clone() };
        Arc::new(Self { discovery: Arc::new(discovery), ..peer })
    }

    /// A server with one tool `t` that does `call`.
    pub(crate) fn calling(call: impl Fn(Request, Context) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Self::new(move |request, context| match request.method {
            Method::ToolsList => tools(&["t"]),
            _ => call(request, context),
        })
    }

    pub(crate) fn die(&self, why: &str) {
        self.end_by(Outage::new(why));
    }

    /// It is gone, for this reason.
    pub(crate) fn end_by(&self, outage: Outage) {
        *self.why.lock().unwrap() = outage;
        self.end.cancel();
    }
}

impl McpServer for Peer {
    fn discovery(&self) -> Arc<Discovery> {
        self.discovery.clone()
    }

    fn handle<'a>(&'a self, request: Request, context: Context) -> BoxFuture<'a, Result<Reply, Failure>> {
        Box::pin(async move {
            let answer = (self.script)(request, context);
            tokio::select! {
                biased;
                () = self.end.cancelled() => Err(Failure::upstream(NAME, FailureKind::Unreachable, Retry::Unknown, "connection lost")),
                outcome = answer => outcome,
            }
        })
    }

    fn listeners(&self) -> &Listeners {
        &self.listeners
    }
}

struct PeerHold(Arc<Peer>);

impl Hold for PeerHold {
    fn ended(&self) -> BoxFuture<'_, Outage> {
        Box::pin(async {
            self.0.end.cancelled().await;
            self.0.why.lock().unwrap().clone()
        })
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.0.end.cancel();
            self.0.closed.cancel();
        })
    }
}

/// What the next starts lead to, in order; the last one again and again.
pub(crate) struct Starts {
    next: Mutex<VecDeque<Result<Arc<Peer>, Outage>>>,
    pub(crate) count: AtomicUsize,
    slow: Duration,
    reconnects: bool,
    pub(crate) known: Mutex<Vec<Option<Revision>>>,
}

impl Starts {
    pub(crate) fn of(starts: impl IntoIterator<Item = Result<Arc<Peer>, Outage>>) -> Self {
        Self {
            next: Mutex::new(starts.into_iter().collect()),
            count: AtomicUsize::new(0),
            slow: Duration::ZERO,
            reconnects: false,
            known: Mutex::default(),
        }
    }

    pub(crate) fn taking(self, slow: Duration) -> Self {
        Self { slow, ..self }
    }

    pub(crate) fn remote(self) -> Self {
        Self { reconnects: true, ..self }
    }

    pub(crate) fn so_far(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Reach for Arc<Starts> {
    fn reach<'a>(&'a self, known: Option<Revision>, doing: Doing<'a>) -> BoxFuture<'a, Result<Reached, Outage>> {
        Box::pin(async move {
            self.count.fetch_add(1, Ordering::SeqCst);
            self.known.lock().unwrap().push(known);
            doing("connecting".into());
            tokio::time::sleep(self.slow).await;
            let mut next = self.next.lock().unwrap();
            let start = if next.len() > 1 { next.pop_front() } else { next.front().cloned() };
            let peer = start.unwrap()?;
            Ok(Reached { server: peer.clone(), hold: Box::new(PeerHold(peer)), reconnects: self.reconnects })
        })
    }
}

pub(crate) fn plan() -> ServerPlan {
    ServerPlan {
        name: NAME.into(),
        tenant: None,
        source: Source::Remote(RemotePlan {
            url: "http://127.0.0.1:1/mcp".parse().unwrap(),
            transport: RemoteTransport::Auto,
            headers: Default::default(),
            credential: None,
        }),
        start: Start::Eager,
        shared: true,
        questions: true,
        trust_annotations: false,
        retry: Vec::new(),
        timeouts: Timeouts {
            connect: Duration::from_secs(10),
            list: Duration::from_secs(10),
            call: Duration::from_secs(60),
            call_max: Duration::from_secs(600),
        },
        rules: Default::default(),
    }
}

/// An upstream over scripted starts.
pub(crate) fn upstream(plan: ServerPlan, starts: Starts) -> (Arc<Upstream>, Arc<Starts>) {
    compared_by(Pinning::BuiltIn, plan, starts)
}

/// The same, whose tools are compared with what is recorded of them.
pub(crate) fn compared_by(pinning: Pinning, plan: ServerPlan, starts: Starts) -> (Arc<Upstream>, Arc<Starts>) {
    let starts = Arc::new(starts);
    let identity = ServerIdentity::new("sallyport", "0");
    let upstream = Upstream::reached_by(plan, &identity, &Metrics::new(), Box::new(starts.clone()), pinning, Pace::default());
    (upstream, starts)
}

/// An upstream whose every start leads to `peer`.
pub(crate) fn running(peer: &Arc<Peer>) -> Arc<Upstream> {
    upstream(plan(), Starts::of([Ok(peer.clone())])).0
}

/// Lets a call of a tool through policy.
pub(crate) fn call(tool: &str) -> Permitted<Routed> {
    request(Request::new(Method::ToolsCall, object(&format!(r#"{{"name":"{tool}","arguments":{{}}}}"#))))
}

pub(crate) fn request(request: Request) -> Permitted<Routed> {
    let config = Config { default: Some(Effect::Allow), ..Config::default() };
    let policy = Policy::build(&config, &[(NAME.to_owned(), Default::default())].into()).unwrap();
    let resource = Resource::tool(NAME, "t", None, false);
    let moment = Circumstances::local(std::time::SystemTime::UNIX_EPOCH);
    let caller = Principal::local_user();
    let decided = policy.decide(&caller, Action::Call, &resource, moment, Routed { server: NAME.into(), request });
    decided.now_or_never().unwrap().unwrap()
}

/// A caller that hears progress and answers questions after `thinking`.
#[derive(Default)]
pub(crate) struct Caller {
    pub(crate) heard: Mutex<Vec<String>>,
    pub(crate) thinking: Duration,
}

impl Asker for Caller {
    fn notify(&self, method: &str, _: RawObject) {
        self.heard.lock().unwrap().push(method.into());
    }

    fn ask<'a>(&'a self, _: &'a str, _: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        Box::pin(async {
            tokio::time::sleep(self.thinking).await;
            Ok(object(r#"{"action":"accept"}"#))
        })
    }
}

pub(crate) fn context() -> Context {
    context_of(Arc::new(Caller::default()))
}

pub(crate) fn context_of(caller: Arc<Caller>) -> Context {
    let client = Client { revision: Revision::LATEST, capabilities: RawObject::new(), info: None };
    Context { client: Arc::new(client), asker: caller, cancel: Cancel::new(), credential: None }
}
