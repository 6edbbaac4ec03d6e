//! What of the files is the gateway's own: no server may change any of it, wherever else it may write, or read what of it is secret.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sallyport_servers::BuiltInConfig;

use crate::config::Diagnostic;
use crate::config::diagnostic::join;
use crate::packages::lock_beside;
use crate::plan::{Plan, ServerPlan, Source};

/// The gateway's own files, all absolute, those of all tenants included.
///
/// Two are always equal: of a server that goes on it matters what of them lies in *its* roots, and that is looked at on the disk
/// (`own_rules::Kept`).
#[derive(Debug, Clone, Default)]
pub struct OwnFiles {
    /// What it goes by: the configuration, policies, certificates.
    pub rules: BTreeSet<PathBuf>,
    /// What says which packages servers run. The gateway makes them, so they may not be there yet.
    pub locks: BTreeSet<PathBuf>,
    /// Where secrets lie: these are not to be read either, but by a server whose own `read` names one.
    pub secrets: BTreeSet<PathBuf>,
}

impl PartialEq for OwnFiles {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl OwnFiles {
    /// Those of the gateway whose whole configuration `plan` is.
    fn of(plan: &Plan) -> Self {
        let file = plan.origin.file.as_deref();
        let whose = std::iter::once(None).chain(plan.tenants.keys().map(|name| Some(&**name)));
        let tls = plan.tls_files();
        let of_tls = |is_key: bool| tls.iter().filter(move |(key, _)| (key == "tls.key") == is_key).map(|(_, file)| (*file).to_owned());
        let secrets = plan.secret_files.iter().map(|secret| PathBuf::from(secret.reference.locator()));
        Self {
            rules: file.map(Path::to_owned).into_iter().chain(plan.policy_files()).chain(of_tls(false)).collect(),
            locks: file.iter().flat_map(|file| whose.clone().filter_map(|tenant| lock_beside(file, tenant))).collect(),
            secrets: secrets.chain(of_tls(true)).collect(),
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.rules.iter().chain(&self.locks).chain(&self.secrets)
    }
}

/// Tells each server of a whole configuration what it must leave alone, and warns where it cannot be kept from that.
pub(crate) fn hand_out(plan: &mut Plan) {
    let own = Arc::new(OwnFiles::of(plan));
    let mut warnings = Vec::new();
    for server in plan.servers.values_mut() {
        tell(server, "servers", &own, &mut warnings);
    }
    for (name, tenant) in &mut plan.tenants {
        let table = format!("{}.servers", join("tenants", name));
        tenant.servers.values_mut().for_each(|server| tell(server, &table, &own, &mut warnings));
    }
    plan.warnings.extend(warnings);
}

fn tell(server: &mut ServerPlan, table: &str, own: &Arc<OwnFiles>, warnings: &mut Vec<Diagnostic>) {
    match &mut server.source {
        Source::Stdio(stdio) => stdio.own = own.clone(),
        Source::BuiltIn(built_in) => {
            let path = join(table, &server.name);
            warnings.extend(is_written_by_checkouts(built_in, own).map(|file| of_checkouts(&path, built_in, file)));
            own.all().for_each(|file| built_in.protect(file.clone()));
            own.secrets.iter().for_each(|file| built_in.hide(file.clone()));
        }
        Source::Remote(_) => {}
    }
}

/// A file that the built-in `git` could write: a checkout writes whatever a commit holds.
fn is_written_by_checkouts<'a>(built_in: &BuiltInConfig, own: &'a OwnFiles) -> Option<&'a PathBuf> {
    let BuiltInConfig::Git(git) = built_in else { return None };
    own.all().find(|file| git.write && file.starts_with(&git.root))
}

fn of_checkouts(path: &str, built_in: &BuiltInConfig, file: &Path) -> Diagnostic {
    let root = built_in.place().map(|(_, root)| root.display().to_string()).unwrap_or_default();
    let message = format!("callers may write {root}, where {} lies, which the gateway goes by", file.display());
    Diagnostic::new(format!("{path}.builtin.git.write"), message)
        .hint("a checkout could change the rules: keep the configuration, and the files that it names, elsewhere")
}
