//! A modern server asks by its result, a legacy client is asked by requests: round after round until the server has what it wants.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::future::try_join_all;
use sallyport_policy::Permitted;
use sallyport_protocol::input::{self, Answers, InputRequired, Question, REQUEST_STATE};
use sallyport_protocol::revisions::{answer_for, question_for};
use sallyport_protocol::{Context, ErrorObject, Failure, FailureKind, FailureSource, RawJson, RawObject, Reply, Request, Retry, Revision};

use super::Questions;
use crate::tasks::Line;
use crate::upstream::Routed;

/// Rounds of one call at most. Forms in use have one to three steps.
const MOST_ROUNDS: u32 = 32;
/// The wait before a server that asks nothing new is asked again; it grows by itself with each such round.
const WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Questions {
    /// Sends a legacy client's call, and puts to its session what the server asks.
    pub(super) async fn put_to_session(&self, to: &Line, call: Permitted<Routed>, context: Context) -> Result<Reply, Failure> {
        let request = call.value().request.clone();
        let reply = to.send(call, context.clone()).await?;
        if !input::is_input_required(&reply.result) {
            return Ok(reply);
        }
        Box::pin(Rounds { to, request, context, ids: HashMap::new(), opened: HashSet::new() }.run(reply)).await
    }
}

struct Rounds<'a> {
    to: &'a Line,
    request: Request,
    context: Context,
    /// The ids under which the client was asked to open addresses.
    ids: HashMap<String, String>,
    /// Addresses that it agreed to open.
    opened: HashSet<String>,
}

impl Rounds<'_> {
    async fn run(mut self, mut reply: Reply) -> Result<Reply, Failure> {
        let mut wait = WAIT;
        for _ in 0..MOST_ROUNDS {
            if !input::is_input_required(&reply.result) {
                self.tell_opened();
                return Ok(reply);
            }
            let asked = InputRequired::read(&reply.result).map_err(|bad| self.fault(FailureKind::Malformed, bad.0))?;
            if asked.questions.iter().all(|(_, question)| self.is_opened(question)) {
                self.pause(wait).await?;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            let answers = self.ask_all(&asked.questions).await?;
            self.request.params.remove(REQUEST_STATE);
            if let Some(state) = asked.state {
                self.request.params.set(REQUEST_STATE, state);
            }
            self.request.params.remove(input::INPUT_RESPONSES);
            if !answers.is_empty() {
                input::set_answers(&mut self.request.params, &answers);
            }
            let sent = self.to.send(self.to.permit(self.request.clone()).await?, self.context.clone()).await;
            reply = sent.map_err(Failure::after_it_was_sent)?;
        }
        Err(self.fault(FailureKind::Malformed, "it asks without end"))
    }

    /// Puts all questions of a round to the client at once.
    async fn ask_all(&mut self, questions: &[(String, Question)]) -> Result<Answers, Failure> {
        let mut ready = Vec::with_capacity(questions.len());
        for (key, question) in questions {
            let params = self.prepared(question)?;
            ready.push((key, question, self.is_opened(question), params));
        }
        let (this, cancel) = (&*self, &self.context.cancel);
        let asking = try_join_all(ready.into_iter().map(|(key, question, is_opened, params)| async move {
            let answer = if is_opened { accepted() } else { this.ask(&question.method, params).await? };
            Ok::<_, Failure>((key.clone(), answer))
        }));
        let answers = tokio::select! {
            biased;
            answers = asking => answers?,
            () = cancel.cancelled() => return Err(self.cancelled()),
        };
        self.note_opened(questions, &answers);
        Ok(answers)
    }

    /// The question as the client's revision has it. One to open an address has an id there.
    fn prepared(&mut self, question: &Question) -> Result<RawObject, Failure> {
        let revision = self.context.client.revision;
        let params = question_for(&question.method, question.params.clone(), Revision::LATEST, revision)?;
        if let (Some(address), Some(id)) = (address(question), params.get_str("elicitationId")) {
            self.ids.insert(address, id.into_owned());
        }
        Ok(params)
    }

    async fn ask(&self, method: &str, params: RawObject) -> Result<RawObject, Failure> {
        match self.context.asker.ask(method, params).await {
            Ok(answer) => Ok(answer_for(method, answer, self.context.client.revision, Revision::LATEST)),
            // The person could not be asked, which the server must be told in its own words.
            Err(_) if method == "elicitation/create" => Ok(action("cancel")),
            Err(error) => Err(refused(method, error)),
        }
    }

    /// Addresses that were opened need not be asked for again while the server waits for what happens there.
    fn is_opened(&self, question: &Question) -> bool {
        address(question).is_some_and(|address| self.opened.contains(&address))
    }

    fn note_opened(&mut self, questions: &[(String, Question)], answers: &Answers) {
        for ((_, question), (_, answer)) in questions.iter().zip(answers) {
            if let Some(address) = address(question)
                && answer.get_str("action").as_deref() == Some("accept")
            {
                self.opened.insert(address);
            }
        }
    }

    /// Says that what was to happen at the addresses has happened (2025-11-25, url elicitation).
    fn tell_opened(&self) {
        for id in self.opened.iter().filter_map(|address| self.ids.get(address)) {
            let mut params = RawObject::new();
            params.set("elicitationId", RawJson::string(id));
            self.context.asker.notify("notifications/elicitation/complete", params);
        }
    }

    async fn pause(&self, wait: Duration) -> Result<(), Failure> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = self.context.cancel.cancelled() => Err(self.cancelled()),
        }
    }

    fn cancelled(&self) -> Failure {
        Failure::client(FailureKind::Cancelled, "the request was cancelled")
    }

    fn fault(&self, kind: FailureKind, what: &str) -> Failure {
        let server = self.to.upstream.name();
        Failure::upstream(server, kind, Retry::Unknown, format!("server `{server}`: {what}"))
    }
}

/// The address that a question wants to be opened.
fn address(question: &Question) -> Option<String> {
    if question.method != "elicitation/create" || question.params.get_str("mode").as_deref() != Some("url") {
        return None;
    }
    question.params.get_str("url").map(std::borrow::Cow::into_owned)
}

fn action(action: &str) -> RawObject {
    let mut answer = RawObject::new();
    answer.set("action", RawJson::string(action));
    answer
}

fn accepted() -> RawObject {
    action("accept")
}

/// The client could not do what the server needs to go on.
fn refused(method: &str, mut error: ErrorObject) -> Failure {
    error.message = format!("the client did not answer `{method}`: {}", error.message);
    let text = error.message.clone();
    Failure::new(FailureKind::Upstream(error), FailureSource::Client, Retry::Unknown, text)
}
