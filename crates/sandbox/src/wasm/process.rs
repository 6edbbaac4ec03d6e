//! What an instance can do with a guest: end it. There is no process that could be frozen, and nothing to give back: a component
//! holds no memory between calls.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use super::room::Room;
use crate::exceeded::Exceeded;
use crate::instance::{GivenBack, Process};
use crate::output::Meter;
use crate::stderr_log::Tail;

/// One server, whatever of it runs.
pub(super) struct Server {
    killed: watch::Sender<bool>,
    tail: Tail,
    meter: Arc<Meter>,
}

impl Server {
    /// The server of a room, which counts what guests say in there.
    pub(super) fn new(room: &mut Room) -> Arc<Self> {
        let killed = watch::Sender::new(false);
        let end = killed.clone();
        let meter = Meter::new(room.output_mb(), move || {
            end.send_replace(true);
        });
        room.count_by(meter.clone());
        Arc::new(Self { killed, tail: room.tail(), meter })
    }

    /// What counts its output.
    pub(super) fn meter(&self) -> Option<Arc<Meter>> {
        Some(self.meter.clone())
    }

    /// Waits until it is killed, or until nobody is left who could.
    pub(super) fn killed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut killed = self.killed.subscribe();
        async move {
            let _either_way = killed.wait_for(|killed| *killed).await;
        }
    }
}

impl Process for Server {
    /// It has none.
    fn pid(&self) -> u32 {
        0
    }

    fn terminate(&self) {
        self.kill();
    }

    fn kill(&self) {
        self.killed.send_replace(true);
    }

    fn abort(&self) {
        self.kill();
    }

    fn can_freeze(&self) -> bool {
        false
    }

    fn freeze(&self) {}

    fn thaw(&self) {}

    fn give_memory_back(&self, _go_on: &dyn Fn() -> bool) -> io::Result<GivenBack> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn fetched(&self) -> u64 {
        0
    }

    /// What else is beyond a limit the engine refuses, and the call that wanted it is told.
    fn exceeded(&self) -> Option<Exceeded> {
        self.meter.exceeded()
    }

    fn stderr_tail(&self) -> Vec<String> {
        self.tail.lines()
    }
}
