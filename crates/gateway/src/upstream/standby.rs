//! Standby: a program that nobody calls goes down step by step, and comes back with the next request.
//!
//! awake → frozen → its memory given back → stopped. Each step has its time without a request; none comes while a request is under
//! way (a call that waits for its caller's answer is), while the server works on a task, or while somebody listens to one of its
//! resources. A server says nothing while it sleeps: what it would have said unasked comes after the next request.

mod pressure;
mod sleeper;
mod tasks;
mod uses;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sallyport_sandbox::{GivenBack, Memory, Rehearsal};
use sallyport_telemetry::StandbyState;

pub(crate) use sleeper::Sleeper;

use crate::plan::{Source, Standby, StdioPlan};
use crate::upstream::life::Life;

/// How often a look at the memory pressure is taken while a frozen program still holds its memory. The kernel's own average is
/// over ten seconds.
const PRESSURE_EVERY: Duration = Duration::from_secs(10);

/// What is done next to a program that nobody calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Freeze,
    Reclaim,
    Stop,
}

/// Lets a program go down, as long as this is polled. Ends when nobody called it for so long that it is to be stopped; it takes no
/// more requests then.
pub(crate) async fn descend(life: &Life, sleeper: Option<Arc<Sleeper>>) {
    let (Some(sleeper), Source::Stdio(StdioPlan { standby: plan, .. })) = (sleeper, &life.plan.source) else {
        return std::future::pending().await;
    };
    let plan = *plan;
    let mut descent = Descent { life, sleeper, plan, most: 0 };
    while !descent.go_on().await {}
}

struct Descent<'a> {
    life: &'a Life,
    sleeper: Arc<Sleeper>,
    plan: Standby,
    /// Bytes that were resident before memory was given back, the most of all times: with swap, a program that was woken has fetched little
    /// of what it had, and whether it keeps much is no question of that.
    most: u64,
}

impl Descent<'_> {
    /// Waits for the next step, or takes it where it is due. `true` says that the program is to be stopped.
    async fn go_on(&mut self) -> bool {
        let Some((step, after)) = next(self.sleeper.state(), &self.plan) else {
            self.sleeper.woken().await;
            return false;
        };
        if let Some(wait) = wait_before(step, after.saturating_sub(self.idle()), pressure::is_high) {
            let _ = tokio::time::timeout(wait, self.sleeper.woken()).await; // woken or not, the next look tells
            return false;
        }
        match step {
            Step::Freeze => {
                if !self.sleeper.freeze() {
                    self.plan.freeze_after = None; // nothing that would change
                }
            }
            Step::Reclaim => self.reclaim().await,
            Step::Stop => return self.sleeper.shut(),
        }
        false
    }

    /// How long nobody needed the program.
    fn idle(&self) -> Duration {
        if self.life.subscribed.is_empty() { self.sleeper.idle() } else { Duration::ZERO }
    }

    async fn reclaim(&mut self) {
        let server = &self.life.name;
        match self.in_sleep(|memory, goes_on| memory.give_back(goes_on)).await {
            Some(Ok(GivenBack { before, after })) => {
                tracing::info!(%server, before, after, "gave memory back, bytes resident");
                self.most = self.most.max(before);
                let before = self.most;
                self.rehearse(GivenBack { before, after }).await;
                // More than half is not worth the name. What is fetched anew all at once costs a wake some milliseconds.
                if let Some(Ok(Some(given))) = self.in_sleep(move |memory, goes_on| memory.give_rehearsed_back(before / 2, goes_on)).await {
                    tracing::info!(%server, before = given.before, after = given.after, "gave back what the rehearsal had fetched");
                }
                self.sleeper.reclaimed();
            }
            Some(Err(error)) => {
                tracing::info!(%server, "its memory stays, since it cannot be given back: {error}");
                self.plan.reclaim_after = None; // nothing that would change
            }
            None => {} // woken meanwhile, or the gateway is ending
        }
    }

    /// Has the program answer a few times, so that what a request needs is in memory.
    async fn rehearse(&self, given: GivenBack) {
        let mut rehearsal = Rehearsal::after(given);
        loop {
            let asked = self.in_sleep(move |memory, goes_on| Ok((rehearsal.wants_another(memory, goes_on)?, rehearsal)));
            let Some(Ok((true, so_far))) = asked.await else { return };
            rehearsal = so_far;
            self.sleeper.rehearse(&self.life.own, self.life.plan.timeouts.list).await;
        }
    }

    /// Works on the memory of the program while it sleeps, on a thread that may wait. `None`: it does not sleep.
    async fn in_sleep<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Memory, &dyn Fn() -> bool) -> io::Result<T> + Send + 'static,
    ) -> Option<io::Result<T>> {
        let memory = self.sleeper.memory()?;
        let watched = self.sleeper.clone();
        tokio::task::spawn_blocking(move || work(&memory, &|| watched.is_asleep())).await.ok()
    }
}

