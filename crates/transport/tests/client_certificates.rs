//! Connections of clients that have shown a certificate, which is not good for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sallyport_protocol::Revision;
use sallyport_testkit::{ScriptedFront, ScriptedServer};
use sallyport_transport::server::http::Options;
use sallyport_transport::server::tls::{self, ClientAuthorities, ClientAuthority};
use support::{Running, identity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

type Connection = TlsStream<TcpStream>;

/// How long what ends in a test is good: enough for a connection to be made by then on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// A door that takes certificates of one authority, and the authority.
struct Bench {
    authority: CertifiedIssuer<'static, KeyPair>,
    own: rcgen::CertifiedKey<KeyPair>,
    door: Running,
}

impl Bench {
    /// The list of revoked certificates is good for that long.
    async fn new(list: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let own = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let revoked = CertificateRevocationListParams {
            this_update: date_time_ymd(2023, 1, 1),
            next_update: date_time_ymd(1970, 1, 1) + since_1970(list),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let authority_of_clients = ClientAuthority {
            tenant: "".into(),
            ca: write("clients.pem", authority.pem()),
            revoked: Some(write("revoked.pem", revoked.signed_by(&authority).unwrap().pem().unwrap())),
        };
        let clients = ClientAuthorities { authorities: vec![authority_of_clients], is_required: false };
        let (certificate, key) = (write("c.pem", own.cert.pem()), write("k.pem", own.signing_key.serialize_pem()));
        let server = ScriptedServer::new(Revision::LATEST);
        let front = Arc::new(ScriptedFront::open(Arc::clone(&server) as _));
        let mut options = Options::new(identity());
        options.tls = Some(tls::with_clients(&certificate, &key, Some(&clients)).unwrap());
        options.patience.certificate = Duration::from_secs(1);
        let door = Running::with(server, front, options).await;
        Self { authority, own, door }
    }

    /// A certificate that is good for that long, with its key.
    fn certificate(&self, good: Duration) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(vec!["ci.example.com".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = date_time_ymd(1970, 1, 1) + since_1970(good);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap().der().clone();
        (certificate, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    async fn connect(&self, shows: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>) -> Connection {
        let mut trust = rustls::RootCertStore::empty();
        trust.add(self.own.cert.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(trust);
        let client = match shows {
            None => client.with_no_client_auth(),
            Some((certificate, key)) => client.with_client_auth_cert(vec![certificate], key).unwrap(),
        };
        let stream = TcpStream::connect(self.door.address).await.unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(client)).connect("localhost".try_into().unwrap(), stream).await.unwrap()
    }
}

fn since_1970(ahead: Duration) -> Duration {
    (SystemTime::now() + ahead).duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

/// Whether a request over the connection is answered.
async fn is_answered(connection: &mut Connection) -> bool {
    if connection.write_all(b"GET /other HTTP/1.1\r\nhost: localhost\r\n\r\n").await.is_err() {
        return false;
    }
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(_) => return false,
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&answer));
    true
}

/// Says that a connection with this certificate is open, and ends once what it was let in by has ended; others stay.
async fn ends_by_itself(bench: &Bench, good: Duration) {
    let (mut mine, mut others) = (bench.connect(Some(bench.certificate(good))).await, bench.connect(None).await);
    assert!(is_answered(&mut mine).await && is_answered(&mut others).await);
    let ended = async {
        while is_answered(&mut mine).await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("it ends");
    assert!(is_answered(&mut others).await, "who has shown none stays");
}

#[tokio::test]
async fn no_connection_outlives_the_date_of_the_revocation_list() {
    ends_by_itself(&Bench::new(SOON).await, 1000 * SOON).await;
}

#[tokio::test]
async fn no_connection_outlives_its_certificate() {
    ends_by_itself(&Bench::new(1000 * SOON).await, SOON).await;
}

#[tokio::test]
async fn a_look_harms_nobody_whose_certificate_is_good() {
    let bench = Bench::new(1000 * SOON).await;
    let mut mine = bench.connect(Some(bench.certificate(1000 * SOON))).await;
    for _ in 0..8 {
        assert!(is_answered(&mut mine).await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
