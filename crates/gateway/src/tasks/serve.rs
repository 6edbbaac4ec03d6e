//! Requests about one task: `tasks/get`, `tasks/result`, `tasks/cancel`, `tasks/update`.

use std::sync::Arc;

use sallyport_policy::{Action, Principal};
use sallyport_protocol::revisions::reply_for;
use sallyport_protocol::{
    Client, Context, Endpoint, Era, ErrorObject, Failure, FailureKind, FailureSource, Incoming, Method, Peer, RawJson, RawObject, Reply,
    Request, Retry, Revision,
};

use super::drive::{self, Watch};
use super::follow::Follower;
use super::form::{self, Ending, Status};
use super::line::{Line, naming};
use super::store::Task;
use super::support::{REQUIRED, takes};
use super::wish::Wish;
use super::{Related, lost};
use crate::approvals::bare;
use crate::catalogue::resolve::Call;
use crate::catalogue::uris;
use crate::catalogue::view::Item;
use crate::gateway::{Inner, Parts};
use crate::limits::weight;
use crate::questions::must_not_ask;
use crate::trail::Trail;
use crate::upstream::{Routed, Upstream};

impl Inner {
    /// Serves a request about tasks.
    ///
    /// A task was permitted when its tool was called; looking after it is not another use of the tool, but the tool must still be one
    /// that the caller may see.
    pub(crate) async fn serve_task(
        &self,
        parts: &Arc<Parts>,
        request: Request,
        principal: &Principal,
        incoming: &Incoming,
        context: Context,
        trail: &mut Trail,
    ) -> Result<Reply, Failure> {
        let Incoming { endpoint, peer, .. } = incoming;
        check_client(request.method, &context.client)?;
        if request.method == Method::TasksList {
            return self.list_tasks(parts, &request, principal, incoming, &context).await;
        }
        let id = request.params.get_str("taskId").ok_or_else(|| {
            Failure::client(FailureKind::InvalidParams, format!("`{}` needs the string `taskId`", request.method.as_str()))
        })?;
        let known = self.tasks.store.find(principal, &id).filter(|task| is_at(task, parts, endpoint));
        let task = known.ok_or_else(|| unknown(&id))?;
        let (request, context) = if task.is_approved { bare(request, context, &task) } else { (request, context) };
        let label = (!matches!(endpoint, Endpoint::Server(_))).then(|| uris::label(&task.server));
        let call = Call {
            routed: Routed { server: task.server.clone(), request },
            action: Action::List,
            target: task.target.clone(),
            expose: label,
        };
        trail.resolved(&call);
        let Call { routed: Routed { request, .. }, target, expose, .. } = call;
        let line = line(parts, self.maker_of(&task, parts)?, principal, *peer, target);
        line.may(|decision| trail.permitted(decision)).await?;
        trail.sending();
        let _in_flight = parts.server(&task.server)?.metrics.call_started();
        let errand = Errand { line: &line, task: &task, label: expose.as_deref(), meta: request.meta.other.clone(), context: &context };
        let method = request.method;
        let outcome = errand.run(request).await;
        trail.answered();
        if let Ok(reply) = &outcome {
            task.charge(|| weight_of_ending(method, &reply.result));
        }
        outcome.inspect_err(|failure| {
            if matches!(failure.kind, FailureKind::NotFound) {
                self.tasks.store.forget(&task);
            }
        })
    }

    /// Whether policy still lets `principal` hear what becomes of a task.
    pub(crate) async fn may_hear_of_task(&self, parts: &Arc<Parts>, principal: &Principal, peer: Peer, id: &str) -> bool {
        let Some(task) = self.tasks.store.find(principal, id) else { return false };
        let Ok(upstream) = self.maker_of(&task, parts) else { return false };
        line(parts, upstream, principal, peer, task.target.clone()).may(|_| ()).await.is_ok()
    }
}

/// A request about the task of an approved call: without what its caller adds.
fn bare(mut request: Request, context: Context, task: &Task) -> (Request, Context) {
    bare::about_task(&mut request, |key| task.told.has(key));
    (request, bare::context(context))
}

