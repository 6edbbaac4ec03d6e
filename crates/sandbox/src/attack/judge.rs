//! Runs the rows one after the other and judges what came of each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout;

use super::arena::{Arena, SECRET_VARIABLE, denied, random};
use super::contender::{Contender, Kind};
use super::heart::Heart;
use super::inside::{FLOOD_BYTES, SWAPPED, small};
use super::row::Stage;
use super::terrain::{HOSTILE, Terrain};
use super::wire::{Attempt, CameOfIt, Given, Neighbour, Order};
use super::{Gateway, Outcome, ROWS, Row, Verdict, flood, monitor, pace};
use crate::backend::{Backend, Host, Selection};
use crate::backends::microvm::Config;
use crate::error::Error;
use crate::instance::{Instance, Running};
use crate::layer::{Layer, State};
use crate::profile::{DENY_WRITE, Limits, Network, Profile};

/// Variables that the hostile program is given.
pub(super) const GIVEN_VARIABLE: &str = "SALLYPORT_ATTACK";

/// Whoever was told to end has ended within this: the kernel needs milliseconds.
pub(super) const END_WITHIN: Duration = Duration::from_secs(10);

/// A server's time to end by itself.
pub(super) const GRACE: Duration = Duration::from_millis(400);

/// What another server is asked while somebody makes the machine busy.
pub(super) const PINGS: usize = 20;

/// Tries every row in sandboxes of the back-end that `selection` names, and races with the gateway's file code for as long as `race`; `tell`
/// hears of each row before it begins.
///
/// # Errors
/// When nothing can be tried: the host's side cannot be set up, or the back-end does not start a program.
pub async fn run(
    host: &Host,
    selection: &Selection,
    gateway: &dyn Gateway,
    race: Duration,
    tell: &mut dyn FnMut(&Row),
) -> Result<Vec<Verdict>, Error> {
    let terrain = Terrain::of(selection.boundary());
    let unready = |cause| Error::io("the attacks cannot be prepared", &cause);
    let arena = Arena::set_up(terrain).await.map_err(unready)?;
    let backend = selection.build_for_attacks(&host.clone().with_egress(arena.egress()))?;
    let mut verdicts = Vec::with_capacity(ROWS.len());
    #[cfg(feature = "wasm")]
    if terrain == Terrain::Module {
        let guests = super::module::Guests { arena: &arena, backend: &*backend, gateway };
        for row in ROWS {
            tell(row);
            verdicts.push(guests.verdict(row).await?);
        }
        return Ok(verdicts);
    }
    let mut ring = Ring::new(&arena, terrain, &*backend, host, gateway, race).await?;
    ring.machine = selection.machine();
    for row in ROWS {
        tell(row);
        verdicts.push(ring.verdict(row).await?);
    }
    Ok(verdicts)
}

/// Who takes part.
struct Ring<'a> {
    arena: &'a Arena,
    terrain: Terrain,
    backend: &'a dyn Backend,
    host: &'a Host,
    /// Where the back-end makes machines.
    machine: Option<&'a Config>,
    binary: PathBuf,
    gateway: &'a dyn Gateway,
    race: Duration,
    /// The other server, whom nothing may befall.
    neighbour: Contender,
    neighbour_things: Neighbour,
    /// The hostile programs, each started when it is needed first, and again after it ended.
    hostile: BTreeMap<Stage, Contender>,
}

/// Starts the other server, which leaves `things` behind where it can.
async fn neighbour(
    arena: &Arena,
    terrain: Terrain,
    backend: &dyn Backend,
    binary: &Path,
    things: Option<&Neighbour>,
) -> Result<Contender, Error> {
    let kind = Kind {
        backend,
        binary: binary.to_path_buf(),
        name: "neighbour",
        variable: (SECRET_VARIABLE, arena.canary.clone()),
        log: arena.path("neighbour.log"),
        profile: Profile { read: vec![binary.to_path_buf()], seccomp: terrain.local_sockets(), ..Profile::default() },
        room: None,
    };
    let mut neighbour = Contender::start(&kind).await?;
    let order = things.map_or(Order::Ping, |things| Order::Settle(things.clone()));
    let settled = neighbour.carry_out(&order).await;
    if settled.broken.is_some() || !settled.attempts.is_empty() {
        return Err(Error::new("the other server of the attacks cannot be set up"));
    }
    Ok(neighbour)
}

