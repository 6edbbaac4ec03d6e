//! Holds one program to the limits that no resource limit of a single process can: its memory as a whole, and what it writes. Says
//! which one it went beyond, once it has ended.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::fs::fstatvfs;
use sallyport_guest::Met;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::memory;
use super::usage::Usage;
use crate::cgroup::{Group, Held};
use crate::exceeded::Exceeded;
use crate::instance::Exit;
use crate::output::{Count, Output};
use crate::profile::Limits;

const MIB: u64 = 1024 * 1024;

/// How often the memory of a program is looked at. Between two looks each process is held by its own resource limit.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches over one program from its launch to its end.
pub(super) struct Warden {
    limits: Limits,
    /// Until the program has ended.
    group: Mutex<Option<Group>>,
    /// Ends everything inside; there once the program runs.
    end: OnceLock<Box<dyn Fn() + Send + Sync>>,
    exceeded: OnceLock<Exceeded>,
    folders: Mutex<Folders>,
    output: Output,
    /// It is stopped, and can use no more than it has.
    is_asleep: AtomicBool,
}

/// The program's own folders, and its end. Either may be known first.
#[derive(Default)]
struct Folders {
    /// `/tmp` and `/dev/shm`, which nobody else has any more once the program has ended.
    opened: Option<(OwnedFd, OwnedFd)>,
    exit: Option<Exit>,
}

impl Warden {
    pub(super) fn new(limits: Limits, group: Group) -> Arc<Self> {
        Arc::new(Self {
            output: Output::new(limits.output_mb),
            limits,
            group: Mutex::new(Some(group)),
            end: OnceLock::new(),
            exceeded: OnceLock::new(),
            folders: Mutex::default(),
            is_asleep: AtomicBool::new(false),
        })
    }

    /// Which limits the groups hold.
    pub(super) fn held(&self) -> Held {
        self.group().as_ref().map(Group::held).unwrap_or_default()
    }

    /// Where the launcher joins the groups.
    pub(super) fn entrances(&self) -> Vec<PathBuf> {
        self.group().as_ref().map(Group::entrances).unwrap_or_default()
    }

    /// The group whose memory can be taken as a whole.
    pub(super) fn reclaimable(&self) -> Option<PathBuf> {
        self.group().as_ref().and_then(Group::reclaimable)
    }

    /// Which limit the program went beyond, if it did.
    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded.get().copied()
    }

    pub(super) fn set_asleep(&self, is_asleep: bool) {
        self.is_asleep.store(is_asleep, Ordering::Relaxed);
    }

    /// Begins to hold the program whose processes descend from `init`, until it has ended. `end` ends everything inside.
    pub(super) fn watch(self: &Arc<Self>, init: u32, end: impl Fn() + Send + Sync + 'static, mut exit: watch::Receiver<Option<Exit>>) {
        let _first = self.end.set(Box::new(end));
        if self.exceeded().is_some() {
            self.end_now(); // it was quicker than this
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let (mut next, mut usage) = (Instant::now(), Usage::default());
            loop {
                next += LOOK_EVERY;
                tokio::select! {
                    _ended = exit.wait_for(Option::is_some) => return,
                    () = sleep_until(next) => {}
                }
                let is_asleep = this.is_asleep.load(Ordering::Relaxed);
                if !is_asleep && this.uses_too_much(init, &mut usage).await {
                    return this.end_for(Exceeded::Memory(this.limits.memory_mb));
                }
            }
        });
    }

    /// The program has ended. Takes the groups away, and with them what they tell.
    pub(super) fn has_ended(&self, exit: Exit) {
        self.went_beyond(Exceeded::at_the_end(exit, None, &self.limits, None));
        if let Some(group) = self.group().take() {
            self.went_beyond((group.ended_for_memory() > 0).then_some(Exceeded::Memory(self.limits.memory_mb)));
            self.went_beyond((group.refused_processes() > 0).then_some(Exceeded::Processes(self.limits.processes)));
        }
        let mut folders = self.folders();
        folders.exit = Some(exit);
        self.look_at(&mut folders);
    }

    /// Has `/tmp` and `/dev/shm` of the program looked at when it ends, or now if it has.
    pub(super) fn look_at_the_end(&self, opened: (OwnedFd, OwnedFd)) {
        let mut folders = self.folders();
        folders.opened = Some(opened);
        self.look_at(&mut folders);
    }

    /// What is in them goes with them.
    fn look_at(&self, folders: &mut Folders) {
        if let Some(exit) = folders.exit
            && let Some((tmp, shm)) = folders.opened.take()
        {
            let met = fstatvfs(&tmp).and_then(|tmp| Ok(Met::full(Some(&tmp), &fstatvfs(&shm)?)));
            self.went_beyond(Exceeded::at_the_end(exit, met.unwrap_or_default(), &self.limits, None));
        }
    }

    /// What it went beyond first is what counts.
    fn went_beyond(&self, exceeded: Option<Exceeded>) {
        if let Some(exceeded) = exceeded {
            let _first_counts = self.exceeded.set(exceeded);
        }
    }

    /// Where a group holds the memory, the kernel has ended a process of it already, and the others must follow.
    async fn uses_too_much(&self, init: u32, usage: &mut Usage) -> bool {
        let told = self.group().as_ref().filter(|group| group.held().memory.is_some()).map(|group| group.ended_for_memory() > 0);
        if let Some(told) = told {
            return told;
        }
        // The kernel walks the tables of a large process for a while.
        let limit = u64::from(self.limits.memory_mb) * MIB;
        let mut looking = std::mem::take(usage);
        let looked = tokio::task::spawn_blocking(move || (looking.is_above(memory::descendants(init), limit), looking));
        let Ok((is_above, looking)) = looked.await else { return false }; // the gateway is ending, and the program with it
        *usage = looking;
        is_above
    }

    fn group(&self) -> MutexGuard<'_, Option<Group>> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folders(&self) -> MutexGuard<'_, Folders> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_for(&self, exceeded: Exceeded) {
        if self.exceeded.set(exceeded).is_ok() {
            self.end_now();
        }
    }

    fn end_now(&self) {
        if let Some(end) = self.end.get() {
            end();
        }
    }
}

impl Count for Warden {
    fn wrote(&self, bytes: usize) {
        if self.output.is_flooded_by(bytes) {
            self.end_for(Exceeded::Output(self.limits.output_mb));
        }
    }
}
