//! A program in a sandbox that takes orders, and what it answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines, Take};
use tokio::time::timeout;

use super::HOSTILE_ARGUMENT;
use super::wire::{Answer, Attempt, Order};
use crate::backend::Backend;
use crate::error::Error;
use crate::instance::{Exit, Instance, Running, Stdin, Stdout};
use crate::profile::{EnvText, Profile, Program};

/// Every row is done within seconds, on a busy machine and in a machine without its own processor within this.
const ROW_LIMIT: Duration = Duration::from_secs(120);

/// What a contender may say altogether: all rows together come to a hundredth.
const MOST_BYTES: u64 = 16 << 20;

/// Which binary is started, and where what it writes to stderr goes.
pub(super) struct Kind<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) binary: PathBuf,
    pub(super) name: &'static str,
    pub(super) variable: (&'static str, String),
    pub(super) log: PathBuf,
    pub(super) profile: Profile,
    /// The folder of the machine in whose monitor's place it is.
    pub(super) room: Option<PathBuf>,
}

/// One program that runs.
pub(super) struct Contender {
    pub(super) instance: Instance<Running>,
    stdin: Option<Stdin>,
    lines: Lines<BufReader<Take<Stdout>>>,
    /// What it has said since somebody looked.
    pub(super) said: String,
}

/// What came of an order.
#[derive(Default)]
pub(super) struct Carried {
    pub(super) attempts: Vec<Attempt>,
    /// Random numbers, by where they are from.
    pub(super) drawn: BTreeMap<String, String>,
    /// Why the order was not carried out to its end.
    pub(super) broken: Option<String>,
}

impl Contender {
    pub(super) async fn start(kind: &Kind<'_>) -> Result<Self, Error> {
        let mut program = Program::new(kind.name, kind.binary.to_string_lossy());
        program.args.push(HOSTILE_ARGUMENT.to_owned());
        let (name, value) = &kind.variable;
        program.env.insert((*name).to_owned(), EnvText::from(value.clone()));
        program.log = Some(kind.log.clone());
        program.cwd.clone_from(&kind.room);
        program.room.clone_from(&kind.room);
        let instance = kind.backend.launch(&kind.profile, &program).await?;
        let (stdin, stdout) = instance.take_io().ok_or_else(|| Error::new("the stdio of a hostile program is taken"))?;
        Ok(Self { instance, stdin: Some(stdin), lines: BufReader::new(stdout.take(MOST_BYTES)).lines(), said: String::new() })
    }

    /// Gives an order and hears what comes of it.
    pub(super) async fn carry_out(&mut self, order: &Order) -> Carried {
        let mut carried = Carried::default();
        let heard = timeout(ROW_LIMIT, self.hear(order, &mut carried)).await;
        carried.broken = heard.unwrap_or_else(|_| Some(format!("it did not come to an end within {ROW_LIMIT:?}")));
        carried
    }

    /// Why it was not carried out to its end.
    async fn hear(&mut self, order: &Order, carried: &mut Carried) -> Option<String> {
        if self.give(order).await.is_err() {
            return Some(self.last_words().await);
        }
        loop {
            let line = match self.lines.next_line().await {
                Ok(Some(line)) => line,
                Ok(None) => return Some(self.last_words().await),
                Err(error) => return Some(format!("it cannot be heard: {error}")),
            };
            self.said.push_str(&line);
            match serde_json::from_str(&line) {
                Ok(Answer::Attempt(attempt)) => carried.attempts.push(attempt),
                Ok(Answer::Drawn { from, number }) => {
                    carried.drawn.insert(from, number);
                }
                Ok(Answer::Done) => return None,
                Err(error) => return Some(format!("it said something else: {error}")),
            }
        }
    }

    /// Gives an order whose answers somebody else hears: gives what it writes from then on.
    pub(super) async fn give_away(mut self, order: &Order) -> Result<(Instance<Running>, Stdout), Error> {
        self.give(order).await.map_err(|cause| Error::io("a hostile program takes no order", &cause))?;
        // It was heard to the end of its last line: nothing waits in between.
        let stdout = self.lines.into_inner().into_inner().into_inner();
        Ok((self.instance, stdout))
    }

    async fn give(&mut self, order: &Order) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        let stdin = self.stdin.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?;
        stdin.write_all(&line).await?;
        stdin.flush().await
    }

    async fn last_words(&self) -> String {
        const MOMENT: Duration = Duration::from_secs(2);
        let ended = timeout(MOMENT, self.instance.wait()).await;
        let how = ended.map_or_else(|_| "closed its stdout".to_owned(), |exit: Exit| exit.to_string());
        [vec![format!("it {how}")], self.instance.stderr_tail()].concat().join(" | ")
    }

    /// No more orders: for a program that minds that, the time to end.
    pub(super) fn close(&mut self) {
        self.stdin = None;
    }

    /// Whether it still answers.
    pub(super) async fn answers(&mut self) -> bool {
        self.carry_out(&Order::Ping).await.broken.is_none()
    }
}
