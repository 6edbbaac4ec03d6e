//! The way from a profile to a program that runs in a machine.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tokio::io::DuplexStream;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::control::{Control, Ended, Wishes, hear_the_end};
use super::image::Image;
use super::initramfs::Archive;
use super::prepare::{KERNEL, Prepared, failed, hexadecimal, prepared};
use super::process::Machine;
use super::qemu::{PROGRAM, Qemu};
use super::room::Room;
use super::vmm::{Accelerator, Shape, Vmm};
use super::{accelerator, disk, embedded_init, prepared_in, run_in, stdio};
use crate::backend::Host;
use crate::backends::microvm::Config;
use crate::egress::{self, synthetic};
use crate::error::Error;
use crate::instance::{Exit, Instance, Running};
use crate::launch::{unserved, way_out};
use crate::layer::Layer;
use crate::output::{Counted, Meter};
use crate::policy::{self, Target};
use crate::profile::{Limits, Network, Profile, Program};
use crate::stderr_log::{self, Log, Tail};
use crate::visible;

/// From its start until the monitor has connected to all sockets: it does that first.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// What the program wrote last is on its way when its end is told; the rest is not waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Between the control port and whoever keeps stderr.
const STDERR_BUFFER: usize = 64 * 1024;

/// Starts `program` in a machine of its own, with what `profile` shows.
pub(crate) async fn launch(host: &Host, config: &Config, profile: &Profile, program: &Program) -> Result<Instance<Running>, Error> {
    can_be_met(profile, &program.name)?;
    let machines = host.machines()?;
    let (wanted, place) = (config.clone(), machines.clone());
    let guest = apart(move || Guest::prepared(&wanted, &place)).await?;
    let (accelerator, told) = accelerator::choose(host, config.accel, &guest).await?;
    let shape = Shape { guest, memory_mb: config.memory_mb, accelerator };
    let (wanted, memory_mb) = ((profile.clone(), program.clone()), shape.memory_mb);
    let Laid { target, image, room } = apart(move || Laid::out(&wanted.0, &wanted.1, &run_in(&machines), memory_mb)).await?;
    let monitor = crate::launch::launch(host, &monitor(&Qemu, &shape, &room, &program.name), Some(&around(&shape, &room, profile))).await;
    let monitor = monitor.map_err(without_monitor)?;
    match boot(&monitor, room, image).await {
        Ok(booted) => booted.start(host, &told, monitor, target, profile, program).await,
        Err(error) => Err(told_with_last_words(error, &monitor).await),
    }
}

/// Does what waits for disks on a thread of its own.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Error::new("a microVM could not be laid out, which is a fault of ours")))
}

/// What every machine starts from.
#[derive(Clone)]
pub(super) struct Guest {
    pub(super) kernel: PathBuf,
    /// Named by what is in it.
    pub(super) initramfs: PathBuf,
}

impl Guest {
    fn prepared(config: &Config, machines: &Path) -> Result<Self, Error> {
        let folder = config.guest.clone().unwrap_or_else(|| prepared_in(machines));
        let prepared = prepared(&folder)?;
        Ok(Self { initramfs: initramfs(&folder, &prepared)?, kernel: folder.join(KERNEL) })
    }
}

/// What one machine has of its own.
struct Laid {
    target: Target,
    image: Image,
    room: Room,
}

impl Laid {
    fn out(profile: &Profile, program: &Program, run: &Path, memory_mb: u32) -> Result<Self, Error> {
        let (mut view, target, absent) = visible::resolve(profile, program)?;
        // It writes nothing to the host, so that nothing has to be covered there.
        view.trees.retain(|tree| !absent.contains(&tree.path));
        let image = Image::of(&view, &policy::Network::of(&profile.network))?;
        let room = Room::new(run, memory_mb)?;
        Ok(Self { target, image, room })
    }
}

/// What a machine cannot give is refused: a program that runs with less than was asked for would fail in ways that nobody understands.
fn can_be_met(profile: &Profile, name: &str) -> Result<(), Error> {
    let refused = |what: &str, hint: &str| Err(Error::new(format!("server {name} cannot run in a microVM: {what}")).with_hint(hint));
    if profile.network == Network::Host {
        return refused("a microVM never has the host's network", "name the hosts that it needs in `network`; `*` is any name");
    }
    if !profile.write.is_empty() {
        return refused(
            "it sees the host's files as they were when it started, and changes none, but `write` names some",
            "use sandbox = \"os\" for it, or name them in `read`",
        );
    }
    Ok(())
}

