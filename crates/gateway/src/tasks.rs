//! Tasks: calls of tools that go on after their first answer, in both forms, within an era and across.
//!
//! | client | server | the way of a task |
//! | --- | --- | --- |
//! | legacy | legacy | passes; bound to its caller |
//! | legacy | modern | a task that was asked for is handed out in the client's form; any other is hidden behind its call |
//! | modern | legacy | handed out to a client that takes tasks, hidden from others; the server's questions wait for `tasks/get` |
//! | modern | modern | passes; bound to its caller |
//!
//! The pipeline calls [`prepare`] before policy decides, sends over a [`Line`], which hides what must be hidden, and lets
//! [`Tasks::hand_out`] look at the answer; requests about tasks go to `Inner::serve_task`.
//!
//! | file | its subject |
//! | --- | --- |
//! | `form` | a task on the wire, in both forms |
//! | `support` | who can do tasks |
//! | `wish` | what a client wants of a call, and how the server is told |
//! | `line` | the way of a call, and of what it brings about, to its server |
//! | `drive` | a task that is seen to its end for its client |
//! | `follow` | what a legacy server asks while it works on a task |
//! | `store` | the tasks that were handed out |
//! | `running` | how long a task counts as a running call |
//! | `serve`, `list` | requests about tasks |
//!
//! Tasks that are handed out are remembered in this process: after a restart of the gateway nobody has any.

mod drive;
mod follow;
mod form;
mod line;
mod list;
mod running;
mod serve;
mod store;
pub(crate) mod support;
#[cfg(test)]
pub(crate) mod tests;
mod wish;

use std::fmt::Write as _;
use std::sync::Arc;

use sallyport_protocol::{
    Asker, BoxFuture, CallerId, Client, Era, ErrorObject, Failure, FailureKind, Method, RawJson, RawObject, Reply, Retry, Revision, input,
};
use sallyport_telemetry::Timestamp;

pub(crate) use line::Line;
pub(crate) use serve::is_at;
pub(crate) use store::Task;
use store::{New, Store};
pub(crate) use support::{EXTENSION, Support, announce, can};
use wish::Takes;
pub(crate) use wish::prepare;

use crate::upstream::Upstream;

/// The tasks of all callers.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    store: Store,
}

/// Whether a request of that method is about a task.
pub(crate) const fn concern(method: Method) -> bool {
    matches!(method, Method::TasksGet | Method::TasksResult | Method::TasksList | Method::TasksCancel | Method::TasksUpdate)
}

impl Tasks {
    /// Looks at the answer to a call: a task is remembered and handed out in the client's form. A client that asked for a task and
    /// whose server made none of the call gets one that is over already.
    ///
    /// # Errors
    /// `Internal` where the system has no random numbers for an id.
    pub(crate) fn hand_out(&self, line: &Line, client: &Arc<Client>, reply: Reply) -> Result<Reply, Failure> {
        let takes = line.wish.takes;
        if takes == Takes::Result {
            return match form::made(&reply, line.wish.as_task) {
                None => Ok(reply),
                Some(_) => Err(malformed(line, "a task, for a client that takes none")),
            };
        }
        match form::made(&reply, line.wish.as_task) {
            Some(task) => self.hand_on(line, client, reply, task),
            None if takes == Takes::Task && reply.revision.era() == Era::Modern && !input::is_input_required(&reply.result) => {
                self.hand_out_ended(line, client, reply)
            }
            None => Ok(reply),
        }
    }

    /// Hands out a task that a server has made.
    fn hand_on(&self, line: &Line, client: &Arc<Client>, mut reply: Reply, task: RawObject) -> Result<Reply, Failure> {
        let server = line.upstream.name();
        let Some(own) = form::id(&task).map(std::borrow::Cow::into_owned) else {
            return Err(malformed(line, "a task without a `taskId`"));
        };
        let form = reply.revision.era();
        let is_passed = form == client.revision.era();
        let new = New {
            owner: line.principal.clone(),
            server: server.clone(),
            scope: line.upstream.scope().clone(),
            target: line.target.clone(),
            form,
            is_shared: !line.upstream.plan().is_personal(),
            described: task.clone(),
            own: own.clone(),
            kept: None,
            counted: line.counted.clone(),
            is_approved: line.approval.is_some(),
        };
        let known = self.store.add(new, is_passed.then_some(own.as_str()), mint)?;
        known.note(&task);
        running::watch(&known, line, client, &task);
        if is_passed && known.id == own {
            reply.result.remove("requestState"); // belongs to questions that came before the task
            return Ok(reply);
        }
        let mut shown = task;
        shown.set("taskId", RawJson::string(&known.id));
        Ok(Reply { result: form::handed_out(&shown, client.revision), revision: client.revision })
    }