/// What is known of a row in the end.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) stopped: Vec<String>,
    /// By what the hostile program says.
    got: Vec<Attempt>,
    /// By what the host sees.
    pub(super) open: Vec<String>,
    /// A control group holds the hostile program's memory.
    has_group: bool,
}

impl Findings {
    pub(super) fn hear(&mut self, attempt: Attempt) {
        match &attempt.came_of_it {
            CameOfIt::Stopped(_) => self.stopped.push(attempt.to_string()),
            CameOfIt::Got(_) => self.got.push(attempt),
        }
    }

    /// Looks for the canary in what the hostile program said.
    pub(super) fn said(&mut self, text: &str, canary: &str) {
        if text.contains(canary) {
            self.open.push("the canary was seen".to_owned());
        }
    }

    pub(super) fn verdict(self, row: &'static Row, backend: &str) -> Verdict {
        let Self { stopped, got, open, has_group } = self;
        let (expected, reason) = row.expected(backend);
        let all_known = open.is_empty() && got.iter().all(|attempt| row.is_known(backend, &attempt.name, has_group));
        let got: Vec<String> = got.into_iter().map(|attempt| attempt.to_string()).collect();
        let (outcome, detail) = if got.is_empty() && open.is_empty() {
            (Outcome::Stopped, stopped.join("; "))
        } else if all_known {
            (expected, format!("{}: {}", got.join("; "), reason.unwrap_or_default()))
        } else {
            (Outcome::Open, [got, open].concat().join("; "))
        };
        Verdict { row: row.number, name: row.name, outcome, layer: row.layer, detail }
    }
}

impl Verdict {
    /// Of a row that is not tried on a back-end.
    pub(super) fn untried(row: &'static Row, backend: &str) -> Self {
        let (outcome, reason) = row.expected(backend);
        Self { row: row.number, name: row.name, outcome, layer: row.layer, detail: reason.unwrap_or_default().to_owned() }
    }
}

/// What a flood has left in the log beyond what that may hold.
pub(super) fn log_is_too_long(arena: &Arena) -> Option<String> {
    let length = |name: &str| fs::metadata(arena.path(name)).map_or(0, |found| found.len());
    let kept = length("hostile.log") + length("hostile.log.1");
    (kept >= FLOOD_BYTES as u64).then(|| format!("{kept} bytes of log"))
}

/// Whether a machine was copied, in the back-end's words.
fn how_it_began(instance: &Instance<Running>) -> Option<String> {
    match instance.in_force().get(Layer::Machine) {
        Some(State::InForce(how)) => Some(how.clone()),
        _ => None,
    }
}

/// Whether a control group holds a program's memory, in the layer's words.
fn has_group(instance: &Instance<Running>) -> bool {
    matches!(instance.in_force().get(Layer::Limits), Some(State::InForce(how)) if how.contains("MiB together (control group"))
}

impl<'a> Ring<'a> {
    async fn new(
        arena: &'a Arena,
        terrain: Terrain,
        backend: &'a dyn Backend,
        host: &'a Host,
        gateway: &'a dyn Gateway,
        race: Duration,
    ) -> Result<Self, Error> {
        // A copy: the folders above the file itself are seen inside, and may be those that are not to be seen.
        let binary = arena.path("hostile");
        fs::copy(host.launcher(), &binary).map_err(|cause| Error::io("the hostile program cannot be copied", &cause))?;
        let fault = |cause| Error::io("no random bytes", &cause);
        let neighbour_things = Neighbour { file: random().map_err(fault)?, abstract_socket: random().map_err(fault)? };
        let left = terrain.has_tmp().then_some(&neighbour_things);
        let neighbour = neighbour(arena, terrain, backend, &binary, left).await?;
        let hostile = BTreeMap::new();
        Ok(Self { arena, terrain, backend, host, machine: None, binary, gateway, race, neighbour, neighbour_things, hostile })
    }

