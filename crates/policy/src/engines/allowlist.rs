//! Lists of what is allowed and denied, by glob over server and name.
//!
//! All rules that concern a server are compiled to one entry when the configuration is read, so that a decision is one
//! look-up and two or three automata over the name, without allocation.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use globset::{Glob, GlobMatcher, GlobSet, GlobSetBuilder};

use crate::arguments::ArgumentGuard;
use crate::rooms::elsewhere;
use crate::{
    Answer, ArgumentRule, Arguments, Config, Decision, Effect, EngineFailure, InvalidPolicy, Place, PolicyEngine, Question, Reason,
    Resource, ResourceKind, ServerRules, Verdict,
};

/// Most rules in one configuration, and most globs in one list: far above what a person maintains, low enough that the
/// automata stay small.
const MOST_ENTRIES: usize = 1000;
/// Longest glob in bytes; names of tools are at most 128 (MCP, tool names), URIs are usually shorter than this.
const LONGEST_GLOB: usize = 1024;

/// The compiled lists.
#[derive(Debug)]
pub struct Allowlist {
    servers: HashMap<String, Vec<CompiledRules>>,
}

/// One set of rules as it applies to one server.
#[derive(Clone, Debug)]
struct CompiledRules {
    deny: GlobSet,
    deny_place: Place,
    ask: GlobSet,
    ask_place: Place,
    allow: Option<GlobSet>,
    allow_place: Place,
    /// Where `read_only = true` stands.
    read_only: Option<Place>,
    arguments: Vec<(Place, Arc<ArgumentGuard>)>,
}

impl Allowlist {
    /// Compiles the rules of `config` and those that stand on the `servers` themselves, which has an entry for every
    /// configured server.
    ///
    /// # Errors
    /// Every rule that cannot be understood or can never match.
    pub fn build(config: &Config, servers: &BTreeMap<String, ServerRules>) -> Result<Self, Vec<InvalidPolicy>> {
        let mut errors = Vec::new();
        let mut compiled: HashMap<String, Vec<CompiledRules>> = servers.keys().map(|name| (name.clone(), Vec::new())).collect();
        for (name, rules) in servers.iter().filter(|(_, rules)| **rules != ServerRules::default()) {
            let rules = compile(rules, &format!("servers.{name}"), &mut errors);
            compiled.entry(name.clone()).or_default().push(rules);
        }
        spread_rules(config, &mut compiled, &mut errors);
        if errors.is_empty() { Ok(Self { servers: compiled }) } else { Err(errors) }
    }
}

impl PolicyEngine for Allowlist {
    fn name(&self) -> &'static str {
        "allowlist"
    }

    /// It looks at the text of those that there is a rule for.
    fn reads_arguments(&self) -> bool {
        false
    }

    /// The action makes no difference here: what may be used may be seen, and the other way round. A server that the
    /// configuration did not have when the rules were compiled is a failure: nobody knows which rules are meant for it.
    fn evaluate<'a>(&'a self, question: &'a Question<'a>) -> Answer<'a> {
        let resource = &question.resource;
        let Some(rules) = self.servers.get(resource.server) else {
            return Answer::Now(Err(EngineFailure(format!("server `{}` is not in the configuration", resource.server))));
        };
        if resource.is_server() {
            let decision = denied(rules, resource).or_else(|| left_open(rules));
            return Answer::Now(Ok(decision.map_or(Verdict::Silent, Verdict::Decided)));
        }
        let rest = |refused: Option<Decision>| {
            let decision = refused.or_else(|| asked(rules, resource));
            let decision = decision.or_else(|| allowed(rules, resource)).or_else(|| restricted(rules, resource));
            Ok(decision.map_or(Verdict::Silent, Verdict::Decided))
        };
        let (decision, guards) = (denied(rules, resource), guards_of(rules, resource));
        match resource.arguments {
            Arguments::Given(text) if decision.is_none() && guards.iter().any(|(_, guard)| guard.is_work()) => {
                let (text, place) = (text.to_owned(), guards[0].0.clone());
                let looked = elsewhere(question.principal.tenant(), move || refused(&guards, &text));
                Answer::Later(Box::pin(async move { rest(looked.await.unwrap_or_else(|none| Some(unfit(place, none.to_string())))) }))
            }
            Arguments::Given(text) => Answer::Now(rest(decision.or_else(|| refused(&guards, text)))),
            Arguments::Recorded(recorded) => Answer::Now(rest(decision.or_else(|| refused_then(&guards, recorded, question)))),
            Arguments::Unknown => Answer::Now(rest(decision)),
        }
    }
}

/// A `deny` list of any rule names it.
fn denied(rules: &[CompiledRules], resource: &Resource<'_>) -> Option<Decision> {
    let rule = rules.iter().find(|rule| rule.deny.is_match(resource.name))?;
    let entry = rule.deny.matches(resource.name).first().copied().unwrap_or_default();
    let place = Place::new(&format!("{}[{entry}]", rule.deny_place));
    Some(Decision::new(Effect::Deny, Reason::DenyListed, place))
}

