//! The way out: real programs reach what is allowed, as if there were nothing between, and nothing else.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sallyport_sandbox::egress::{Allowed, Connection, Name, Observe, Outcome, Refusal, Resolve, Surroundings};
use sallyport_sandbox::{Host, Layer, Network, Profile, Program, Selection, State};
use support::servers::{Hosts, Tls, http, http_at, speaks_first, swallows};
use support::{Caller, Folder, callers, eventually, launcher, lives, run, succeeds, text};

fn probe(folder: &Folder) -> PathBuf {
    folder.file("probe.py", include_str!("egress.py"))
}

/// Runs the probe inside, with `given`; gives what it found and the lines of the gateway's side.
fn probed(caller: Caller, network: &[&str], given: &serde_json::Value) -> (BTreeMap<String, String>, String) {
    let folder = Folder::of(caller);
    let (script, lines) = (probe(&folder), folder.file("connections", ""));
    let options = [&["--connections", lines.to_str().unwrap()], network].concat();
    let found = succeeds(caller, &options, &["/usr/bin/python3", script.to_str().unwrap(), &given.to_string()]);
    (serde_json::from_str(&found).expect(&found), fs::read_to_string(&lines).unwrap())
}

#[test]
fn programs_that_know_nothing_of_it_reach_an_allowed_name() {
    let port = http();
    let (name, own) = (format!("api.test:{port}"), format!("127.0.0.1:{port}"));
    let url = format!("http://api.test:{port}/");
    let python = format!("import urllib.request as u; print(u.urlopen('{url}', timeout=9).read().decode(), end='')");
    let node = format!("fetch('{url}').then((r) => r.text()).then((t) => process.stdout.write(t))");
    let programs: &[&[&str]] = &[&["/usr/bin/curl", "-sS", "-m", "9", &url], &["/usr/bin/python3", "-c", &python], &["node", "-e", &node]];
    for caller in callers() {
        for program in programs {
            let folder = Folder::of(*caller);
            let (layers, lines) = (folder.file("layers", ""), folder.file("connections", ""));
            let options = [
                &["--network", &name, "--network", &own, "--resolve", "api.test=127.0.0.1"][..],
                &["--layers", layers.to_str().unwrap(), "--connections", lines.to_str().unwrap()],
            ];
            assert_eq!(succeeds(*caller, &options.concat(), program), "hello\n", "{program:?}");
            let layers: serde_json::Value = serde_json::from_str(&fs::read_to_string(layers).unwrap()).unwrap();
            assert_eq!(layers["layers"]["network"]["in_force"], "only what is allowed, through the gateway");
            let lines = fs::read_to_string(lines).unwrap();
            assert!(lines.starts_with(&format!("api.test:{port} Direct ended sent=")), "{lines}");
        }
    }
}

#[test]
fn an_address_that_is_named_is_reached_as_it_is_in_ipv6_too() {
    let (v4, v6) = (http_at("127.6.7.8:0"), http_at("[::1]:0"));
    let (block, single) = (format!("127.6.0.0/16:{v4}"), format!("[::1]:{v6}"));
    let (first, second) = (format!("http://127.6.7.8:{v4}/"), format!("http://[::1]:{v6}/"));
    for caller in callers() {
        let network = ["--network", &block, "--network", &single];
        assert_eq!(succeeds(*caller, &network, &["/usr/bin/curl", "-sS", "-m", "9", "-g", &first, &second]), "hello\nhello\n");
    }
}

