//! What a guest can reach, and what it is told: folders, variables, arguments, stdio. Nothing else is there.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Result, Store};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::memory::{Budget, Share};
use crate::error::Error;
use crate::layer::{Layer, Layers};
use crate::output::{Count, Meter};
use crate::profile::{EnvText, Network, Profile, Program};
use crate::stderr_log::{Log, Tail};
use crate::visible;

/// What one call between guest and engine may carry, in bytes of our own memory (a byte of a list takes some thirty).
const CARRIED_BYTES: usize = 64 * 1024 * 1024;

/// Open files, streams and the like.
const MOST_RESOURCES: usize = 4096;

/// Random bytes at once; a guest that needs more asks again.
const RANDOM_BYTES: u64 = 1024 * 1024;

/// The surroundings of all guests of one server.
#[derive(Clone)]
pub(super) struct Room {
    folders: Vec<Folder>,
    env: Vec<(String, EnvText)>,
    args: Vec<String>,
    budget: Budget,
    output_mb: u32,
    stderr: Stderr,
}

impl Room {
    /// What `profile` allows.
    ///
    /// # Errors
    /// What this back-end cannot keep to is refused: a network, single files, and a folder to read inside one to write.
    pub(super) fn new(profile: &Profile, program: &Program) -> std::result::Result<Self, Error> {
        if profile.network != Network::None {
            return Err(Error::new(format!("server {} names a network, which sandbox wasm does not give", program.name))
                .with_hint("take `network` out, or run a native form of the server in sandbox os"));
        }
        keeps_to_lists(profile, &program.name)?;
        let tail = Tail::default();
        let log = Log::new(program.log.clone(), u64::from(profile.limits.stderr_mb) << 20, tail.clone());
        let args = [vec![program.command.clone()], program.args.clone()].concat();
        Ok(Self {
            folders: folders(profile)?,
            env: program.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            args,
            budget: Budget::new(usize::try_from(profile.limits.memory_mb).unwrap_or(usize::MAX).saturating_mul(1024 * 1024)),
            output_mb: profile.limits.output_mb,
            stderr: Stderr { log: Arc::new(Mutex::new(log)), tail, meter: None },
        })
    }

    /// The layers that this back-end has.
    pub(super) fn layers(&self) -> Layers {
        let mut layers = Layers::new("wasm");
        layers.in_force(Layer::Lifetime, "in the gateway's own process");
        layers.in_force(Layer::Network, "no network");
        layers.in_force(Layer::Root, "only the folders that are named");
        layers.in_force(Layer::Limits, "memory of all calls together; time by interruption");
        layers
    }

    /// What is the same for each guest; stdout and stderr both go to the log.
    pub(super) fn context(&self) -> Result<WasiCtxBuilder> {
        let mut context = WasiCtxBuilder::new();
        context.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        context.args(&self.args).stdout(self.stderr.clone()).stderr(self.stderr.clone()).max_random_size(RANDOM_BYTES);
        for (name, value) in &self.env {
            context.env(name, value.expose());
        }
        for Folder { path, opened, access } in &self.folders {
            // The one that was looked at, whatever lies at its path by now.
            context.preopened_dir(format!("/proc/self/fd/{}", opened.as_raw_fd()), path.to_string_lossy(), *access)?;
        }
        Ok(context)
    }

