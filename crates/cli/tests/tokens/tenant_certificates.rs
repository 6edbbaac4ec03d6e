//! Certificates of tenants' callers: each is good at its own tenant's endpoints, whatever name is in it and whoever else knows its signer.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::{Arc, OnceLock};

use rcgen::SerialNumber;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use crate::certificates::{Authority, Connection, Pair, certify, client_of, connect, connect_as, exchange_at, pem, request_to, until};
use crate::harness::gateway::{Gateway, Project};
use crate::write_private;

const OWN: &str = "/mcp";
const ACME: &str = "/t/acme/mcp";
const UMBRELLA: &str = "/t/umbrella/mcp";
const NOTHERE: &str = "/t/nothere/mcp";
const ACME_KEY: &str = "a-0123456789abcdef0123456789abcdef";
const SERIAL: u64 = 7;
/// What everybody's list of tools has in it.
const FOUND: &str = "read_file";

/// A gateway that has certificates signed for it, and two tenants that have, all three for callers of the same name.
struct Bench {
    own: Authority,
    acme: Authority,
    umbrella: Authority,
    server: Authority,
    project: Project,
    gateway: Gateway,
}

fn configuration() -> String {
    let tenant = |name: &str, keys: &str| {
        format!(
            "[tenants.{name}]\npolicy = {{ default = \"allow\" }}\n{keys}\n\
             tls = {{ client_ca = \"{name}.pem\", client_revoked = \"{name}.crl\" }}\n\
             [tenants.{name}.identity.certificates.ci]\ncertificate = \"dns:ci.example.com\"\n\
             [tenants.{name}.servers.files]\nbuiltin = {{ filesystem = {{ root = \"{name}\" }} }}\n"
        )
    };
    format!(
        "tls = {{ certificate = \"server.pem\", key = \"server.key\", client_ca = \"own.pem\", client_revoked = \"own.crl\" }}\n\
         policy = {{ default = \"allow\" }}\n[identity.certificates.ci]\ncertificate = \"dns:ci.example.com\"\n\
         [servers.files]\nbuiltin = {{ filesystem = {{ root = \"own\" }} }}\n{}{}",
        tenant("acme", "keys = [\"file:acme.key\"]"),
        tenant("umbrella", "")
    )
}

impl Bench {
    fn new() -> Self {
        Self::with(Authority::new("umbrella"))
    }

    fn with(umbrella: Authority) -> Self {
        let [own, acme, server] = ["own", "acme", "servers"].map(Authority::new);
        let project = Project::new(&configuration());
        certify(&project, &server);
        write_private(&project, "acme.key", ACME_KEY);
        for (name, authority) in [("own", &own), ("acme", &acme), ("umbrella", &umbrella)] {
            fs::create_dir(project.path(name)).unwrap();
            fs::write(project.path(format!("{name}.pem")), authority.pem()).unwrap();
            fs::write(project.path(format!("{name}.crl")), authority.revoked(&[], 2100)).unwrap();
        }
        let gateway = project.up_behind_tls();
        Self { own, acme, umbrella, server, project, gateway }
    }

    fn connect(&self, shows: Option<&Pair>) -> Connection {
        connect(self.gateway.port, &self.server, shows)
    }

