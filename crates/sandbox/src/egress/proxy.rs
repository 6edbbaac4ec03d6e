//! The proxy for programs that like one: HTTP `CONNECT` (RFC 9110 §9.3.6) and SOCKS5 (RFC 1928) at the same port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::allowed::Host;
use super::event::Way;
use super::name::Name;

/// The head of a `CONNECT`: a few lines, some with credentials for a proxy.
const LONGEST_HEAD: usize = 8 * 1024;

/// The program's end of a connection, however it came here.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a program asks of the proxy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) way: Way,
    /// What came behind the request already.
    pub(super) first: Vec<u8>,
}

/// Why no request was understood: told to whoever watches. The program was told in its own protocol.
pub(super) type NotAsked = &'static str;

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Connected,
    Refused,
    Failed,
}

/// Reads one request.
pub(super) async fn ask(stream: &mut impl Stream) -> Result<Asked, NotAsked> {
    match read_byte(stream).await? {
        SOCKS_VERSION => socks(stream).await,
        first => connect(stream, first).await,
    }
}

/// Answers a request in its own protocol. Whether that arrives is the program's business.
pub(super) async fn answer(stream: &mut impl Stream, way: Way, answer: Answer) -> io::Result<()> {
    match way {
        Way::Direct => Ok(()),
        Way::Connect => stream.write_all(http_answer(answer)).await,
        Way::Socks => stream.write_all(&socks_answer(socks_code(answer))).await,
    }
}

fn http_answer(answer: Answer) -> &'static [u8] {
    match answer {
        Answer::Connected => b"HTTP/1.1 200 Connection established\r\n\r\n",
        Answer::Refused => {
            b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 49\r\nConnection: close\r\n\r\n\
              this server's `network` does not name that place\n"
        }
        Answer::Failed => b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    }
}

async fn connect(stream: &mut impl Stream, first: u8) -> Result<Asked, NotAsked> {
    let mut bytes = vec![first];
    let end = loop {
        if let Some(end) = end_of_head(&bytes) {
            break end;
        }
        if bytes.len() >= LONGEST_HEAD {
            refuse_head(stream, b"431 Request Header Fields Too Large").await;
            return Err("a request head without an end");
        }
        // The reading is bounded by the head's limit: what comes behind it is taken along.
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return Err("the connection ended before the request did"),
            Ok(_) => {}
        }
    };
    let first = bytes.split_off(end);
    match parse_connect(&bytes) {
        Ok((host, port)) => Ok(Asked { host, port, way: Way::Connect, first }),
        Err(NotConnect::OtherMethod) => {
            refuse_head(stream, b"405 Method Not Allowed").await;
            Err("a request other than CONNECT")
        }
        Err(NotConnect::Malformed) => {
            refuse_head(stream, b"400 Bad Request").await;
            Err("a malformed CONNECT")
        }
    }
}

async fn refuse_head(stream: &mut impl Stream, status: &[u8]) {
    let head = [b"HTTP/1.1 ", status, b"\r\nAllow: CONNECT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"].concat();
    // The connection is closed next either way.
    let _told = stream.write_all(&head).await;
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|position| position + 4)
}

#[derive(Debug, PartialEq, Eq)]
enum NotConnect {
    OtherMethod,
    Malformed,
}

/// Reads `CONNECT HOST:PORT HTTP/1.1`. Header fields mean nothing here and are not looked at.
fn parse_connect(head: &[u8]) -> Result<(Host, u16), NotConnect> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| NotConnect::Malformed)?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    if method != Some("CONNECT") {
        return Err(NotConnect::OtherMethod);
    }
    let (Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) = (target, version, words.next()) else {
        return Err(NotConnect::Malformed);
    };
    let (host, port) = target.rsplit_once(':').ok_or(NotConnect::Malformed)?;
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0).ok_or(NotConnect::Malformed)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6).map(address_host),
        None => match host.parse::<Ipv4Addr>() {
            Ok(address) => Some(Host::Address(IpAddr::V4(address))),
            Err(_) => Name::new(host).map(Host::Name),
        },
    };
    Ok((host.ok_or(NotConnect::Malformed)?, port))
}

fn address_host(address: IpAddr) -> Host {
    Host::Address(address.to_canonical())
}

const SOCKS_VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const NO_METHOD: u8 = 0xff;
const COMMAND_CONNECT: u8 = 1;
const SUCCEEDED: u8 = 0;
const NOT_ALLOWED: u8 = 2;
const HOST_UNREACHABLE: u8 = 4;
const NO_SUCH_COMMAND: u8 = 7;
const NO_SUCH_ADDRESS: u8 = 8;

fn socks_code(answer: Answer) -> u8 {
    match answer {
        Answer::Connected => SUCCEEDED,
        Answer::Refused => NOT_ALLOWED,
        Answer::Failed => HOST_UNREACHABLE,
    }
}

