//! What all parts of a connection know.

use std::borrow::Cow;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use sallyport_protocol::{Discovery, Event, Failure, Listeners, Message, RawObject, Revision, ServerIdentity};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::fault::Fault;
use super::flight::{self, Flight, Flights};
use super::question::{Back, Questions};
use super::subscribed::Subscribed;
use super::{Closed, Options};

/// What all parts of a connection know.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    discovery: RwLock<Arc<Discovery>>,
    listeners: Listeners,
    pub(crate) flights: Flights,
    pub(crate) questions: Questions,
    pub(crate) subscribed: Subscribed,
    closed: watch::Sender<Option<Closed>>,
    babbled: AtomicBool,
}

impl Shared {
    pub(crate) fn new(options: Options) -> Arc<Self> {
        let discovery = Discovery {
            revision: Revision::LATEST_LEGACY,
            capabilities: RawObject::new(),
            identity: ServerIdentity::new(&options.server, ""),
            instructions: None,
        };
        Arc::new(Self {
            options,
            discovery: RwLock::new(Arc::new(discovery)),
            listeners: Listeners::default(),
            flights: Flights::default(),
            questions: Questions::default(),
            subscribed: Subscribed::default(),
            closed: watch::Sender::new(None),
            babbled: AtomicBool::new(false),
        })
    }

    pub(crate) fn server(&self) -> &str {
        &self.options.server
    }

    pub(crate) fn failure(&self, fault: Fault) -> Failure {
        fault.of(&self.options.server)
    }

