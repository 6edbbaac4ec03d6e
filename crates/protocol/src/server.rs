//! The interfaces of everything that answers, and of the door before it.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use crate::cancel::Cancel;
use crate::credential::{CallerToken, Peer};
use crate::discovery::Discovery;
use crate::event::{Listener, Listeners};
use crate::failure::Failure;
use crate::jsonrpc::ErrorObject;
use crate::method::Method;
use crate::raw::{RawJson, RawObject};
use crate::request::Request;
use crate::revision::{Era, Revision};

/// A future in a box: one a hop, no towers of types.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The one interface of everything that answers: an upstream, a built-in server, the gateway itself.
pub trait McpServer: Send + Sync + 'static {
    /// What the server says of itself.
    fn discovery(&self) -> Arc<Discovery>;

    /// Answers one request. Dropping the future abandons it; [`Context::cancel`] says that it is not wanted any more.
    fn handle<'a>(&'a self, request: Request, context: Context) -> BoxFuture<'a, Result<Reply, Failure>>;

    /// Who hears what the server says unasked.
    fn listeners(&self) -> &Listeners;
}

/// A server's answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The result as the server wrote it.
    pub result: RawObject,
    /// The revision it was written in.
    pub revision: Revision,
}

/// What goes with a request from hop to hop. Nothing in it identifies the caller to an upstream: the credential cannot be sent on, and only
/// tells whose token an exchange begins with.
#[derive(Clone)]
pub struct Context {
    /// The program that asks.
    pub client: Arc<Client>,
    /// The way back to it while the request runs.
    pub asker: Arc<dyn Asker>,
    /// Says that the answer is not wanted any more.
    pub cancel: Cancel,
    /// What its caller showed with it; `None` for what nobody asked for.
    pub credential: Option<Arc<CallerToken>>,
}

impl fmt::Debug for Context {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Context").field("client", &self.client).field("cancel", &self.cancel).finish_non_exhaustive()
    }
}

/// The program that asks, as it described itself.
#[derive(Clone, Debug)]
pub struct Client {
    /// The revision it speaks.
    pub revision: Revision,
    /// Its `clientCapabilities`.
    pub capabilities: RawObject,
    /// Its `clientInfo`: for display and logs only.
    pub info: Option<RawJson>,
}

impl Client {
    /// The program's own name for itself, for display and logs.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.info.as_ref()?.object().ok()?.get_str("name").map(std::borrow::Cow::into_owned)
    }
}

/// The way back to the one who asked, while its request runs.
pub trait Asker: Send + Sync {
    /// Passes on a notification of this request. For `notifications/progress` the parameters come without
    /// `progressToken`: each leg has its own. Must not block; what does not fit is dropped.
    fn notify(&self, method: &str, params: RawObject);

    /// Puts a server's question (`elicitation/create`, `sampling/createMessage`, `roots/list`) to the one who asked.
    fn ask<'a>(&'a self, method: &'a str, params: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>>;

    /// Whose request it is: two requests of the same caller may be confused with less harm than two of different ones.
    /// `None` where that is not known, which is nobody's.
    fn caller(&self) -> Option<&CallerId> {
        None
    }
}

/// The endpoint that a request came to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Everything that the caller may see, merged.
    All,
    /// One server under its own names.
    Server(Arc<str>),
    /// A named selection.
    Toolset(Arc<str>),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => out.write_str("/mcp"),
            Self::Server(name) => write!(out, "/servers/{name}/mcp"),
            Self::Toolset(name) => write!(out, "/toolsets/{name}/mcp"),
        }
    }
}

/// What the door knows of who is there. It never goes further than the gateway.
#[derive(Clone)]
pub struct Incoming {
    /// Whose endpoint it was asked for: the name out of the path (`/t/NAME/…`), whether there is such a tenant or not. `None` where the
    /// path names none.
    pub tenant: Option<Arc<str>>,
    /// Where it was asked for.
    pub endpoint: Endpoint,
    /// What the caller showed.
    pub credential: Option<Arc<CallerToken>>,
    /// What its connection showed, and the door has verified.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// From where it came.
    pub peer: Peer,
    /// What the front found out about the caller when it let it in.
    pub recognised: Option<Recognised>,
}

