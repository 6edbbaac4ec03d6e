//! One scripted MCP server that speaks every revision over every transport.
//!
//! It is what the conformance suite and the tests put behind the gateway, so it shares no code with the gateway's own wire: what both got
//! wrong in the same way would never be seen. Each tool is one script; the *legacy* face asks its client by requests of its own, the
//! *modern* face by answering `input_required` and being called again.

mod ask;
mod call;
mod http;
mod legacy;
mod modern;
mod options;
mod outlet;
mod peer;
mod process;
mod prompts;
mod resources;
mod revision;
mod rpc;
mod running;
mod skills;
mod sse;
mod state;
mod stdio;
mod tasks;
#[cfg(test)]
mod tests;
mod tools;

use std::io::Write as _;

use serde_json::{Value, json};

pub use options::{Era, Options, Transport};
pub use process::{Process, command};
pub use revision::Revision;

use state::State;

/// Serves by these options: stdio until stdin ends, the others until the process does.
///
/// # Errors
/// If the address cannot be bound or the transport breaks.
pub async fn serve(options: Options) -> std::io::Result<()> {
    let state = State::new(&options);
    match options.transport {
        Transport::Stdio => stdio::serve(state).await,
        Transport::Http(address) => {
            let (listener, address) = http::bind(address).await?;
            announce(&format!("http://{address}/mcp"))?;
            http::serve(state, listener, http::handle).await
        }
        Transport::Sse(address) => {
            let (listener, address) = http::bind(address).await?;
            announce(&format!("http://{address}/sse"))?;
            http::serve(state, listener, sse::handle).await
        }
    }
}

/// Tells whoever started the process where it listens.
fn announce(url: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{url}")?;
    stdout.flush()
}

/// Whether the message carries its version, as a modern request does.
fn is_enveloped(message: &Value) -> bool {
    message["params"]["_meta"][modern::VERSION].is_string()
}

/// What the fixture calls itself.
fn identity(revision: Revision) -> Value {
    let mut identity = json!({ "name": "sallyport-fixture", "version": env!("CARGO_PKG_VERSION") });
    if revision >= Revision::V2025_06_18 {
        identity["title"] = "Sallyport fixture".into();
    }
    identity
}
