//! Callers who come by a certificate: the real program, real TLS, and everybody who is not to come in.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::client::WantsClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::harness::gateway::{Gateway, Project};
use crate::write_private;

const KEY: &str = "k-0123456789abcdef0123456789abcdef";
const REVOKED: u64 = 7;

/// Who signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, and others that are shown with it.
pub(crate) struct Pair {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) others: Vec<CertificateDer<'static>>,
    pub(crate) key: KeyPair,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(Self::params(name), KeyPair::generate().unwrap()).unwrap())
    }

    /// One that another has signed.
    pub(crate) fn below(&self, name: &str) -> Self {
        Self(CertifiedIssuer::signed_by(Self::params(name), KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    /// Another authority's name and key, signed by this one.
    pub(crate) fn cross_sign(&self, name: &str, other: &Self) -> CertificateDer<'static> {
        Self::params(name).signed_by(other.0.key(), &self.0).unwrap().der().clone()
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(crate) fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.der().clone(), others: Vec::new(), key }
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// The list of what is good no more, which is to be renewed in that year.
    pub(crate) fn revoked(&self, serial_numbers: &[u64], renewed_in: i32) -> String {
        let revoked = |number: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2023, 1, 1),
            next_update: date_time_ymd(renewed_in, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serial_numbers.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

pub(crate) struct Bench {
    clients: Authority,
    server: Authority,
    project: Project,
    gateway: Gateway,
}

pub(crate) type Connection = StreamOwned<ClientConnection, TcpStream>;

impl Bench {
    fn new(more: &str) -> Self {
        Self::serving(more, "[servers.files]\nbuiltin = { filesystem = { root = \".\", write = true } }\n", |_| ())
    }

    /// A gateway with these servers, whose folders are made by `prepare`.
    pub(crate) fn serving(more: &str, servers: &str, prepare: impl FnOnce(&Project)) -> Self {
        let (clients, server) = (Authority::new("clients"), Authority::new("servers"));
        let project = Project::new(&format!(
            r#"
keys = ["file:key"]
tls = {{ certificate = "server.pem", key = "server.key", client_ca = "clients.pem", client_revoked = "revoked.pem"{more} }}
[policy]
default = "allow"
[identity.certificates.ci]
certificate = "dns:ci.example.com"
[identity.certificates.reader]
certificate = "uri:spiffe://corp.example/reader"
scopes = ["files:read"]
[identity.certificates.named]
certificate = "subject:CN=The named one"
{servers}"#
        ));
        prepare(&project);
        certify(&project, &server);
        write_private(&project, "key", KEY);
        fs::write(project.path("clients.pem"), clients.pem()).unwrap();
        fs::write(project.path("revoked.pem"), clients.revoked(&[REVOKED], 2100)).unwrap();
        let gateway = project.up_behind_tls();
        Self { clients, server, project, gateway }
    }

    /// A connection that shows this certificate. Whether it is taken is known with the first answer.
    pub(crate) fn connect(&self, shows: Option<&Pair>) -> Connection {
        connect(self.gateway.port, &self.server, shows)
    }

    /// A connection that shows the certificate of somebody whom the configuration calls so, or of nobody.
    pub(crate) fn connect_as(&self, name: &str) -> Connection {
        let uri = format!("spiffe://corp.example/{name}").try_into().unwrap();
        let pair = match name {
            "reader" => self.clients.sign(&[], |params| params.subject_alt_names.push(SanType::URI(uri))),
            name => self.clients.sign(&[&format!("{name}.example.com")], |_| ()),
        };
        self.connect(Some(&pair))
    }

    /// The status and body of a request over a connection that shows this certificate; `None` where there is no connection.
    fn ask(&self, shows: Option<Pair>, bearer: Option<&str>) -> Option<(u16, String)> {
        let mut stream = self.connect(shows.as_ref());
        let bearer = bearer.map_or_else(String::new, |bearer| format!("Authorization: Bearer {bearer}\r\n"));
        stream.write_all(request("tools/list", &format!("{bearer}Connection: close\r\n")).as_bytes()).ok()?;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        if answer.is_empty() {
            assert!(read.is_err(), "a refused handshake ends with an alert");
            return None;
        }
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Some((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
    }
}

/// Gives a gateway the certificate of a server that `server` has signed.
pub(crate) fn certify(project: &Project, server: &Authority) {
    let own = server.sign(&["localhost"], |_| ());
    let chain = format!("{}{}", pem("CERTIFICATE", &own.certificate), server.pem());
    fs::write(project.path("server.pem"), chain).unwrap();
    write_private(project, "server.key", &own.key.serialize_pem());
}

/// A client that trusts what `server` has signed.
pub(crate) fn client_of(server: &Authority) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(server.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_root_certificates(roots)
}

/// A connection to a gateway whose certificate `server` has signed.
pub(crate) fn connect(port: u16, server: &Authority, shows: Option<&Pair>) -> Connection {
    let config = client_of(server);
    connect_as(
        port,
        match shows {
            None => config.with_no_client_auth(),
            Some(Pair { certificate, others, key }) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                let chain = std::iter::once(certificate).chain(others).cloned().collect();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        },
    )
}

pub(crate) fn connect_as(port: u16, config: ClientConfig) -> Connection {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap(), stream)
}

/// A request of 2026-07-28; `headers` are lines.
fn request(method: &str, headers: &str) -> String {
    request_to("/mcp", method, headers)
}

/// The same to an endpoint.
pub(crate) fn request_to(endpoint: &str, method: &str, headers: &str) -> String {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "notifications": { "toolsListChanged": true }, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
    } } })
    .to_string();
    format!(
        "POST {endpoint} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends a request, and reads its answer, of a stream until `told` is in it; the connection stays open. `None` where there is none any more.
fn exchange(connection: &mut Connection, method: &str, told: &str) -> Option<String> {
    exchange_at(connection, "/mcp", method, told)
}

/// The same at an endpoint.
pub(crate) fn exchange_at(connection: &mut Connection, endpoint: &str, method: &str, told: &str) -> Option<String> {
    connection.write_all(request_to(endpoint, method, "").as_bytes()).ok()?;
    let (mut answer, mut some) = (Vec::new(), [0; 4096]);
    loop {
        let read = connection.read(&mut some).ok().filter(|read| *read > 0)?;
        answer.extend_from_slice(&some[..read]);
        let answer = String::from_utf8_lossy(&answer);
        let length = answer.split_once("content-length: ").and_then(|(_, rest)| rest.split_once("\r\n")?.0.parse::<usize>().ok());
        let is_whole = |length| answer.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() >= length);
        if length.is_none_or(is_whole) && answer.contains(told) {
            return Some(answer.into_owned());
        }
    }
}

/// Waits until it is so; it takes a second or two.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..120 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    panic!("not within 30 s: {what}");
}

