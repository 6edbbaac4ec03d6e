//! What becomes of a call that policy holds back.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sallyport_policy::{Action, Approval as Approved, Arguments, Binding, Decision, Denied, Permitted, Principal, Resource};
use sallyport_protocol::{Context, Failure, FailureKind, FailureSource, Method, Peer, RawJson, RawObject, Reply, Retry, input};
use sallyport_store::approval::{self, Approval, Asked, Bounds, Full, Standing, Taken};
use serde_json::Value;
use tokio::time::Instant;

use super::settings::ApprovalsPlan;
use super::webhook::Webhook;
use super::{Approvals, Brought, bare, now, of_store, tell};
use crate::decide::circumstances;
use crate::gateway::Parts;
use crate::upstream::Routed;

/// Bytes of arguments that are held for a person at most: who cannot read all of it does not know what is approved.
const LONGEST: usize = 16 * 1024;
/// How many may wait: of one principal as many as a person would go through, in all as many as a store is quickly searched for.
const BOUNDS: Bounds = Bounds { pending: 20, kept: 1000 };
/// For how many seconds an approval can be used, from the decision on: an agent that looks again now and then finds it, and what was approved
/// does not happen hours later.
pub(super) const USABLE: i64 = 15 * 60;
/// How long a request that came back waits for the decision before it is sent back again: well within what clients wait for a tool.
const WAIT: Duration = Duration::from_secs(15);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A call that is held.
pub(crate) struct Held<'a> {
    pub(crate) parts: &'a Parts,
    /// What the configuration of this moment became, which may be another by the time that somebody has decided.
    pub(crate) in_force: &'a ArcSwap<Parts>,
    pub(crate) principal: &'a Principal,
    pub(crate) action: Action,
    pub(crate) resource: Resource<'a>,
    /// What its arguments mean, as far as that may be written down.
    pub(crate) attributes: Option<Value>,
    pub(crate) context: &'a Context,
    pub(crate) peer: Peer,
}

/// What comes of it.
pub(crate) enum Passage {
    /// A person has approved it.
    Through(Permitted<Routed>, Pass),
    /// It waits, and its client is told so.
    Waits(Result<Reply, Failure>, String),
}

/// An approval that a call has taken.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) handle: String,
    pub(crate) approved: Approved,
}

impl Held<'_> {
    /// What the call is, to be kept.
    fn asked(&self, binding: &Binding, decision: &Decision) -> Result<Asked, Failure> {
        // Without the space between, by which something could be moved out of sight.
        let arguments = match self.resource.arguments {
            Arguments::Given(text) => RawJson::parse(text.to_owned()).map(|given| given.in_order()).unwrap_or_default(),
            Arguments::Unknown | Arguments::Recorded(_) => Vec::new(),
        };
        if arguments.len() > LONGEST {
            let text = format!("a person cannot be asked about a call with {} bytes of arguments", arguments.len());
            return Err(denied(text).with_hint(format!("at most {LONGEST} are shown to a person")));
        }
        Ok(Asked {
            handle: handle()?,
            binding: *binding.as_bytes(),
            tenant: self.principal.tenant().to_owned(),
            principal: self.principal.id().to_owned(),
            server: self.resource.server.to_owned(),
            action: self.action.to_string(),
            target: self.resource.name.to_owned(),
            arguments: String::from_utf8_lossy(&arguments).into_owned(),
            attributes: self.attributes.as_ref().map(Value::to_string),
            reason: decision.detail.as_deref().map_or_else(|| decision.reason.to_string(), str::to_owned),
            rule: decision.place.to_string(),
        })
    }
}

