//! A server that is a program: launched inside its boundary, spoken to over its stdin and stdout.

use std::sync::Arc;
use std::time::Duration;

use sallyport_identity::upstream::Owner;
use sallyport_protocol::{BoxFuture, Failure, FailureKind, McpServer, Retry, Revision};
use sallyport_sandbox::install::{Installed, Installer, Locked};
use sallyport_sandbox::{Backend, EnvText, Exceeded, Exit, Instance, Network, Profile, Program, Running, Selection};
use sallyport_telemetry::ServerMetrics;
use sallyport_telemetry::state_folder::private_folder;
use sallyport_transport::client::{Connection, Options};
use tokio::time::timeout;

use super::values::filled_in;
use super::{options, own_rules, refused, trial};
use crate::packages::{self, LockFile};
use crate::plan::{ServerPlan, Standby, StdioPlan};
use crate::upstream::health::Outage;
use crate::upstream::reach::{Doing, Hold, Look, Reach, Reached};
use crate::upstream::standby::Sleeper;
use crate::upstream::{Person, Surroundings};

/// How long after its pipe closed a child's end is waited for: the kernel needs milliseconds.
const END_WITHIN: Duration = Duration::from_millis(150);

const MIB: usize = 1024 * 1024;

/// A program that runs, and what it was launched as.
#[derive(Debug)]
pub struct Launched {
    /// The program in its sandbox; nobody speaks to it.
    pub instance: Instance<Running>,
    /// What it may see and use.
    pub profile: Profile,
    /// What was launched: the installed program where the configuration names one that installs itself.
    pub program: Program,
    /// Where it was installed: it stays there for as long as this is held.
    pub installed: Option<Installed>,
    /// What was installed, by its key in the store.
    pub package: Option<String>,
}

/// The way to a program.
pub(super) struct ToChild {
    name: String,
    /// The same, as commands take it.
    in_commands: String,
    /// For whom it works, as [`Program::scope`] has it.
    scope: String,
    plan: StdioPlan,
    connect: Duration,
    options: Options,
    metrics: ServerMetrics,
    surroundings: Arc<Surroundings>,
    /// What its package is, whatever is locked.
    exactly: Option<Locked>,
    /// Whether a share of the callers gets that version.
    is_canary: bool,
}

impl ToChild {
    pub(super) fn new(plan: &ServerPlan, stdio: StdioPlan, surroundings: Arc<Surroundings>) -> Self {
        Self {
            name: plan.name.clone(),
            in_commands: plan.in_commands(),
            scope: surroundings.host.scope().to_owned(),
            connect: plan.timeouts.connect,
            options: Options { line_limit: stdio.limits.line_mb as usize * MIB, ..options(plan, &surroundings) },
            plan: stdio,
            metrics: surroundings.metrics.server(&plan.name),
            surroundings,
            exactly: None,
            is_canary: false,
        }
    }

    /// The same, for one principal alone.
    pub(super) fn of_person(self, person: &Person) -> Self {
        let Owner { tenant, principal } = &person.owner;
        Self { scope: format!("{tenant}\n{principal}"), ..self }
    }

    /// The same with another version of its package, which does not become the locked one.
    pub(super) fn exactly(self, locked: Locked) -> Self {
        Self { exactly: Some(locked), ..self }
    }

    /// The same with the version that a share of the callers gets.
    pub(super) fn canary(self, locked: Locked) -> Self {
        let metrics = self.surroundings.metrics.version(&self.name, &locked.version);
        Self { metrics, is_canary: true, ..self.exactly(locked) }
    }

    /// Launches the program and shakes hands with it. A server that ends when it is probed is started once more without a probe.
    async fn start(&self, known: Option<Revision>, doing: Doing<'_>) -> Result<Reached, Outage> {
        match self.start_once(known, doing).await {
            Err(Start::Failed(outage)) => Err(outage),
            Err(Start::EndedByProbe) => {
                tracing::debug!(server = self.name, "ended when it was probed; started again without");
                self.start_once(Some(Revision::LATEST_LEGACY), doing).await.map_err(|failed| match failed {
                    Start::Failed(outage) => outage,
                    Start::EndedByProbe => Outage::new("it ends when it is spoken to"),
                })
            }
            Ok(reached) => Ok(reached),
        }
    }

    async fn start_once(&self, known: Option<Revision>, doing: Doing<'_>) -> Result<Reached, Start> {
        doing("starting".into());
        let Launched { instance, installed, package, .. } = self.launch_as(doing).await?;
        let (stdin, stdout) = instance.take_io().ok_or_else(|| Outage::new("its stdin and stdout were taken, which is a fault of ours"))?;
        doing("connecting".into());
        let options = Options { known, ..self.options.clone() };
        match Connection::over_stdio(stdout, stdin, options).await {
            Ok(connection) => {
                let sleeper = Sleeper::new(&self.name, connection.clone(), instance, self.metrics.clone());
                let may_sleep = self.plan.standby != Standby::default();
                let server: Arc<dyn McpServer> = if may_sleep { sleeper.clone() } else { connection.clone() };
                let child = Child { name: self.name.clone(), connection, sleeper, may_sleep, package, _installed: installed };
                Ok(Reached { server, hold: Box::new(child), reconnects: false })
            }
            Err(failure) if matches!(failure.kind, FailureKind::UnsupportedVersion(_)) && failure.retry == Retry::Safe => {
                Err(Start::EndedByProbe)
            }
            Err(failure) => Err(self.why_not(&failure, &instance, installed.and_then(|installed| installed.hint())).await.into()),
        }
    }