/// What comes after `state`, and after how long without a request.
fn next(state: StandbyState, plan: &Standby) -> Option<(Step, Duration)> {
    let freeze = plan.freeze_after.map(|after| (Step::Freeze, after));
    let reclaim = plan.reclaim_after.map(|after| (Step::Reclaim, after));
    let stop = plan.stop_after.map(|after| (Step::Stop, after));
    let due = match state {
        StandbyState::Awake => freeze,
        StandbyState::Frozen => reclaim,
        StandbyState::Reclaimed | StandbyState::Stopped => None,
    };
    due.into_iter().chain(stop).min_by_key(|(_, after)| *after)
}

/// How long to wait until the next look, where `step` is due in `rest`; `None`: it is taken now. Memory is given back sooner where the
/// machine is short of it.
fn wait_before(step: Step, rest: Duration, is_short: impl FnOnce() -> bool) -> Option<Duration> {
    match step {
        _ if rest.is_zero() => None,
        Step::Reclaim => (!is_short()).then(|| rest.min(PRESSURE_EVERY)),
        Step::Freeze | Step::Stop => Some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn memory_is_given_back_at_once_where_the_machine_is_short_of_it_and_nothing_else_is_done_sooner() {
        let (moment, hour) = (SECOND, 3600 * SECOND);
        for step in [Step::Freeze, Step::Reclaim, Step::Stop] {
            assert_eq!(wait_before(step, Duration::ZERO, || false), None, "{step:?} is due");
            assert_eq!(wait_before(step, moment, || false), Some(moment), "{step:?}");
        }
        assert_eq!(wait_before(Step::Reclaim, hour, || true), None);
        assert_eq!(wait_before(Step::Reclaim, hour, || false), Some(PRESSURE_EVERY), "the next look at the machine's memory");
        for step in [Step::Freeze, Step::Stop] {
            assert_eq!(wait_before(step, hour, || true), Some(hour), "{step:?}");
        }
    }

    #[test]
    fn steps_come_in_order_and_what_never_comes_is_passed_over() {
        let whole = Standby { freeze_after: Some(SECOND), reclaim_after: Some(2 * SECOND), stop_after: Some(3 * SECOND) };
        assert_eq!(next(StandbyState::Awake, &whole), Some((Step::Freeze, SECOND)));
        assert_eq!(next(StandbyState::Frozen, &whole), Some((Step::Reclaim, 2 * SECOND)));
        assert_eq!(next(StandbyState::Reclaimed, &whole), Some((Step::Stop, 3 * SECOND)));
        let stops = Standby { stop_after: Some(SECOND), ..Standby::default() };
        assert_eq!(next(StandbyState::Awake, &stops), Some((Step::Stop, SECOND)));
        let keeps = Standby { reclaim_after: None, ..whole };
        assert_eq!(next(StandbyState::Frozen, &keeps), Some((Step::Stop, 3 * SECOND)));
        let stops_first = Standby { freeze_after: Some(9 * SECOND), ..whole };
        assert_eq!(next(StandbyState::Awake, &stops_first), Some((Step::Stop, 3 * SECOND)));
        assert_eq!(next(StandbyState::Awake, &Standby::default()), None);
    }
}
