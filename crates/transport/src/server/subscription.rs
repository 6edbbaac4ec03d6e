//! `subscriptions/listen` (2026-07-28): a stream of changes that a client asked for.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use sallyport_protocol::{
    Asker, Cancel, Client, Context, Discovery, Event, Failure, FailureKind, Incoming, Listener, Message, Method, RawJson, RawObject,
    Request, RequestId, TokenDigest,
};
use tokio::task::AbortHandle;

use super::asker::{Outlet, WayBack};
use super::door::Door;
use super::modern::Listen;
use super::outgoing::{Outgoing, Reader};
use super::task_news::TaskNews;
use crate::session::line;

/// Resources that one stream may be subscribed to; those beyond are not honoured, and the first message says so.
const MOST_RESOURCES: usize = 256;

/// Tasks that one stream may tell of, likewise: each is looked for in the front before the first message.
const MOST_TASKS: usize = 64;

const SUBSCRIPTION_KEY: &str = "io.modelcontextprotocol/subscriptionId";

/// The extension that a client must declare to hear of tasks, and what it then hears.
const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";
pub(crate) const TASK_CHANGED: &str = "notifications/tasks";

/// One stream of changes, as the front hears of it.
pub(crate) struct Subscription {
    id: RequestId,
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: Vec<String>,
    task_ids: Vec<String>,
    /// The token that it was opened with.
    by: Option<TokenDigest>,
    outgoing: Outgoing,
}

/// One stream of changes, as the client's side reads it. Dropping it ends what the front keeps up for it.
pub(crate) struct Listening {
    subscription: Arc<Subscription>,
    reader: Reader,
    _kept_up: KeptUp,
}

/// What the front keeps up for a stream, until this is dropped.
struct KeptUp {
    door: Arc<Door>,
    incoming: Incoming,
    client: Arc<Client>,
    uris: Vec<String>,
    /// What asks for the tasks.
    tasks: Vec<AbortHandle>,
    /// What hears the front for the stream.
    heard: Option<Arc<dyn Listener>>,
}

impl Drop for KeptUp {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        if !self.uris.is_empty() {
            let subscriptions = self.uris.drain(..).map(|uri| (self.incoming.clone(), uri)).collect();
            self.door.unsubscribe(Arc::clone(&self.client), subscriptions);
        }
    }
}

impl Subscription {
    /// Ends the stream with its result.
    pub(crate) fn end(&self) {
        let mut result = RawObject::new();
        result.set("resultType", RawJson::from_static("\"complete\""));
        self.tag(&mut result);
        self.outgoing.push(line(&Message::Result { id: self.id.clone(), result }));
        self.outgoing.end();
    }

    /// Every message of the stream names the stream.
    fn tag(&self, object: &mut RawObject) {
        let mut meta = object.get_object("_meta").ok().flatten().unwrap_or_default();
        meta.set(SUBSCRIPTION_KEY, self.id.as_json().clone());
        object.set("_meta", meta.to_json());
    }

    fn notification(&self, method: &str, mut params: RawObject) -> Bytes {
        self.tag(&mut params);
        line(&Message::Notification { method: method.to_owned(), params: Some(params) })
    }

    fn tells_of(&self, task: &RawObject) -> bool {
        task.get_str("taskId").is_some_and(|id| self.task_ids.iter().any(|known| *known == id))
    }

    /// The first message: what of the wishes is honoured.
    fn acknowledgement(&self) -> Bytes {
        let mut honoured = RawObject::new();
        for (key, on) in [("toolsListChanged", self.tools), ("promptsListChanged", self.prompts), ("resourcesListChanged", self.resources)]
        {
            if on {
                honoured.set(key, RawJson::from_static("true"));
            }
        }
        for (key, list) in [("resourceSubscriptions", &self.uris), ("taskIds", &self.task_ids)] {
            if !list.is_empty() {
                honoured.set(key, RawJson::encode(list).unwrap_or(RawJson::from_static("[]")));
            }
        }
        let mut params = RawObject::new();
        params.set("notifications", honoured.to_json());
        self.notification("notifications/subscriptions/acknowledged", params)
    }
}

