//! Which connections are told one by one, so that no program pushes everything else out of a record, and the sum of the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sallyport_telemetry::ConnectionOutcome;
use tokio::time::sleep_until;

use super::event::{Observe, Untold};
use super::limit::Pace;

/// One kind of what is told of a sandbox. Used on the thread that carries its connections.
pub(super) struct Told {
    server: Arc<str>,
    observer: Arc<dyn Observe>,
    pace: Mutex<Pace>,
    others: Arc<Mutex<Vec<Untold>>>,
}

impl Told {
    pub(super) fn new(server: Arc<str>, observer: Arc<dyn Observe>, pace: Pace) -> Self {
        Self { server, observer, pace: Mutex::new(pace), others: Arc::default() }
    }

    /// Counts one more; whether it is told by itself. If not, it is in the sum that is told when the minute is over.
    pub(super) fn one_more(&self, outcome: ConnectionOutcome, sent: u64, received: u64) -> bool {
        self.observer.count(&self.server, outcome);
        let (count, most, end) = {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            (pace.count(), pace.most(), pace.end())
        };
        if count <= most {
            return true;
        }
        add(&mut lock(&self.others), Untold { outcome, count: 1, sent, received });
        if count == most + 1 {
            tracing::warn!(server = &*self.server, most, "too many connections or refusals within a minute: of the others the sum is told");
            let (server, observer, others) = (Arc::clone(&self.server), Arc::clone(&self.observer), Arc::clone(&self.others));
            tokio::spawn(async move {
                sleep_until(end).await;
                let sums = std::mem::take(&mut *lock(&others));
                sums.iter().for_each(|untold| observer.untold(&server, untold));
            });
        }
        false
    }
}

fn lock(others: &Mutex<Vec<Untold>>) -> MutexGuard<'_, Vec<Untold>> {
    others.lock().unwrap_or_else(PoisonError::into_inner)
}

/// There is one sum for each outcome.
fn add(sums: &mut Vec<Untold>, one: Untold) {
    match sums.iter_mut().find(|sum| sum.outcome == one.outcome) {
        Some(sum) => {
            sum.count += one.count;
            sum.sent = sum.sent.saturating_add(one.sent);
            sum.received = sum.received.saturating_add(one.received);
        }
        None => sums.push(one),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::time::Duration;

    use super::*;
    use crate::egress::{Connection, Name};

    #[derive(Default)]
    struct Sums(Mutex<Vec<Untold>>);

    impl Observe for Sums {
        fn connection(&self, _: &Connection) {}

        fn name_refused(&self, _: &str, _: &Name) {}

        fn untold(&self, server: &str, untold: &Untold) {
            assert_eq!(server, "x");
            self.0.lock().unwrap().push(untold.clone());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_one_is_told_by_itself_or_in_the_sum_of_its_minute() {
        let minute = Duration::from_secs(60);
        let heard = Arc::new(Sums::default());
        let told = Told::new("x".into(), heard.clone(), Pace::new(2, minute));
        let several = |count: u32| (0..count).filter(|_| told.one_more(ConnectionOutcome::Ok, 3, 4)).count();
        for round in 0..2 {
            assert_eq!(several(7), 2, "in round {round}");
            assert!(!told.one_more(ConnectionOutcome::Failed, 0, 0));
            assert!(heard.0.lock().unwrap().is_empty(), "the minute goes on");
            tokio::time::sleep(minute + Duration::from_secs(1)).await;
            let sums = std::mem::take(&mut *heard.0.lock().unwrap());
            let expected = |outcome, count, sent, received| Untold { outcome, count, sent, received };
            assert_eq!(sums, [expected(ConnectionOutcome::Ok, 5, 15, 20), expected(ConnectionOutcome::Failed, 1, 0, 0)]);
        }
        assert_eq!(several(2), 2);
        tokio::time::sleep(2 * minute).await;
        assert!(heard.0.lock().unwrap().is_empty(), "each was told by itself");
    }
}