/// An `ask` list of any rule names it.
fn asked(rules: &[CompiledRules], resource: &Resource<'_>) -> Option<Decision> {
    let rule = rules.iter().find(|rule| rule.ask.is_match(resource.name))?;
    let entry = rule.ask.matches(resource.name).first().copied().unwrap_or_default();
    Some(Decision::new(Effect::Ask, Reason::AskListed, Place::new(&format!("{}[{entry}]", rule.ask_place))))
}

/// The rules for its arguments. Arguments are looked into only where there are some.
fn guards_of(rules: &[CompiledRules], resource: &Resource<'_>) -> Vec<(Place, Arc<ArgumentGuard>)> {
    rules.iter().flat_map(|rule| &rule.arguments).filter(|(_, guard)| guard.concerns(resource.name)).cloned().collect()
}

/// A rule for its arguments is not met.
fn refused(guards: &[(Place, Arc<ArgumentGuard>)], arguments: &str) -> Option<Decision> {
    guards.iter().find_map(|(place, guard)| Some(unfit(place.clone(), guard.refuses(arguments)?)))
}

/// The same of a call of the past.
fn refused_then(guards: &[(Place, Arc<ArgumentGuard>)], recorded: &crate::Recorded, question: &Question<'_>) -> Option<Decision> {
    guards.iter().find_map(|(place, guard)| {
        let why = guard.refuses_recorded(recorded).unwrap_or_else(|what| {
            question.lacks(place.as_str(), what);
            None
        });
        Some(unfit(place.clone(), why?))
    })
}

fn unfit(place: Place, why: String) -> Decision {
    Decision { detail: Some(why.into()), ..Decision::new(Effect::Deny, Reason::Argument, place) }
}

/// An `allow` list names it, or `read_only` lets it pass.
fn allowed(rules: &[CompiledRules], resource: &Resource<'_>) -> Option<Decision> {
    let listed = rules.iter().find(|rule| rule.allow.as_ref().is_some_and(|globs| globs.is_match(resource.name)));
    if let Some(rule) = listed {
        let place = rule.allow_place.clone();
        return Some(Decision::new(Effect::Allow, Reason::AllowListed, place));
    }
    let place = rules.iter().find_map(|rule| rule.read_only.clone()).filter(|_| resource.changes_nothing())?;
    Some(Decision::new(Effect::Allow, Reason::ReadOnly, place))
}

/// Whether the lists leave anything open of a server, of which nobody knows what there is.
fn left_open(rules: &[CompiledRules]) -> Option<Decision> {
    let names_some = |rule: &&CompiledRules| rule.allow.as_ref().is_some_and(|globs| !globs.is_empty());
    if let Some(rule) = rules.iter().find(names_some) {
        return Some(Decision::new(Effect::Allow, Reason::AllowListed, rule.allow_place.clone()));
    }
    if let Some(place) = rules.iter().find_map(|rule| rule.read_only.clone()) {
        return Some(Decision::new(Effect::Allow, Reason::ReadOnly, place));
    }
    if let Some(rule) = rules.iter().find(|rule| !rule.ask.is_empty()) {
        return Some(Decision::new(Effect::Ask, Reason::AskListed, rule.ask_place.clone()));
    }
    let rule = rules.iter().find(|rule| rule.allow.is_some())?;
    Some(Decision::new(Effect::Deny, Reason::NotListed, rule.allow_place.clone()))
}

/// Something else was allowed, so this is not. A method of which nothing is known may do what a tool on a `deny` list does: on a
/// server with rules it has to be allowed.
fn restricted(rules: &[CompiledRules], resource: &Resource<'_>) -> Option<Decision> {
    let (reason, place) = if let Some(place) = rules.iter().find_map(|rule| rule.read_only.clone()) {
        let claims = resource.annotations.read_only == Some(true);
        (if claims { Reason::NotBelieved } else { Reason::NotReadOnly }, place)
    } else {
        let is_unknown = resource.kind == ResourceKind::Method;
        let rule = rules.iter().find(|rule| rule.allow.is_some()).or_else(|| rules.first().filter(|_| is_unknown))?;
        (Reason::NotListed, rule.allow_place.clone())
    };
    Some(Decision::new(Effect::Deny, reason, place))
}

/// Adds each rule of the `[policy]` table to every server that its glob names.
fn spread_rules(config: &Config, compiled: &mut HashMap<String, Vec<CompiledRules>>, errors: &mut Vec<InvalidPolicy>) {
    if config.rules.len() > MOST_ENTRIES {
        errors.push(too_many("policy.rules", config.rules.len()));
        return;
    }
    for (index, rule) in config.rules.iter().enumerate() {
        let place = format!("policy.rules[{index}]");
        let rules = ServerRules {
            read_only: rule.read_only,
            allow: rule.allow.clone(),
            ask: rule.ask.clone(),
            deny: rule.deny.clone(),
            arguments: rule.arguments.clone(),
        };
        if rules == ServerRules::default() {
            errors.push(InvalidPolicy {
                place: place.clone(),
                message: "the rule says nothing".into(),
                hint: "give it `read_only = true`, `allow`, `ask`, `deny` or `arguments`".into(),
            });
        }
        let rules = compile(&rules, &place, errors);
        let Some(server) = glob(&rule.server, &format!("{place}.server"), errors) else { continue };
        spread(&rules, &server.compile_matcher(), compiled).unwrap_or_else(|hint| {
            let message = format!("no server is called `{}`, so the rule can never match", rule.server);
            errors.push(InvalidPolicy { place: format!("{place}.server"), message, hint });
        });
    }
}

