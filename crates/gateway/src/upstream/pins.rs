//! Whether tools are still what they were when the gateway saw them first: the digest of each definition is compared with the recorded one.
//!
//! That is done when a list has come, not when a tool is called: how a tool stands is a part of its entry in the list.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sallyport_policy::Pin;
use sallyport_protocol::{RawJson, RawObject};
use sallyport_store::Store;
use sallyport_store::pin::{PinnedServer, ToolPins};
use sallyport_telemetry::Folders;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use crate::plan::{ServerPlan, Source};
use crate::seldom::Seldom;
use crate::upstream::listing::Entry;
use crate::upstream::way_out::{connect_tool, of_store, open_store};
use crate::upstream::{Outage, Person, Surroundings};

/// What models read of a tool, and policies decide by. What else may be in a definition (`_meta`, icons) is for programs and people, and
/// may be another each time it is told.
const COMPARED: [&str; 6] = ["name", "title", "description", "inputSchema", "outputSchema", "annotations"];
/// Tools of a server of which is recorded what they are: more than any client can put before a model. Each takes some 100 bytes of the store,
/// and where each caller is told other tools, for each of them.
const MOST: usize = 1_000;
/// Bytes of a name of one of these: twice what the specification allows.
const LONGEST_NAME: usize = 256;

/// How long after a version that came in beside another is everybody's its tools may still be compared with what the other's were: whoever
/// locks it for all forgets those right after that.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(30);

/// What is recorded of tools. It lies in the store, which several processes may share.
pub struct Pins {
    folders: Folders,
    /// Opened when a server has listed its tools.
    store: OnceCell<Store>,
    failed: Seldom,
}

impl Pins {
    /// What a gateway has recorded that keeps its state in these folders.
    #[must_use]
    pub fn new(folders: &Folders) -> Self {
        Self { folders: folders.clone(), store: OnceCell::new(), failed: Seldom::default() }
    }

    /// Opens the store, for who is about to change something after which [`forget`](Self::forget) must not fail.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub(crate) async fn ready(&self) -> Result<(), Outage> {
        self.store().await.map(drop)
    }

    /// Forgets what is recorded of a server's tools, and says of how many: what it tells when it is asked next is recorded.
    ///
    /// # Errors
    /// Where the store cannot be opened or written.
    pub async fn forget(&self, plan: &ServerPlan) -> Result<usize, Outage> {
        self.store().await?.forget_tool_pins(&plan.name, source(plan)).await.map_err(of_store)
    }

    async fn store(&self) -> Result<&Store, Outage> {
        let opened = self.store.get_or_try_init(async || {
            let folders = self.folders.clone();
            let opening = tokio::task::spawn_blocking(move || open_store(&folders)); // a disk is waited for
            opening.await.unwrap_or_else(|_| Err(Outage::new("opening the store broke off, which is a fault of ours")))
        });
        opened.await
    }

    /// What is recorded of a server's tools: `new`, where that is given and nothing was.
    async fn recorded(&self, of: &PinnedServer, new: Option<ToolPins>) -> Result<ToolPins, Outage> {
        let store = self.store().await?;
        let known = store.tool_pins(of.clone()).await.map_err(of_store)?;
        match new.filter(|_| known.is_empty()) {
            Some(new) => store.pin_tools(of.clone(), new).await.map_err(of_store),
            None => Ok(known),
        }
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Pins")
    }
}

/// With what the tools of one server are compared.
pub(crate) enum Pinning {
    /// With nothing: this program says what they are.
    BuiltIn,
    /// With what is recorded.
    Recorded {
        pins: Arc<Pins>,
        of: PinnedServer,
        /// Where it came in beside another version, of which the record is: since when it is everybody's. Until then nothing it says is recorded.
        beside: Option<OnceLock<Instant>>,
    },
}

impl Pinning {
    /// How the tools of the server that `plan` describes are compared; `person` is in whose name it is called, where that is somebody's.
    pub(crate) fn of(plan: &ServerPlan, surroundings: &Surroundings, person: Option<&Person>) -> Self {
        if matches!(plan.source, Source::BuiltIn(_)) {
            return Self::BuiltIn;
        }
        // A server elsewhere may tell each user other tools. A program is the same for all, whoever starts it.
        let owner = person.filter(|_| !plan.is_program()).map(|person| person.owner.principal.clone()).unwrap_or_default();
        let of = PinnedServer { server: plan.name.clone(), source: source(plan), owner };
        Self::Recorded { pins: surroundings.pins.clone(), of, beside: None }
    }

