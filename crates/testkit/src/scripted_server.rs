//! A server in process that answers by script.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sallyport_protocol::{
    BoxFuture, Context, Discovery, ErrorObject, Failure, FailureKind, Listeners, McpServer, Method, RawJson, RawObject, Reply, Request,
    Retry, Revision, ServerIdentity,
};
use tokio::sync::Semaphore;

/// Its tools, as `tools/list` gives them.
const TOOLS: &str = r#"{"tools":[
{"name":"echo","description":"says `message` again","inputSchema":{"type":"object","properties":{"message":{"type":"string","x-mcp-header":"Message"}}}},
{"name":"large","description":"a text of `bytes` bytes","inputSchema":{"type":"object","properties":{"bytes":{"type":"integer"}}}},
{"name":"stall","description":"waits until it is released or cancelled","inputSchema":{"type":"object"}},
{"name":"progress","description":"tells its progress twice","inputSchema":{"type":"object"}},
{"name":"log","description":"logs at `level`","inputSchema":{"type":"object"}},
{"name":"ask","description":"asks for a name","inputSchema":{"type":"object"}},
{"name":"stall_and_ask","description":"waits like `stall`, then asks like `ask`","inputSchema":{"type":"object"}},
{"name":"sample","description":"asks the client's model","inputSchema":{"type":"object"}},
{"name":"fail","description":"fails","inputSchema":{"type":"object"}},
{"name":"asks_back","description":"answers `input_required`","inputSchema":{"type":"object"}}]}"#;

const RESOURCES: &str = r#"{"resources":[{"uri":"test://a","name":"a"}]}"#;
const PROMPTS: &str = r#"{"prompts":[{"name":"greet","arguments":[{"name":"who"}]}]}"#;

/// What `ask_url` asks for and `needs_url` fails without.
const ADDRESS: &str = r#"{"mode":"url","message":"sign in","url":"https://example.com/","elicitationId":"e1"}"#;

/// A server in process that answers by script, in one revision, and remembers what was asked.
///
/// Tools: `echo {message}`, `large {bytes}`, `stall`, `progress`, `log {level}`, `ask`, `stall_and_ask`, `sample`, `fail`, `asks_back`
/// (modern only), and unlisted `ask_url`, `needs_url`. One resource `test://a`, one prompt `greet`,
/// the tasks `t1`, which never ends, and `brief`, which has ended at the second look.
#[derive(Debug)]
pub struct ScriptedServer {
    discovery: Arc<Discovery>,
    listeners: Listeners,
    record: Mutex<Vec<String>>,
    requests: Mutex<Vec<Request>>,
    released: Semaphore,
    remembers: bool,
}

impl ScriptedServer {
    /// A server of that revision.
    #[must_use]
    pub fn new(revision: Revision) -> Arc<Self> {
        Arc::new(Self::of(revision, true))
    }

    /// The same server without its memory: for measuring.
    #[must_use]
    pub fn forgetful(revision: Revision) -> Arc<Self> {
        Arc::new(Self::of(revision, false))
    }

    fn of(revision: Revision, remembers: bool) -> Self {
        let capabilities = object(
            r#"{"tools":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"prompts":{},"logging":{},"completions":{}}"#,
        );
        let identity = ServerIdentity::new("scripted", "1.0");
        let discovery = Discovery { revision, capabilities, identity, instructions: Some("a server for tests".to_owned()) };
        Self {
            discovery: Arc::new(discovery),
            listeners: Listeners::default(),
            record: Mutex::default(),
            requests: Mutex::default(),
            released: Semaphore::new(0),
            remembers,
        }
    }

    /// Lets one call of `stall` end.
    pub fn release(&self) {
        self.released.add_permits(1);
    }

