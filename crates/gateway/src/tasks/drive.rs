//! Tasks that are seen to their end on a client's behalf: hidden from it behind its call, or awaited by `tasks/result`.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sallyport_protocol::input::{self, Answers, InputRequired, Question};
use sallyport_protocol::revisions::{answer_for, question_for};
use sallyport_protocol::{
    Cancel, Context, Era, ErrorObject, Failure, FailureKind, FailureSource, Method, RawJson, RawObject, Reply, Retry, Revision,
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::form::{self, Ending, Status};
use super::line::{Line, naming};
use super::{malformed, running};
use crate::questions::must_not_ask;

/// How often a server is asked that does not say how often it wants to be.
const POLL: Duration = Duration::from_secs(1);
/// The bounds of what it may want: no busier than this, and no answer lies there longer.
const BRIEFEST_POLL: Duration = Duration::from_millis(50);
pub(super) const LONGEST_POLL: Duration = Duration::from_secs(60);
/// Questions of one task at most, over its life.
const MOST_ASKED: usize = 256;
/// How long a server may take to note that a task is not wanted any more.
const CANCEL_WITHIN: Duration = Duration::from_secs(2);

/// The keys of the questions that were put to a client for one task. Whoever waits for the same task puts none of them again.
#[derive(Debug, Default)]
pub(crate) struct Asked(Mutex<HashSet<String>>);

impl Asked {
    /// Takes note of the keys of questions that a client is told of, as far as there is room.
    pub(crate) fn note<'k>(&self, keys: impl Iterator<Item = &'k str>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST_ASKED.saturating_sub(known.len());
        known.extend(keys.take(room).map(str::to_owned));
    }

    /// Whether a question of this key was put.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }
}

/// Brings the result of a call that its server made a task of. Where nobody waits for it any more, the task is cancelled, and the call's
/// place is held until its server is done with it.
pub(crate) async fn hidden(
    line: &Line,
    task: &RawObject,
    revision: Revision,
    context: &Context,
    meta: RawObject,
) -> Result<Reply, Failure> {
    let own = form::id(task).ok_or_else(|| malformed(line, "a task without a `taskId`"))?.into_owned();
    let (outcome, is_over) = match revision.era() {
        // It blocks until the end, and brings the server's questions meanwhile.
        Era::Legacy => {
            let outcome = line.ask(Method::TasksResult, naming(&own), meta.clone(), context.clone()).await;
            let is_over =
                matches!(&outcome, Ok(_) | Err(Failure { kind: FailureKind::Upstream(_), source: FailureSource::Upstream(_), .. }));
            (outcome, is_over)
        }
        Era::Modern => {
            let asked = Asked::default();
            let watch = Watch { line, own: &own, shown: None, asked: &asked, context, meta: meta.clone() };
            let ending = watch.run(Some(task)).await;
            let is_over = ending.is_ok();
            (ending.and_then(|ending| ended(line, ending)).map(|result| Reply { result, revision }), is_over)
        }
    };
    match outcome {
        Ok(Reply { result, revision }) => Ok(Reply { result: form::unrelated(result), revision }),
        Err(failure) => {
            if matches!(failure.kind, FailureKind::Cancelled | FailureKind::TimedOut(_)) || failure.source == FailureSource::Client {
                cancel(line, &own, meta, context).await;
            }
            if !is_over {
                running::outlive(line, &own, &context.client);
            }
            Err(failure.after_it_was_sent())
        }
    }
}

/// A task's ending as the outcome of its call.
pub(crate) fn ended(line: &Line, ending: Ending) -> Result<RawObject, Failure> {
    let server = line.upstream.name();
    let result = ending.map_err(|error| {
        let text = format!("server `{server}`, tool `{}`: {}", line.target.own, error.message);
        Failure::upstream(server, FailureKind::Upstream(error), Retry::Unknown, text)
    })?;
    if result.get("content").is_none_or(|content| content.as_bytes().first() != Some(&b'[')) {
        return Err(malformed(line, "a task's `result` has no array `content`"));
    }
    Ok(result)
}

/// Tells the server that a task is not wanted any more; what it says to that comes too late.
async fn cancel(line: &Line, own: &str, meta: RawObject, context: &Context) {
    let context = Context { cancel: Cancel::new(), ..context.clone() };
    let _ = timeout(CANCEL_WITHIN, line.ask(Method::TasksCancel, naming(own), meta, context)).await;
}

/// A modern server's task, watched by asking for it again and again until it ends.
pub(crate) struct Watch<'a> {
    pub(crate) line: &'a Line,
    /// The server's own id of the task.
    pub(crate) own: &'a str,
    /// The id by which the client knows the task, if it does.
    pub(crate) shown: Option<&'a str>,
    pub(crate) asked: &'a Asked,
    pub(crate) context: &'a Context,
    /// What goes with each request.
    pub(crate) meta: RawObject,
}

