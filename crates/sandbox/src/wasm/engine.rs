//! The one engine, and how what runs in it is stopped.
//!
//! Compiled code looks at a counter at each loop and call. A thread counts it up while any guest is running; the guest then gives
//! way, and whoever waits for it may drop it instead of letting it go on.

use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use wasmtime::{Config, Engine, Error, Result};

/// How long a guest runs until it gives way: short enough to be stopped at once as people see it, long enough to cost nothing.
const TICK: Duration = Duration::from_millis(10);

/// Room for the guest's own calls within each other. A program that needs more overflows, which is told.
const STACK_BYTES: usize = 1024 * 1024;

/// As polite as a guest is towards the gateway's own threads.
const NICE: i32 = 10;

struct Shared {
    engine: Engine,
    ticker: Ticker,
}

/// The engine; made when it is first needed.
///
/// # Errors
/// This machine is none that the engine compiles for, or has no thread left.
pub(super) fn engine() -> Result<&'static Engine> {
    shared().map(|shared| &shared.engine)
}

fn shared() -> Result<&'static Shared> {
    static SHARED: OnceLock<std::result::Result<Shared, String>> = OnceLock::new();
    SHARED.get_or_init(|| make().map_err(|error| format!("{error:#}"))).as_ref().map_err(|why| Error::msg(why.clone()))
}

fn make() -> Result<Shared> {
    let mut config = Config::new();
    config.epoch_interruption(true).max_wasm_stack(STACK_BYTES).async_stack_size(2 * STACK_BYTES);
    let engine = Engine::new(&config)?;
    let ticker = Ticker::start(engine.clone())?;
    Ok(Shared { engine, ticker })
}

/// Counts while a guest runs, and sleeps otherwise.
struct Ticker {
    thread: Thread,
}

/// Guests that are running at this moment.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

impl Ticker {
    fn start(engine: Engine) -> Result<Self> {
        let tick = move || {
            loop {
                if RUNNING.load(Ordering::SeqCst) == 0 {
                    thread::park();
                } else {
                    thread::sleep(TICK);
                    engine.increment_epoch();
                }
            }
        };
        let thread = thread::Builder::new().name("wasm-ticker".to_owned()).spawn(tick)?;
        Ok(Self { thread: thread.thread().clone() })
    }
}

/// A guest that is running.
struct Runs;

impl Runs {
    fn now(ticker: &Ticker) -> Self {
        if RUNNING.fetch_add(1, Ordering::SeqCst) == 0 {
            ticker.thread.unpark();
        }
        Self
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A future that runs guest code when it is polled.
struct Guest<F> {
    ticker: &'static Ticker,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Guest<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _runs = Runs::now(self.ticker);
        self.future.as_mut().poll(context)
    }
}

/// Runs a guest on a thread of its own, until it ends or `stop` does; `None` then. The thread is below the gateway's in priority.
///
/// # Errors
/// No thread is left.
pub(super) fn run<T: Send + 'static, F: Future<Output = T>>(
    guest: impl FnOnce() -> F + Send + 'static,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<oneshot::Receiver<Option<T>>> {
    let ticker = &shared()?.ticker;
    let runtime = Handle::current();
    let (tell, told) = oneshot::channel();
    let work = move || {
        // Of the calling thread alone; a machine that refuses it treats all alike.
        let _as_nice_as_may_be = rustix::process::setpriority_process(None, NICE);
        #[expect(clippy::disallowed_methods, reason = "this thread is none of the runtime's")]
        let ended = runtime.block_on(async {
            let guest = Guest { ticker, future: Box::pin(guest()) };
            tokio::select! {
                biased;
                () = stop => None,
                ended = guest => Some(ended),
            }
        });
        // Whoever has gone does not want to know.
        let _gone = tell.send(ended);
    };
    thread::Builder::new().name("wasm-guest".to_owned()).spawn(work)?;
    Ok(told)
}
