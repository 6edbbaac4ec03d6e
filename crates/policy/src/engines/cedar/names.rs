//! How things are called in Cedar.

use std::str::FromStr;

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

/// The thing of that type and name. `None` is never the case: every type here is a name.
pub(super) fn uid(of_type: &str, id: &str) -> Option<EntityUid> {
    let of_type = EntityTypeName::from_str(of_type).ok()?;
    Some(EntityUid::from_type_name_and_id(of_type, EntityId::new(id)))
}

/// A server's thing, or a tool's action, as Cedar calls it.
pub(super) fn of_server(server: &str, own: &str) -> String {
    format!("{server}/{own}")
}

/// The resource of a request.
pub(super) fn resource(resource: &Resource<'_>) -> Option<EntityUid> {
    uid(type_name(resource.kind), &of_server(resource.server, resource.name))
}
