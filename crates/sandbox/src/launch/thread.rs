//! The one thread from which everything is launched. A launcher is tied to the *thread* that started it, not to the
//! process: started from a pool's thread it would die when that thread is retired.

use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use tokio::sync::oneshot;

use crate::error::Error;

type Job = Box<dyn FnOnce() + Send>;

/// Never dropped, so the thread lives as long as the process.
static LAUNCHING: OnceLock<Option<Sender<Job>>> = OnceLock::new();

/// Runs `work` on the launching thread.
pub(super) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let gone = || Error::new("the launching thread is not there");
    let (done, result) = oneshot::channel();
    let job: Job = Box::new(move || {
        // Whoever asked may have gone meanwhile; what was made is then dropped, which ends it.
        let _gone = done.send(work());
    });
    LAUNCHING.get_or_init(start).as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
    result.await.map_err(|_| gone())
}

fn start() -> Option<Sender<Job>> {
    let (jobs, queue) = channel::<Job>();
    let serve = move || {
        for job in queue {
            // A panic in one launch must not take every other server along.
            let _told_by_the_closed_channel = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        }
    };
    std::thread::Builder::new().name("sandbox-launch".to_owned()).spawn(serve).ok()?;
    Some(jobs)
}
