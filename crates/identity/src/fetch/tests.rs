#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use rustls::RootCertStore;
use rustls::crypto::ring;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

fn fetcher() -> Fetcher {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
    Fetcher::new(&tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth()).unwrap()
}

/// A server that answers its first request with `answer`, and hands out what it was asked.
async fn server(answer: Vec<u8>) -> (Url, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/token", listener.local_addr().unwrap())).unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let length = stream.read(&mut asked).await.unwrap();
        let _ = stream.write_all(&answer).await; // a client that has enough has gone
        String::from_utf8_lossy(&asked[..length]).into_owned()
    });
    (url, serving)
}

#[tokio::test]
async fn a_form_is_posted_and_any_status_is_an_answer() {
    let (url, serving) = server(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}".to_vec()).await;
    let form = [("grant_type", "client_credentials"), ("scope", "a b&c")];
    let answer = fetcher().post_form(&url, Reach::Configured, HeaderMap::new(), &form).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::BAD_REQUEST, &b"{}"[..]));
    let asked = serving.await.unwrap();
    assert!(asked.ends_with("grant_type=client_credentials&scope=a+b%26c"), "{asked}");
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let (url, _) = server(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    assert_eq!(fetcher().get(&url, Reach::Configured).await.unwrap().status, StatusCode::FOUND);
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    answer.resize(LARGEST + 1024, b' ');
    let (url, _) = server(answer).await;
    assert!(matches!(fetcher().get(&url, Reach::Configured).await, Err(FetchError::TooLarge)));
}

#[tokio::test]
async fn what_a_peer_names_leads_to_public_addresses_alone() {
    for url in [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/",
        "https://10.0.0.1/",
        "http://example.com/",
        "https://u@example.com/",
    ] {
        let refused = fetcher().get(&Url::parse(url).unwrap(), Reach::Public).await;
        assert!(matches!(refused, Err(FetchError::NotAllowed(_))), "{url}");
    }
    let by_name = fetcher().get(&Url::parse("https://localhost/").unwrap(), Reach::Public).await.unwrap_err();
    assert!(by_name.to_string().contains("not a public address"), "{by_name}");
}

#[test]
fn a_name_that_is_rebound_to_an_address_inside_is_not_asked() {
    let found = |addresses: &[&str]| addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect();
    assert!(all_public(found(&["93.184.215.14", "2606:2800:21f:cb07::1"])).is_ok());
    for addresses in [
        &[][..],
        &["127.0.0.1"],
        &["93.184.215.14", "127.0.0.1"],
        &["93.184.215.14", "::ffff:10.0.0.1"],
        &["169.254.169.254"],
        &["64:ff9b::7f00:1"],
        &["fd00::1"],
        &["0.0.0.0"],
    ] {
        assert!(all_public(found(addresses)).is_err(), "{addresses:?}");
    }
}

#[test]
fn browsers_are_sent_over_plain_http_to_this_machine_alone() {
    for (address, is_safe) in [
        ("https://idp.example.com/authorize", true),
        ("http://127.0.0.1:9000/authorize", true),
        ("http://localhost/authorize", true),
        ("http://idp.example.com/authorize", false),
        ("http://10.0.0.5/authorize", false),
        ("javascript:alert(1)", false),
        ("file:///etc/passwd", false),
    ] {
        assert_eq!(is_safe_page(&Url::parse(address).unwrap()), is_safe, "{address}");
    }
}

#[test]
fn plain_http_is_for_loopback_alone() {
    let allowed = |url: &str| check(&Url::parse(url).unwrap(), Reach::Configured).is_ok();
    assert!(allowed("http://127.0.0.1:8080/") && allowed("http://localhost/") && allowed("https://10.0.0.1/"));
    assert!(!allowed("http://10.0.0.1/") && !allowed("http://localhost.example.com/") && !allowed("file:///etc/passwd"));
}
