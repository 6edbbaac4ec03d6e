//! Programs out of container images.
//!
//! [`image`] reads an image that lies on disk, [`layer`] unpacks it once into the private cache, [`bundle`] says to the runtime in its
//! own words what a profile says, and [`runtime`] knows who can run it. The runtime itself is started by our launcher, in a pid, a
//! mount and a network namespace of ours: so one kill ends all of it, whatever the runtime left behind, standby works as everywhere,
//! and the way out is the same as in the back-end `os`, because the container stays in the network namespace that it finds.

mod bundle;
mod image;
pub(crate) mod installed;
mod layer;
pub(crate) mod manifest;
mod names;
mod runtime;
mod seccomp;
mod unpacked;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sallyport_telemetry::state_folder::Folders;
use tokio::sync::OnceCell;

use crate::backend::{Backend, Host, Pending};
use crate::backends::oci::{Config, Runtime};
use crate::calls::SystemCalls;
use crate::cgroup::{Group, places};
use crate::cover::Keeper;
use crate::error::Error;
use crate::instance::{Instance, Running};
use crate::isolation::Isolation;
use crate::launch;
use crate::policy::{self, Around, Target, View};
use crate::probe::{Finding, Report};
use crate::profile::{Network, Profile, Program};
use crate::visible;
use bundle::Bundle;
use image::Image;
pub(crate) use image::{blob, digest_of};
use runtime::Known;
pub(crate) use unpacked::Unpacked;

/// The word that stands for what the image itself starts.
pub(crate) const ENTRYPOINT: &str = "entrypoint";

/// What runs images of ordinary users.
const WITHOUT_ROOT: &str = "run the image in a virtual machine, which does not: `sandbox = { microvm = { image = \"…\" } }`, or `sandbox = \"microvm\"` for one of a registry";

/// A trial starts the host's own `true`.
const TRIAL_LIMIT: Duration = Duration::from_secs(20);

/// Starts `program` out of the image.
pub(crate) async fn launch(host: &Host, config: &Config, profile: &Profile, program: &Program) -> Result<Instance<Running>, Error> {
    needs_root(&program.name)?;
    let runtime = chosen(host, config.runtime).await?;
    keeps_to(runtime, profile, &program.name)?;
    let (config, wanted, name) = (config.clone(), program.clone(), program.name.clone());
    let (shown, state, launcher) = (profile.clone(), folders()?.state, host.launcher().to_owned());
    let prepared = tokio::task::spawn_blocking(move || {
        let Unpacked { image, root } = match config.is_installed {
            true => Unpacked::installed(&config.image)?,
            false => Unpacked::from_disk(&config.image, config.digest.as_deref())?,
        };
        let bundle = Bundle::reserve(&state)?;
        Prepared::write(&launcher, &image, root, bundle, &shown, &wanted, runtime)
    });
    let prepared = prepared.await.unwrap_or_else(|_| Err(Error::new("unpacking failed, which is a fault of ours")));
    run(host, runtime, profile, program, prepared.map_err(|error| error.within(&format!("image of server {name}")))?).await
}

/// Whether the runtime gives what the profile names.
fn keeps_to(runtime: Known, profile: &Profile, name: &str) -> Result<(), Error> {
    if profile.network == Network::Host || (profile.network != Network::None && !runtime.shares_network()) {
        return Err(Error::new(format!("server {name} names a network that sandbox oci with {} does not give", runtime.name()))
            .with_hint("name the hosts that it needs and use runc or crun, or take `network` out"));
    }
    if runtime == Known::Runsc && profile.seccomp != SystemCalls::default() {
        return Err(Error::new(format!("server {name} names system calls in `seccomp`, which runsc answers all by itself"))
            .with_hint("take `seccomp` out, or use runc or crun"));
    }
    Ok(())
}

/// A container that is ready to be started.
struct Prepared {
    bundle: Bundle,
    /// The unpacked image.
    root: PathBuf,
    view: View,
    keeper: Option<Keeper>,
}

