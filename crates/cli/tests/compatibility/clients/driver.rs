//! A driver program of `peers/drivers`: one line of JSON in, one line out.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::harness::peers;
use crate::visit::{Answer, Visit};

pub(crate) struct Driver {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Driver {
    pub(crate) fn node(file: &str) -> Self {
        Self::start(&peers::node(), file)
    }

    pub(crate) fn python(interpreter: String, file: &str) -> Self {
        Self::start(&interpreter, file)
    }

    fn start(interpreter: &str, file: &str) -> Self {
        let mut command = Command::new(interpreter);
        command.arg(peers::driver(file)).env("SALLYPORT_PEERS", peers::folder()).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the driver starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Self { child, input, output }
    }

    pub(crate) fn visit(&mut self, visit: &Visit) -> Answer {
        let mut line = serde_json::to_string(visit).expect("a visit is JSON");
        line.push('\n');
        self.input.as_mut().expect("open until dropped").write_all(line.as_bytes()).expect("the driver reads");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("the driver writes");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("the driver answered {answer:?}: {error}"))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A driver ends when its stdin does; one that hangs must not hang the test.
        drop(self.input.take());
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
