//! The load: clients of every revision that come, do something, and go.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sallyport_protocol::{Era, Revision};
use sallyport_testkit::wire_client::{Fault, Person, Way, WireClient};
use serde_json::{Value, json};

use super::fleet::{Fleet, NAMES};
use crate::repository::Outcome;

/// How long after a server was killed a failure is the kill's: it has to be started again and to answer.
const DISTURBANCE: Duration = Duration::from_secs(15);
/// How many failures that nobody caused are told.
const TOLD: usize = 10;
/// Of a thousand visits, how many may fail for no reason known. A busy machine lets a few time out.
const FAILURES_PER_MILLE: u64 = 5;

/// What the clients share.
pub(super) struct Load {
    port: u16,
    stdio: (Vec<String>, Vec<(String, String)>),
    stopped: Cell<bool>,
    disturbed: Cell<Option<Instant>>,
    visits: Cell<u64>,
    disturbances: Cell<u64>,
    failures: RefCell<Vec<String>>,
    log: RefCell<File>,
}

/// What a client does on its visit.
#[derive(Clone, Copy, Debug)]
enum Activity {
    Work,
    Ask,
    Cancel,
    Abandon,
    Subscribe,
    Task,
    Leave,
}

const ACTIVITIES: [Activity; 7] =
    [Activity::Work, Activity::Ask, Activity::Cancel, Activity::Abandon, Activity::Subscribe, Activity::Task, Activity::Leave];

/// Numbers without a pattern that matters, the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let index = usize::try_from(self.0 >> 33).ok()?.checked_rem(of.len())?;
        of.get(index).copied()
    }
}

impl Load {
    pub(super) fn new(fleet: &Fleet) -> Outcome<Self> {
        let log = File::create(fleet.folder().join("failures.log")).map_err(|error| format!("could not write failures.log: {error}"))?;
        Ok(Self {
            port: fleet.gateway_port(),
            stdio: fleet.stdio(),
            stopped: Cell::new(false),
            disturbed: Cell::new(None),
            visits: Cell::new(0),
            disturbances: Cell::new(0),
            failures: RefCell::default(),
            log: RefCell::new(log),
        })
    }

    /// Each revision works at each server once, so that everything is started.
    pub(super) async fn warm_up(&self) -> Outcome {
        for server in NAMES {
            for revision in Revision::ALL {
                let visit = self.visit(server, revision, self.way(server, revision, false), Activity::Work).await;
                visit.map_err(|fault| format!("a client of {revision} cannot work at {server}: {fault}"))?;
            }
        }
        Ok(())
    }

