//! Puts a changed configuration in force while the gateway runs.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use sallyport_gateway::Gateway;
use sallyport_gateway::config::{self, Diagnostic, Invocation};
use sallyport_gateway::packages::lock_beside;
use sallyport_gateway::plan::Plan;
use sallyport_transport::server::tls::{Tls, TlsError};
use tokio::signal::unix::{SignalKind, signal};

use crate::start::GRACE;
use crate::up;

/// How often the file is looked at. One `stat` a second costs nothing, and works on every file system.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What tells that a file is another: editors write in place or put a new file there.
type FilePrint = (PathBuf, u64, SystemTime);

/// The files that the gateway goes by, as they were at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Print {
    configuration: Option<FilePrint>,
    /// Those beside it.
    locks: Vec<Option<FilePrint>>,
    policies: Vec<Option<FilePrint>>,
    tls: Vec<Option<FilePrint>>,
    secrets: Vec<Option<FilePrint>>,
}

impl Print {
    /// The files at this moment that `plan` names; a `sallyport.toml` that was not there before counts as well.
    fn take(invocation: &Invocation, plan: &Plan) -> Self {
        let file = config::find(invocation).ok().and_then(|found| found.origin.file);
        let whose = std::iter::once(None).chain(plan.tenants.keys().map(|name| Some(&**name)));
        Self {
            locks: file.iter().flat_map(|file| whose.clone().map(|tenant| lock_beside(file, tenant).and_then(print_of))).collect(),
            policies: plan.policy_files().into_iter().map(print_of).collect(),
            tls: plan.tls_files().into_iter().map(|(_, file)| print_of(file.to_owned())).collect(),
            secrets: plan.secret_files.iter().map(|secret| print_of(secret.reference.locator().into())).collect(),
            configuration: file.and_then(print_of),
        }
    }

    /// Whether the configuration is to be put in force anew. One that is gone is not, nor one beside which locks say the same.
    fn asks_for_a_reload(&self, in_force: &Self, gateway: &Gateway) -> bool {
        let is_same = self.configuration == in_force.configuration && self.policies == in_force.policies;
        let is_locked_so = self.locks == in_force.locks || gateway.follows_its_locks();
        self.configuration.is_some() && !(is_same && is_locked_so)
    }
}

fn print_of(file: PathBuf) -> Option<FilePrint> {
    let told = std::fs::metadata(&file).ok()?;
    Some((file, told.len(), told.modified().ok()?))
}

/// Reads the configuration, and gives with it what the files were that it names *before* they were read: one that is saved meanwhile is another
/// at the next look. Which files these are is known once it has been read, so it is read twice.
///
/// # Errors
///
/// All that is wrong with it.
pub(crate) fn read(invocation: &Invocation) -> Result<(Plan, Print), Vec<Diagnostic>> {
    let print = Print::take(invocation, &config::load(invocation)?);
    Ok((config::load(invocation)?, print))
}

