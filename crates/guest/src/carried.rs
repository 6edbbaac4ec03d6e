//! The records on the port that carries connections. The guest takes a program's connections and questions for names; who may be reached,
//! and who is, the gateway alone knows.
//!
//! Each direction of a connection has a window: nobody sends more than [`WINDOW`] bytes beyond what the other end has passed on, so that
//! neither end ever holds more, and no connection stands in the way of another.

use std::net::SocketAddr;

use crate::bytes::{Reader, Writer};

/// The name of the port for connections, as the guest finds it.
pub const EGRESS_PORT: &str = "net.0";

/// Connections of one machine at a time, as of any other sandbox.
pub const MOST_STREAMS: usize = 128;

/// Bytes of one connection and direction that are under way: a round trip through an emulated port is a millisecond, in which no program
/// on such a machine sends more.
pub const WINDOW: u32 = 64 * 1024;

/// Bytes of one record.
pub const PIECE: usize = 16 * 1024;

/// The longest record: a piece, and what it belongs to.
pub const LONGEST_CARRIED: usize = PIECE + 64;

/// What either end says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// The program has connected to this address. The guest gives connections their numbers, none of them twice.
    Open(u32, SocketAddr),
    /// Bytes of a connection.
    Data(u32, Vec<u8>),
    /// So many bytes of a connection were passed on, and as many may follow.
    Taken(u32, u32),
    /// The other end sends nothing more, but still takes.
    End(u32),
    /// Both ways are over, once what was sent before has been passed on.
    Close(u32),
    /// Both ways are over at once: the connection is refused or broken.
    Reset(u32),
    /// A packet with a question for a name; the number stands for whoever asked.
    Question(u32, Vec<u8>),
    /// The answer.
    Answer(u32, Vec<u8>),
}

impl Carried {
    /// The record as it is sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Open(stream, local) => Writer::new(1).u32(*stream).u32(local.port().into()).address(local.ip()).done(),
            Self::Data(stream, bytes) => Writer::new(2).u32(*stream).bytes(bytes).done(),
            Self::Taken(stream, count) => Writer::new(3).u32(*stream).u32(*count).done(),
            Self::End(stream) => Writer::new(4).u32(*stream).done(),
            Self::Close(stream) => Writer::new(5).u32(*stream).done(),
            Self::Reset(stream) => Writer::new(6).u32(*stream).done(),
            Self::Question(asker, packet) => Writer::new(7).u32(*asker).bytes(packet).done(),
            Self::Answer(asker, packet) => Writer::new(8).u32(*asker).bytes(packet).done(),
        }
    }

    /// The record of a header's kind and the rest; `None` if it is malformed.
    #[must_use]
    pub fn decode(kind: u8, rest: &[u8]) -> Option<Self> {
        let mut rest = Reader(rest);
        let number = rest.u32()?;
        let record = match kind {
            1 => {
                let port = u16::try_from(rest.u32()?).ok()?;
                Self::Open(number, SocketAddr::new(rest.address()?, port))
            }
            2 => Self::Data(number, rest.bytes()?),
            3 => Self::Taken(number, rest.u32()?),
            4 => Self::End(number),
            5 => Self::Close(number),
            6 => Self::Reset(number),
            7 => Self::Question(number, rest.bytes()?),
            8 => Self::Answer(number, rest.bytes()?),
            _ => return None,
        };
        rest.is_empty().then_some(record)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;
    use crate::{HEADER, length};

    #[test]
    fn records_arrive_as_they_were_sent_and_a_cut_one_not_at_all() {
        let records = [
            Carried::Open(7, "28.18.0.1:443".parse().unwrap()),
            Carried::Open(8, "[2001:db8::1]:80".parse().unwrap()),
            Carried::Data(7, vec![0; PIECE]),
            Carried::Taken(7, WINDOW),
            Carried::End(7),
            Carried::Close(7),
            Carried::Reset(u32::MAX),
            Carried::Question(1, vec![1, 2]),
            Carried::Answer(1, Vec::new()),
        ];
        for record in records {
            let sent = record.encode();
            let (header, rest) = sent.split_at(HEADER);
            let (kind, length) = length(header.try_into().unwrap(), LONGEST_CARRIED).unwrap();
            assert_eq!(length, rest.len());
            assert_eq!(Carried::decode(kind, rest).as_ref(), Some(&record));
            let cuts = (0..rest.len()).step_by(1 + rest.len() / 64);
            assert!(cuts.into_iter().all(|cut| Carried::decode(kind, &rest[..cut]).is_none()), "{record:?}");
        }
        let strange_address = Writer::new(1).u32(7).u32(80).bytes(&[1, 2, 3]).done();
        assert_eq!(Carried::decode(1, &strange_address[HEADER..]), None);
        let strange_port = Writer::new(1).u32(7).u32(65_536).bytes(&[1, 2, 3, 4]).done();
        assert_eq!(Carried::decode(1, &strange_port[HEADER..]), None);
    }
}