#[test]
fn tls_passes_as_it_is_and_only_for_the_name_that_was_asked_for() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let server = Tls::start(&folder, "api.test");
        let (names, own) = (format!("*.test:{}", server.port), format!("127.0.0.1:{}", server.port));
        let authority = server.certificate.to_str().unwrap();
        let url = format!("https://api.test:{}/", server.port);
        let network = [
            "--network",
            &names,
            "--network",
            &own,
            "--read",
            authority,
            "--resolve",
            "api.test=127.0.0.1",
            "--resolve",
            "other.test=127.0.0.1",
        ];
        let node = format!("fetch('{url}').then((r) => r.text()).then((t) => process.stdout.write(t))");
        let with_authority = format!("NODE_EXTRA_CA_CERTS={authority}");
        assert_eq!(succeeds(*caller, &network, &["/usr/bin/curl", "-sS", "-m", "9", "--cacert", authority, &url]), "hello\n");
        assert_eq!(succeeds(*caller, &[&network[..], &["--env", &with_authority]].concat(), &["node", "-e", &node]), "hello\n");

        let given =
            serde_json::json!({ "tls": { "host": "api.test", "port": server.port, "names": ["api.test", "API.test", "other.test", ""] } });
        let (found, lines) = probed(*caller, &network, &given);
        let cut = |name: &str| found[name].starts_with("ConnectionResetError") || found[name].starts_with("SSLEOFError");
        assert_eq!((found["tls for api.test"].as_str(), found["tls for API.test"].as_str()), ("reached", "reached"), "{found:#?}");
        assert!(cut("tls for other.test") && cut("tls for "), "{found:#?}");
        assert_eq!(lines.matches("refused: TLS asks for another server name").count(), 2, "{lines}");
    }
}

#[test]
fn plain_http_passes_only_for_the_name_that_was_asked_for_one_request_at_a_time() {
    let server = Hosts::start();
    let (names, own) = (format!("*.test:{}", server.port), format!("127.0.0.1:{}", server.port));
    let addresses = ["--resolve", "api.test=127.0.0.1", "--resolve", "other.test=127.0.0.1"];
    let network = [&["--network", &names, "--network", &own][..], &addresses].concat();
    let url = format!("http://api.test:{}/", server.port);
    for caller in callers() {
        let twice = succeeds(*caller, &network, &["/usr/bin/curl", "-sS", "-m", "9", &url, &url]);
        assert_eq!(twice, format!("for api.test:{0}\nfor api.test:{0}\n", server.port));
        let given = serde_json::json!({ "http": { "port": server.port } });
        let (found, lines) = probed(*caller, &network, &given);
        for (what, answers) in &found {
            let expected =
                if what.starts_with("refused") { "ConnectionResetError: [Errno 104] Connection reset by peer" } else { "for api.test" };
            assert_eq!(answers, expected, "{what}");
        }
        assert_eq!(found.len(), 9, "{found:#?}");
        assert_eq!(lines.matches("refused: the request asks for another host").count(), 4, "{lines}");
    }
}

#[test]
fn nothing_else_is_reached() {
    let (port, other_port) = (http(), http());
    let given = serde_json::json!({ "hostile": { "port": port, "other_port": other_port } });
    let (api, rebound, own) = (format!("api.test:{port}"), format!("rebound.test:{port}"), format!("127.0.0.1:{port}"));
    let network = [
        &["--network", &api, "--network", &rebound, "--network", &own, "--network", "unresolved.test:80"][..],
        &["--resolve", "api.test=10.9.9.9,127.0.0.1", "--resolve", "rebound.test=127.0.0.9,169.254.169.254,::ffff:10.0.0.1"],
    ]
    .concat();
    for caller in callers() {
        let (found, lines) = probed(*caller, &network, &given);
        for (what, expected) in EXPECTED {
            assert!(found[*what].starts_with(expected), "{caller:?}: {what}: {}, not {expected}\n{lines}", found[*what]);
        }
        assert_eq!(found.len(), EXPECTED.len(), "{found:#?}");
        assert!(
            lines.contains(&format!("rebound.test:{port} Direct refused: the name resolves to 127.0.0.9, which is not public")),
            "{lines}"
        );
        assert!(lines.contains(&format!("127.0.0.2:{port} Direct refused: `network` does not name it")), "{lines}");
        assert!(lines.contains("name evil.test refused\n") && lines.contains("unresolved.test:80 Direct failed: "), "{lines}");
        assert!(!lines.contains("sent=1 "), "{lines}");
    }
}

