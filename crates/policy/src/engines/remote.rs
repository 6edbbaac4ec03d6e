//! A decision point elsewhere, asked by [AuthZEN 1.0](https://openid.net/specs/authorization-api-1_0.html) or by
//! [OPA's REST API](https://www.openpolicyagent.org/docs/rest-api).
//!
//! No answer in time, one that is too long, or one that cannot be understood denies. An answer is used again for as long as `cache_ms` says.
//! While the arguments of a tool are not known, for a list, the action is `list` and there are no `args`.

mod authzen;
mod opa;
mod recent;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use self::recent::{Key, Recent};
use crate::{
    Answer, Arguments, Decision, Effect, EngineFailure, InvalidPolicy, Later, Making, Outcome, Outgoing, Place, PolicyEngine, Question,
    Reason, Verdict, World,
};

/// Longest a decision may be used again: who took a right away waits no longer for it.
const LONGEST_CACHE: Duration = Duration::from_secs(5);
/// Longest deadline: a call waits as long.
const LONGEST_DEADLINE: Duration = Duration::from_secs(30);
/// Most bytes of a question: arguments of more are no matter for a decision point.
const LARGEST_QUESTION: usize = 1 << 20;
/// Most bytes of an answer: a decision has fifty, of a batch some thousand.
const LARGEST_ANSWER: usize = 1 << 20;
/// Requests that are under way at once for one list.
const AT_ONCE: usize = 8;

/// Where the decision point is, and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RemotePolicy")]
pub struct Config {
    /// Its address: for AuthZEN what stands before `/access/v1/…`, for OPA all of it, e.g. `http://127.0.0.1:8181/v1/data/sallyport/allow`.
    /// `https`, except on this machine: an answer that anybody could have sent is none.
    pub url: String,
    /// What it speaks: `authzen` or `opa`.
    pub speaks: Protocol,
    /// The bearer token to show it, as a reference to a secret (`env:NAME`, `file:PATH`). Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// How long it may take to answer, in milliseconds, at most 30000. Default: 1000, because every call waits for it.
    #[serde(default = "one_second")]
    pub timeout_ms: u32,
    /// How long its answer is used again, in milliseconds, at most 5000; 0 for never. Default: 1000, because agents ask for the same again
    /// and again, and a right that was taken away must not be there for long.
    #[serde(default = "one_second")]
    pub cache_ms: u32,
    /// For AuthZEN: a property of the subject that holds its groups, for decision points that look for them in a certain one. Cerbos wants
    /// `cerbos.roles`. Default: none; they are always in `groups`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<String>,
}

fn one_second() -> u32 {
    1000
}

/// What a decision point speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// AuthZEN 1.0: `/access/v1/evaluation`, and `/access/v1/evaluations` for lists. A `false` with `"context": {"ask": true}` asks for a
    /// person's approval.
    Authzen,
    /// OPA's data API: one document, which is `true`, `false`, or `"ask"` for a person's approval.
    Opa,
}

/// A decision point elsewhere.
pub struct Remote {
    place: Place,
    url: String,
    config: Config,
    token: Option<String>,
    world: Arc<dyn World>,
    recent: Recent,
}

/// Checks the address and fetches the token.
///
/// # Errors
/// What is wrong with the entry.
pub(super) fn build(config: Config, making: &Making<'_>) -> Result<Remote, Vec<InvalidPolicy>> {
    let mut errors = Vec::new();
    if let Err(why) = address(&config.url) {
        errors.push(making.invalid("url", why, "write `https://HOST/…`; `http` for this machine alone (127.0.0.1, localhost)"));
    }
    for (key, value, most) in [("timeout_ms", config.timeout_ms, LONGEST_DEADLINE), ("cache_ms", config.cache_ms, LONGEST_CACHE)] {
        if Duration::from_millis(value.into()) > most {
            errors.push(making.invalid(key, format!("{value} is too long"), format!("at most {}", most.as_millis())));
        }
    }
    if config.timeout_ms == 0 {
        errors.push(making.invalid("timeout_ms", "no answer comes in no time", "leave it out for a second"));
    }
    let token = config.token.as_deref().map(|reference| making.world.secret(reference)).transpose();
    let token = token.map_err(|why| errors.push(making.invalid("token", why, "write a reference, e.g. `env:POLICY_TOKEN`"))).ok().flatten();
    if !errors.is_empty() {
        return Err(errors);
    }
    let url = match config.speaks {
        Protocol::Authzen => config.url.trim_end_matches('/').to_owned(),
        Protocol::Opa => config.url.clone(),
    };
    let recent = Recent::new(Duration::from_millis(config.cache_ms.into()));
    Ok(Remote { place: Place::new(&making.place), url, config, token, world: making.world.clone(), recent })
}