/// The bound address is of no use to anybody: zeros, as most proxies answer.
fn socks_answer(code: u8) -> [u8; 10] {
    [SOCKS_VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// Goes on behind the version byte.
async fn socks(stream: &mut impl Stream) -> Result<Asked, NotAsked> {
    let count = read_byte(stream).await?;
    let methods = read_some(stream, count.into()).await?;
    let method = if methods.contains(&NO_AUTHENTICATION) { NO_AUTHENTICATION } else { NO_METHOD };
    stream.write_all(&[SOCKS_VERSION, method]).await.map_err(|_| "the connection ended before the request did")?;
    if method == NO_METHOD {
        return Err("SOCKS with credentials");
    }
    let [version, command, _, kind] = read_array(stream).await?;
    if version != SOCKS_VERSION {
        return Err("a malformed SOCKS request");
    }
    let host = match kind {
        1 => Ok(Host::Address(IpAddr::V4(Ipv4Addr::from(read_array::<4>(stream).await?)))),
        4 => Ok(address_host(IpAddr::V6(Ipv6Addr::from(read_array::<16>(stream).await?)))),
        3 => {
            let length = read_byte(stream).await?;
            let name = read_some(stream, length.into()).await?;
            std::str::from_utf8(&name).ok().and_then(Name::new).map(Host::Name).ok_or(NOT_ALLOWED)
        }
        _ => Err(NO_SUCH_ADDRESS),
    };
    let port = u16::from_be_bytes(read_array(stream).await.unwrap_or_default());
    match host {
        Ok(host) if command == COMMAND_CONNECT && port != 0 => Ok(Asked { host, port, way: Way::Socks, first: Vec::new() }),
        refused => {
            let code = refused.err().unwrap_or(NO_SUCH_COMMAND);
            // The connection is closed next either way.
            let _told = stream.write_all(&socks_answer(code)).await;
            Err("a SOCKS request that is not a connection to a host")
        }
    }
}

async fn read_byte(stream: &mut impl Stream) -> Result<u8, NotAsked> {
    read_array::<1>(stream).await.map(|[byte]| byte)
}

async fn read_array<const N: usize>(stream: &mut impl Stream) -> Result<[u8; N], NotAsked> {
    let mut bytes = [0; N];
    match stream.read_exact(&mut bytes).await {
        Ok(_) => Ok(bytes),
        Err(_) => Err("the connection ended before the request did"),
    }
}

async fn read_some(stream: &mut impl Stream, count: usize) -> Result<Vec<u8>, NotAsked> {
    let mut bytes = vec![0; count];
    match stream.read_exact(&mut bytes).await {
        Ok(_) => Ok(bytes),
        Err(_) => Err("the connection ended before the request did"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<String, NotConnect> {
        parse_connect(format!("{line}\r\nHost: x\r\n\r\n").as_bytes()).map(|(host, port)| format!("{host}:{port}"))
    }

    #[test]
    fn a_connect_line_is_read_strictly() {
        assert_eq!(parsed("CONNECT API.example:443 HTTP/1.1").as_deref(), Ok("api.example:443"));
        assert_eq!(parsed("CONNECT 10.0.0.1:80 HTTP/1.0").as_deref(), Ok("10.0.0.1:80"));
        assert_eq!(parsed("CONNECT [::1]:80 HTTP/1.1").as_deref(), Ok("[::1]:80"));
        assert_eq!(parsed("CONNECT [::ffff:10.0.0.1]:80 HTTP/1.1").as_deref(), Ok("10.0.0.1:80"));
        assert_eq!(parsed("GET http://a.example/ HTTP/1.1"), Err(NotConnect::OtherMethod));
        for line in [
            "CONNECT a.example HTTP/1.1",
            "CONNECT a.example:0 HTTP/1.1",
            "CONNECT a.example:+443 HTTP/1.1",
            "CONNECT a.example:443",
            "CONNECT a.example:443 HTTP/2",
            "CONNECT a.example:443 HTTP/1.1 x",
            "CONNECT  a.example:443 HTTP/1.1",
            "CONNECT a.example\0.evil:443 HTTP/1.1",
            "CONNECT user@a.example:443 HTTP/1.1",
            "CONNECT a.example.:443 HTTP/1.1",
            "CONNECT a.example\n:443 HTTP/1.1",
            "CONNECT 127.1:80 HTTP/1.1",
            "CONNECT ::1:80 HTTP/1.1",
            "CONNECT [10.0.0.1]:80 HTTP/1.1",
        ] {
            assert_eq!(parsed(line), Err(NotConnect::Malformed), "{line:?}");
        }
    }

    #[test]
    fn the_length_in_the_refusal_is_right() {
        let text = String::from_utf8_lossy(http_answer(Answer::Refused));
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
