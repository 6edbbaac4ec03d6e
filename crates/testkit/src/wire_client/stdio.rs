//! stdio: a child, one message a line.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::fault::Fault;
use super::heard::Stream;
use super::inbox::Inbox;

/// The child's stdin until it is closed, shared with the task that reads what is to be answered.
type Input = Arc<Mutex<Option<ChildStdin>>>;

/// How long the child may take for each step of its end: the SDKs' own.
const PATIENCE: Duration = Duration::from_secs(2);

/// A child and the pipe to it. The child is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Pipe {
    input: Input,
    child: Child,
}

impl Pipe {
    pub(super) fn open(command: &[String], environment: &[(String, String)], inbox: &Arc<Inbox>) -> Result<Self, Fault> {
        let (program, arguments) = command.split_first().ok_or_else(|| Fault::NotSpoken("a command without a program".to_owned()))?;
        let mut process = Command::new(program);
        process.args(arguments).env_clear().envs(environment.iter().cloned()).kill_on_drop(true);
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = process.spawn().map_err(|error| Fault::Closed(format!("{program}: {error}")))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Fault::Closed(format!("{program}: no pipes")));
        };
        let input = Arc::new(Mutex::new(Some(input)));
        tokio::spawn(read(output, Arc::clone(&input), Arc::clone(inbox)));
        Ok(Self { input, child })
    }

    pub(super) async fn send(&self, message: &Value) -> Result<(), Fault> {
        write(&self.input, message).await
    }

    /// The child's process id, while it runs.
    pub(super) fn process(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends the child as the specification has it and the SDKs do: stdin is closed, then comes SIGTERM, and SIGKILL last, when this is
    /// dropped.
    pub(super) async fn close(&mut self) {
        // Dropping it is what closes the pipe.
        drop(self.input.lock().await.take());
        if timeout(PATIENCE, self.child.wait()).await.is_ok() {
            return;
        }
        if let Some(process) = self.child.id() {
            let _it_ended_meanwhile = Command::new("kill").args(["-TERM", &process.to_string()]).stderr(Stdio::null()).status().await;
        }
        let _killed_on_drop = timeout(PATIENCE, self.child.wait()).await;
    }
}

async fn write(input: &Mutex<Option<ChildStdin>>, message: &Value) -> Result<(), Fault> {
    let line = format!("{message}\n");
    let mut input = input.lock().await;
    let input = input.as_mut().ok_or_else(|| Fault::Closed("stdin, by this client".to_owned()))?;
    let written = input.write_all(line.as_bytes()).await;
    written.map_err(|error| Fault::Closed(format!("stdin: {error}")))
}

/// Reads to the end of the child's stdout. A line that is no JSON ends the connection, since nothing else may stand there.
async fn read(output: ChildStdout, input: Input, inbox: Arc<Inbox>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(message) = serde_json::from_str(&line) else {
            return inbox.close(&format!("a line that is no JSON: {line}"));
        };
        for answer in inbox.take(message, Stream::Only, None) {
            if write(&input, &answer).await.is_err() {
                break;
            }
        }
    }
    inbox.close("the child closed its stdout");
}
