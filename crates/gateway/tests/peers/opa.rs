//! OPA's REST API as far as a decision is asked by it, over regorus. There is no package of OPA itself that tests could install: what is
//! shown of OPA is the shape of its API, and the language.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

/// A decision point that answers `POST /v1/data/sallyport/allow` at a port of loopback until it is ended.
pub(crate) struct Opa {
    pub(crate) port: u16,
    is_over: Arc<AtomicBool>,
}

impl Opa {
    /// Starts one with these rules, in Rego.
    pub(crate) fn start(rules: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut engine = regorus::Engine::new();
        engine.add_policy("p.rego".into(), rules.into()).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = is_over.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (engine, ends) = (engine.clone(), ends.clone());
                thread::spawn(move || serve(stream.unwrap(), &engine, &ends));
            }
        });
        Self { port, is_over }
    }

    /// From here on it answers nothing.
    #[allow(dead_code, reason = "each test binary uses its own part of this")]
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

fn serve(stream: TcpStream, engine: &regorus::Engine, is_over: &AtomicBool) {
    let mut reader = BufReader::new(stream);
    while let Some((path, body)) = request(&mut reader).filter(|_| !is_over.load(Ordering::SeqCst)) {
        assert_eq!(path, "/v1/data/sallyport/allow");
        let asked: Value = serde_json::from_slice(&body).unwrap();
        let mut engine = engine.clone();
        engine.set_input(regorus::Value::from(asked["input"].clone()));
        let answer = match engine.eval_rule("data.sallyport.allow".into()).unwrap() {
            regorus::Value::Undefined => "{}".to_owned(), // as OPA answers for what is undefined
            value => format!("{{\"result\":{}}}", value.to_json_str().unwrap()),
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}", answer.len());
        write!(reader.get_mut(), "{head}\r\n\r\n{answer}").unwrap();
    }
}

/// The path and the body of the next request.
pub(crate) fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some((_, value)) = header.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, body))
}
