//! The policies of one server, checked against its tools, and sorted by what they are about.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Entity, EntityUid, PolicyId, PolicySet, RestrictedExpression, ValidationMode, ValidationWarning, Validator,
};
use serde_json::Value;

use super::mentions::Mentions;
use super::names::{CALL, OTHER_ACTIONS, of_server, type_name, uid};
use super::schema::{PIN, schema};
use super::shape::{Member, Shape, members};
use super::text::Placed;
use crate::{InvalidPolicy, Kinds, KnownTool, Resource, ResourceKind};

/// What is evaluated for one tool, or for one kind of other thing: few policies out of all.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) policies: PolicySet,
    pub(super) action: EntityUid,
    pub(super) resource: EntityUid,
    /// The action with the group that it is in, where it is in one.
    pub(super) does: Option<Entity>,
    /// The policies that ask for a person, and why.
    pub(super) asking: HashMap<PolicyId, Arc<str>>,
    /// The policies about a tool that say the same of each call of a caller's.
    pub(super) of_no_call: HashSet<PolicyId>,
    /// What the policies look at.
    pub(super) mentions: Mentions,
    /// The type of a tool's arguments.
    pub(super) arguments: Option<Shape>,
}

/// All slices of one server.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    pub(super) tools: HashMap<String, Arc<Slice>>,
    /// Policies that are about what is no tool, by kind and action; their resource is put in with each request.
    others: HashMap<(ResourceKind, &'static str), (Vec<Placed>, Mentions)>,
}

