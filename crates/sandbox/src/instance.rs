//! One program: its stdio, what holds round it, whether it runs or is on standby, and its end.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::exceeded::Exceeded;
use crate::layer::Layers;

/// What the program reads. Dropping it is the polite way to ask a server to end.
pub type Stdin = Box<dyn AsyncWrite + Send + Unpin>;

/// What the program writes.
pub type Stdout = Box<dyn AsyncRead + Send + Unpin>;

/// After a kill the kernel needs milliseconds; whoever is there after this long is ended without care for order.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// One program in its boundary; `State` says whether it runs. Dropping it kills everything inside.
pub struct Instance<State> {
    body: Body,
    state: State,
}

/// What an instance is in either state.
struct Body {
    process: Arc<dyn Process>,
    layers: Layers,
    end: watch::Receiver<Option<Exit>>,
}

/// The program runs; its stdio can be taken once.
pub struct Running {
    io: Mutex<Option<(Stdin, Stdout)>>,
}

/// Everything inside is stopped: it uses no CPU, answers nothing and says nothing until it is woken. What is written to its stdin
/// meanwhile is read then.
pub struct Standby {
    before: Running,
}

/// The memory of a program on standby.
#[derive(Clone)]
pub struct Memory {
    process: Arc<dyn Process>,
}

/// How much memory was resident, in bytes, summed over everything inside; pages that several processes share count for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenBack {
    /// Before.
    pub before: u64,
    /// After.
    pub after: u64,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ended itself with this code.
    Code(i32),
    /// A signal of this number ended it.
    Signal(i32),
}

/// What a back-end can do with the processes behind an instance. Most of these do not wait.
pub(crate) trait Process: Send + Sync {
    /// The program's pid as the host sees it.
    fn pid(&self) -> u32;
    /// Asks the program itself to end.
    fn terminate(&self);
    /// Ends everything inside.
    fn kill(&self);
    /// Ends what [`Process::kill`] could not reach.
    fn abort(&self);
    /// Whether everything inside can be stopped as one.
    fn can_freeze(&self) -> bool;
    /// Stops everything inside.
    fn freeze(&self);
    /// Lets everything inside go on.
    fn thaw(&self);
    /// Gives memory of everything inside back, as long as `go_on` says so.
    fn give_memory_back(&self, go_on: &dyn Fn() -> bool) -> io::Result<GivenBack>;
    /// Gives back what a rehearsal has fetched as well, if that is more than `keeps` bytes, and fetches it in one go when everything inside
    /// goes on. `None`: it stays.
    fn give_rehearsed_back(&self, _keeps: u64, _go_on: &dyn Fn() -> bool) -> io::Result<Option<GivenBack>> {
        Ok(None)
    }
    /// How many pages everything inside has waited for so far.
    fn fetched(&self) -> u64;
    /// Which limit the program went beyond, if it did.
    fn exceeded(&self) -> Option<Exceeded>;
    /// Which limit, of those that end nothing, a process inside meets at this moment; where that can be seen.
    fn meets(&self) -> Option<Exceeded> {
        None
    }
    /// The last lines of stderr.
    fn stderr_tail(&self) -> Vec<String>;
}

impl Instance<Running> {
    #[cfg(target_os = "linux")]
    pub(crate) fn new(process: Arc<dyn Process>, layers: Layers, end: watch::Receiver<Option<Exit>>, io: (Stdin, Stdout)) -> Self {
        Self { body: Body { process, layers, end }, state: Running { io: Mutex::new(Some(io)) } }
    }

    /// The program's stdin and stdout, the first time it is asked for.
    pub fn take_io(&self) -> Option<(Stdin, Stdout)> {
        self.state.io.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends the program in order: stdin is closed (a [`Stdin`] that was taken must be dropped by its owner first), after
    /// half of `grace` it gets SIGTERM, after the other half everything inside is killed.
    pub async fn stop(&self, grace: Duration) -> Exit {
        drop(self.take_io());
        let step = grace / 2;
        if let Ok(exit) = timeout(step, self.wait()).await {
            return exit;
        }
        self.body.process.terminate();
        if let Ok(exit) = timeout(step, self.wait()).await {
            return exit;
        }
        self.body.process.kill();
        if let Ok(exit) = timeout(KILL_LIMIT, self.wait()).await {
            return exit;
        }
        self.body.process.abort();
        self.wait().await
    }

    /// Stops everything inside. It can be woken at any time, and dies as easily as before.
    ///
    /// # Errors
    /// The instance as it was where there is no boundary: without a pid namespace nothing can stop all of a program as one.
    pub fn standby(self) -> Result<Instance<Standby>, Self> {
        if !self.body.process.can_freeze() {
            return Err(self);
        }
        self.body.process.freeze();
        Ok(Instance { body: self.body, state: Standby { before: self.state } })
    }
}

impl Instance<Standby> {
    /// Lets everything inside go on where it was.
    #[must_use]
    pub fn wake(self) -> Instance<Running> {
        self.body.process.thaw();
        Instance { body: self.body, state: self.state.before }
    }

