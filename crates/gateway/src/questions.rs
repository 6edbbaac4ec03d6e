//! What a server asks in the middle of a request (elicitation, sampling, roots), carried between the eras.
//!
//! | client | server | the way of a question |
//! | --- | --- | --- |
//! | legacy | legacy | a request of the server's becomes one to the client (`transport`) |
//! | legacy | modern | a result that asks becomes requests to the client, and their answers the next request: `rounds` |
//! | modern | legacy | a request of the server's becomes a result that asks, and the call waits: `inbox`, `parked` |
//! | modern | modern | the result passes; the server's `requestState` is sealed, so that it serves this request alone |
//!
//! `state` seals what clients bring back.

pub(crate) mod inbox;
mod parked;
mod rounds;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use sallyport_policy::{Permitted, Principal};
use sallyport_protocol::input::{self, Answers, INPUT_RESPONSES, InputRequired, Question, REQUEST_STATE};
use sallyport_protocol::revisions::question_for;
use sallyport_protocol::{
    Cancel, Client, Context, Era, ErrorObject, Failure, FailureKind, FailureSource, Method, RawJson, RawObject, Reply, Request, Retry,
    Revision,
};

use crate::limits::Counted;
use crate::tasks::Line;
use crate::upstream::{Routed, Upstream};
use inbox::Inbox;
use parked::{Found, Parked, Running, Turn};
use state::{Binding, Sealer, State};

/// The questions of all calls.
#[derive(Debug)]
pub(crate) struct Questions {
    sealer: Sealer,
    parked: Parked,
}

/// What a modern request is, seen from the questions that went before.
enum Stage {
    /// The first of its call.
    First,
    /// The server knows which: its own state is in the parameters again.
    Next,
    /// It goes on with a parked call.
    Parked { id: u64, round: u32, answers: Answers },
}

/// A request as far as a sealed state is bound to it.
struct Bound<'a> {
    to: &'a Line,
    method: Method,
    params: RawObject,
}

impl Bound<'_> {
    /// Only what asks or continues pays for this.
    fn binding(&self) -> Binding {
        Binding::of(&self.to.caller().0, self.to.upstream.name(), self.method, &self.params)
    }
}

