//! One machine with its program, as an instance: standby is a machine that stands still, and its memory is the monitor's.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::control::Wishes;
use super::vmm::Wish;
use crate::instance::{GivenBack, Instance, Process, Running};
use crate::stderr_log::Tail;

pub(super) struct Machine {
    /// In the sandbox of the operating system.
    monitor: Instance<Running>,
    wishes: Arc<Wishes>,
    stand_still: Wish,
    /// Without a name by now.
    memory: File,
    tail: Tail,
    depth: Mutex<Depth>,
}

/// How deep it sleeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Awake,
    /// The machine stands still; its monitor waits to be told to go on.
    Paused,
    /// The monitor stands still as well.
    Frozen,
}

impl Machine {
    pub(super) fn new(monitor: Instance<Running>, wishes: Arc<Wishes>, stand_still: Wish, memory: File, tail: Tail) -> Self {
        Self { monitor, wishes, stand_still, memory, tail, depth: Mutex::new(Depth::Awake) }
    }

    fn depth(&self) -> std::sync::MutexGuard<'_, Depth> {
        self.depth.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process for Machine {
    fn pid(&self) -> u32 {
        self.monitor.pid()
    }

    fn terminate(&self) {
        self.wishes.terminate();
    }

    fn kill(&self) {
        self.monitor.kill();
    }

    fn abort(&self) {
        self.monitor.process().abort();
    }

    fn can_freeze(&self) -> bool {
        true
    }

    fn freeze(&self) {
        *self.depth() = Depth::Paused;
        self.stand_still.send_replace(true);
    }

    fn thaw(&self) {
        let mut depth = self.depth();
        if *depth == Depth::Frozen {
            self.monitor.process().thaw();
        }
        *depth = Depth::Awake;
        self.stand_still.send_replace(false);
        // The machine's clock stood still, too.
        self.wishes.set_clock();
    }

    /// A paused machine leaves its memory alone, its monitor does not quite: that is frozen first. Then the file is written, because the kernel
    /// passes over what is not on the disk yet.
    fn give_memory_back(&self, go_on: &dyn Fn() -> bool) -> io::Result<GivenBack> {
        {
            let mut depth = self.depth();
            if *depth == Depth::Paused {
                self.monitor.process().freeze();
                *depth = Depth::Frozen;
            }
        }
        if go_on() {
            self.memory.sync_data()?;
        }
        self.monitor.process().give_memory_back(go_on)
    }

    /// The program's lines; those of the monitor where there are none.
    fn stderr_tail(&self) -> Vec<String> {
        let lines = self.tail.lines();
        if lines.is_empty() { self.monitor.stderr_tail() } else { lines }
    }
}
