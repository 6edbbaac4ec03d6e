//! The threads that serve connections.
//!
//! A connection stays on one thread from its first byte to its last, with the upstream connections that its requests use: nothing of a
//! call wakes another thread, which on small machines costs more than the call itself. A runtime that shares its tasks among threads
//! does that at every hop. The thread that the door itself runs on takes its turn too: the children's pipes are watched there.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Threads at most, however many cores there are: 16 of them answer more calls a second than any set of servers behind them.
const MOST: usize = 16;

/// Threads with a runtime each, beside the one that the door runs on. Dropping this ends what runs there.
#[derive(Debug)]
pub struct Workers {
    turns: Arc<Turns>,
    threads: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// Whose turn it is to take a connection.
#[derive(Debug)]
pub struct Turns {
    runtimes: Vec<Handle>,
    next: AtomicUsize,
}

impl Workers {
    /// As many threads as make one a core with the one that the door runs on.
    ///
    /// # Errors
    /// Where threads, or what a runtime needs, are not to be had.
    pub fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MOST);
        let (mut runtimes, mut threads) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for number in 1..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtimes.push(runtime.handle().clone());
            let (stop, stopped) = oneshot::channel();
            let serve = move || {
                let _ = runtime.block_on(stopped); // the sender is dropped: the same
            };
            threads.push((stop, std::thread::Builder::new().name(format!("door-{number}")).spawn(serve)?));
        }
        Ok(Self { turns: Arc::new(Turns { runtimes, next: AtomicUsize::new(0) }), threads })
    }

    /// What a door takes its turns from.
    #[must_use]
    pub fn turns(&self) -> Arc<Turns> {
        Arc::clone(&self.turns)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let threads: Vec<JoinHandle<()>> = self.threads.drain(..).map(|(_, thread)| thread).collect();
        for thread in threads {
            let _ = thread.join(); // it panicked: it has ended
        }
    }
}

impl Turns {
    /// The runtime that takes the next connection; `None` is the one that the door runs on.
    pub(crate) fn next(&self) -> Option<&Handle> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % (self.runtimes.len() + 1);
        self.runtimes.get(turn.checked_sub(1)?)
    }
}