    /// The running program, with what it was launched as.
    pub(super) async fn launch_as(&self, doing: Doing<'_>) -> Result<Launched, Outage> {
        let build = |selection: &Selection| selection.build(&self.surroundings.host).map_err(|error| refused(&error));
        let mut backend = build(&self.plan.sandbox)?;
        let (mut profile, mut program) = (self.profile()?, self.program()?);
        let installing = build(&self.plan.sandbox.for_installing())?;
        let (installed, package) = self.install(&*installing, &mut profile, &mut program, doing).await?.unzip();
        if let Some(image) = installed.as_ref().filter(|installed| installed.is_image) {
            let selection = self.plan.sandbox.for_image(Some(&image.tree));
            backend = build(&selection.ok_or_else(|| Outage::new("its sandbox runs no image of a registry"))?)?;
        }
        let instance = timeout(self.connect, backend.launch(&profile, &program)).await;
        let late = |_| Outage::new(format!("its sandbox was not there within {:?}", self.connect));
        let instance = instance.map_err(late)?.map_err(|error| refused(&error))?;
        tracing::info!(server = self.name, pid = instance.pid(), boundary = %instance.in_force(), "launched");
        if self.plan.sandbox.is_none() {
            tracing::warn!(server = self.name, "runs without a boundary, as `sandbox = \"none\"` says");
        } else if profile.network == Network::Host {
            tracing::warn!(server = self.name, "may use the whole network of this machine, as `network` says");
        }
        Ok(Launched { instance, profile, program, installed, package })
    }

    /// Puts an installed program in the place of a command that would download one each time it is started (`npx`, `uvx`, …). Gives what
    /// was installed, and its key.
    async fn install(
        &self,
        backend: &dyn Backend,
        profile: &mut Profile,
        program: &mut Program,
        doing: Doing<'_>,
    ) -> Result<Option<(Installed, String)>, Outage> {
        let package = packages::package(&program.command, &program.args, self.plan.scripts).map_err(trial::not_installed)?;
        let Some(package) = package else { return Ok(None) };
        trial::check_boundary(&package, &self.plan, &self.surroundings)?;
        let path = program.env.get("PATH").map(|path| path.expose().to_owned());
        let installer = Installer {
            backend,
            packages: &self.surroundings.folders.packages_folder(),
            path: path.as_deref(),
            progress: &|now: &str| doing(now.to_owned().into()),
        };
        let locked = self.locked().await?;
        let (installed, now) = installer.install(&package, locked.as_ref()).await.map_err(trial::not_installed)?;
        let key = now.key();
        if locked.as_ref() != Some(&now) && (self.exactly.is_none() || self.is_canary) {
            self.lock(locked.as_ref(), now).await;
        }
        doing("starting".into());
        installed.take_over(program, profile);
        Ok(Some((installed, key)))
    }

    /// What its package is to be, if that is known.
    async fn locked(&self) -> Result<Option<Locked>, Outage> {
        match (&self.exactly, self.plan.lock.clone()) {
            (Some(exactly), _) => Ok(Some(exactly.clone())),
            (None, Some(path)) => {
                let drafts = self.surroundings.folders.lock_drafts_folder();
                let lock = apart(move || LockFile::open(&path, &drafts)).await?;
                let lock = lock.map_err(|error| Outage { hint: Some(error.hint().into()), ..Outage::new(error.to_string()) })?;
                Ok(lock.entry(&self.name).map(|entry| entry.locked.clone()))
            }
            (None, None) => Ok(None),
        }
    }

    /// Notes what its package came to, where it was locked as `read` says. Where that cannot be written, the private cache remembers it.
    async fn lock(&self, read: Option<&Locked>, installed: Locked) {
        let Some(path) = self.plan.lock.clone() else { return };
        let drafts = self.surroundings.folders.lock_drafts_folder();
        let (name, is_canary, read) = (self.name.clone(), self.is_canary, read.cloned());
        let note = move |lock: &mut LockFile| match is_canary {
            true => lock.note_canary(&name, installed),
            false => lock.note(&name, read.as_ref(), installed),
        };
        if let Ok(Err(error)) = apart(move || LockFile::change(&path, &drafts, note)).await {
            tracing::warn!(server = self.name, "its package is not locked: {error}");
        }
    }

    fn profile(&self) -> Result<Profile, Outage> {
        let read = self.plan.read.iter().cloned().chain(own_rules::to_keep(&self.plan)?).collect();
        let StdioPlan { write, mut deny_write, network, limits, seccomp, .. } = self.plan.clone();
        deny_write.extend(own_rules::folders_to_keep(&self.plan, &self.surroundings.folders)?);
        let hidden = own_rules::to_hide(&self.plan, &self.surroundings.folders)?;
        Ok(Profile { read, write, deny_write, hidden, network, limits, seccomp, ..Profile::default() })
    }