/// The archive with our init and the drivers, beside what was prepared; named by what is in it, and made where it is missing.
pub(super) fn initramfs(guest: &Path, prepared: &Prepared) -> Result<PathBuf, Error> {
    let init = embedded_init()?;
    let mut archive = ["dev", "proc", "sys", "root", "m"].into_iter().fold(Archive::default(), Archive::folder).program("init", init);
    let mut list = String::new();
    for module in &prepared.modules {
        let file = guest.join(format!("{module}.ko"));
        let bytes = std::fs::read(&file).map_err(|cause| {
            failed(format_args!("{} cannot be read", file.display()), &cause).with_hint("run `sallyport microvm prepare` again")
        })?;
        archive = archive.file(&format!("m/{module}.ko"), &bytes);
        list.push_str(&format!("/m/{module}.ko\n"));
    }
    let archive = archive.file("modules.txt", list.as_bytes()).done();
    let digest = hexadecimal(Sha256::digest(&archive).get(..8).unwrap_or_default());
    let path = guest.join(format!("initramfs-{digest}"));
    if !path.exists() {
        let unfinished = guest.join(format!("initramfs-{digest}.{}", std::process::id()));
        let written = std::fs::write(&unfinished, &archive).and_then(|()| std::fs::rename(&unfinished, &path));
        written.map_err(|cause| failed(format_args!("{} cannot be written", path.display()), &cause))?;
    }
    Ok(path)
}

/// The monitor as the program of a sandbox.
pub(super) fn monitor(vmm: &dyn Vmm, shape: &Shape, room: &Room, name: &str) -> Program {
    let (command, args) = vmm.command(shape);
    let devices = if shape.accelerator == Accelerator::Kvm { vec!["kvm"] } else { Vec::new() };
    Program { args, cwd: Some(room.path().to_path_buf()), devices, ..Program::new(name, command) }
}

/// What the monitor may see and use: the kernel, and the folder of this one machine. The machine's own memory is a file.
pub(super) fn around(shape: &Shape, room: &Room, profile: &Profile) -> Profile {
    let limits = Limits {
        // The machine's own, and the monitor's: its heap, and what it translates to.
        memory_mb: shape.memory_mb.saturating_add(1024),
        processes: 32, // a thread for the processor, some for the disk
        open_files: 256,
        file_mb: shape.memory_mb.saturating_add(1),
        tmp_mb: 1,
        shm_mb: 1,
        ..profile.limits.clone()
    };
    let read = vec![shape.guest.kernel.clone(), shape.guest.initramfs.clone()];
    Profile { read, write: vec![room.path().to_path_buf()], network: Network::None, limits, ..Profile::default() }
}

/// The most usual reason has a cure of its own.
fn without_monitor(error: Error) -> Error {
    if error.to_string().starts_with(&format!("program {PROGRAM} ")) {
        return Error::new(format!("{PROGRAM} is not installed")).with_hint("install it, for example `apt-get install qemu-system-x86`");
    }
    error
}

/// The monitor said why on its stderr, if it could.
async fn told_with_last_words(error: Error, monitor: &Instance<Running>) -> Error {
    // A monitor that has ended is through within milliseconds; any other is killed.
    let _ended = timeout(LAST_WORDS, monitor.wait()).await;
    monitor.kill();
    monitor.wait().await;
    error.with_last_words(&monitor.stderr_tail())
}

/// A machine that has booted.
pub(super) struct Booted {
    control: Control,
    stdio: UnixStream,
    egress: UnixStream,
    memory: std::fs::File,
    /// The release.
    kernel: String,
}

/// Connects with a monitor that was started, and waits for its machine's first word.
pub(super) async fn boot(monitor: &Instance<Running>, room: Room, image: Image) -> Result<Booted, Error> {
    let ended = monitor.wait();
    let booted = async {
        let disk = accept(&room.disk).await?;
        serve_disk(disk, image)?;
        let mut control = Control::new(accept(&room.control).await?);
        let (stdio, egress) = (accept(&room.stdio).await?, accept(&room.egress).await?);
        let kernel = control.booted().await?;
        let memory = room.memory.try_clone().map_err(|cause| failed("the machine's memory cannot be kept", &cause))?;
        Ok(Booted { control, stdio, egress, memory, kernel })
    };
    tokio::select! {
        booted = booted => booted,
        exit = ended => Err(Error::new(format!("the microVM's monitor {exit} before the machine had booted"))),
    }
    // The room is gone here: everything in it is open, and nobody else has to find it.
}

async fn accept(listener: &UnixListener) -> Result<UnixStream, Error> {
    let accepted = timeout(CONNECT_LIMIT, listener.accept()).await;
    let accepted = accepted.map_err(|_| Error::new(format!("the microVM's monitor did not connect within {CONNECT_LIMIT:?}")))?;
    accepted.map(|(stream, _)| stream).map_err(|cause| failed("the microVM's monitor cannot be heard", &cause))
}

/// On a thread of its own: it waits for the host's disks. It ends with the monitor, which holds the other end.
fn serve_disk(stream: UnixStream, image: Image) -> Result<(), Error> {
    let unusable = |cause: std::io::Error| failed("the disk of a microVM cannot be served", &cause);
    let stream = stream.into_std().and_then(|stream| stream.set_nonblocking(false).map(|()| stream)).map_err(unusable)?;
    let serve = move || disk::serve(stream, &image);
    std::thread::Builder::new().name("microvm-disk".to_owned()).spawn(serve).map_err(unusable)?;
    Ok(())
}