    async fn verdict(&mut self, row: &'static Row) -> Result<Verdict, Error> {
        if !row.is_tried(self.backend.name()) {
            return Ok(Verdict::untried(row, self.backend.name()));
        }
        let mut findings = Findings::default();
        if row.number == 32 && !self.terrain.can_deny() {
            self.must_refuse_a_list(&mut findings).await?;
        }
        if row.number == 38 {
            self.must_differ(&mut findings).await?;
            return Ok(findings.verdict(row, self.backend.name()));
        }
        let terrain = self.terrain;
        let is_there = |stage: &&Stage| **stage != Stage::Connected || terrain.has_way_out();
        for stage in row.stages.iter().filter(is_there).filter(|_| row.number != 32 || terrain.can_deny()) {
            for part in 0..terrain.parts(row.number) {
                self.try_row(row, part, *stage, &mut findings).await?;
            }
        }
        Ok(findings.verdict(row, self.backend.name()))
    }

    /// A back-end that cannot keep a part of a folder from being written does not start the program at all.
    async fn must_refuse_a_list(&self, findings: &mut Findings) -> Result<(), Error> {
        let mut kind = self.hostile_kind(Stage::Quiet)?;
        kind.profile.deny_write = DENY_WRITE.iter().map(|entry| (*entry).to_owned()).collect();
        match Contender::start(&kind).await {
            Err(refused) => findings.stopped.push(format!("a folder to write with such names in it: {refused}")),
            Ok(started) => {
                started.instance.kill();
                started.instance.wait().await;
                findings.open.push("a folder to write with such names in it is given".to_owned());
            }
        }
        Ok(())
    }

    /// Two machines one after the other, the same in everything, are asked for random numbers before anything else.
    async fn must_differ(&self, findings: &mut Findings) -> Result<(), Error> {
        let mut drawn = Vec::new();
        for which in ["one", "the other"] {
            let mut clone = Contender::start(&self.hostile_kind(Stage::Quiet)?).await?;
            let carried = clone.carry_out(&Order::Draw).await;
            if let Some(why) = carried.broken {
                findings.open.push(format!("{which} did not draw to the end: {why}"));
            }
            findings.stopped.extend(how_it_began(&clone.instance).map(|how| format!("{which}: {how}")));
            clone.instance.kill();
            clone.instance.wait().await;
            drawn.push(carried.drawn);
        }
        let [one, other] = drawn.as_slice() else { return Ok(()) };
        if one.is_empty() || !one.keys().eq(other.keys()) {
            findings.open.push("not all was drawn, so nothing is known".to_owned());
        }
        for (from, number) in one {
            match other.get(from) {
                Some(same) if same == number => findings.open.push(format!("{from}: both drew {number}")),
                _ => findings.stopped.push(format!("{from}: another one")),
            }
        }
        Ok(())
    }

    async fn try_row(&mut self, row: &Row, part: usize, stage: Stage, findings: &mut Findings) -> Result<(), Error> {
        if self.neighbour.instance.has_exited().is_some() {
            let left = self.terrain.has_tmp().then_some(&self.neighbour_things);
            self.neighbour = neighbour(self.arena, self.terrain, self.backend, &self.binary, left).await?;
        }
        let given = Box::new(self.given());
        let mut hostile = match self.hostile.remove(&stage) {
            Some(running) if running.instance.has_exited().is_none() => running,
            _ => Contender::start(&self.hostile_kind(stage)?).await?,
        };
        findings.has_group |= has_group(&hostile.instance);
        let is_about_processors = [17, 19].contains(&row.number);
        let before = if is_about_processors { pace::of(&mut self.neighbour).await } else { None };
        self.arena.connections.take();
        let order = Order::Try { row: row.number, part, connected: stage == Stage::Connected, given };
        let carried = hostile.carry_out(&order).await;
        for attempt in carried.attempts {
            findings.hear(attempt);
        }
        match carried.broken {
            Some(why) if self.is_ended_by_a_limit(row.number, &hostile.instance) => findings.stopped.push(why),
            Some(why) => findings.open.push(format!("not known to the end: {why}")),
            None => {}
        }
        match row.number {
            21 => self.must_end_floods(findings).await?,
            37 => self.attack_the_monitor(&hostile, findings).await?,
            _ => {}
        }
        if is_about_processors {
            pace::judge(before, pace::of(&mut self.neighbour).await, findings);
        }
        self.look_meanwhile(row.number, stage, findings).await;
        self.look_for_the_canary(&mut hostile, findings);
        if self.is_over_for(row.number, &mut hostile, findings).await {
            hostile.instance.kill();
            hostile.instance.wait().await;
        } else {
            self.hostile.insert(stage, hostile);
        }
        findings.open.extend(self.arena.effects());
        Ok(())
    }