    /// Its memory, to be given back while it sleeps.
    #[must_use]
    pub fn memory(&self) -> Memory {
        Memory { process: self.body.process.clone() }
    }
}

impl Memory {
    /// Gives back what the kernel can take: unchanged pages of files, and with swap everything else too. Nothing is lost, the
    /// program fetches what it needs again when it is woken. Takes some ten milliseconds and blocks for them; looks at `go_on`
    /// often, so that a program that is woken meanwhile keeps the rest.
    ///
    /// # Errors
    /// Where this process may not: that needs `CAP_SYS_NICE` and the right to look into the program, which root has, or a control group of
    /// version 2 that holds the program's memory.
    pub fn give_back(&self, go_on: impl Fn() -> bool) -> io::Result<GivenBack> {
        self.process.give_memory_back(&go_on)
    }

    /// The same after a rehearsal, a request that fetched what requests need: where more than `keeps` bytes are resident again, takes note
    /// of what came from files, gives that back too, and has the kernel read it in one go when the program is woken. `None`: it stays
    /// as it is.
    ///
    /// # Errors
    /// As [`Memory::give_back`]; also before Linux 5.18.
    pub fn give_rehearsed_back(&self, keeps: u64, go_on: impl Fn() -> bool) -> io::Result<Option<GivenBack>> {
        self.process.give_rehearsed_back(keeps, &go_on)
    }

    /// How many pages everything inside has missed and waited for so far, until they were read from disk or swap (major faults). What
    /// has ended counts no more.
    #[must_use]
    pub fn fetched(&self) -> u64 {
        self.process.fetched()
    }
}

impl<State> Instance<State> {
    /// Which layers hold.
    #[must_use]
    pub fn in_force(&self) -> &Layers {
        &self.body.layers
    }

    /// The program's pid as the host sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.body.process.pid()
    }

    /// What the back-end can do with it, for a back-end round this one.
    #[cfg(target_os = "linux")]
    pub(crate) fn process(&self) -> &Arc<dyn Process> {
        &self.body.process
    }

    /// Waits for the end: of the program and of everything it has started.
    pub fn wait(&self) -> impl Future<Output = Exit> + Send + use<State> {
        let mut end = self.body.end.clone();
        async move {
            match end.wait_for(Option::is_some).await {
                Ok(exit) => exit.unwrap_or(Exit::LOST),
                // The task that watches ends without a word only when its runtime is shut down, which kills the program.
                Err(_) => Exit::LOST,
            }
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn has_exited(&self) -> Option<Exit> {
        *self.body.end.borrow()
    }

    /// Which of its limits it went beyond, once that has ended it or it has ended.
    #[must_use]
    pub fn exceeded(&self) -> Option<Exceeded> {
        self.body.process.exceeded()
    }

    /// A look at which limit a process of it meets at the moment, of those that end nothing: what it opens or wants more is refused. Takes
    /// some milliseconds where there are many, and blocks for them. `None` also where it cannot be seen: in machines and containers.
    pub fn look(&self) -> impl Fn() -> Option<Exceeded> + Send + Sync + use<State> {
        let process = self.body.process.clone();
        move || process.meets()
    }

    /// Ends everything inside at once; [`Instance::wait`] tells when it is done.
    pub fn kill(&self) {
        self.body.process.kill();
    }

    /// The last lines that the program wrote to stderr, for messages about it. Control characters are removed.
    #[must_use]
    pub fn stderr_tail(&self) -> Vec<String> {
        self.body.process.stderr_tail()
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.end.borrow().is_none() {
            self.process.kill();
        }
    }
}

impl<State> fmt::Debug for Instance<State> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("pid", &self.body.process.pid()).field("layers", &self.body.layers).finish_non_exhaustive()
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}

impl fmt::Debug for Standby {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Standby")
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Memory").field(&self.process.pid()).finish()
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