/// Checks the policies against the tools of a server and sorts them. What is about tools alone that may be there beside
/// them (`SERVER/TOOL`) is left out.
///
/// # Errors
/// Each policy that does not fit, or can never match.
pub(super) fn compile(
    policies: &[Placed],
    server: &str,
    tools: &[KnownTool<'_>],
    may_be_beside: &dyn Fn(&str) -> bool,
    kinds: &Kinds,
) -> Result<Compiled, Vec<InvalidPolicy>> {
    let shapes: BTreeMap<String, Shape> = tools.iter().map(|tool| (of_server(server, tool.name), shape(server, tool, kinds))).collect();
    let own = of_server(server, "");
    let is_beside = |name: &str| name.starts_with(&own) && !shapes.contains_key(name) && may_be_beside(name);
    let is_not_here = |name: &str| is_beside(name) || (name.contains('/') && !name.starts_with(&own));
    let concerns = |policy: &&Placed| may_concern(policy, server) && !names_alone(policy, &is_not_here);
    let of_server_alone: Vec<&Placed> = policies.iter().filter(concerns).collect();
    check(&of_server_alone, server, &shapes, &is_beside).map_err(|mut errors| {
        for error in &mut errors {
            let policy = of_server_alone.iter().find(|policy| policy.place() == error.place);
            if let Some((message, hint)) = policy.and_then(|policy| undeclared(policy, server, tools, kinds)) {
                (error.message, error.hint) = (message, hint);
            }
        }
        errors.dedup();
        errors
    })?;
    let own = |name: &str| slice(&of_server_alone, server, name, shapes.get(&of_server(server, name)).cloned());
    let tools = tools.iter().filter_map(|tool| Some((tool.name.to_owned(), Arc::new(own(tool.name)?)))).collect();
    let mut others = HashMap::new();
    for kind in [ResourceKind::Resource, ResourceKind::Prompt, ResourceKind::Method] {
        for (action, _) in OTHER_ACTIONS.iter().filter(|(_, types)| types.contains(&type_name(kind))) {
            let about = about_others(&of_server_alone, server, kind, action);
            let mentions = about.iter().fold(Mentions::default(), |all, policy| all.and(&policy.mentions));
            others.insert((kind, *action), (about, mentions));
        }
    }
    Ok(Compiled { tools, others })
}

impl Slice {
    /// The same with other policies.
    pub(super) fn with(&self, policies: PolicySet, mentions: Mentions) -> Self {
        let Self { action, resource, does, asking, of_no_call, arguments, .. } = self;
        let (action, resource, does) = (action.clone(), resource.clone(), does.clone());
        let (asking, of_no_call, arguments) = (asking.clone(), of_no_call.clone(), arguments.clone());
        Self { policies, action, resource, does, asking, of_no_call, mentions, arguments }
    }

    /// The tool or other thing that it is for, as Cedar sees it.
    pub(super) fn thing(&self, resource: &Resource<'_>) -> Option<Entity> {
        let (text, truth) = (|text: &str| RestrictedExpression::new_string(text.to_owned()), RestrictedExpression::new_bool);
        let attributes = HashMap::from([
            ("server".to_owned(), text(resource.server)),
            ("name".to_owned(), text(resource.name)),
            ("readOnly".to_owned(), truth(resource.changes_nothing())),
            ("destructive".to_owned(), truth(resource.is_destructive())),
            ("idempotent".to_owned(), truth(resource.is_idempotent())),
            ("openWorld".to_owned(), truth(resource.is_open_world())),
            ("trusted".to_owned(), truth(resource.trusted)),
            ("pin".to_owned(), RestrictedExpression::new_entity_uid(uid(PIN, resource.pin.as_str())?)),
        ]);
        Entity::new(self.resource.clone(), attributes, HashSet::from([uid("Server", resource.server)?])).ok()
    }
}

impl Compiled {
    /// The slice of something that is no tool.
    pub(super) fn other(&self, resource: &Resource<'_>, action: &'static str) -> Option<Slice> {
        let (policies, mentions) = self.others.get(&(resource.kind, action))?;
        let (does, thing) = (uid("Action", action)?, super::names::resource(resource)?);
        Some(Slice {
            policies: PolicySet::from_policies(policies.iter().map(|placed| placed.policy.clone())).ok()?,
            action: does,
            resource: thing,
            does: None,
            asking: asking(policies),
            of_no_call: HashSet::new(), // made for one request, which is decided faster than it is found out what holds for all
            mentions: mentions.clone(),
            arguments: None,
        })
    }
}

/// The type of a tool's arguments.
fn shape(server: &str, tool: &KnownTool<'_>, kinds: &Kinds) -> Shape {
    let schema: Value = tool.input_schema.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let mut members = members(&schema, 0).unwrap_or_default();
    for (name, kind) in kinds.told(server, tool.name) {
        let is_required = members.get(name).is_some_and(|member| member.is_required);
        let apart = Shape::of_kind(kind);
        let shape =
            if matches!(members.get(name), Some(Member { shape: Shape::List(_), .. })) { Shape::List(Box::new(apart)) } else { apart };
        members.insert(name.to_owned(), Member { shape, is_required });
    }
    Shape::Record(members)
}

/// What is wrong, and what to do, where a policy looks into an argument that is declared for some tools, and is a mere text in others that
/// it is about.
fn undeclared(policy: &Placed, server: &str, tools: &[KnownTool<'_>], kinds: &Kinds) -> Option<(String, String)> {
    let call = uid("Action", CALL)?;
    let is_about = |tool: &&KnownTool<'_>| {
        let named = [uid("Action", &of_server(server, tool.name)), uid("Tool", &of_server(server, tool.name)), uid("Server", server)];
        matches!(&named, [Some(action), Some(own), Some(home)] if policy.concerns(&[action, &call], "Tool", &[own, home]))
    };
    let declared: BTreeSet<&str> = tools
        .iter()
        .flat_map(|tool| kinds.told(server, tool.name))
        .map(|(name, _)| name)
        .filter(|name| policy.mentions.has(name))
        .collect();
    let takes =
        |tool: &KnownTool<'_>, name: &str| matches!(shape(server, tool, kinds), Shape::Record(members) if members.contains_key(name));
    declared.into_iter().find_map(|name| {
        let (told, others): (Vec<&KnownTool<'_>>, Vec<_>) = tools
            .iter()
            .filter(|tool| takes(tool, name))
            .partition(|tool| kinds.told(server, tool.name).iter().any(|(own, _)| *own == name));
        let other = others.iter().copied().find(is_about)?;
        let all: Vec<String> = told.iter().chain(&others).map(|tool| format!("{:?}", tool.name)).collect();
        Some((
            format!("it looks into `{name}`, which is a mere text in the tool `{}`", other.name),
            format!("declare it there, too: `tools = [{}]` in the rule for the argument", all.join(", ")),
        ))
    })
}

/// Whether the head of a policy leaves room for anything of that server.
fn may_concern(policy: &Placed, server: &str) -> bool {
    let is_of = |uid: &EntityUid| {
        let id = uid.id().unescaped();
        match uid.type_name().to_string().as_str() {
            "Server" => id == server,
            _ => id.split_once('/').is_none_or(|(own, _)| own == server),
        }
    };
    policy.head.actions.as_ref().is_none_or(|actions| actions.iter().any(is_of)) && policy.head.resource.as_ref().is_none_or(is_of)
}

/// Whether the head of a policy is about such tools alone.
fn names_alone(policy: &Placed, is_such: &dyn Fn(&str) -> bool) -> bool {
    let is_such = |uid: &EntityUid| is_such(uid.id().unescaped());
    let is_tool = |uid: &&EntityUid| uid.type_name().to_string() == "Tool";
    policy.head.actions.as_ref().is_some_and(|actions| actions.iter().all(is_such))
        || policy.head.resource.as_ref().filter(is_tool).is_some_and(is_such)
}

fn check(
    policies: &[&Placed],
    server: &str,
    shapes: &BTreeMap<String, Shape>,
    is_beside: &dyn Fn(&str) -> bool,
) -> Result<(), Vec<InvalidPolicy>> {
    let named = policies.iter().flat_map(|policy| policy.head.actions.iter().flatten());
    let mut others: BTreeSet<String> = named.map(|action| action.id().unescaped().to_owned()).collect();
    others.retain(|name| name.contains('/') && !shapes.contains_key(name));
    let mut errors = absent(policies, server, shapes, is_beside);
    if !errors.is_empty() {
        return Err(errors);
    }
    let schema = schema(shapes, &others).map_err(|error| {
        let hint = "rules for arguments cannot mend this; ask who made the server".to_owned();
        vec![InvalidPolicy {
            place: format!("servers.{server}"),
            message: format!("its tools have no schema that Cedar takes: {error}"),
            hint,
        }]
    })?;
    errors.extend(ill_typed(policies, schema));
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// What strict validation says; of warnings, that a policy for one action can never match.
pub(super) fn ill_typed(policies: &[&Placed], schema: cedar_policy::Schema) -> Vec<InvalidPolicy> {
    let Ok(set) = PolicySet::from_policies(policies.iter().map(|placed| placed.policy.clone())) else { return Vec::new() };
    let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
    let mut errors: Vec<InvalidPolicy> = result
        .validation_errors()
        .map(|error| InvalidPolicy {
            place: error.policy_id().to_string(),
            message: told(&error.to_string()),
            hint: miette::Diagnostic::help(error).map_or_else(
                || {
                    "`context.args` has what the tool's schema and the rules for its arguments say; look for what is optional with `has`"
                        .to_owned()
                },
                |help| help.to_string(),
            ),
        })
        .collect();
    for warning in result.validation_warnings() {
        let is_of_one = |policy: &&&Placed| policy.policy.id() == warning.policy_id() && names_one_action(policy);
        if let (ValidationWarning::ImpossiblePolicy(_), Some(policy)) = (warning, policies.iter().find(is_of_one)) {
            let hint = "nothing that is done so has such a resource or such arguments: take it out or correct it";
            errors.push(InvalidPolicy { place: policy.place(), message: "it can never match".into(), hint: hint.into() });
        }
    }
    errors
}

/// Without the policy's id, which is its place and told beside it.
fn told(error: &str) -> String {
    error.split_once(", ").filter(|(head, _)| head.starts_with("for policy")).map_or(error, |(_, rest)| rest).to_owned()
}

/// Whether it is about one action alone, so that it has to match there or nowhere.
fn names_one_action(policy: &Placed) -> bool {
    matches!(policy.policy.action_constraint(), ActionConstraint::Eq(action) if action.id().unescaped() != CALL)
}

/// Tools that heads name and the server does not have.
fn absent(policies: &[&Placed], server: &str, shapes: &BTreeMap<String, Shape>, is_beside: &dyn Fn(&str) -> bool) -> Vec<InvalidPolicy> {
    let mut errors = Vec::new();
    for policy in policies {
        let resource = policy.head.resource.iter().filter(|uid| uid.type_name().to_string() == "Tool");
        for named in policy.head.actions.iter().flatten().chain(resource) {
            let id = named.id().unescaped();
            if id.split_once('/').is_some_and(|(own, _)| own == server) && !shapes.contains_key(id) && !is_beside(id) {
                let names: Vec<&str> = shapes.keys().map(String::as_str).take(20).collect(); // enough to see a misspelling
                errors.push(InvalidPolicy {
                    place: policy.place(),
                    message: format!("server `{server}` has no tool {id:?}, so the policy can never match"),
                    hint: format!("its tools are: {}", names.join(", ")),
                });
            }
        }
    }
    errors
}

fn slice(policies: &[&Placed], server: &str, name: &str, arguments: Option<Shape>) -> Option<Slice> {
    let (action, call) = (uid("Action", &of_server(server, name))?, uid("Action", CALL)?);
    let (tool, home) = (uid("Tool", &of_server(server, name))?, uid("Server", server)?);
    let about: Vec<&&Placed> = policies.iter().filter(|policy| policy.concerns(&[&action, &call], "Tool", &[&tool, &home])).collect();
    let doing = Entity::new_no_attrs(action.clone(), HashSet::from([call]));
    Some(Slice {
        policies: PolicySet::from_policies(about.iter().map(|placed| placed.policy.clone())).ok()?,
        action,
        resource: tool,
        does: Some(doing),
        asking: asking(about.iter().copied().copied()),
        of_no_call: about.iter().filter(|placed| placed.mentions.is_of_no_call()).map(|placed| placed.policy.id().clone()).collect(),
        mentions: about.iter().fold(Mentions::default(), |all, policy| all.and(&policy.mentions)),
        arguments,
    })
}

/// Those that ask for a person.
fn asking<'p>(policies: impl IntoIterator<Item = &'p Placed>) -> HashMap<PolicyId, Arc<str>> {
    policies.into_iter().filter_map(|placed| Some((placed.policy.id().clone(), Arc::clone(placed.asks.as_ref()?)))).collect()
}

fn about_others(policies: &[&Placed], server: &str, kind: ResourceKind, action: &str) -> Vec<Placed> {
    let (Some(action), Some(home)) = (uid("Action", action), uid("Server", server)) else { return Vec::new() };
    let own = |policy: &&&Placed| {
        // One that names a single thing is left to Cedar: URIs and prompts are not known beforehand.
        let single = policy.head.resource.iter().filter(|thing| thing.type_name().to_string() == type_name(kind));
        let things: Vec<&EntityUid> = std::iter::once(&home).chain(single).collect();
        policy.concerns(&[&action], type_name(kind), &things)
    };
    policies.iter().filter(own).map(|policy| (*policy).clone()).collect()
}
