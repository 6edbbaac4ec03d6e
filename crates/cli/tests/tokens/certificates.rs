//! Callers who come by a certificate: the real program, real TLS, and everybody who is not to come in.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::harness::gateway::{Gateway, Project};
use crate::write_private;

const KEY: &str = "k-0123456789abcdef0123456789abcdef";
const REVOKED: u64 = 7;

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
struct Pair {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.der().clone(), key }
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// The list of what is good no more.
    fn revoked(&self) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(REVOKED),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

struct Bench {
    clients: Authority,
    server: Authority,
    _project: Project,
    gateway: Gateway,
}

impl Bench {
    fn new(more: &str) -> Self {
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
[servers.files]
builtin = {{ filesystem = {{ root = ".", write = true }} }}
"#
        ));
        let own = server.sign(&["localhost"], |_| ());
        let chain = format!("{}{}", pem("CERTIFICATE", &own.certificate), server.pem());
        fs::write(project.path("server.pem"), chain).unwrap();
        write_private(&project, "server.key", &own.key.serialize_pem());
        write_private(&project, "key", KEY);
        fs::write(project.path("clients.pem"), clients.pem()).unwrap();
        fs::write(project.path("revoked.pem"), clients.revoked()).unwrap();
        let gateway = project.up_behind_tls();
        Self { clients, server, _project: project, gateway }
    }

    /// The status and body of a request over a connection that shows this certificate; `None` where there is no connection.
    fn ask(&self, shows: Option<Pair>, bearer: Option<&str>) -> Option<(u16, String)> {
        let mut roots = RootCertStore::empty();
        roots.add(self.server.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let config = match shows {
            None => config.with_no_client_auth(),
            Some(Pair { certificate, key }) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        let stream = TcpStream::connect(("127.0.0.1", self.gateway.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap(), stream);
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
        } } })
        .to_string();
        let bearer = bearer.map_or_else(String::new, |bearer| format!("Authorization: Bearer {bearer}\r\n"));
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\nConnection: close\r\n{bearer}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
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

fn pem(kind: &str, der: &[u8]) -> String {
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
