//! Steers QEMU: its machine protocol, a JSON object a line, over its stdin and stdout. Nobody else can reach it there.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::watch;
use tokio::time::timeout;

use super::vmm::Wish;
use crate::instance::{Process, Stdin, Stdout};

/// Its greeting and its answers are some hundred bytes long.
const LONGEST_LINE: u64 = 64 * 1024;
/// It answers within a millisecond. While it is stopped it does not answer at all: that time is not counted, since it is woken first.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What of its words matters.
#[derive(Deserialize)]
struct Said {
    #[serde(rename = "QMP")]
    greeting: Option<serde::de::IgnoredAny>,
    #[serde(rename = "return")]
    done: Option<serde::de::IgnoredAny>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

/// Steers until QEMU ends; ends it, if it does not follow.
pub(super) fn steer((stdin, stdout): (Stdin, Stdout), process: Arc<dyn Process>) -> Wish {
    let (wish, wishes) = watch::channel(false);
    tokio::spawn(async move {
        let mut line = Line { stdin, stdout: BufReader::new(stdout) };
        if let Err(error) = line.follow(wishes).await {
            if error.kind() != io::ErrorKind::UnexpectedEof && error.kind() != io::ErrorKind::BrokenPipe {
                tracing::warn!(%error, "a microVM cannot be steered any more and is ended");
            }
            process.kill();
        }
    });
    wish
}

struct Line {
    stdin: Stdin,
    stdout: BufReader<Stdout>,
}

impl Line {
    async fn follow(&mut self, mut wishes: watch::Receiver<bool>) -> io::Result<()> {
        while self.hear().await?.greeting.is_none() {}
        self.ask("qmp_capabilities").await?;
        let mut is_stopped = false;
        loop {
            let wanted = *wishes.borrow_and_update();
            if wanted != is_stopped {
                self.ask(if wanted { "stop" } else { "cont" }).await?;
                is_stopped = wanted;
                continue;
            }
            tokio::select! {
                changed = wishes.changed() => if changed.is_err() { return Ok(()) }, // the instance is gone, and with it the machine
                // An event. Cancelled halfway nothing is lost: what was read stays in the buffer.
                there = self.stdout.fill_buf() => if there?.is_empty() { return Err(io::ErrorKind::UnexpectedEof.into()) } else { self.hear().await?; },
            }
        }
    }

    async fn ask(&mut self, command: &str) -> io::Result<()> {
        self.stdin.write_all(format!("{{\"execute\":\"{command}\"}}\n").as_bytes()).await?;
        let answered = async {
            loop {
                match self.hear().await? {
                    Said { error: Some(Refusal { desc }), .. } => return Err(io::Error::other(format!("{command} was refused: {desc}"))),
                    Said { done: Some(_), .. } => return Ok(()),
                    Said { .. } => {} // an event
                }
            }
        };
        timeout(ANSWER_LIMIT, answered).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn hear(&mut self) -> io::Result<Said> {
        let mut line = Vec::new();
        (&mut self.stdout).take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
        match line.last() {
            None => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(b'\n') => Ok(serde_json::from_slice(&line)?),
            Some(_) => Err(io::Error::other("a line without an end")),
        }
    }
}
