//! Looks at the first bytes that a program sends to a name: they must not be for another one.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::event::Refusal;
use super::hello::{self, Hello};
use super::name::Name;
use super::relay::Stop;
use super::request::{self, First};

/// Between two parts of a client's first message: TLS has one or two packets of it, a request's head as many.
const PART_LIMIT: Duration = Duration::from_secs(10);

/// The beginning of what a program sends.
pub(super) struct Start<'a> {
    /// Whom it is for; nobody where the program asked for an address, which is not looked into.
    name: Option<&'a Name>,
    seen: Vec<u8>,
    passed: usize,
    is_over: bool,
}

enum Verdict {
    /// These bytes may pass, and all that follow.
    Pass(Vec<u8>),
    /// So far there is nothing that anybody would carry out.
    PassSoFar,
    /// More must come first, or else this.
    Wait(Refusal),
    Refuse(Refusal),
}

impl<'a> Start<'a> {
    pub(super) fn new(name: Option<&'a Name>, seen: Vec<u8>) -> Self {
        Self { name, seen, passed: 0, is_over: false }
    }

    /// The next bytes that may pass; `None` once all that follows may.
    pub(super) async fn next(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>, Stop> {
        while !self.is_over {
            match self.judge() {
                Verdict::Pass(bytes) => {
                    self.is_over = true;
                    return Ok(bytes.get(self.passed..).map(<[u8]>::to_vec));
                }
                Verdict::PassSoFar if self.passed < self.seen.len() => {
                    let piece = self.seen.get(self.passed..).map(<[u8]>::to_vec);
                    self.passed = self.seen.len();
                    return Ok(piece);
                }
                // In some protocols the other side speaks first: only who has begun must go on.
                Verdict::PassSoFar => self.is_over = from.read_buf(&mut self.seen).await? == 0,
                Verdict::Wait(refusal) => match timeout(PART_LIMIT, from.read_buf(&mut self.seen)).await {
                    Ok(Err(error)) => return Err(error.into()),
                    Ok(Ok(1..)) => {}
                    Ok(Ok(0)) | Err(_) => return Err(refusal.into()),
                },
                Verdict::Refuse(refusal) => return Err(refusal.into()),
            }
        }
        Ok(None)
    }

    fn judge(&self) -> Verdict {
        let Some(name) = self.name else { return Verdict::Pass(self.seen.clone()) };
        if self.seen.is_empty() {
            return Verdict::PassSoFar;
        }
        match hello::read(&self.seen) {
            Hello::For(other) if other == *name => Verdict::Pass(self.seen.clone()),
            Hello::For(_) | Hello::ForNobody | Hello::Malformed => Verdict::Refuse(Refusal::ServerName),
            Hello::Unfinished => Verdict::Wait(Refusal::ServerName),
            Hello::Plain => match request::read(&self.seen) {
                First::Other => Verdict::Pass(self.seen.clone()),
                First::Line => Verdict::PassSoFar,
                First::Unfinished => Verdict::Wait(Refusal::HostField),
                First::For(other, alone) if other == *name => Verdict::Pass(alone),
                First::For(..) | First::Malformed => Verdict::Refuse(Refusal::HostField),
            },
        }
    }
}
