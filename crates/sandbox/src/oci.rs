//! Programs out of container images.
//!
//! [`image`] reads an image that lies on disk, [`layer`] unpacks it once into the private cache, [`bundle`] says to the runtime in its
//! own words what a profile says, and [`runtime`] knows who can run it. The runtime itself is started by our launcher, in a pid, a
//! mount and a network namespace of ours: so one kill ends all of it, whatever the runtime left behind, standby works as everywhere,
//! and the way out is the same as in the back-end `os`, because the container stays in the network namespace that it finds.

mod bundle;
mod image;
mod layer;
mod runtime;
mod seccomp;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sallyport_telemetry::state_folder::Folders;
use tokio::sync::OnceCell;

use crate::backend::Host;
use crate::backends::oci::{Config, Runtime};
use crate::error::Error;
use crate::instance::{Instance, Running};
use crate::launch;
use crate::policy::{self, Around, Target};
use crate::profile::{Network, Profile, Program};
use bundle::Bundle;
use image::Image;
use runtime::Known;

/// A trial starts the host's own `true`.
const TRIAL_LIMIT: Duration = Duration::from_secs(20);

/// Starts `program` out of the image.
pub(crate) async fn launch(host: &Host, config: &Config, profile: &Profile, program: &Program) -> Result<Instance<Running>, Error> {
    needs_root(&program.name)?;
    let runtime = chosen(host, config.runtime).await?;
    if profile.network == Network::Host || (profile.network != Network::None && !runtime.shares_network()) {
        return Err(Error::new(format!("server {} names a network that sandbox oci with {} does not give", program.name, runtime.name()))
            .with_hint("name the hosts that it needs and use runc or crun, or take `network` out"));
    }
    let (config, wanted, name) = (config.clone(), program.clone(), program.name.clone());
    let (for_bundle, folders) = (profile.clone(), folders()?);
    let prepared = tokio::task::spawn_blocking(move || {
        let image = Image::open(&config.image, config.digest.as_deref())?;
        let root = layer::unpacked(&image, &folders.cache.join("images"))?;
        let bundle = Bundle::reserve(&folders.state)?;
        bundle.write(&image, &for_bundle, &wanted, runtime)?;
        Ok::<_, Error>((bundle, root))
    });
    let prepared = prepared.await.unwrap_or_else(|_| Err(Error::new("unpacking failed, which is a fault of ours")));
    let (bundle, root) = prepared.map_err(|error| error.within(&format!("image of server {name}")))?;
    run(host, runtime, profile, program, bundle, root).await
}

async fn run(
    host: &Host,
    runtime: Known,
    profile: &Profile,
    program: &Program,
    bundle: Bundle,
    root: PathBuf,
) -> Result<Instance<Running>, Error> {
    let around =
        Around { network: policy::Network::of(&profile.network), lower: root, place: bundle.place().to_owned(), layers: runtime.layers() };
    let target = Target { path: runtime.path()?, args: runtime.arguments(&bundle), env: runtime.environment(), cwd: "/".into() };
    let instance = launch::launch_around(host, program, profile, target, around).await?;
    let end = instance.wait();
    tokio::spawn(async move {
        end.await;
        drop(bundle); // and with it what the runtime left
    });
    Ok(instance)
}

/// Whether each runtime that is asked for starts a program.
pub(crate) async fn probe(host: &Host, wanted: Runtime) -> Vec<(&'static str, Result<(), Error>)> {
    let mut tried = Vec::new();
    for runtime in Known::of(wanted) {
        let outcome = match needs_root("trial") {
            Ok(()) => trial(host, *runtime).await,
            Err(error) => Err(error),
        };
        tried.push((runtime.name(), outcome));
    }
    tried
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

/// A real start: of the host's `true`, with the host's own libraries for an image.
async fn trial(host: &Host, runtime: Known) -> Result<(), Error> {
    let bundle = Bundle::reserve(&folders()?.state)?;
    let mut program = Program::new("trial", "true");
    program.env.insert("PATH".to_owned(), "/usr/bin:/bin".into());
    let root = bundle.place().join("trial");
    let trees = host_trees(&root).map_err(|cause| Error::io("a folder for the trial cannot be made", &cause))?;
    let profile = Profile { read: trees, ..Profile::default() };
    bundle.write(&Image::default(), &profile, &program, runtime)?;
    let instance = run(host, runtime, &profile, &program, bundle, root).await?;
    let exit = tokio::time::timeout(TRIAL_LIMIT, instance.wait()).await;
    match exit {
        Ok(exit) if exit.is_success() => Ok(()),
        Ok(exit) => Err(Error::new(format!("{} {exit}: {}", runtime.name(), instance.stderr_tail().join(" | ")))),
        Err(_) => Err(Error::new(format!("{} did not end within {TRIAL_LIMIT:?}", runtime.name()))),
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

fn folders() -> Result<Folders, Error> {
    Folders::of_user().map_err(|error| Error::new(error.to_string()).with_hint(error.hint()))
}

fn needs_root(name: &str) -> Result<(), Error> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(format!("server {name} cannot be started: sandbox oci needs root")).with_hint("use sandbox os, which does not"))
}

/// A path as the runtime's configuration holds it.
fn text_of(path: &Path) -> Result<String, Error> {
    path.to_str().map(str::to_owned).ok_or_else(|| Error::new(format!("{} is not UTF-8", path.display())))
}