    pub(crate) fn discovery(&self) -> Arc<Discovery> {
        Arc::clone(&self.discovery.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_discovery(&self, discovery: Discovery) {
        *self.discovery.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(discovery);
    }

    pub(crate) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Ends the connection: whatever is in flight fails with `why`. Only the first reason counts.
    pub(crate) fn end(&self, why: &str) {
        let first = self.closed.send_if_modified(|closed| {
            let first = closed.is_none();
            closed.get_or_insert_with(|| Closed { why: why.to_owned() });
            first
        });
        if first {
            tracing::debug!(server = self.server(), why, "connection over");
            self.flights.end_all(&Fault::Lost(why.to_owned()));
        }
    }

    /// Why the connection is over, if it is.
    pub(crate) fn ended(&self) -> Option<Closed> {
        self.closed.borrow().clone()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.closed.borrow().is_some()
    }

    pub(crate) fn closed(&self) -> impl Future<Output = Closed> + Send + use<> {
        let mut closed = self.closed.subscribe();
        async move {
            let seen = closed.wait_for(Option::is_some).await.ok().and_then(|closed| closed.clone());
            seen.unwrap_or_else(|| Closed { why: "the connection was dropped".to_owned() })
        }
    }

    /// Notes a line that is no message; the first one where an operator sees it.
    pub(crate) fn note_babble(&self, text: &[u8]) {
        let start = String::from_utf8_lossy(text.get(..200).unwrap_or(text));
        if self.babbled.swap(true, Ordering::Relaxed) {
            tracing::debug!(server = self.server(), line = ?start, "ignored what is no message");
        } else {
            tracing::warn!(server = self.server(), line = ?start, "ignored what is no message (further ones are logged at debug)");
        }
    }

    /// Takes a notification or a question. `flight` is the request on whose stream it came; where it came on a stream of all requests,
    /// it is attributed by its progress token, or to the one call in flight if there is exactly one.
    pub(crate) fn take_unasked(self: &Arc<Self>, message: Message, flight: Option<&Arc<Flight>>, back: &Arc<dyn Back>) {
        match message {
            Message::Notification { method, params } => self.take_notification(method, params.unwrap_or_default(), flight),
            Message::Request { id, method, params } => {
                let flight = flight.cloned().or_else(|| match params.as_ref().and_then(related_task) {
                    Some(task) => self.flights.of_task(&task),
                    None => self.questions.attribute(&self.flights),
                });
                self.questions.take(self, Arc::clone(back), id, method, params.unwrap_or_default(), flight);
            }
            Message::Result { .. } | Message::Error { .. } => {
                tracing::debug!(server = self.server(), "ignored an answer to no request in flight");
            }
        }
    }

    fn take_notification(&self, method: String, mut params: RawObject, flight: Option<&Arc<Flight>>) {
        if method.starts_with("notifications/resources/") {
            forget_subscription(&mut params);
        }
        match method.as_str() {
            "notifications/progress" => {
                let named = params.get("progressToken").and_then(flight::of_token).and_then(|id| self.flights.get(id));
                if let Some(call) = named.as_deref().and_then(Flight::call) {
                    call.pass_progress(params);
                }
            }
            "notifications/message" => {
                let whose = flight.cloned().or_else(|| self.flights.sole_call());
                match whose.as_deref().and_then(Flight::call) {
                    Some(call) => call.pass_log(params),
                    None => self.listeners.tell(&Event::Log(params)),
                }
            }
            "notifications/subscriptions/acknowledged" => {
                let id = params.get_object("_meta").ok().flatten();
                let id = id.and_then(|meta| meta.get("io.modelcontextprotocol/subscriptionId")?.decode().ok());
                if let Some(listening) = id.and_then(|id| self.flights.get(id)).or_else(|| flight.cloned()) {
                    listening.acknowledge(params.get_object("notifications").ok().flatten().unwrap_or_default());
                }
            }
            "notifications/cancelled" => {
                if let Some(id) = params.get("requestId").and_then(sallyport_protocol::RequestId::from_json) {
                    self.questions.withdraw(&id);
                }
            }
            "notifications/tools/list_changed" => self.listeners.tell(&Event::ToolsChanged),
            "notifications/prompts/list_changed" => self.listeners.tell(&Event::PromptsChanged),
            "notifications/resources/list_changed" => self.listeners.tell(&Event::ResourcesChanged),
            "notifications/resources/updated" => {
                if let Some(uri) = params.get_str("uri").map(std::borrow::Cow::into_owned) {
                    let by = flight.and_then(|flight| flight.listens_by());
                    self.listeners.tell(&Event::ResourceUpdated { uri, params, by });
                }
            }
            _ => self.listeners.tell(&Event::Other(method, params)),
        }
    }

    /// Says that every list the server has may be another now: news may have been missed.
    pub(crate) fn tell_all_changed(&self) {
        let discovery = self.discovery();
        for (capability, event) in
            [("tools", Event::ToolsChanged), ("prompts", Event::PromptsChanged), ("resources", Event::ResourcesChanged)]
        {
            if discovery.has(capability) {
                self.listeners.tell(&event);
            }
        }
    }
}

/// Takes out which of our streams a message came on: it means nothing to those who are told.
fn forget_subscription(params: &mut RawObject) {
    let Ok(Some(mut meta)) = params.get_object("_meta") else { return };
    if meta.remove("io.modelcontextprotocol/subscriptionId").is_none() {
        return;
    }
    if meta.is_empty() {
        params.remove("_meta");
    } else {
        params.set("_meta", meta.to_json());
    }
}

/// The task that a message says it belongs to (2025-11-25, associating task-related messages).
fn related_task(params: &RawObject) -> Option<String> {
    let meta = params.get_object("_meta").ok()??;
    let related = meta.get_object("io.modelcontextprotocol/related-task").ok()??;
    related.get_str("taskId").map(Cow::into_owned)
}

/// Background tasks of a connection. Clones are the same tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(Arc<Mutex<Running>>);

#[derive(Debug, Default)]
struct Running {
    tasks: Vec<AbortHandle>,
    stopped: bool,
}

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let handle = tokio::spawn(task).abort_handle();
        let mut running = self.running();
        if running.stopped {
            handle.abort();
        }
        running.tasks.retain(|task| !task.is_finished());
        running.tasks.push(handle.clone());
        handle
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops the tasks of a connection when dropped. The tasks hold the connection's parts, so the parts cannot do it.
#[derive(Debug)]
pub(crate) struct TaskGuard(Tasks);

impl TaskGuard {
    pub(crate) fn new(tasks: &Tasks) -> Self {
        Self(tasks.clone())
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        let mut running = self.0.running();
        running.stopped = true;
        running.tasks.drain(..).for_each(|task| task.abort());
    }
}
