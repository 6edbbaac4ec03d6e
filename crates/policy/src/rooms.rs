//! Rooms apart: a few threads for work whose size somebody else decides, what is asked of policy in SQL and Rego.
//!
//! A statement is looked at for milliseconds and goes as deep as it is long; a policy may run to its deadline. On the thread that asks,
//! all other calls of that thread would wait, and its stack is too small. The threads are there while there is work, and end soon after: the
//! memory that a deep stack has touched goes back with its thread.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

/// Bytes of stack: five times what the deepest statement that is looked at takes without optimisation (measured). Only what is used
/// becomes memory.
const STACK: usize = 128 * 1024 * 1024;
/// Fewest and most threads; as many as there are cores in between. One that is held up does not hold up all.
const THREADS: (usize, usize) = (2, 8);
/// Work that may wait: with milliseconds for each, the last waits as long as a person hardly notices.
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

struct State {
    waiting: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static ROOMS: Rooms = Rooms { state: Mutex::new(State { waiting: VecDeque::new(), threads: 0, idle: 0 }), arrived: Condvar::new() };

thread_local! {
    /// This thread is one of them.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Rooms {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&'static self, job: Job) -> Result<(), NoRoom> {
        let mut state = self.state();
        if state.waiting.len() >= MOST_WAITING {
            return Err(NoRoom::Full);
        }
        state.waiting.push_back(job);
        if state.idle < state.waiting.len() && state.threads < most_threads() {
            match thread::Builder::new().name("policy".to_owned()).stack_size(STACK).spawn(|| self.work()) {
                Ok(_) => state.threads += 1,
                Err(_) if state.threads == 0 => {
                    state.waiting.pop_back();
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
            if let Some(job) = state.waiting.pop_front() {
                drop(state);
                job();
                state = self.state();
                continue;
            }
            state.idle += 1;
            let (awake, waited) = self.arrived.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = awake;
            state.idle -= 1;
            if waited.timed_out() && state.waiting.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

fn most_threads() -> usize {
    thread::available_parallelism().map_or(THREADS.0, |cores| cores.get().clamp(THREADS.0, THREADS.1))
}

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

/// Has `work` done where there is room for it.
pub(crate) fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Elsewhere<T> {
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
    if let Err(why) = ROOMS.take(Box::new(job)) {
        *locked(&outcome) = Outcome::There(Err(why));
    }
    Elsewhere(outcome)
}

/// The same, waited for on this thread, which is not one that others wait for; there it is done at once.
pub(crate) fn with_room<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, NoRoom> {
    if INSIDE.get() { Ok(work()) } else { wait(elsewhere(work)) }
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
        assert_ne!(elsewhere(move || thread::current().id()).settled().unwrap(), here);
        assert_eq!(with_room(|| with_room(|| thread::current().name().map(str::to_owned))).unwrap().unwrap().as_deref(), Some("policy"));
        assert_eq!(elsewhere(|| panic!("as a parser might")).settled(), Err::<(), _>(NoRoom::Failed));

        let (held, release): (Vec<_>, Vec<_>) = (0..most_threads())
            .map(|_| {
                let (release, released) = mpsc::channel::<()>();
                (elsewhere(move || released.recv().is_err()), release)
            })
            .unzip();
        let mut waiting = Vec::new();
        let full = loop {
            let mut next = elsewhere(|| ());
            match (&mut next).now_or_never() {
                None => waiting.push(next),
                Some(outcome) => break outcome,
            }
        };
        assert_eq!(full, Err(NoRoom::Full));
        assert!(waiting.len() <= MOST_WAITING + most_threads());
        drop(release);
        assert!(held.into_iter().all(|held| held.settled().unwrap()));
        assert!(waiting.into_iter().all(|waiting| waiting.settled().is_ok()), "and all that were taken are done");
    }
}
