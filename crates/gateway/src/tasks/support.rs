//! Who can do tasks: servers and their tools, clients.

use sallyport_protocol::{Client, Discovery, Era, RawJson, RawObject, Revision};

/// The extension of 2026-07-28.
pub(crate) const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// What a client that declares nothing is told to declare (2026-07-28, error -32021).
pub(crate) const REQUIRED: RawJson = RawJson::from_static(r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#);

/// Which of a server's tools may run as tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Support {
    /// It never does, as far as is known.
    #[default]
    Never,
    /// Where the request asks for it (2025-11-25, `execution.taskSupport` "optional").
    Optional,
    /// The request must ask for it (2025-11-25, "required").
    Required,
    /// Where the server thinks fit (the extension).
    ServerDecides,
}

impl Support {
    /// How a tool of a server may run, by what both say of it.
    pub(crate) fn of(discovery: Option<&Discovery>, tool: &RawObject) -> Self {
        let Some(discovery) = discovery.filter(|discovery| can(discovery)) else { return Self::Never };
        if discovery.revision.era() == Era::Modern {
            return Self::ServerDecides;
        }
        let execution = tool.get_object("execution").ok().flatten();
        match execution.and_then(|execution| execution.get_str("taskSupport").map(std::borrow::Cow::into_owned)).as_deref() {
            Some("required") => Self::Required,
            Some("optional") => Self::Optional,
            _ => Self::Never,
        }
    }

    /// The tool's member `execution` in a list for clients of that revision: 2025-11-25 alone has one. A tool whose server decides
    /// may be asked for as a task by such a client, which then gets one in any case.
    pub(crate) const fn execution(self, to: Revision) -> Option<RawJson> {
        match (to, self) {
            (Revision::V2025_11_25, Self::Optional | Self::ServerDecides) => Some(RawJson::from_static(r#"{"taskSupport":"optional"}"#)),
            (Revision::V2025_11_25, Self::Required) => Some(RawJson::from_static(r#"{"taskSupport":"required"}"#)),
            _ => None,
        }
    }
}

/// Whether a server can make tasks of calls of its tools, in the form of its era.
pub(crate) fn can(discovery: &Discovery) -> bool {
    match discovery.revision.era() {
        Era::Modern => declares(&discovery.capabilities, &["extensions", EXTENSION]),
        Era::Legacy => {
            discovery.revision == Revision::V2025_11_25 && declares(&discovery.capabilities, &["tasks", "requests", "tools", "call"])
        }
    }
}

/// Whether a client takes tasks that it did not ask for: a modern one says so with each request.
pub(crate) fn takes(client: &Client) -> bool {
    client.revision.era() == Era::Modern && declares(&client.capabilities, &["extensions", EXTENSION])
}

/// Declares tasks in the form of `revision`, whichever form the servers have. What clients of other revisions are shown comes of it
/// by [`server_capabilities_for`](sallyport_protocol::revisions::server_capabilities_for).
pub(crate) fn announce(capabilities: &mut RawObject, revision: Revision) {
    if revision.era() == Era::Legacy {
        capabilities.set("tasks", RawJson::from_static(r#"{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}"#));
        return;
    }
    let mut extensions = capabilities.get_object("extensions").ok().flatten().unwrap_or_default();
    extensions.set(EXTENSION, RawJson::from_static("{}"));
    capabilities.set("extensions", extensions.to_json());
}

/// Whether there are objects all along that path of members.
fn declares(object: &RawObject, path: &[&str]) -> bool {
    let Some((member, rest)) = path.split_first() else { return true };
    object.get_object(member).ok().flatten().is_some_and(|inner| declares(&inner, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use sallyport_protocol::ServerIdentity;

    fn object(text: &str) -> RawObject {
        RawJson::parse(text.to_owned()).unwrap().object().unwrap()
    }

    fn server(revision: Revision, capabilities: &str) -> Discovery {
        Discovery { revision, capabilities: object(capabilities), identity: ServerIdentity::new("x", "1"), instructions: None }
    }

    #[test]
    fn a_tool_runs_as_a_task_only_where_its_server_can_do_tasks() {
        let core = server(Revision::V2025_11_25, r#"{"tasks":{"list":{},"requests":{"tools":{"call":{}}}}}"#);
        for (execution, support) in [
            (r#"{"execution":{"taskSupport":"required"}}"#, Support::Required),
            (r#"{"execution":{"taskSupport":"optional"}}"#, Support::Optional),
            (r#"{"execution":{"taskSupport":"forbidden"}}"#, Support::Never),
            ("{}", Support::Never),
        ] {
            assert_eq!(Support::of(Some(&core), &object(execution)), support);
            let none = server(Revision::V2025_11_25, r#"{"tasks":{"requests":{"sampling":{}}}}"#);
            assert_eq!(Support::of(Some(&none), &object(execution)), Support::Never);
        }
        let modern = server(Revision::V2026_07_28, r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#);
        assert_eq!(Support::of(Some(&modern), &object("{}")), Support::ServerDecides);
        assert_eq!(Support::of(Some(&server(Revision::V2026_07_28, "{}")), &object("{}")), Support::Never);
    }

    #[test]
    fn only_lists_of_2025_11_25_say_how_a_tool_runs() {
        for support in [Support::Optional, Support::Required, Support::ServerDecides] {
            for revision in Revision::ALL {
                assert_eq!(support.execution(revision).is_some(), revision == Revision::V2025_11_25);
            }
        }
        assert!(Support::Never.execution(Revision::V2025_11_25).is_none());
    }

    #[test]
    fn a_modern_client_says_that_it_takes_tasks_and_no_other_does() {
        let client = |revision, text| Client { revision, capabilities: object(text), info: None };
        let declared = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}},"tasks":{}}"#;
        assert!(takes(&client(Revision::V2026_07_28, declared)));
        assert!(!takes(&client(Revision::V2025_11_25, declared)));
        assert!(!takes(&client(Revision::V2026_07_28, r#"{"extensions":{"io.modelcontextprotocol/tasks":true}}"#)));
    }

    #[test]
    fn what_is_announced_stands_beside_other_extensions() {
        let announced = |revision| {
            let mut capabilities = object(r#"{"extensions":{"a/b":{}}}"#);
            announce(&mut capabilities, revision);
            capabilities.to_json().as_str().to_owned()
        };
        assert_eq!(announced(Revision::V2026_07_28), r#"{"extensions":{"a/b":{},"io.modelcontextprotocol/tasks":{}}}"#);
        assert_eq!(
            announced(Revision::V2025_11_25),
            r#"{"extensions":{"a/b":{}},"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}}"#
        );
    }
}
