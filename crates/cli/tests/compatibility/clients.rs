//! The public clients, each behind the same question: go there, do these steps, say what you got.

mod driver;
mod inspector;
mod rmcp;
mod wire;

use std::path::Path;

use crate::harness::peers;
use crate::visit::{Answer, Step, Target, Visit};

/// The newest revision, in which a request carries its own context.
pub(crate) const MODERN: &str = "2026-07-28";
/// The last revision with a handshake and sessions.
pub(crate) const LEGACY: &str = "2025-11-25";

/// Steps that begin and follow a task of 2025-11-25: SDKs offer that as an experiment, each in its own way.
const TASKS: [&str; 3] = ["task", "tasks/get", "tasks/result"];
/// Steps that need a stream besides the requests.
const SUBSCRIPTIONS: [&str; 3] = ["resources/subscribe", "resources/unsubscribe", "wait"];

/// A public client in one of its modes.
pub(crate) struct Client {
    /// How it is told to choose a revision.
    pub(crate) mode: &'static str,
    /// How it has to be told to reach servers of the 2025 revisions, which all the public servers are.
    pub(crate) direct_mode: &'static str,
    /// The revision it has to end up with at a gateway that speaks all of them.
    pub(crate) revision_at_gateway: &'static str,
    /// Methods it has no means for.
    cannot: Vec<&'static str>,
    /// It starts a process for every step, about a second of work each, so it goes each way only once: one step of each method a server,
    /// no endpoint of a single server, and one of the three transports to server-everything.
    pub(crate) is_costly: bool,
    /// It can hold a stream of news open, which is what a subscription is from 2026-07-28 on.
    pub(crate) can_listen: bool,
    /// It says that a person or a model is there to answer questions.
    pub(crate) can_be_asked: bool,
    program: Program,
}

enum Program {
    Driver(driver::Driver),
    Rmcp(rmcp::Rmcp),
    Inspector(inspector::Inspector),
    Wire(wire::Wire),
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
        Self::of(Program::Rmcp(rmcp::Rmcp::new()), mode).without(&TASKS).without(&["wait"])
    }

    /// The Inspector's command line.
    pub(crate) fn inspector(mode: &'static str, home: &Path) -> Self {
        let client = Self::of(Program::Inspector(inspector::Inspector::new(home)), mode).without(&TASKS);
        Self { is_costly: true, can_be_asked: false, ..client.without(&SUBSCRIPTIONS).without(&["completion/complete"]) }
    }

    /// JSON-RPC by hand, to see every byte.
    pub(crate) fn wire(mode: &'static str) -> Self {
        Self { can_be_asked: false, ..Self::of(Program::Wire(wire::Wire), mode).without(&SUBSCRIPTIONS) }
    }

    fn driver(driver: driver::Driver, mode: &'static str) -> Self {
        Self { can_listen: true, ..Self::of(Program::Driver(driver), mode).without(&TASKS) }
    }

    fn of(program: Program, mode: &'static str) -> Self {
        let revision_at_gateway = if mode == "legacy" { LEGACY } else { MODERN };
        Self {
            mode,
            direct_mode: "legacy",
            revision_at_gateway,
            cannot: Vec::new(),
            is_costly: false,
            can_listen: false,
            can_be_asked: true,
            program,
        }
    }

    fn without(mut self, methods: &[&'static str]) -> Self {
        self.cannot.extend(methods);
        self
    }

    /// Whether it has means for the step.
    pub(crate) fn can(&self, step: &Step) -> bool {
        !self.cannot.contains(&step.method)
    }

    /// Whether it can speak HTTP+SSE of 2024-11-05.
    pub(crate) fn knows_sse(&self) -> bool {
        !matches!(self.program, Program::Rmcp(_) | Program::Wire(_))
    }

    /// Whether it reads results by the rules of the revision it speaks, instead of handing on what was sent.
    pub(crate) fn reshapes(&self) -> bool {
        self.is_modern() && !matches!(self.program, Program::Wire(_))
    }

    /// Whether it speaks the newest revision at the gateway, and so another era than the public servers.
    pub(crate) fn is_modern(&self) -> bool {
        self.revision_at_gateway == MODERN
    }

    /// Whether it shows every byte, and so whatever there is to see of a server.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.program, Program::Wire(_))
    }

    /// Makes a visit and waits for its end.
    pub(crate) fn visit(&mut self, visit: &Visit) -> Answer {
        match &mut self.program {
            Program::Driver(driver) => driver.visit(visit),
            Program::Rmcp(rmcp) => rmcp.visit(visit),
            Program::Inspector(inspector) => inspector.visit(visit),
            Program::Wire(wire) => wire.visit(visit),
        }
    }

    /// Whether it can go there at all.
    pub(crate) fn reaches(&self, target: &Target) -> bool {
        self.knows_sse() || !matches!(target, Target::Url { transport: "sse", .. })
    }
}
