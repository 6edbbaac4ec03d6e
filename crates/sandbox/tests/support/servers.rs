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
        let mut server = Command::new("/usr/bin/python3")
            .args(["-c", SERVER])
            .args([&certificate, &key])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.as_mut().unwrap()), &mut line).unwrap();
        Self { port: line.trim().parse().unwrap(), certificate, server }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ended = self.server.kill().and_then(|()| self.server.wait());
    }
}
