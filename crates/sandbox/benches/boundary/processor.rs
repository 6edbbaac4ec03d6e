//! Times of one kind: by the clock, and of the processor.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Times of one kind.
#[derive(Default)]
pub(crate) struct Times {
    wall: Vec<Duration>,
    processor: Duration,
}

impl Times {
    /// Adds a run, which gives its time by the clock. What it has to wait for of the processor is its own, that of this process, and that of
    /// everything below `root`, which must be there before and after it; without one, of the children that end in the course of it.
    pub(crate) async fn add<T>(&mut self, root: Option<u32>, run: impl Future<Output = (Duration, T)>) -> T {
        let inside = root.map_or_else(ended, of_all_below);
        let own = own();
        let (wall, outcome) = run.await;
        let own = self::own() - own;
        let inside = root.map_or_else(ended, of_all_below).saturating_sub(inside);
        self.wall.push(wall);
        self.processor += own + inside;
        outcome
    }

    /// Gives the median and the two percentiles, in milliseconds.
    pub(crate) fn print(mut self, what: &str) -> [f64; 3] {
        self.wall.sort_unstable();
        let at = |percent: usize| self.wall[(self.wall.len() * percent / 100).min(self.wall.len() - 1)].as_secs_f64() * 1000.0;
        #[expect(clippy::cast_precision_loss, reason = "counts of a few thousand")]
        let processor = self.processor.as_secs_f64() * 1000.0 / self.wall.len() as f64;
        let [median, p90, p99] = [50, 90, 99].map(at);
        println!("{what:<52} {median:>8.3} {p90:>8.3} {p99:>8.3} {processor:>9.3}");
        [median, p90, p99]
    }
}

/// How long something took, with what it gave.
pub(crate) async fn timed<T>(what: impl Future<Output = T>) -> (Duration, T) {
    let begun = Instant::now();
    let outcome = what.await;
    (begun.elapsed(), outcome)
}

/// Of this process.
fn own() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

/// Of the children that have ended, and of theirs: in ticks of 10 ms, while starts take several.
fn ended() -> Duration {
    let ticks: u64 = stat(std::process::id()).iter().skip(13).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Of all threads of `root` and of its descendants that live.
fn of_all_below(root: u32) -> Duration {
    let mut found = vec![root];
    let (mut next, mut nanoseconds) = (0, 0);
    while let Some(process) = found.get(next).copied() {
        next += 1;
        // A thread that ends meanwhile takes its time along.
        for thread in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
            let read = |file: &str| fs::read_to_string(thread.path().join(file)).unwrap_or_default();
            nanoseconds += read("schedstat").split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
            found.extend(read("children").split_ascii_whitespace().map(|child| child.parse::<u32>().unwrap()));
        }
    }
    Duration::from_nanos(nanoseconds)
}

pub(crate) fn parent(process: u32) -> u32 {
    stat(process)[1].parse().unwrap()
}

/// The fields of `/proc/PID/stat` from the state on.
fn stat(process: u32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').map(str::to_owned).collect()
}