impl Watch<'_> {
    /// Waits until the task has ended, at most for the hard limit of a call. Meanwhile the client is put the task's questions, and
    /// told of progress, if it wants that.
    ///
    /// # Errors
    /// `Cancelled` where the task was, or the request; `TimedOut`; the failures of the requests; what a client refused to answer.
    pub(crate) async fn run(&self, first: Option<&RawObject>) -> Result<Ending, Failure> {
        let limit = self.line.upstream.plan().timeouts.call_max;
        let deadline = Instant::now() + limit;
        let mut wait = first.map_or(Duration::ZERO, interval);
        for round in 1_u32.. {
            if Instant::now() + wait >= deadline {
                return Err(self.timed_out(limit));
            }
            self.pause(wait).await?;
            let reply = self.line.ask(Method::TasksGet, naming(self.own), self.meta.clone(), self.context.clone()).await?;
            let task = form::described(&reply);
            if let Some(ending) = form::ending(&task) {
                return Ok(ending);
            }
            match Status::of(&task) {
                Some(Status::Cancelled) => return Err(self.cancelled("the task was cancelled")),
                Some(Status::InputRequired) => {
                    timeout_at(deadline, self.answer(&task)).await.unwrap_or_else(|_| Err(self.timed_out(limit)))?;
                }
                Some(Status::Working) => {}
                Some(Status::Completed | Status::Failed) | None => {
                    return Err(malformed(self.line, "a task without a known `status`, or without what it ended with"));
                }
            }
            self.tell_progress(round, &task);
            wait = interval(&task);
        }
        Err(self.timed_out(limit))
    }

    async fn pause(&self, wait: Duration) -> Result<(), Failure> {
        tokio::select! {
            biased;
            () = self.context.cancel.cancelled() => Err(self.cancelled("the request was cancelled")),
            () = sleep(wait) => Ok(()),
        }
    }

    /// Puts the questions that nobody was put yet to the client, and sends the answers.
    async fn answer(&self, task: &RawObject) -> Result<(), Failure> {
        if !self.line.upstream.plan().questions {
            return Err(must_not_ask(self.line.upstream.name()));
        }
        let Ok(InputRequired { questions, .. }) = InputRequired::read(task) else {
            return Err(malformed(self.line, "a task whose `inputRequests` cannot be read"));
        };
        let claim = Claim::of(self.asked, questions);
        if self.asked.0.lock().unwrap_or_else(PoisonError::into_inner).len() > MOST_ASKED {
            return Err(malformed(self.line, "a task that asks without end"));
        }
        let mut answers = Answers::new();
        for (key, question) in &claim.questions {
            answers.push((key.clone(), self.put(question).await?));
        }
        if answers.is_empty() {
            return Ok(()); // all of it is being answered already
        }
        let mut params = naming(self.own);
        input::set_answers(&mut params, &answers);
        self.line.ask(Method::TasksUpdate, params, self.meta.clone(), self.context.clone()).await?;
        claim.keep();
        Ok(())
    }

    /// Puts one question to the client, in the words of its revision.
    async fn put(&self, question: &Question) -> Result<RawObject, Failure> {
        let (method, revision) = (question.method.as_str(), self.context.client.revision);
        let params = question_for(method, question.params.clone(), Revision::LATEST, revision)?;
        let params = match self.shown {
            Some(id) => form::related(params, id),
            None => params,
        };
        let asking = self.context.asker.ask(method, params);
        let answer = tokio::select! {
            biased;
            answer = asking => answer,
            () = self.context.cancel.cancelled() => return Err(self.cancelled("the request was cancelled")),
        };
        match answer {
            Ok(answer) => Ok(form::unrelated(answer_for(method, answer, revision, Revision::LATEST))),
            // The person could not be asked, which the server is told in its own words.
            Err(_) if method == "elicitation/create" => Ok(cancelled_form()),
            Err(error) => Err(unanswered(method, error)),
        }
    }

    /// A client that waits long learns that somebody still works, which keeps it from giving up.
    fn tell_progress(&self, round: u32, task: &RawObject) {
        let mut params = RawObject::new();
        params.set("progress", RawJson::encode(&round).unwrap_or(RawJson::from_static("0")));
        if let Some(message) = task.get("statusMessage") {
            params.set("message", message.clone());
        }
        self.context.asker.notify("notifications/progress", params);
    }

    fn cancelled(&self, what: &str) -> Failure {
        let (server, tool) = (self.line.upstream.name(), &self.line.target.own);
        Failure::new(FailureKind::Cancelled, FailureSource::Client, Retry::Unknown, format!("server `{server}`, tool `{tool}`: {what}"))
    }

    fn timed_out(&self, limit: Duration) -> Failure {
        let (server, tool) = (self.line.upstream.name(), &self.line.target.own);
        let text = format!("server `{server}`, tool `{tool}`: the task did not end within the hard limit of {limit:?}");
        Failure::upstream(server, FailureKind::TimedOut(limit), Retry::Unknown, text)
            .with_hint(format!("the limit is `servers.{server}.timeouts.call_max`"))
    }
}

/// Questions that are being put to a client; given back where they were not answered.
struct Claim<'a> {
    asked: &'a Asked,
    questions: Vec<(String, Question)>,
    is_kept: bool,
}

impl<'a> Claim<'a> {
    fn of(asked: &'a Asked, mut questions: Vec<(String, Question)>) -> Self {
        let mut known = asked.0.lock().unwrap_or_else(PoisonError::into_inner);
        questions.retain(|(key, _)| known.insert(key.clone()));
        Self { asked, questions, is_kept: false }
    }

    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            let mut known = self.asked.0.lock().unwrap_or_else(PoisonError::into_inner);
            self.questions.iter().for_each(|(key, _)| _ = known.remove(key));
        }
    }
}

/// How long to wait before a task is asked for again.
pub(super) fn interval(task: &RawObject) -> Duration {
    let wanted = task.get("pollIntervalMs").and_then(|interval| interval.decode::<u64>().ok());
    wanted.map_or(POLL, Duration::from_millis).clamp(BRIEFEST_POLL, LONGEST_POLL)
}

fn cancelled_form() -> RawObject {
    let mut answer = RawObject::new();
    answer.set("action", RawJson::from_static("\"cancel\""));
    answer
}

/// The client could not do what the task needs to go on.
fn unanswered(method: &str, error: ErrorObject) -> Failure {
    let text = format!("the client did not answer `{method}`: {}", error.message);
    Failure::new(FailureKind::Upstream(error), FailureSource::Client, Retry::Unknown, text)
}