impl Questions {
    /// No questions yet.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub(crate) fn new() -> Result<Self, ring::error::Unspecified> {
        Ok(Self { sealer: Sealer::new()?, parked: Parked::default() })
    }

    /// Ends the calls that wait for answers at the servers that `which` names: these are about to be stopped.
    pub(crate) fn abandon(&self, which: impl Fn(&Upstream) -> bool) {
        self.parked.abandon(which);
    }

    /// How many calls wait for answers.
    pub(crate) fn waiting(&self) -> usize {
        self.parked.waiting()
    }

    /// The parked call that a request goes on with, as limits count it: its server works on it all the while.
    pub(crate) fn continued(&self, caller: &Principal, request: &Request, server: &str, context: &Context) -> Option<Arc<Counted>> {
        let sealed = request.params.get(REQUEST_STATE).filter(|_| context.client.revision.era() == Era::Modern)?;
        let binding = Binding::of(&caller.full_id(), server, request.method, &request.params);
        match self.sealer.open(sealed, &binding) {
            Ok(State::Parked { id, round }) => self.parked.counted(id, round),
            _ => None,
        }
    }

    /// Sends a permitted call and brings its answer, or what the client is asked first.
    pub(crate) async fn exchange(&self, to: &Line, call: Permitted<Routed>, context: Context) -> Result<Reply, Failure> {
        let reply = self.exchange_unchecked(to, call, context).await?;
        if !to.upstream.plan().questions && input::is_input_required(&reply.result) {
            return Err(must_not_ask(to.upstream.name()));
        }
        Ok(reply)
    }

    async fn exchange_unchecked(&self, to: &Line, call: Permitted<Routed>, context: Context) -> Result<Reply, Failure> {
        let request = &call.value().request;
        if !input::may_ask(request.method) {
            let client = context.client.clone();
            return to.send(call, context).await.map_err(|failure| said_in_words(failure, &client));
        }
        let is_first = request.params.get(REQUEST_STATE).is_none() && request.params.get(INPUT_RESPONSES).is_none();
        match (context.client.revision.era(), to.upstream.era()) {
            (Era::Legacy, Some(Era::Legacy)) => {
                let client = context.client.clone();
                to.send(call, context).await.map_err(|failure| said_in_words(failure, &client))
            }
            (Era::Legacy, _) => {
                let client = context.client.clone();
                self.put_to_session(to, call, context).await.map_err(|failure| said_in_words(failure, &client))
            }
            (Era::Modern, Some(Era::Modern)) if is_first => {
                let bound = Bound { to, method: request.method, params: request.params.clone() };
                let client = context.client.clone();
                match to.send(call, context).await {
                    Ok(reply) => self.seal(reply, &bound),
                    Err(failure) => self.ask_to_open(failure, &client, &bound),
                }
            }
            (Era::Modern, _) if is_first => self.begin(to, call, Answers::new(), context).await,
            (Era::Modern, _) => Box::pin(self.continue_with(to, &call, context)).await,
        }
    }

    /// Serves a modern request that brings answers, or the state of an earlier one.
    async fn continue_with(&self, to: &Line, call: &Permitted<Routed>, context: Context) -> Result<Reply, Failure> {
        let mut request = call.value().request.clone();
        let bound = Bound { to, method: request.method, params: request.params.clone() };
        match self.stage(&mut request, &bound)? {
            Stage::Parked { id, round, answers } => self.go_on(id, round, answers, &bound, context).await,
            Stage::First if to.upstream.era() != Some(Era::Modern) => {
                let early = input::take_answers(&mut request.params).map_err(|bad| unreadable(&bad))?.unwrap_or_default();
                self.begin(to, to.permit(request).await?, early, context).await
            }
            Stage::First | Stage::Next => {
                let client = context.client.clone();
                match to.send(to.permit(request).await?, context).await {
                    Ok(reply) => self.seal(reply, &bound),
                    Err(failure) => self.ask_to_open(failure, &client, &bound),
                }
            }
        }
    }

    /// Finds out what a modern request is, and puts the server's own state in the place of the sealed one.
    fn stage(&self, request: &mut Request, bound: &Bound<'_>) -> Result<Stage, Failure> {
        let answers = request.params.get(INPUT_RESPONSES).map(input::read_answers).transpose().map_err(|bad| unreadable(&bad))?;
        let Some(sealed) = request.params.get(REQUEST_STATE) else { return Ok(Stage::First) };
        match self.sealer.open(sealed, &bound.binding())? {
            State::Parked { id, round } => Ok(Stage::Parked { id, round, answers: answers.unwrap_or_default() }),
            State::Server(state) => {
                request.params.set(REQUEST_STATE, state);
                Ok(Stage::Next)
            }
            State::Again => {
                let declined = |(_, answer): &(String, RawObject)| answer.get_str("action").as_deref() != Some("accept");
                if answers.unwrap_or_default().iter().any(declined) {
                    return Err(Failure::client(FailureKind::Cancelled, "the address that the server asked for was not opened"));
                }
                request.params.remove(REQUEST_STATE);
                request.params.remove(INPUT_RESPONSES);
                Ok(Stage::First)
            }
        }
    }

    /// Begins a modern client's call to a server that may ask in the legacy way.
    async fn begin(&self, to: &Line, call: Permitted<Routed>, early: Answers, context: Context) -> Result<Reply, Failure> {
        let request = &call.value().request;
        let bound = Bound { to, method: request.method, params: request.params.clone() };
        let (inbox, cancel) = (Inbox::new(context.client.clone(), to.caller(), early), Cancel::new());
        let line = to.clone();
        let inner = Context { asker: inbox.clone(), cancel: cancel.clone(), ..context.clone() };
        let work = Box::pin(async move { line.send(call, inner).await });
        let running = Running { work, inbox, cancel, upstream: Arc::downgrade(&to.upstream), counted: to.counted.clone() };
        self.drive(running, None, &bound, context).await
    }

    /// Goes on with a call that waited for these answers.
    async fn go_on(&self, id: u64, round: u32, answers: Answers, bound: &Bound<'_>, context: Context) -> Result<Reply, Failure> {
        match self.parked.find(id, round)? {
            Found::Outcome(outcome) => *outcome,
            Found::Waiting(running, turn) => {
                running.inbox.answer(answers);
                self.drive(running, Some(turn), bound, context).await
            }
        }
    }

    /// Lets a call run until it ends or asks.
    async fn drive(&self, mut running: Running, turn: Option<Turn>, bound: &Bound<'_>, context: Context) -> Result<Reply, Failure> {
        running.inbox.attach(context.asker);
        let outcome = tokio::select! {
            biased;
            outcome = &mut running.work => Some(outcome),
            () = running.inbox.asked() => None,
            () = context.cancel.cancelled() => {
                running.cancel.cancel();
                Some((&mut running.work).await)
            }
        };
        let Some(outcome) = outcome else { return self.park(running, turn, bound) };
        let outcome = match running.inbox.judge(outcome) {
            Ok(reply) => self.seal(reply, bound),
            Err(failure) => self.ask_to_open(failure, &context.client, bound),
        };
        if let Some(turn) = turn {
            turn.end(&outcome);
        }
        outcome
    }

    /// Leaves a call waiting, and asks the client what its server asks.
    fn park(&self, running: Running, turn: Option<Turn>, bound: &Bound<'_>) -> Result<Reply, Failure> {
        let turn = turn.unwrap_or_else(|| self.parked.reserve(&bound.to.caller()));
        let (id, round) = turn.next();
        let state = self.sealer.seal(&State::Parked { id, round }, &bound.binding(), parked::WAITS)?;
        let reply = asking(InputRequired { questions: running.inbox.put(), state: Some(state) });
        turn.park(running, &reply);
        Ok(reply)
    }

    /// Puts the sealed state in the place of the server's own, where a result asks.
    fn seal(&self, mut reply: Reply, bound: &Bound<'_>) -> Result<Reply, Failure> {
        if input::is_input_required(&reply.result)
            && let Some(state) = reply.result.get(REQUEST_STATE).cloned()
        {
            reply.result.set(REQUEST_STATE, self.sealer.seal_server_state(state, &bound.binding())?);
        }
        Ok(reply)
    }

    /// Makes the error with which a server of 2025-11-25 asks for an address to be opened (-32042) a result that asks, if the client
    /// can be asked that.
    fn ask_to_open(&self, failure: Failure, client: &Client, bound: &Bound<'_>) -> Result<Reply, Failure> {
        let questions = match &failure.kind {
            FailureKind::Upstream(error) if error.code == ErrorObject::URL_ELICITATION_REQUIRED => addresses(error),
            _ => return Err(failure),
        };
        if questions.is_empty() || questions.iter().any(|(_, asked)| input::lacking(client, &asked.method, &asked.params).is_some()) {
            return Err(in_words(failure, &questions));
        }
        let state = self.sealer.seal(&State::Again, &bound.binding(), parked::WAITS)?;
        Ok(asking(InputRequired { questions, state: Some(state) }))
    }
}

