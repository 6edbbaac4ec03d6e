//! The network namespace: empty, or with the way out that the gateway serves.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use rustix::thread::UnshareFlags;
use sallyport_guest::network::{Kernel, everywhere, listener, names};

use super::control::{Control, Message};
use super::raw;
use super::step::Step;
use crate::egress::{Block, synthetic};
use crate::error::Failure;
use crate::layer::{Layer, Layers};
use crate::policy::{Network, WayOut};

/// Makes the namespace; with a way out, also the sockets of it, which go to the gateway.
pub(super) fn enter(network: &Network, control: &Control, layers: &mut Layers) -> Result<(), Failure> {
    let make = || raw::unshare(UnshareFlags::NEWNET).step(Layer::Network, "make a network namespace");
    match network {
        Network::None => {
            make()?;
            layers.in_force(Layer::Network, "no network");
        }
        Network::Only(way_out) => {
            make()?;
            open(way_out, control)?;
            layers.in_force(Layer::Network, "only what is allowed, through the gateway");
        }
        Network::Host => layers.absent(Layer::Network, "the profile names the host's network"),
    }
    Ok(())
}

fn open(way_out: &WayOut, control: &Control) -> Result<(), Failure> {
    let kernel = Kernel::connect().step(Layer::Network, "talk with the kernel about the network")?;
    kernel.raise_loopback().step(Layer::Network, "raise the loopback interface")?;
    for block in synthetic::BLOCKS.iter().chain(&way_out.blocks) {
        kernel.make_local(block.address(), block.prefix()).step(Layer::Network, &format!("make {block} local"))?;
    }
    let names = names(synthetic::GATEWAY).step(Layer::Network, "make the socket for names")?;
    control.send(&Message::Names, &[names.as_fd()])?;
    for port in &way_out.ports {
        for address in everywhere(way_out.blocks.iter().map(Block::address)) {
            let listener = listener(SocketAddr::new(address, *port)).step(Layer::Network, &format!("listen at {address} port {port}"))?;
            control.send(&Message::Listener, &[listener.as_fd()])?;
        }
    }
    Ok(())
}
