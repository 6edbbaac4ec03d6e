//! Serves the connections that a machine carries over its port, as [`serve`](super::serve) does those of a network namespace: the same rooms,
//! the same checks. The guest may be hostile: what it has under way is bounded by windows, and whoever says nonsense is not served any more.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as Port;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sallyport_guest::{Carried, HEADER, LONGEST_CARRIED, MOST_STREAMS, PIECE, WINDOW, length};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::dns;
use super::limit::Pace;
use super::proxy::Stream;
use super::relay::{self, Inside};
use super::room::Room;
use super::serve::{CONNECTION_PACE, MOST_CONNECTIONS, QUESTION_PACE, SECOND, ended, thread};
use crate::instance::Exit;

/// Records on their way to the guest, of all connections together: a guest that does not read makes the others wait.
const MOST_WAITING: usize = 16;

/// An honest guest keeps to [`MOST_STREAMS`]; we may hear a little later than it that one is over.
const MOST_KNOWN: usize = 2 * MOST_STREAMS;

const WINDOW_BYTES: usize = WINDOW as usize;

/// Serves the machine's port until `end` tells of its end, or the guest says nonsense.
///
/// # Errors
/// The port cannot be used.
pub(crate) fn start(port: Port, room: Room, end: watch::Receiver<Option<Exit>>) -> io::Result<()> {
    let handle = thread()?;
    let _registers_there = handle.enter();
    port.set_nonblocking(true)?;
    let port = UnixStream::from_std(port)?;
    handle.spawn(Carrier::new(room, end).serve(port));
    Ok(())
}

struct Carrier {
    room: Arc<Room>,
    end: watch::Receiver<Option<Exit>>,
    places: Arc<Semaphore>,
    streams: Streams,
}

type Streams = Arc<Mutex<HashMap<u32, Known>>>;

