//! Opens a connection to a server, says what came of it, and sends requests that it reads from its arguments:
//!
//! ```sh
//! cargo run -p sallyport-transport --example probe -- http://127.0.0.1:3001/mcp tools/list tools/call '{"name":"echo","arguments":{}}'
//! cargo run -p sallyport-transport --example probe -- pipes:FROM,TO tools/list     # two named pipes, a server at their other ends
//! ```
//!
//! `PROBE_TIMES=1000` sends the last request that often, and says how long it took. `PROBE_WAIT=5` waits 5 s for news at the end.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for a terminal")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use sallyport_protocol::{
    Asker, BoxFuture, Cancel, Client, Context, ErrorObject, Event, Listener, LogLevel, McpServer, Method, RawJson, RawObject, Request,
    Revision, ServerIdentity,
};
use sallyport_transport::client::{Connection, Options, Target};
use tokio::net::unix::pipe;

type Error = Box<dyn std::error::Error>;

struct Terminal;

impl Asker for Terminal {
    fn notify(&self, method: &str, params: RawObject) {
        println!("  {method} {}", params.to_json().as_str());
    }

    fn ask<'a>(&'a self, method: &'a str, params: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        println!("  asked: {method} {}", params.to_json().as_str());
        let answer = match method {
            "elicitation/create" => Ok(r#"{"action":"decline"}"#),
            "roots/list" => Ok(r#"{"roots":[{"uri":"file:///tmp","name":"tmp"}]}"#),
            "sampling/createMessage" => Ok(r#"{"role":"assistant","model":"none","content":{"type":"text","text":"sampled"}}"#),
            _ => Err(ErrorObject::new(ErrorObject::METHOD_NOT_FOUND, "no such question")),
        };
        Box::pin(async move { answer.map(|text| RawJson::from_static(text).object().unwrap_or_default()) })
    }
}

impl Listener for Terminal {
    fn hear(&self, event: &Event) {
        println!("  news: {event:?}");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let place = arguments.next().ok_or("usage: probe URL|pipes:FROM,TO [METHOD [PARAMS]]…")?;
    let capabilities = RawJson::from_static(r#"{"elicitation":{},"sampling":{},"roots":{}}"#).object()?;
    let mut options = Options::new("probed", ServerIdentity::new("sallyport-probe", env!("CARGO_PKG_VERSION")));
    options.capabilities = capabilities.clone();
    options.known = std::env::var("PROBE_KNOWN").ok().and_then(|name| Revision::from_name(&name));
    let started = Instant::now();
    let connection = match place.strip_prefix("pipes:").and_then(|pipes| pipes.split_once(',')) {
        Some((from, to)) => {
            let read = pipe::OpenOptions::new().open_receiver(from)?;
            let write = pipe::OpenOptions::new().read_write(true).open_sender(to)?;
            Connection::over_stdio(read, write, options).await
        }
        None => Connection::to_url(Target::new(place.parse()?), options).await,
    }
    .map_err(|failure| format!("{failure:?}"))?;
    let discovery = connection.discovery();
    println!("{connection:?} in {:?}: {} {}", started.elapsed(), discovery.identity.name(), discovery.capabilities.to_json().as_str());
    let listener: Arc<dyn Listener> = Arc::new(Terminal);
    connection.listeners().add(&listener);
    let client = Arc::new(Client { revision: Revision::LATEST, capabilities, info: None });
    let arguments: Vec<String> = arguments.collect();
    let mut last = None;
    for (at, name) in arguments.iter().enumerate().filter(|(_, text)| !text.starts_with('{')) {
        let method = Method::from_name(name).or_else(|| Method::of_extension(name)).ok_or("no such method")?;
        let params = arguments.get(at + 1).filter(|text| text.starts_with('{')).cloned().unwrap_or_else(|| "{}".to_owned());
        let mut request = Request::new(method, RawJson::parse(params)?.object()?);
        request.meta.progress_token = Some(RawJson::from_static("1"));
        request.meta.log_level = Some(LogLevel::Debug);
        show(&connection, request.clone(), &client).await;
        request.meta = sallyport_protocol::Meta::default();
        last = Some(request);
    }
    if let (Some(request), Ok(times)) = (last, std::env::var("PROBE_TIMES").unwrap_or_default().parse::<u32>()) {
        repeat(&connection, &request, &client, times).await;
    }
    if let Ok(seconds) = std::env::var("PROBE_WAIT").unwrap_or_default().parse() {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    connection.close().await;
    println!("{:?}", connection.closed().await);
    Ok(())
}

fn context(client: &Arc<Client>) -> Context {
    Context { client: Arc::clone(client), asker: Arc::new(Terminal), cancel: Cancel::new(), credential: None }
}

async fn show(connection: &Connection, request: Request, client: &Arc<Client>) {
    let method = request.method;
    let method = method.as_str();
    match connection.handle(request, context(client)).await {
        Ok(reply) => {
            let text = reply.result.to_json();
            println!("{method}: {} bytes: {}", text.as_bytes().len(), text.as_str().chars().take(300).collect::<String>());
        }
        Err(failure) => println!("{method}: {failure:?}"),
    }
}

async fn repeat(connection: &Connection, request: &Request, client: &Arc<Client>, times: u32) {
    let started = Instant::now();
    for _ in 0..times {
        if let Err(failure) = connection.handle(request.clone(), context(client)).await {
            return println!("failed: {failure:?}");
        }
    }
    println!("{times} times in {:?}: {:?} each", started.elapsed(), started.elapsed() / times);
}
