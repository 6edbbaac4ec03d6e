//! One connection from the program's to the destination's end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::allowed::Host;
use super::event::{Connection, Outcome, Refusal, Way};
use super::limit::Open;
use super::name::Name;
use super::proxy::{self, Answer, Asked, Stream};
use super::room::{Meant, PROXY, Room};
use super::start::Start;

/// A program that connects to the proxy knows what it wants.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// What glibc's resolver takes to give up one server, twice.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(10);
/// For each address: three retransmissions of the first packet.
const DIAL_LIMIT: Duration = Duration::from_secs(8);
/// Addresses of a name that are tried.
const MOST_ADDRESSES: usize = 4;
/// A connection on which nothing moves; longer than pools of database connections keep theirs.
const IDLE_LIMIT: Duration = Duration::from_secs(3600);
/// Two a connection: large enough that the system calls do not show, small enough for a hundred connections.
const BUFFER: usize = 32 * 1024;

/// The program's end of a connection: a socket in its network namespace, or what a machine carries.
pub(super) trait Inside: Send {
    /// All of it.
    fn stream(&mut self) -> &mut impl Stream;
    /// Each way by itself.
    fn halves(&mut self) -> (impl AsyncRead + Send + Unpin, impl AsyncWrite + Send + Unpin);
    /// What is written leaves at once.
    fn hurry(&self) -> io::Result<()>;
    /// What is dropped next is a reset, so that the program does not take it for an empty answer.
    fn refuse(&self);
}

impl Inside for TcpStream {
    fn stream(&mut self) -> &mut impl Stream {
        self
    }

    fn halves(&mut self) -> (impl AsyncRead + Send + Unpin, impl AsyncWrite + Send + Unpin) {
        self.split()
    }

    fn hurry(&self) -> io::Result<()> {
        self.set_nodelay(true)
    }

    fn refuse(&self) {
        // If it cannot be set, it is closed all the same.
        let _closed_anyhow = self.set_zero_linger();
    }
}

/// Why a connection does not go on.
pub(super) enum Stop {
    Ended,
    Refused(Refusal),
    Failed(String),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Whoever broke it off: for both it is over.
impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Ended
    }
}

/// Serves one accepted connection until it is over or `ended` is, and tells of it.
pub(super) async fn serve(mut inside: impl Inside, local: SocketAddr, room: &Room, ended: impl Future<Output = ()>) {
    let began = Instant::now();
    let mut told = Connection {
        server: Arc::clone(&room.server),
        target: local.to_string(),
        way: Way::Direct,
        address: None,
        outcome: Outcome::Ended,
        sent: 0,
        received: 0,
        lasted: Duration::ZERO,
    };
    let moved = Moved::new();
    let stop = tokio::select! {
        stop = carry(&mut inside, local, room, &mut told, &moved) => stop,
        () = ended => Ok(()),
    };
    told.outcome = match stop {
        Ok(()) | Err(Stop::Ended) => Outcome::Ended,
        Err(Stop::Refused(refusal)) => Outcome::Refused(refusal),
        Err(Stop::Failed(why)) => Outcome::Failed(why),
    };
    if told.outcome != Outcome::Ended && local != PROXY {
        inside.refuse();
    }
    (told.sent, told.received, told.lasted) = (moved.sent(), moved.received(), began.elapsed());
    // Before the program hears of it: whoever sees its answer finds the record.
    room.tell(&told);
    drop(inside);
}

async fn carry(inside: &mut impl Inside, local: SocketAddr, room: &Room, told: &mut Connection, moved: &Moved) -> Result<(), Stop> {
    let Asked { host, port, way, first } = asked(inside.stream(), local, room).await?;
    told.target = format!("{host}:{port}");
    told.way = way;
    let dialled = match room.admit(&host, port) {
        Ok(open) => dial(&host, port, room).await.map(|dialled| (open, dialled)),
        Err(refusal) => Err(refusal.into()),
    };
    let answer = match &dialled {
        Ok(_) => Answer::Connected,
        Err(Stop::Failed(_)) => Answer::Failed,
        Err(_) => Answer::Refused,
    };
    let answered = proxy::answer(inside.stream(), way, answer).await;
    let (open, (address, mut outside)) = dialled?;
    answered?;
    told.address = Some(address);
    let name = match &host {
        Host::Name(name) => Some(name),
        Host::Address(_) => None,
    };
    exchange(inside, &mut outside, first, name, &open, moved).await
}