pub(crate) fn pem(kind: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

fn tools(answer: Option<(u16, String)>) -> Vec<String> {
    let (status, body) = answer.expect("there is a connection");
    assert_eq!(status, 200, "{body}");
    let body: Value =
        serde_json::from_str(body.trim_start_matches(|letter| letter != '{').trim_end_matches(|letter| letter != '}')).unwrap();
    body["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn refused(answer: Option<(u16, String)>) -> String {
    let (status, body) = answer.expect("there is a connection");
    assert_eq!(status, 401, "{body}");
    body
}

#[test]
fn whose_certificate_is_mapped_comes_in_as_that() {
    let bench = Bench::new("");
    let all = tools(bench.ask(Some(bench.clients.sign(&["ci.example.com"], |_| ())), None));
    assert!(all.iter().any(|name| name.contains("write_file")), "{all:?}");
    let uri =
        |params: &mut CertificateParams| params.subject_alt_names.push(SanType::URI("spiffe://corp.example/reader".try_into().unwrap()));
    let read = tools(bench.ask(Some(bench.clients.sign(&[], uri)), None));
    assert!(!read.is_empty() && !read.iter().any(|name| name.contains("write_file")), "its scopes bound it: {read:?}");
    let named = |params: &mut CertificateParams| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "The named one");
    };
    assert_eq!(tools(bench.ask(Some(bench.clients.sign(&[], named)), None)), all);
    assert_eq!(tools(bench.ask(None, Some(KEY))), all, "a key is as good as ever");
}