impl Approvals {
    /// Lets a call through that a person has approved, this once, or tells its client that it waits.
    ///
    /// # Errors
    /// Where nobody can be asked about it, where too many wait already, where the store cannot be used, and where policy denies it by now.
    pub(crate) async fn pass(&self, held: &Held<'_>, denied: Denied<Routed>, brought: &Brought) -> Result<Passage, Failure> {
        let Denied { value: mut routed, decision } = denied;
        let binding = Binding::of(held.principal, held.action, &held.resource).filter(|_| can_be_asked(routed.request.method));
        let Some(binding) = binding else {
            let text = format!("`{}` of {:?} is {decision}", routed.request.method.as_str(), held.resource.name);
            return Err(self::denied(text).with_hint("a person can be asked about calls of tools and reads of resources alone"));
        };
        if brought.declines {
            return Err(Failure::client(FailureKind::Cancelled, "the page to approve the call on was not opened"));
        }
        let (approval, questions) = match self.look(held, &binding, &decision, brought).await? {
            Found::Through(approval, questions) => (approval, questions),
            Found::Waits(approval) => {
                let page = self.page(&held.parts.plan.approvals, &approval);
                return Ok(Passage::Waits(tell::held(&approval, &held.context.client, page), approval.asked.handle));
            }
        };
        // Who gets a newer version of a server sees a policy of their own, of the same configuration.
        if !Arc::ptr_eq(&held.in_force.load().plan, &held.parts.plan) {
            let text = "the configuration has changed while the call waited for a person's approval";
            let changed = Failure::new(FailureKind::Overloaded, FailureSource::Gateway, Retry::Safe, text).with_hint("make it again");
            self.leave(approval.asked.handle, &Err(changed.clone())).await?;
            return Err(changed);
        }
        bare::call(&mut routed.request, questions.as_deref());
        let approved = Approved::Call(binding);
        let policy = &held.parts.policy;
        let decided = policy.decide_approved(held.principal, held.action, &held.resource, circumstances(held.peer), Some(approved), routed);
        let permitted = decided.await.map_err(|by_now| {
            let text =
                format!("the approved call of {:?} at server `{}` is {} by now", held.resource.name, held.resource.server, by_now.decision);
            self::denied(text).with_hint(by_now.decision.hint())
        })?;
        Ok(Passage::Through(permitted, Pass { handle: approval.asked.handle, approved }))
    }

    /// Takes the approval of a call, or has a person asked about it. Who came back waits a while for the decision.
    async fn look(&self, held: &Held<'_>, binding: &Binding, decision: &Decision, brought: &Brought) -> Result<Found, Failure> {
        let room = brought.returns.then(|| self.waiting.try_acquire().ok()).flatten();
        let until = Instant::now() + if room.is_some() { WAIT } else { Duration::ZERO };
        loop {
            let standing = match self.take(binding, brought.continues).await? {
                Taken::Through(approval) => return Ok(Found::Through(approval, None)),
                Taken::GoesOn(approval, questions) => {
                    // What cannot be read was nothing that anybody asked.
                    let questions = serde_json::from_str(&questions).unwrap_or_default();
                    return Ok(Found::Through(approval, Some(questions)));
                }
                Taken::Stopped(approval) if approval.standing == Standing::Refused => return Ok(Found::Waits(approval)),
                Taken::Stopped(approval) if approval.standing == Standing::Pending => approval,
                _ => self.ask(held, binding, decision).await?,
            };
            // Approved between the two looks: the next takes it.
            let is_decided = standing.standing == Standing::Approved;
            if !is_decided && Instant::now() >= until {
                return Ok(Found::Waits(standing));
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = held.context.cancel.cancelled() => return Ok(Found::Waits(standing)),
            }
        }
    }

    /// Where an approval is decided by a browser, if anywhere.
    fn page(&self, plan: &ApprovalsPlan, approval: &Approval) -> Option<String> {
        (!plan.approvers.is_empty()).then(|| self.way_out.approval_page(&approval.asked.handle)).flatten()
    }

    /// Sends the notice of a call that begins to wait, where one is wanted.
    fn notify(&self, plan: &ApprovalsPlan, approval: &Approval) {
        let Some((url, secret)) = plan.webhook.clone() else { return };
        match self.way_out.around() {
            Ok(around) => Webhook { url, secret, fetcher: around.fetcher }.tell(&self.notices, approval, self.page(plan, approval)),
            Err(outage) => tracing::warn!("no notice of a call that waits can be sent: {}", outage.why),
        }
    }

