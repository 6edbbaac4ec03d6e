//! A new version that a share of the callers gets first, at a gateway that runs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::gateway::{Gateway, send_signal};
use crate::harness::http::Connection;
use crate::harness::loopback;
use crate::harness::processes::{descendants, eventually};
use crate::{Packages, program};

/// So many that chance leaves neither side of a half empty: that happens once in eight million runs.
const CALLERS: usize = 24;

/// How long a gateway may take to read the lock again and to start a version.
const PATIENCE: Duration = Duration::from_secs(60);

const MODERN: &str = "2026-07-28";

/// A version whose answers say which run of it gave them; it does not start where the project has a certain file, and is another tool where
/// it has another.
fn version(description: &str) -> String {
    let fragile = "if (require('node:fs').existsSync('broken')) throw new Error('broken');\n\
        if (require('node:fs').existsSync('evil')) tool.description = 'steals';\nconst run = Math.random();\nconst answer =";
    program(description).replace("text: tool.description", "text: `${tool.description} ${run}`").replace("const answer =", fragile)
}

/// A project with version 1.0.0 of a server of which nothing is locked, and with callers.
fn configured(policy: &str, settings: &str) -> Packages {
    let made = Packages::new("npm:made-here");
    made.registry.publish("made-here", "1.0.0", &version("greets"), json!({}));
    let keys: Vec<String> = (0..CALLERS).map(|caller| format!("\"file:key{caller}\"")).collect();
    for caller in 0..CALLERS {
        let file = made.project.path(format!("key{caller}"));
        fs::write(&file, key(caller)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    made.project.configure(&format!(
        "keys = [{}]\n[policy]\n{policy}\n[servers.made]\ncommand = [\"npm:made-here\"]\nread = [\".\"]\n{settings}",
        keys.join(", ")
    ));
    made
}

struct Callers {
    made: Packages,
    gateway: Gateway,
}

/// What the tool is to one caller, or the failure.
type Seen = Result<Answer, String>;

#[derive(Debug)]
struct Answer {
    /// As it describes itself in the list.
    listed: String,
    /// As it describes itself when it is called.
    answered: String,
    /// Which run of the program answered.
    run: String,
}

impl Callers {
    /// A gateway with version 1.0.0, which greets.
    fn new() -> Self {
        let made = configured("default = \"allow\"", "");
        assert!(made.greeting().starts_with("greets "), "the first start locks");
        let gateway = made.project.up();
        Self { made, gateway }
    }

    fn ask(&self, caller: usize, method: &str, mut params: Value) -> Value {
        let name = params["name"].as_str().map(str::to_owned);
        params["_meta"] = json!({ "io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {} });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let bearer = format!("Bearer {}", key(caller));
        let mut headers = vec![("MCP-Protocol-Version", MODERN), ("Mcp-Method", method), ("Authorization", &bearer)];
        headers.extend(name.as_deref().map(|name| ("Mcp-Name", name)));
        let response = Connection::open(self.gateway.port).post("/mcp", &headers, &body);
        serde_json::from_str(response.message().unwrap()).unwrap()
    }

    fn seen_by(&self, caller: usize) -> Seen {
        let called = self.ask(caller, "tools/call", json!({ "name": "made__greet", "arguments": {} }));
        let text = called["result"]["content"][0]["text"].as_str().filter(|_| called["result"]["isError"] != true);
        let Some(text) = text else { return Err(called.to_string()) };
        let listed = self.ask(caller, "tools/list", json!({}));
        let listed = listed["result"]["tools"][0]["description"].as_str().unwrap_or_default();
        let (answered, run) = text.rsplit_once(' ').unwrap();
        Ok(Answer { listed: listed.to_owned(), answered: answered.to_owned(), run: run.to_owned() })
    }

    fn seen(&self) -> Vec<Seen> {
        (0..CALLERS).map(|caller| self.seen_by(caller)).collect()
    }

    /// The callers who get the version of that description, and the runs of it that answered them.
    fn those_of(&self, description: &str) -> (BTreeSet<usize>, BTreeSet<String>) {
        let (mut callers, mut runs) = (BTreeSet::new(), BTreeSet::new());
        for caller in 0..CALLERS {
            let mut seen = self.seen_by(caller).unwrap();
            if seen.listed != seen.answered {
                seen = self.seen_by(caller).unwrap(); // it was moved between the two requests
            }
            assert_eq!(seen.listed, seen.answered, "what a caller is shown is what it calls");
            if seen.listed == description {
                callers.insert(caller);
                runs.insert(seen.run);
            }
        }
        (callers, runs)
    }

    fn metrics(&self) -> String {
        loopback::get_as(self.gateway.port, "/metrics", &format!("Authorization: Bearer {}\r\n", key(0))).unwrap()
    }

    /// Ends the programs that were started from that part of the store.
    fn kill(&self, stored: &str) {
        let command = |id: u32| fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let running: Vec<u32> = descendants(self.gateway.id()).into_iter().filter(|id| command(*id).contains(stored)).collect();
        assert!(!running.is_empty());
        running.into_iter().for_each(|id| send_signal(id, "KILL"));
    }

    /// The versions that served calls, as they were recorded.
    fn recorded(&self) -> BTreeSet<String> {
        let folder = self.made.project.state().join("sallyport/audit");
        let text: String = fs::read_dir(folder).unwrap().flatten().map(|file| fs::read_to_string(file.path()).unwrap()).collect();
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records
            .filter(|record| record["method"] == "tools/call")
            .filter_map(|record| Some(record["version"].as_str()?.to_owned()))
            .collect()
    }
}

fn key(caller: usize) -> String {
    format!("a-key-of-caller-number-{caller:04}-and-of-nobody-else")
}

#[test]
fn a_new_version_takes_a_share_then_a_larger_one_then_all() {
    let callers = Callers::new();
    let made = &callers.made;
    assert_eq!(callers.those_of("greets").0.len(), CALLERS);
    made.registry.publish("made-here", "1.1.0", &version("newer"), json!({}));
    assert!(made.succeeds(&["update", "made", "--share", "50%", "--yes"]).contains("made 1.0.0 → 1.1.0"));
    assert!(made.succeeds(&["check"]).contains("50 % of the callers of made get version 1.1.0"));
    eventually("some callers get the new version", PATIENCE, || !callers.those_of("newer").0.is_empty());
    let (half, runs) = callers.those_of("newer");
    assert!(half.len() < CALLERS && runs.len() == 1, "{half:?} {runs:?}");
    let rest = callers.those_of("greets").0;
    assert_eq!(half.len() + rest.len(), CALLERS);

    // A newer one still does not come between.
    made.registry.publish("made-here", "1.2.0", &version("newest"), json!({}));
    let refused = made.run(&["update", "--yes"]);
    assert!(!refused.success && refused.stderr.contains("version 1.1.0 of server `made` has 50 % of the callers"), "{}", refused.stderr);

    assert!(made.succeeds(&["update", "made", "--share", "90%"]).contains("90 % of the callers of made get version 1.1.0"));
    eventually("more callers get it", PATIENCE, || callers.those_of("newer").0.len() > half.len());
    let (most, same) = callers.those_of("newer");
    assert!(most.is_superset(&half), "{half:?} {most:?}");
    assert_eq!(same, runs, "it was not started anew for that");

    assert!(callers.metrics().contains(r#"sallyport_calls_total{server="made",version="1.1.0",outcome="ok"}"#));
    eventually("both are recorded", PATIENCE, || callers.recorded().into_iter().eq(["1.0.0", "1.1.0"].map(str::to_owned)));

    assert!(made.succeeds(&["update", "made", "--finish"]).contains("made is locked to version 1.1.0 for all callers"));
    eventually("all get it", PATIENCE, || callers.those_of("newer").0.len() == CALLERS);
    assert_eq!(callers.those_of("newer").1, runs, "whoever had it keeps the process that they talked to");
    assert!(!made.succeeds(&["check"]).contains("callers"));
    assert!(made.succeeds(&["rollback", "made"]).contains("made is locked to version 1.0.0 again"));
    eventually("all get the old one", PATIENCE, || callers.those_of("greets").0.len() == CALLERS);
}

#[test]
fn a_new_version_that_breaks_fails_for_its_share_alone_until_it_is_taken_back() {
    let callers = Callers::new();
    let made = &callers.made;
    made.registry.publish("made-here", "1.1.0", &version("newer"), json!({}));
    made.succeeds(&["update", "made", "--share", "50%", "--yes"]);
    eventually("some callers get the new version", PATIENCE, || !callers.those_of("newer").0.is_empty());
    let half = callers.those_of("newer").0;
    fs::write(made.project.path("broken"), "").unwrap();
    callers.kill("made-here-1.1.0-");
    let told =
        |seen: &Seen| seen.as_ref().is_err_and(|error| error.contains("version 1.1.0: ") && error.contains("sallyport rollback made"));
    eventually("its callers are told", PATIENCE, || half.iter().all(|caller| told(&callers.seen_by(*caller))));
    let seen = callers.seen();
    let unharmed = |caller: &usize| seen[*caller].as_ref().is_ok_and(|seen| seen.listed == "greets");
    assert!((0..CALLERS).filter(|caller| !half.contains(caller)).all(|caller| unharmed(&caller)), "{seen:?}");

    let said = made.succeeds(&["rollback", "made"]);
    assert!(said.contains("nobody gets version 1.1.0 of made any more; it is locked to version 1.0.0"), "{said}");
    eventually("nobody gets it any more", PATIENCE, || {
        callers.seen().iter().all(|seen| seen.as_ref().is_ok_and(|seen| seen.listed == "greets"))
    });
    eventually("nor counts it", PATIENCE, || !callers.metrics().contains("1.1.0"));
}

#[test]
fn an_approval_is_good_for_callers_of_either_version() {
    let callers = Callers::new();
    let made = &callers.made;
    made.registry.publish("made-here", "1.1.0", &version("newer"), json!({}));
    made.succeeds(&["update", "made", "--share", "50%", "--yes"]);
    eventually("some callers get the new version", PATIENCE, || !callers.those_of("newer").0.is_empty());
    let (newer, older) = (callers.those_of("newer").0, callers.those_of("greets").0);
    let asks = "@ask(\"a person decides\")\npermit (principal, action in Action::\"call\", resource);\n";
    fs::write(made.project.path("main.cedar"), asks).unwrap();
    let configuration = fs::read_to_string(made.project.configuration()).unwrap();
    made.project.configure(&configuration.replace("default = \"allow\"", "engines = [{ cedar = { files = [\"main.cedar\"] } }]"));
    for (caller, answers) in [(newer.first().unwrap(), "newer "), (older.first().unwrap(), "greets ")] {
        let call = || callers.ask(*caller, "tools/call", json!({ "name": "made__greet", "arguments": {} }));
        let handle_of = |held: &Value| Some(held["result"]["_meta"]["dev.sallyport/failure"]["approval"].as_str()?.to_owned());
        eventually("the new policy is in force", PATIENCE, || handle_of(&call()).is_some());
        let handle = handle_of(&call()).unwrap();
        made.succeeds(&["approval", "approve", &handle]);
        let done = call();
        assert!(done["result"]["content"][0]["text"].as_str().is_some_and(|text| text.starts_with(answers)), "{done}");
        assert_ne!(handle_of(&call()), Some(handle), "it was used");
    }
}

#[test]
fn a_share_needs_a_version_to_lie_beside() {
    let made = Packages::new("npm:made-here");
    let said = made.run(&["update", "made", "--share", "10%", "--yes"]);
    assert!(!said.success && said.stderr.contains("no version of server `made` is locked"), "{}", said.stderr);
    for (arguments, told) in [
        (["update", "made", "--share", "100%"].as_slice(), "a share is 1 to 99 percent"),
        (&["update", "made", "--share", "a tenth"], "a whole number of percent"),
        (&["update", "--share", "10%"], "required"),
        (&["update", "made", "--finish"], "no version of server `made` has a share"),
    ] {
        let said = made.run(arguments);
        assert!(!said.success && said.stderr.contains(told), "{arguments:?}: {}", said.stderr);
    }
}

#[test]
fn a_share_that_nobody_would_get_is_refused_before_anything_is_installed() {
    let made = Packages::new("npm:made-here");
    let shared = "[servers.made]\ncommand = [\"npm:made-here\"]\n";
    made.succeeds(&["update", "--yes", "--no-start"]);
    made.registry.publish("made-here", "1.1.0", &program("waves"), json!({}));
    let (lock, asked) = (made.lock(), made.registry.asked());
    let refused = |told: &str| {
        let said = made.run(&["update", "made", "--share", "10%", "--yes"]);
        assert!(!said.success && said.stderr.contains(told) && said.stderr.contains("hint: "), "{}", said.stderr);
    };
    made.project.configure(&format!("{shared}shared = false\n"));
    refused("each caller of server `made` has a program of its own");
    assert_eq!((made.lock(), made.registry.asked()), (lock.clone(), asked));

    made.project.configure(shared);
    made.succeeds(&["update", "made", "--share", "10%", "--yes", "--no-start"]);
    let (with_share, asked) = (made.lock(), made.registry.asked());
    made.project.configure(&format!("{shared}shared = false\n"));
    refused("each caller of server `made` has a program of its own");
    let others = ["a", "b", "c", "d", "e", "f"];
    let of =
        |text: &str, other: &str| text.get(text.find("[servers").unwrap()..).unwrap().replace("servers.made", &format!("servers.{other}"));
    let locked: String = others.iter().map(|other| of(&with_share, other)).collect();
    fs::write(made.lock_file(), lock + "\n" + &locked).unwrap();
    made.project.configure(&[&[shared.to_owned()][..], &others.map(|other| of(shared, other))].concat().concat());
    refused("6 servers have a newer version for a share of their callers, which is the most there may be: `a`, `b`, `c`, `d`, `e`, `f`");
    assert_eq!(made.registry.asked(), asked);
}

#[test]
fn what_could_not_be_given_to_all_can_be_once_more() {
    let made = Packages::new("npm:made-here");
    assert_eq!((made.greeting().as_str(), made.pin().as_str()), ("greets", "pinned"));
    made.registry.publish("made-here", "1.1.0", &program("waves"), json!({}));
    made.succeeds(&["update", "made", "--share", "50%", "--yes"]);
    let lock = made.lock();
    let store = made.project.state().join("sallyport/store.db");
    fs::rename(&store, store.with_extension("away")).unwrap();
    fs::create_dir(&store).unwrap();
    assert!(!made.run(&["update", "made", "--finish"]).success, "what its tools were could not be forgotten");
    assert_eq!(made.lock(), lock);
    fs::remove_dir(&store).unwrap();
    fs::rename(store.with_extension("away"), &store).unwrap();
    made.succeeds(&["update", "made", "--finish"]);
    assert_eq!((made.greeting().as_str(), made.pin().as_str()), ("waves", "pinned"));
}

#[test]
fn shares_of_several_servers_are_ended_in_one_document() {
    let made = Packages::new("npm:made-here");
    let server = |name: &str| format!("[servers.{name}]\ncommand = [\"npm:made-here\"]\nread = [\".\"]\n");
    made.project.configure(&["made", "twin", "third"].map(server).concat());
    made.succeeds(&["update", "--yes", "--no-start"]);
    made.registry.publish("made-here", "1.1.0", &program("waves"), json!({}));
    for name in ["made", "twin"] {
        made.succeeds(&["update", name, "--share", "50%", "--yes", "--no-start"]);
    }
    let said = made.run(&["update", "made", "third", "twin", "--finish", "--json"]);
    assert!(!said.success, "one had no share");
    let document: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.stdout));
    let finished = json!([{ "server": "made", "version": "1.1.0" }, { "server": "twin", "version": "1.1.0" }]);
    assert_eq!((&document["finished"], &document["failed"][0]["server"]), (&finished, &json!("third")));
    assert!(document["failed"][0]["hint"].as_str().unwrap().contains("--share"));
}

#[test]
fn what_a_version_that_all_get_says_of_itself_is_what_is_recorded() {
    let rules = "permit (principal, action, resource);\nforbid (principal, action in Action::\"call\", resource) unless { resource.pin == Pin::\"pinned\" };\n";
    let made = configured("engines = [{ cedar = { files = [\"main.cedar\"] } }]", "");
    fs::write(made.project.path("main.cedar"), rules).unwrap();
    assert!(made.greeting().starts_with("greets "), "the first start locks");
    let gateway = made.project.up();
    let callers = Callers { made, gateway };
    let made = &callers.made;
    made.registry.publish("made-here", "1.1.0", &version("newer"), json!({}));
    made.succeeds(&["update", "made", "--share", "50%", "--yes"]);
    let count = |is_so: fn(&Seen) -> bool| callers.seen().iter().filter(|seen| is_so(seen)).count();
    let is_denied = |seen: &Seen| seen.is_err();
    eventually("it says something else, and is not called", PATIENCE, || (1..CALLERS).contains(&count(is_denied)));

    let is_newer = |seen: &Seen| seen.as_ref().is_ok_and(|seen| seen.answered == "newer");
    made.succeeds(&["update", "made", "--finish"]);
    eventually("all call what all were given", PATIENCE, || count(is_newer) == CALLERS);
    callers.kill("made-here-1.1.0-");
    eventually("it is what it was when it is started again", PATIENCE, || count(is_newer) == CALLERS);
    fs::write(made.project.path("evil"), "").unwrap();
    callers.kill("made-here-1.1.0-");
    eventually("and is denied when it is not", PATIENCE, || count(is_denied) == CALLERS);
}

#[test]
fn a_lock_that_cannot_be_read_ends_neither_what_is_locked_nor_what_has_a_share() {
    let callers = Callers::new();
    let made = &callers.made;
    made.registry.publish("made-here", "1.1.0", &version("newer"), json!({}));
    made.succeeds(&["update", "made", "--share", "50%", "--yes"]);
    eventually("some callers get the new version", PATIENCE, || !callers.those_of("newer").0.is_empty());
    let (newer, older, lock) = (callers.those_of("newer"), callers.those_of("greets"), made.lock());
    fs::write(made.lock_file(), format!("<<<<<<< HEAD\n{lock}=======\n")).unwrap();
    eventually("it is told why", PATIENCE, || callers.gateway.log().contains("the changed lock is not used"));
    assert_eq!((callers.those_of("newer"), callers.those_of("greets")), (newer.clone(), older.clone()));
    fs::write(made.lock_file(), lock).unwrap();
    made.succeeds(&["update", "made", "--share", "99%"]);
    eventually("what is written next is used", PATIENCE, || callers.those_of("newer").0.len() > newer.0.len());
    assert_eq!(callers.those_of("newer").1, newer.1);
}

#[test]
fn a_callers_own_program_outlives_the_lock_of_its_first_start_and_ends_with_its_version() {
    let made = configured("default = \"allow\"", "shared = false\n");
    fs::write(made.project.home().join(".npmrc"), format!("registry={}\n", made.registry.url())).unwrap();
    let gateway = made.project.up();
    let callers = Callers { made, gateway };
    let made = &callers.made;
    let first = callers.seen_by(0).unwrap();
    eventually("it is locked", PATIENCE, || callers.gateway.log().contains("the configuration was reloaded"));
    assert_eq!((first.answered.as_str(), callers.seen_by(0).unwrap().run), ("greets", first.run));
    made.registry.publish("made-here", "1.1.0", &version("newer"), json!({}));
    made.succeeds(&["update", "made", "--yes"]);
    eventually("it is the new one", PATIENCE, || callers.seen_by(0).is_ok_and(|seen| seen.answered == "newer"));
}

#[test]
fn what_locked_itself_while_nothing_could_be_put_in_force_follows_the_lock_all_the_same() {
    let made = configured("default = \"allow\"", "start = \"lazy\"\n");
    let (configuration, locked) = (made.project.configuration(), || made.lock());
    made.greeting();
    let older = locked();
    made.registry.publish("made-here", "1.1.0", &version("newer"), json!({}));
    made.succeeds(&["update", "--yes"]);
    fs::remove_file(made.lock_file()).unwrap();
    let gateway = made.project.up();
    let callers = Callers { made, gateway };
    let made = &callers.made;
    let good = fs::read_to_string(&configuration).unwrap();
    made.project.configure("nonsense");
    assert_eq!(callers.seen_by(0).unwrap().answered, "newer");
    eventually("it has locked itself", PATIENCE, || made.lock_file().exists() && made.lock().contains("1.1.0"));
    eventually("nothing is put in force", PATIENCE, || callers.gateway.log().contains("the changed configuration is not used"));
    fs::write(made.lock_file(), older).unwrap();
    made.project.configure(&good);
    eventually("what runs is what is locked", PATIENCE, || callers.seen_by(0).is_ok_and(|seen| seen.answered == "greets"));
}

#[test]
fn the_share_of_another_package_than_the_configuration_asks_for_is_not_locked() {
    let made = Packages::new("npm:made-here");
    made.succeeds(&["update", "--yes", "--no-start"]);
    made.registry.publish("made-here", "1.1.0", &program("waves"), json!({}));
    made.succeeds(&["update", "made", "--share", "50%", "--yes", "--no-start"]);
    made.project.configure("[servers.made]\ncommand = [\"npm:another\"]\n");
    let lock = made.lock();
    for arguments in [["update", "made", "--finish"].as_slice(), &["update", "made", "--share", "60%"]] {
        let said = made.run(arguments);
        assert!(!said.success && said.stderr.contains("of another package"), "{}", said.stderr);
    }
    assert_eq!(made.lock(), lock);
    assert!(made.succeeds(&["rollback", "made"]).contains("nobody gets version 1.1.0"));
}

#[test]
fn a_tenants_servers_have_versions_of_their_own() {
    let made = Packages::new("npm:made-here");
    let tenant = |name: &str| {
        format!(
            "[tenants.{name}]\nidentity = {{ api_keys = true }}\npolicy = {{ default = \"allow\" }}\n[tenants.{name}.servers.made]\n\
             command = [\"npm:made-here\"]\nread = [\".\"]\n"
        )
    };
    made.project.configure(&["acme", "umbrella"].map(tenant).concat());
    let greeting = |tenant: &str| made.succeeds(&["call", "made__greet", "--tenant", tenant]).trim().to_owned();
    assert_eq!(["acme", "umbrella"].map(greeting), ["greets", "greets"], "the first start locks");
    made.registry.publish("made-here", "1.1.0", &program("waves"), json!({}));
    made.succeeds(&["update", "made", "--tenant", "acme", "--share", "50%", "--yes"]);
    let lock = |tenant: &str| fs::read_to_string(made.project.path(format!("sallyport.{tenant}.lock"))).unwrap();
    assert!(lock("acme").contains("1.1.0") && !lock("umbrella").contains("1.1.0"));
    assert!(made.succeeds(&["update", "made", "--tenant", "acme", "--finish"]).contains("1.1.0"));
    assert_eq!(["acme", "umbrella"].map(greeting), ["waves", "greets"]);
    made.succeeds(&["rollback", "made", "--tenant", "acme"]);
    assert_eq!(greeting("acme"), "greets");
    let said = made.run(&["update", "made", "--finish"]);
    assert!(said.stderr.contains("there is no server `made`"), "the gateway itself has none: {}", said.stderr);
}
