//! The order in which a boundary is built. Each process below has one function that reads from top to bottom.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{Signal, chdir, umask};
use rustix::thread::UnshareFlags;

use super::control::{Control, Message};
use super::identity::{self, IdMaps};
use super::lifetime::{self, Link, SETUP_FAILED};
use super::raw::{self, Forked, Others};
use super::sources::Source;
use super::step::Step;
use super::{around, ipc, landlock, landlocked, network, privileges, read_back, root, seccomp, sources, unconfined};
use crate::error::Failure;
use crate::layer::{Layer, Layers};
use crate::learn;
use crate::policy::{Confinement, Network, Policy, Target};

/// What a launcher's function gives when it could do its work: nothing, because by then it is another program or gone.
pub(super) enum Never {}

/// The launcher's main. Tells the gateway which step failed, if one does.
pub(crate) fn run() -> ! {
    let Ok((mut control, policy)) = lifetime::take_over_stdio() else {
        raw::exit(SETUP_FAILED) // nobody there to tell
    };
    let Policy { gateway, target, confinement, around } = policy;
    let failed = match (confinement, around) {
        (Some(confinement), _) if confinement.namespaces => launcher(&mut control, gateway, target, confinement),
        (Some(confinement), _) => landlocked::launcher(&mut control, gateway, target, &confinement),
        (None, Some(around)) => around::launcher(&mut control, gateway, target, &around),
        (None, None) => unconfined::launcher(&mut control, gateway, target),
    };
    give_up(&control, failed)
}

/// Reports the failure and ends.
pub(super) fn give_up(control: &Control, failed: Result<Never, Failure>) -> ! {
    let Err(failure) = failed;
    // Without a listener there is nobody to tell.
    let _nobody = control.send(&Message::Failed(failure), &[]);
    raw::exit(SETUP_FAILED)
}

/// The first process: still on the host, makes the namespaces, then only waits.
fn launcher(control: &mut Control, gateway: i32, target: Target, confinement: Confinement) -> Result<Never, Failure> {
    let mut layers = Layers::new("os");
    lifetime::tie_to_gateway(gateway, Signal::KILL)?;
    lifetime::leave_session()?;
    // Before anything is forked, and before the cgroup namespace is made, whose root they become.
    privileges::join(&confinement.groups)?;
    chdir("/").step(Layer::Root, "leave the gateway's folder")?;
    // What is made for the program, by root too, must be its to enter, whatever the gateway keeps from others.
    umask(Mode::WGRP | Mode::WOTH);
    let null = lifetime::open_null()?;
    let sources = match identity::to_drop_to(confinement.unprivileged)? {
        Some(id) => leave_as_root(id, gateway, control, &confinement, &mut layers)?,
        None => leave_as_user(control, &confinement, &mut layers)?,
    };
    lifetime::hide_memory()?;
    let (link, init_link) = Link::pair()?;
    match raw::fork().step(Layer::Namespaces, "fork the init")? {
        Forked::Child => {
            drop(link);
            let failed = init(control, &init_link, null, target, confinement, sources, layers);
            give_up(control, failed)
        }
        Forked::Parent(init) => {
            drop((init_link, sources, target));
            let ender = Message::Ender { signal: Signal::KILL.as_raw() };
            control.send(&ender, &[lifetime::pidfd(init)?.as_fd()])?;
            control.close();
            lifetime::let_go_of_stdio(null.as_fd())?;
            lifetime::pass_on_the_end(init, &link)
        }
    }
}

/// Root opens what is shown while it still may, then gives itself up, then goes on as an ordinary user would.
fn leave_as_root(id: u32, gateway: i32, control: &Control, confinement: &Confinement, layers: &mut Layers) -> Result<Vec<Source>, Failure> {
    let mapped = match identity::can_map_mounts() {
        true => Some(sources::open_all(&confinement.view, Some(IdMaps::new(id)), layers)?),
        false => None,
    };
    identity::drop_to(id)?;
    layers.in_force(Layer::UidDrop, format!("uid {id}"));
    lifetime::tie_to_gateway(gateway, Signal::KILL)?;
    enter_namespaces(control, confinement, layers)?;
    match mapped {
        Some(sources) => Ok(sources),
        None => sources::open_all_unmapped(&confinement.view, layers),
    }
}

/// A user may copy mounts only in a mount namespace of his own.
fn leave_as_user(control: &Control, confinement: &Confinement, layers: &mut Layers) -> Result<Vec<Source>, Failure> {
    enter_namespaces(control, confinement, layers)?;
    sources::open_all(&confinement.view, None, layers)
}

