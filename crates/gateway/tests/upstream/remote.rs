//! A server of the legacy era over HTTP, as small as can be: every connection carries one request, every answer is JSON.

use std::net::SocketAddr;

use sallyport_protocol::{Message, RawJson, RawObject, RequestId};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Serves at `address` until the task is aborted.
pub(crate) async fn serve(address: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            answer(stream).await;
        }
    });
    (address, task)
}

async fn answer(stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 2) {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let (status, body) = match Message::parse(&body.into()) {
        Ok(Message::Request { id, method, .. }) => ("200 OK", result(id, &method)),
        _ => ("202 Accepted", String::new()),
    };
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all((head + &body).as_bytes()).await;
}

fn result(id: RequestId, method: &str) -> String {
    let result = match method {
        "initialize" => r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"remote","version":"1"}}"#,
        "tools/list" => r#"{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}"#,
        "tools/call" => r#"{"content":[{"type":"text","text":"far away"}]}"#,
        _ => return format!(r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32601,"message":"none"}}}}"#, id.as_json().as_str()),
    };
    let result: RawObject = RawJson::from_static(result).object().unwrap();
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{}}}"#, id.as_json().as_str(), result.to_json().as_str())
}