/// A client's certificate, which somebody has signed whom the door trusts for that.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The tenant whose authority has signed it; empty where that is the gateway's own. To everybody else it says nothing.
    pub tenant: Arc<str>,
    /// Whom it was made out to: `subject:` and the name as RFC 4514 writes it, `dns:NAME`, `uri:ADDRESS`, `email:ADDRESS`.
    pub names: Vec<String>,
    /// When it ends; a connection may last for longer.
    pub ends: SystemTime,
    /// It is taken no more, since it was revoked or who has signed it is not trusted any longer; a connection may last for longer.
    pub withdrawn: Cancel,
}

/// What a front found out about a caller when it let it in, to be handed back to it with the caller's request. It means nothing to
/// anybody else.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "what is in it means something to the front alone")]
pub struct Recognised(pub Arc<dyn Any + Send + Sync>);

/// A caller that may come in.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "what is in it means something to the front alone")]
pub struct Caller {
    /// Who it is, as far as a door must know it.
    pub id: CallerId,
    /// To be put into [`Incoming::recognised`].
    pub recognised: Recognised,
}

/// Whether a caller may come in: known at once, as nearly always, or after the front has asked somebody.
#[expect(missing_debug_implementations, reason = "a future shows nothing")]
pub enum Admission {
    /// Known.
    Known(Result<Caller, Failure>),
    /// To be waited for.
    Asks(BoxFuture<'static, Result<Caller, Failure>>),
}

impl Admission {
    /// Waits where that is needed.
    ///
    /// # Errors
    /// Why the caller may not come in.
    pub async fn decided(self) -> Result<Caller, Failure> {
        match self {
            Self::Known(known) => known,
            Self::Asks(asks) => asks.await,
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Incoming")
            .field("tenant", &self.tenant)
            .field("endpoint", &self.endpoint)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Who calls, as far as a door must know it: two requests of one caller have the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallerId(pub Arc<str>);

/// What a front door opens to: the gateway.
pub trait Front: Send + Sync + 'static {
    /// Says whether a caller may come to an endpoint at all. Asked on every HTTP request, before its body is read.
    ///
    /// Where it may not: `Unauthenticated`, or `Http(404)` where there is no such endpoint.
    fn admit(&self, incoming: &Incoming) -> Admission;

    /// What an endpoint says of itself: for `initialize` and `server/discover`.
    fn discover(&self, incoming: &Incoming) -> BoxFuture<'static, Result<Discovery, Failure>>;

    /// Answers one request; every request of every door comes this way.
    fn serve(&self, request: Request, incoming: Incoming, context: Context) -> BoxFuture<'static, Result<Reply, Failure>>;

    /// Adds a listener to an endpoint's news. What is given back is to be kept for as long as it listens.
    #[must_use = "who drops it hears nothing"]
    fn watch(&self, incoming: &Incoming, listener: &Arc<dyn Listener>) -> Option<Arc<dyn Listener>>;

    /// The `inputSchema` of a tool of that name, if the endpoint has it: the front door compares the headers that the
    /// schema asks for (`x-mcp-header`) with the arguments. A front whose schemas ask for none may always say `None`.
    fn input_schema(&self, incoming: &Incoming, tool: &str) -> Option<RawJson> {
        let _ = (incoming, tool);
        None
    }

    /// What a failure looks like to a client of that era.
    fn answer(&self, failure: &Failure, method: Option<Method>, era: Era) -> Answer;
}

/// A failure as a client sees it.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A tool's result that says so (`isError`): for the model to read.
    Result(RawObject),
    /// A JSON-RPC error, and the HTTP status that goes with it.
    Error {
        /// HTTP status code.
        status: u16,
        /// The error.
        error: ErrorObject,
    },
}
