//! `sallyport policy repin`: what a server's tools say of themselves is taken for what they are to say.

use sallyport_gateway::config;
use sallyport_gateway::upstream::Pins;
use serde_json::json;

use crate::arguments::{Global, PolicyRepinArguments};
use crate::output::{self, Failure};
use crate::{start, tenant};

pub(crate) fn run(global: &Global, arguments: &PolicyRepinArguments) -> Result<(), Failure> {
    let PolicyRepinArguments { server, tenant, json } = arguments;
    let plan = tenant::of(config::load(&global.invocation()?)?, tenant.as_deref())?;
    super::known_server(&plan, server)?;
    let pins = Pins::new(&tenant::folders_of(global, tenant.as_deref())?);
    let runtime = start::runtime()?;
    let forgotten = plan.servers.get(server).map(|plan| runtime.block_on(pins.forget(plan))).transpose();
    let forgotten = forgotten.map_err(|outage| start::without(&outage))?.unwrap_or_default();
    if *json {
        return output::json(&json!({ "server": server, "forgotten": forgotten }));
    }
    output::line(format!("what {forgotten} tools of `{server}` said is forgotten; what they say at its next start is recorded"))
}