    fn program(&self) -> Result<Program, Outage> {
        let mut program = Program::new(&self.name, &self.plan.program);
        program.scope.clone_from(&self.scope);
        program.args = self.plan.arguments.iter().map(filled_in).collect::<Result<_, _>>()?;
        for (name, value) in &self.plan.environment {
            program.env.insert(name.clone(), EnvText::from(filled_in(value)?));
        }
        program.cwd.clone_from(&self.plan.folder);
        let log = self.surroundings.folders.server_log(&self.name);
        if let Some(folder) = log.parent() {
            private_folder(folder).map_err(|error| Outage { hint: Some(error.hint()), ..Outage::new(error.to_string()) })?;
        }
        program.log = Some(log);
        Ok(program)
    }

    /// Why a version did not start that not all callers get: they do not fall back to the other, so somebody has to decide for them.
    fn of_version(&self, outage: Outage) -> Outage {
        let Some(locked) = self.exactly.as_ref().filter(|_| self.is_canary) else { return outage };
        let hint = format!("`sallyport rollback {}` goes back to the version before", self.in_commands);
        Outage { why: format!("version {}: {}", locked.version, outage.why), hint: Some(hint), ..outage }
    }

    /// Why no connection came about: the program's end tells more than the connection's.
    async fn why_not(&self, failure: &Failure, instance: &Instance<Running>, missing: Option<String>) -> Outage {
        let exit = timeout(END_WITHIN, instance.wait()).await.ok();
        instance.stop(Duration::ZERO).await;
        let mut outage = match exit {
            Some(exit) => match instance.exceeded() {
                Some(exceeded) => of_limit(&self.name, exceeded, exit),
                None => Outage { hint: missing, ..Outage::new(format!("it {exit} before it was ready")) },
            },
            None => Outage::of_failure(&self.name, failure),
        };
        outage.last_words = instance.stderr_tail();
        outage.hint.get_or_insert_with(|| format!("`sallyport logs {}` shows what it wrote", self.in_commands));
        outage
    }
}

impl Reach for ToChild {
    fn reach<'a>(&'a self, known: Option<Revision>, doing: Doing<'a>) -> BoxFuture<'a, Result<Reached, Outage>> {
        Box::pin(async move { self.start(known, doing).await.map_err(|outage| self.of_version(outage)) })
    }
}

/// What waits for a disk, or for others that hold a lock: on a thread that carries no calls.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Outage> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Outage::new("looking at its lock failed, which is a fault of ours"))
}

/// The end of a program that went beyond one of its limits.
fn of_limit(server: &str, exceeded: Exceeded, exit: Exit) -> Outage {
    Outage {
        hint: Some(format!("`servers.{server}.{}` sets the limit", exceeded.setting())),
        limit: Some(exceeded.key()),
        ..Outage::new(format!("it {}", exceeded.explain(exit)))
    }
}

/// Why a start led to nothing.
enum Start {
    /// It ended when it was probed: some legacy servers do.
    EndedByProbe,
    Failed(Outage),
}

impl From<Outage> for Start {
    fn from(outage: Outage) -> Self {
        Self::Failed(outage)
    }
}

/// A program, asleep or not, and the connection to it.
struct Child {
    name: String,
    connection: Arc<Connection>,
    sleeper: Arc<Sleeper>,
    may_sleep: bool,
    package: Option<String>,
    /// Keeps it from being removed while it may run.
    _installed: Option<Installed>,
}

impl Child {
    fn with_last_words(&self, outage: Outage) -> Outage {
        Outage { last_words: self.sleeper.stderr_tail(), ..outage }
    }

    fn of_exit(&self, exit: Exit) -> Outage {
        self.with_last_words(match self.sleeper.exceeded() {
            Some(exceeded) => of_limit(&self.name, exceeded, exit),
            None => Outage::new(format!("it {exit}")),
        })
    }
}

impl Hold for Child {
    fn ended(&self) -> BoxFuture<'_, Outage> {
        Box::pin(async {
            let closed = tokio::select! {
                biased;
                exit = self.sleeper.exit() => return self.of_exit(exit),
                closed = self.connection.closed() => closed,
            };
            match timeout(END_WITHIN, self.sleeper.exit()).await {
                Ok(exit) => self.of_exit(exit),
                Err(_) => self.with_last_words(Outage::new(format!("its connection ended: {}", closed.why))),
            }
        })
    }

    fn sleeper(&self) -> Option<Arc<Sleeper>> {
        self.may_sleep.then(|| self.sleeper.clone())
    }

    fn look(&self) -> Option<Look> {
        self.sleeper.look()
    }

    fn package(&self) -> Option<String> {
        self.package.clone()
    }

    fn close(&self, grace: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Some(instance) = self.sleeper.take() else { return };
            self.connection.close().await;
            let exit = instance.stop(grace).await;
            tracing::debug!(%exit, "child ended");
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.sleeper.take()); // calls that still hold the connection must not hold the program
    }
}
