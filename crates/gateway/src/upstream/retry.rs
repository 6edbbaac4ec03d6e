//! When a request that failed is sent again: only where that cannot do a thing twice.

use globset::GlobSet;
use sallyport_protocol::{Failure, FailureKind, Method, Request, Retry};

use crate::plan::{ServerPlan, Source};
use crate::upstream::listing::Listing;

/// Which requests of one server may be carried out twice.
#[derive(Debug)]
pub(crate) struct Repeatable {
    /// What the server says of its own tools is believed.
    trusted: bool,
    /// The tools that the configuration names.
    named: GlobSet,
}

impl Repeatable {
    pub(crate) fn of(plan: &ServerPlan) -> Self {
        let mut named = GlobSet::builder();
        for glob in &plan.retry {
            named.add(glob.clone());
        }
        let trusted = plan.trust_annotations || matches!(plan.source, Source::BuiltIn(_));
        Self { trusted, named: named.build().unwrap_or_else(|_| GlobSet::empty()) }
    }

    /// Whether carrying out `request` twice comes to the same as once.
    pub(crate) fn covers(&self, request: &Request, listing: &Listing) -> bool {
        match request.method {
            Method::ToolsCall => request.name().is_some_and(|tool| self.named.is_match(tool.as_ref()) || self.is_trusted(&tool, listing)),
            // These only read, by their definition (MCP, server features).
            Method::ResourcesRead | Method::PromptsGet | Method::Complete | Method::Ping | Method::Discover => true,
            Method::TasksGet | Method::TasksResult | Method::TasksList => true,
            Method::SkillsList | Method::SkillsGet | Method::DirectoryRead => true,
            other => other.is_list(),
        }
    }

    fn is_trusted(&self, tool: &str, listing: &Listing) -> bool {
        let says_so = |name: &str| listing.tools.iter().find(|entry| entry.name == name).is_some_and(super::Entry::is_repeatable);
        self.trusted && says_so(tool)
    }
}

/// Whether a failed request is sent once more: the server was not there, and it either never got the request or may get it twice.
pub(crate) fn is_worth_it(failure: &Failure, repeatable: impl FnOnce() -> bool) -> bool {
    let was_away = matches!(failure.kind, FailureKind::Unreachable | FailureKind::UnknownSession);
    was_away
        && match failure.retry {
            Retry::Safe => true,
            Retry::Unknown => repeatable(),
            Retry::Never => false,
        }
}