/// What the probe's `hostile` part finds.
const EXPECTED: &[(&str, &str)] = &[
    ("the allowed name", "reached"),
    ("the allowed address", "reached"),
    ("another address at the same port", "ConnectionResetError"),
    ("an address that stands for nobody", "ConnectionResetError"),
    ("a name that resolves to private addresses", "ConnectionResetError"),
    ("an allowed name that does not resolve", "ConnectionResetError"),
    ("an allowed name at a port of nobody", "PermissionError"),
    ("an allowed name at another's port", "ConnectionResetError"),
    ("another name", "gaierror"),
    ("a name below the allowed one", "gaierror"),
    ("an address of the internet", "OSError: [Errno 101]"),
    ("the metadata address", "OSError: [Errno 101]"),
    ("an IPv6 address", "OSError: [Errno 101]"),
    ("udp to the internet", "OSError: [Errno 101]"),
    ("udp to the allowed name", "ConnectionRefusedError"),
    ("another resolver", "OSError: [Errno 101]"),
    ("icmp to the allowed name", "PermissionError"),
    ("raw icmp", "PermissionError"),
    ("to listen", "PermissionError"),
    ("a txt question for another name", "code 3, 0 answers"),
    ("a txt question for the allowed name", "code 0, 0 answers"),
    ("an ipv6 question for the allowed name", "code 0, 0 answers"),
    ("a question for the allowed name", "code 0, 1 answers"),
    ("a change of routes", "PermissionError"),
];

#[test]
fn the_proxy_speaks_connect_and_socks_and_keeps_to_the_same_rules() {
    let port = http();
    let (api, own) = (format!("api.test:{port}"), format!("127.0.0.1:{port}"));
    let network = ["--network", &api, "--network", &own, "--resolve", "api.test=127.0.0.1"];
    let url = format!("http://api.test:{port}/");
    let proxies = [
        ["--proxytunnel", "--proxy", "http://198.18.0.1:3128"].to_vec(),
        vec!["--proxy", "socks5h://198.18.0.1:3128"],
        vec!["--proxy", "socks5://198.18.0.1:3128"],
    ];
    for caller in callers() {
        for proxy in &proxies {
            let curl = [&["/usr/bin/curl", "-sS", "-m", "9"][..], proxy, &[&url]].concat();
            assert_eq!(succeeds(*caller, &network, &curl), "hello\n", "{proxy:?}");
            let curl = [&["/usr/bin/curl", "-sS", "-m", "9"][..], proxy, &["http://evil.test:80/"]].concat();
            assert!(!run(*caller, &network, &curl).status.success(), "{proxy:?}");
        }
        let given = serde_json::json!({ "proxy": { "port": port } });
        let (found, _) = probed(*caller, &network, &given);
        for (what, said) in &found {
            let allowed = what.starts_with("allowed");
            assert_eq!(said.starts_with("HTTP/1.1 200") || said == "socks 0", allowed, "{what}: {said}");
            assert!(allowed || said.starts_with("HTTP/1.1 4") || said.starts_with("socks ") || said == "ended", "{what}: {said}");
        }
        assert!(found.len() > 20, "{found:#?}");
    }
}

#[test]
fn a_server_that_speaks_first_and_one_that_only_swallows_are_served() {
    let (first, swallowing) = (speaks_first(b"220 ready\r\n"), swallows());
    let (a, b) = (format!("127.0.0.1:{first}"), format!("127.0.0.1:{swallowing}"));
    let (c, d) = (format!("mail.test:{first}"), format!("log.test:{swallowing}"));
    let network = [
        "--network",
        &a,
        "--network",
        &b,
        "--network",
        &c,
        "--network",
        &d,
        "--resolve",
        "mail.test=127.0.0.1",
        "--resolve",
        "log.test=127.0.0.1",
    ];
    let script = format!(
        "import socket as s\nm=s.create_connection(('mail.test',{first}),9)\nprint(m.recv(99).decode().strip())\n\
         l=s.create_connection(('log.test',{swallowing}),9)\nl.sendall(b'x'*3000000)\nl.shutdown(s.SHUT_WR)\nprint(l.recv(99).decode())"
    );
    for caller in callers() {
        assert_eq!(succeeds(*caller, &network, &["/usr/bin/python3", "-c", &script]), "220 ready\n3000000\n");
    }
}

