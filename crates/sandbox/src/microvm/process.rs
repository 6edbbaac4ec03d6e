//! One machine with its program, as an instance. A machine stands still when its monitor does; its clock does not, so that a program that is
//! woken finds the time as it is, as it does in the other sandbox.

use std::fs::File;
use std::io;
use std::sync::{Arc, OnceLock};

use super::control::Wishes;
use crate::exceeded::Exceeded;
use crate::instance::{GivenBack, Instance, Process, Running};
use crate::output::Meter;
use crate::stderr_log::Tail;

pub(super) struct Machine {
    /// In the sandbox of the operating system.
    pub(super) monitor: Instance<Running>,
    pub(super) wishes: Arc<Wishes>,
    /// The file with the machine's memory; it has no name any more.
    pub(super) memory: File,
    pub(super) tail: Tail,
    pub(super) meter: Arc<Meter>,
    /// What the guest says at the program's end.
    pub(super) exceeded: Arc<OnceLock<Exceeded>>,
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
        self.monitor.process().can_freeze()
    }

    fn freeze(&self) {
        self.monitor.process().freeze();
    }

    fn thaw(&self) {
        self.monitor.process().thaw();
    }

    /// What is not on the disk yet the kernel would pass over: the machine's memory is written first.
    fn give_memory_back(&self, go_on: &dyn Fn() -> bool) -> io::Result<GivenBack> {
        if go_on() {
            self.memory.sync_data()?;
        }
        self.monitor.process().give_memory_back(go_on)
    }

    fn fetched(&self) -> u64 {
        self.monitor.process().fetched()
    }

    fn exceeded(&self) -> Option<Exceeded> {
        self.meter
            .exceeded()
            .or_else(|| self.exceeded.get().copied())
            .or_else(|| self.monitor.exceeded().filter(|limit| !limit.is_of_own_folders()))
    }

    /// The program's lines; those of the monitor where there are none.
    fn stderr_tail(&self) -> Vec<String> {
        let lines = self.tail.lines();
        if lines.is_empty() { self.monitor.stderr_tail() } else { lines }
    }
}
