//! `tasks/list`: the caller's own tasks (2025-11-25). No server is asked for its list, which may hold other callers' tasks.

use std::sync::Arc;

use futures_util::future::join_all;
use sallyport_policy::Principal;
use sallyport_protocol::{Context, Failure, FailureKind, Incoming, Peer, RawJson, RawObject, Reply, Request};

use super::form::{self, Status};
use super::serve::{Errand, is_at, line};
use super::store::Task;
use crate::approvals::bare;
use crate::decide::circumstances;
use crate::gateway::{Inner, Parts};

/// Tasks on one page: each that still works is asked for at its server.
const PAGE: usize = 50;

impl Inner {
    /// The caller's own tasks, of the tools of the endpoint that policy lets the caller see, the newest first (2025-11-25).
    pub(super) async fn list_tasks(
        &self,
        parts: &Arc<Parts>,
        request: &Request,
        principal: &Principal,
        incoming: &Incoming,
        context: &Context,
    ) -> Result<Reply, Failure> {
        let mut tasks = self.tasks.store.of(principal);
        tasks.retain(|task| is_at(task, parts, &incoming.endpoint));
        // A cursor is the id of the last task that was told; where that is forgotten by now, so are all that came before it.
        if let Some(cursor) = request.params.get_str("cursor") {
            let told = tasks.iter().position(|task| task.id == *cursor);
            let told =
                told.ok_or_else(|| Failure::client(FailureKind::InvalidParams, "the cursor is none of this list, or out of date"))?;
            tasks.drain(..=told);
        }
        tasks = seen_by(principal, incoming.peer, parts, tasks).await;
        let next = tasks.get(PAGE - 1).filter(|_| tasks.len() > PAGE).map(|task| task.id.clone());
        tasks.truncate(PAGE);
        let looked_at = join_all(tasks.iter().map(|task| self.look_at(parts, principal, incoming.peer, task, context))).await;
        let entries: Vec<RawJson> = looked_at.into_iter().flatten().map(|task| form::to_core(&task).to_json()).collect();
        let mut result = RawObject::new();
        result.set("tasks", RawJson::of_array(&entries));
        if let Some(next) = next {
            result.set("nextCursor", RawJson::string(&next));
        }
        Ok(Reply { result, revision: context.client.revision })
    }

    /// What a task is at; as it was last seen where its server cannot be asked, nothing where the server has forgotten it.
    async fn look_at(
        &self,
        parts: &Arc<Parts>,
        principal: &Principal,
        peer: Peer,
        task: &Arc<Task>,
        context: &Context,
    ) -> Option<RawObject> {
        let seen = task.seen();
        if task.kept.is_some() || task.is_cancelled() || Status::of(&seen).is_some_and(Status::is_final) {
            return Some(seen);
        }
        let line = line(parts, self.maker_of(task, parts).ok()?, principal, peer, task.target.clone());
        let context = if task.is_approved { bare::context(context.clone()) } else { context.clone() };
        let errand = Errand { line: &line, task, label: None, meta: RawObject::new(), context: &context };
        match errand.describe().await {
            Ok(described) => Some(described),
            Err(failure) if matches!(failure.kind, FailureKind::NotFound) => {
                self.tasks.store.forget(task);
                None
            }
            Err(failure) if matches!(failure.kind, FailureKind::Denied) => None, // since it was looked at
            Err(_) => Some(seen),
        }
    }
}

/// Those of some tasks whose tools policy lets the caller see by now, over or not.
async fn seen_by(principal: &Principal, peer: Peer, parts: &Parts, tasks: Vec<Arc<Task>>) -> Vec<Arc<Task>> {
    let tools: Vec<_> = tasks.iter().map(|task| task.target.resource(&task.server)).collect();
    let allowed = parts.policy.allows_each(principal, circumstances(peer), &tools).await;
    tasks.iter().zip(allowed).filter(|(_, allowed)| *allowed).map(|(task, _)| task.clone()).collect()
}