    /// One client after another, until the load is stopped.
    pub(super) async fn work(self: Rc<Self>, seed: u64) {
        let mut dice = Dice((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        while !self.stopped.get() {
            let (Some(server), Some(revision), Some(activity)) = (dice.pick(&NAMES), dice.pick(&Revision::ALL), dice.pick(&ACTIVITIES))
            else {
                return;
            };
            // Now and then over stdio, which starts a process.
            let over_stdio = dice.pick(&[true, false, false, false, false, false, false, false]) == Some(true);
            let begin = Instant::now();
            let visit = self.visit(server, revision, self.way(server, revision, over_stdio), activity).await;
            self.visits.set(self.visits.get() + 1);
            if let Err(fault) = visit {
                self.note(begin, format!("{activity:?} of {revision} at {server}{}: {fault}", if over_stdio { " over stdio" } else { "" }));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// A failure is a server's death's if one was killed shortly before it or meanwhile.
    fn note(&self, begin: Instant, failure: String) {
        let is_excused = self.disturbed.get().is_some_and(|killed| killed + DISTURBANCE > begin);
        let excused = if is_excused { "beside a kill" } else { "for no reason known" };
        // Whoever wants to know them all finds them beside the gateway's log.
        let _nobody_misses_a_line =
            writeln!(self.log.borrow_mut(), "failed {excused} after {:.1} s: {failure}", begin.elapsed().as_secs_f64());
        if is_excused {
            self.disturbances.set(self.disturbances.get() + 1);
        } else {
            self.failures.borrow_mut().push(failure);
        }
    }

    /// A server was killed just now.
    pub(super) fn disturbed(&self) {
        self.disturbed.set(Some(Instant::now()));
    }

    pub(super) fn stop(&self) {
        self.stopped.set(true);
    }

    /// How it went so far.
    pub(super) fn told(&self) -> String {
        let (visits, disturbed, failed) = (self.visits.get(), self.disturbances.get(), self.failures.borrow().len());
        format!("visits {visits}, failed beside a kill {disturbed}, otherwise {failed}")
    }

    /// Fails where too much went wrong that no kill explains.
    pub(super) fn judge(&self) -> Outcome {
        let failures = self.failures.borrow();
        for failure in failures.iter().take(TOLD) {
            println!("    failed: {failure}");
        }
        let bearable = failures.len() as u64 * 1000 <= self.visits.get() * FAILURES_PER_MILLE;
        if bearable { Ok(()) } else { Err(format!("{} of {} visits failed", failures.len(), self.visits.get())) }
    }

    /// Where a client of `revision` goes. Over stdio all servers are one.
    fn way(&self, server: &str, revision: Revision, over_stdio: bool) -> Way {
        let (command, environment) = self.stdio.clone();
        let place = |ending: &str| format!("http://127.0.0.1:{}/servers/{server}/{ending}", self.port);
        match revision {
            _ if over_stdio => Way::Stdio { command, environment },
            Revision::V2024_11_05 => Way::HttpSse(place("sse")),
            _ => Way::StreamableHttp(place("mcp")),
        }
    }

    async fn visit(&self, server: &str, revision: Revision, way: Way, activity: Activity) -> Result<(), Fault> {
        let prefix = if matches!(way, Way::Stdio { .. }) { format!("{server}__") } else { String::new() };
        let person = if matches!(activity, Activity::Abandon) { Person::absent() } else { Person::obliging() };
        let client = WireClient::connect(&way, revision, person).await?;
        let done = act(&client, activity, &prefix, server).await;
        client.close().await;
        done
    }
}

async fn act(client: &WireClient, activity: Activity, prefix: &str, server: &str) -> Result<(), Fault> {
    let tool = |name: &str| format!("{prefix}{name}");
    let call = |name: &str, arguments: Value| json!({ "name": tool(name), "arguments": arguments });
    match activity {
        Activity::Work => {
            client.list("tools/list").await?;
            for number in 0..10 {
                client.call(&tool("echo"), json!({ "message": format!("call {number}") })).await?;
            }
        }
        // Over stdio a server of before 2026-07-28 may not say which of several calls it asks for; then the answer is an error.
        Activity::Ask => drop(client.call(&tool("test_sampling"), json!({ "prompt": "six times seven" })).await?),
        Activity::Cancel => {
            let flight = client.begin("tools/call", call("slow", json!({ "seconds": 60 }))).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            flight.cancel().await?;
        }
        Activity::Abandon => abandon(client, call("test_sampling", json!({ "prompt": "nobody will answer" }))).await?,
        Activity::Subscribe => subscribe(client, &tool("test_trigger_resource_update"), prefix, server).await?,
        Activity::Task => drop(client.call(&tool("slow_compute"), json!({ "seconds": 0.1, "label": "soak" })).await?),
        Activity::Leave => {
            // Gone in the middle of a call, without a word about it.
            let flight = client.begin("tools/call", call("slow", json!({ "seconds": 1 }))).await?;
            let _no_answer_yet = flight.answer_within(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// Leaves a call that waits for an answer. A client with a handshake answers that nobody is there, and the call fails.
async fn abandon(client: &WireClient, params: Value) -> Result<(), Fault> {
    let answer = client.begin("tools/call", params).await?.answer().await;
    match (client.revision().era(), answer) {
        (_, Ok(_)) | (Era::Legacy, Err(Fault::Error { .. })) => Ok(()),
        (_, Err(fault)) => Err(fault),
    }
}

async fn subscribe(client: &WireClient, trigger: &str, prefix: &str, server: &str) -> Result<(), Fault> {
    let uri = if prefix.is_empty() { String::new() } else { format!("{server}.mcp:") } + "test://watched-resource";
    let subscription = client.subscribe(&[&uri]).await?;
    let mark = client.mark();
    client.call(trigger, json!({})).await?;
    client.wait(mark, |heard| heard.method == "notifications/resources/updated").await?;
    subscription.end().await
}