#[test]
fn whose_certificate_is_nobodys_does_not_come_in() {
    let bench = Bench::new("");
    assert!(refused(bench.ask(None, None)).contains("no_key"));
    let unmapped = || bench.clients.sign(&["other.example.com"], |_| ());
    assert!(refused(bench.ask(Some(unmapped()), None)).contains("unknown_certificate"));
    let both = bench.clients.sign(&["ci.example.com"], |params| {
        params.subject_alt_names.push(SanType::URI("spiffe://corp.example/reader".try_into().unwrap()));
    });
    assert!(refused(bench.ask(Some(both), None)).contains("unknown_certificate"), "one with names of two is neither's");
    assert!(!tools(bench.ask(Some(unmapped()), Some(KEY))).is_empty(), "what a request shows has the last word");
    refused(bench.ask(Some(bench.clients.sign(&["ci.example.com"], |_| ())), Some("k-wrong-wrong-wrong-wrong-wrong")));

    let foreign = Authority::new("clients").sign(&["ci.example.com"], |_| ());
    assert_eq!(bench.ask(Some(foreign), None), None, "another authority, of the same name");
    let expired = bench.clients.sign(&["ci.example.com"], |params| params.not_after = date_time_ymd(2024, 1, 1));
    assert_eq!(bench.ask(Some(expired), None), None);
    let early = bench.clients.sign(&["ci.example.com"], |params| params.not_before = date_time_ymd(2099, 1, 1));
    assert_eq!(bench.ask(Some(early), None), None);
    let of_a_server = bench.clients.sign(&["ci.example.com"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_eq!(bench.ask(Some(of_a_server), None), None, "it is for servers");
    let revoked = bench.clients.sign(&["ci.example.com"], |params| params.serial_number = Some(SerialNumber::from(REVOKED)));
    assert_eq!(bench.ask(Some(revoked), None), None);
}

#[test]
fn where_a_certificate_is_required_nobody_connects_without() {
    let bench = Bench::new(", client_auth = \"required\"");
    assert_eq!(bench.ask(None, Some(KEY)), None);
    assert!(!tools(bench.ask(Some(bench.clients.sign(&["ci.example.com"], |_| ())), None)).is_empty());
    assert!(!tools(bench.ask(Some(bench.clients.sign(&["other.example.com"], |_| ())), Some(KEY))).is_empty());
}

#[test]
fn a_certificate_that_is_revoked_is_good_no_more_for_open_connections_either() {
    const LATER: u64 = REVOKED + 1;
    let bench = Bench::new("");
    let soon = bench.clients.sign(&["ci.example.com"], |params| params.serial_number = Some(SerialNumber::from(LATER)));
    let stays = bench.clients.sign(&["ci.example.com"], |_| ());
    let (mut idle, mut listening, mut other) = (bench.connect(Some(&soon)), bench.connect(Some(&soon)), bench.connect(Some(&stays)));
    for connection in [&mut idle, &mut other] {
        assert!(exchange(connection, "tools/list", "write_file").unwrap().starts_with("HTTP/1.1 200"));
    }
    exchange(&mut listening, "subscriptions/listen", "acknowledged").unwrap();

    fs::write(bench.project.path("revoked.pem"), bench.clients.revoked(&[REVOKED, LATER], 2100)).unwrap();
    until("it is refused", || exchange(&mut bench.connect(Some(&soon)), "tools/list", "write_file").is_none());
    let ended = listening.read_to_end(&mut Vec::new());
    assert!(!ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "its stream has ended");
    until("it makes no other request", || exchange(&mut idle, "tools/list", "write_file").is_none());
    assert!(exchange(&mut other, "tools/list", "write_file").is_some(), "nobody else notices");
    assert!(exchange(&mut bench.connect(Some(&stays)), "tools/list", "write_file").is_some());
}

#[test]
fn what_is_shown_and_taken_follows_its_files() {
    let bench = Bench::new("");
    let shown = |connection: &Connection| connection.conn.peer_certificates().map(|chain| chain[0].clone());
    let mine = bench.clients.sign(&["ci.example.com"], |_| ());
    let mut before = bench.connect(Some(&mine));
    exchange(&mut before, "tools/list", "write_file").unwrap();

    fs::write(bench.project.path("clients.pem"), "nothing of the kind").unwrap();
    std::thread::sleep(Duration::from_secs(2)); // it is looked at every second
    assert!(exchange(&mut before, "tools/list", "write_file").is_some(), "what cannot be used changes nothing");

    let renewed = bench.server.sign(&["localhost"], |_| ());
    let others = Authority::new("others");
    fs::write(bench.project.path("server.pem"), pem("CERTIFICATE", &renewed.certificate)).unwrap();
    write_private(&bench.project, "server.key", &renewed.key.serialize_pem());
    fs::write(bench.project.path("clients.pem"), others.pem()).unwrap();
    fs::write(bench.project.path("revoked.pem"), others.revoked(&[], 2100)).unwrap();
    let theirs = others.sign(&["ci.example.com"], |_| ());
    until("the other authority is taken", || exchange(&mut bench.connect(Some(&theirs)), "tools/list", "write_file").is_some());
    let mut after = bench.connect(None);
    assert!(exchange(&mut after, "tools/list", "no_key").is_some());
    assert_eq!(shown(&after), Some(renewed.certificate));
    assert_eq!(exchange(&mut bench.connect(Some(&mine)), "tools/list", "write_file"), None, "the old one is trusted no more");
    until("nor on connections that are open", || exchange(&mut before, "tools/list", "write_file").is_none());
}

#[test]
fn a_revocation_list_that_is_past_its_date_lets_nobody_in_and_is_told_of() {
    let bench = Bench::new("");
    let mine = || bench.clients.sign(&["ci.example.com"], |_| ());
    assert!(bench.ask(Some(mine()), None).is_some());
    fs::write(bench.project.path("revoked.pem"), bench.clients.revoked(&[], 2024)).unwrap();
    until("nobody's certificate is taken", || bench.ask(Some(mine()), None).is_none());
    assert!(!tools(bench.ask(None, Some(KEY))).is_empty(), "who shows none comes in by a key");
    assert!(bench.gateway.log().contains("past its date"), "{}", bench.gateway.log());
    for command in ["check", "doctor"] {
        let told = bench.project.sallyport().arg(command).output().unwrap();
        let told = format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
        assert!(told.contains("CN=clients` is past its date"), "{command}: {told}");
    }
    fs::write(bench.project.path("revoked.pem"), bench.clients.revoked(&[], 2100)).unwrap();
    until("it was renewed", || bench.ask(Some(mine()), None).is_some());
}
