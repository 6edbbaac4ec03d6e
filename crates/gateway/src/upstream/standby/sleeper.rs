//! A program that may be asleep: whoever asks it something wakes it, and it stays awake until the answer is there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sallyport_protocol::{
    BoxFuture, Context, Discovery, Failure, FailureKind, Listeners, McpServer, Method, RawObject, Reply, Request, Retry,
};
use sallyport_sandbox::{Exceeded, Exit, Instance, Memory, Running, Standby};
use sallyport_telemetry::metric::WakeMetrics;
use sallyport_telemetry::{ServerMetrics, StandbyState};
use tokio::sync::Notify;

use super::tasks::Tasks;
use super::uses::{Use, Uses, Using};
use crate::upstream::own_call::{self, Own};
use crate::upstream::reach::Look;

/// How long a program may do what it does behind the answer to a rehearsal before it is frozen: V8 collects its garbage then, which would else
/// come before the answer to the request that wakes it.
const COMES_TO_REST: Duration = Duration::from_millis(20);

/// A program in its boundary and the connection to it.
///
/// Two words decide between a request and a freeze that meet: a request counts itself first and looks whether the program sleeps
/// after that; a freeze says that it sleeps first and looks for requests after that. One of them sees the other.
pub(crate) struct Sleeper {
    name: Arc<str>,
    connection: Arc<dyn McpServer>,
    metrics: ServerMetrics,
    wakes: WakeMetrics,
    bed: Mutex<Bed>,
    /// Whether a request must look into `bed` first.
    is_asleep: AtomicBool,
    uses: Uses,
    woken: Notify,
    tasks: Tasks,
}

/// Where the program is.
enum Bed {
    Awake(Instance<Running>),
    Asleep(Instance<Standby>, StandbyState),
    /// It takes no more requests, and waits for its end.
    Shut(Instance<Running>),
    /// It is somebody else's, or ended.
    Empty,
}

impl Sleeper {
    pub(crate) fn new(name: &str, connection: Arc<dyn McpServer>, instance: Instance<Running>, metrics: ServerMetrics) -> Arc<Self> {
        metrics.set_standby(StandbyState::Awake);
        Arc::new(Self {
            name: name.into(),
            connection,
            wakes: metrics.wakes(instance.in_force().boundary()),
            metrics,
            bed: Mutex::new(Bed::Awake(instance)),
            is_asleep: AtomicBool::new(false),
            uses: Uses::new(),
            woken: Notify::new(),
            tasks: Tasks::default(),
        })
    }

    /// How far down it is.
    pub(crate) fn state(&self) -> StandbyState {
        match &*self.bed() {
            Bed::Asleep(_, state) => *state,
            Bed::Awake(_) | Bed::Shut(_) | Bed::Empty => StandbyState::Awake,
        }
    }

    /// It was stopped, and this is its new start, which took so long.
    pub(crate) fn started_again(&self, took: Duration) {
        self.wakes.woken(StandbyState::Stopped, took);
    }

    pub(crate) fn is_asleep(&self) -> bool {
        self.is_asleep.load(Ordering::SeqCst)
    }

    /// Waits until a request wakes it.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// How long there was neither a request nor a task.
    pub(super) fn idle(&self) -> Duration {
        if self.tasks.any() { Duration::ZERO } else { self.uses.idle() }
    }

    /// Freezes it, unless there is a request; `false` where its boundary cannot freeze anything.
    pub(super) fn freeze(&self) -> bool {
        let mut can = true;
        self.put_to_bed(|instance| match instance.standby() {
            Ok(asleep) => Bed::Asleep(asleep, StandbyState::Frozen),
            Err(awake) => {
                can = false;
                Bed::Awake(awake)
            }
        });
        self.metrics.set_standby(self.state());
        can
    }

    /// Takes no more requests; `false` where there is one.
    pub(super) fn shut(&self) -> bool {
        self.wake();
        self.put_to_bed(Bed::Shut);
        matches!(&*self.bed(), Bed::Shut(_))
    }

    fn put_to_bed(&self, how: impl FnOnce(Instance<Running>) -> Bed) {
        let mut bed = self.bed();
        self.is_asleep.store(true, Ordering::SeqCst);
        *bed = match std::mem::replace(&mut *bed, Bed::Empty) {
            Bed::Awake(instance) if !self.uses.any() => how(instance),
            other => other,
        };
        self.is_asleep.store(!matches!(&*bed, Bed::Awake(_)), Ordering::SeqCst);
    }

    /// Its memory, while it is frozen.
    pub(super) fn memory(&self) -> Option<Memory> {
        match &*self.bed() {
            Bed::Asleep(instance, _) => Some(instance.memory()),
            _ => None,
        }
    }

    /// Wakes it for one request that changes nothing, and freezes it again: what a request needs is in memory then, the rest stays
    /// away. A program that somebody used meanwhile stays awake: it has just begun to be idle.
    pub(super) async fn rehearse(&self, own: &Own, limit: Duration) {
        let last = self.uses.last();
        let Some(stay) = self.stay(Use::Rehearsal) else { return };
        let request = Request::new(Method::ToolsList, RawObject::new());
        if let Err(failure) = own_call::ask(&*self.connection, own, request, limit).await {
            tracing::debug!(server = %self.name, %failure, "the rehearsal did not go well");
        }
        tokio::time::sleep(COMES_TO_REST).await;
        drop(stay);
        if self.uses.last() == last {
            self.freeze();
        }
    }