/// Watches the configuration, and listens for SIGHUP, for as long as the gateway runs. `in_force` is what the files were when they were read.
pub(crate) async fn watch(gateway: Gateway, invocation: Invocation, tls: Option<Tls>, mut in_force: Print) {
    let mut hangup = signal(SignalKind::hangup()).ok();
    loop {
        let asked = tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => false,
            () = heard(hangup.as_mut()) => true,
        };
        let now = Print::take(&invocation, &gateway.plan());
        if asked || now.asks_for_a_reload(&in_force, &gateway) {
            let read = reload(&gateway, &invocation, tls.as_ref()).await;
            // A file that is not put in force was put in the place of another all the same.
            keep_own_files(&gateway).await;
            // Calls may have been waited for: what changed meanwhile is found the next time.
            in_force = read.unwrap_or(now);
        } else if (&now.locks, &now.tls, &now.secrets) != (&in_force.locks, &in_force.tls, &in_force.secrets) {
            if now.tls != in_force.tls {
                renew(&gateway, tls.as_ref());
            }
            in_force = Print { configuration: in_force.configuration, policies: in_force.policies, ..now };
            keep_own_files(&gateway).await;
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

/// Puts the file in force, or says what is wrong with it and leaves things as they are. Gives what the files were that it names, before they
/// were read.
async fn reload(gateway: &Gateway, invocation: &Invocation, tls: Option<&Tls>) -> Option<Print> {
    let (plan, print) = match read(invocation) {
        Ok(read) => read,
        Err(errors) => {
            for error in &errors {
                tracing::error!("the changed configuration is not used: {error}");
            }
            return None;
        }
    };
    plan.tls_warnings().for_each(|warning| tracing::warn!("{warning}"));
    let renewed = match renewed(&plan, tls) {
        Ok(renewed) => renewed,
        Err(error) => {
            tracing::error!("the changed configuration is not used: {error}");
            return None;
        }
    };
    match gateway.reload(plan, GRACE).await {
        Ok(changes) => {
            if let (Some(tls), Some(renewed)) = (tls, renewed) {
                tls.replace(&renewed);
            }
            tracing::info!(added = ?changes.added, removed = ?changes.removed, restarted = ?changes.changed, "the configuration was reloaded");
            if let Err(error) = gateway.tend().await {
                tracing::error!("the authorization server is not ready: {error}");
            }
            for key in changes.needs_restart {
                tracing::warn!("`{key}` is another now: it takes effect when the gateway is started again");
            }
            Some(print)
        }
        Err(error) => {
            tracing::error!("the changed configuration is not used: {error}");
            None
        }
    }
}

/// Starts programs anew that could change a file which was put in the place of another one, or were given a secret that is another now.
async fn keep_own_files(gateway: &Gateway) {
    if gateway.keeps_its_files() {
        return;
    }
    match gateway.reload((*gateway.plan()).clone(), GRACE).await {
        Ok(changes) => {
            tracing::info!(restarted = ?changes.changed, "files of the gateway were replaced, which programs are kept from or given")
        }
        Err(error) => tracing::error!("programs that may write the gateway's own files are not started anew: {error}"),
    }
}

/// Reads the files of TLS anew, where the endpoint speaks it.
fn renewed(plan: &Plan, tls: Option<&Tls>) -> Result<Option<Tls>, TlsError> {
    plan.tls.as_ref().filter(|_| tls.is_some()).map(up::tls).transpose()
}

/// Puts changed files of TLS in force, and nothing else.
fn renew(gateway: &Gateway, tls: Option<&Tls>) {
    match (tls, renewed(&gateway.plan(), tls)) {
        (Some(tls), Ok(Some(renewed))) => {
            tls.replace(&renewed);
            tracing::info!("the certificates were read again");
        }
        (_, Ok(_)) => {}
        (_, Err(error)) => tracing::error!("the changed certificates are not used: {error}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::fs;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const RULES: &str = "[[policy.engines]]\ncedar = { files = [\"rules.cedar\"] }\n[servers.one]\nurl = \"https://${env:HOST}/mcp\"\n";

    /// An invocation for a file in `folder` whose rules are saved anew each time they have been read: variables are looked up after that.
    fn saved_behind_its_reader(folder: &std::path::Path) -> Invocation {
        let (file, rules) = (folder.join("sallyport.toml"), folder.join("rules.cedar"));
        fs::write(&file, RULES).unwrap();
        fs::write(&rules, "permit(principal, action, resource);").unwrap();
        let times = AtomicUsize::new(0);
        let variables = Arc::new(move |name: &str| {
            if name != "HOST" {
                return None;
            }
            let longer = "// saved\n".repeat(times.fetch_add(1, Ordering::Relaxed) + 1);
            fs::write(&rules, format!("{longer}forbid(principal, action, resource);")).unwrap();
            Some("one.example".to_owned())
        });
        Invocation { file: Some(file), listen: None, folder: folder.to_owned(), variables }
    }

    #[test]
    fn what_is_saved_while_it_is_read_is_another_at_the_next_look() {
        let folder = tempfile::tempdir().unwrap();
        let invocation = saved_behind_its_reader(folder.path());
        let (plan, read) = read(&invocation).unwrap();
        assert_eq!(plan.policy_files().len(), 1);
        assert_ne!(read.policies, Print::take(&invocation, &plan).policies);
    }
}
