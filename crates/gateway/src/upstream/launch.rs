//! The ways to a server: a child in its boundary, an address, a built-in.

mod child;
pub(crate) mod own_rules;
mod remote;
pub(crate) mod trial;
mod values;

pub use child::Launched;

use std::sync::Arc;
use std::time::Duration;

use sallyport_protocol::{BoxFuture, RawJson, Revision};
use sallyport_sandbox::install::Locked;
use sallyport_servers::BuiltInConfig;
use sallyport_transport::client::Options;

use crate::catalogue::extensions;
use crate::plan::{ServerPlan, Source};
use crate::upstream::health::Outage;
use crate::upstream::reach::{Doing, Hold, Reach, Reached};
use crate::upstream::{Person, Surroundings};

/// The way to the server that `plan` describes.
///
/// `person` is in whose name it is gone, where that is somebody's.
pub(crate) fn way_to(plan: &ServerPlan, surroundings: &Arc<Surroundings>, person: Option<Person>) -> Box<dyn Reach> {
    match &plan.source {
        Source::Stdio(stdio) => {
            let child = child::ToChild::new(plan, stdio.clone(), surroundings.clone());
            Box::new(match person {
                Some(person) => child.of_person(&person),
                None => child,
            })
        }
        Source::Remote(remote) => Box::new(remote::ToRemote::new(plan, remote.clone(), surroundings, person)),
        Source::BuiltIn(config) => Box::new(ToBuiltIn { config: config.clone(), surroundings: surroundings.clone() }),
    }
}

/// The way to another version of a server's package than the one that is locked; `None` where it is none.
pub(crate) fn way_to_canary(plan: &ServerPlan, surroundings: &Arc<Surroundings>, locked: Locked) -> Option<Box<dyn Reach>> {
    let Source::Stdio(stdio) = &plan.source else { return None };
    Some(Box::new(child::ToChild::new(plan, stdio.clone(), surroundings.clone()).canary(locked)))
}

/// What legacy servers are told, once for all clients, that they may ask during a call; each client is asked only what it declared
/// itself.
const CAPABILITIES: RawJson =
    RawJson::from_static(r#"{"elicitation":{"form":{},"url":{}},"sampling":{"context":{},"tools":{}},"roots":{}}"#);

/// Launches the program of `plan` as for its first request, and leaves it alone: nothing is said to it. `None` where the server is no
/// program. `doing` hears what goes on.
///
/// # Errors
/// Why it cannot be launched.
pub async fn alone(
    plan: &ServerPlan,
    surroundings: &Arc<Surroundings>,
    doing: &(dyn Fn(std::borrow::Cow<'static, str>) + Send + Sync),
) -> Result<Option<Launched>, Outage> {
    let Source::Stdio(stdio) = &plan.source else { return Ok(None) };
    child::ToChild::new(plan, stdio.clone(), surroundings.clone()).launch_as(doing).await.map(Some)
}

/// How connections to the server are opened, but for what was found out about it. `timeouts.connect` holds for each step of it.
fn options(plan: &ServerPlan, surroundings: &Surroundings) -> Options {
    let mut options = Options::new(&plan.name, surroundings.identity.clone());
    options.probe_timeout = plan.timeouts.connect;
    options.connect_timeout = plan.timeouts.connect;
    options.questions = plan.questions;
    if plan.questions {
        options.capabilities = CAPABILITIES.object().unwrap_or_default();
    }
    options.capabilities.set("extensions", extensions::OWN);
    options
}

/// Why a sandbox is not there.
fn refused(error: &sallyport_sandbox::Error) -> Outage {
    Outage { hint: error.hint().map(Into::into), ..Outage::new(error.to_string()) }
}

/// A server inside the gateway.
struct ToBuiltIn {
    config: BuiltInConfig,
    surroundings: Arc<Surroundings>,
}

impl Reach for ToBuiltIn {
    fn reach<'a>(&'a self, _: Option<Revision>, _: Doing<'a>) -> BoxFuture<'a, Result<Reached, Outage>> {
        Box::pin(async {
            let (mut config, surroundings) = (self.config.clone(), self.surroundings.clone());
            let build = move || {
                own_rules::close_to_built_in(&mut config, &surroundings.folders)?;
                config.build().map_err(|error| Outage { hint: error.hint, ..Outage::new(error.message) })
            };
            let built = tokio::task::spawn_blocking(build).await;
            let server = built.map_err(|_| Outage::new("building it failed, which is a fault of ours"))??;
            Ok(Reached { server: server.into(), hold: Box::new(InProcess), reconnects: true })
        })
    }
}

/// A built-in does not end before the gateway does.
struct InProcess;

impl Hold for InProcess {
    fn ended(&self) -> BoxFuture<'_, Outage> {
        Box::pin(std::future::pending())
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