    /// Takes note that its memory was given back, unless it was woken meanwhile.
    pub(super) fn reclaimed(&self) {
        if let Bed::Asleep(_, state) = &mut *self.bed() {
            *state = StandbyState::Reclaimed;
            self.metrics.set_standby(StandbyState::Reclaimed);
        }
    }

    /// Wakes it; gives what it was woken from.
    fn wake(&self) -> Option<StandbyState> {
        let mut bed = self.bed();
        let (now, from) = match std::mem::replace(&mut *bed, Bed::Empty) {
            Bed::Asleep(instance, from) => (Bed::Awake(instance.wake()), Some(from)),
            other => (other, None),
        };
        *bed = now;
        if from.is_some() {
            self.is_asleep.store(false, Ordering::SeqCst);
            self.metrics.set_standby(StandbyState::Awake);
            self.woken.notify_one();
        }
        from
    }

    /// Keeps it awake, or wakes it, as long as the guard lives, for several requests that belong together.
    pub(crate) fn keep_awake(&self) -> Option<Stay<'_>> {
        self.stay(Use::Request)
    }

    /// Keeps it awake as long as the guard lives; `None` where it takes no more requests.
    fn stay(&self, kind: Use) -> Option<Stay<'_>> {
        let mut stay = Stay { sleeper: self, woken: None, _using: self.uses.begin(kind) };
        if self.is_asleep() {
            let begun = Instant::now();
            stay.woken = self.wake().map(|from| (from, begun));
            if !matches!(&*self.bed(), Bed::Awake(_)) {
                return None;
            }
        }
        Some(stay)
    }

    /// Hands the program over to whoever ends it, awake.
    pub(crate) fn take(&self) -> Option<Instance<Running>> {
        self.wake();
        self.is_asleep.store(true, Ordering::SeqCst);
        match std::mem::replace(&mut *self.bed(), Bed::Empty) {
            Bed::Awake(instance) | Bed::Shut(instance) => Some(instance),
            Bed::Asleep(instance, _) => Some(instance.wake()),
            Bed::Empty => None,
        }
    }

    /// Waits for the program's end; for ever, where it was handed over.
    pub(crate) async fn exit(&self) -> Exit {
        let exit: BoxFuture<'_, Exit> = match &*self.bed() {
            Bed::Awake(instance) | Bed::Shut(instance) => Box::pin(instance.wait()),
            Bed::Asleep(instance, _) => Box::pin(instance.wait()),
            Bed::Empty => Box::pin(std::future::pending()),
        };
        exit.await
    }

    /// Which of its limits the program went beyond, if it did.
    pub(crate) fn exceeded(&self) -> Option<Exceeded> {
        match &*self.bed() {
            Bed::Awake(instance) | Bed::Shut(instance) => instance.exceeded(),
            Bed::Asleep(instance, _) => instance.exceeded(),
            Bed::Empty => None,
        }
    }

    /// A look at which of its limits the program meets at the moment.
    pub(crate) fn look(&self) -> Option<Look> {
        match &*self.bed() {
            Bed::Awake(instance) | Bed::Shut(instance) => Some(Arc::new(instance.look())),
            Bed::Asleep(instance, _) => Some(Arc::new(instance.look())),
            Bed::Empty => None,
        }
    }

    /// The last lines that the program wrote to stderr.
    pub(crate) fn stderr_tail(&self) -> Vec<String> {
        match &*self.bed() {
            Bed::Awake(instance) | Bed::Shut(instance) => instance.stderr_tail(),
            Bed::Asleep(instance, _) => instance.stderr_tail(),
            Bed::Empty => Vec::new(),
        }
    }

    fn bed(&self) -> MutexGuard<'_, Bed> {
        self.bed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shut_out(&self) -> Failure {
        let text = format!("server `{}` cannot be reached: it is being stopped", self.name);
        Failure::upstream(&self.name, FailureKind::Unreachable, Retry::Safe, text)
    }
}

impl McpServer for Sleeper {
    fn discovery(&self) -> Arc<Discovery> {
        self.connection.discovery()
    }

    fn handle<'a>(&'a self, request: Request, context: Context) -> BoxFuture<'a, Result<Reply, Failure>> {
        Box::pin(async move {
            let stay = self.stay(Use::Request).ok_or_else(|| self.shut_out())?;
            let about = self.tasks.about(&request);
            let outcome = self.connection.handle(request, context).await;
            stay.answered();
            if let (Some(about), Ok(reply)) = (about, &outcome) {
                self.tasks.note(about, &reply.result);
            }
            outcome
        })
    }

    fn listeners(&self) -> &Listeners {
        self.connection.listeners()
    }
}

/// A request under way.
pub(crate) struct Stay<'a> {
    sleeper: &'a Sleeper,
    /// What it woke the program from, and when.
    woken: Option<(StandbyState, Instant)>,
    _using: Using<'a>,
}

impl Stay<'_> {
    fn answered(&self) {
        if let Some((from, begun)) = self.woken {
            self.sleeper.wakes.woken(from, begun.elapsed());
        }
    }
}