    /// Whether a limit of the whole sandbox has ended all of it. A container runtime does not say so.
    fn is_ended_by_a_limit(&self, row: u8, instance: &Instance<Running>) -> bool {
        match self.terrain {
            Terrain::Gvisor => [17, 18].contains(&row),
            Terrain::Container => row == 18,
            _ => row == 18 && instance.exceeded().is_some(),
        }
    }

    fn given(&self) -> Given {
        let arena = self.arena;
        Given {
            outside: arena.path("outside"),
            canary: arena.path("outside/canary"),
            socket: arena.path("outside/socket"),
            shown_sockets: arena.shown_sockets(),
            abstract_socket: arena.abstract_socket.clone(),
            home: std::env::var_os("HOME").map(PathBuf::from),
            readable: arena.path("readable"),
            writable: arena.path("writable"),
            variables: vec![GIVEN_VARIABLE.to_owned()],
            ids: self.terrain.ids(),
            processes: small().processes + self.terrain.spare_processes(),
            gateway: std::process::id(),
            neighbour_pid: self.neighbour.instance.pid(),
            neighbour: self.neighbour_things.clone(),
            forbidden_port: arena.forbidden_port,
            allowed_port: arena.allowed_port,
            race: self.race,
            deny_write: denied().map(str::to_owned).collect(),
            machines: None,
        }
    }

