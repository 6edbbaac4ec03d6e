//! Machines that wait for the next launch of the same program: it is started in them already and stands still. To hand one out takes a signal.
//!
//! Each of them is like a machine that was just launched, and nobody has spoken with it: it has its own random numbers, the program's own
//! environment, and sees the files as they were when it was made. They are there as long as a machine of that program runs, and a little
//! longer, so that one that ends is replaced at once.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::launch::start;
use crate::backend::Host;
use crate::backends::microvm::Config;
use crate::error::Error;
use crate::instance::{Instance, Running, Standby};
use crate::profile::{Profile, Program};

/// Files change meanwhile, and whoever is handed out sees them as they were. To make one takes a second or, with Node on an emulated
/// processor, a dozen: one or two percent of this.
const KEPT: Duration = Duration::from_secs(15 * 60);

/// After the last machine of a program has ended: a server that fails is launched anew within this.
const LINGERS: Duration = Duration::from_secs(60);

/// Before another one is made, which takes all of a processor for a second: who was handed out answers its first request meanwhile.
const SETTLES: Duration = Duration::from_secs(1);

/// How often it is looked whether a program has come to rest, and how long: Node starts in a dozen seconds on an emulated processor.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
const REST_LIMIT: Duration = Duration::from_secs(60);

/// Everything that one launch depends on.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) host: Host,
    pub(super) config: Config,
    pub(super) profile: Profile,
    pub(super) program: Program,
}

/// Which files and folders those are that a launch covers: whoever was launched before one of them was replaced does not cover what is in its
/// place. And which image is the root, if one is: another in its place is another program.
type Covered = Vec<Option<(u64, u64, Option<SystemTime>)>>;

impl Order {
    fn covered(&self) -> Covered {
        let identity = |path: &PathBuf| fs::metadata(path).ok().map(|found| (found.dev(), found.ino(), None));
        let covered = self.profile.hidden.iter().chain(&self.profile.read).map(identity);
        // An archive may be written again in its place, and a layout has another index then.
        let version = |path: PathBuf| fs::metadata(path).ok().map(|found| (found.dev(), found.ino(), found.modified().ok()));
        let image = self.config.image.iter().flat_map(|image| [image.clone(), image.join("index.json")]);
        covered.chain(image.map(version)).collect()
    }
}

impl PartialEq for Order {
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = (self.host.egress(), other.host.egress());
        let same_egress = Arc::ptr_eq(&own.resolver, &others.resolver) && Arc::ptr_eq(&own.observer, &others.observer);
        let same_host =
            same_egress && self.host.launcher() == other.host.launcher() && self.host.machines().ok() == other.host.machines().ok();
        same_host && self.config == other.config && self.profile == other.profile && self.program == other.program
    }
}

/// The machines of one order.
struct Shelf {
    order: Order,
    /// Machines of this order that run.
    running: usize,
    /// Tells the one who makes them that one was taken.
    taken: Arc<Notify>,
    waiting: Vec<Waiting>,
}

struct Waiting {
    made: Instant,
    covered: Covered,
    instance: Instance<Standby>,
}

static SHELVES: Mutex<Vec<Shelf>> = Mutex::new(Vec::new());

fn shelves() -> MutexGuard<'static, Vec<Shelf>> {
    SHELVES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One that waits, or a new one; others are made ready behind it.
pub(super) async fn launch(order: Order) -> Result<Instance<Running>, Error> {
    let instance = match take(&order) {
        Some(waiting) => waiting.wake(),
        None => start(&order).await?,
    };
    let ended = instance.wait();
    if let Some(taken) = open(&order) {
        tokio::spawn(keep_full(order.clone(), taken));
    }
    tokio::spawn(async move {
        ended.await;
        sleep(LINGERS).await;
        close(&order);
    });
    Ok(instance)
}

/// The latest, which has seen the files last.
fn take(order: &Order) -> Option<Instance<Standby>> {
    let covered = order.covered();
    let mut shelves = shelves();
    let shelf = shelves.iter_mut().find(|shelf| shelf.order == *order)?;
    shelf.clear_old();
    shelf.waiting.retain(|waiting| waiting.covered == covered);
    shelf.waiting.pop().map(|waiting| waiting.instance)
}

impl Shelf {
    fn clear_old(&mut self) {
        self.waiting.retain(|waiting| waiting.made.elapsed() < KEPT && waiting.instance.has_exited().is_none());
    }
}