/// Whether a client may speak of tasks at all.
fn check_client(method: Method, client: &Client) -> Result<(), Failure> {
    match client.revision.era() {
        Era::Modern if takes(client) => Ok(()),
        Era::Modern => {
            let text = format!("`{}` needs the extension `{}`, which this request does not declare", method.as_str(), super::EXTENSION);
            Err(Failure::client(FailureKind::MissingCapability(REQUIRED), text))
        }
        Era::Legacy if client.revision >= Revision::V2025_11_25 => Ok(()),
        Era::Legacy => {
            let text = format!("there is no method `{}` in revision {}", method.as_str(), client.revision);
            Err(Failure::client(FailureKind::MethodNotFound, text))
        }
    }
}

/// Whether a task is one of an endpoint: its server answers there and, where tools are selected, its tool is among them.
pub(crate) fn is_at(task: &Task, parts: &Parts, endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::All => true,
        Endpoint::Server(name) => *name == task.server,
        Endpoint::Toolset(_) => {
            let catalogue = parts.catalogue.load();
            let is_its_tool = |item: &Item| item.server == task.server && item.own == task.target.own;
            catalogue.view(endpoint).is_ok_and(|view| view.tools.items().iter().any(is_its_tool))
        }
    }
}

fn unknown(id: &str) -> Failure {
    // The id comes from outside: shown in part, and in quotes.
    let shown: String = id.chars().take(80).collect();
    Failure::client(FailureKind::NotFound, format!("there is no task {shown:?}"))
        .with_hint("tasks are forgotten when their time is up, and when the gateway is started anew")
}

pub(super) fn line(
    parts: &Arc<Parts>,
    upstream: Arc<Upstream>,
    principal: &Principal,
    peer: Peer,
    target: crate::catalogue::resolve::Target,
) -> Line {
    Line {
        parts: parts.clone(),
        upstream,
        principal: principal.clone(),
        action: Action::List,
        target,
        wish: Wish::default(),
        peer,
        counted: None,
        approval: None,
    }
}

/// The bytes of what a task ended with, where an answer about it tells that.
fn weight_of_ending(method: Method, result: &RawObject) -> usize {
    match method {
        Method::TasksResult => weight(result),
        _ => result.get("result").map_or(0, |ending| ending.as_bytes().len()),
    }
}

/// One request about one task.
pub(super) struct Errand<'a> {
    pub(super) line: &'a Line,
    pub(super) task: &'a Arc<Task>,
    /// What stands before URIs at the endpoint.
    pub(super) label: Option<&'a str>,
    /// What goes with each request to the server.
    pub(super) meta: RawObject,
    pub(super) context: &'a Context,
}