    /// Hands out a task for a call that is over.
    fn hand_out_ended(&self, line: &Line, client: &Client, reply: Reply) -> Result<Reply, Failure> {
        let id = mint()?;
        let mut task = RawObject::new();
        task.set("taskId", RawJson::string(&id));
        form::set_status(&mut task, form::Status::Working);
        let now = RawJson::string(&Timestamp::now().to_string());
        task.set("createdAt", now.clone());
        task.set("lastUpdatedAt", now);
        task.set("ttlMs", RawJson::from_static(KEPT_FOR_MS));
        let mut over = task.clone();
        let ending = Ok(reply.result);
        form::set_ending(&mut over, &ending);
        let new = New {
            owner: line.principal.clone(),
            server: line.upstream.name().clone(),
            scope: line.upstream.scope().clone(),
            target: line.target.clone(),
            form: Era::Modern,
            is_shared: false, // no server knows it
            described: form::to_core(&over),
            own: id.clone(),
            kept: Some(ending),
            counted: line.counted.clone(),
            is_approved: line.approval.is_some(),
        };
        self.store.add(new, Some(&id), mint)?;
        // A task begins at work, whatever it is by now (2025-11-25, task status lifecycle).
        Ok(Reply { result: form::handed_out(&task, client.revision), revision: client.revision })
    }

    /// Takes note of what a legacy server says of a task, and says which it is and what to tell its owner.
    pub(crate) fn heard(&self, scope: &Arc<str>, mut params: RawObject) -> Option<(Arc<Task>, RawObject)> {
        let task = self.store.find_own(scope, &params.get_str("taskId")?)?;
        params.set("taskId", RawJson::string(&task.id));
        let described = form::described(&Reply { result: params.clone(), revision: Revision::LATEST_LEGACY });
        task.note(&described);
        task.see(&described);
        Some((task, params))
    }

    /// Waits no longer for what is asked by the servers that `which` names: these are about to be stopped.
    pub(crate) fn abandon(&self, which: impl Fn(&Upstream) -> bool) {
        let tasks = self.store.all(|_| true);
        let followers = tasks.iter().filter_map(|task| task.follower());
        followers.filter(|follower| follower.is_at(&which)).for_each(|follower| follower.stop());
    }

    /// Forgets the tasks of servers that are gone.
    pub(crate) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.store.retain(is_there);
    }
}

/// How long a result is kept here for a client that asked for a task, in milliseconds: it comes for it at once, or never.
const KEPT_FOR_MS: &str = "600000";

fn malformed(line: &Line, what: &str) -> Failure {
    let server = line.upstream.name();
    let text = format!("server `{server}`, tool `{}`: the answer is malformed: {what}", line.target.own);
    Failure::upstream(server, FailureKind::Malformed, Retry::Unknown, text)
}

/// An id that nobody can guess: 128 random bits.
fn mint() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| Failure::internal("a task could not be given an id"))?;
    Ok(bytes.iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a text cannot fail
        text
    }))
}

/// The failure where a server does not know a task that it made.
pub(crate) fn lost(server: &str, id: &str) -> Failure {
    let text = format!("server `{server}` does not know task `{id}` any more: its time was up, or the server was started anew");
    Failure::upstream(server, FailureKind::NotFound, Retry::Never, text)
}

/// A client that is asked something for a task: the question says for which.
struct Related {
    client: Arc<dyn Asker>,
    task: String,
}

impl Related {
    fn new(client: Arc<dyn Asker>, task: &str) -> Self {
        Self { client, task: task.to_owned() }
    }
}

impl Asker for Related {
    fn notify(&self, method: &str, params: RawObject) {
        self.client.notify(method, params);
    }

    fn ask<'a>(&'a self, method: &'a str, params: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        self.client.ask(method, form::related(params, &self.task))
    }

    fn caller(&self) -> Option<&CallerId> {
        self.client.caller()
    }
}