fn enter_namespaces(control: &Control, confinement: &Confinement, layers: &mut Layers) -> Result<(), Failure> {
    let before = read_back::Namespaces::now(!matches!(confinement.network, Network::Host));
    // The program's own user namespace has no root, whom the kernel asks for where ipc is to be bounded: one round it has.
    identity::enter_user_namespace(identity::ROOT)?;
    raw::unshare(UnshareFlags::NEWIPC).step(Layer::Namespaces, "make an ipc namespace")?;
    let ipc =
        ipc::bound(&confinement.limits).map_or_else(|refused| format!("ipc (without bounds of its own: {refused})"), |()| "ipc".to_owned());
    identity::enter_user_namespace(identity::INSIDE)?;
    layers.in_force(Layer::UserNamespace, "");
    let own = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    raw::unshare(own).step(Layer::Namespaces, "make namespaces")?;
    layers.in_force(Layer::Namespaces, format!("mount, pid, {ipc}, uts, cgroup"));
    network::enter(&confinement.network, control, layers)?;
    read_back::Namespaces::now(!matches!(confinement.network, Network::Host)).differ_from(&before)
}

/// PID 1 of the new pid namespace: builds the root, starts the server's process, then only reaps, freezes and thaws.
fn init(
    control: &mut Control,
    link: &Link,
    null: OwnedFd,
    target: Target,
    confinement: Confinement,
    sources: Vec<Source>,
    mut layers: Layers,
) -> Result<Never, Failure> {
    link.tie_to_launcher()?;
    read_back::is_init()?;
    layers.in_force(Layer::Lifetime, "");
    let own = root::enter(sources, &confinement, &mut layers)?;
    read_back::mounts(&confinement.view)?;
    // The gateway looks at their room when the program has ended, and nobody else can any more.
    control.send(&Message::Tmp, &[own.tmp.as_fd()])?;
    control.send(&Message::Shm, &[own.shm.as_fd()])?;
    drop(own);
    let wishes = lifetime::Wishes::of_gateway(control)?;
    match raw::fork().step(Layer::Namespaces, "fork the server")? {
        Forked::Child => {
            let failed = server(control, &target, &confinement, layers);
            give_up(control, failed)
        }
        Forked::Parent(server) => {
            drop(target);
            control.send(&Message::Server, &[lifetime::pidfd(server)?.as_fd()])?;
            control.close();
            lifetime::let_go_of_stdio(null.as_fd())?;
            lifetime::serve_until_end_of(server, link, &wishes)
        }
    }
}

/// The server's process: gives up everything, looks that it is gone, and becomes the program.
fn server(control: &Control, target: &Target, confinement: &Confinement, mut layers: Layers) -> Result<Never, Failure> {
    enter_folder(target)?;
    raw::default_signals();
    raw::unblock_all();
    privileges::limit(&confinement.limits, confinement.held, &mut layers)?;
    privileges::give_up(&mut layers)?;
    landlock::enforce(confinement, &mut layers)?;
    read_back::landlock()?;
    raw::close_others(Others::CloseOnExec).step(Layer::Descriptors, "close descriptors")?;
    layers.in_force(Layer::Descriptors, "");
    load_filter(control, confinement)?;
    read_back::privileges(true)?;
    layers.in_force(Layer::Seccomp, "allow-list");
    control.send(&Message::InForce(layers), &[])?;
    become_program(target)
}

/// In a trial, whoever hears this socket is asked from here on, by this process already.
pub(super) fn load_filter(control: &Control, confinement: &Confinement) -> Result<(), Failure> {
    if !confinement.trial {
        return seccomp::load(&confinement.filter);
    }
    let listener = seccomp::load_for_trial(&confinement.filter, &learn::watched().collect::<Vec<_>>())?;
    control.send(&Message::Questions, &[listener.as_fd()])
}

pub(super) fn enter_folder(target: &Target) -> Result<(), Failure> {
    chdir(&target.cwd).step(Layer::Start, &format!("enter the working folder {}", target.cwd.display()))
}

/// `execve` with exactly the environment that was built.
pub(super) fn become_program(target: &Target) -> Result<Never, Failure> {
    let env = target.env.iter().map(|(name, value)| (name, value.expose()));
    let error = Command::new(&target.path).args(&target.args).env_clear().envs(env).exec();
    Err(error).step(Layer::Start, &format!("execute {}", target.path.display()))
}
