//! The public clients, each behind the same question: go there, do these steps, say what you got.

mod driver;
mod inspector;
mod rmcp;

use std::path::Path;

use crate::harness::peers;
use crate::visit::{Answer, Target, Visit};

/// The newest revision, in which a request carries its own context.
pub(crate) const MODERN: &str = "2026-07-28";
/// The last revision with a handshake and sessions.
pub(crate) const LEGACY: &str = "2025-11-25";

/// A public client in one of its modes.
pub(crate) struct Client {
    /// How it is told to choose a revision.
    pub(crate) mode: &'static str,
    /// How it has to be told to reach servers of the 2025 revisions, which all the public servers are.
    pub(crate) direct_mode: &'static str,
    /// The revision it has to end up with at a gateway that speaks all of them.
    pub(crate) revision_at_gateway: &'static str,
    /// Methods it has no means for.
    pub(crate) cannot: &'static [&'static str],
    /// It starts a process for every step, about a second of work each, so it goes each way only once: one call a tool, no
    /// second direct run, no endpoint of a single server, and one of the three transports to server-everything.
    pub(crate) is_costly: bool,
    program: Program,
}

enum Program {
    Driver(driver::Driver),
    Rmcp(rmcp::Rmcp),
    Inspector(inspector::Inspector),
}

impl Client {
    /// npm `@modelcontextprotocol/sdk` 1.x.
    pub(crate) fn ts_sdk_1() -> Self {
        Self::driver(driver::Driver::node("ts_sdk_1.mjs"), "legacy")
    }

    /// npm `@modelcontextprotocol/client` 2.x.
    pub(crate) fn ts_client_2(mode: &'static str) -> Self {
        Self::driver(driver::Driver::node("ts_client_2.mjs"), mode)
    }

    /// PyPI `mcp` 1.x.
    pub(crate) fn pypi_mcp_1() -> Self {
        Self::driver(driver::Driver::python(peers::pypi_mcp_1("python"), "pypi_mcp_1.py"), "legacy")
    }

    /// PyPI `mcp` 2.x.
    pub(crate) fn pypi_mcp_2(mode: &'static str) -> Self {
        Self::driver(driver::Driver::python(peers::pypi_mcp_2("python"), "pypi_mcp_2.py"), mode)
    }

    /// crate `rmcp`.
    pub(crate) fn rmcp(mode: &'static str) -> Self {
        let cannot = &["wait"];
        Self { cannot, ..Self::of(Program::Rmcp(rmcp::Rmcp::new()), mode) }
    }

    /// The Inspector's command line.
    pub(crate) fn inspector(mode: &'static str, home: &Path) -> Self {
        let cannot = &["wait", "completion/complete", "resources/subscribe", "resources/unsubscribe"];
        Self { cannot, is_costly: true, ..Self::of(Program::Inspector(inspector::Inspector::new(home)), mode) }
    }

    fn driver(driver: driver::Driver, mode: &'static str) -> Self {
        Self::of(Program::Driver(driver), mode)
    }

    fn of(program: Program, mode: &'static str) -> Self {
        let legacy = mode == "legacy";
        let revision_at_gateway = if legacy { LEGACY } else { MODERN };
        // Where nothing can be subscribed to, no update comes.
        let cannot: &[_] = if legacy { &[] } else { &["wait"] };
        Self { mode, direct_mode: "legacy", revision_at_gateway, cannot, is_costly: false, program }
    }

    /// Whether it can speak HTTP+SSE of 2024-11-05.
    pub(crate) fn knows_sse(&self) -> bool {
        !matches!(self.program, Program::Rmcp(_))
    }

    /// Whether it speaks the newest revision at the gateway, and so another era than the public servers.
    pub(crate) fn is_modern(&self) -> bool {
        self.revision_at_gateway == MODERN
    }

    /// Makes a visit and waits for its end.
    pub(crate) fn visit(&mut self, visit: &Visit) -> Answer {
        match &mut self.program {
            Program::Driver(driver) => driver.visit(visit),
            Program::Rmcp(rmcp) => rmcp.visit(visit),
            Program::Inspector(inspector) => inspector.visit(visit),
        }
    }

    /// Whether it can go there at all.
    pub(crate) fn reaches(&self, target: &Target) -> bool {
        self.knows_sse() || !matches!(target, Target::Url { transport: "sse", .. })
    }
}
