//! Everything a gateway in this process needs around it, in the order in which it is started and ended.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use sallyport_gateway::plan::Plan;
use sallyport_gateway::upstream::{Outage, Pins, Surroundings, WayOut};
use sallyport_gateway::{BuildError, Gateway, egress};
use sallyport_protocol::ServerIdentity;
use sallyport_sandbox::Host;
use sallyport_sandbox::egress::Observe;
use sallyport_sandbox::learn::Trial;
use sallyport_telemetry::log::{self, Stderr};
use sallyport_telemetry::state_folder::{FolderError, private_folder};
use sallyport_telemetry::{Audit, Folders, Metrics};
use tokio::runtime::Runtime;

use crate::output::Failure;

/// What may be logged besides `info`: directives of `tracing`, such as `sallyport_transport=debug`.
const LOG_VARIABLE: &str = "SALLYPORT_LOG";

/// How long calls in flight may take when the gateway ends or a server's configuration changes. Service managers give a program 90 s
/// before they kill it; the front doors drain for 20 s of that.
pub(crate) const GRACE: Duration = Duration::from_secs(20);

/// How long the last audit records may take to be written.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// How long connections of programs that have ended may take to be told: milliseconds, but on a busy machine.
const LAST_CONNECTIONS: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A gateway in this process, with its audit records.
pub(crate) struct Opened {
    pub(crate) gateway: Gateway,
    pub(crate) audit: Audit,
    pub(crate) folders: Folders,
}

impl Opened {
    /// Opens logs and audit records, and makes the gateway of a configuration. Starts no server.
    pub(crate) fn open(plan: Plan, stderr: Stderr) -> Result<Self, Failure> {
        Self::open_on(Host::this_binary(), plan, stderr)
    }

    /// The same, with a trial of one of the servers.
    pub(crate) fn in_trial(plan: Plan, stderr: Stderr, trial: Trial) -> Result<Self, Failure> {
        Self::open_on(Host::this_binary().with_trial(trial), plan, stderr)
    }

    fn open_on(host: Host, plan: Plan, stderr: Stderr) -> Result<Self, Failure> {
        let folders = folders()?;
        start_log(&folders, stderr)?;
        sallyport_sandbox::clear_leftovers();
        let metrics = Arc::new(Metrics::new());
        let audit = audit_in(&folders.audit_file(), &metrics)?;
        let surroundings = Surroundings {
            host: host.with_egress(egress::recorded_in(audit.clone(), metrics.clone(), "")),
            folders: folders.clone(),
            identity: identity(),
            metrics: metrics.clone(),
            way_out: Arc::new(WayOut::new(&folders)),
            pins: Arc::new(Pins::new(&folders)),
        };
        let surroundings = match &plan.tenant {
            Some(name) => surroundings.of_tenant(name, &audit),
            None => surroundings,
        };
        let metrics = surroundings.metrics.clone();
        let gateway = Gateway::build(plan, audit.clone(), metrics, Arc::new(surroundings)).map_err(|error| unusable(&error))?;
        Ok(Self { gateway, audit, folders })
    }

    /// Ends the servers in order and writes the last records.
    pub(crate) async fn close(self) {
        self.gateway.stop(GRACE).await;
        let audit = self.audit;
        let written = tokio::task::spawn_blocking(move || audit.close(LAST_RECORDS)).await;
        if !written.unwrap_or(false) {
            tracing::error!("the last audit records could not be written");
        }
    }
}

/// What the servers of a plan have around them that are started outside a gateway, to be looked at. What they connect to is recorded as there.
pub(crate) struct Aside {
    pub(crate) surroundings: Arc<Surroundings>,
    audit: Audit,
    /// Held by whoever may still tell of a connection.
    observer: Weak<dyn Observe>,
}

impl Aside {
    pub(crate) fn open(plan: &Plan) -> Result<Self, Failure> {
        let folders = folders()?;
        start_log(&folders, Stderr::Off)?;
        let audit_file = folders.audit_file();
        let tenant = plan.tenant.as_deref().unwrap_or_default();
        let surroundings = surroundings_of(if tenant.is_empty() { folders } else { folders.of_tenant(tenant) });
        let audit = audit_in(&audit_file, &surroundings.metrics)?;
        let recorded = egress::recorded_in(audit.clone(), surroundings.metrics.clone(), tenant);
        let observer = Arc::downgrade(&recorded.observer);
        let host = surroundings.host.with_egress(recorded).with_scope(tenant);
        Ok(Self { surroundings: Arc::new(Surroundings { host, ..surroundings }), audit, observer })
    }

    /// Writes the last records: those of connections come when the programs have ended.
    pub(crate) fn close(self) {
        let Self { surroundings, audit, observer } = self;
        drop(surroundings);
        let late = Instant::now() + LAST_CONNECTIONS;
        while observer.strong_count() > 0 && Instant::now() < late {
            std::thread::sleep(LOOK_AGAIN);
        }
        if !audit.close(LAST_RECORDS) {
            tracing::error!("the last audit records could not be written");
        }
    }
}

/// The same in these folders, with nobody who hears of connections.
pub(crate) fn surroundings_of(folders: Folders) -> Surroundings {
    let (way_out, pins) = (Arc::new(WayOut::new(&folders)), Arc::new(Pins::new(&folders)));
    Surroundings { host: Host::this_binary(), folders, identity: identity(), metrics: Arc::new(Metrics::new()), way_out, pins }
}

fn audit_in(file: &Path, metrics: &Metrics) -> Result<Audit, Failure> {
    Audit::to_file(file, metrics).map_err(|error| {
        Failure::new(format!("the audit records cannot be written to {}: {error}", file.display()))
            .hint("no call is served without a record; free space or set XDG_STATE_HOME to a folder that can be written")
    })
}

/// Why there is no store, as the failure of a command.
pub(crate) fn without(outage: &Outage) -> Failure {
    outage.hint.clone().into_iter().fold(Failure::new(outage.why.clone()), Failure::hint)
}

/// Who we say we are.
pub(crate) fn identity() -> ServerIdentity {
    ServerIdentity::new("sallyport", env!("CARGO_PKG_VERSION"))
}

/// The user's own folders, made private.
pub(crate) fn folders() -> Result<Folders, Failure> {
    let told = |error: FolderError| Failure::new(error.to_string()).hint(error.hint());
    let folders = Folders::of_user().map_err(told)?;
    for file in [folders.audit_file(), folders.log_file(), folders.server_log("any")] {
        if let Some(folder) = file.parent() {
            private_folder(folder).map_err(told)?;
        }
    }
    private_folder(&folders.run_folder()).map_err(told)?;
    Ok(folders)
}

fn start_log(folders: &Folders, stderr: Stderr) -> Result<(), Failure> {
    let options = log::Options { stderr, file: Some(folders.log_file()), filter: std::env::var(LOG_VARIABLE).ok() };
    log::start(&options).map_err(|error| Failure::new(error.to_string()).hint(error.hint()))
}

/// Takes as many descriptors as the system lets us have: every connection is one, and the usual soft limit is 1,024. Children get
/// limits of their own.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open descriptors stays as it was");
    }
}

/// The runtime of this thread: tasks stay on the thread that they were begun on (`Workers` says why).
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no threads can be started: {error}")))
}

/// A configuration that cannot be put in force.
pub(crate) fn unusable(error: &BuildError) -> Failure {
    let hint = error.faults.iter().find_map(|fault| fault.hint.clone());
    let failure = Failure::new(error.to_string());
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