    /// What happened: `begun NAME`, `ended NAME`, `cancelled NAME`, `subscribed URI`, `unsubscribed URI`.
    #[must_use]
    pub fn record(&self) -> Vec<String> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every request as it came.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, what: impl Into<String>) {
        if !self.remembers {
            return;
        }
        self.record.lock().unwrap_or_else(PoisonError::into_inner).push(what.into());
    }

    async fn answer(&self, request: Request, context: Context) -> Result<Reply, Failure> {
        if self.remembers {
            self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        }
        let name = request.name().map(std::borrow::Cow::into_owned);
        let result = match request.method {
            Method::ToolsList => object(TOOLS),
            Method::ToolsCall => return self.call(name.as_deref().unwrap_or_default(), &request, context).await,
            Method::ResourcesList => object(RESOURCES),
            Method::ResourceTemplatesList => object(r#"{"resourceTemplates":[]}"#),
            Method::ResourcesRead if name.as_deref() == Some("test://a") => object(r#"{"contents":[{"uri":"test://a","text":"A"}]}"#),
            Method::ResourcesRead => {
                let uri = name.unwrap_or_default();
                return Err(Failure::client(FailureKind::ResourceNotFound(uri), "there is no such resource"));
            }
            Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
                let verb = if request.method == Method::ResourcesSubscribe { "subscribed" } else { "unsubscribed" };
                self.note(format!("{verb} {}", request.params.get_str("uri").unwrap_or_default()));
                RawObject::new()
            }
            Method::PromptsList => object(PROMPTS),
            Method::PromptsGet => object(r#"{"messages":[{"role":"user","content":{"type":"text","text":"hello"}}]}"#),
            Method::TasksGet if request.params.get_str("taskId").as_deref() == Some("t1") => {
                object(r#"{"taskId":"t1","status":"working"}"#)
            }
            Method::TasksGet if request.params.get_str("taskId").as_deref() == Some("brief") => self.brief_task(),
            Method::Complete => object(r#"{"completion":{"values":[]}}"#),
            other => {
                return Err(Failure::client(FailureKind::MethodNotFound, format!("the script has no `{}`", other.as_str())));
            }
        };
        Ok(self.reply(result))
    }

    fn brief_task(&self) -> RawObject {
        let is_look =
            |request: &&Request| request.method == Method::TasksGet && request.params.get_str("taskId").as_deref() == Some("brief");
        let looks = self.requests().iter().filter(is_look).count();
        object(if looks < 2 {
            r#"{"taskId":"brief","pollIntervalMs":100,"status":"working"}"#
        } else {
            r#"{"taskId":"brief","pollIntervalMs":100,"status":"completed","result":{"content":[]}}"#
        })
    }

    async fn call(&self, name: &str, request: &Request, context: Context) -> Result<Reply, Failure> {
        self.note(format!("begun {name}"));
        let outcome = self.act(name, request, &context).await;
        let ended = if context.cancel.is_cancelled() { "cancelled" } else { "ended" };
        self.note(format!("{ended} {name}"));
        outcome
    }

    async fn act(&self, name: &str, request: &Request, context: &Context) -> Result<Reply, Failure> {
        let arguments = request.params.get_object("arguments").ok().flatten().unwrap_or_default();
        match name {
            "echo" => Ok(self.text_json(arguments.get("message").filter(|message| message.as_bytes().first() == Some(&b'"')))),
            "large" => {
                let bytes = arguments.get("bytes").and_then(|bytes| bytes.decode::<usize>().ok()).unwrap_or_default();
                Ok(self.text(&"x".repeat(bytes)))
            }
            "stall" => self.stall(context).await,
            "progress" => {
                for step in ["50", "100"] {
                    context.asker.notify("notifications/progress", with("progress", step, &[("total", "100"), ("message", "\"half\"")]));
                }
                Ok(self.text("done"))
            }
            "log" => {
                let level = arguments.get("level").map_or("\"info\"", RawJson::as_str).to_owned();
                context.asker.notify("notifications/message", with("level", &level, &[("data", "\"said\"")]));
                Ok(self.text("logged"))
            }
            "ask" => {
                self.ask(context, "elicitation/create", r#"{"message":"who?","requestedSchema":{"type":"object","properties":{}}}"#).await
            }
            "stall_and_ask" => {
                self.stall(context).await?;
                self.ask(context, "elicitation/create", r#"{"message":"who?","requestedSchema":{"type":"object","properties":{}}}"#).await
            }
            "sample" => self.ask(context, "sampling/createMessage", r#"{"messages":[],"maxTokens":1}"#).await,
            "ask_url" => self.ask(context, "elicitation/create", ADDRESS).await,
            "needs_url" => {
                let mut error = ErrorObject::new(ErrorObject::URL_ELICITATION_REQUIRED, "open it first");
                error.data = RawJson::parse(format!(r#"{{"elicitations":[{ADDRESS}]}}"#)).ok();
                Err(Failure::upstream("scripted", FailureKind::Upstream(error), Retry::Never, "open it first"))
            }
            "fail" => Err(Failure::upstream("scripted", FailureKind::Unreachable, Retry::Safe, "server `scripted` cannot be reached")),
            "asks_back" => Ok(self.reply(object(r#"{"resultType":"input_required","requestState":"s"}"#))),
            _ => Err(Failure::client(FailureKind::NotFound, format!("there is no tool `{name}`"))),
        }
    }

    async fn stall(&self, context: &Context) -> Result<Reply, Failure> {
        tokio::select! {
            () = context.cancel.cancelled() => Err(Failure::client(FailureKind::Cancelled, "the call was cancelled")),
            _ = self.released.acquire() => Ok(self.text("released")),
        }
    }

    async fn ask(&self, context: &Context, method: &str, params: &'static str) -> Result<Reply, Failure> {
        match context.asker.ask(method, object(params)).await {
            Ok(answer) => Ok(self.text(answer.to_json().as_str())),
            Err(error) => Err(Failure::new(
                FailureKind::Upstream(ErrorObject::new(ErrorObject::INTERNAL, error.message.clone())),
                sallyport_protocol::FailureSource::Upstream("scripted".to_owned()),
                Retry::Never,
                error.message,
            )),
        }
    }

    fn text(&self, text: &str) -> Reply {
        self.text_json(Some(&RawJson::string(text)))
    }

    /// A result whose text is this JSON string, as bytes that a server wrote.
    fn text_json(&self, text: Option<&RawJson>) -> Reply {
        let text = text.map_or("\"\"", RawJson::as_str);
        let result = format!(r#"{{"content":[{{"type":"text","text":{text}}}]}}"#);
        self.reply(RawObject::parse(&Bytes::from(result)).unwrap_or_default())
    }

    fn reply(&self, result: RawObject) -> Reply {
        Reply { result, revision: self.discovery.revision }
    }
}

impl McpServer for ScriptedServer {
    fn discovery(&self) -> Arc<Discovery> {
        Arc::clone(&self.discovery)
    }

    fn handle<'a>(&'a self, request: Request, context: Context) -> BoxFuture<'a, Result<Reply, Failure>> {
        Box::pin(self.answer(request, context))
    }

    fn listeners(&self) -> &Listeners {
        &self.listeners
    }
}

/// Opens a JSON object that a test wrote; anything else is an empty one.
#[must_use]
pub fn object(text: &'static str) -> RawObject {
    RawObject::parse(&Bytes::from_static(text.as_bytes())).unwrap_or_default()
}

fn with(key: &str, value: &str, more: &[(&str, &str)]) -> RawObject {
    let mut params = RawObject::new();
    for (key, value) in std::iter::once((key, value)).chain(more.iter().copied()) {
        params.set(key, RawJson::parse(value.to_owned()).unwrap_or(RawJson::from_static("null")));
    }
    params
}
