//! The wire side of every built-in server: `tools/list` and `tools/call` in the newest revision.

use std::sync::Arc;

use sallyport_protocol::{
    BoxFuture, Cancel, Context, Discovery, Failure, FailureKind, Listeners, McpServer, Method, RawJson, RawObject, Reply, Request,
    Revision, ServerIdentity,
};
use tokio::sync::Semaphore;

use crate::build_error::BuildError;
use crate::tool::{self, Entry, Job};

/// Calls of one server at work at once. They wait for one disk and a few processors: more would only slow
/// each other down, and each may hold some 20 MiB of a file.
const CALLS_AT_ONCE: usize = 16;

/// How long a client may keep the list of tools, in ms: it changes only with the configuration, which is told.
const LIST_TTL_MS: u32 = 300_000;

/// A server made of [`tool::Tool`]s over one state.
pub(crate) struct BuiltIn<S> {
    discovery: Arc<Discovery>,
    listeners: Listeners,
    list: RawObject,
    tools: Vec<Entry<S>>,
    state: Arc<S>,
    slots: Arc<Semaphore>,
}

impl<S: Send + Sync + 'static> BuiltIn<S> {
    /// A server of that name; `instructions` are for the model.
    pub(crate) fn new(name: &str, instructions: String, state: S, tools: Vec<Entry<S>>) -> Result<Self, BuildError> {
        let list = serde_json::json!({
            "resultType": "complete",
            "tools": tools.iter().map(|tool| &tool.definition).collect::<Vec<_>>(),
            "ttlMs": LIST_TTL_MS,
            "cacheScope": "public", // the same for every caller
        });
        let discovery = Discovery {
            revision: Revision::LATEST,
            capabilities: object(&serde_json::json!({ "tools": {} }))?,
            identity: ServerIdentity::new(&format!("sallyport-{name}"), env!("CARGO_PKG_VERSION")),
            instructions: Some(instructions),
        };
        Ok(Self {
            discovery: Arc::new(discovery),
            listeners: Listeners::default(),
            list: object(&list)?,
            tools,
            state: Arc::new(state),
            slots: Arc::new(Semaphore::new(CALLS_AT_ONCE)),
        })
    }

    fn list(&self, request: &Request) -> Result<RawObject, Failure> {
        if request.params.get("cursor").is_some_and(|cursor| !cursor.is_null()) {
            return Err(Failure::client(FailureKind::InvalidParams, "unknown cursor: the list of tools has one page"));
        }
        Ok(self.list.clone())
    }

    async fn call(&self, request: Request, cancel: Cancel) -> Result<RawObject, Failure> {
        let name = request.name().ok_or_else(|| Failure::client(FailureKind::InvalidParams, "`name` of the tool is missing"))?;
        let Some(tool) = self.tools.iter().find(|tool| tool.name == name) else {
            return Err(Failure::client(FailureKind::NotFound, format!("unknown tool `{name}`")));
        };
        let arguments = arguments(&request.params)?;
        let (run, state, job) = (tool.call, Arc::clone(&self.state), Job::new(cancel.clone()));
        let _abandon = job.guard();
        let work = async {
            // Closed never: the server owns it.
            let slot = Arc::clone(&self.slots).acquire_owned().await;
            tokio::task::spawn_blocking(move || {
                let _slot = slot;
                job.check().and_then(|()| run(&state, &arguments, &job))
            })
            .await
        };
        let done = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(cancelled()),
            done = work => done.map_err(|fault| Failure::internal("the tool broke off").with_internal(fault))?,
        };
        match done {
            Ok(result) => Ok(result),
            Err(error) if error.is_cancelled() => Err(cancelled()),
            Err(error) => Ok(tool::failed(&error)),
        }
    }
}

fn arguments(params: &RawObject) -> Result<RawJson, Failure> {
    match params.get("arguments") {
        None => Ok(RawJson::from_static("{}")),
        Some(arguments) if arguments.as_bytes().first() == Some(&b'{') => Ok(arguments.clone()),
        Some(_) => Err(Failure::client(FailureKind::InvalidParams, "`arguments` must be an object")),
    }
}

fn cancelled() -> Failure {
    Failure::client(FailureKind::Cancelled, "the call was cancelled")
}

fn object(value: &serde_json::Value) -> Result<RawObject, BuildError> {
    RawObject::encode(value).map_err(|error| BuildError::new(format!("a built-in server cannot be described: {error}")))
}

impl<S: Send + Sync + 'static> McpServer for BuiltIn<S> {
    fn discovery(&self) -> Arc<Discovery> {
        Arc::clone(&self.discovery)
    }

    fn handle<'a>(&'a self, request: Request, context: Context) -> BoxFuture<'a, Result<Reply, Failure>> {
        Box::pin(async move {
            let result = match request.method {
                Method::ToolsList => self.list(&request)?,
                Method::ToolsCall => self.call(request, context.cancel).await?,
                other => {
                    let text = format!("`{}` is not offered by a built-in server", other.as_str());
                    return Err(Failure::client(FailureKind::MethodNotFound, text));
                }
            };
            Ok(Reply { result, revision: Revision::LATEST })
        })
    }

    fn listeners(&self) -> &Listeners {
        &self.listeners
    }
}
