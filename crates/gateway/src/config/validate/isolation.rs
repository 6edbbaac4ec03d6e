//! The boundary of a program, and the least that it may be.

use sallyport_sandbox::{Isolation, Selection};

use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::model::ServerConfig;
use crate::config::validate::Context;
use crate::config::validate::stdio::HOST_NETWORK;

/// Checks `sandbox` against `min_isolation`. Two words that contradict each other are an error; where only one of them is written, it
/// holds: so a back-end that is named stays what it is beside the default floor, and `auto` never goes below that.
pub(super) fn check(path: &str, config: &ServerConfig, context: &Context<'_>, report: &mut Report) -> Selection {
    let (sandbox, written) = (&config.sandbox, config.min_isolation.or(context.min_isolation));
    if let Some(floor) = written.filter(|floor| sandbox.isolation() < *floor) {
        let is = if sandbox.is_auto() { "is at most" } else { "is" };
        report.error(
            Diagnostic::new(
                join(path, "sandbox"),
                format!("the boundary {is} `{}`, and `min_isolation` asks for `{floor}`", sandbox.name()),
            )
            .hint(way_out(sandbox, floor)),
        );
    }
    let names_hosts = !config.network.is_empty() && !config.network.iter().any(|text| text == HOST_NETWORK);
    if sandbox.isolation() == Isolation::Landlock && names_hosts {
        let message = "the boundary `landlock` cannot let a program to some hosts only: it knows ports, and no addresses";
        report.error(Diagnostic::new(join(path, "network"), message).hint("take `sandbox` out, or leave `network` empty"));
    }
    sandbox.clone().with_floor(written.unwrap_or_default())
}

fn way_out(sandbox: &Selection, floor: Isolation) -> String {
    match sandbox.is_auto() {
        true => format!("name a back-end in `sandbox` that is at least `{floor}`"),
        false => {
            format!("take `sandbox` out, or write `min_isolation = \"{}\"` on this server if that is enough for it", sandbox.isolation())
        }
    }
}
