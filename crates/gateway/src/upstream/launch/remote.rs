//! A server elsewhere.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use sallyport_protocol::{BoxFuture, Revision};
use sallyport_transport::client::{Connection, Kind, Options, Target};

use super::options;
use super::values::filled_in;
use crate::plan::{RemotePlan, RemoteTransport, ServerPlan};
use crate::upstream::Surroundings;
use crate::upstream::health::Outage;
use crate::upstream::reach::{Doing, Hold, Reach, Reached};

/// The way to an address.
pub(super) struct ToRemote {
    name: String,
    plan: RemotePlan,
    options: Options,
}

impl ToRemote {
    pub(super) fn new(plan: &ServerPlan, remote: RemotePlan, surroundings: &Surroundings) -> Self {
        Self { name: plan.name.clone(), plan: remote, options: options(plan, surroundings) }
    }

    fn target(&self) -> Result<Target, Outage> {
        let mut target = Target::new(self.plan.url.clone());
        target.kind = match self.plan.transport {
            RemoteTransport::Auto => Kind::Auto,
            RemoteTransport::StreamableHttp => Kind::StreamableHttp,
            RemoteTransport::Sse => Kind::Sse,
        };
        for (name, value) in &self.plan.headers {
            let unfit = || Outage::new(format!("header `{name}` is none: its name or value holds characters that cannot be sent"));
            let mut value = HeaderValue::try_from(filled_in(value)?).map_err(|_| unfit())?;
            value.set_sensitive(true);
            target.headers.push((HeaderName::try_from(name).map_err(|_| unfit())?, value));
        }
        Ok(target)
    }
}

impl Reach for ToRemote {
    fn reach<'a>(&'a self, known: Option<Revision>, doing: Doing<'a>) -> BoxFuture<'a, Result<Reached, Outage>> {
        Box::pin(async move {
            doing("connecting".into());
            let options = Options { known, ..self.options.clone() };
            let connection =
                Connection::to_url(self.target()?, options).await.map_err(|failure| Outage::of_failure(&self.name, &failure))?;
            Ok(Reached { server: connection.clone(), hold: Box::new(Remote(connection)), reconnects: true })
        })
    }
}

/// An open connection to an address.
struct Remote(Arc<Connection>);

impl Hold for Remote {
    fn ended(&self) -> BoxFuture<'_, Outage> {
        Box::pin(async { Outage::new(self.0.closed().await.why) })
    }

    fn close(&self, grace: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _ = tokio::time::timeout(grace, self.0.close()).await; // a server that is gone cannot be told
        })
    }
}
