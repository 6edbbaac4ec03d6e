//! Puts a changed configuration in force while the gateway runs.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use sallyport_gateway::Gateway;
use sallyport_gateway::config::{self, Invocation};
use sallyport_gateway::packages::lock_beside;
use tokio::signal::unix::{SignalKind, signal};

use crate::start::GRACE;

/// How often the file is looked at. One `stat` a second costs nothing, and works on every file system.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What tells that a file is another: editors write in place or put a new file there. The configuration, the locks beside it, and the files
/// of policies.
#[derive(Debug, PartialEq, Eq)]
struct Print(Option<FilePrint>, Vec<Option<FilePrint>>, Vec<Option<FilePrint>>);

type FilePrint = (PathBuf, u64, SystemTime);

impl Print {
    /// The file in force at this moment; a `sallyport.toml` that was not there before counts as well.
    fn take(invocation: &Invocation, gateway: &Gateway) -> Self {
        let file = config::find(invocation).ok().and_then(|found| found.origin.file);
        let plan = gateway.plan();
        let whose = std::iter::once(None).chain(plan.tenants.keys().map(|name| Some(&**name)));
        let locks = file.iter().flat_map(|file| whose.clone().map(|tenant| lock_beside(file, tenant).and_then(print_of))).collect();
        let policies = plan.policy_files().into_iter().map(print_of).collect();
        Self(file.and_then(print_of), locks, policies)
    }
}

fn print_of(file: PathBuf) -> Option<FilePrint> {
    let told = std::fs::metadata(&file).ok()?;
    Some((file, told.len(), told.modified().ok()?))
}

/// Watches the configuration, and listens for SIGHUP, for as long as the gateway runs.
pub(crate) async fn watch(gateway: Gateway, invocation: Invocation) {
    let mut in_force = Print::take(&invocation, &gateway);
    let mut hangup = signal(SignalKind::hangup()).ok();
    loop {
        let asked = tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => false,
            () = heard(hangup.as_mut()) => true,
        };
        let now = Print::take(&invocation, &gateway);
        if asked || (now != in_force && now.0.is_some()) {
            reload(&gateway, &invocation).await;
            // The one that is in force now may name other files; what changed during the reload is found the next time.
            let Print(_, locks, policies) = Print::take(&invocation, &gateway);
            in_force = Print(now.0, if locks.len() == now.1.len() { now.1 } else { locks }, policies);
        }
    }
}

async fn heard(signal: Option<&mut tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Puts the file in force, or says what is wrong with it and leaves things as they are.
async fn reload(gateway: &Gateway, invocation: &Invocation) {
    let plan = match config::load(invocation) {
        Ok(plan) => plan,
        Err(errors) => {
            for error in &errors {
                tracing::error!("the changed configuration is not used: {error}");
            }
            return;
        }
    };
    match gateway.reload(plan, GRACE).await {
        Ok(changes) => {
            tracing::info!(added = ?changes.added, removed = ?changes.removed, restarted = ?changes.changed, "the configuration was reloaded");
            if let Err(error) = gateway.tend().await {
                tracing::error!("the authorization server is not ready: {error}");
            }
            for key in changes.needs_restart {
                tracing::warn!("`{key}` is another now: it takes effect when the gateway is started again");
            }
        }
        Err(error) => tracing::error!("the changed configuration is not used: {error}"),
    }
}
