//! Servers on this machine that sandboxed programs are let to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::Folder;

fn serve(each: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    serve_at("127.0.0.1:0", each)
}

fn serve_at(address: &str, each: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind(address).unwrap();
    let port = listener.local_addr().unwrap().port();
    let each = std::sync::Arc::new(each);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let each = each.clone();
            std::thread::spawn(move || each(stream));
        }
    });
    port
}

/// Answers each request with `hello`.
pub(crate) fn http() -> u16 {
    http_at("127.0.0.1:0")
}

/// The same, at another address.
pub(crate) fn http_at(address: &str) -> u16 {
    serve_at(address, |mut stream| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        // Whoever has gone does not want it.
        let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n");
    })
}

/// Says `words`, as mail and database servers do.
pub(crate) fn speaks_first(words: &'static [u8]) -> u16 {
    serve(move |mut stream| {
        let _gone = stream.write_all(words);
    })
}

/// Reads to the end, then says how much it was.
pub(crate) fn swallows() -> u16 {
    serve(|mut stream| {
        let count = std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or_default();
        let _gone = stream.write_all(count.to_string().as_bytes());
    })
}

/// Python's own server, which keeps connections open and answers each request with the host that it asked for.
pub(crate) struct Hosts {
    pub(crate) port: u16,
    server: Child,
}

const HOSTS: &str = r#"
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        host = f"for {self.headers['Host']}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(host)))
        self.end_headers()
        self.wfile.write(host)
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"#;

impl Hosts {
    pub(crate) fn start() -> Self {
        let mut server = python(HOSTS).spawn().unwrap();
        Self { port: printed_port(&mut server), server }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ended = self.server.kill().and_then(|()| self.server.wait());
    }
}

fn python(script: &str) -> Command {
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::null());
    python
}

fn printed_port(server: &mut Child) -> u16 {
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.as_mut().unwrap()), &mut line).unwrap();
    line.trim().parse().unwrap()
}

/// A server over TLS, in Python.
pub(crate) struct Tls {
    pub(crate) port: u16,
    /// Its own authority.
    pub(crate) certificate: PathBuf,
    server: Child,
}

const SERVER: &str = r#"
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    try:
        with context.wrap_socket(connection, server_side=True) as stream:
            stream.recv(9999)
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")
    except OSError:
        pass
"#;

impl Tls {
    pub(crate) fn start(folder: &Folder, name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let certificate = folder.file("certificate.pem", &made.cert.pem());
        let key = folder.file("key.pem", &made.signing_key.serialize_pem());
        let mut server = python(SERVER).args([&certificate, &key]).spawn().unwrap();
        Self { port: printed_port(&mut server), certificate, server }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ended = self.server.kill().and_then(|()| self.server.wait());
    }
}
