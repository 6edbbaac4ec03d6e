//! A front door before a server in process: what the door alone costs.
//!
//! `cargo run --release --example echo_front -- 127.0.0.1:7421`, then drive it with a load generator.
#![allow(clippy::print_stderr, reason = "a program for measuring")]

use std::net::SocketAddr;
use std::sync::Arc;

use sallyport_protocol::{Revision, ServerIdentity};
use sallyport_testkit::{ScriptedFront, ScriptedServer};
use sallyport_transport::server::http::{Options, serve};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: SocketAddr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7421".to_owned()).parse()?;
    let front = Arc::new(ScriptedFront::open(ScriptedServer::forgetful(Revision::V2025_06_18)));
    eprintln!("listening on {address}");
    serve(TcpListener::bind(address).await?, front, Options::new(ServerIdentity::new("echo_front", "0")), std::future::pending()).await;
    Ok(())
}
