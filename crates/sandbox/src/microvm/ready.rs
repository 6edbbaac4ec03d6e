//! A machine before its program: its monitor runs, everything is connected, and its init waits to hear what to start.

use std::fs::File;
use std::os::unix::net::UnixStream as Blocking;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::control::Control;
use super::image::Image;
use super::prepare::failed;
use super::qemu::{PROGRAM, Qemu};
use super::room::Room;
use super::vmm::{Accelerator, Begins, Shape, Vmm};
use super::{disk, folders, run_in, template};
use crate::backend::Host;
use crate::calls::{CallGroup, SystemCalls};
use crate::error::Error;
use crate::instance::{Exit, Instance, Running};
use crate::profile::{Limits, Network, Profile, Program};

/// From its start until the monitor has connected to all sockets: it does that first.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// A monitor that has ended is through within milliseconds.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A machine whose init waits. It is like no other one.
pub(super) struct Ready {
    pub(super) monitor: Instance<Running>,
    pub(super) control: Control,
    pub(super) stdio: UnixStream,
    pub(super) egress: UnixStream,
    /// Takes what is on the disk.
    pub(super) disk: Sender<Image>,
    pub(super) memory: File,
    /// The release.
    pub(super) kernel: String,
    /// Whether it has not booted itself.
    pub(super) is_clone: bool,
}

/// A copy of a machine that has booted, where there can be one; else one that boots.
pub(super) async fn ready(host: &Host, shape: &Shape, profile: &Profile, program: &Program) -> Result<Ready, Error> {
    let mut ready = match template::clone(host, shape, profile, program).await {
        Some(clone) => clone,
        None => boot(host, shape, profile, program).await?,
    };
    match ready.control.renew().await {
        Ok(()) => Ok(ready),
        Err(error) => Err(told_with_last_words(error, &ready.monitor).await),
    }
}

async fn boot(host: &Host, shape: &Shape, profile: &Profile, program: &Program) -> Result<Ready, Error> {
    let (run, memory_mb) = (run_in(&host.machines()?), shape.memory_mb);
    let room = apart(move || Room::new(&run, memory_mb)).await?;
    let mut connected = Connected::new(host, shape, Begins::Booting, room, profile, program).await?;
    let kernel = connected.booted().await?;
    Ok(connected.ready(kernel, false))
}

/// Does what waits for disks on a thread of its own.
pub(super) async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Error::new("a microVM could not be laid out, which is a fault of ours")))
}

/// A monitor that has connected to everything.
pub(super) struct Connected {
    monitor: Instance<Running>,
    control: Control,
    stdio: UnixStream,
    egress: UnixStream,
    disk: Sender<Image>,
    /// Where the monitor is steered, unless it just boots.
    steer: Option<Blocking>,
    /// Until the machine has shown that it lives: the monitor opens what is in there while it starts.
    room: Room,
    memory: File,
}

impl Connected {
    /// `program` is whom the machine is for.
    pub(super) async fn new(
        host: &Host,
        shape: &Shape,
        begins: Begins,
        room: Room,
        profile: &Profile,
        program: &Program,
    ) -> Result<Self, Error> {
        let monitor = monitor(&Qemu, shape, begins, &room, program);
        let monitor = crate::launch::launch(host, &monitor, Some(&around(shape, profile))).await.map_err(without_monitor)?;
        match unless_ended(&monitor, sockets(&room, begins)).await {
            Ok((disk, control, stdio, egress, steer)) => {
                let memory = room.memory.try_clone().map_err(|cause| failed("the machine's memory cannot be kept", &cause))?;
                Ok(Self { monitor, control, stdio, egress, disk, steer, room, memory })
            }
            Err(error) => Err(told_with_last_words(error, &monitor).await),
        }
    }

    /// Waits for the guest's first word; the kernel's release.
    pub(super) async fn booted(&mut self) -> Result<String, Error> {
        let booted = unless_ended(&self.monitor, self.control.booted()).await;
        match booted {
            Ok(kernel) => Ok(kernel),
            Err(error) => Err(told_with_last_words(error, &self.monitor).await),
        }
    }

    /// Has the monitor do what it is told at its socket.
    pub(super) async fn steer(&mut self, work: impl FnOnce(Blocking) -> std::io::Result<()> + Send + 'static) -> Result<(), Error> {
        let steer = self.steer.take().ok_or_else(|| Error::new("this microVM is not steered"))?;
        let steered = apart(move || work(steer).map_err(|cause| failed("the microVM's monitor did not do what it was told", &cause)));
        match steered.await {
            Ok(()) => Ok(()),
            Err(error) => Err(told_with_last_words(error, &self.monitor).await),
        }
    }

    /// Waits for the monitor's end; its machine's memory.
    pub(super) async fn ended(self) -> File {
        if timeout(CONNECT_LIMIT, self.monitor.wait()).await.is_err() {
            self.monitor.kill();
            self.monitor.wait().await;
        }
        self.memory
    }

    /// The room is gone then: everything in it is open, and nobody else has to find it.
    pub(super) fn ready(self, kernel: String, is_clone: bool) -> Ready {
        let Self { monitor, control, stdio, egress, disk, steer: _, room, memory } = self;
        drop(room);
        Ready { monitor, control, stdio, egress, disk, memory, kernel, is_clone }
    }
}

