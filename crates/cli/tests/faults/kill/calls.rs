//! Calls that go on until somebody stops them, whatever becomes of the gateway.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

/// A tool with its arguments.
pub(super) type Call = (&'static str, Value);

/// Between two rounds of calls there is up to this, in which programs may fall asleep.
const LONGEST_PAUSE: u64 = 600;

/// A number below `bound` that nobody can tell beforehand.
pub(super) fn random(bound: u64) -> u64 {
    RandomState::new().build_hasher().finish() % bound
}

/// Somebody who calls one tool after the other. Stops when this is dropped.
pub(super) struct Calls {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Told {
    is_over: AtomicBool,
    all_answered: AtomicBool,
}

impl Calls {
    pub(super) fn begin(port: u16, calls: &[Call]) -> Self {
        let told = Arc::<Told>::default();
        let (calls, heard) = (calls.to_vec(), told.clone());
        let go_on = move || {
            while !heard.is_over.load(Ordering::Relaxed) {
                // The first round that all answer; there may be no gateway yet, or none any more.
                if calls.iter().all(|call| answers(port, call).unwrap_or(false)) {
                    heard.all_answered.store(true, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(random(LONGEST_PAUSE)));
                } else {
                    thread::sleep(Duration::from_millis(20));
                }
            }
        };
        Self { told, thread: Some(thread::spawn(go_on)) }
    }

    pub(super) fn all_answered(&self) -> bool {
        self.told.all_answered.load(Ordering::Relaxed)
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.told.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it does not panic");
        }
    }
}

/// Calls a tool in revision 2026-07-28, where a request stands alone. Whether it answered without an error.
fn answers(port: u16, (tool, arguments): &Call) -> io::Result<bool> {
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} });
    let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(
        stream,
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.contains("\"content\"") && !answer.contains("\"isError\":true"))
}