/// One more runs; gives what tells that one was taken, if this is the first.
fn open(order: &Order) -> Option<Arc<Notify>> {
    let mut shelves = shelves();
    if let Some(shelf) = shelves.iter_mut().find(|shelf| shelf.order == *order) {
        shelf.running += 1;
        shelf.taken.notify_one();
        return None;
    }
    let taken = Arc::new(Notify::new());
    shelves.push(Shelf { order: order.clone(), running: 1, taken: taken.clone(), waiting: Vec::new() });
    Some(taken)
}

/// One has ended a while ago; with the last one, those that wait are ended too.
fn close(order: &Order) {
    let mut shelves = shelves();
    let Some(position) = shelves.iter().position(|shelf| shelf.order == *order) else { return };
    let Some(shelf) = shelves.get_mut(position) else { return };
    shelf.running = shelf.running.saturating_sub(1);
    if shelf.running == 0 {
        shelf.taken.notify_one();
        shelves.swap_remove(position);
    }
}

/// Makes machines until there are as many as are wanted, again and again, as long as there is a shelf for them.
async fn keep_full(order: Order, taken: Arc<Notify>) {
    while let Some(is_wanting) = is_wanting(&order, &taken) {
        if !is_wanting {
            let _one_was_taken_or_is_old = timeout(KEPT / 10, taken.notified()).await;
            continue;
        }
        sleep(SETTLES).await;
        let covered = order.covered();
        match resting(&order).await {
            Ok(instance) => put(&order, Waiting { made: Instant::now(), covered, instance }),
            Err(error) => {
                tracing::warn!(server = order.program.name, %error, "no machine waits for the next launch");
                taken.notified().await;
            }
        }
    }
}

/// Whether there are too few; `None` without a shelf, or where another one took its place.
fn is_wanting(order: &Order, taken: &Arc<Notify>) -> Option<bool> {
    let mut shelves = shelves();
    let shelf = shelves.iter_mut().find(|shelf| Arc::ptr_eq(&shelf.taken, taken))?;
    shelf.clear_old();
    Some(shelf.waiting.len() < usize::try_from(order.config.pool).unwrap_or(0))
}

/// Without a shelf it ends.
fn put(order: &Order, waiting: Waiting) {
    if let Some(shelf) = shelves().iter_mut().find(|shelf| shelf.order == *order) {
        shelf.waiting.push(waiting);
    }
}

/// A machine whose program has come to rest.
async fn resting(order: &Order) -> Result<Instance<Standby>, Error> {
    let instance = start(order).await?;
    let pid = instance.pid();
    let _restless = timeout(REST_LIMIT, async {
        let mut before = ticks(pid);
        loop {
            sleep(LOOK_AGAIN).await;
            let now = ticks(pid);
            if now.saturating_sub(before) <= 1 {
                return;
            }
            before = now;
        }
    })
    .await;
    instance.standby().map_err(|_| Error::new("a microVM cannot be stopped"))
}

/// What the monitor has used of the processor; a machine that rests uses nothing.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::path::Path;

    use super::*;

    #[test]
    fn what_is_covered_is_known_from_what_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("token");
        fs::write(&secret, "old").unwrap();
        let profile = Profile { hidden: vec![secret.clone()], ..Profile::default() };
        let order = Order { host: Host::with_launcher("x"), config: Config::default(), profile, program: Program::new("x", "x") };
        let before = order.covered();
        assert_eq!(order.covered(), before);
        fs::write(folder.path().join("new"), "new").unwrap();
        fs::rename(folder.path().join("new"), &secret).unwrap();
        assert_ne!(order.covered(), before);
    }

    #[test]
    fn an_image_in_the_place_of_another_is_noticed_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, layout) = (folder.path().join("image.tar"), folder.path().join("layout"));
        fs::create_dir(&layout).unwrap();
        fs::write(&archive, "image").unwrap();
        fs::write(layout.join("index.json"), "{}").unwrap();
        let replaced = |file: &Path| {
            fs::write(folder.path().join("new"), "other").unwrap();
            fs::rename(folder.path().join("new"), file).unwrap();
        };
        let written_again = |file: &Path| {
            let later = SystemTime::now() + Duration::from_secs(1);
            fs::File::options().write(true).open(file).unwrap().set_modified(later).unwrap();
        };
        for (image, file) in [(archive.clone(), archive), (layout.clone(), layout.join("index.json"))] {
            let (config, program) = (Config { image: Some(image), ..Config::default() }, Program::new("x", "x"));
            let order = Order { host: Host::with_launcher("x"), config, profile: Profile::default(), program };
            for change in [&replaced as &dyn Fn(&Path), &written_again] {
                let before = order.covered();
                assert_eq!(order.covered(), before);
                change(&file);
                assert_ne!(order.covered(), before, "{}", file.display());
            }
        }
    }
}