#[test]
fn a_destination_has_so_many_connections_and_bytes() {
    let (port, swallowing) = (http(), swallows());
    let (own, other) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{swallowing}"));
    let network = ["--network", &own, "--network", &other, "--most-connections", "3", "--network-mb", "1"];
    let given = serde_json::json!({ "limits": { "port": port, "swallowing": swallowing } });
    for caller in callers() {
        let (found, lines) = probed(*caller, &network, &given);
        assert_eq!((found["open at once"].as_str(), found["after they are closed"].as_str()), ("3", "reached"), "{found:#?}");
        let sent: usize = found["bytes before the cut"].parse().unwrap();
        assert!(sent >= 1 << 20, "{sent}");
        assert!(lines.contains("refused: as many connections as") && lines.contains("refused: as many bytes"), "{lines}");
    }
}

#[test]
fn floods_garbage_and_slow_programs_harm_only_themselves() {
    let port = http();
    let own = format!("127.0.0.1:{port}");
    let network = ["--network", &own];
    let folder = Folder::of(Caller::Itself);
    let script = probe(&folder);
    let given = serde_json::json!({ "flood": { "port": port } }).to_string();
    let mut hostile =
        launcher(Caller::Itself, &network, &["/usr/bin/python3", script.to_str().unwrap(), &given]).stdin(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    hostile.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    // Meanwhile, with all of it in flight: it holds few descriptors and little memory.
    let status = |key: &str| {
        let status = fs::read_to_string(format!("/proc/{}/status", hostile.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned();
        line.split_ascii_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let descriptors = fs::read_dir(format!("/proc/{}/fd", hostile.id())).unwrap().count();
    assert!(descriptors < 2 * 128 + 40, "{descriptors}");
    assert!(status("VmRSS:") < 100 * 1024, "{} KiB", status("VmRSS:"));
    // Another sandbox is served as ever.
    let began = Instant::now();
    let url = format!("http://127.0.0.1:{port}/");
    assert_eq!(succeeds(Caller::Itself, &network, &["/usr/bin/curl", "-sS", "-m", "9", &url]), "hello\n");
    assert!(began.elapsed() < Duration::from_secs(9));
    drop(hostile.stdin.take());
    let output = hostile.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout).trim(), r#"{"afterwards": "reached"}"#, "{}", text(&output.stderr));
}

#[test]
fn without_the_namespace_or_its_sockets_nothing_runs() {
    let launcher = env!("CARGO_BIN_EXE_sallyport-launcher");
    let ports: Vec<String> = (1..=16).map(|port| port.to_string()).collect();
    let destination = format!("[::1]:{}", ports.join(","));
    let refused = |setting: &str| {
        let script = format!("{setting} && exec {launcher} --network {destination} -- /bin/echo ran");
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user"])
            .args(["/bin/sh", "-c", &script])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(125), ""), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let said = refused("echo 0 > /proc/sys/user/max_net_namespaces");
    assert!(said.contains("layer network namespace is not in force: make a network namespace"), "{said}");
    assert!(said.contains("hint: raise the limits below /proc/sys/user"), "{said}");
    // The gateway has room for a few of the 35 sockets.
    let said = refused("ulimit -n 40");
    assert!(said.contains("a socket got lost: the gateway has too many open files"), "{said}");
}

#[test]
fn nothing_survives_when_the_gateway_is_killed() {
    let port = http();
    let own = format!("127.0.0.1:{port}");
    let mark = format!("mark-egress-{}", std::process::id());
    let script =
        format!("import socket,sys,time\ns=socket.create_connection(('127.0.0.1',{port}))\nprint('ready',flush=True)\ntime.sleep(600)");
    for caller in callers() {
        let mut gateway =
            launcher(*caller, &["--network", &own], &["/usr/bin/python3", "-c", &script, &mark]).stdin(Stdio::piped()).spawn().unwrap();
        gateway.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        assert!(lives(&mark));
        gateway.kill().unwrap();
        gateway.wait().unwrap();
        eventually("all are gone", || !lives(&mark));
    }
}

struct Nowhere;

impl Resolve for Nowhere {
    fn resolve(&self, _: &Name) -> std::io::Result<Vec<std::net::IpAddr>> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// Sockets among this process's descriptors.
fn sockets() -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| Path::to_string_lossy(link).starts_with("socket:")).count()
}

#[tokio::test]
async fn its_sockets_are_closed_when_the_program_ends() {
    let allowed = Allowed::new(vec!["*".parse().unwrap(), "[::1]:80".parse().unwrap()]).unwrap();
    let profile = Profile { network: Network::Only(allowed), ..Profile::default() };
    let egress = Surroundings { resolver: Arc::new(Nowhere), ..Surroundings::default() };
    let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher")).with_egress(egress);
    let backend = Selection::default().build(&host).unwrap();
    let mut program = Program::new("test", "/bin/cat");
    // The first launch starts threads, which have descriptors of their own.
    backend.launch(&profile, &program).await.unwrap().wait_to_end().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = sockets();

    program.command = "/bin/cat".to_owned();
    let instance = backend.launch(&profile, &program).await.unwrap();
    assert!(matches!(instance.in_force().get(Layer::Network), Some(State::InForce(_))));
    assert_eq!(sockets() - before, 7, "one for names; ports 80, 443 and 3128, in both kinds");
    drop(instance.take_io());
    instance.wait().await;
    for _ in 0..100 {
        if sockets() == before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} sockets are still open", sockets() - before);
}

/// How connections ended.
#[derive(Default)]
struct Outcomes(Mutex<Vec<Outcome>>);

impl Observe for Outcomes {
    fn connection(&self, connection: &Connection) {
        self.0.lock().unwrap().push(connection.outcome.clone());
    }

    fn name_refused(&self, _: &str, _: &Name) {}
}

#[tokio::test]
async fn who_is_started_again_has_no_more_bytes_than_who_stays() {
    let port = swallows();
    let allowed = Allowed::new(vec![format!("127.0.0.1:{port}").parse().unwrap()]).unwrap();
    let mut profile = Profile { network: Network::Only(allowed), ..Profile::default() };
    profile.limits.network_mb = 1;
    let outcomes = Arc::new(Outcomes::default());
    let egress = Surroundings { observer: outcomes.clone(), ..Surroundings::default() };
    let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher")).with_egress(egress);
    let backend = Selection::default().build(&host).unwrap();
    let script = format!(
        "import socket as s\nc=s.create_connection(('127.0.0.1',{port}))\nc.sendall(b'x'*700000)\nc.shutdown(s.SHUT_WR)\nc.recv(9)\n"
    );
    for (server, expected) in [("one", Outcome::Ended), ("one", Outcome::Refused(Refusal::Bytes)), ("other", Outcome::Ended)] {
        let mut program = Program::new(server, "/usr/bin/python3");
        program.args = vec!["-c".to_owned(), script.clone()];
        backend.launch(&profile, &program).await.unwrap().wait_to_end().await;
        eventually("it is told", || !outcomes.0.lock().unwrap().is_empty());
        assert_eq!(std::mem::take(&mut *outcomes.0.lock().unwrap()), [expected], "{server}");
    }
}

/// Lets a program end that waits for the end of its stdin.
trait ToItsEnd {
    async fn wait_to_end(&self);
}

impl ToItsEnd for sallyport_sandbox::Instance<sallyport_sandbox::Running> {
    async fn wait_to_end(&self) {
        drop(self.take_io());
        self.wait().await;
    }
}