impl Booted {
    /// Has the program started; `accelerator` is what is told of it.
    async fn start(
        self,
        host: &Host,
        accelerator: &str,
        monitor: Instance<Running>,
        target: Target,
        profile: &Profile,
        program: &Program,
    ) -> Result<Instance<Running>, Error> {
        let Self { control, stdio, egress, memory, kernel } = self;
        let port = match control.start(&program.name, start_record(target, profile)).await {
            Ok(port) => port,
            Err(error) => return Err(told_with_last_words(error, &monitor).await),
        };
        let mut layers = monitor.in_force().round_a_machine(format!("linux {kernel}, {accelerator}"));
        let wishes = Arc::new(Wishes::new());
        let (stdin, stdout) = stdio::split(stdio, wishes.clone());
        let (tail, end) = (Tail::default(), watch::channel(None));
        if let Some(room) = way_out(host, program, profile) {
            let served = egress.into_std().and_then(|egress| egress::start_carried(egress, room, end.1.clone()));
            served.map_err(|cause| unserved(&program.name, &cause))?;
            layers.in_force(Layer::Network, "only what is allowed, through the gateway");
        }
        let log = Log::new(program.log.clone(), u64::from(profile.limits.stderr_mb) << 20, tail.clone());
        let watched = Watched { taken: stdout.taken(), monitor: monitor.process().clone(), end: end.0 };
        watched.watch(port, monitor.wait(), wishes.clone(), log);
        let ender = monitor.process().clone();
        let meter = Meter::new(profile.limits.output_mb, move || ender.kill());
        let stdout = Counted::new(stdout, Some(meter.clone()));
        let machine = Machine { monitor, wishes, memory, tail, meter };
        Ok(Instance::new(Arc::new(machine), layers, end.1, (Box::new(stdin), Box::new(stdout))))
    }
}

fn start_record(target: Target, profile: &Profile) -> sallyport_guest::Start {
    let Limits { memory_mb, tmp_mb, shm_mb, processes, open_files, file_mb, .. } = profile.limits;
    let env = target.env.iter().map(|(name, value)| (name.clone().into_bytes(), value.expose().as_bytes().to_vec()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    sallyport_guest::Start {
        now: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        path: target.path.as_os_str().as_bytes().to_vec(),
        args: target.args.into_iter().map(String::into_bytes).collect(),
        env: env.collect(),
        cwd: target.cwd.as_os_str().as_bytes().to_vec(),
        tmp_mb,
        shm_mb,
        processes,
        open_files,
        file_mb,
        memory_mb,
        way_out: taken_inside(&profile.network),
    }
}

/// What the guest has to take for the program's connections to come here.
fn taken_inside(network: &Network) -> Option<sallyport_guest::WayOut> {
    let policy::Network::Only(policy::WayOut { ports, blocks }) = policy::Network::of(network) else { return None };
    let blocks = synthetic::BLOCKS.into_iter().chain(blocks).map(|block| (block.address(), block.prefix())).collect();
    Some(sallyport_guest::WayOut { names: synthetic::GATEWAY, ports, blocks })
}

/// Hears how a program ends, and ends its machine then.
struct Watched {
    taken: Arc<AtomicU64>,
    monitor: Arc<dyn crate::instance::Process>,
    end: watch::Sender<Option<Exit>>,
}

impl Watched {
    fn watch(self, port: UnixStream, ended: impl Future<Output = Exit> + Send + 'static, wishes: Arc<Wishes>, log: Log) {
        let (read, write) = port.into_split();
        let (errors, kept) = tokio::io::duplex(STDERR_BUFFER);
        let drain = tokio::spawn(stderr_log::drain(kept, log));
        let say = tokio::spawn(async move { wishes.say(write).await });
        tokio::spawn(async move {
            let told = self.hear(read, errors).await;
            self.monitor.kill();
            let of_monitor = ended.await;
            say.abort();
            // At its end by now: nobody writes any more.
            let _done = drain.await;
            self.end.send_replace(Some(told.unwrap_or(of_monitor)));
        });
    }

    /// The program's end, once its last words were taken; `None` where the machine ended first.
    async fn hear(&self, port: tokio::net::unix::OwnedReadHalf, errors: DuplexStream) -> Option<Exit> {
        match hear_the_end(port, errors).await {
            Ok(Ended { status, written }) => {
                let taken = async {
                    while self.taken.load(Ordering::SeqCst) < written {
                        sleep(LOOK_AGAIN).await;
                    }
                };
                let _the_rest_is_lost = timeout(LAST_WORDS, taken).await;
                Some(if status < 0 { Exit::Signal(status.saturating_neg()) } else { Exit::Code(status) })
            }
            Err(error) => {
                if error.kind() != std::io::ErrorKind::UnexpectedEof {
                    tracing::warn!(%error, "a microVM is ended");
                }
                None
            }
        }
    }
}
