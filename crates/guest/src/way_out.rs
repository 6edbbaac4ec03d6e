//! The guest's end of the way out: takes the program's connections and questions for names, and carries them over a port to the gateway,
//! which alone knows who may be reached. One thread; whatever one connection has under way is bounded by its windows.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::{self, sleep};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::set_socket_linger;
use sallyport_guest::network::{Kernel, everywhere, listener, names};
use sallyport_guest::{Carried, EGRESS_PORT, HEADER, LONGEST_CARRIED, MOST_STREAMS, PIECE, WINDOW, WayOut, length};

use crate::port;
use crate::step::{Failed, Step};

/// The largest packet with a question that is passed on; the gateway looks at no larger ones.
const LONGEST_QUESTION: usize = 513;
/// Whoever asked and has no answer yet; the oldest has given up by then.
const MOST_ASKERS: usize = 64;
/// When a connection cannot be taken, for want of a descriptor: others may end meanwhile.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Makes the sockets, and serves them from then on.
pub(crate) fn open(way_out: &WayOut) -> Result<(), Failed> {
    let carrier = Carrier::new(way_out)?;
    thread::Builder::new().spawn(move || carrier.carry()).step("carry connections")?;
    Ok(())
}

struct Carrier {
    port: File,
    /// What came over the port and is no whole record yet.
    heard: Vec<u8>,
    listeners: Vec<TcpListener>,
    names: UdpSocket,
    streams: BTreeMap<u32, Stream>,
    last_stream: u32,
    askers: VecDeque<(u32, SocketAddr)>,
    last_asker: u32,
}

/// One connection of the program's.
struct Stream {
    socket: TcpStream,
    /// How much more the gateway takes of what the program sends.
    credit: usize,
    /// What the program has not taken yet; within the window.
    pending: VecDeque<u8>,
    /// The program sends nothing more.
    said_all: bool,
    /// The program gets nothing more behind what is pending.
    heard_all: bool,
    /// The gateway takes nothing more either.
    is_closed: bool,
}

/// What became of a connection.
#[derive(PartialEq)]
enum Fate {
    GoesOn,
    Over,
    Broken,
}

/// What of the world is ready.
#[derive(Clone, Copy)]
enum Source {
    Port,
    Names,
    Listener(usize),
    Stream(u32),
}

impl Carrier {
    fn new(way_out: &WayOut) -> Result<Self, Failed> {
        let kernel = Kernel::connect().step("talk with the kernel about the network")?;
        kernel.raise_loopback().step("raise the loopback interface")?;
        for (address, prefix) in &way_out.blocks {
            kernel.make_local(*address, *prefix).step(&format!("make {address}/{prefix} local"))?;
        }
        let names = UdpSocket::from(names(way_out.names).step("make the socket for names")?);
        names.set_nonblocking(true).step("make the socket for names")?;
        let mut listeners = Vec::new();
        for port in &way_out.ports {
            for address in everywhere(way_out.blocks.iter().map(|(address, _)| *address)) {
                let listener = listener(SocketAddr::new(address, *port)).map_err(io::Error::from).and_then(unblocking);
                listeners.push(listener.step(&format!("listen at {address} port {port}"))?);
            }
        }
        let port = port::open(EGRESS_PORT).step("open the port for connections")?;
        let (streams, askers) = (BTreeMap::new(), VecDeque::new());
        Ok(Self { port, heard: Vec::new(), listeners, names, streams, last_stream: 0, askers, last_asker: 0 })
    }

    /// Until the gateway is gone: then every connection breaks.
    fn carry(mut self) {
        while self.turn().is_ok() {}
    }

    fn turn(&mut self) -> io::Result<()> {
        for source in self.wait() {
            match source {
                Source::Port => self.hear()?,
                Source::Names => self.ask()?,
                Source::Listener(position) => self.accept(position)?,
                Source::Stream(number) => self.move_stream(number)?,
            }
        }
        Ok(())
    }

    /// Whoever has something to say, or room for what is to be said to it.
    fn wait(&self) -> Vec<Source> {
        let mut sources = vec![Source::Port, Source::Names];
        let mut polled = vec![PollFd::new(&self.port, PollFlags::IN), PollFd::new(&self.names, PollFlags::IN)];
        if self.streams.len() < MOST_STREAMS {
            for (position, listener) in self.listeners.iter().enumerate() {
                sources.push(Source::Listener(position));
                polled.push(PollFd::new(listener, PollFlags::IN));
            }
        }
        for (number, stream) in &self.streams {
            let wanted = stream.wants();
            if !wanted.is_empty() {
                sources.push(Source::Stream(*number));
                polled.push(PollFd::from_borrowed_fd(stream.socket.as_fd(), wanted));
            }
        }
        let _interrupted_at_most = poll(&mut polled, None);
        let ready = sources.into_iter().zip(&polled).filter(|(_, polled)| !polled.revents().is_empty());
        ready.map(|(source, _)| source).collect()
    }

    fn tell(&mut self, record: &Carried) -> io::Result<()> {
        self.port.write_all(&record.encode())
    }

    fn accept(&mut self, position: usize) -> io::Result<()> {
        let Some(listener) = self.listeners.get(position).filter(|_| self.streams.len() < MOST_STREAMS) else { return Ok(()) };
        let taken = listener.accept().and_then(|(socket, _)| {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            Ok((socket.local_addr()?, socket))
        });
        let (local, socket) = match taken {
            Ok(taken) => taken,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(_) => {
                sleep(AFTER_FAILURE);
                return Ok(());
            }
        };
        self.last_stream = self.last_stream.wrapping_add(1);
        self.streams.insert(self.last_stream, Stream::new(socket));
        self.tell(&Carried::Open(self.last_stream, local))
    }

