//! The endpoint at which clients work with a server on trial: where the gateway would have it, and nothing else.

use std::sync::Arc;

use sallyport_gateway::Gateway;
use sallyport_protocol::{
    Admission, Answer, BoxFuture, Context, Discovery, Era, Failure as Refusal, Front, Incoming, Listener, Method, RawJson, Reply, Request,
};
use sallyport_transport::server::{Workers, http};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::output::Failure;
use crate::start::Opened;
use crate::up;

/// The endpoint, while it is open.
pub(super) struct Door {
    /// Where clients find it.
    pub(super) url: String,
    stop: watch::Sender<bool>,
    served: JoinHandle<()>,
    _workers: Workers,
}

impl Door {
    pub(super) fn open(listener: TcpListener, opened: &Opened, options: http::Options) -> Result<Self, Failure> {
        let address = listener.local_addr().map_err(|error| Failure::new(format!("the endpoint has no address: {error}")))?;
        let workers = Workers::start().map_err(|error| Failure::new(format!("no threads can be started: {error}")))?;
        let options = http::Options { workers: Some(workers.turns()), ..options };
        let (stop, stopping) = watch::channel(false);
        let plan = opened.gateway.plan();
        let whose = plan.tenant.as_deref().map(|name| format!("/t/{name}")).unwrap_or_default();
        let front = Arc::new(Whose { gateway: opened.gateway.clone(), tenant: plan.tenant.clone() });
        let serving = http::serve(listener, front, options, up::told(stopping));
        let served = tokio::spawn(async move {
            serving.await;
        });
        Ok(Self { url: format!("{}{whose}/mcp", up::url(&plan, address)), stop, served, _workers: workers })
    }

    /// Lets nobody in any more, and waits for who is still there.
    pub(super) async fn close(self) {
        let _ = self.stop.send(true); // it has ended by itself
        let _drained = self.served.await;
    }
}

/// The gateway of one tenant, or the own, at the paths that are its own: clients need not be told another address for a trial.
struct Whose {
    gateway: Gateway,
    tenant: Option<Arc<str>>,
}

impl Whose {
    /// A request as the gateway itself takes it, which has no tenants: one that is another's is one to nobody.
    fn own(&self, mut incoming: Incoming) -> Incoming {
        incoming.tenant = if incoming.tenant == self.tenant { None } else { Some(incoming.tenant.unwrap_or_default()) };
        incoming
    }
}

impl Front for Whose {
    fn admit(&self, incoming: &Incoming) -> Admission {
        self.gateway.admit(&self.own(incoming.clone()))
    }

    fn discover(&self, incoming: &Incoming) -> BoxFuture<'static, Result<Discovery, Refusal>> {
        self.gateway.discover(&self.own(incoming.clone()))
    }

    fn serve(&self, request: Request, incoming: Incoming, context: Context) -> BoxFuture<'static, Result<Reply, Refusal>> {
        self.gateway.serve(request, self.own(incoming), context)
    }

    fn watch(&self, incoming: &Incoming, listener: &Arc<dyn Listener>) -> Option<Arc<dyn Listener>> {
        self.gateway.watch(&self.own(incoming.clone()), listener)
    }

    fn input_schema(&self, incoming: &Incoming, tool: &str) -> Option<RawJson> {
        self.gateway.input_schema(&self.own(incoming.clone()), tool)
    }

    fn answer(&self, failure: &Refusal, method: Option<Method>, era: Era) -> Answer {
        self.gateway.answer(failure, method, era)
    }
}
