//! Rooms apart: a few threads for work whose size somebody else decides, what is asked of policy in SQL and Rego.
//!
//! A statement is looked at for milliseconds and goes as deep as it is long; a policy may run to its deadline. On the thread that asks,
//! all other calls of that thread would wait, and its stack is too small. The threads are there while there is work, and end soon after: the
//! memory that a deep stack has touched goes back with its thread.
//!
//! Each tenant waits in a line of its own, and whoever has the least work under way is next. None has work at all threads at once: somebody who
//! comes while another fills them is served at once all the same, and not after those who wait.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

/// Bytes of stack: five times what the deepest statement that is looked at takes without optimisation (measured). Only what is used
/// becomes memory.
const STACK: usize = 128 * 1024 * 1024;
/// Fewest and most threads for one tenant; as many as there are cores in between. One that is held up does not hold up all.
const THREADS: (usize, usize) = (2, 8);
/// Threads beside those, which one tenant alone cannot fill.
const FREE: usize = 1;
/// Work of one tenant that may wait: with milliseconds for each, the last waits as long as a person hardly notices.
const MOST_WAITING: usize = 256;
/// How long a thread waits for work before it ends: calls come in bursts.
const IDLE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// Too much waits already.
    Full,
    /// The work came to no end, or no thread could be had for it.
    Failed,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Full => "too many calls wait to be looked at; try again",
            Self::Failed => "it could not be looked at",
        })
    }
}

type Job = Box<dyn FnOnce() + Send>;

struct Rooms {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    /// By whose it is. As many as there are tenants; gone when it is empty.
    lines: HashMap<Arc<str>, Line>,
    /// Times that somebody had a turn.
    turns: u64,
    threads: usize,
    /// Threads without work, also those that are only just beginning.
    idle: usize,
}

/// The work of one tenant.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Job>,
    under_way: usize,
    /// When it last had a turn.
    turn: u64,
}

impl Line {
    /// How much of it could be begun now.
    fn ready(&self) -> usize {
        self.waiting.len().min(MOST_OF_ONE.saturating_sub(self.under_way))
    }
}

impl State {
    fn ready(&self) -> usize {
        self.lines.values().map(Line::ready).sum()
    }

    /// What is to be done next: of who has the least under way, and of those whose last turn is longest ago.
    fn next(&mut self) -> Option<(Arc<str>, Job)> {
        let ready = self.lines.iter_mut().filter(|(_, line)| line.ready() > 0);
        let (whose, line) = ready.min_by_key(|(_, line)| (line.under_way, line.turn))?;
        let job = line.waiting.pop_front()?;
        self.turns += 1;
        line.turn = self.turns;
        line.under_way += 1;
        Some((whose.clone(), job))
    }

    fn done(&mut self, whose: &str) {
        if let Some(line) = self.lines.get_mut(whose) {
            line.under_way -= 1;
            if line.under_way == 0 && line.waiting.is_empty() {
                self.lines.remove(whose);
            }
        }
    }
}

static ROOMS: LazyLock<Rooms> = LazyLock::new(|| Rooms { state: Mutex::default(), arrived: Condvar::new() });

thread_local! {
    /// This thread is one of them.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Rooms {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&'static self, whose: &str, job: Job) -> Result<(), NoRoom> {
        let mut state = self.state();
        let line = state.lines.entry(whose.into()).or_default();
        if line.waiting.len() >= MOST_WAITING {
            return Err(NoRoom::Full);
        }
        line.waiting.push_back(job);
        if state.idle < state.ready() && state.threads < *MOST_OF_ONE + FREE {
            match thread::Builder::new().name("policy".to_owned()).stack_size(STACK).spawn(|| self.work()) {
                Ok(_) => {
                    state.threads += 1;
                    state.idle += 1;
                }
                Err(_) if state.threads == 0 => {
                    state.lines.remove(whose); // nothing of anybody's is under way
                    return Err(NoRoom::Failed);
                }
                Err(_) => {} // another thread comes to it
            }
        }
        self.arrived.notify_one();
        Ok(())
    }

    fn work(&self) {
        INSIDE.set(true);
        let mut state = self.state();
        loop {
            if let Some((whose, job)) = state.next() {
                state.idle -= 1;
                drop(state);
                job();
                state = self.state();
                state.idle += 1;
                state.done(&whose);
                continue;
            }
            let (awake, waited) = self.arrived.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = awake;
            if waited.timed_out() && state.ready() == 0 {
                state.threads -= 1;
                state.idle -= 1;
                return;
            }
        }
    }
}

/// How many threads may have work of one tenant. The system reads files to tell.
static MOST_OF_ONE: LazyLock<usize> =
    LazyLock::new(|| thread::available_parallelism().map_or(THREADS.0, |cores| cores.get().clamp(THREADS.0, THREADS.1)));

/// Work that was begun elsewhere. Dropped before its turn came, it is not done.
pub(crate) struct Elsewhere<T>(Arc<Mutex<Outcome<T>>>);

enum Outcome<T> {
    Awaited(Option<Waker>),
    There(Result<T, NoRoom>),
    Taken,
}