fn address(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("it is no address: {error}"))?;
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err("it has no host".into()),
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_here => Ok(()),
        "http" => Err("answers that cross a network in the clear can be forged".into()),
        scheme => Err(format!("`{scheme}` is no scheme of a decision point")),
    }
}

impl Remote {
    fn verdict(&self, effect: Effect) -> Verdict {
        let reason = match effect {
            Effect::Allow => Reason::Permitted,
            Effect::Ask => Reason::Asked,
            Effect::Deny => Reason::Forbidden,
        };
        Verdict::Decided(Decision::new(effect, reason, self.place.clone()))
    }

    fn unreadable(&self, why: &str) -> Verdict {
        Verdict::Decided(Decision { detail: Some(why.into()), ..Decision::new(Effect::Deny, Reason::Argument, self.place.clone()) })
    }

    async fn ask(&self, path: &str, body: Vec<u8>) -> Result<Vec<u8>, EngineFailure> {
        if body.len() > LARGEST_QUESTION {
            return Err(EngineFailure(format!("the question is longer than {} KiB", LARGEST_QUESTION >> 10)));
        }
        let url = format!("{}{path}", self.url);
        let request = Outgoing {
            url: &url,
            bearer: self.token.as_deref(),
            body,
            deadline: Duration::from_millis(self.config.timeout_ms.into()),
            most: LARGEST_ANSWER,
        };
        self.world.post(request).await.map_err(|why| EngineFailure(format!("`{}` did not answer: {why}", self.place)))
    }

    /// Whether a recorded call is not to be asked about: nobody wants it, or what would be sent is not known.
    fn is_not_asked(&self, question: &Question<'_>) -> bool {
        let Some(replaying) = question.replaying else { return false };
        let what = match question.resource.arguments {
            _ if !replaying.asks_elsewhere => "the answer of its decision point, which is not asked",
            Arguments::Recorded(recorded) if !recorded.is_whole() => "all arguments",
            _ => return false,
        };
        question.lacks(self.place.as_str(), what);
        true
    }

    async fn one(&self, question: &Question<'_>) -> Outcome {
        if self.is_not_asked(question) {
            return Ok(Verdict::Silent);
        }
        let document = match question.document() {
            Ok(document) => document,
            Err(why) => return Ok(self.unreadable(why)),
        };
        let key = Key::of(&document);
        if let Some(effect) = self.recent.get(&key, self.world.elapsed()) {
            return Ok(self.verdict(effect));
        }
        let effect = match self.config.speaks {
            Protocol::Authzen => authzen::one(self, question, &document).await?,
            Protocol::Opa => opa::one(self, &document).await?,
        };
        self.recent.put(key, effect, self.world.elapsed());
        Ok(self.verdict(effect))
    }

    async fn all(&self, questions: &[&Question<'_>]) -> Vec<Outcome> {
        if self.config.speaks == Protocol::Authzen {
            return authzen::all(self, questions).await;
        }
        let mut answers: Vec<Later<'_, Outcome>> = Vec::with_capacity(questions.len());
        for question in questions {
            answers.push(Box::pin(self.one(question)));
        }
        stream::iter(answers).buffered(AT_ONCE).collect().await
    }
}

impl PolicyEngine for Remote {
    fn name(&self) -> &'static str {
        "remote"
    }

    fn evaluate<'a>(&'a self, question: &'a Question<'a>) -> Answer<'a> {
        Answer::Later(Box::pin(self.one(question)))
    }

    fn evaluate_all<'a>(&'a self, questions: &'a [&'a Question<'a>]) -> Later<'a, Vec<Outcome>> {
        Box::pin(self.all(questions))
    }

    fn is_lasting(&self) -> bool {
        false
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Remote").field("url", &self.url).field("speaks", &self.config.speaks).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