/// Adds `rules` to the servers that `matcher` names; if there is none, says which servers there are.
fn spread(rules: &CompiledRules, matcher: &GlobMatcher, compiled: &mut HashMap<String, Vec<CompiledRules>>) -> Result<(), String> {
    let mut found = compiled.is_empty() && matcher.is_match(""); // `*` over no server at all is not a slip
    for (_, entry) in compiled.iter_mut().filter(|(name, _)| matcher.is_match(name)) {
        entry.push(rules.clone());
        found = true;
    }
    if found {
        return Ok(());
    }
    let mut names: Vec<&str> = compiled.keys().map(String::as_str).collect();
    names.sort_unstable();
    names.truncate(20); // enough to see a misspelling
    Err(format!("the servers are: {}", names.join(", ")))
}

fn compile(rules: &ServerRules, place: &str, errors: &mut Vec<InvalidPolicy>) -> CompiledRules {
    CompiledRules {
        deny: glob_set(&rules.deny, &format!("{place}.deny"), errors),
        deny_place: Place::new(&format!("{place}.deny")),
        ask: glob_set(&rules.ask, &format!("{place}.ask"), errors),
        ask_place: Place::new(&format!("{place}.ask")),
        allow: rules.allow.as_ref().map(|globs| glob_set(globs, &format!("{place}.allow"), errors)),
        allow_place: Place::new(&format!("{place}.allow")),
        read_only: rules.read_only.then(|| Place::new(&format!("{place}.read_only"))),
        arguments: guards(&rules.arguments, &format!("{place}.arguments"), errors),
    }
}

fn guards(rules: &[ArgumentRule], place: &str, errors: &mut Vec<InvalidPolicy>) -> Vec<(Place, Arc<ArgumentGuard>)> {
    if rules.len() > MOST_ENTRIES {
        errors.push(too_many(place, rules.len()));
        return Vec::new();
    }
    let mut guards = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let place = format!("{place}[{index}]");
        let tools = glob_set(&rule.tools, &format!("{place}.tools"), errors);
        match ArgumentGuard::build(rule, tools) {
            Ok(guard) => guards.push((Place::new(&place), Arc::new(guard))),
            Err(problems) => {
                errors.extend(problems.into_iter().map(|(key, message)| {
                    InvalidPolicy {
                    place: format!("{place}.{key}"),
                    message,
                    hint: "a rule names `tools`, an `argument`, and what it has to be: `sql`, `path`, `url`, `number`, `one_of`, `longest`"
                        .into(),
                }
                }))
            }
        }
    }
    guards
}

fn glob_set(globs: &[String], place: &str, errors: &mut Vec<InvalidPolicy>) -> GlobSet {
    if globs.len() > MOST_ENTRIES {
        errors.push(too_many(place, globs.len()));
        return GlobSet::empty();
    }
    let mut builder = GlobSetBuilder::new();
    for (index, text) in globs.iter().enumerate() {
        if let Some(glob) = glob(text, &format!("{place}[{index}]"), errors) {
            builder.add(glob);
        }
    }
    builder.build().unwrap_or_else(|error| {
        errors.push(InvalidPolicy {
            place: place.to_owned(),
            message: format!("the globs are too large together: {}", error.kind()),
            hint: "use fewer alternatives".into(),
        });
        GlobSet::empty()
    })
}

fn glob(text: &str, place: &str, errors: &mut Vec<InvalidPolicy>) -> Option<Glob> {
    let problem = if text.trim() != text || text.is_empty() {
        Some(("a glob that is empty or has space around it can never match".into(), "remove the space".into()))
    } else if text.len() > LONGEST_GLOB {
        Some((format!("a glob has at most {LONGEST_GLOB} bytes"), "match a shorter part with `*`".into()))
    } else {
        match Glob::new(text) {
            Ok(glob) => return Some(glob),
            Err(error) => Some((
                format!("`{text}` is not a glob: {}", error.kind()),
                "use `*`, `?`, `[ab]`, `{a,b}`; put `\\` before one of these characters to mean itself".into(),
            )),
        }
    };
    errors.extend(problem.map(|(message, hint)| InvalidPolicy { place: place.to_owned(), message, hint }));
    None
}

fn too_many(place: &str, count: usize) -> InvalidPolicy {
    InvalidPolicy {
        place: place.to_owned(),
        message: format!("{count} entries; at most {MOST_ENTRIES} are allowed"),
        hint: "use globs".into(),
    }
}

#[cfg(test)]
mod tests;
