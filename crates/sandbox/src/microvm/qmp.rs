//! Steers QEMU while a machine is saved or restored (its `docs/interop/qmp-spec`): one command after the other, a line of JSON each. What comes
//! back is hostile, and bounded.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::sys::control::send_bytes;

/// A machine is saved or restored within milliseconds; on a busy host within a second.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Longer than any answer or event that is asked for here.
const LONGEST_LINE: u64 = 16 * 1024;
/// Events, of which two are awaited.
const MOST_LINES: usize = 100;

/// The name of the descriptor of a machine's state.
const STATE: &str = "state";

pub(super) struct Qmp(BufReader<UnixStream>);

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "return")]
    done: Option<Value>,
    error: Option<Refused>,
    event: Option<String>,
    data: Option<Value>,
}

#[derive(Deserialize)]
struct Refused {
    desc: String,
}

impl Qmp {
    /// Greets; from then on commands are taken.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        let mut this = Self(BufReader::new(stream));
        let _greeting = this.line()?;
        this.ask("qmp_capabilities", &json!({}), None)?;
        Ok(this)
    }

    /// Writes what is no memory of a machine to `state`, and ends it. Its memory is in its file.
    pub(super) fn save(mut self, state: &File) -> io::Result<()> {
        self.ask("stop", &json!({}), None)?;
        self.prepare(state)?;
        self.ask("migrate", &json!({ "uri": format!("fd:{STATE}") }), None)?;
        self.wait_until_done()?;
        // It may be gone before it has answered.
        let _gone = self.ask("quit", &json!({}), None);
        Ok(())
    }

    /// Reads what was saved, and lets the machine go on.
    pub(super) fn restore(mut self, state: &File) -> io::Result<()> {
        self.prepare(state)?;
        self.ask("migrate-incoming", &json!({ "uri": format!("fd:{STATE}") }), None)?;
        self.wait_until_done()?;
        self.ask("cont", &json!({}), None)
    }

    fn prepare(&mut self, state: &File) -> io::Result<()> {
        let capability = |name: &str| json!({ "capability": name, "state": true });
        let capabilities = [capability("events"), capability("x-ignore-shared")];
        self.ask("migrate-set-capabilities", &json!({ "capabilities": capabilities }), None)?;
        self.ask("getfd", &json!({ "fdname": STATE }), Some(state))
    }

    /// The descriptor travels with the command.
    fn ask(&mut self, command: &str, arguments: &Value, with: Option<&File>) -> io::Result<()> {
        let text = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        match with {
            Some(file) => send_bytes(self.0.get_ref().as_fd(), text.as_bytes(), &[file.as_fd()])?,
            None => self.0.get_mut().write_all(text.as_bytes())?,
        }
        for _ in 0..MOST_LINES {
            match self.line()? {
                Line { error: Some(Refused { desc }), .. } => return Err(io::Error::other(format!("{command}: {desc}"))),
                Line { done: Some(_), .. } => return Ok(()),
                Line { .. } => {}
            }
        }
        Err(io::Error::other(format!("{command} was not answered")))
    }

    fn wait_until_done(&mut self) -> io::Result<()> {
        for _ in 0..MOST_LINES {
            let line = self.line()?;
            let status = line.data.as_ref().and_then(|data| data.get("status")).and_then(Value::as_str);
            match (line.event.as_deref(), status) {
                (Some("MIGRATION"), Some("completed")) => return Ok(()),
                (Some("MIGRATION"), Some("failed" | "cancelled")) => return Err(io::Error::other("the machine's state does not fit")),
                _ => {}
            }
        }
        Err(io::Error::other("it tells of everything but its end"))
    }

    fn line(&mut self) -> io::Result<Line> {
        let mut line = Vec::new();
        (&mut self.0).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::thread;

    use super::*;

    /// What becomes of a machine to be restored by a monitor that says this.
    fn restored(said: &'static str) -> io::Result<()> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let _broken = theirs.write_all(said.as_bytes());
            let _closed = theirs.shutdown(std::net::Shutdown::Write);
            let _read = theirs.read_to_end(&mut Vec::new());
        });
        Qmp::new(ours)?.restore(&File::open("/dev/null").unwrap())
    }

    const GREETED: &str = "{\"QMP\":{}}\n{\"return\":{}}\n{\"return\":{}}\n{\"return\":{}}\n";

    #[test]
    fn a_monitor_is_believed_only_when_it_has_said_so() {
        let done =
            "{\"return\":{}}\n{\"event\":\"MIGRATION\",\"data\":{\"status\":\"completed\"}}\n{\"event\":\"RESUME\"}\n{\"return\":{}}\n";
        restored(format!("{GREETED}{done}").leak()).unwrap();
        for said in [
            String::new(),
            "x".repeat(100_000),
            "{\"QMP\":{}}\n".to_owned(),
            format!("{GREETED}{{\"return\":{{}}}}\n{{\"event\":\"MIGRATION\",\"data\":{{\"status\":\"failed\"}}}}\n"),
            format!("{GREETED}{{\"error\":{{\"class\":\"x\",\"desc\":\"no\"}}}}\n"),
            format!("{GREETED}{}", "{\"event\":\"STOP\"}\n".repeat(1000)),
        ] {
            assert!(restored(said.leak()).is_err());
        }
    }
}