impl Prepared {
    fn write(
        launcher: &Path,
        image: &Image,
        root: PathBuf,
        bundle: Bundle,
        profile: &Profile,
        program: &Program,
        runtime: Known,
    ) -> Result<Self, Error> {
        let (mut view, absent) = visible::named(profile)?;
        let keeper = launch::cover(launcher, &mut view, absent)?;
        bundle.write(image, &view, profile, program, runtime)?;
        Ok(Self { bundle, root, view, keeper })
    }
}

async fn run(host: &Host, runtime: Known, profile: &Profile, program: &Program, prepared: Prepared) -> Result<Instance<Running>, Error> {
    let Prepared { bundle, root, view, keeper } = prepared;
    let group = runtime.held_to(&profile.limits).map(|limits| Group::make(places(), &limits)).unwrap_or_default();
    let around = Around {
        network: policy::Network::of(&profile.network),
        lower: root,
        view,
        place: bundle.place().to_owned(),
        groups: group.entrances(),
        filter: runtime.filter()?,
        layers: runtime.layers(&group),
    };
    let target = Target { path: runtime.path()?, args: runtime.arguments(&bundle), env: runtime.environment(), cwd: "/".into() };
    let runtime = launch::Runtime { target, around, group, keeper, can_freeze: runtime.can_freeze() };
    let instance = launch::launch_around(host, program, profile, runtime).await?;
    let end = instance.wait();
    tokio::spawn(async move {
        end.await;
        drop(bundle); // and with it what the runtime left
    });
    Ok(instance)
}

/// Whether each runtime that is asked for starts a program.
pub(crate) async fn report(host: &Host, wanted: Runtime) -> Report {
    let mut findings = Vec::new();
    for runtime in Known::of(wanted) {
        let outcome = match needs_root("trial") {
            Ok(()) => trial(host, *runtime).await,
            Err(error) => Err(error),
        };
        findings.push(Finding {
            subject: format!("container runtime {}", runtime.name()),
            in_force: outcome.is_ok(),
            cost: outcome.is_err().then(|| "no image is started by it".to_owned()),
            cure: outcome.as_ref().err().and_then(|error| error.hint().map(str::to_owned)),
            detail: outcome.map_or_else(|error| error.to_string(), |()| "starts a program".to_owned()),
        });
    }
    Report { works: findings.iter().any(|finding| finding.in_force), findings }
}

/// Whether images can be started, as far as it shows without starting one.
pub(crate) fn look_round(wanted: Runtime) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::new("sandbox oci needs root").with_hint(WITHOUT_ROOT));
    }
    match Known::of(wanted) {
        [only] => only.path().map(drop),
        several if several.iter().any(|runtime| runtime.path().is_ok()) => Ok(()),
        _ => Err(Error::new("no container runtime is installed").with_hint("install runc")),
    }
}

/// The one that is asked for, or the first that works; found out once.
async fn chosen(host: &Host, wanted: Runtime) -> Result<Known, Error> {
    static FIRST: OnceCell<Known> = OnceCell::const_new();
    if let [only] = Known::of(wanted) {
        return Ok(*only);
    }
    let first = FIRST.get_or_try_init(async || {
        let mut why = Vec::new();
        for runtime in Known::of(Runtime::Auto) {
            match trial(host, *runtime).await {
                Ok(()) => return Ok(*runtime),
                Err(error) => why.push(format!("{}: {error}", runtime.name())),
            }
        }
        Err(Error::new(format!("no container runtime starts a program here ({})", why.join("; "))).with_hint("install runc"))
    });
    first.await.copied()
}

