//! AuthZEN 1.0: a subject, an action, a resource and a context go, a decision comes.

use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::recent::Key;
use super::{AT_ONCE, Remote};
use crate::question::subject;
use crate::{Effect, EngineFailure, Later, Outcome, Question};

/// Questions in one batch: Cerbos takes fifty.
const BATCH: usize = 50;

#[derive(Deserialize)]
struct Answered {
    decision: bool,
    #[serde(default)]
    context: Option<Context>,
}

/// What a decision point may say besides.
#[derive(Deserialize)]
struct Context {
    /// It says no, unless a person approves. Whoever does not know that takes it for a no.
    #[serde(default)]
    ask: bool,
}

impl Answered {
    fn effect(&self) -> Effect {
        match &self.context {
            _ if self.decision => Effect::Allow,
            Some(Context { ask: true }) => Effect::Ask,
            _ => Effect::Deny,
        }
    }
}

/// Each is read by itself: one that is no answer says nothing of the others.
#[derive(Deserialize)]
struct AllAnswered {
    evaluations: Vec<Box<RawValue>>,
}

/// Asks one question.
///
/// # Errors
/// No answer, or none that is a decision.
pub(super) async fn one(remote: &Remote, question: &Question<'_>, document: &Value) -> Result<Effect, EngineFailure> {
    let body = json!({
        "subject": caller(remote, question),
        "action": { "name": question.action_name() },
        "resource": resource(question, document),
        "context": context(question),
    });
    let answer = remote.ask("/access/v1/evaluation", body.to_string().into_bytes()).await?;
    let answered: Answered = serde_json::from_slice(&answer).map_err(|error| not_authzen(remote, &error))?;
    Ok(answered.effect())
}

/// Asks the questions of one list, in batches. They are of one principal.
pub(super) async fn all(remote: &Remote, questions: &[&Question<'_>]) -> Vec<Outcome> {
    let mut batches: Vec<Later<'_, Vec<Outcome>>> = Vec::new();
    for batch in questions.chunks(BATCH) {
        batches.push(Box::pin(batch_of(remote, batch)));
    }
    stream::iter(batches).buffered(AT_ONCE).collect::<Vec<_>>().await.into_iter().flatten().collect()
}

/// One batch: what was answered a moment ago is not asked again.
async fn batch_of(remote: &Remote, questions: &[&Question<'_>]) -> Vec<Outcome> {
    let now = remote.world.elapsed();
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(questions.len());
    let mut asked = Vec::new();
    for (at, question) in questions.iter().enumerate() {
        outcomes.push(match question.document() {
            Err(why) => Some(Ok(remote.unreadable(why))),
            Ok(document) => {
                let key = Key::of(&document);
                let known = remote.recent.get(&key, now).map(|effect| Ok(remote.verdict(effect)));
                if known.is_none() {
                    asked.push((at, key, evaluation(question, &document, questions)));
                }
                known
            }
        });
    }
    let answers = match questions.first() {
        Some(first) if !asked.is_empty() => ask(remote, first, asked.iter().map(|(_, _, resource)| resource.clone()).collect()).await,
        _ => Ok(Vec::new()),
    };
    for (place, (at, key, _)) in asked.into_iter().enumerate() {
        let answer = answers.as_ref().map(|answers| answers.get(place).cloned()).map_err(Clone::clone);
        outcomes[at] = Some(match answer.and_then(Option::transpose) {
            Ok(Some(effect)) => {
                remote.recent.put(key, effect, remote.world.elapsed());
                Ok(remote.verdict(effect))
            }
            Ok(None) => Err(EngineFailure(format!("`{}` answered fewer questions than it was asked", remote.place))),
            Err(failure) => Err(failure),
        });
    }
    let unasked = || Err(EngineFailure(format!("`{}` was not asked", remote.place)));
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unasked)).collect()
}

/// One question of a batch, which says what is done where that is not what the first one is about.
fn evaluation(question: &Question<'_>, document: &Value, batch: &[&Question<'_>]) -> Value {
    let mut evaluation = json!({ "resource": resource(question, document) });
    let is_other = batch.first().is_some_and(|first| first.action_name() != question.action_name());
    if let (true, Some(members)) = (is_other, evaluation.as_object_mut()) {
        members.insert("action".to_owned(), json!({ "name": question.action_name() }));
    }
    evaluation
}

async fn ask(
    remote: &Remote,
    question: &Question<'_>,
    evaluations: Vec<Value>,
) -> Result<Vec<Result<Effect, EngineFailure>>, EngineFailure> {
    let count = evaluations.len();
    let body = json!({
        "subject": caller(remote, question),
        "action": { "name": question.action_name() },
        "context": context(question),
        "evaluations": evaluations,
    });
    let answer = remote.ask("/access/v1/evaluations", body.to_string().into_bytes()).await?;
    let answered: AllAnswered = serde_json::from_slice(&answer).map_err(|error| not_authzen(remote, &error))?;
    if answered.evaluations.len() != count {
        return Err(EngineFailure(format!("`{}` answered {} of {count} questions", remote.place, answered.evaluations.len())));
    }
    let effect = |answered: Box<RawValue>| serde_json::from_str(answered.get()).map(|answered: Answered| answered.effect());
    Ok(answered.evaluations.into_iter().map(effect).map(|effect| effect.map_err(|error| not_authzen(remote, &error))).collect())
}

fn not_authzen(remote: &Remote, error: &serde_json::Error) -> EngineFailure {
    EngineFailure(format!("`{}` sent no answer of AuthZEN: {error}", remote.place))
}

/// Who: its groups, or how it was established where it has none, under the name that the decision point wants as well.
fn caller(remote: &Remote, question: &Question<'_>) -> Value {
    let mut properties = subject(question.principal);
    let kind = properties["kind"].clone();
    let groups = properties["groups"].clone();
    if let (Some(name), Some(members)) = (&remote.config.roles, properties.as_object_mut()) {
        let roles = if groups.as_array().is_some_and(|groups| !groups.is_empty()) { groups } else { json!([kind]) };
        members.insert(name.clone(), roles);
    }
    json!({ "type": "user", "id": &*question.principal.full_id(), "properties": properties })
}

fn resource(question: &Question<'_>, document: &Value) -> Value {
    let mut properties = question.resource_document();
    if let Some(members) = properties.as_object_mut() {
        members.insert("server".into(), question.resource.server.into());
        if let Some(arguments) = document.get("args") {
            members.insert("args".into(), arguments.clone());
        }
    }
    let id = format!("{}/{}", question.resource.server, question.resource.name);
    json!({ "type": question.resource.kind.as_str(), "id": id, "properties": properties })
}

fn context(question: &Question<'_>) -> Value {
    json!({ "time": question.circumstances.seconds(), "origin": question.origin(), "taint": [] })
}