/// The error with which a server of 2025-11-25 asks for an address to be opened (-32042), in words, for a client that cannot be asked so.
fn said_in_words(failure: Failure, client: &Client) -> Failure {
    let questions = match &failure.kind {
        FailureKind::Upstream(error) if error.code == ErrorObject::URL_ELICITATION_REQUIRED => addresses(error),
        _ => return failure,
    };
    let lacks = |(_, asked): &(String, Question)| input::lacking(client, &asked.method, &asked.params).is_some();
    let can_be_asked = client.revision == Revision::V2025_11_25 && !questions.iter().any(lacks);
    if can_be_asked { failure } else { in_words(failure, &questions) }
}

/// Addresses to open, for people and models to read.
fn in_words(failure: Failure, questions: &[(String, Question)]) -> Failure {
    let said = |(_, question): &(String, Question)| {
        let said = |key| question.params.get_str(key).unwrap_or_default();
        format!("{} ({})", said("url"), said("message"))
    };
    let asked: Vec<String> = questions.iter().map(said).collect();
    let text = format!("the server wants to be visited before it goes on, at {}", asked.join(", "));
    Failure { kind: FailureKind::CannotCross, public: text.into(), ..failure }.with_hint("open the address, then make the call again")
}

/// The questions in the data of error -32042.
fn addresses(error: &ErrorObject) -> Vec<(String, Question)> {
    let data = error.data.as_ref().and_then(|data| data.object().ok());
    let all = data.and_then(|data| data.get("elicitations")?.array().ok()).unwrap_or_default();
    let question = |(at, params): (usize, &RawJson)| {
        let method = "elicitation/create";
        let params = question_for(method, params.object().ok()?, Revision::V2025_11_25, Revision::LATEST).ok()?;
        Some((format!("address-{}", at + 1), Question { method: method.to_owned(), params }))
    };
    all.iter().take(input::MOST_QUESTIONS).enumerate().filter_map(question).collect()
}

/// The failure where a server asks that may not.
pub(crate) fn must_not_ask(server: &str) -> Failure {
    let text = format!("server `{server}` asks the client something, which the configuration does not let it");
    Failure::new(FailureKind::CannotCross, FailureSource::Gateway, Retry::Unknown, text)
        .with_hint(format!("`questions = true` in `[servers.{server}]` lets it ask"))
}

fn asking(asked: InputRequired) -> Reply {
    Reply { result: asked.to_result(), revision: Revision::LATEST }
}

fn unreadable(bad: &input::BadInput) -> Failure {
    Failure::client(FailureKind::InvalidParams, bad.0)
}
