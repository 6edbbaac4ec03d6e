//! The launcher with no gateway round it: `sallyport-launcher [OPTION VALUE]… -- COMMAND [ARGUMENT]…` runs one program in
//! a boundary, its stdio passed through. For the tests and for trying a profile by hand; it is not shipped.
//!
//! Options: `--read PATH`, `--write PATH`, `--hidden PATH`, `--deny-write ENTRY`, `--network none|host|DESTINATION` (again for each further
//! destination), `--resolve NAME=ADDRESS[,ADDRESS]` (instead of asking the resolver), `--connections FILE` (a line for each connection and refused name),
//! `--sandbox NAME` (or a JSON table), `--min-isolation none|landlock|os`, `--seccomp +GROUP|-GROUP`, `--env NAME=VALUE`,
//! `--cwd PATH`, `--log FILE`, `--processes N`, `--memory MB`, `--output MB`, `--cpus N`, `--most-connections N`,
//! `--network-mb MB`, `--layers FILE` (writes what holds there, as JSON), `--learn FILE` (a trial: writes
//! what it brought to light there, a line each), `--packages FOLDER` (a command that would install a
//! package is installed there first), `--scripts true` (of packages may run), `--locked FILE` (what to install exactly; written where it is
//! not there).
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sallyport_sandbox::alone;
use sallyport_sandbox::egress::{Allowed, Connection, Destination, Name, Observe, Resolve, Surroundings};
use sallyport_sandbox::install::{self, Installer, recognise};
use sallyport_sandbox::learn;
use sallyport_sandbox::{Backend, EnvText, Host, Isolation, Network, Profile, Program, Selection, SystemCalls, enter_if_asked};

/// The program was not started.
const NOT_STARTED: u8 = 125;

/// That its connections have ended is noticed a moment after the program's own end.
const LAST_LINES: Duration = Duration::from_millis(300);

#[derive(Default)]
struct Trial {
    profile: Profile,
    program: Option<Program>,
    selection: Selection,
    floor: Isolation,
    layers: Option<PathBuf>,
    packages: Option<PathBuf>,
    learn: Option<PathBuf>,
    scripts: bool,
    locked: Option<PathBuf>,
    destinations: Vec<Destination>,
    names: Names,
    connections: Option<File>,
}

fn main() -> ExitCode {
    enter_if_asked();
    match start() {
        Ok(exit) => ExitCode::from(exit),
        Err(error) => {
            say(&format!("error: {error}"));
            let not_installed = error.downcast_ref::<install::Error>();
            not_installed.iter().flat_map(|error| error.last_words()).for_each(|line| say(line));
            let hint = error.downcast_ref::<sallyport_sandbox::Error>().and_then(|error| error.hint());
            if let Some(hint) = hint.or_else(|| not_installed.and_then(|error| error.hint())) {
                say(&format!("hint: {hint}"));
            }
            ExitCode::from(NOT_STARTED)
        }
    }
}

fn start() -> Result<u8, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exit = runtime.block_on(run());
    // tokio reads stdin in a thread that nothing can interrupt: do not wait for it
    runtime.shutdown_background();
    exit
}

async fn run() -> Result<u8, Box<dyn Error>> {
    let mut trial = parse(std::env::args().skip(1))?;
    let mut program = trial.program.take().ok_or("no command: give one after --")?;
    if !trial.destinations.is_empty() {
        trial.profile.network = Network::Only(Allowed::new(std::mem::take(&mut trial.destinations))?);
    }
    let mut egress = Surroundings::default();
    if !trial.names.0.is_empty() {
        egress.resolver = Arc::new(std::mem::take(&mut trial.names));
    }
    let is_observed = trial.connections.is_some();
    if let Some(file) = trial.connections.take() {
        egress.observer = Arc::new(Lines(file));
    }
    let learnt = learn::Trial::of(&program.name);
    let host = Host::this_binary().with_egress(egress);
    let host = if trial.learn.is_some() { host.with_trial(learnt.clone()) } else { host };
    let selection = trial.selection.clone().with_floor(trial.floor);
    let mut backend = selection.for_installing().build(&host)?;
    let image = match trial.packages.take() {
        Some(packages) => install_first(&*backend, &packages, &mut program, &mut trial).await?,
        None => None,
    };
    backend = match image {
        Some(image) => selection.for_image(Some(&image)).ok_or("that sandbox runs no image of a registry")?.build(&host)?,
        None => selection.build(&host)?,
    };
    let exit = alone::run(&*backend, &trial.profile, &program, |instance| {
        let layers = serde_json::to_vec(instance.in_force()).map_err(io::Error::from);
        let written = trial.layers.map_or(Ok(()), |file| layers.and_then(|layers| std::fs::write(file, layers)));
        written.unwrap_or_else(|error| say(&format!("error: {error}")));
    })
    .await?;
    if is_observed {
        tokio::time::sleep(LAST_LINES).await;
    }
    if let Some(file) = trial.learn {
        std::fs::write(file, lines(&learnt.record()))?;
    }
    Ok(alone::code(exit))
}

/// What a trial brought to light, a line each.
fn lines(record: &learn::Record) -> String {
    let learn::Record { used, refused, unexecutable, services, hosts, packets, listens, calls, .. } = record;
    let mut lines = Vec::new();
    lines.extend(used.iter().map(|(path, used)| format!("used {} {} {} {}", path.display(), used.read, used.written, used.executed)));
    lines.extend(refused.iter().map(|(path, refused)| format!("refused {} {:?}", path.display(), refused.want)));
    lines.extend(unexecutable.keys().map(|path| format!("unexecutable {}", path.display())));
    lines.extend(services.keys().map(|path| format!("service {}", path.display())));
    lines.extend(hosts.iter().map(|((host, port), (allowed, _))| format!("host {host} {} {allowed}", port.unwrap_or_default())));
    lines.extend(packets.keys().map(|address| format!("packet {address}")));
    lines.extend(listens.keys().map(|port| format!("listen {port}")));
    lines.extend(calls.keys().map(|name| format!("call {name}")));
    lines.push(format!("local sockets {}", record.local_sockets));
    lines.push(format!("unread {} dropped {}", record.unread, record.dropped));
    lines.join("\n")
}

