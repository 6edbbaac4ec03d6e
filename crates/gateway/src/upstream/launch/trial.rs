//! Versions of a server's package that are tried beside the one that is locked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sallyport_sandbox::Network;
use sallyport_sandbox::install::{self, Installer, Locked, Package};

use super::child::ToChild;
use super::refused;
use super::values::filled_in;
use crate::plan::{Part, ServerPlan, StdioPlan, Template};
use crate::upstream::Surroundings;
use crate::upstream::fetch::fetch;
use crate::upstream::health::Outage;
use crate::upstream::listing::{Entry, Kind};
use crate::upstream::own_call::Own;
use crate::upstream::reach::Reach;

/// What a version that nobody has taken yet gets for a secret.
const PLACEHOLDER: &str = "placeholder";

/// Installs a version of a server's package beside the others: `locked`, or what the registry has now.
///
/// # Errors
/// As the start of the server would.
pub(crate) async fn install(
    plan: &StdioPlan,
    surroundings: &Surroundings,
    package: &Package,
    locked: Option<&Locked>,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Locked, Outage> {
    check_boundary(package, plan, surroundings)?;
    let backend = plan.sandbox.for_installing().build(&surroundings.host).map_err(|error| refused(&error))?;
    let path = plan.environment.get("PATH").map(filled_in).transpose()?;
    let packages = surroundings.folders.packages_folder();
    let installer = Installer { backend: &*backend, packages: &packages, path: path.as_deref(), progress };
    let installed = match locked {
        Some(_) => installer.install(package, locked).await,
        None => installer.newest(package).await,
    };
    installed.map(|(_, locked)| locked).map_err(not_installed)
}

/// Refuses an image that cannot be run here, before anything of it is fetched.
pub(super) fn check_boundary(package: &Package, plan: &StdioPlan, surroundings: &Surroundings) -> Result<(), Outage> {
    if !package.is_image() {
        return Ok(());
    }
    plan.sandbox.look_round(&surroundings.host).map_err(|error| refused(&error))
}

/// The same program with nothing that it could use against anybody: no secret, no network, no system call beyond the usual (local sockets
/// lead to services of this machine), and it writes nothing. Whoever has not taken a
/// version yet only wants to know what it says of its tools.
pub(crate) fn without_rights(plan: &StdioPlan) -> StdioPlan {
    let mut plan = plan.clone();
    plan.network = Network::None;
    plan.seccomp = plan.seccomp.without_added();
    // A secret that `read` names is shown; of any other the folder at most.
    let secrets: BTreeSet<_> = plan.own.secrets.iter().filter_map(|file| file.canonicalize().ok()).collect();
    plan.read.retain(|root| root.canonicalize().map_or(true, |root| !secrets.contains(&root)));
    plan.read.append(&mut plan.write);
    plan.deny_write.clear();
    plan.environment.values_mut().chain(&mut plan.arguments).for_each(|text| *text = without_secrets(text));
    plan
}

/// The text with something else in the place of each secret: what insists on having one starts all the same.
fn without_secrets(text: &Template) -> Template {
    let part = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Secret(_) => PLACEHOLDER.to_owned(),
    };
    Template::text(text.parts().iter().map(part).collect::<String>())
}

/// Starts a version of a server in its sandbox, and asks it for its tools.
///
/// # Errors
/// When it does not start, or does not tell them.
pub(crate) async fn tools(
    plan: &ServerPlan,
    stdio: &StdioPlan,
    surroundings: &Arc<Surroundings>,
    locked: Locked,
    grace: Duration,
) -> Result<Arc<[Entry]>, Outage> {
    let reached = ToChild::new(plan, stdio.clone(), surroundings.clone()).exactly(locked).reach(None, &|_| {}).await?;
    let own = Own::new(&Arc::from(plan.name.as_str()), &surroundings.identity);
    let fetched = fetch(&*reached.server, &own, Kind::Tools, plan.timeouts.list).await;
    reached.hold.close(grace).await;
    fetched.map(|fetched| fetched.entries).map_err(|failure| Outage::of_failure(&plan.name, &failure))
}

/// Why a package is not there.
pub(super) fn not_installed(error: install::Error) -> Outage {
    Outage { hint: error.hint().map(Into::into), last_words: error.last_words().to_vec(), ..Outage::new(error.to_string()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::path::Path;

    use sallyport_sandbox::SystemCalls;

    use super::*;
    use crate::own_files::OwnFiles;
    use crate::upstream::launch::own_rules::tests::plan;

    #[test]
    fn without_rights_no_secret_is_shown_nothing_is_written_and_nobody_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("token");
        std::fs::write(&secret, "secret").unwrap();
        let project = Path::new("/project");
        let given = StdioPlan {
            own: OwnFiles { secrets: [secret.clone()].into(), ..OwnFiles::default() }.into(),
            read: vec![secret, "/data".into()],
            network: Network::Host,
            seccomp: SystemCalls::parse(&["+local-sockets", "-ipc"]).unwrap(),
            ..plan(project.join("sallyport.toml"), project)
        };
        let tried = without_rights(&given);
        assert_eq!((tried.read, tried.write), (vec!["/data".into(), project.to_owned()], Vec::new()));
        assert_eq!((tried.network, tried.seccomp), (Network::None, SystemCalls::parse(&["-ipc"]).unwrap()));
    }
}