    /// Passes a question on.
    fn ask(&mut self) -> io::Result<()> {
        let mut packet = vec![0; LONGEST_QUESTION];
        let Ok((length, asker)) = self.names.recv_from(&mut packet) else { return Ok(()) };
        packet.truncate(length);
        self.last_asker = self.last_asker.wrapping_add(1);
        if self.askers.len() == MOST_ASKERS {
            self.askers.pop_front();
        }
        self.askers.push_back((self.last_asker, asker));
        self.tell(&Carried::Question(self.last_asker, packet))
    }

    /// Reads what the gateway has sent, and does what is whole.
    fn hear(&mut self) -> io::Result<()> {
        let mut piece = [0; PIECE];
        let read = match self.port.read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            read => read?,
        };
        self.heard.extend(piece.get(..read).unwrap_or_default());
        let heard = std::mem::take(&mut self.heard);
        let mut rest = &*heard;
        while let Some((header, behind)) = rest.split_first_chunk::<HEADER>() {
            let (kind, length) = length(*header, LONGEST_CARRIED).ok_or(ErrorKind::InvalidData)?;
            let Some((record, behind)) = behind.split_at_checked(length) else { break };
            self.obey(Carried::decode(kind, record).ok_or(ErrorKind::InvalidData)?)?;
            rest = behind;
        }
        self.heard = rest.to_vec();
        Ok(())
    }

    /// A record about a connection that is over here already means nothing.
    fn obey(&mut self, record: Carried) -> io::Result<()> {
        let number = match &record {
            Carried::Answer(asker, packet) => {
                if let Some(position) = self.askers.iter().position(|(number, _)| number == asker)
                    && let Some((_, to)) = self.askers.remove(position)
                {
                    // It asks again, if it still wants to know.
                    let _lost_at_most = self.names.send_to(packet, to);
                }
                return Ok(());
            }
            Carried::Data(number, _)
            | Carried::Taken(number, _)
            | Carried::End(number)
            | Carried::Close(number)
            | Carried::Reset(number) => *number,
            Carried::Open(..) | Carried::Question(..) => return Err(ErrorKind::InvalidData.into()),
        };
        let Some(stream) = self.streams.get_mut(&number) else { return Ok(()) };
        match record {
            Carried::Data(_, bytes) => stream.pending.extend(bytes),
            Carried::Taken(_, count) => stream.credit += usize::try_from(count).unwrap_or(0),
            Carried::End(_) => stream.heard_all = true,
            Carried::Close(_) => (stream.heard_all, stream.is_closed) = (true, true),
            _ => {
                stream.reset();
                self.streams.remove(&number);
                return Ok(());
            }
        }
        self.move_stream(number)
    }

    /// Moves what can be moved, in both ways.
    fn move_stream(&mut self, number: u32) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(&number) else { return Ok(()) };
        let mut records = Vec::new();
        let fate = stream.move_on(number, &mut records);
        if fate == Fate::Broken {
            records.push(Carried::Reset(number));
        }
        if fate != Fate::GoesOn {
            self.streams.remove(&number);
        }
        records.iter().try_for_each(|record| self.tell(record))
    }
}

fn unblocking(listener: OwnedFd) -> io::Result<TcpListener> {
    let listener = TcpListener::from(listener);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Stream {
    fn new(socket: TcpStream) -> Self {
        let credit = usize::try_from(WINDOW).unwrap_or(0);
        Self { socket, credit, pending: VecDeque::new(), said_all: false, heard_all: false, is_closed: false }
    }

    /// Only what something can be done about: whoever has neither room nor anything to say is not asked.
    fn wants(&self) -> PollFlags {
        let to_read = if self.credit > 0 && !self.said_all && !self.is_closed { PollFlags::IN } else { PollFlags::empty() };
        if self.pending.is_empty() { to_read } else { to_read | PollFlags::OUT }
    }

    fn move_on(&mut self, number: u32, records: &mut Vec<Carried>) -> Fate {
        let moved = self.pass_on(number, records).and_then(|()| self.take(number, records));
        match moved {
            Err(_) => Fate::Broken,
            Ok(()) if self.pending.is_empty() && self.heard_all && (self.said_all || self.is_closed) => Fate::Over,
            Ok(()) => Fate::GoesOn,
        }
    }

    /// To the program.
    fn pass_on(&mut self, number: u32, records: &mut Vec<Carried>) -> io::Result<()> {
        let mut passed = 0;
        while !self.pending.is_empty() {
            match self.socket.write(self.pending.as_slices().0) {
                Ok(written) => {
                    self.pending.drain(..written);
                    passed += written;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if passed > 0 {
            records.push(Carried::Taken(number, u32::try_from(passed).unwrap_or(u32::MAX)));
        }
        if self.pending.is_empty() && self.heard_all {
            // Once more does no harm; whoever has closed it does not need to be told.
            let _closed_anyhow = self.socket.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// From the program.
    fn take(&mut self, number: u32, records: &mut Vec<Carried>) -> io::Result<()> {
        if self.said_all || self.is_closed || self.credit == 0 {
            return Ok(());
        }
        let mut piece = vec![0; PIECE.min(self.credit)];
        match self.socket.read(&mut piece) {
            Ok(0) => {
                self.said_all = true;
                records.push(Carried::End(number));
            }
            Ok(read) => {
                piece.truncate(read);
                self.credit -= read;
                records.push(Carried::Data(number, piece));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// So that the program does not take it for an empty answer. If it cannot be set, it is closed all the same.
    fn reset(&self) {
        let _closed_anyhow = set_socket_linger(&self.socket, Some(Duration::ZERO));
    }
}