impl Errand<'_> {
    async fn run(self, request: Request) -> Result<Reply, Failure> {
        if let Some(ending) = &self.task.kept {
            return self.of_kept(request.method, ending);
        }
        match (self.context.client.revision.era(), self.task.form) {
            (Era::Legacy, Era::Legacy) | (Era::Modern, Era::Modern) => self.pass(request).await,
            (Era::Legacy, Era::Modern) => match request.method {
                Method::TasksResult => self.result().await,
                Method::TasksCancel => self.cancel_for_legacy().await,
                _ => Ok(self.told(self.describe().await?)),
            },
            (Era::Modern, Era::Legacy) => match request.method {
                Method::TasksUpdate => self.update(&request),
                Method::TasksCancel => self.cancel_for_modern().await,
                _ => self.get_for_modern().await,
            },
        }
    }

    /// Client and server speak of tasks alike: the request passes under the server's id, the answer under the client's.
    async fn pass(self, mut request: Request) -> Result<Reply, Failure> {
        let method = request.method;
        request.params.set("taskId", RawJson::string(&self.task.own));
        let mut context = self.context.clone();
        if method == Method::TasksResult {
            context.asker = Arc::new(Related::new(context.asker, &self.task.id));
        }
        let sent = self.line.upstream.send(self.line.permit(request).await?, context).await;
        let mut reply = sent.map_err(|failure| self.lost_or(method, failure))?;
        if method == Method::TasksResult {
            self.task.let_go();
            reply.result = form::related(reply.result, &self.task.id);
            self.expose(&mut reply.result);
            return Ok(reply);
        }
        if reply.result.get("taskId").is_some() {
            reply.result.set("taskId", RawJson::string(&self.task.id));
            let described = form::described(&reply);
            self.task.note(&described);
            self.task.see(&described);
        }
        if reply.result.get("inputRequests").is_some() && !self.line.upstream.plan().questions {
            return Err(must_not_ask(&self.task.server));
        }
        self.note_questions(&reply.result);
        if let Ok(Some(mut result)) = reply.result.get_object("result") {
            form::complete(&mut result); // servers leave it out, and clients insist on it
            self.expose(&mut result);
            reply.result.set("result", result.to_json());
        }
        Ok(reply)
    }

    /// Asks the server what the task is at; under the client's id, as the extension has it.
    pub(super) async fn describe(&self) -> Result<RawObject, Failure> {
        let asked = self.line.ask(Method::TasksGet, naming(&self.task.own), self.meta.clone(), self.context.clone()).await;
        let reply = asked.map_err(|failure| self.lost_or(Method::TasksGet, failure))?;
        let mut task = form::described(&reply);
        task.set("taskId", RawJson::string(&self.task.id));
        self.task.note(&task);
        if self.task.is_cancelled() {
            form::set_status(&mut task, Status::Cancelled);
        }
        self.task.see(&task);
        Ok(task)
    }

    /// A modern server's task, or what is kept here, as 2025-11-25 describes it.
    fn told(&self, task: RawObject) -> Reply {
        Reply { result: form::to_core(&task), revision: self.context.client.revision }
    }

    /// `tasks/result` of a modern server's task: waits for its end.
    async fn result(self) -> Result<Reply, Failure> {
        if self.task.is_cancelled() {
            return Err(self.already("cancelled"));
        }
        let watch = Watch {
            line: self.line,
            own: &self.task.own,
            shown: Some(&self.task.id),
            asked: &self.task.asked,
            context: self.context,
            meta: self.meta.clone(),
        };
        let ending = watch.run(None).await.map_err(|failure| self.lost_or(Method::TasksGet, failure))?;
        self.task.let_go();
        let result = drive::ended(self.line, ending)?;
        self.as_result(result)
    }

    /// The result of a modern server's task, as `tasks/result` of the client's revision has it.
    fn as_result(&self, result: RawObject) -> Result<Reply, Failure> {
        let revision = self.context.client.revision;
        let written = Reply { result, revision: Revision::LATEST };
        let result = reply_for(written, Method::ToolsCall, revision, &self.line.parts.identity_of_gateway)?;
        let mut result = form::related(result, &self.task.id);
        self.expose(&mut result);
        Ok(Reply { result, revision })
    }

    /// Cancels a modern server's task for a client that expects it to be cancelled by the answer (2025-11-25).
    async fn cancel_for_legacy(self) -> Result<Reply, Failure> {
        let mut task = self.describe().await?;
        if Status::of(&task).is_some_and(Status::is_final) {
            return Err(self.already("over"));
        }
        self.line.ask(Method::TasksCancel, naming(&self.task.own), self.meta.clone(), self.context.clone()).await?;
        self.task.set_cancelled();
        form::set_status(&mut task, Status::Cancelled);
        self.task.see(&task);
        Ok(self.told(task))
    }

    /// Cancels a legacy server's task. One that has ended already is no error (the extension, task cancellation).
    async fn cancel_for_modern(self) -> Result<Reply, Failure> {
        let cancelled = self.line.ask(Method::TasksCancel, naming(&self.task.own), self.meta.clone(), self.context.clone()).await;
        match cancelled {
            Err(Failure { kind: FailureKind::Upstream(error), .. }) if error.code == ErrorObject::INVALID_PARAMS => {
                self.describe().await?; // it is there, so it has ended
            }
            cancelled => _ = cancelled?,
        }
        if let Some(follower) = self.task.follower() {
            follower.stop();
        }
        Ok(acknowledged())
    }

    /// A legacy server's task with all that the extension tells of one.
    async fn get_for_modern(self) -> Result<Reply, Failure> {
        let mut task = self.describe().await?;
        match Status::of(&task) {
            Some(Status::Completed | Status::Failed) => {
                let mut ending = self.ending().await?;
                if let Ok(result) = &mut ending {
                    self.expose(result);
                }
                form::set_ending(&mut task, &ending);
            }
            Some(Status::Cancelled) => {}
            Some(status @ (Status::Working | Status::InputRequired)) => self.add_questions(&mut task, status).await?,
            None => {
                let server = &self.task.server;
                let text = format!("server `{server}`: the answer is malformed: a task without a known `status`");
                return Err(Failure::upstream(server, FailureKind::Malformed, Retry::Never, text));
            }
        }
        form::complete(&mut task);
        Ok(Reply { result: task, revision: self.context.client.revision })
    }

    /// What a legacy server's task, which is over, has ended with.
    async fn ending(&self) -> Result<Ending, Failure> {
        if let Some(ending) = self.task.follower().and_then(|follower| follower.ending()) {
            return Ok(ending);
        }
        match self.line.ask(Method::TasksResult, naming(&self.task.own), self.meta.clone(), self.context.clone()).await {
            Ok(reply) => Ok(Ok(reply.result)),
            Err(Failure { kind: FailureKind::Upstream(error), .. }) => Ok(Err(error)),
            Err(failure) => Err(failure),
        }
    }

    /// Tells what the server has asked. A task that requires input which nobody can give now is told to be at work.
    async fn add_questions(&self, task: &mut RawObject, status: Status) -> Result<(), Failure> {
        let is_expected = status == Status::InputRequired;
        let follower = if is_expected {
            Some(match self.task.follower().filter(|follower| !follower.has_failed()) {
                Some(follower) => follower,
                None => {
                    let permitted = Follower::permitted(self.line, &self.task.own).await?;
                    self.task.follower_or(|| Ok(Follower::start(self.line, permitted, self.context)))?
                }
            })
        } else {
            self.task.follower()
        };
        let open = match follower {
            Some(follower) => follower.questions(is_expected).await,
            None => Vec::new(),
        };
        let status = if open.is_empty() { Status::Working } else { Status::InputRequired };
        form::set_status(task, status);
        if !open.is_empty() {
            let mut requests = RawObject::new();
            for (key, question) in open {
                let mut request = RawObject::new();
                request.set("method", RawJson::string(&question.method));
                request.set("params", form::unrelated(question.params).to_json());
                requests.set(&key, request.to_json());
            }
            task.set("inputRequests", requests.to_json());
            self.note_questions(task);
        }
        Ok(())
    }

    /// Takes note of what the caller of an approved call is asked: nothing else can be answered.
    fn note_questions(&self, task: &RawObject) {
        if let Some(questions) = task.get_object("inputRequests").ok().flatten().filter(|_| self.task.is_approved) {
            self.task.told.note(questions.iter().map(|(key, _)| key));
        }
    }

    /// Brings answers to what a legacy server has asked.
    fn update(self, request: &Request) -> Result<Reply, Failure> {
        let bad = |what: &'static str| Failure::client(FailureKind::InvalidParams, what);
        let answers = request.params.get("inputResponses").ok_or_else(|| bad("`tasks/update` needs the object `inputResponses`"))?;
        let answers = sallyport_protocol::input::read_answers(answers).map_err(|fault| bad(fault.0))?;
        if let Some(follower) = self.task.follower() {
            follower.answer(answers);
        }
        Ok(acknowledged())
    }

    /// A task that was over before it was handed out, and that no server knows.
    fn of_kept(&self, method: Method, ending: &Ending) -> Result<Reply, Failure> {
        match (method, self.context.client.revision.era()) {
            (Method::TasksResult, _) => self.as_result(drive::ended(self.line, ending.clone())?),
            (Method::TasksCancel, Era::Legacy) => Err(self.already("over")),
            (Method::TasksCancel | Method::TasksUpdate, _) => Ok(acknowledged()),
            (_, Era::Legacy) => Ok(self.told(self.task.seen())),
            (_, Era::Modern) => {
                let mut task = self.task.seen();
                form::set_ending(&mut task, ending);
                Ok(Reply { result: task, revision: self.context.client.revision })
            }
        }
    }

    fn expose(&self, result: &mut RawObject) {
        if let Some(label) = self.label {
            uris::expose_in_result(result, label);
        }
    }

    fn already(&self, what: &str) -> Failure {
        Failure::new(FailureKind::InvalidParams, FailureSource::Client, Retry::Never, format!("task `{}` is {what} already", self.task.id))
    }

    /// The failure of a request that a server answers in this way where it does not know the task.
    fn lost_or(&self, method: Method, failure: Failure) -> Failure {
        match &failure.kind {
            FailureKind::Upstream(error) if method == Method::TasksGet && error.code == ErrorObject::INVALID_PARAMS => {
                lost(&self.task.server, &self.task.id)
            }
            _ => failure,
        }
    }
}

/// The empty answer to `tasks/update` and `tasks/cancel` of the extension.
fn acknowledged() -> Reply {
    let mut result = RawObject::new();
    form::complete(&mut result);
    Reply { result, revision: Revision::LATEST }
}