type Sockets = (Sender<Image>, Control, UnixStream, UnixStream, Option<Blocking>);

async fn sockets(room: &Room, begins: Begins) -> Result<Sockets, Error> {
    let steer = match begins {
        Begins::Booting => None,
        Begins::ToBeSaved | Begins::Saved => {
            let unusable = |cause: std::io::Error| failed("the microVM's monitor cannot be steered", &cause);
            Some(accept(&room.steer).await?.into_std().map_err(unusable)?)
        }
    };
    let disk = serve_disk(accept(&room.disk).await?)?;
    let control = Control::new(accept(&room.control).await?);
    Ok((disk, control, accept(&room.stdio).await?, accept(&room.egress).await?, steer))
}

async fn accept(listener: &UnixListener) -> Result<UnixStream, Error> {
    let accepted = timeout(CONNECT_LIMIT, listener.accept()).await;
    let accepted = accepted.map_err(|_| Error::new(format!("the microVM's monitor did not connect within {CONNECT_LIMIT:?}")))?;
    accepted.map(|(stream, _)| stream).map_err(|cause| failed("the microVM's monitor cannot be heard", &cause))
}

/// On a thread of its own: it waits for the host's disks. It ends with the monitor, which holds the other end.
fn serve_disk(stream: UnixStream) -> Result<Sender<Image>, Error> {
    let unusable = |cause: std::io::Error| failed("the disk of a microVM cannot be served", &cause);
    let stream = stream.into_std().and_then(|stream| stream.set_nonblocking(false).map(|()| stream)).map_err(unusable)?;
    let (show, shown) = channel();
    let serve = move || disk::serve(stream, &shown);
    std::thread::Builder::new().name("microvm-disk".to_owned()).spawn(serve).map_err(unusable)?;
    Ok(show)
}

/// What `work` comes to, unless the monitor ends before.
async fn unless_ended<T>(monitor: &Instance<Running>, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let told = |exit: Exit| Error::new(format!("the microVM's monitor {exit} before the machine had booted"));
    tokio::select! {
        done = work => done,
        exit = monitor.wait() => Err(told(exit)),
    }
}

/// Whom a machine is for that no server has. No server's name has a space in it, so that its monitor is nobody else's user.
pub(super) fn nobodys(purpose: &str) -> Program {
    Program::new(format!("microvm {purpose}"), "")
}

/// The monitor as the program of a sandbox, in the name and the scope of whom it is for: each has a user of its own.
fn monitor(vmm: &dyn Vmm, shape: &Shape, begins: Begins, room: &Room, of: &Program) -> Program {
    let (command, args) = vmm.command(shape, begins);
    let devices = if shape.accelerator == Accelerator::Kvm { vec!["kvm"] } else { Vec::new() };
    let room = room.path().to_path_buf();
    Program { args, scope: of.scope.clone(), cwd: Some(room.clone()), devices, room: Some(room), ..Program::new(&of.name, command) }
}

/// What the monitor may see and use: the kernel, the folder of this one machine, and what it serves to be written. The machine's own memory is a
/// file; it speaks with the gateway over sockets in its folder.
pub(super) fn around(shape: &Shape, profile: &Profile) -> Profile {
    let workers = if shape.folders.is_empty() { 0 } else { folders::WORKERS };
    let limits = Limits {
        // The machine's own, and the monitor's: its heap, and what it translates to.
        memory_mb: shape.memory_mb.saturating_add(1024),
        processes: 32 + workers, // a thread for the processor, some for the disk
        open_files: profile.limits.open_files.saturating_add(256),
        file_mb: profile.limits.file_mb.max(shape.memory_mb.saturating_add(1)),
        tmp_mb: 1,
        shm_mb: 1,
        ..profile.limits.clone()
    };
    let read = [vec![shape.guest.kernel.clone(), shape.guest.initramfs.clone()], folders::kept(profile, &shape.folders)].concat();
    let (write, deny_write) = (profile.write.clone(), profile.deny_write.clone());
    let hidden = profile.hidden.clone();
    let seccomp = SystemCalls::with(CallGroup::LocalSockets);
    Profile { read, write, deny_write, hidden, network: Network::None, limits, seccomp, ..Profile::default() }
}

/// The most usual reason has a cure of its own.
fn without_monitor(error: Error) -> Error {
    if error.to_string().starts_with(&format!("program {PROGRAM} ")) {
        return no_monitor();
    }
    error
}

pub(super) fn no_monitor() -> Error {
    Error::new(format!("{PROGRAM} is not installed")).with_hint("install it, for example `apt-get install qemu-system-x86`")
}

/// The monitor said why on its stderr, if it could.
pub(super) async fn told_with_last_words(error: Error, monitor: &Instance<Running>) -> Error {
    // Any other than one that has ended is killed.
    let _ended = timeout(LAST_WORDS, monitor.wait()).await;
    monitor.kill();
    monitor.wait().await;
    error.with_last_words(&monitor.stderr_tail())
}
