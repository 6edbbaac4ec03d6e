//! How things are called in Cedar.

use std::str::FromStr;
use std::sync::LazyLock;

use cedar_policy::{EntityId, EntityTypeName, EntityUid};

use crate::{Action, Question, Resource, ResourceKind};

/// The group of all tools' actions.
pub(super) const CALL: &str = "call";
/// What is done with things that are no tools, and the types that it is done with.
pub(super) const OTHER_ACTIONS: &[(&str, &[&str])] = &[
    ("read", &["Resource"]),
    ("subscribe", &["Resource"]),
    ("get", &["Prompt"]),
    ("complete", &["Prompt", "Resource"]),
    ("method", &["Method"]),
];

/// The types of resources.
pub(super) fn type_name(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Tool => "Tool",
        ResourceKind::Resource => "Resource",
        ResourceKind::Prompt => "Prompt",
        ResourceKind::Method => "Method",
    }
}

/// What is done with what is no tool; for a list, what it is listed for.
pub(super) fn other_action(question: &Question<'_>) -> &'static str {
    match (question.action, question.resource.kind) {
        (_, ResourceKind::Method) => "method",
        (Action::Complete, _) => "complete",
        (Action::Subscribe, _) => "subscribe",
        (_, ResourceKind::Prompt) => "get",
        (_, ResourceKind::Resource | ResourceKind::Tool) => "read",
    }
}

/// Every type of the schema, parsed once: Cedar's parser takes longer over a name than its evaluator over a policy.
static TYPES: LazyLock<Vec<(&str, EntityTypeName)>> = LazyLock::new(|| {
    let names = ["User", "Group", "Action", "Server", "Tool", "Resource", "Prompt", "Method", super::schema::PIN];
    names.into_iter().filter_map(|name| Some((name, EntityTypeName::from_str(name).ok()?))).collect()
});

/// The thing of that type and name. `None` is never the case: every type that is asked for is one of the schema.
pub(super) fn uid(of_type: &str, id: &str) -> Option<EntityUid> {
    let (_, of_type) = TYPES.iter().find(|(name, _)| *name == of_type)?;
    Some(EntityUid::from_type_name_and_id(of_type.clone(), EntityId::new(id)))
}

/// A server's thing, or a tool's action, as Cedar calls it.
pub(super) fn of_server(server: &str, own: &str) -> String {
    format!("{server}/{own}")
}

/// The resource of a request.
pub(super) fn resource(resource: &Resource<'_>) -> Option<EntityUid> {
    uid(type_name(resource.kind), &of_server(resource.server, resource.name))
}
