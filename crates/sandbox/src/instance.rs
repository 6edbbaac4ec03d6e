//! One running program: its stdio, what holds round it, and its end.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::layer::Layers;

/// What the program reads. Dropping it is the polite way to ask a server to end.
pub type Stdin = Box<dyn AsyncWrite + Send + Unpin>;

/// What the program writes.
pub type Stdout = Box<dyn AsyncRead + Send + Unpin>;

/// After a kill the kernel needs milliseconds; whoever is there after this long is ended without care for order.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// One program in its boundary; `State` says whether it runs. Dropping it kills everything inside.
pub struct Instance<State> {
    process: Box<dyn Process>,
    layers: Layers,
    end: watch::Receiver<Option<Exit>>,
    state: State,
}

/// The program runs; its stdio can be taken once.
pub struct Running {
    io: Mutex<Option<(Stdin, Stdout)>>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ended itself with this code.
    Code(i32),
    /// A signal of this number ended it.
    Signal(i32),
}

/// What a back-end can do with the processes behind an instance. None of these waits.
pub(crate) trait Process: Send + Sync {
    /// The program's pid as the host sees it.
    fn pid(&self) -> u32;
    /// Asks the program itself to end.
    fn terminate(&self);
    /// Ends everything inside.
    fn kill(&self);
    /// Ends what [`Process::kill`] could not reach.
    fn abort(&self);
    /// The last lines of stderr.
    fn stderr_tail(&self) -> Vec<String>;
}

impl Instance<Running> {
    #[cfg(target_os = "linux")]
    pub(crate) fn new(process: Box<dyn Process>, layers: Layers, end: watch::Receiver<Option<Exit>>, io: (Stdin, Stdout)) -> Self {
        Self { process, layers, end, state: Running { io: Mutex::new(Some(io)) } }
    }

    /// The program's stdin and stdout, the first time it is asked for.
    pub fn take_io(&self) -> Option<(Stdin, Stdout)> {
        self.state.io.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Which layers hold.
    #[must_use]
    pub fn in_force(&self) -> &Layers {
        &self.layers
    }

    /// The program's pid as the host sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits for the end: of the program and of everything it has started.
    pub async fn wait(&self) -> Exit {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(Exit::LOST),
            // The task that watches ends without a word only when its runtime is shut down, which kills the program.
            Err(_) => Exit::LOST,
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn has_exited(&self) -> Option<Exit> {
        *self.end.borrow()
    }

    /// Ends the program in order: stdin is closed (a [`Stdin`] that was taken must be dropped by its owner first), after
    /// half of `grace` it gets SIGTERM, after the other half everything inside is killed.
    pub async fn stop(&self, grace: Duration) -> Exit {
        drop(self.take_io());
        let step = grace / 2;
        if let Ok(exit) = timeout(step, self.wait()).await {
            return exit;
        }
        self.process.terminate();
        if let Ok(exit) = timeout(step, self.wait()).await {
            return exit;
        }
        self.process.kill();
        if let Ok(exit) = timeout(KILL_LIMIT, self.wait()).await {
            return exit;
        }
        self.process.abort();
        self.wait().await
    }

    /// Ends everything inside at once; [`Instance::wait`] tells when it is done.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// The last lines that the program wrote to stderr, for messages about it. Control characters are removed.
    #[must_use]
    pub fn stderr_tail(&self) -> Vec<String> {
        self.process.stderr_tail()
    }
}

impl<State> Drop for Instance<State> {
    fn drop(&mut self) {
        if self.end.borrow().is_none() {
            self.process.kill();
        }
    }
}

impl<State> fmt::Debug for Instance<State> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("pid", &self.process.pid()).field("layers", &self.layers).finish_non_exhaustive()
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}

impl Exit {
    /// Killed together with the gateway's runtime, so that nobody saw it end.
    const LOST: Self = Self::Signal(9);

    /// Whether the program says that all went well.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(number) => match signal_name(*number) {
                Some(name) => write!(f, "was killed by signal {number} ({name})"),
                None => write!(f, "was killed by signal {number}"),
            },
        }
    }
}

/// The signals whose number is the same everywhere.
fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        31 => "SIGSYS, a refused system call",
        _ => return None,
    })
}