/// One connection, as the port's reader knows it.
struct Known {
    /// What the program sends, until it has sent everything. Bounded by `expected`.
    to_room: Option<mpsc::UnboundedSender<Vec<u8>>>,
    /// How many bytes the guest may still send.
    expected: Arc<AtomicUsize>,
    /// How many we may.
    window: Arc<Semaphore>,
    broken: Arc<Notify>,
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn known(streams: &Streams) -> MutexGuard<'_, HashMap<u32, Known>> {
    streams.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Carrier {
    fn new(room: Room, end: watch::Receiver<Option<Exit>>) -> Self {
        Self { room: Arc::new(room), end, places: Arc::new(Semaphore::new(MOST_CONNECTIONS)), streams: Arc::default() }
    }

    async fn serve(self, port: UnixStream) {
        let (from_guest, to_guest) = port.into_split();
        let (teller, told) = mpsc::channel(MOST_WAITING);
        let (telling, mut connections) = (tokio::spawn(tell(to_guest, told)), JoinSet::new());
        let served = tokio::select! {
            served = self.carry(from_guest, teller, &mut connections) => served,
            () = ended(self.end.clone()) => Ok(()),
        };
        if let Err(error) = served
            && error.kind() != io::ErrorKind::UnexpectedEof
        {
            tracing::warn!(server = &*self.room.server, %error, "the connections of a microVM are not served any more");
        }
        telling.abort();
        known(&self.streams).values().for_each(|stream| stream.broken.notify_one());
        // Each tells of its end.
        while connections.join_next().await.is_some() {}
    }

    async fn carry(&self, mut from_guest: OwnedReadHalf, teller: mpsc::Sender<Carried>, tasks: &mut JoinSet<()>) -> io::Result<()> {
        let (mut connections, mut questions) = (Pace::new(CONNECTION_PACE, SECOND), Pace::new(QUESTION_PACE, SECOND));
        loop {
            let record = hear(&mut from_guest).await?;
            match record {
                // While it waits, the guest waits with all that it has to say.
                Carried::Open(number, local) => {
                    connections.keep().await;
                    tasks.spawn(self.open(number, local, teller.clone())?);
                }
                Carried::Question(asker, packet) => {
                    questions.keep().await;
                    if let Some(answer) = dns::answer(&packet, |name| self.room.look_up(name)) {
                        // Where there is no room for it, the program asks again, if it still wants to know.
                        let _lost_at_most = teller.try_send(Carried::Answer(asker, answer));
                    }
                }
                record => self.take(record)?,
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    /// The task of one connection.
    fn open(&self, number: u32, local: SocketAddr, teller: mpsc::Sender<Carried>) -> io::Result<impl Future<Output = ()> + use<>> {
        let (to_room, from_program) = mpsc::unbounded_channel();
        let (expected, window) = (Arc::new(AtomicUsize::new(WINDOW_BYTES)), Arc::new(Semaphore::new(WINDOW_BYTES)));
        let broken = Arc::new(Notify::new());
        let mut streams = known(&self.streams);
        if streams.len() >= MOST_KNOWN || streams.contains_key(&number) {
            return Err(nonsense("a guest opens more connections than it may"));
        }
        let entry = Known { to_room: Some(to_room), expected: expected.clone(), window: window.clone(), broken: broken.clone() };
        streams.insert(number, entry);
        let (streams, room, end, places) = (self.streams.clone(), self.room.clone(), self.end.clone(), self.places.clone());
        let closed = window.clone();
        Ok(async move {
            // Never closed, so there is always a place at some time.
            let place = places.acquire_owned().await;
            let (ours, theirs) = duplex(PIECE);
            let (read, write) = split(theirs);
            let inside = GuestEnd { stream: ours, is_refused: Arc::default() };
            let is_refused = inside.is_refused.clone();
            let over = async {
                tokio::select! {
                    () = ended(end) => {}
                    () = broken.notified() => {}
                }
                closed.close(); // a guest that is gone gives no more room, and nobody is to wait for it
            };
            let relayed = relay::serve(inside, local, &room, over);
            let said = pass_on(number, read, &window, &teller, &is_refused);
            let both = async { tokio::join!(relayed, said) };
            tokio::select! {
                _over = both => {}
                () = take_in(number, from_program, write, &expected, &teller) => {}
            }
            known(&streams).remove(&number);
            let last = if is_refused.load(Ordering::SeqCst) { Carried::Reset(number) } else { Carried::Close(number) };
            // Without a port there is nobody to be told.
            let _told = teller.send(last).await;
            drop(place);
        })
    }

    /// A record about a connection. One that is over here already means nothing.
    fn take(&self, record: Carried) -> io::Result<()> {
        let mut streams = known(&self.streams);
        match record {
            Carried::Data(number, bytes) => {
                let Some(stream) = streams.get(&number) else { return Ok(()) };
                if bytes.is_empty() {
                    return Err(nonsense("a guest sends nothing")); // which would cost it nothing, and us a place in a queue
                }
                let spent = stream.expected.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(bytes.len()));
                spent.map_err(|_| nonsense("a guest sends more than it may"))?;
                let to_room = stream.to_room.as_ref().ok_or_else(|| nonsense("a guest goes on behind its end"))?;
                // Whoever took them may be over.
                let _untaken = to_room.send(bytes);
            }
            Carried::Taken(number, count) => {
                let Some(stream) = streams.get(&number) else { return Ok(()) };
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                if count > WINDOW_BYTES.saturating_sub(stream.window.available_permits()) {
                    return Err(nonsense("a guest has taken more than there was"));
                }
                stream.window.add_permits(count);
            }
            Carried::End(number) => {
                if let Some(stream) = streams.get_mut(&number) {
                    stream.to_room = None;
                }
            }
            Carried::Close(number) | Carried::Reset(number) => {
                if let Some(stream) = streams.get(&number) {
                    stream.broken.notify_one();
                }
            }
            Carried::Open(..) | Carried::Question(..) | Carried::Answer(..) => return Err(nonsense("a guest answers what nobody asked")),
        }
        Ok(())
    }
}

/// The next record.
async fn hear(port: &mut OwnedReadHalf) -> io::Result<Carried> {
    let mut header = [0; HEADER];
    port.read_exact(&mut header).await?;
    let (kind, length) = length(header, LONGEST_CARRIED).ok_or_else(|| nonsense("a guest's record is too long"))?;
    let mut rest = vec![0; length];
    port.read_exact(&mut rest).await?;
    Carried::decode(kind, &rest).ok_or_else(|| nonsense("a guest's record makes no sense"))
}

async fn tell(mut port: OwnedWriteHalf, mut records: mpsc::Receiver<Carried>) {
    while let Some(record) = records.recv().await {
        if port.write_all(&record.encode()).await.is_err() {
            return;
        }
    }
}

/// To the guest: as much as it takes.
async fn pass_on(number: u32, mut from: ReadHalf<DuplexStream>, window: &Semaphore, to: &mpsc::Sender<Carried>, is_refused: &AtomicBool) {
    let mut piece = vec![0; PIECE];
    loop {
        let room = match window.acquire().await {
            Ok(one) => {
                one.forget();
                1 + window.forget_permits(PIECE - 1)
            }
            Err(_) => return,
        };
        let read = match piece.get_mut(..room) {
            Some(piece) => from.read(piece).await.unwrap_or(0),
            None => 0,
        };
        window.add_permits(room - read);
        let record = match piece.get(..read).filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => Carried::Data(number, bytes.to_vec()),
            // Its reset follows.
            None if is_refused.load(Ordering::SeqCst) => return,
            None => Carried::End(number),
        };
        let is_end = matches!(record, Carried::End(_));
        if to.send(record).await.is_err() || is_end {
            return;
        }
    }
}

/// From the guest, as fast as it is taken; never ends, since the other way may go on.
async fn take_in(
    number: u32,
    mut from: mpsc::UnboundedReceiver<Vec<u8>>,
    mut to: WriteHalf<DuplexStream>,
    expected: &AtomicUsize,
    teller: &mpsc::Sender<Carried>,
) {
    while let Some(bytes) = from.recv().await {
        // Nobody takes it any more: the other way tells so.
        if to.write_all(&bytes).await.is_err() {
            break;
        }
        expected.fetch_add(bytes.len(), Ordering::SeqCst);
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let _told = teller.send(Carried::Taken(number, count)).await;
    }
    drop(from); // nothing more is kept for it
    let _closed_anyhow = to.shutdown().await;
    std::future::pending::<()>().await;
}

/// The program's end of a connection that a machine carries.
struct GuestEnd {
    stream: DuplexStream,
    is_refused: Arc<AtomicBool>,
}

impl Inside for GuestEnd {
    fn stream(&mut self) -> &mut impl Stream {
        &mut self.stream
    }

    fn halves(&mut self) -> (impl AsyncRead + Send + Unpin, impl AsyncWrite + Send + Unpin) {
        split(&mut self.stream)
    }

    fn hurry(&self) -> io::Result<()> {
        Ok(())
    }

    fn refuse(&self) {
        self.is_refused.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
