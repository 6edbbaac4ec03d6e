//! The way from a profile to a program that runs in a machine.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sallyport_guest::Met;
use sha2::{Digest, Sha256};
use tokio::io::DuplexStream;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::control::{Ended, Wishes, hear_the_end, now};
use super::image::{Image, Lower};
use super::initramfs::Archive;
use super::pool::Order;
use super::prepare::{KERNEL, Prepared, failed, hexadecimal, prepared};
use super::process::Machine;
use super::ready::{Ready, apart, ready, told_with_last_words};
use super::vmm::Shape;
use super::{accelerator, embedded_init, folders, pool, prepared_in, stdio};
use crate::backend::Host;
use crate::backends::microvm::Config;
use crate::egress::{self, synthetic};
use crate::error::Error;
use crate::exceeded::Exceeded;
use crate::instance::{Exit, Instance, Running};
use crate::launch::{unserved, way_out};
use crate::layer::Layer;
use crate::oci::Unpacked;
use crate::output::{Counted, Meter};
use crate::policy::{self, Target};
use crate::profile::{Limits, Network, Profile, Program};
use crate::stderr_log::{self, Log, Tail};
use crate::visible;

/// What the program wrote last is on its way when its end is told; the rest is not waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Between the control port and whoever keeps stderr.
const STDERR_BUFFER: usize = 64 * 1024;

/// Starts `program` in a machine of its own, with what `profile` shows.
pub(crate) async fn launch(host: &Host, config: &Config, profile: &Profile, program: &Program) -> Result<Instance<Running>, Error> {
    if profile.network == Network::Host {
        return Err(Error::new(format!("server {} cannot run in a microVM: it never has the host's network", program.name))
            .with_hint("name the hosts that it needs in `network`; `*` is any name"));
    }
    let order = Order { host: host.clone(), config: config.clone(), profile: profile.clone(), program: program.clone() };
    if config.pool == 0 { start(&order).await } else { pool::launch(order).await }
}

/// The same, whatever waits.
pub(super) async fn start(order: &Order) -> Result<Instance<Running>, Error> {
    let Order { host, config, profile, program } = order;
    let (wanted, place) = (config.clone(), host.machines()?);
    let folders = folders::of(profile, &program.name, &place)?;
    let needs_drivers = !folders.is_empty();
    let guest = apart(move || Guest::prepared(&wanted, &place, needs_drivers)).await?;
    let (accelerator, told) = accelerator::choose(host, config.accel, &guest).await?;
    let shape = Shape { guest, memory_mb: config.memory_mb, accelerator, folders: folders.clone() };
    let wanted = order.clone();
    // The machine waits for its disk only when it reads from it.
    let laid = apart(move || Laid::out(&wanted, folders));
    let (laid, ready) = tokio::try_join!(laid, ready(host, &shape, profile, program))?;
    ready.start(host, &told, laid, profile, program).await
}

/// What every machine starts from.
#[derive(Clone)]
pub(super) struct Guest {
    pub(super) kernel: PathBuf,
    /// Named by what is in it.
    pub(super) initramfs: PathBuf,
}

impl Guest {
    pub(super) fn prepared(config: &Config, machines: &Path, writes: bool) -> Result<Self, Error> {
        let folder = config.guest.clone().unwrap_or_else(|| prepared_in(machines));
        let prepared = prepared(&folder)?;
        if writes && !prepared.writes {
            return Err(Error::new(format!(
                "the prepared kernel {} cannot write to folders of this machine: it has no 9p",
                prepared.kernel
            ))
            .with_hint("run `sallyport microvm prepare` again, or take the server's folders out of `write`"));
        }
        // The monitor finds it only at the path that it is shown at.
        let folder = folder.canonicalize().map_err(|cause| failed(format_args!("{} cannot be read", folder.display()), &cause))?;
        Ok(Self { initramfs: initramfs(&folder, &prepared)?, kernel: folder.join(KERNEL) })
    }
}

/// What one program has of its own.
struct Laid {
    target: Target,
    image: Image,
    /// Not on it: the monitor serves them.
    folders: Vec<PathBuf>,
    /// Where the root is unpacked, if it is a container image.
    root: Option<PathBuf>,
    /// What all of it has to fit into.
    memory_mb: u32,
}

impl Laid {
    fn out(order: &Order, folders: Vec<PathBuf>) -> Result<Self, Error> {
        let Order { config, profile, program, .. } = order;
        let of_image = |error: Error| error.within(&format!("image of server {}", program.name));
        let unpacked = unpacked(config).map_err(of_image)?;
        // What is not there and must not come to be is covered where the folders are served.
        let (mut view, target, _covered_for_the_monitor) = match &unpacked {
            None => {
                let (view, target, absent) = visible::resolve(profile, program)?;
                visible::check_interpreter(program, &view, &target)?;
                (view, target, absent)
            }
            Some(image) => {
                let (view, absent) = visible::named(profile)?;
                (view, image.target(profile, program).map_err(of_image)?, absent)
            }
        };
        folders::leave_out(&mut view, &folders);
        let root = unpacked.map(|image| image.root);
        let lower = root.as_deref().map(|root| Lower { root, start: &target.cwd });
        let image = Image::of(&view, lower, &policy::Network::of(&profile.network))?;
        Ok(Self { target, image, folders, root, memory_mb: config.memory_mb })
    }
}

