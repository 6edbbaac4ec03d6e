//! A host of somebody else's, which serves over https what its owner puts there: clients' documents, keys.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::fetch::PublicOnly;

/// As which everybody knows it.
const NAME: &str = "client.example.com";

/// The host. It ends with the test.
pub(super) struct Elsewhere {
    port: u16,
    certificate: CertificateDer<'static>,
    content: Arc<Content>,
}

/// What is there, and what was asked for.
#[derive(Default)]
struct Content {
    pages: Mutex<HashMap<String, Page>>,
    asked: Mutex<Vec<String>>,
}

#[derive(Clone)]
struct Page {
    status: u16,
    /// Further header lines.
    headers: String,
    /// Without one it begins and does not end.
    body: Option<Vec<u8>>,
}

impl Elsewhere {
    pub(super) async fn new() -> Self {
        let own = rcgen::generate_simple_self_signed([NAME.to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = own.cert.der().clone();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let (tls, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (port, content) = (listener.local_addr().unwrap().port(), Arc::<Content>::default());
        let served = Arc::clone(&content);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(tls.clone(), stream, Arc::clone(&served)));
            }
        });
        Self { port, certificate, content }
    }

    /// Asks this host whatever public name is asked for, and waits no longer than the deadline.
    pub(super) fn fetcher(&self, deadline: Duration) -> Fetcher {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let tls =
            rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
        Fetcher::resolving(&tls.with_root_certificates(roots).with_no_client_auth(), Here, deadline).unwrap()
    }

    /// A server that can ask this host.
    pub(super) async fn bench(&self, settings: Settings) -> Bench {
        Bench::asking(settings, self.fetcher(Duration::from_secs(10))).await
    }

    pub(super) fn address(&self, path: &str) -> String {
        self.address_at(NAME, path)
    }

    /// The address under another name of the same host.
    pub(super) fn address_at(&self, name: &str, path: &str) -> String {
        format!("https://{name}:{}{path}", self.port)
    }

    pub(super) fn put(&self, path: &str, body: &Value) {
        self.put_with(path, 200, "cache-control: max-age=600\r\n", body.to_string().into_bytes());
    }

    pub(super) fn put_with(&self, path: &str, status: u16, headers: &str, body: Vec<u8>) {
        self.keep(path, Page { status, headers: headers.to_owned(), body: Some(body) });
    }

    /// A page that comes byte by byte and does not end.
    pub(super) fn put_endless(&self, path: &str) {
        self.keep(path, Page { status: 200, headers: String::new(), body: None });
    }

    fn keep(&self, path: &str, page: Page) {
        self.content.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    /// How often a page was asked for.
    pub(super) fn asked(&self, path: &str) -> usize {
        self.content.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }
}

/// The one machine of an internet, which has every name of its domain. Others are resolved as ever.
struct Here;

impl Resolve for Here {
    fn resolve(&self, name: Name) -> Resolving {
        if !name.as_str().ends_with(".example.com") {
            return PublicOnly.resolve(name);
        }
        Box::pin(async { Ok(Box::new(std::iter::once(SocketAddr::from(([127, 0, 0, 1], 0)))) as Addrs) })
    }
}

impl Bench {
    /// A server that asks others in its own way.
    async fn asking(settings: Settings, fetcher: Fetcher) -> Self {
        let mut bench = Self::new().await;
        bench.server = bench.asking_twin(settings, fetcher);
        bench
    }

    /// Another of that kind over the same file.
    pub(super) fn asking_twin(&self, settings: Settings, fetcher: Fetcher) -> AuthorizationServer {
        let clock = Arc::clone(&self.clock);
        let store = Store::open(&self.folder.path().join("store.db")).unwrap();
        AuthorizationServer::with_clock(settings, store, fetcher, Arc::new(move || clock.load(Ordering::SeqCst))).unwrap()
    }
}

async fn serve(tls: TlsAcceptor, stream: TcpStream, content: Arc<Content>) {
    let Ok(mut stream) = tls.accept(stream).await else { return }; // who does not trust it goes
    let mut asked = vec![0; 4096];
    let length = stream.read(&mut asked).await.unwrap_or_default();
    let asked = String::from_utf8_lossy(asked.get(..length).unwrap_or_default()).into_owned();
    let path = asked.split(' ').nth(1).unwrap_or_default().to_owned();
    let page = content.pages.lock().unwrap().get(&path).cloned();
    content.asked.lock().unwrap().push(path);
    let page = page.unwrap_or(Page { status: 404, headers: String::new(), body: Some(Vec::new()) });
    let head = format!("HTTP/1.1 {} x\r\nconnection: close\r\n{}", page.status, page.headers);
    match page.body {
        Some(body) => {
            let head = format!("{head}content-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await; // who has enough goes
            let _ = stream.shutdown().await;
        }
        None => trickle(&mut stream, format!("{head}\r\n{{").as_bytes()).await,
    }
}

/// Writes until nobody reads any more.
async fn trickle(stream: &mut (impl AsyncWrite + Unpin), head: &[u8]) {
    let mut written = stream.write_all(head).await;
    while written.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        written = stream.write_all(b" ").await.and(stream.flush().await);
    }
}
