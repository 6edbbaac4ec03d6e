//! Serves the sockets of one sandbox as long as its program lives.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::dns;
use super::limit::Pace;
use super::relay;
use super::room::Room;
use crate::instance::Exit;

/// Connections of one sandbox at a time, two descriptors each; further ones wait in the kernel.
pub(super) const MOST_CONNECTIONS: usize = 128;
/// New connections of one sandbox and port in a second; a flood waits.
pub(super) const CONNECTION_PACE: u32 = 200;
/// Questions of one sandbox in a second; the kernel drops the rest.
pub(super) const QUESTION_PACE: u32 = 500;
pub(super) const SECOND: Duration = Duration::from_secs(1);
/// When no descriptor is left for a connection: others may end meanwhile.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Threads for look-ups of all sandboxes together; each sandbox has four at most.
const LOOK_UP_THREADS: usize = 64;

/// The sockets that a launcher made inside.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) names: Option<OwnedFd>,
    pub(crate) listeners: Vec<OwnedFd>,
}

/// The one thread that carries the bytes of all sandboxes: calls on the other threads do not wait for a large download.
///
/// # Errors
/// It cannot be started.
pub(crate) fn thread() -> io::Result<&'static Handle> {
    static THREAD: OnceLock<Option<Handle>> = OnceLock::new();
    THREAD.get_or_init(|| start_thread().ok()).as_ref().ok_or_else(|| io::Error::other("its thread is not there"))
}

fn start_thread() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(LOOK_UP_THREADS).build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new().name("sandbox-egress".to_owned()).spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

/// Serves `sockets` until `end` tells of one; then they are closed, which lets go of the network namespace.
///
/// # Errors
/// A socket cannot be used.
pub(crate) fn start(sockets: Sockets, room: Room, end: watch::Receiver<Option<Exit>>) -> io::Result<()> {
    let handle = thread()?;
    let _registers_there = handle.enter();
    let names = sockets.names.ok_or(io::ErrorKind::NotFound)?;
    let names = UdpSocket::from(names);
    names.set_nonblocking(true)?;
    let names = tokio::net::UdpSocket::from_std(names)?;
    let listen = |listener: OwnedFd| {
        let listener = TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    };
    let listeners = sockets.listeners.into_iter().map(listen).collect::<io::Result<Vec<_>>>()?;

    let (room, places) = (Arc::new(room), Arc::new(Semaphore::new(MOST_CONNECTIONS)));
    handle.spawn(serve_names(names, Arc::clone(&room), end.clone()));
    for listener in listeners {
        handle.spawn(serve_connections(listener, Arc::clone(&room), Arc::clone(&places), end.clone()));
    }
    Ok(())
}

/// The program has ended, or nobody watches it any more, which ends it.
pub(super) async fn ended(mut end: watch::Receiver<Option<Exit>>) {
    let _ended_either_way = end.wait_for(Option::is_some).await;
}

async fn serve_names(socket: tokio::net::UdpSocket, room: Arc<Room>, end: watch::Receiver<Option<Exit>>) {
    let answer_all = async {
        let mut pace = Pace::new(QUESTION_PACE, SECOND);
        // One more than is looked at, so that a longer question is seen to be one.
        let mut packet = [0; dns::LONGEST_QUESTION + 1];
        loop {
            pace.keep().await;
            // An error is that of an answer which nobody waited for.
            let Ok((length, from)) = socket.recv_from(&mut packet).await else { continue };
            let answer = packet.get(..length).and_then(|packet| dns::answer(packet, |name| room.look_up(name)));
            if let Some(answer) = answer {
                // The program asks again, if it still wants to know.
                let _lost_at_most = socket.try_send_to(&answer, from);
            }
        }
    };
    tokio::select! {
        () = answer_all => {}
        () = ended(end) => {}
    }
}

async fn serve_connections(listener: tokio::net::TcpListener, room: Arc<Room>, places: Arc<Semaphore>, end: watch::Receiver<Option<Exit>>) {
    let mut connections = JoinSet::new();
    let mut pace = Pace::new(CONNECTION_PACE, SECOND);
    let end_of_program = ended(end.clone());
    tokio::pin!(end_of_program);
    loop {
        let next = async {
            let accepted = accept(&listener, &mut pace).await;
            // Never closed, so there is always a place at some time.
            (accepted, Arc::clone(&places).acquire_owned().await.ok())
        };
        tokio::select! {
            () = &mut end_of_program => break,
            ((stream, local), place) = next => {
                let (room, end) = (Arc::clone(&room), end.clone());
                connections.spawn(async move {
                    relay::serve(stream, local, &room, ended(end)).await;
                    drop(place);
                });
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    // Each has heard of the end itself, and tells of it.
    while connections.join_next().await.is_some() {}
}

async fn accept(listener: &tokio::net::TcpListener, pace: &mut Pace) -> (tokio::net::TcpStream, SocketAddr) {
    loop {
        pace.keep().await;
        match listener.accept().await.and_then(|(stream, _)| stream.local_addr().map(|local| (stream, local))) {
            Ok(accepted) => return accepted,
            Err(_) => tokio::time::sleep(AFTER_FAILURE).await,
        }
    }
}