/// The container image that is the machine's root, if one is.
fn unpacked(config: &Config) -> Result<Option<Unpacked>, Error> {
    match &config.image {
        None => Ok(None),
        Some(tree) if config.is_installed => Unpacked::installed(tree).map(Some),
        Some(image) => Unpacked::from_disk(image, config.digest.as_deref()).map(Some),
    }
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

impl Ready {
    /// Has the program started; `accelerator` is what is told of it.
    async fn start(
        self,
        host: &Host,
        accelerator: &str,
        laid: Laid,
        profile: &Profile,
        program: &Program,
    ) -> Result<Instance<Running>, Error> {
        let (Laid { target, image, folders, root, memory_mb }, Self { monitor, control, stdio, egress, disk, memory, kernel, is_clone }) =
            (laid, self);
        // If the monitor has ended, nobody reads it.
        let _unread = disk.send(image);
        let port = match control.start(&program.name, start_record(target, profile, &folders)).await {
            Ok(port) => port,
            Err(error) => return Err(told_with_last_words(error, &monitor).await),
        };
        let copied = if is_clone { ", copied" } else { "" };
        let root = root.map_or_else(String::new, |root| format!(", root {}", root.display()));
        let mut layers = monitor.in_force().round_a_machine(format!("linux {kernel}{copied}, {accelerator}{root}"));
        let wishes = Arc::new(Wishes::new());
        let (stdin, stdout) = stdio::split(stdio, wishes.clone());
        let (tail, end) = (Tail::default(), watch::channel(None));
        if let Some(room) = way_out(host, program, profile) {
            let served = egress.into_std().and_then(|egress| egress::start_carried(egress, room, end.1.clone()));
            served.map_err(|cause| unserved(&program.name, &cause))?;
            layers.in_force(Layer::Network, "only what is allowed, through the gateway");
        }
        let log = Log::new(program.log.clone(), u64::from(profile.limits.stderr_mb) << 20, tail.clone());
        let ender = monitor.process().clone();
        let meter = Meter::new(profile.limits.output_mb, move || ender.kill());
        let bounds = Bounds { limits: profile.limits.clone(), memory_mb, exceeded: Arc::default() };
        let exceeded = bounds.exceeded.clone();
        let watched = Watched { taken: stdout.taken(), monitor: monitor.process().clone(), end: end.0, meter: meter.clone(), bounds };
        watched.watch(port, monitor.wait(), wishes.clone(), log);
        let stdout = Counted::new(stdout, Some(meter.clone()));
        let machine = Machine { monitor, wishes, memory, tail, meter, exceeded };
        Ok(Instance::new(Arc::new(machine), layers, end.1, (Box::new(stdin), Box::new(stdout))))
    }
}

fn start_record(target: Target, profile: &Profile, folders: &[PathBuf]) -> sallyport_guest::Start {
    let Limits { memory_mb, tmp_mb, shm_mb, tmp_files, processes, open_files, file_mb, .. } = profile.limits;
    let env = target.env.iter().map(|(name, value)| (name.clone().into_bytes(), value.expose().as_bytes().to_vec()));
    sallyport_guest::Start {
        now: now(),
        path: target.path.as_os_str().as_bytes().to_vec(),
        args: target.args.into_iter().map(String::into_bytes).collect(),
        env: env.collect(),
        cwd: target.cwd.as_os_str().as_bytes().to_vec(),
        tmp_mb,
        shm_mb,
        tmp_files,
        processes,
        open_files,
        file_mb,
        memory_mb,
        write: folders.iter().map(|folder| folder.as_os_str().as_bytes().to_vec()).collect(),
        exec_in_write: profile.exec_in_write,
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
    meter: Arc<Meter>,
    bounds: Bounds,
}

/// What a program in a machine is held to, and what it went beyond.
struct Bounds {
    limits: Limits,
    memory_mb: u32,
    exceeded: Arc<OnceLock<Exceeded>>,
}

impl Bounds {
    /// Takes note of what a guest says at the end: a hint for messages.
    fn judge(&self, exit: Exit, met: Option<Met>) {
        if let Some(exceeded) = Exceeded::at_the_end(exit, met, &self.limits, Some(self.memory_mb)) {
            let _first = self.exceeded.set(exceeded);
        }
    }
}

impl Watched {
    fn watch(self, port: UnixStream, ended: impl Future<Output = Exit> + Send + 'static, wishes: Arc<Wishes>, log: Log) {
        let (read, write) = port.into_split();
        let (errors, kept) = tokio::io::duplex(STDERR_BUFFER);
        let drain = tokio::spawn(stderr_log::drain(Counted::new(kept, Some(self.meter.clone())), log));
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
            Ok(Ended { status, written, met }) => {
                let taken = async {
                    while self.taken.load(Ordering::SeqCst) < written {
                        sleep(LOOK_AGAIN).await;
                    }
                };
                let _the_rest_is_lost = timeout(LAST_WORDS, taken).await;
                let exit = if status < 0 { Exit::Signal(status.saturating_neg()) } else { Exit::Code(status) };
                self.bounds.judge(exit, met);
                Some(exit)
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
