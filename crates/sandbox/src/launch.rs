//! The gateway's side of a launch: resolves the profile, starts the launcher, hears how it goes, and watches to the end.

mod ahead;
mod descriptors;
mod memory;
mod thread;
mod usage;
mod warden;
mod watch;
mod zygote;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, getpid, pidfd_send_signal};
use sha2::{Digest, Sha256};
use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::backend::Host;
use crate::cgroup::{Group, places};
use crate::cover::Keeper;
use crate::cure;
use crate::egress::{self, Room, Sockets};
use crate::error::{Error, Failure};
use crate::exceeded::Exceeded;
use crate::instance::{GivenBack, Instance, Process, Running};
use crate::layer::Layers;
use crate::learn::{self, Trial};
use crate::output::Counted;
use crate::policy::{self, Confinement, Policy, Target, View};
use crate::profile::{Limits, Network, Profile, Program};
use crate::stderr_log::{Log, Tail};
use crate::sys;
use crate::sys::control::{self, Message};
use crate::sys::lifetime::{FREEZE, THAW};
use crate::sys::seccomp::{self, Filter};
use crate::visible;
use ahead::Ahead;
use warden::Warden;
use watch::Launcher;

/// The first argument that turns this binary into the zygote, whose copies are launchers.
pub(crate) const LAUNCHER_ARGUMENT: &str = "__sandbox";

/// A boundary stands within milliseconds; on a machine that is busy beyond all measure within this.
const LAUNCH_LIMIT: Duration = Duration::from_secs(20);

const MIB: u64 = 1024 * 1024;

/// Unprivileged ids for a root gateway: a range that no distribution gives to users, services or containers.
const FIRST_ID: u32 = 2_000_000_000;
const IDS: u32 = 100_000_000;

/// Starts `program` inside the boundary that `profile` describes, or without one.
pub(crate) async fn launch(host: &Host, program: &Program, profile: Option<&Profile>) -> Result<Instance<Running>, Error> {
    match profile {
        Some(profile) => launch_confined(host, program, profile, true).await,
        None => launch_by(host, program, None, Around::Nothing).await,
    }
}

/// The same on the host's own namespaces; the caller has seen to it that the profile can be met there.
pub(crate) async fn launch_without_namespaces(host: &Host, program: &Program, profile: &Profile) -> Result<Instance<Running>, Error> {
    launch_confined(host, program, profile, false).await
}

/// A container runtime, and what is round it.
pub(crate) struct Runtime {
    /// The runtime itself.
    pub(crate) target: Target,
    pub(crate) around: policy::Around,
    /// The groups that hold it, with [`policy::Around::groups`] for entrances. None where it makes its own.
    pub(crate) group: Group,
    /// It can be stopped at any moment and goes on as if nothing had been.
    pub(crate) can_freeze: bool,
    /// Keeps what must not come to be covered.
    pub(crate) keeper: Option<Keeper>,
}

/// Starts a container runtime in namespaces of its own; the way out and the limits are the profile's.
pub(crate) async fn launch_around(host: &Host, program: &Program, profile: &Profile, runtime: Runtime) -> Result<Instance<Running>, Error> {
    launch_by(host, program, Some(profile), Around::Runtime(runtime)).await
}

async fn launch_confined(host: &Host, program: &Program, profile: &Profile, namespaces: bool) -> Result<Instance<Running>, Error> {
    // Without namespaces the program stands on the host's own root, where everything seems to be shown.
    let trial = host.trial_of(&program.name).filter(|_| namespaces).cloned();
    let profile = trial.as_ref().map_or_else(|| profile.clone(), |trial| trial.profile(profile));
    let filter = seccomp::filter(&seccomp::Choice::of(&profile, namespaces))
        .ok_or_else(|| Error::new(format!("the system call filter of server {} cannot be made", program.name)))?;
    let boundary = Boundary { profile: profile.clone(), filter, namespaces, trial };
    launch_by(host, program, Some(&profile), Around::Boundary(boundary)).await
}

/// What is put around a program.
enum Around {
    Nothing,
    Boundary(Boundary),
    /// A container runtime, which builds the boundary.
    Runtime(Runtime),
}

/// A boundary of ours.
struct Boundary {
    profile: Profile,
    filter: Filter,
    namespaces: bool,
    trial: Option<Trial>,
}