    async fn take(&self, binding: &Binding, continues: Option<[u8; 32]>) -> Result<Taken, Failure> {
        let (binding, now) = (*binding.as_bytes(), now());
        let taken = self.store()?.write(move |tables| approval::take(tables, &binding, continues.as_ref(), now)).await;
        taken.map_err(of_store)
    }

    async fn ask(&self, held: &Held<'_>, binding: &Binding, decision: &Decision) -> Result<Approval, Failure> {
        let asked = held.asked(binding, decision)?;
        let lasts = held.parts.plan.approvals.expires_after.as_secs();
        let now = now();
        let ends = now.saturating_add(i64::try_from(lasts).unwrap_or(i64::MAX));
        let kept = self.store()?.write(move |tables| approval::ask(tables, &asked, (now, ends), BOUNDS)).await;
        match kept.map_err(of_store)? {
            Ok((approval, is_new)) => {
                if is_new {
                    let asked = &approval.asked;
                    tracing::info!(
                        handle = asked.handle,
                        principal = asked.principal,
                        server = asked.server,
                        name = asked.target,
                        "a call waits for a person's approval"
                    );
                    self.notify(&held.parts.plan.approvals, &approval);
                }
                Ok(approval)
            }
            Err(full) => Err(too_many(full)),
        }
    }

    /// Sees to what is left of an approval once the call's answer is there: where its server asks something, the answer to that goes on
    /// with the call; where it was never carried out, it can be called again.
    pub(crate) async fn settle(&self, pass: &Pass, answer: &Result<Reply, Failure>) {
        if let Err(failure) = self.leave(pass.handle.clone(), answer).await {
            tracing::warn!(handle = pass.handle, "an approved call has to be approved again: {failure}");
        }
    }

    async fn leave(&self, handle: String, answer: &Result<Reply, Failure>) -> Result<(), Failure> {
        let left = match answer {
            Ok(reply) if input::is_input_required(&reply.result) => {
                let (state, ends) = (tell::digest_of(&reply.result), now() + USABLE);
                let questions = asked_in(&reply.result);
                self.store()?.write(move |tables| approval::go_on(tables, &handle, (&state, &questions), ends)).await
            }
            // What took too long may have been sent, also where the server says that it can be sent twice.
            Err(Failure { kind: FailureKind::TimedOut(_), .. }) => return Ok(()),
            Err(Failure { retry: Retry::Safe, .. }) => self.store()?.write(move |tables| approval::give_back(tables, &handle)).await,
            _ => return Ok(()),
        };
        left.map_err(of_store)
    }
}

/// What the store has of a call.
enum Found {
    /// With the keys of what its server has asked, where it goes on.
    Through(Approval, Option<Vec<String>>),
    Waits(Approval),
}

/// The keys of the questions in an answer that asks, as they are kept. There are 32 at most.
fn asked_in(result: &RawObject) -> String {
    let questions = input::InputRequired::read(result).map(|asked| asked.questions).unwrap_or_default();
    let keys: Vec<String> = questions.into_iter().map(|(key, _)| key).collect();
    serde_json::to_string(&keys).unwrap_or_default()
}

/// Whether a person can be asked about requests of this method: those that use a thing once, and say all of it.
const fn can_be_asked(method: Method) -> bool {
    matches!(method, Method::ToolsCall | Method::ResourcesRead)
}

fn denied(text: String) -> Failure {
    Failure::new(FailureKind::Denied, FailureSource::Gateway, Retry::Never, text)
}

fn too_many(full: Full) -> Failure {
    let text = match full {
        Full::OfPrincipal => "too many of this caller's calls wait for a person's approval",
        Full::OfAll => "too many calls wait for a person's approval",
    };
    Failure::new(FailureKind::Overloaded, FailureSource::Gateway, Retry::Safe, text)
        .with_hint("tell your user: others of these calls have to be decided first")
}

/// Names a request to people: 80 random bits, so that nobody happens upon another's.
fn handle() -> Result<String, Failure> {
    let mut bytes = [0_u8; 10];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| Failure::internal("a request for approval could not be named"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