    /// A store for one guest, with all bounds.
    pub(super) fn store<W: Send>(&self, engine: &Engine, wasi: W) -> Store<Guest<W>> {
        let mut store = Store::new(engine, Guest { wasi, share: self.budget.share() });
        store.limiter(|guest| &mut guest.share);
        store.set_hostcall_fuel(CARRIED_BYTES);
        store.set_max_component_handles(MOST_RESOURCES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }

    pub(super) fn output_mb(&self) -> u32 {
        self.output_mb
    }

    /// From now on `meter` hears of all that guests write to the log.
    pub(super) fn count_by(&mut self, meter: Arc<Meter>) {
        self.stderr.meter = Some(meter);
    }

    pub(super) fn tail(&self) -> Tail {
        self.stderr.tail.clone()
    }

    /// Writes what happened to the guest where its own words are.
    pub(super) fn note(&self, line: &str) {
        self.stderr.write(format!("{line}\n").as_bytes());
    }
}

/// WASI gives a folder as a whole: no part of one can be kept from being read, or of one to write from being written.
fn keeps_to_lists(profile: &Profile, name: &str) -> std::result::Result<(), Error> {
    if let Some(hidden) = visible::first_hidden(profile) {
        return Err(Error::new(format!("server {name} may not read {}, which sandbox wasm cannot keep it from", hidden.display()))
            .with_hint("name folders in `read` and `write` that hold neither secrets nor Sallyport's own folders"));
    }
    if profile.write.is_empty() || profile.deny_write.is_empty() {
        return Ok(());
    }
    Err(Error::new(format!("server {name} may not write all of a folder (`deny_write`), which sandbox wasm cannot keep it from"))
        .with_hint("give it a folder from which nothing is run later, and `deny_write = [\"!*\"]`"))
}

/// A folder of the profile, held open.
#[derive(Clone)]
struct Folder {
    path: PathBuf,
    opened: Arc<OwnedFd>,
    access: FsPerms,
}

/// The folders of the profile, those to write last.
fn folders(profile: &Profile) -> std::result::Result<Vec<Folder>, Error> {
    let named = |paths: &[PathBuf], access: FsPerms| paths.iter().map(|path| (path.clone(), access)).collect::<Vec<_>>();
    let all = [named(&profile.read, FsPerms::ReadOnly), named(&profile.write, FsPerms::ReadWrite)].concat();
    let folders = all.into_iter().map(|(path, access)| open(&path, access)).collect::<std::result::Result<Vec<_>, _>>()?;
    let inside = |inner: &&Folder| {
        let within = |outer: &Folder| matches!(outer.access, FsPerms::ReadWrite) && inner.path.starts_with(&outer.path);
        matches!(inner.access, FsPerms::ReadOnly) && folders.iter().any(within)
    };
    if let Some(Folder { path, .. }) = folders.iter().find(inside) {
        return Err(Error::new(format!("root {} to read lies in one to write, where sandbox wasm cannot keep it", path.display()))
            .with_hint("name folders to write that do not contain it"));
    }
    Ok(folders)
}

fn open(named: &Path, access: FsPerms) -> std::result::Result<Folder, Error> {
    let unseen = |cause: io::Error| Error::io(format_args!("root {} cannot be shown", named.display()), &cause);
    let path = named.canonicalize().map_err(unseen)?;
    if !visible::may_be_shown(&path) {
        return Err(Error::new(format!("root {} must not be shown to a program", named.display())).with_hint("name folders below it"));
    }
    if !path.is_dir() {
        return Err(Error::new(format!("root {} is a file, and sandbox wasm shows folders alone", named.display()))
            .with_hint("name the folder that it is in"));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // A link on the way was put there since.
    let opened = openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).map_err(|errno| unseen(errno.into()))?;
    Ok(Folder { path, opened: Arc::new(opened), access })
}

/// What one guest has.
pub(super) struct Guest<W> {
    pub(super) wasi: W,
    pub(super) share: Share,
}

/// WASI's state as components use it.
pub(super) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
}

impl Wasi {
    pub(super) fn new(context: WasiCtx) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MOST_RESOURCES);
        Self { context, table }
    }
}

impl WasiView for Guest<Wasi> {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi.context, table: &mut self.wasi.table }
    }
}

/// Where guests' words go.
#[derive(Clone)]
struct Stderr {
    log: Arc<Mutex<Log>>,
    tail: Tail,
    meter: Option<Arc<Meter>>,
}

impl Stderr {
    fn write(&self, bytes: &[u8]) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).write(bytes);
    }
}

impl IsTerminal for Stderr {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stderr {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Stderr {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(meter) = &self.meter {
            meter.wrote(bytes.len());
        }
        self.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