impl Listener for Subscription {
    fn hear(&self, event: &Event) {
        let message = match event {
            Event::ToolsChanged if self.tools => self.notification("notifications/tools/list_changed", RawObject::new()),
            Event::PromptsChanged if self.prompts => self.notification("notifications/prompts/list_changed", RawObject::new()),
            Event::ResourcesChanged if self.resources => self.notification("notifications/resources/list_changed", RawObject::new()),
            Event::ResourceUpdated { uri, params, by } if self.is_subscribed(uri, by.as_ref()) => {
                self.notification("notifications/resources/updated", params.clone())
            }
            Event::Other(method, params) if method == TASK_CHANGED && self.tells_of(params) => self.notification(method, params.clone()),
            _ => return,
        };
        self.outgoing.push_once(message);
    }

    fn is_subscribed(&self, uri: &str, by: Option<&TokenDigest>) -> bool {
        self.uris.iter().any(|known| known == uri) && by.is_none_or(|by| self.by.as_ref() == Some(by))
    }
}

impl Listening {
    /// Opens a stream of changes. Its first message waits already.
    ///
    /// # Errors
    /// Where the wishes cannot be read, the client did not declare what they need, or the endpoint is not the caller's.
    pub(crate) async fn open(door: &Arc<Door>, incoming: Incoming, listen: Listen) -> Result<Self, Failure> {
        let wishes = Wishes::read(&listen.params)?;
        if wishes.task_ids.is_some() && !declares_tasks(&listen.client) {
            let required = RawJson::from_static(r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#);
            return Err(Failure::client(FailureKind::MissingCapability(required), "`taskIds` needs the tasks extension"));
        }
        // A client that leaves now must not leave subscriptions behind.
        let opening = Self::begin(Arc::clone(door), incoming, listen, wishes);
        door.complete(opening).await.unwrap_or_else(|| Err(Failure::internal("the stream could not be opened")))
    }

    async fn begin(door: Arc<Door>, incoming: Incoming, listen: Listen, wishes: Wishes) -> Result<Self, Failure> {
        let Listen { id, client, .. } = listen;
        let discovery = door.front.discover(&incoming).await?;
        let mut kept_up =
            KeptUp { door: Arc::clone(&door), incoming: incoming.clone(), client, uris: Vec::new(), tasks: Vec::new(), heard: None };
        for uri in wishes.uris {
            if subscribe(&door, &incoming, &kept_up.client, &uri).await {
                kept_up.uris.push(uri);
            }
        }
        let mut tasks = Vec::new();
        for id in wishes.task_ids.unwrap_or_default() {
            if let Some(task) = asked(&door, &incoming, &kept_up.client, Method::TasksGet, ("taskId", &id)).await {
                tasks.push((id, task));
            }
        }
        let subscription = Arc::new(Subscription {
            id,
            tools: wishes.tools && announces(&discovery, "tools"),
            prompts: wishes.prompts && announces(&discovery, "prompts"),
            resources: wishes.resources && announces(&discovery, "resources"),
            uris: kept_up.uris.clone(),
            task_ids: tasks.iter().map(|(id, _)| id.clone()).collect(),
            by: incoming.credential.as_ref().map(|token| token.digest()),
            outgoing: Outgoing::default(),
        });
        subscription.outgoing.push(subscription.acknowledgement());
        kept_up.heard = door.front.watch(&incoming, &(Arc::clone(&subscription) as Arc<dyn Listener>));
        door.listens(&subscription);
        let reader = subscription.outgoing.attach();
        let client = Arc::clone(&kept_up.client);
        let news = TaskNews { door, incoming, client, subscription: Arc::downgrade(&subscription) };
        kept_up.tasks = tasks.into_iter().map(|(id, task)| tokio::spawn(news.clone().tell(id, task)).abort_handle()).collect();
        Ok(Self { subscription, reader, _kept_up: kept_up })
    }

    /// Ends the stream with its result, which is the last message.
    pub(crate) fn end(&self) {
        self.subscription.end();
    }

    /// Whether the gateway ended the stream, and not the client.
    pub(crate) fn was_ended(&self) -> bool {
        self.subscription.outgoing.has_ended()
    }

    /// The next message; `None` behind the last one.
    pub(crate) fn poll_next(&self, cx: &std::task::Context<'_>) -> Poll<Option<Bytes>> {
        self.subscription.outgoing.poll_next(self.reader, cx).map(|message| message.map(|message| message.text))
    }
}

/// What a client wants to hear of.
struct Wishes {
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: Vec<String>,
    task_ids: Option<Vec<String>>,
}

impl Wishes {
    fn read(params: &RawObject) -> Result<Self, Failure> {
        let bad = |what: &'static str| Failure::client(FailureKind::InvalidParams, what);
        let wishes = params.get_object("notifications").map_err(|_| bad("`notifications` must be an object"))?;
        let wishes = wishes.ok_or_else(|| bad("`notifications` is missing"))?;
        let on = |key: &str| wishes.get(key).is_some_and(|value| value.as_bytes().as_ref() == b"true");
        let list = |key: &str, most: usize| wishes.get(key).map(|list| distinct(list, most)).transpose();
        let uris = list("resourceSubscriptions", MOST_RESOURCES).map_err(|_| bad("`resourceSubscriptions` must be an array of URIs"))?;
        let task_ids = list("taskIds", MOST_TASKS).map_err(|_| bad("`taskIds` must be an array of strings"))?;
        Ok(Self {
            tools: on("toolsListChanged"),
            prompts: on("promptsListChanged"),
            resources: on("resourcesListChanged"),
            uris: uris.unwrap_or_default(),
            task_ids,
        })
    }
}

/// A list of strings, each once, no more than `most` of them.
fn distinct(list: &RawJson, most: usize) -> Result<Vec<String>, serde_json::Error> {
    let mut list: Vec<String> = list.decode()?;
    list.sort_unstable();
    list.dedup();
    list.truncate(most);
    Ok(list)
}

fn declares_tasks(client: &Client) -> bool {
    let extensions = client.capabilities.get_object("extensions").ok().flatten();
    extensions.is_some_and(|extensions| extensions.get(TASKS_EXTENSION).is_some())
}

/// Whether the endpoint says that it tells when this list changes.
fn announces(discovery: &Discovery, list: &str) -> bool {
    let declared = discovery.capabilities.get_object(list).ok().flatten();
    declared.is_some_and(|declared| declared.get("listChanged").is_some_and(|value| value.as_bytes().as_ref() == b"true"))
}

/// Asks the front to tell when a resource changes, and says whether it will.
async fn subscribe(door: &Arc<Door>, incoming: &Incoming, client: &Arc<Client>, uri: &str) -> bool {
    asked(door, incoming, client, Method::ResourcesSubscribe, ("uri", uri)).await.is_some()
}

/// The front's answer to a request that a wish stands for; `None` where it is none.
pub(crate) async fn asked(
    door: &Arc<Door>,
    incoming: &Incoming,
    client: &Arc<Client>,
    method: Method,
    parameter: (&str, &str),
) -> Option<RawObject> {
    let mut params = RawObject::new();
    params.set(parameter.0, RawJson::string(parameter.1));
    let way_back = WayBack { outlet: Outlet::Nowhere, client: Arc::clone(client), session: None, progress_token: None, level: None };
    let context =
        Context { client: Arc::clone(client), asker: Arc::new(way_back) as Arc<dyn Asker>, cancel: Cancel::new(), credential: None };
    match door.front.serve(Request::new(method, params), incoming.clone(), context).await {
        Ok(reply) => Some(reply.result),
        Err(failure) => {
            tracing::debug!(%failure, "a wish to hear of changes is not honoured");
            None
        }
    }
}
