//! `sallyport stdio`: an MCP server on stdin and stdout.

use std::sync::Arc;

use sallyport_gateway::config;
use sallyport_telemetry::log::Stderr;
use sallyport_transport::relay;
use sallyport_transport::server::stdio;

use crate::arguments::{Global, StdioArguments};
use crate::output::{self, Failure};
use crate::reach;
use crate::side_door;
use crate::start::{self, Opened};
use crate::{tenant, up};

pub(crate) fn run(global: &Global, arguments: &StdioArguments) -> Result<(), Failure> {
    let plan = config::load(&global.invocation()?)?;
    output::warnings(&plan.warnings);
    let plan = tenant::of(plan, arguments.of.tenant.as_deref())?;
    let running = if arguments.alone { None } else { reach::running(&plan)? };
    let runtime = start::runtime()?;
    let done = match running {
        Some(gateway) => runtime.block_on(async {
            output::note(format!("relaying to the gateway that runs at {}", gateway.url));
            let (stdin, stdout) = (tokio::io::stdin(), tokio::io::stdout());
            let (url, told) = (gateway.endpoint()?, up::told_by_signal());
            let relayed = relay::relay_stdio(stdin, stdout, &url, gateway.key(), gateway.trust(), told).await;
            relayed.map_err(|failure| reach::told(&failure))
        }),
        None => runtime.block_on(serve(Opened::open(plan, Stderr::Auto)?)),
    };
    // A read of stdin cannot be called back; the runtime does not wait for it.
    runtime.shutdown_background();
    done
}

async fn serve(opened: Opened) -> Result<(), Failure> {
    side_door::open(&opened.gateway).await;
    opened.gateway.start();
    let options = stdio::Options::new(start::identity());
    let front = Arc::new(opened.gateway.clone());
    let served = stdio::serve(tokio::io::stdin(), tokio::io::stdout(), front, options, up::told_by_signal()).await;
    opened.close().await;
    served.map_err(|failure| reach::told(&failure))
}