/// A real start of the host's `true`.
async fn trial(host: &Host, runtime: Known) -> Result<(), Error> {
    let mut program = Program::new("trial", "true");
    program.env.insert("PATH".to_owned(), "/usr/bin:/bin".into());
    let instance = launch_without_image(host, runtime, &Profile::default(), &program).await?;
    let exit = tokio::time::timeout(TRIAL_LIMIT, instance.wait()).await;
    match exit {
        Ok(exit) if exit.is_success() => Ok(()),
        Ok(exit) => Err(Error::new(format!("{} {exit}: {}", runtime.name(), instance.stderr_tail().join(" | ")))),
        Err(_) => Err(Error::new(format!("{} did not end within {TRIAL_LIMIT:?}", runtime.name()))),
    }
}

/// Starts a program of the host, with the host's own libraries for an image.
async fn launch_without_image(host: &Host, runtime: Known, profile: &Profile, program: &Program) -> Result<Instance<Running>, Error> {
    let bundle = Bundle::reserve(&folders()?.state)?;
    let root = bundle.place().join("host");
    let trees = host_trees(&root).map_err(|cause| Error::io("a folder for the host's programs cannot be made", &cause))?;
    let profile = Profile { read: [trees, profile.read.clone()].concat(), ..profile.clone() };
    let (launcher, wanted, shown) = (host.launcher().to_owned(), program.clone(), profile.clone());
    let prepared =
        tokio::task::spawn_blocking(move || Prepared::write(&launcher, &Image::default(), root, bundle, &shown, &wanted, runtime));
    let prepared = prepared.await.unwrap_or_else(|_| Err(Error::new("a bundle was not written, which is a fault of ours")))?;
    run(host, runtime, &profile, program, prepared).await
}

/// The back-end for programs of this machine, which are in no image: for those who try the boundary itself.
#[derive(Debug)]
pub(crate) struct WithoutImage {
    host: Host,
    runtime: Runtime,
}

impl WithoutImage {
    pub(crate) fn new(host: &Host, runtime: Runtime) -> Self {
        Self { host: host.clone(), runtime }
    }
}

impl Backend for WithoutImage {
    fn name(&self) -> &'static str {
        if self.runtime == Runtime::Runsc { Isolation::Gvisor.name() } else { "oci" }
    }

    fn probe(&self) -> Pending<'_, Report> {
        Box::pin(report(&self.host, self.runtime))
    }

    fn launch<'a>(&'a self, profile: &'a Profile, program: &'a Program) -> Pending<'a, Result<Instance<Running>, Error>> {
        Box::pin(async move {
            needs_root(&program.name)?;
            let runtime = chosen(&self.host, self.runtime).await?;
            keeps_to(runtime, profile, &program.name)?;
            launch_without_image(&self.host, runtime, profile, program).await
        })
    }
}

/// The folders in which the host has its programs; where they are links on the host (`/bin`), `root` gets the links.
fn host_trees(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    std::fs::create_dir(root)?;
    let mut trees = Vec::new();
    for name in ["usr", "bin", "lib", "lib64"] {
        let tree = Path::new("/").join(name);
        match std::fs::read_link(&tree) {
            Ok(target) => std::os::unix::fs::symlink(target, root.join(name))?,
            Err(_) if tree.is_dir() => trees.push(tree),
            Err(_) => {}
        }
    }
    Ok(trees)
}

/// Removes what gateways that were killed have left.
pub(crate) fn clear() {
    // Where the user's folders are not known there are no containers.
    if let Ok(folders) = folders() {
        bundle::clear(&folders.state);
    }
}

fn folders() -> Result<Folders, Error> {
    Folders::of_user().map_err(|error| Error::new(error.to_string()).with_hint(error.hint()))
}

fn needs_root(name: &str) -> Result<(), Error> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(format!("server {name} cannot be started: sandbox oci needs root")).with_hint(WITHOUT_ROOT))
}

/// A path as the runtime's configuration holds it.
fn text_of(path: &Path) -> Result<String, Error> {
    path.to_str().map(str::to_owned).ok_or_else(|| Error::new(format!("{} is not UTF-8", path.display())))
}