impl Around {
    /// Whether there is a pid namespace, whose init freezes and thaws everything in it, and what is in it bears that.
    fn can_freeze(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Boundary(boundary) => boundary.namespaces,
            Self::Runtime(runtime) => runtime.can_freeze,
        }
    }

    /// The trial, and the filter that it stands in for.
    fn trial(&self) -> Option<(Trial, Filter)> {
        match self {
            Self::Boundary(Boundary { trial: Some(trial), filter, .. }) => Some((trial.clone(), filter.clone())),
            _ => None,
        }
    }

    /// How many descriptors each process may have. What a container runtime holds for itself is no matter of the program's.
    fn open_files(&self) -> Option<u32> {
        match self {
            Self::Boundary(boundary) => Some(boundary.profile.limits.open_files),
            Self::Nothing | Self::Runtime(_) => None,
        }
    }

    /// The groups that hold the program.
    fn group(&mut self, limits: &Limits) -> Group {
        match self {
            Self::Runtime(runtime) => std::mem::take(&mut runtime.group),
            Self::Nothing | Self::Boundary(_) => Group::make(places(), limits),
        }
    }
}

async fn launch_by(host: &Host, program: &Program, profile: Option<&Profile>, around: Around) -> Result<Instance<Running>, Error> {
    let (trial, can_freeze, open_files) = (around.trial(), around.can_freeze(), around.open_files());
    if trial.is_none() && host.trial_of(&program.name).is_some() {
        let message = format!("server {} is to be tried, and cannot be watched in the sandbox that it would get here", program.name);
        return Err(
            Error::new(message).with_hint("a trial needs namespaces, as sandbox `os` has them; `sallyport doctor` says what refuses them")
        );
    }
    let observer = trial.as_ref().map(|(trial, _)| trial.clone());
    let room = profile.and_then(|profile| way_out(host, program, profile)).map(|room| room.in_trial(observer));
    if room.is_some() {
        egress::thread().map_err(|cause| unserved(&program.name, &cause))?;
    }
    let (launcher, name, log) = (host.launcher().to_path_buf(), program.name.clone(), program.log.clone());
    let (program, limits) = (program.clone(), profile.map(|profile| profile.limits.clone()));
    let stderr_mb = limits.as_ref().map_or_else(|| Limits::default().stderr_mb, |limits| limits.stderr_mb);
    let started = thread::run(move || start(&launcher, &program, limits, around)).await??;
    let Started { launcher, keeper, warden, control, stdin, stdout, stderr } = started;
    let tail = Tail::default();
    let log = Log::new(log, u64::from(stderr_mb) * MIB, tail.clone());

    let io = |cause: io::Error| Error::io(format_args!("stdio of server {name} cannot be used"), &cause);
    let stderr = pipe::Receiver::from_owned_fd(stderr).map_err(io)?;
    let stdin = pipe::Sender::from_owned_fd(stdin).map_err(io)?;
    let stdout = pipe::Receiver::from_owned_fd(stdout).map_err(io)?;
    let line = keeper.as_ref().map(Keeper::line).transpose().map_err(io)?;
    let watched = watch::watch(launcher, keeper, Counted::new(stderr, warden.clone()), log).map_err(io)?;

    let heard = hear_in_time(control, &name, trial).await.map(|mut heard| (heard.tmp.take().zip(heard.shm.take()), heard));
    let (layers, inside, sockets) = match heard.and_then(|(folders, heard)| Ok((folders, heard.judge(&name)?))) {
        Ok((folders, started)) => {
            if let (Some(warden), Some(folders)) = (&warden, folders) {
                warden.look_at_the_end(folders);
            }
            started
        }
        Err(error) => {
            watched.wait_a_moment().await;
            let exceeded = warden.as_ref().and_then(|warden| warden.exceeded());
            return Err(exceeded.map_or_else(|| error.with_last_words(&tail.lines()), |exceeded| too_small(&name, exceeded)));
        }
    };
    if let Some(line) = line {
        line.until_end_of(inside.ender.as_fd()).map_err(io)?;
    }
    if let Some(room) = room {
        // If not, the program ends with `watched`, and has reached nobody.
        egress::start(sockets, room, watched.end()).map_err(|cause| unserved(&name, &cause))?;
    }
    let (ender, by) = (inside.ender.try_clone().map_err(io)?, inside.signal);
    // From here on nothing may fail: nobody but the instance would end the program.
    let (launcher, end) = watched.keep();
    if let Some(warden) = &warden {
        warden.watch(pid_of(&ender), move || signal(&ender, by), end.clone());
    }
    let stdout = Counted::new(stdout, warden.clone());
    let process = Processes { inside, can_freeze, open_files, warden, launcher, tail, ahead: Mutex::default() };
    Ok(Instance::new(Arc::new(process), layers, end, (Box::new(stdin), Box::new(stdout))))
}