    /// An answer to the last byte, but for its date; what ended the connection where there is none.
    fn told(&self, shows: Option<&Pair>, endpoint: &str, bearer: Option<&str>) -> Result<String, String> {
        let mut stream = self.connect(shows);
        let bearer = bearer.map_or_else(String::new, |bearer| format!("Authorization: Bearer {bearer}\r\n"));
        let request = request_to(endpoint, "tools/list", &format!("{bearer}Connection: close\r\n"));
        stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        if answer.is_empty() {
            return Err(read.unwrap_err().to_string());
        }
        let answer = String::from_utf8(answer).unwrap();
        Ok(answer.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n"))
    }

    fn status(&self, shows: &Pair, endpoint: &str) -> Option<u16> {
        let answer = self.told(Some(shows), endpoint, None).ok()?;
        Some(answer.split(' ').nth(1).unwrap().parse().unwrap())
    }

    fn revoke(&self, name: &str, authority: &Authority, serial_numbers: &[u64]) {
        fs::write(self.project.path(format!("{name}.crl")), authority.revoked(serial_numbers, 2100)).unwrap();
    }
}

/// How many names of authorities a client was told when it was asked for a certificate.
#[derive(Debug, Default)]
struct Hints(OnceLock<usize>);

impl ResolvesClientCert for Hints {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let _ = self.0.set(hints.len());
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The certificate of the one whom all three call `ci`.
fn ci(authority: &Authority) -> Pair {
    authority.sign(&["ci.example.com"], |params| params.serial_number = Some(SerialNumber::from(SERIAL)))
}

#[test]
fn a_certificate_is_good_where_its_signer_is_and_nowhere_else() {
    let bench = Bench::new();
    let all = [(&bench.own, OWN), (&bench.acme, ACME), (&bench.umbrella, UMBRELLA)];
    for (authority, its) in all {
        for endpoint in [OWN, ACME, UMBRELLA, NOTHERE] {
            let expected = if endpoint == its { 200 } else { 401 };
            assert_eq!(bench.status(&ci(authority), endpoint), Some(expected), "of {its} at {endpoint}: {}", bench.gateway.log());
        }
    }
    let stranger = |authority: &Authority| authority.sign(&["other.example.com"], |_| ());
    let elsewhere = bench.told(Some(&ci(&bench.acme)), UMBRELLA, None).unwrap();
    assert_eq!(bench.told(None, UMBRELLA, Some(ACME_KEY)).unwrap(), elsewhere, "as by a key of acme");
    assert_eq!(bench.told(None, UMBRELLA, Some("nonsense")).unwrap(), elsewhere);
    assert_eq!(bench.told(Some(&ci(&bench.own)), UMBRELLA, None).unwrap(), elsewhere);
    assert_eq!(bench.told(Some(&stranger(&bench.umbrella)), UMBRELLA, None).unwrap(), elsewhere, "as one that umbrella does not know");
    let nowhere = bench.told(Some(&ci(&bench.acme)), NOTHERE, None).unwrap();
    assert_eq!(nowhere.replace("nothere", "umbrella"), elsewhere, "as where there is no tenant");
    let outside = bench.told(Some(&ci(&bench.acme)), OWN, None).unwrap();
    assert_eq!(outside, bench.told(Some(&stranger(&bench.own)), OWN, None).unwrap());

    let audit = || fs::read_to_string(bench.project.state().join("sallyport/audit/audit.jsonl")).unwrap_or_default();
    let is_recorded = |tenant: &str| {
        let is = |line: &str| line.contains("client:ci@certificate") && line.contains(&format!("\"tenant\":\"{tenant}\""));
        audit().lines().any(is)
    };
    until("each is recorded as its tenant's", || is_recorded("acme") && is_recorded("umbrella"));
}

#[test]
fn what_one_tenant_revokes_is_good_at_the_others() {
    let bench = Bench::new();
    let (of_acme, of_umbrella) = (ci(&bench.acme), ci(&bench.umbrella));
    let (mut one, mut other) = (bench.connect(Some(&of_acme)), bench.connect(Some(&of_umbrella)));
    assert!(exchange_at(&mut one, ACME, "tools/list", FOUND).is_some() && exchange_at(&mut other, UMBRELLA, "tools/list", FOUND).is_some());
    bench.revoke("acme", &bench.acme, &[SERIAL]);
    until("it is refused", || bench.status(&of_acme, ACME).is_none());
    until("also where it was connected", || exchange_at(&mut one, ACME, "tools/list", FOUND).is_none());
    assert!(exchange_at(&mut other, UMBRELLA, "tools/list", FOUND).is_some(), "nobody else notices");
    assert_eq!(bench.status(&of_umbrella, UMBRELLA), Some(200));
    assert_eq!(bench.status(&ci(&bench.own), OWN), Some(200));

    fs::write(bench.project.path("umbrella.crl"), bench.umbrella.revoked(&[], 2024)).unwrap();
    until("its list is past its date", || bench.status(&of_umbrella, UMBRELLA).is_none());
    assert_eq!(bench.status(&ci(&bench.own), OWN), Some(200));
    for command in ["check", "doctor"] {
        let told = bench.project.sallyport().arg(command).output().unwrap();
        let told = format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
        assert!(
            told.contains("tenants.umbrella.tls.client_revoked") && told.contains("CN=umbrella` is past its date"),
            "{command}: {told}"
        );
    }
}

#[test]
fn who_is_connected_goes_when_the_signer_goes_or_signs_for_another() {
    let bench = Bench::new();
    let [of_acme, of_umbrella, of_own] = [&bench.acme, &bench.umbrella, &bench.own].map(ci);
    let (mut one, mut listening) = (bench.connect(Some(&of_acme)), bench.connect(Some(&of_acme)));
    let (mut two, mut own) = (bench.connect(Some(&of_umbrella)), bench.connect(Some(&of_own)));
    exchange_at(&mut one, ACME, "tools/list", FOUND).unwrap();
    exchange_at(&mut listening, ACME, "subscriptions/listen", "acknowledged").unwrap();
    exchange_at(&mut two, UMBRELLA, "tools/list", FOUND).unwrap();
    exchange_at(&mut own, OWN, "tools/list", FOUND).unwrap();

    let without = configuration().replace("tls = { client_ca = \"acme.pem\", client_revoked = \"acme.crl\" }\n", "");
    let without = without.replace("[tenants.acme.identity.certificates.ci]\ncertificate = \"dns:ci.example.com\"\n", "");
    bench.project.configure(&without);
    until("nobody takes it", || bench.status(&of_acme, ACME).is_none());
    let ended = listening.read_to_end(&mut Vec::new());
    assert!(!ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "its stream has ended");
    until("it makes no other request", || exchange_at(&mut one, ACME, "tools/list", FOUND).is_none());
    assert!(exchange_at(&mut two, UMBRELLA, "tools/list", FOUND).is_some(), "nobody else notices");
    assert!(exchange_at(&mut own, OWN, "tools/list", FOUND).is_some());

    // What signed for umbrella signs for the gateway itself from now on, and the other way round.
    let swapped = without.replace("\"own.", "\"x.").replace("\"umbrella.", "\"own.").replace("\"x.", "\"umbrella.");
    bench.project.configure(&swapped);
    until("it is another's", || bench.status(&of_umbrella, OWN) == Some(200));
    assert_eq!((bench.status(&of_umbrella, UMBRELLA), bench.status(&of_own, UMBRELLA)), (Some(401), Some(200)));
    until("who came as umbrella's has gone", || exchange_at(&mut two, OWN, "tools/list", "").is_none());
    until("who came as the gateway's, too", || exchange_at(&mut own, UMBRELLA, "tools/list", "").is_none());
}

#[test]
fn who_signs_for_two_moves_nobody_between_them() {
    let bench = Bench::new();
    let with = |pair: Pair, others: &[CertificateDer<'static>]| Pair { others: others.to_vec(), ..pair };
    // Umbrella has signed the authority of acme: who acme signs for stays acme's, and goes when acme says so.
    let acme_by_umbrella = bench.umbrella.cross_sign("acme", &bench.acme);
    let crossed = with(ci(&bench.acme), &[acme_by_umbrella]);
    assert_eq!((bench.status(&crossed, ACME), bench.status(&crossed, UMBRELLA)), (Some(200), Some(401)));
    // An authority that two have signed signs for the one whose signature is shown; where both are, for neither.
    let between = bench.acme.below("between");
    let (by_acme, by_umbrella) = (between.certificate(), bench.umbrella.cross_sign("between", &between));
    let one = with(ci(&between), std::slice::from_ref(&by_acme));
    bench.revoke("acme", &bench.acme, &[SERIAL]);
    until("acme says so", || bench.status(&crossed, ACME).is_none());
    assert_eq!(bench.status(&crossed, UMBRELLA), None, "umbrella does not take it up");
    let list = format!("{}{}", bench.acme.revoked(&[], 2100), between.revoked(&[], 2100));
    fs::write(bench.project.path("acme.crl"), &list).unwrap();
    let list = format!("{}{}", bench.umbrella.revoked(&[], 2100), between.revoked(&[], 2100));
    fs::write(bench.project.path("umbrella.crl"), &list).unwrap();
    until("its lists are there", || bench.status(&one, ACME) == Some(200));
    assert_eq!(bench.status(&one, UMBRELLA), Some(401));
    until("both are refused", || bench.told(Some(&with(ci(&between), &[by_acme.clone(), by_umbrella.clone()])), ACME, None).is_err());
    assert_eq!(
        bench.status(&with(ci(&between), std::slice::from_ref(&by_umbrella)), UMBRELLA),
        Some(200),
        "what it is refused for is not a list"
    );
}

#[test]
fn an_authority_below_anothers_signs_for_its_own_tenant() {
    let above = Authority::new("acme");
    let bench = Bench::with(above.below("umbrella"));
    fs::write(bench.project.path("acme.pem"), above.pem()).unwrap();
    fs::write(bench.project.path("acme.crl"), above.revoked(&[], 2100)).unwrap();
    until("acme's is the one above", || bench.status(&ci(&above), ACME) == Some(200));
    for others in [Vec::new(), vec![bench.umbrella.certificate()]] {
        let shown = Pair { others, ..ci(&bench.umbrella) };
        assert_eq!((bench.status(&shown, UMBRELLA), bench.status(&shown, ACME)), (Some(200), Some(401)));
    }
}

#[test]
fn one_key_signs_for_one_tenant() {
    let mut bench = Bench::new();
    let before = fs::read_to_string(bench.project.path("umbrella.pem")).unwrap();
    // Another certificate of the same key.
    let again = bench.own.cross_sign("another name", &bench.acme);
    fs::write(bench.project.path("umbrella.pem"), format!("{before}{}", pem("CERTIFICATE", &again))).unwrap();
    until("it is not put in force", || bench.gateway.log().contains("has the key of one that signs for tenant `acme`, too"));
    assert_eq!((bench.status(&ci(&bench.acme), ACME), bench.status(&ci(&bench.umbrella), UMBRELLA)), (Some(200), Some(200)));
    bench.gateway.signal("TERM");
    bench.gateway.wait();
    let refused = bench.project.sallyport().args(["up", "--listen", "127.0.0.1:0"]).output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("umbrella.pem cannot be used for TLS"), "{told}");
}

#[test]
fn a_handshake_tells_nobody_who_signs_for_whom() {
    let bench = Bench::new();
    let hints = Arc::new(Hints::default());
    let client = client_of(&bench.server).with_client_cert_resolver(hints.clone());
    exchange_at(&mut connect_as(bench.gateway.port, client), OWN, "tools/list", "401").unwrap();
    assert_eq!(hints.0.get(), Some(&0), "names of authorities are not for everybody");
    let refusal = |authority: &Authority| bench.connect(Some(&ci(authority))).read(&mut [0]).unwrap_err().to_string();
    assert_eq!(refusal(&Authority::new("acme")), refusal(&Authority::new("nothere")), "nor whether there is one of that name");
}

#[test]
fn where_certificates_alone_are_taken_nobody_is_sent_for_a_key() {
    let bench = Bench::new();
    for bearer in [None, Some("nonsense")] {
        let told = bench.told(None, OWN, bearer).unwrap();
        assert!(told.starts_with("HTTP/1.1 401") && told.contains("only_certificates") && told.contains("it takes none"), "{told}");
        assert!(!told.contains("ask whoever runs the gateway for a key"), "{told}");
    }
    assert!(bench.told(None, ACME, None).unwrap().contains("no_key"), "acme has a key");
}