fn locked<T>(outcome: &Mutex<Outcome<T>>) -> MutexGuard<'_, Outcome<T>> {
    outcome.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has `work` done where there is room for it; `whose` is the tenant, or nothing.
pub(crate) fn elsewhere<T: Send + 'static>(whose: &str, work: impl FnOnce() -> T + Send + 'static) -> Elsewhere<T> {
    let outcome = Arc::new(Mutex::new(Outcome::Awaited(None)));
    let told = Arc::clone(&outcome);
    let job = move || {
        if Arc::strong_count(&told) == 1 {
            return; // nobody waits for it any more
        }
        let came = catch_unwind(AssertUnwindSafe(work)).map_err(|_| NoRoom::Failed);
        if let Outcome::Awaited(Some(waker)) = std::mem::replace(&mut *locked(&told), Outcome::There(came)) {
            waker.wake();
        }
    };
    if let Err(why) = ROOMS.take(whose, Box::new(job)) {
        *locked(&outcome) = Outcome::There(Err(why));
    }
    Elsewhere(outcome)
}

/// The line of what servers have looked at, whose tenant is not known: statements, for milliseconds.
const OF_SERVERS: &str = "\n";

/// The same for a server, waited for on this thread, which is not one that others wait for; there it is done at once.
pub(crate) fn with_room<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, NoRoom> {
    if INSIDE.get() { Ok(work()) } else { wait(elsewhere(OF_SERVERS, work)) }
}

impl<T> Future for Elsewhere<T> {
    type Output = Result<T, NoRoom>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut outcome = locked(&self.0);
        match std::mem::replace(&mut *outcome, Outcome::Taken) {
            Outcome::There(came) => Poll::Ready(came),
            Outcome::Taken => Poll::Ready(Err(NoRoom::Failed)),
            Outcome::Awaited(_) => {
                *outcome = Outcome::Awaited(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Sleeper(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// What tests write behind a future.
#[cfg(test)]
pub(crate) trait Settled: Future + Sized {
    fn settled(self) -> Self::Output {
        wait(self)
    }
}

#[cfg(test)]
impl<F: Future> Settled for F {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::sync::mpsc;

    use futures_util::FutureExt as _;

    use super::*;

    /// One at a time: they fill what all share.
    #[test]
    fn work_is_done_elsewhere_and_refused_where_too_much_waits() {
        let here = thread::current().id();
        assert_ne!(elsewhere("", move || thread::current().id()).settled().unwrap(), here);
        assert_eq!(with_room(|| with_room(|| thread::current().name().map(str::to_owned))).unwrap().unwrap().as_deref(), Some("policy"));
        assert_eq!(elsewhere("", || panic!("as a parser might")).settled(), Err::<(), _>(NoRoom::Failed));

        let (held, release, waiting) = filled_by("acme");
        assert_eq!(elsewhere("acme", || ()).settled(), Err(NoRoom::Full));
        assert!(waiting.len() <= MOST_WAITING + *MOST_OF_ONE);
        // Who has nothing under way is served at once, and so is the next.
        for whose in ["umbrella", "", "umbrella"] {
            assert_eq!(elsewhere(whose, || 7).settled(), Ok(7));
        }
        drop(release);
        assert!(held.into_iter().all(|held| held.settled().unwrap()));
        assert!(waiting.into_iter().all(|waiting| waiting.settled().is_ok()), "and all that were taken are done");
        let is_left = |whose: &str| ROOMS.state().lines.contains_key(whose);
        while is_left("acme") || is_left("umbrella") {
            thread::yield_now(); // work is told of before its end is noted
        }
    }

    type Held = (Vec<Elsewhere<bool>>, Vec<mpsc::Sender<()>>, Vec<Elsewhere<()>>);

    /// Work at as many threads as one tenant may have, which goes on until it is released, and behind it what waits.
    fn filled_by(whose: &str) -> Held {
        let hold = |_| {
            let (release, released) = mpsc::channel::<()>();
            (elsewhere(whose, move || released.recv().is_err()), release)
        };
        let (held, release) = (0..*MOST_OF_ONE).map(hold).unzip();
        let mut waiting = Vec::new();
        loop {
            let mut next = elsewhere(whose, || ());
            match (&mut next).now_or_never() {
                None => waiting.push(next),
                Some(_) => return (held, release, waiting),
            }
        }
    }

    #[test]
    fn who_has_the_least_under_way_is_next() {
        let mut state = State::default();
        for (whose, waiting, under_way) in [("acme", 3, 1), ("umbrella", 2, 0), ("full", 1, *MOST_OF_ONE)] {
            let waiting = (0..waiting).map(|_| Box::new(|| ()) as Job).collect();
            state.lines.insert(whose.into(), Line { waiting, under_way, turn: 0 });
        }
        let mut next = || state.next().map(|(whose, _)| whose.to_string());
        assert_eq!(next().as_deref(), Some("umbrella"));
        let (one, other) = (next(), next());
        assert_ne!(one, other, "they take turns");
        state.done("umbrella");
        assert_eq!(state.lines["full"].under_way, *MOST_OF_ONE);
        assert!(state.lines.contains_key("full") && !state.lines.contains_key("nobody"));
    }
}