/// Names that are resolved by the command line.
#[derive(Default)]
struct Names(BTreeMap<Name, Vec<IpAddr>>);

impl Resolve for Names {
    fn resolve(&self, name: &Name) -> io::Result<Vec<IpAddr>> {
        self.0.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Writes a line for whatever happens.
struct Lines(File);

impl Lines {
    fn write(&self, line: &str) {
        // In one write, so that lines do not mix.
        let written = (&self.0).write_all(format!("{line}\n").as_bytes());
        written.unwrap_or_else(|error| say(&format!("error: {error}")));
    }
}

impl Observe for Lines {
    fn connection(&self, connection: &Connection) {
        let Connection { target, way, outcome, sent, received, .. } = connection;
        self.write(&format!("{target} {way:?} {outcome} sent={sent} received={received}"));
    }

    fn name_refused(&self, _: &str, name: &Name) {
        self.write(&format!("name {name} refused"));
    }
}

async fn install_first(
    backend: &dyn Backend,
    packages: &Path,
    program: &mut Program,
    trial: &mut Trial,
) -> Result<Option<PathBuf>, Box<dyn Error>> {
    let Some(package) = recognise(&program.command, &program.args)? else { return Ok(None) };
    let package = package.with_scripts(trial.scripts)?;
    let path = program.env.get("PATH").map(EnvText::expose);
    let locked = trial.locked.as_ref().and_then(|file| std::fs::read(file).ok()).map(|text| serde_json::from_slice(&text)).transpose()?;
    let installer = Installer { backend, packages, path, progress: &|doing| say(doing) };
    let (installed, now) = installer.install(&package, locked.as_ref()).await?;
    if let (Some(file), None) = (&trial.locked, locked) {
        std::fs::write(file, serde_json::to_vec(&now)?)?;
    }
    installed.take_over(program, &mut trial.profile);
    Ok(installed.is_image.then_some(installed.tree))
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Trial, Box<dyn Error>> {
    let mut trial = Trial::default();
    let mut options = Vec::new();
    while let Some(option) = words.next() {
        if option == "--" {
            let command = words.next().ok_or("no command after --")?;
            let mut program = Program::new("trial", command);
            program.args = words.by_ref().collect();
            trial.program = Some(program);
        } else {
            let value = words.next().ok_or_else(|| format!("{option} needs a value"))?;
            options.push((option, value));
        }
    }
    for (option, value) in options {
        set(&mut trial, &option, value)?;
    }
    Ok(trial)
}

fn set(trial: &mut Trial, option: &str, value: String) -> Result<(), Box<dyn Error>> {
    let program = trial.program.as_mut().ok_or("no command: give one after --")?;
    match option {
        "--read" => trial.profile.read.push(value.into()),
        "--write" => trial.profile.write.push(value.into()),
        "--hidden" => trial.profile.hidden.push(value.into()),
        "--deny-write" => trial.profile.deny_write.push(value),
        "--network" => match value.as_str() {
            "none" => {}
            "host" => trial.profile.network = Network::Host,
            destination => trial.destinations.push(destination.parse()?),
        },
        "--resolve" => {
            let (name, addresses) = value.split_once('=').ok_or("--resolve takes NAME=ADDRESS")?;
            let addresses = addresses.split(',').map(str::parse).collect::<Result<_, _>>()?;
            trial.names.0.insert(Name::new(name).ok_or("not a name")?, addresses);
        }
        "--connections" => trial.connections = Some(File::create(value)?),
        "--sandbox" => trial.selection = serde_json::from_str(&value).or_else(|_| serde_json::from_value(value.into()))?,
        "--min-isolation" => trial.floor = serde_json::from_value(value.into())?,
        "--seccomp" => trial.profile.seccomp = SystemCalls::parse(&value.split(',').collect::<Vec<_>>())?,
        "--cwd" => program.cwd = Some(value.into()),
        "--log" => program.log = Some(value.into()),
        "--packages" => trial.packages = Some(value.into()),
        "--learn" => trial.learn = Some(value.into()),
        "--scripts" => trial.scripts = value.parse()?,
        "--locked" => trial.locked = Some(value.into()),
        "--layers" => trial.layers = Some(value.into()),
        "--processes" => trial.profile.limits.processes = value.parse()?,
        "--most-connections" => trial.profile.limits.connections = value.parse()?,
        "--network-mb" => trial.profile.limits.network_mb = value.parse()?,
        "--memory" => trial.profile.limits.memory_mb = value.parse()?,
        "--output" => trial.profile.limits.output_mb = value.parse()?,
        "--cpus" => trial.profile.limits.cpus = Some(value.parse::<f64>()?.try_into()?),
        "--env" => {
            let (name, value) = value.split_once('=').ok_or("--env takes NAME=VALUE")?;
            program.env.insert(name.to_owned(), EnvText::from(value));
        }
        unknown => return Err(format!("unknown option {unknown}").into()),
    }
    Ok(())
}

fn say(line: &str) {
    // Nobody reads it: nothing to be done.
    let _unread = writeln!(std::io::stderr(), "{line}");
}