    /// The same for a newer version of the server beside the one that all others get: what that one tells is what is recorded.
    pub(crate) fn of_canary(self) -> Self {
        match self {
            Self::BuiltIn => Self::BuiltIn,
            Self::Recorded { pins, of, .. } => Self::Recorded { pins, of, beside: Some(OnceLock::new()) },
        }
    }

    /// Takes note that a version that came in beside another is everybody's.
    pub(crate) fn promote(&self) {
        if let Self::Recorded { beside: Some(since), .. } = self {
            let _earlier = since.set(Instant::now()); // once is enough
        }
    }

    /// Puts into each of `tools` how it stands to what is recorded. `false` if that cannot be found out now: as long as nobody knows, nothing
    /// is recorded of any.
    pub(crate) async fn compare(&self, tools: &mut [Entry]) -> bool {
        let Self::Recorded { pins, of, beside } = self else {
            tools.iter_mut().for_each(|tool| tool.pin = Pin::Pinned);
            return true;
        };
        let asking = connect_tool(&of.server);
        let (own, theirs): (Vec<&mut Entry>, Vec<_>) = tools.iter_mut().partition(|tool| tool.raw.to_json() == asking);
        own.into_iter().for_each(|tool| tool.pin = Pin::Pinned);
        if theirs.is_empty() {
            return true;
        }
        let definitions: Vec<RawObject> = theirs.iter().map(|tool| tool.raw.clone()).collect();
        // A list may be long, and this thread carries calls.
        let digests = tokio::task::spawn_blocking(move || definitions.iter().map(digest).collect::<Vec<_>>());
        let Ok(digests) = digests.await else { return false };
        let theirs: Vec<_> = digests.into_iter().zip(theirs).collect();
        let new = || {
            let short = theirs.iter().filter(|(_, tool)| tool.name.len() <= LONGEST_NAME);
            short.take(MOST).map(|(digest, tool)| (tool.name.clone(), *digest)).collect()
        };
        let promoted = beside.as_ref().map(OnceLock::get);
        let records = promoted != Some(None);
        match pins.recorded(of, records.then(new)).await {
            Ok(recorded) => {
                let mut is_recorded = true;
                for (digest, tool) in theirs {
                    tool.pin = stands(recorded.get(&tool.name), &digest);
                    is_recorded &= tool.pin == Pin::Pinned;
                }
                let may_be_the_others = promoted.flatten().is_some_and(|since| since.elapsed() < FORGOTTEN_WITHIN);
                is_recorded || !may_be_the_others
            }
            Err(Outage { why, hint, .. }) => {
                let server = &of.server;
                pins.failed.tell(|others| tracing::error!(server, hint, others, "it cannot be told whether tools were changed: {why}"));
                false
            }
        }
    }
}

fn stands(recorded: Option<&[u8; 32]>, now: &[u8; 32]) -> Pin {
    match recorded {
        None => Pin::Unpinned,
        Some(recorded) if recorded == now => Pin::Pinned,
        Some(_) => Pin::Changed,
    }
}

/// The digest of what the configuration says that a server is. Whoever writes another program or address there begins anew.
fn source(plan: &ServerPlan) -> [u8; 32] {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| put(&mut digest, part);
    match &plan.source {
        Source::BuiltIn(_) => {}
        Source::Remote(remote) => add(remote.public_url().as_bytes()),
        Source::Stdio(stdio) => {
            add(stdio.folder.as_deref().map(|folder| folder.as_os_str().as_encoded_bytes()).unwrap_or_default());
            add(stdio.program.as_bytes());
            stdio.arguments.iter().for_each(|argument| add(argument.to_string().as_bytes()));
        }
    }
    digest.finalize().into()
}

/// With its length before it no part can run into the next.
fn put(digest: &mut Sha256, part: &[u8]) {
    digest.update((part.len() as u64).to_be_bytes());
    digest.update(part);
}

/// The digest of what is compared of a tool. The order of an object's members does not count; all else does, to the way in which a text is
/// written.
fn digest(tool: &RawObject) -> [u8; 32] {
    let mut digest = Sha256::new();
    for member in COMPARED {
        put(&mut digest, &tool.get(member).map(RawJson::in_order).unwrap_or_default()); // no JSON is empty
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests;
