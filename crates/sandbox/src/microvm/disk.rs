//! Serves a disk to QEMU, over the network block device protocol on a unix socket: read-only, one request at a time, each bounded.
//! The protocol is in the NBD project's `doc/proto.md`.

use std::cell::OnceCell;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Receiver;

use super::image::{Image, Reader};

const INIT: u64 = 0x4e42_444d_4147_4943;
const OPTION: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;

/// The newer handshake, without padding.
const HANDSHAKE_FLAGS: u16 = 0b11;
const OPTION_ABORT: u32 = 2;
const OPTION_GO: u32 = 7;
const ACKNOWLEDGED: u32 = 1;
const INFORMATION: u32 = 3;
const UNSUPPORTED: u32 = 0x8000_0001;
/// There are flags; read-only.
const TRANSMISSION_FLAGS: u16 = 0b11;

const COMMAND_READ: u16 = 0;
const COMMAND_DISCONNECT: u16 = 2;

const EPERM: u32 = 1;
const EIO: u32 = 5;
const EINVAL: u32 = 22;

/// Options are a few bytes long.
const LONGEST_OPTION: u32 = 4096;
/// QEMU asks for no more of a disk at a time; each read takes as much memory.
const LONGEST_READ: u32 = 2 * 1024 * 1024;

/// Every disk is as large, in bytes, whatever is on it: a machine that is restored has seen its size before. Behind what is on it
/// there are zeros.
const SIZE: u64 = 1 << 40;

/// Serves until the other end closes; an error there is its end as well. What is on the disk may come later: until then it is empty. A kernel
/// that boots looks for partitions, and reads nothing else before its init has heard what to start.
pub(super) fn serve(mut stream: UnixStream, image: &Receiver<Image>) {
    let served = shake_hands(&mut stream).and_then(|go| if go { answer_all(&mut stream, image) } else { Ok(()) });
    if let Err(error) = served
        && !matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
    {
        tracing::warn!(%error, "the disk of a microVM is not served any more");
    }
}

/// Whether the other end wants to read.
fn shake_hands(stream: &mut UnixStream) -> io::Result<bool> {
    let greeting = [&INIT.to_be_bytes()[..], &OPTION.to_be_bytes(), &HANDSHAKE_FLAGS.to_be_bytes()].concat();
    stream.write_all(&greeting)?;
    let _flags: [u8; 4] = read(stream)?;
    loop {
        if u64::from_be_bytes(read(stream)?) != OPTION {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (option, length) = (u32::from_be_bytes(read(stream)?), u32::from_be_bytes(read(stream)?));
        if length > LONGEST_OPTION {
            return Err(io::ErrorKind::InvalidData.into());
        }
        io::copy(&mut Read::take(&mut *stream, length.into()), &mut io::sink())?;
        match option {
            OPTION_GO => {
                let export = [&0_u16.to_be_bytes()[..], &SIZE.to_be_bytes(), &TRANSMISSION_FLAGS.to_be_bytes()].concat();
                reply(stream, option, INFORMATION, &export)?;
                reply(stream, option, ACKNOWLEDGED, &[])?;
                return Ok(true);
            }
            OPTION_ABORT => {
                reply(stream, option, ACKNOWLEDGED, &[])?;
                return Ok(false);
            }
            _ => reply(stream, option, UNSUPPORTED, &[])?,
        }
    }
}

fn reply(stream: &mut UnixStream, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let head = [&OPTION_REPLY.to_be_bytes()[..], &option.to_be_bytes(), &kind.to_be_bytes(), &length.to_be_bytes(), data];
    stream.write_all(&head.concat())
}

struct Request {
    command: u16,
    cookie: [u8; 8],
    offset: u64,
    length: u32,
}

impl Request {
    fn next(stream: &mut UnixStream) -> io::Result<Self> {
        if u32::from_be_bytes(read(stream)?) != REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let _flags: [u8; 2] = read(stream)?;
        let (command, cookie) = (u16::from_be_bytes(read(stream)?), read(stream)?);
        Ok(Self { command, cookie, offset: u64::from_be_bytes(read(stream)?), length: u32::from_be_bytes(read(stream)?) })
    }
}

fn answer_all(stream: &mut UnixStream, image: &Receiver<Image>) -> io::Result<()> {
    let (shown, mut answer) = (OnceCell::new(), Vec::new());
    let mut reader = None;
    loop {
        let Request { command, cookie, offset, length } = Request::next(stream)?;
        if reader.is_none()
            && let Ok(image) = image.try_recv()
        {
            reader = Some(Reader::new(shown.get_or_init(|| image)));
        }
        answer.clear();
        answer.extend(REPLY.to_be_bytes());
        let error = match command {
            COMMAND_DISCONNECT => return Ok(()),
            COMMAND_READ if length <= LONGEST_READ && offset.checked_add(length.into()).is_some_and(|end| end <= SIZE) => {
                let head = answer.len() + 4 + cookie.len();
                answer.resize(head + length as usize, 0);
                // What lies behind the end stays zero.
                let size = shown.get().map_or(0, Image::size);
                let there = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX).min(length as usize);
                let place = answer.get_mut(head..head + there).filter(|place| !place.is_empty());
                let read = place.zip(reader.as_mut()).map_or(Ok(()), |(place, reader)| reader.read(offset, place));
                read.map_or(EIO, |()| 0)
            }
            COMMAND_READ => EINVAL,
            _ => EPERM,
        };
        // Only a read that went well is followed by what was read.
        answer.resize(if error == 0 { answer.len().max(16) } else { 16 }, 0);
        for (place, byte) in answer.iter_mut().skip(4).zip(error.to_be_bytes().into_iter().chain(cookie)) {
            *place = byte;
        }
        stream.write_all(&answer)?;
    }
}

