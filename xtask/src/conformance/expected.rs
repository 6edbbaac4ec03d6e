//! What is known beforehand: how much each scenario must have checked to count, and which ones cannot pass.

use super::caller::Era;
use super::gateway::Upstream;

/// Scenarios of servers that are in no revision's lists and concern a gateway: those on the extension of skills.
pub(crate) const BEYOND_THE_LISTS: [&str; 3] = ["sep-2640-skills-directory", "sep-2640-skills-enumeration", "sep-2640-skills-manifest"];

/// How many checks of a scenario pass against a peer that does everything it asks. The suite calls a scenario passed where nothing
/// was checked at all, such as a server that offers nothing or a client that never came.
pub(crate) fn least(scenario: &str) -> usize {
    LEAST.iter().find(|(name, _)| *name == scenario).map_or(USUAL, |(_, least)| *least)
}

/// Most scenarios check one thing, and every message against the schema of its revision.
const USUAL: usize = 2;

/// The others, in the revision where they check less.
const LEAST: &[(&str, usize)] = &[
    // as a server
    ("caching", 8),
    ("elicitation-sep1034-defaults", 6),
    ("elicitation-sep1330-enums", 6),
    ("http-custom-header-server-validation", 10),
    ("http-header-validation", 14),
    ("input-required-result-basic-elicitation", 3),
    ("input-required-result-basic-list-roots", 3),
    ("input-required-result-basic-sampling", 3),
    ("input-required-result-multi-round", 4),
    ("input-required-result-multiple-input-requests", 3),
    ("input-required-result-non-tool-request", 3),
    ("input-required-result-request-state", 3),
    ("input-required-result-validate-input", 3),
    ("json-schema-2020-12", 8),
    ("sep-2164-resource-not-found", 4),
    ("sep-2640-skills-directory", 7),
    ("sep-2640-skills-enumeration", 32),
    ("sep-2640-skills-manifest", 6),
    ("server-initialize", 3),
    ("server-session-lifecycle", 3),
    ("server-sse-multiple-streams", 1),
    ("server-stateless", 30),
    ("tasks-capability-negotiation", 5),
    ("tasks-dispatch-and-envelope", 9),
    ("tasks-lifecycle", 9),
    ("tasks-mrtr-input", 4),
    ("tasks-request-headers", 5),
    ("tasks-request-state-removal", 3),
    ("tasks-required-task-error", 3),
    ("tasks-wire-fields", 4),
    ("tools-list", 3),
    // as a client
    ("elicitation-sep1034-client-defaults", 5),
    ("http-custom-headers", 18),
    ("http-invalid-tool-headers", 12),
    ("http-standard-headers", 10),
    ("initialize", 1),
    ("json-schema-2020-12-preservation", 9),
    ("json-schema-ref-no-deref", 1),
    ("request-metadata", 5),
    ("sep-2322-client-request-state", 5),
    ("sse-retry", 3),
    // as an authorization server
    ("authorization-code-grant", 1),
];

/// Why a scenario that is not scored does not pass.
#[derive(Debug)]
pub(crate) struct Explanation {
    pub(crate) scenario: &'static str,
    /// Behind which upstreams it does not.
    pub(crate) behind: fn(Upstream) -> bool,
    pub(crate) why: &'static str,
}

/// Scenarios of clients that do not pass, and why.
pub(crate) const OF_A_CLIENT: &[Explanation] = &[
    Explanation { scenario: "auth/dpop", behind: |_| true, why: NO_PROOFS },
    Explanation { scenario: "auth/dpop-nonce", behind: |_| true, why: NO_PROOFS },
    Explanation {
        scenario: "auth/wif-jwt-bearer",
        behind: |_| true,
        why: "the gateway has no way to show a platform's own token; the extension is a draft",
    },
];

const NO_PROOFS: &str = "the gateway sends bearer tokens alone; the extension is a draft, and its proof covers bodies as they are sent";

/// Every scenario that does not pass, and why. One that passes after all is an error, so that this list cannot grow old.
pub(crate) const EXPLANATIONS: &[Explanation] = &[
    Explanation {
        scenario: "server-sse-polling",
        behind: |upstream| upstream.face == Era::Modern,
        why: "a modern server may not log what nobody asked for, and an answer with nothing before it is JSON, not a stream to resume",
    },
    Explanation {
        scenario: "tasks-required-task-error",
        behind: is_legacy,
        why: "a client that takes no tasks is to be refused here; the gateway waits for the older server's task and gives it the result",
    },
    Explanation {
        scenario: "tasks-status-notifications",
        behind: |_| true,
        why: "the suite checks nothing here yet; its scenario waits to be rewritten for `subscriptions/listen`",
    },
    Explanation { scenario: "sep-2640-skills-directory", behind: is_legacy, why: NO_SKILLS },
    Explanation { scenario: "sep-2640-skills-enumeration", behind: is_legacy, why: NO_SKILLS },
    Explanation { scenario: "sep-2640-skills-manifest", behind: is_legacy, why: NO_SKILLS },
];

const NO_SKILLS: &str = "skills are declared in the answer to `server/discover`, which the server behind the gateway does not know";

fn is_legacy(upstream: Upstream) -> bool {
    upstream.face == Era::Legacy
}
