//! The way of one call to a server: wait for it, send, watch the clock, send again where that is safe.

use std::sync::Arc;
use std::time::Duration;

use sallyport_protocol::{BoxFuture, Cancel, Context, Failure, FailureKind, FailureSource, Method, Reply, Request, Retry};

use crate::failure::{add_to_error, add_to_result};
use crate::upstream::deadline::{Deadline, Signs};
use crate::upstream::health::nameless;
use crate::upstream::life::Life;
use crate::upstream::link::Link;
use crate::upstream::own_call::LEAVE;
use crate::upstream::{retry, shape};

// What is rare is boxed here, so that it does not swell the future of every call.

/// Sends `request` to the server and brings its answer.
pub(crate) async fn deliver(life: &Life, request: Request, context: Context) -> Result<Reply, Failure> {
    let _flight = life.enter()?;
    let deadline = Deadline::start(&life.plan.timeouts, request.method);
    let signs = Signs::of(context.asker, &deadline);
    let call = Call { life, request, deadline, context: Context { asker: signs.clone(), ..context }, signs };
    let ready = life.link.load_full();
    let link = match ready {
        Some(link) => link,
        None => Box::pin(call.connection(None)).await?,
    };
    match call.attempt(&link).await {
        Err(failure) if retry::is_worth_it(&failure, || call.is_repeatable()) => Box::pin(call.again(&link, failure)).await,
        outcome => outcome,
    }
}

struct Call<'a> {
    life: &'a Life,
    request: Request,
    context: Context,
    deadline: Deadline,
    signs: Arc<Signs>,
}

