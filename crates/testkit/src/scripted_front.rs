//! A front door's other side, in process: lets callers in by key and passes everything on to one server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sallyport_protocol::{
    Admission, Answer, BoxFuture, Caller, CallerId, CallerToken, Context, Discovery, Endpoint, Era, ErrorObject, Failure, FailureKind,
    Front, Incoming, Listener, McpServer, Method, RawJson, RawObject, Recognised, Reply, Request,
};

/// The SHA-256 of a key, and whose it is.
type Holder = ([u8; 32], CallerId);

/// A [`Front`] before one server. It has the endpoint of everything and `/servers/scripted`.
pub struct ScriptedFront {
    server: Arc<dyn McpServer>,
    /// `None`: everybody comes in.
    keys: Option<Mutex<Vec<Holder>>>,
    /// Keys that somebody else knows about, who takes so long.
    elsewhere: Mutex<Vec<([u8; 32], Duration)>>,
    input_schema: Option<RawJson>,
}

impl std::fmt::Debug for ScriptedFront {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ScriptedFront").field("needs_key", &self.keys.is_some()).finish_non_exhaustive()
    }
}

impl ScriptedFront {
    /// Lets everybody in as one caller.
    #[must_use]
    pub fn open(server: Arc<dyn McpServer>) -> Self {
        Self { server, keys: None, elsewhere: Mutex::default(), input_schema: None }
    }

    /// Lets in those who show one of these keys, each as a caller of that name.
    #[must_use]
    pub fn with_keys(server: Arc<dyn McpServer>, keys: &[&str]) -> Self {
        let keys = keys.iter().map(|key| (CallerToken::new(*key).digest(), CallerId((*key).into()))).collect();
        Self { server, keys: Some(Mutex::new(keys)), elsewhere: Mutex::default(), input_schema: None }
    }

    /// Takes a key back.
    pub fn revoke(&self, key: &str) {
        let digest = CallerToken::new(key).digest();
        if let Some(keys) = &self.keys {
            keys.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| *known != digest);
        }
    }

    /// Has somebody else asked about a key from now on, who takes so long to answer.
    pub fn ask_elsewhere(&self, key: &str, takes: Duration) {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).push((CallerToken::new(key).digest(), takes));
    }

    /// Says that every tool has this input schema.
    #[must_use]
    pub fn with_input_schema(mut self, schema: &'static str) -> Self {
        self.input_schema = Some(RawJson::from_static(schema));
        self
    }
}

impl ScriptedFront {
    fn caller(&self, incoming: &Incoming) -> Result<CallerId, Failure> {
        if !matches!(&incoming.endpoint, Endpoint::All) && !matches!(&incoming.endpoint, Endpoint::Server(name) if &**name == "scripted") {
            return Err(Failure::client(FailureKind::NotFound, "there is no such endpoint"));
        }
        let Some(keys) = &self.keys else { return Ok(CallerId("everybody".into())) };
        let digest = incoming.credential.as_ref().map(|token| token.digest());
        let keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
        let known = keys.iter().find(|(key, _)| Some(*key) == digest).map(|(_, caller)| caller.clone());
        known.ok_or_else(|| Failure::client(FailureKind::Unauthenticated, "no key, or one that is not known"))
    }
}

impl Front for ScriptedFront {
    fn admit(&self, incoming: &Incoming) -> Admission {
        let known = self.caller(incoming).map(|id| Caller { id, recognised: Recognised(Arc::new(())) });
        let digest = incoming.credential.as_ref().map(|token| token.digest());
        let elsewhere = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        match elsewhere.iter().find(|(key, _)| Some(*key) == digest) {
            None => Admission::Known(known),
            Some((_, takes)) => {
                let answer = tokio::time::sleep(*takes);
                Admission::Asks(Box::pin(async move {
                    answer.await;
                    known
                }))
            }
        }
    }

    fn discover(&self, _: &Incoming) -> BoxFuture<'static, Result<Discovery, Failure>> {
        let discovery = Discovery::clone(&self.server.discovery());
        Box::pin(std::future::ready(Ok(discovery)))
    }

    fn serve(&self, request: Request, _: Incoming, context: Context) -> BoxFuture<'static, Result<Reply, Failure>> {
        let server = Arc::clone(&self.server);
        Box::pin(async move { server.handle(request, context).await })
    }

    fn watch(&self, _: &Incoming, listener: &Arc<dyn Listener>) -> Option<Arc<dyn Listener>> {
        self.server.listeners().add(listener);
        None
    }

    fn input_schema(&self, _: &Incoming, _: &str) -> Option<RawJson> {
        self.input_schema.clone()
    }

    fn answer(&self, failure: &Failure, method: Option<Method>, era: Era) -> Answer {
        let error = |status, code| Answer::Error { status, error: ErrorObject::new(code, failure.public.clone()) };
        match &failure.kind {
            FailureKind::Upstream(upstream) => Answer::Error { status: 200, error: upstream.clone() },
            FailureKind::NotAMessage(own) => Answer::Error { status: 400, error: own.clone() },
            FailureKind::MethodNotFound => error(if era == Era::Modern { 404 } else { 200 }, ErrorObject::METHOD_NOT_FOUND),
            FailureKind::ResourceNotFound(_) if era == Era::Legacy => error(200, ErrorObject::RESOURCE_NOT_FOUND),
            FailureKind::InvalidParams | FailureKind::ResourceNotFound(_) => error(200, ErrorObject::INVALID_PARAMS),
            FailureKind::NotFound => error(if method.is_some() { 200 } else { 404 }, ErrorObject::INVALID_PARAMS),
            FailureKind::HeaderMismatch => error(400, ErrorObject::HEADER_MISMATCH),
            FailureKind::MissingCapability(required) => {
                let mut missing = ErrorObject::new(ErrorObject::MISSING_CAPABILITY, failure.public.clone());
                missing.data = RawJson::parse(format!(r#"{{"requiredCapabilities":{}}}"#, required.as_str())).ok();
                Answer::Error { status: 400, error: missing }
            }
            FailureKind::UnsupportedVersion(version) => {
                let data = format!(r#"{{"supported":["2026-07-28"],"requested":{}}}"#, RawJson::string(version).as_str());
                let mut unsupported = ErrorObject::new(ErrorObject::UNSUPPORTED_VERSION, failure.public.clone());
                unsupported.data = RawJson::parse(data).ok();
                Answer::Error { status: 400, error: unsupported }
            }
            FailureKind::UnknownSession => error(404, ErrorObject::INVALID_REQUEST),
            FailureKind::Unauthenticated => error(401, ErrorObject::INVALID_REQUEST),
            FailureKind::Http(status) => error(*status, ErrorObject::INVALID_REQUEST),
            FailureKind::Overloaded => error(503, ErrorObject::INTERNAL),
            _ if method == Some(Method::ToolsCall) => Answer::Result(error_result(&failure.public)),
            _ => error(200, ErrorObject::INTERNAL),
        }
    }
}

/// A tool's result that says what went wrong.
fn error_result(text: &str) -> RawObject {
    let content = format!(r#"[{{"type":"text","text":{}}}]"#, RawJson::string(text).as_str());
    let mut result = RawObject::new();
    result.set("content", RawJson::parse(content).unwrap_or(RawJson::from_static("[]")));
    result.set("isError", RawJson::from_static("true"));
    result
}