/// Whom the program wants.
async fn asked(inside: &mut impl Stream, local: SocketAddr, room: &Room) -> Result<Asked, Stop> {
    match room.meant_by(local) {
        Meant::Host(host) => Ok(Asked { host, port: local.port(), way: Way::Direct, first: Vec::new() }),
        Meant::Nobody => Err(Refusal::NotAllowed.into()),
        Meant::Proxy => {
            let asked = timeout(ASK_LIMIT, proxy::ask(inside)).await.unwrap_or(Err("the proxy was not asked in time"));
            let asked = asked.map_err(Refusal::NotAsked)?;
            Ok(Asked { host: room.behind(asked.host), ..asked })
        }
    }
}

/// Connects to an address that may be dialled, and to no other.
async fn dial(host: &Host, port: u16, room: &Room) -> Result<(IpAddr, TcpStream), Stop> {
    let addresses = match host {
        Host::Address(address) => vec![*address], // admitted as such
        Host::Name(name) => public(look_up(name, room).await?, port, room)?,
    };
    let mut last = Stop::Failed("the name has no address".to_owned());
    for address in addresses {
        match timeout(DIAL_LIMIT, TcpStream::connect((address, port))).await {
            Ok(Ok(outside)) => return Ok((address, outside)),
            Ok(Err(error)) => last = Stop::Failed(format!("{address}: {error}")),
            Err(_) => last = Stop::Failed(format!("{address}: no answer within {DIAL_LIMIT:?}")),
        }
    }
    Err(last)
}

async fn look_up(name: &Name, room: &Room) -> Result<Vec<IpAddr>, Stop> {
    let failed = |why: &dyn std::fmt::Display| Stop::Failed(format!("the name cannot be resolved: {why}"));
    let look_up = async {
        // Held by the thread, not by whoever waits for it: a look-up cannot be broken off.
        let permit = Arc::clone(&room.look_ups).acquire_owned().await.map_err(|error| failed(&error))?;
        let (name, resolver) = (name.clone(), Arc::clone(&room.surroundings.resolver));
        let resolved = tokio::task::spawn_blocking(move || {
            let resolved = resolver.resolve(&name);
            drop(permit);
            resolved
        });
        resolved.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    };
    timeout(LOOK_UP_LIMIT, look_up).await.unwrap_or_else(|_| Err(failed(&format_args!("no answer within {LOOK_UP_LIMIT:?}"))))
}

/// Those of the addresses that may be dialled.
fn public(resolved: Vec<IpAddr>, port: u16, room: &Room) -> Result<Vec<IpAddr>, Refusal> {
    let first = resolved.first().copied();
    let public: Vec<IpAddr> = resolved.into_iter().filter(|address| room.may_dial(*address, port)).take(MOST_ADDRESSES).collect();
    match first {
        Some(address) if public.is_empty() => Err(Refusal::NotPublic(address)),
        _ => Ok(public),
    }
}

/// Carries bytes both ways until both ends are closed, one is broken, or nothing moves any more.
async fn exchange(
    inside: &mut impl Inside,
    outside: &mut TcpStream,
    first: Vec<u8>,
    name: Option<&Name>,
    open: &Open<'_>,
    moved: &Moved,
) -> Result<(), Stop> {
    inside.hurry()?;
    outside.set_nodelay(true)?;
    let (mut from_inside, to_inside) = inside.halves();
    let (from_outside, mut to_outside) = outside.split();
    let up = async {
        let mut start = Start::new(name, first);
        while let Some(bytes) = start.next(&mut from_inside).await? {
            open.count(bytes.len())?;
            to_outside.write_all(&bytes).await?;
            moved.count(&moved.sent, bytes.len());
        }
        copy(from_inside, to_outside, open, |count| moved.count(&moved.sent, count)).await
    };
    let down = copy(from_outside, to_inside, open, |count| moved.count(&moved.received, count));
    tokio::select! {
        both = async { tokio::try_join!(up, down) } => both.map(|_| ()),
        () = moved.idle() => Err(Stop::Ended),
    }
}

/// Copies until the end, and passes that on.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    open: &Open<'_>,
    moved: impl Fn(usize),
) -> Result<(), Stop> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            to.shutdown().await?;
            return Ok(());
        };
        open.count(count)?;
        to.write_all(bytes).await?;
        moved(count);
    }
}

/// How much has moved, and when last.
struct Moved {
    began: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    /// Milliseconds after `began`.
    last: AtomicU64,
}

impl Moved {
    fn new() -> Self {
        Self { began: Instant::now(), sent: AtomicU64::new(0), received: AtomicU64::new(0), last: AtomicU64::new(0) }
    }

    fn count(&self, direction: &AtomicU64, bytes: usize) {
        direction.fetch_add(bytes as u64, Ordering::Relaxed);
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Ends when nothing has moved for too long.
    async fn idle(&self) {
        loop {
            let last = self.last.load(Ordering::Relaxed);
            sleep_until(self.began + Duration::from_millis(last) + IDLE_LIMIT).await;
            if self.last.load(Ordering::Relaxed) == last {
                return;
            }
        }
    }
}