    fn hostile_kind(&self, stage: Stage) -> Result<Kind<'a>, Error> {
        let arena = self.arena;
        let network = match stage {
            Stage::Connected => Network::Only(arena.destinations().map_err(|error| Error::new(error.to_string()))?),
            Stage::Quiet | Stage::Small => Network::None,
        };
        Ok(Kind {
            backend: self.backend,
            binary: self.binary.clone(),
            name: HOSTILE,
            variable: (GIVEN_VARIABLE, "given".to_owned()),
            log: arena.path("hostile.log"),
            profile: Profile {
                read: vec![arena.path("readable"), self.binary.clone()],
                write: vec![arena.path("writable")],
                deny_write: self.terrain.deny_write(),
                network,
                limits: if stage == Stage::Small { small() } else { Limits::default() },
                ..Profile::default()
            },
            room: None,
        })
    }

    /// What must hold while the attack goes on.
    async fn look_meanwhile(&mut self, row: u8, stage: Stage, findings: &mut Findings) {
        if !self.neighbour.answers().await {
            findings.open.push("another server does not answer any more".to_owned());
            return;
        }
        let heard = self.arena.connections.take();
        let reached = format!("reached.test:{}", self.arena.allowed_port);
        findings.open.extend(heard.made.iter().filter(|target| **target != reached).map(|target| format!("connected to {target}")));
        match row {
            10 if heard.names_refused == 0 => findings.open.push("no question was noticed".to_owned()),
            // Where there is no way out, it is the kernel that refuses, which tells nobody.
            8 | 9 if stage == Stage::Connected && heard.refused == 0 => findings.open.push("no connection was noticed".to_owned()),
            11..=13 if heard.refused == 0 => findings.open.push("no connection was noticed".to_owned()),
            21 => findings.open.extend(log_is_too_long(self.arena)),
            31 => self.race(findings).await,
            _ => {}
        }
    }

    /// Reads through the folder that is being swapped, as the gateway does.
    async fn race(&self, findings: &mut Findings) {
        let root = self.arena.path("writable");
        let path = Path::new(SWAPPED).join("canary");
        let (start, mut read) = (std::time::Instant::now(), 0_u64);
        while start.elapsed() < self.race {
            if let Ok(text) = self.gateway.read(&root, &path).await {
                read += 1;
                if String::from_utf8_lossy(&text).contains(&self.arena.canary) {
                    findings.open.push(format!("the gateway read the canary, after {read} other files"));
                    return;
                }
            }
        }
        match read {
            0 => findings.open.push("the gateway read nothing, so nothing is known".to_owned()),
            _ => findings.stopped.push(format!("reads through it: {read} of other files within {:?}", self.race)),
        }
    }

    fn look_for_the_canary(&self, hostile: &mut Contender, findings: &mut Findings) {
        let said = std::mem::take(&mut hostile.said);
        let stderr = hostile.instance.stderr_tail().concat();
        let log = fs::read_to_string(self.arena.path("hostile.log")).unwrap_or_default();
        for text in [said, stderr, log] {
            findings.said(&text, &self.arena.canary);
        }
    }

    /// Whether this row's sandbox must end with it; looks at how it ends, where that is what the row is about.
    async fn is_over_for(&mut self, row: u8, hostile: &mut Contender, findings: &mut Findings) -> bool {
        match row {
            33 | 34 => self.must_fall_silent(row, hostile, findings).await,
            32 => {
                hostile.instance.kill();
                hostile.instance.wait().await;
                // What covers names that are not there stays as long as any sandbox of the folder.
                for other in std::mem::take(&mut self.hostile).into_values() {
                    other.instance.kill();
                    other.instance.wait().await;
                }
                findings.open.extend(self.arena.planted_in_project());
            }
            17..=19 | 31 => {}
            _ => return hostile.instance.has_exited().is_some(),
        }
        true
    }

    /// When it is told to end, nobody may be left who lets the file of the heart grow.
    async fn must_fall_silent(&self, row: u8, hostile: &mut Contender, findings: &mut Findings) {
        let heart = Heart::of(self.arena);
        // On gVisor (2022) this daemon is gone at once, and why is not known; row 34 shows there that who is left behind is ended.
        let is_gone_by_itself = row == 33 && self.terrain == Terrain::Gvisor;
        if !is_gone_by_itself && !heart.begins().await {
            findings.open.push("nobody was left behind, so nothing is known".to_owned());
        }
        let process = PathBuf::from(format!("/proc/{}", hostile.instance.pid()));
        hostile.close();
        if timeout(END_WITHIN, hostile.instance.stop(GRACE)).await.is_err() {
            findings.open.push(format!("it did not end within {END_WITHIN:?}"));
        }
        if !heart.stands_still().await || process.exists() {
            findings.open.push("somebody still lives".to_owned());
        }
    }

    /// Round a machine there is its monitor, and round that the boundary of the back-end `os`.
    async fn attack_the_monitor(&self, hostile: &Contender, findings: &mut Findings) -> Result<(), Error> {
        let Some(config) = self.machine else { return Ok(()) };
        let profile = self.hostile_kind(Stage::Quiet)?.profile;
        let broken = monitor::Broken { host: self.host, config, arena: self.arena, binary: &self.binary, profile: &profile };
        let filters = broken.must_get_nowhere(self.given(), findings).await?;
        monitor::look_at(hostile.instance.pid(), filters, findings);
        Ok(())
    }

    /// Two programs that write to stdout until they are ended.
    async fn must_end_floods(&self, findings: &mut Findings) -> Result<(), Error> {
        for lines in [true, false] {
            let mut kind = self.hostile_kind(Stage::Quiet)?;
            kind.profile.limits = flood::limits();
            let (instance, stdout) = Contender::start(&kind).await?.give_away(&Order::Flood { lines }).await?;
            flood::hear(instance, stdout, lines, self.gateway, findings).await;
        }
        Ok(())
    }
}
