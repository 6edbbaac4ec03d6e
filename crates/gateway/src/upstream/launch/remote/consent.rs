//! What stands in the place of a server that a user has not granted access to yet: it offers one tool, which asks for that.

use std::sync::Arc;
use std::time::Duration;

use sallyport_identity::upstream::PerUser;
use sallyport_protocol::{
    BoxFuture, Context, Discovery, Failure, FailureKind, Listeners, McpServer, Method, RawJson, RawObject, Reply, Request, Retry, Revision,
    ServerIdentity,
};
use sallyport_transport::client::Connection;
use tokio::sync::Notify;

use super::bearer;
use crate::upstream::health::Outage;
use crate::upstream::reach::Hold;
use crate::upstream::way_out::connect_tool;
use crate::upstream::{CONNECT_TOOL, WayOut};

/// How often it is looked whether access was granted meanwhile, maybe in another process: it is one row of the store.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A server until access to it is granted.
pub(super) struct Consent {
    pub(super) server: String,
    pub(super) source: Arc<PerUser>,
    pub(super) way_out: Arc<WayOut>,
    granted: Notify,
    listeners: Listeners,
}

impl Consent {
    pub(super) fn new(server: &str, source: Arc<PerUser>, way_out: Arc<WayOut>) -> Arc<Self> {
        Arc::new(Self { server: server.to_owned(), source, way_out, granted: Notify::new(), listeners: Listeners::default() })
    }

    async fn answer(&self, request: Request) -> Result<Reply, Failure> {
        match request.method {
            Method::ToolsList => Ok(reply(self.list())),
            Method::Ping => Ok(reply(RawObject::new())),
            _ if self.source.is_granted().await.unwrap_or(false) => {
                self.granted.notify_one();
                let text = format!("server `{}` is connected to now that access was granted", self.server);
                Err(Failure::upstream(&self.server, FailureKind::Unreachable, Retry::Safe, text))
            }
            _ => Err(bearer::told(&self.server, &self.way_out, self.source.ask().await)),
        }
    }

    fn list(&self) -> RawObject {
        let mut list = RawObject::new();
        list.set("tools", RawJson::of_array(&[connect_tool(&self.server)]));
        list
    }
}

fn reply(result: RawObject) -> Reply {
    Reply { result, revision: Revision::LATEST_LEGACY }
}

impl McpServer for Consent {
    fn discovery(&self) -> Arc<Discovery> {
        let mut capabilities = RawObject::new();
        capabilities.set("tools", RawJson::from_static("{}"));
        let identity = ServerIdentity::new("sallyport", env!("CARGO_PKG_VERSION"));
        Arc::new(Discovery { revision: Revision::LATEST_LEGACY, capabilities, identity, instructions: None })
    }

    fn handle<'a>(&'a self, request: Request, _: Context) -> BoxFuture<'a, Result<Reply, Failure>> {
        Box::pin(self.answer(request))
    }

    fn listeners(&self) -> &Listeners {
        &self.listeners
    }
}

/// Waits for the grant, wherever it is given.
pub(super) struct Waiting(pub(super) Arc<Consent>);

impl Hold for Waiting {
    fn ended(&self) -> BoxFuture<'_, Outage> {
        Box::pin(async {
            loop {
                let asked = tokio::time::timeout(LOOK_EVERY, self.0.granted.notified()).await;
                if asked.is_ok() || self.0.source.is_granted().await.unwrap_or(false) {
                    return Outage { at_once: true, ..Outage::new("access was granted") };
                }
            }
        })
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A connection to a server that access was granted to. It answers the tool that asked for it.
pub(super) struct Granted {
    connection: Arc<Connection>,
    source: Arc<PerUser>,
    lost: Notify,
}

impl Granted {
    pub(super) fn new(connection: Arc<Connection>, source: Arc<PerUser>) -> Arc<Self> {
        Arc::new(Self { connection, source, lost: Notify::new() })
    }

    async fn answer(&self, request: Request, context: Context) -> Result<Reply, Failure> {
        let is_own = request.method == Method::ToolsCall && request.params.get_str("name").as_deref() == Some(CONNECT_TOOL);
        let request = if is_own { Request::new(Method::ToolsList, RawObject::new()) } else { request };
        let answer = self.connection.handle(request, context).await;
        match answer {
            Err(failure) if super::wants_consent(&failure) => {
                // More scopes are granted beside what there is. A grant that is gone takes the connection with it.
                if !self.source.is_granted().await.unwrap_or(true) {
                    self.lost.notify_one();
                }
                Err(failure)
            }
            Ok(_) if is_own => Ok(self.already()),
            answer => answer,
        }
    }

    /// The answer to the tool that asked for access.
    fn already(&self) -> Reply {
        let revision = self.connection.discovery().revision;
        let mut result = RawObject::new();
        if revision == Revision::LATEST {
            result.set("resultType", RawJson::from_static("\"complete\""));
        }
        let text = r#"[{"type":"text","text":"Access is granted; the server's own tools are listed now."}]"#;
        result.set("content", RawJson::from_static(text));
        Reply { result, revision }
    }
}

impl McpServer for Granted {
    fn discovery(&self) -> Arc<Discovery> {
        self.connection.discovery()
    }

    fn handle<'a>(&'a self, request: Request, context: Context) -> BoxFuture<'a, Result<Reply, Failure>> {
        Box::pin(self.answer(request, context))
    }

    fn listeners(&self) -> &Listeners {
        self.connection.listeners()
    }
}

/// The hold on a connection that ends with the grant.
pub(super) struct WhileGranted(pub(super) Arc<Granted>);

impl Hold for WhileGranted {
    fn ended(&self) -> BoxFuture<'_, Outage> {
        Box::pin(async {
            tokio::select! {
                closed = self.0.connection.closed() => Outage::new(closed.why),
                () = self.0.lost.notified() => Outage { at_once: true, ..Outage::new("access is not granted any more") },
            }
        })
    }

    fn close(&self, grace: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _ = tokio::time::timeout(grace, self.0.connection.close()).await; // a server that is gone cannot be told
        })
    }
}