impl Call<'_> {
    async fn connection(&self, besides: Option<&Arc<Link>>) -> Result<Arc<Link>, Failure> {
        let connection = self.life.connection(&self.deadline, besides);
        let link = tokio::select! {
            biased;
            link = connection => link?,
            () = self.context.cancel.cancelled() => return Err(self.cancelled()),
        };
        self.signs.note(); // the server's time begins now
        Ok(link)
    }

    /// Sends the request over `link` and waits for the answer.
    async fn attempt(&self, link: &Arc<Link>) -> Result<Reply, Failure> {
        if self.request.method == Method::ResourcesUnsubscribe {
            self.life.subscribed.note(&self.request, self.context.credential.as_ref()); // whatever becomes of it, nobody listens any more
        }
        let cancel = Cancel::new();
        let context = Context { cancel: cancel.clone(), ..self.context.clone() };
        let mut work = link.server.handle(self.request.clone(), context);
        let outcome = tokio::select! {
            biased;
            outcome = &mut work => outcome,
            () = self.context.cancel.cancelled() => return Err(Box::pin(abandon(&cancel, work, self.cancelled())).await),
            limit = self.deadline.passed(&self.signs) => {
                link.stayed_silent();
                return Err(Box::pin(abandon(&cancel, work, self.timed_out(limit))).await);
            }
        };
        match outcome {
            Ok(reply) => {
                link.answered();
                let reply = self.checked(reply)?;
                if is_error(&reply) { Ok(Box::pin(self.explained(link, reply)).await) } else { Ok(reply) }
            }
            Err(failure) => Err(Box::pin(self.failed(link, failure)).await),
        }
    }

    /// Sends the request a second and last time, over another connection where the first is lost.
    async fn again(&self, link: &Arc<Link>, first: Failure) -> Result<Reply, Failure> {
        tracing::debug!(server = %self.life.name, method = self.request.method.as_str(), failure = %first, "sent again");
        let lost = !link.reconnects || first.retry == Retry::Safe;
        let next = self.connection(lost.then_some(link)).await?;
        self.attempt(&next).await
    }

    fn checked(&self, reply: Reply) -> Result<Reply, Failure> {
        match shape::fault(&self.request, &reply) {
            None => {
                self.life.subscribed.note(&self.request, self.context.credential.as_ref());
                Ok(reply)
            }
            Some(fault) => {
                let text = format!("{}: the result is malformed: {fault}", self.subject());
                Err(Failure::upstream(&self.life.name, FailureKind::Malformed, Retry::Unknown, text))
            }
        }
    }

    /// Looks at a failure: what it says of the connection, and what the connection says of it.
    async fn failed(&self, link: &Link, failure: Failure) -> Failure {
        match (&failure.kind, failure.retry) {
            (FailureKind::Upstream(_), _) => {
                link.answered();
                return match self.met(link).await {
                    Some(met) => add_to_error(failure, &met),
                    None => failure,
                };
            }
            (FailureKind::Unreachable, Retry::Safe | Retry::Unknown) => return self.lost(link, failure).await,
            (FailureKind::TooLarge, _) if self.life.is_child() => {
                return failure.with_hint(format!("`servers.{}.limits.line_mb` sets how long a message may be", self.life.name));
            }
            _ => {}
        }
        failure
    }

    /// A result that says that the call failed, with the limit that the server meets, if it does.
    async fn explained(&self, link: &Link, mut reply: Reply) -> Reply {
        if let Some(met) = self.met(link).await {
            add_to_result(&mut reply.result, &met);
        }
        reply
    }

    /// The limit that the server meets just now, told as failures are. Who opened what it may fails by that, most likely; only the server
    /// knows.
    async fn met(&self, link: &Link) -> Option<Failure> {
        let exceeded = link.look().await?;
        let server = &self.life.name;
        if link.note_met(exceeded) {
            tracing::warn!(%server, limit = exceeded.key(), "a call failed, and it {exceeded}");
        }
        let text = format!("server `{server}` {exceeded}");
        let failure = Failure::upstream(server, FailureKind::LimitExceeded(exceeded.key()), Retry::Unknown, text);
        Some(failure.with_hint(format!("`servers.{server}.{}` sets the limit", exceeded.setting())))
    }

    /// A call whose server was not there, or went away.
    async fn lost(&self, link: &Link, failure: Failure) -> Failure {
        let why = nameless(&self.life.name, &failure.public);
        if link.reconnects {
            match failure.retry {
                Retry::Safe => link.give_up(why.clone()), // not even a connection is to be had
                _ => link.stayed_silent(),
            }
            return self.broken_off(&why, failure);
        }
        match link.end().await {
            Some(end) => {
                let failure = Failure { hint: end.hint.clone().map(Into::into).or(failure.hint), ..failure };
                let kind = end.limit.map_or_else(|| failure.kind.clone(), FailureKind::LimitExceeded);
                self.broken_off(&end.why, Failure { kind, ..failure }).with_internal(end.for_the_log())
            }
            None => {
                link.give_up(why.clone()); // one way of the pipe is broken, and the child lives on
                self.broken_off(&why, failure)
            }
        }
    }

    fn is_repeatable(&self) -> bool {
        self.life.repeatable.covers(&self.request, &self.life.listing.load())
    }

    /// What the call is about, for people: "server `files`, tool `read`".
    fn subject(&self) -> String {
        let server = &self.life.name;
        let method = self.request.method;
        let kind = match method.name_parameter() {
            Some("uri") => "resource",
            Some("taskId") => "task",
            Some(_) if method == Method::PromptsGet => "prompt",
            Some(_) => "tool",
            None => return format!("server `{server}`, {}", method.as_str()),
        };
        format!("server `{server}`, {kind} `{}`", self.request.name().unwrap_or_default())
    }

    fn timed_out(&self, limit: Duration) -> Failure {
        let (retry, advice) = if self.is_repeatable() {
            (Retry::Safe, "it may safely be called again")
        } else {
            (Retry::Unknown, "whether it was carried out is not known: look before you call it again")
        };
        let kind = if limit < self.life.plan.timeouts.call_max {
            "no answer and no progress within"
        } else {
            "no answer within the hard limit of"
        };
        let text = format!("{}: {kind} {limit:?}; the call was cancelled; {advice}", self.subject());
        Failure::upstream(&self.life.name, FailureKind::TimedOut(limit), retry, text)
            .with_hint(format!("the limits are `servers.{0}.timeouts.call` and `servers.{0}.timeouts.call_max`", self.life.name))
    }

    fn broken_off(&self, why: &str, failure: Failure) -> Failure {
        let advice = match failure.retry {
            Retry::Safe => "the call was not carried out",
            _ if self.is_repeatable() => "it may safely be called again",
            _ => "whether the call was carried out is not known",
        };
        let public = format!("{}: the server went away: {why}; {advice}", self.subject()).into();
        let hint = failure.hint.or_else(|| self.life.log_hint().map(Into::into));
        Failure { public, hint, ..failure }
    }

    fn cancelled(&self) -> Failure {
        Failure::new(FailureKind::Cancelled, FailureSource::Client, Retry::Unknown, format!("{}: the call was cancelled", self.subject()))
    }
}

/// Whether a result says that its call failed.
fn is_error(reply: &Reply) -> bool {
    reply.result.get("isError").is_some_and(|is_error| is_error.as_str() == "true")
}

/// Tells the server that an answer is not wanted any more, and gives it a moment to take note.
async fn abandon(cancel: &Cancel, work: BoxFuture<'_, Result<Reply, Failure>>, failure: Failure) -> Failure {
    cancel.cancel();
    let _ = tokio::time::timeout(LEAVE, work).await; // what it says now comes too late
    failure
}
