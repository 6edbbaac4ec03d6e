//! Waits for servers that are starting, and shows what they are at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use indicatif::ProgressBar;
use sallyport_gateway::upstream::{Upstream, UpstreamState};

use crate::output;
use crate::tools::shown;

/// How long a start is waited for that installs nothing: what clients give a server at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long installations are waited for: none may take longer.
const INSTALLING: Duration = Duration::from_secs(5 * 60);

/// How often the line on the terminal is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Starts `servers` and waits until each has told what it offers, or failed. On a terminal, a line on stderr says what goes on; elsewhere
/// each installation is told of when it begins, since it may take minutes.
pub(crate) async fn wait_for(servers: &[Arc<Upstream>]) {
    let mut told = BTreeMap::new();
    let line = ProgressBar::new_spinner(); // on stderr, and nothing at all where that is no terminal
    let begun = Instant::now();
    let mut last_installing = begun;
    let mut all = std::pin::pin!(join_all(servers.iter().map(|server| server.listed(INSTALLING))));
    while tokio::time::timeout(LOOK_EVERY, &mut all).await.is_err() {
        if servers.iter().any(|server| server.state().is_installing()) {
            last_installing = Instant::now();
        }
        if last_installing.elapsed() >= PATIENCE || begun.elapsed() >= INSTALLING {
            break;
        }
        if line.is_hidden() {
            servers.iter().for_each(|server| tell_of_installation(server, &mut told));
        }
        let doing: Vec<String> = servers.iter().filter_map(|server| Some(format!("{}: {}", server.name(), doing(server)?))).collect();
        line.set_message(doing.join(" · "));
        line.tick();
    }
    line.finish_and_clear();
}

/// Says once what a server is installing.
fn tell_of_installation(server: &Upstream, told: &mut BTreeMap<String, String>) {
    let state = server.state();
    let UpstreamState::Starting { doing, .. } = &state else { return };
    let name = server.name().to_string();
    if state.is_installing() && told.get(&name).is_none_or(|before| before != doing) {
        output::note(format!("server `{name}`: {}", shown(doing)));
        told.insert(name, doing.to_string());
    }
}

/// What a server that is starting is at.
pub(crate) fn doing(server: &Upstream) -> Option<String> {
    match server.state() {
        UpstreamState::Starting { since, doing } => Some(format!("{doing}, for {} s so far", since.elapsed().as_secs())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::path::Path;

    use sallyport_gateway::config::{self, Invocation};
    use sallyport_gateway::plan::Origin;
    use sallyport_gateway::upstream::Freshness;
    use sallyport_telemetry::Folders;

    use super::*;

    /// A server that is there, and two that are not.
    const CONFIGURATION: &str = r#"
[servers.here]
builtin = { filesystem = {} }
[servers.missing]
command = ["no-such-program"]
[servers.nobody]
url = "http://127.0.0.1:9/mcp"
"#;

    fn servers(folder: &Path) -> Vec<Arc<Upstream>> {
        let invocation = Invocation { file: None, listen: None, folder: folder.to_owned(), variables: Arc::new(|_| None) };
        let plan = config::read(CONFIGURATION, Origin { file: None, folder: folder.to_owned() }, &invocation).unwrap();
        let folders = Folders { state: folder.join("s"), cache: folder.join("c"), config: folder.join("g") };
        let surroundings = Arc::new(crate::start::surroundings_of(folders));
        plan.servers.values().map(|server| Upstream::new(server.clone(), surroundings.clone())).collect()
    }

    #[tokio::test]
    async fn each_server_is_waited_for_until_it_tells_or_fails() {
        let folder = tempfile::tempdir().unwrap();
        let servers = servers(folder.path());
        wait_for(&servers).await;
        assert!(servers.iter().all(|server| doing(server).is_none()));
        let [here, missing, nobody] = [0, 1, 2].map(|at| servers[at].listing().freshness.clone());
        assert_eq!(here, Freshness::Fresh);
        assert!(matches!(missing, Freshness::Gone { .. }) && matches!(nobody, Freshness::Gone { .. }));
    }
}
