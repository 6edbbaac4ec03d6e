//! Addresses and a page on the loopback interface.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// A port that is the test's own until it ends.
pub(crate) fn free_port() -> u16 {
    sallyport_testkit::free_port().expect("loopback has a free port")
}

/// Waits until something accepts connections on a port.
pub(crate) fn wait_for_port(port: u16, patience: Duration) {
    let deadline = Instant::now() + patience;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nothing listens on port {port} after {patience:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A plain GET; the whole answer, head and body.
pub(crate) fn get(port: u16, path: &str) -> std::io::Result<String> {
    get_as(port, path, "")
}

/// The same with further header lines, each with its end.
pub(crate) fn get_as(port: u16, path: &str, headers: &str) -> std::io::Result<String> {
    send(port, "GET", path, headers)
}

/// The same by another method, with an empty body.
pub(crate) fn send(port: u16, method: &str, path: &str, headers: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let length = if method == "GET" { "" } else { "Content-Length: 0\r\n" };
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}{length}Connection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A page of HTML, served to whoever asks until the test's process ends; returns its port.
pub(crate) fn serve_page(html: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away in between is its own affair.
            let _answered = answer(stream, html);
        }
    });
    port
}

fn answer(mut stream: TcpStream, html: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut head = [0; 4096];
    let _length = stream.read(&mut head)?;
    let length = html.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{html}")
}