fn read<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::sync::mpsc::channel;

    use super::*;
    use crate::policy::{Network, View};

    fn ask(stream: &mut UnixStream, command: u16, offset: u64, length: u32) -> u32 {
        let request = [&REQUEST.to_be_bytes()[..], &[0, 0], &command.to_be_bytes(), &[7; 8], &offset.to_be_bytes(), &length.to_be_bytes()];
        stream.write_all(&request.concat()).unwrap();
        let reply: [u8; 16] = read(stream).unwrap();
        assert_eq!((&reply[..4], &reply[8..]), (&REPLY.to_be_bytes()[..], &[7; 8][..]));
        u32::from_be_bytes(reply[4..8].try_into().unwrap())
    }

    fn empty() -> (Receiver<Image>, u64) {
        let image = Image::of(&View::default(), None, &Network::None).unwrap();
        let (size, (show, shown)) = (image.size(), channel());
        show.send(image).unwrap();
        (shown, size)
    }

    #[test]
    fn a_hostile_monitor_gets_the_disk_and_nothing_else() {
        let (image, size) = empty();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || serve(theirs, &image));
            let _greeting: [u8; 18] = read(&mut ours).unwrap();
            ours.write_all(&[0; 4]).unwrap();
            for option in [99, OPTION_GO] {
                ours.write_all(&[&OPTION.to_be_bytes()[..], &u32::to_be_bytes(option), &3_u32.to_be_bytes(), b"abc"].concat()).unwrap();
            }
            let _replies: [u8; 20 + 32 + 20] = read(&mut ours).unwrap();
            assert_eq!(ask(&mut ours, COMMAND_READ, 1024, 4), 0);
            assert_eq!(read(&mut ours).unwrap(), 0xE0F5_E1E2_u32.to_le_bytes(), "erofs");
            assert_eq!(ask(&mut ours, COMMAND_READ, size - 1, 2), 0);
            assert_eq!(read(&mut ours).unwrap(), [0, 0], "behind its end");
            assert_eq!(ask(&mut ours, COMMAND_READ, SIZE - 1, 2), EINVAL);
            assert_eq!(ask(&mut ours, COMMAND_READ, u64::MAX, 1), EINVAL);
            assert_eq!(ask(&mut ours, COMMAND_READ, 0, u32::MAX), EINVAL);
            assert_eq!(ask(&mut ours, 1, 0, 0), EPERM, "writing");
            ours.write_all(&[0xFF; 28]).unwrap();
            assert_eq!(ours.read(&mut [0]).unwrap_or(0), 0, "nonsense is the end");
        });
    }

    #[test]
    fn a_hostile_handshake_is_the_end() {
        for said in [[0xFF; 20].to_vec(), [&[0; 4][..], &OPTION.to_be_bytes(), &[0; 4], &u32::MAX.to_be_bytes()].concat()] {
            let (image, _) = empty();
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(&said).unwrap();
            serve(theirs, &image);
            assert_eq!(ours.read_to_end(&mut Vec::new()).unwrap_or(18), 18, "only the greeting");
        }
    }
}