/// What serves the program's way out, if it has one.
pub(crate) fn way_out(host: &Host, program: &Program, profile: &Profile) -> Option<Room> {
    match &profile.network {
        Network::Only(allowed) => {
            Some(Room::new(&program.scope, &program.name, allowed.clone(), profile.limits.clone(), host.egress().clone()))
        }
        Network::None | Network::Host => None,
    }
}

pub(crate) fn unserved(name: &str, cause: &io::Error) -> Error {
    Error::io(format_args!("the way out of server {name} cannot be served"), cause)
}

/// A limit that does not even let the launcher do its work.
fn too_small(name: &str, exceeded: Exceeded) -> Error {
    Error::new(format!("launcher of server {name} {exceeded}")).with_hint(format!("`{}` is too small", exceeded.setting()))
}

/// What the launching thread hands over. Dropping it ends the launcher.
struct Started {
    launcher: Launcher,
    keeper: Option<Keeper>,
    warden: Option<Arc<Warden>>,
    control: OwnedFd,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Runs on the launching thread: nothing here may block for long.
fn start(launcher: &Path, program: &Program, limits: Option<Limits>, mut around: Around) -> Result<Started, Error> {
    let warden = limits.map(|limits| {
        let group = around.group(&limits);
        Warden::new(limits, group)
    });
    let gateway = getpid().as_raw_nonzero().get();
    let (policy, keeper) = match around {
        Around::Nothing => {
            let target = visible::resolve_unconfined(program)?;
            (Policy { gateway, target, confinement: None, around: None }, None)
        }
        Around::Runtime(Runtime { target, around, keeper, .. }) => {
            (Policy { gateway, target, confinement: None, around: Some(around) }, keeper)
        }
        Around::Boundary(boundary) => {
            let (confinement, target, keeper) = confine(launcher, program, boundary, warden.as_deref())?;
            (Policy { gateway, target, confinement: Some(confinement), around: None }, keeper)
        }
    };
    spawn(launcher, &policy, keeper, warden)
        .map_err(|cause| Error::io(format_args!("launcher of server {} cannot be started", program.name), &cause))
}

/// Works out what a program sees and is held to.
fn confine(
    launcher: &Path,
    program: &Program,
    boundary: Boundary,
    warden: Option<&Warden>,
) -> Result<(Confinement, Target, Option<Keeper>), Error> {
    let Boundary { profile, filter, namespaces, trial } = boundary;
    let (mut view, target, absent) = visible::resolve(&profile, program)?;
    // A trial shows what is missing, and what is looked for in its place.
    if trial.is_none() {
        visible::check_interpreter(program, &view, &target)?;
    }
    let keeper = cover(launcher, &mut view, absent)?;
    if let Some(trial) = &trial {
        trial.shows(&view);
    }
    let confinement = Confinement {
        view,
        network: policy::Network::of(&profile.network),
        limits: profile.limits,
        devices: program.devices.iter().map(|name| (*name).to_owned()).collect(),
        trial: trial.is_some(),
        held: warden.map(Warden::held).unwrap_or_default(),
        groups: warden.map(Warden::entrances).unwrap_or_default(),
        unprivileged: unprivileged_id(&program.name, &program.scope),
        namespaces,
        filter,
    };
    Ok((confinement, target, keeper))
}

/// Covers what must not come to be, if there is anything; takes out of the view what could not come to be anyway.
pub(crate) fn cover(binary: &Path, view: &mut View, absent: Vec<PathBuf>) -> Result<Option<Keeper>, Error> {
    if absent.is_empty() {
        return Ok(None);
    }
    let (keeper, covered) = Keeper::cover(binary, &absent).map_err(|cause| {
        Error::io("what must not be written cannot be covered", &cause)
            .with_hint("let the gateway's user write the folder that it is in, or see `deny_write`")
    })?;
    view.trees.retain(|tree| !absent.contains(&tree.path) || covered.contains(&tree.path));
    Ok(Some(keeper))
}

/// Plain pipes, so that the program may read and write them as it likes; only our ends do not block.
fn spawn(binary: &Path, policy: &Policy, keeper: Option<Keeper>, warden: Option<Arc<Warden>>) -> io::Result<Started> {
    let (their_stdin, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdout, their_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, their_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let (control, their_control) = control::pair()?;
    let launcher = Launcher::new(zygote::copy(binary, their_control.as_fd())?, warden.clone());
    control::send_policy(control.as_fd(), policy, &[their_stdin, their_stdout, their_stderr])?;
    Ok(Started { launcher, keeper, warden, control, stdin, stdout, stderr })
}

/// The id of one server in one scope: always the same, and that of another server, or of the same for others, is another one.
pub(crate) fn unprivileged_id(name: &str, scope: &str) -> u32 {
    let mut digest = Sha256::new_with_prefix(name);
    if !scope.is_empty() {
        digest.update([0]); // no name has such a byte in it
        digest.update(scope);
    }
    let digest = digest.finalize();
    let number = digest.iter().take(4).fold(0u32, |number, byte| (number << 8) | u32::from(*byte));
    FIRST_ID + number % IDS
}

/// Everything that the launcher said before the program took over or a step failed.
#[derive(Default)]
struct Heard {
    ender: Option<(OwnedFd, Signal)>,
    server: Option<OwnedFd>,
    wishes: Option<OwnedFd>,
    in_force: Option<Layers>,
    failed: Option<Failure>,
    sockets: Sockets,
    tmp: Option<OwnedFd>,
    shm: Option<OwnedFd>,
}

async fn hear_in_time(control: OwnedFd, name: &str, trial: Option<(Trial, Filter)>) -> Result<Heard, Error> {
    match timeout(LAUNCH_LIMIT, hear(control, trial)).await {
        Ok(heard) => heard.map_err(|cause| Error::io(format_args!("launcher of server {name} cannot be heard"), &cause)),
        Err(_) => Err(Error::new(format!("launcher of server {name} did not start it within {LAUNCH_LIMIT:?}"))),
    }
}

/// Hears until the socket's end: every process of the launcher has let go of it, the last one by `execve`.
async fn hear(control: OwnedFd, mut trial: Option<(Trial, Filter)>) -> io::Result<Heard> {
    rustix::io::ioctl_fionbio(&control, true)?;
    let control = sys::readable(control)?;
    let mut heard = Heard::default();
    while let Some((message, descriptor)) = control.async_io(Interest::READABLE, |socket| control::receive(socket.as_fd())).await? {
        match message {
            Message::Ender { signal } => heard.ender = descriptor.zip(Signal::from_named_raw(signal)),
            Message::Server => heard.server = descriptor,
            Message::Wishes => heard.wishes = Some(descriptor.ok_or_else(lost)?),
            Message::Names => heard.sockets.names = Some(descriptor.ok_or_else(lost)?),
            Message::Listener => heard.sockets.listeners.push(descriptor.ok_or_else(lost)?),
            Message::Tmp => heard.tmp = Some(descriptor.ok_or_else(lost)?),
            Message::Shm => heard.shm = Some(descriptor.ok_or_else(lost)?),
            Message::Questions => {
                let (trial, filter) = trial.take().ok_or(io::ErrorKind::InvalidData)?;
                learn::supervise(descriptor.ok_or_else(lost)?, trial, filter)?;
            }
            Message::InForce(layers) => heard.in_force = Some(layers),
            Message::Failed(failure) => heard.failed = Some(failure),
        }
    }
    Ok(heard)
}

/// The kernel drops a descriptor that the gateway has no room for.
fn lost() -> io::Error {
    io::Error::other("a socket got lost: the gateway has too many open files")
}

impl Heard {
    /// The program runs only if every word was said and none of them was a failure.
    fn judge(self, name: &str) -> Result<(Layers, Inside, Sockets), Error> {
        if let Some(failure) = self.failed {
            let hint = cure::of(&failure);
            return Err(Error::from_failure(name, &failure, hint));
        }
        match (self.in_force, self.ender, self.server) {
            (Some(layers), Some((ender, signal)), Some(server)) => {
                let inside = Inside { pid: pid_of(&server), ender, signal, server, wishes: self.wishes };
                Ok((layers, inside, self.sockets))
            }
            _ => Err(Error::new(format!("launcher of server {name} ended early"))
                .with_hint("the binary that launches must call enter_if_asked first in main")),
        }
    }
}

/// The processes of one running program, by descriptors that can never mean another process.
struct Inside {
    ender: OwnedFd,
    signal: Signal,
    server: OwnedFd,
    /// There where there is a pid namespace.
    wishes: Option<OwnedFd>,
    pid: u32,
}

impl Inside {
    /// Tells the init of the pid namespace. One that has ended meanwhile needs no word.
    fn wish(&self, word: u8) {
        if let Some(Err(error)) = self.wishes.as_ref().map(|wishes| rustix::io::write(wishes, &[word]))
            && error != rustix::io::Errno::PIPE
        {
            tracing::warn!(%error, "a server could not be stopped or woken");
        }
    }
}

struct Processes {
    inside: Inside,
    /// As [`Around::can_freeze`].
    can_freeze: bool,
    /// As [`Around::open_files`].
    open_files: Option<u32>,
    /// Holds it to its limits, where there is a boundary.
    warden: Option<Arc<Warden>>,
    launcher: Arc<OwnedFd>,
    tail: Tail,
    /// What is fetched when it is woken.
    ahead: Mutex<Option<Ahead>>,
}

impl Process for Processes {
    fn pid(&self) -> u32 {
        self.inside.pid
    }

    fn terminate(&self) {
        signal(&self.inside.server, Signal::TERM);
    }

    fn kill(&self) {
        signal(&self.inside.ender, self.inside.signal);
    }

    fn abort(&self) {
        signal(&self.launcher, Signal::KILL);
    }

    fn can_freeze(&self) -> bool {
        self.can_freeze
    }

    fn freeze(&self) {
        self.set_asleep(true);
        self.inside.wish(FREEZE);
    }

    fn thaw(&self) {
        self.set_asleep(false);
        self.inside.wish(THAW);
        if let Some(ahead) = self.ahead().take() {
            ahead.fetch_beside();
        }
    }

    fn give_memory_back(&self, go_on: &dyn Fn() -> bool) -> io::Result<GivenBack> {
        let init = pid_of(&self.inside.ender);
        let refused = match memory::give_back(init, go_on) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
            outcome => return outcome,
        };
        match self.warden.as_ref().and_then(|warden| warden.reclaimable()) {
            Some(group) => memory::reclaim(init, &group, go_on),
            None => Err(refused),
        }
    }

    fn give_rehearsed_back(&self, keeps: u64, go_on: &dyn Fn() -> bool) -> io::Result<Option<GivenBack>> {
        let init = pid_of(&self.inside.ender);
        if memory::resident(&memory::descendants(init)) <= keeps {
            return Ok(None);
        }
        let Some(ahead) = Ahead::note(init)? else { return Ok(None) };
        *self.ahead() = Some(ahead);
        memory::give_back(init, go_on).map(Some)
    }

    fn fetched(&self) -> u64 {
        memory::fetched(&memory::descendants(pid_of(&self.inside.ender)))
    }

    fn exceeded(&self) -> Option<Exceeded> {
        self.warden.as_ref()?.exceeded()
    }

    fn meets(&self) -> Option<Exceeded> {
        let limit = self.open_files?;
        let inside = memory::descendants(pid_of(&self.inside.ender)).into_iter().chain([pid_of(&self.inside.server)]);
        descriptors::are_used_up(inside, limit).then_some(Exceeded::OpenFiles(limit))
    }

    fn stderr_tail(&self) -> Vec<String> {
        self.tail.lines()
    }
}

impl Processes {
    fn ahead(&self) -> MutexGuard<'_, Option<Ahead>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_asleep(&self, is_asleep: bool) {
        if let Some(warden) = &self.warden {
            warden.set_asleep(is_asleep);
        }
    }
}

/// A process that has ended meanwhile needs no signal.
fn signal(process: &OwnedFd, signal: Signal) {
    if let Err(error) = pidfd_send_signal(process, signal)
        && error != rustix::io::Errno::SRCH
    {
        tracing::warn!(%error, "a signal could not be sent to a server");
    }
}

/// The pid behind a pidfd as this procfs shows it; 0 when it is not shown.
fn pid_of(pidfd: &OwnedFd) -> u32 {
    let mut text = String::new();
    let read = File::open(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).and_then(|mut info| info.read_to_string(&mut text));
    let pid = || text.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok();
    read.ok().and_then(|_| pid()).unwrap_or(0)
}
