//! What seals the grants: the gateway's own key or one that its operator keeps, changed and lost while two gateways use it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use super::*;

/// Two gateways over one store, in which alice has granted access to a third party's server.
struct Granted {
    project: Project,
    gateways: [Gateway; 2],
    theirs: String,
    _third_party: (Project, Gateway),
}

impl Granted {
    /// With something more in the configuration, and files that it names.
    fn new(more: &str, files: &[(&str, &str)]) -> Self {
        let relay = Relay::new();
        let theirs = format!("http://127.0.0.1:{}/servers/files/mcp", relay.port);
        let (theirs_project, third_party, _) = third_party(relay);
        let project = Project::new(&format!("{more}\n[servers.theirs]\nurl = \"{theirs}\"\ncredential = {{ per_user = {{}} }}\n"));
        files.iter().for_each(|(name, text)| write_private(&project, name, text));
        let gateways = [project.up(), project.up()];
        let granted = Self { project, gateways, theirs, _third_party: (theirs_project, third_party) };
        let mut browser = Browser::default();
        let page = browser.open(&link(&granted.callers()[0], &granted.gateways[0])).unwrap();
        let login = browser.submit(&page, &[]).unwrap();
        let done = agree(&mut browser, &login);
        assert!(done.status == 200 && done.body.contains("is granted"), "{done:?}\n{}", granted.gateways[0].log());
        granted.is_there();
        granted
    }

    fn callers(&self) -> [Caller; 2] {
        self.gateways.each_ref().map(|gateway| Caller { port: gateway.port, token: None })
    }

    /// Both gateways can use what was granted.
    fn is_there(&self) {
        self.callers().iter().for_each(lists_the_folder);
    }

    /// Neither has anything, and both ask for it, once they have looked: they do every second.
    fn is_gone(&self) {
        thread::sleep(Duration::from_millis(1100));
        for caller in &self.callers() {
            let answer = call(caller, "theirs__list_directory").to_string();
            assert!(answer.contains("/connect/"), "{answer}");
        }
    }

    fn vault(&self, arguments: &[&str]) -> Output {
        self.project.sallyport().arg("vault").args(arguments).output().unwrap()
    }

    fn counted(&self, arguments: &[&str]) -> Value {
        let output = self.vault(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What is told on standard error of a command that fails.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.vault(arguments);
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn own_key(&self) -> std::path::PathBuf {
        self.project.state().join("sallyport/vault.key")
    }
}

#[test]
fn gateways_go_on_over_a_rotation_and_ask_again_for_what_was_forgotten() {
    let granted = Granted::new("", &[]);
    let keys = || fs::read_to_string(granted.own_key()).unwrap();
    let first = keys();
    assert_eq!(granted.counted(&["rotate"]), json!({ "grants": 1 }));
    assert!(keys().lines().count() == 2 && keys().ends_with(&first), "the one before opens what somebody is just sealing");
    assert_eq!(fs::metadata(granted.own_key()).unwrap().permissions().mode() & 0o777, 0o600);
    granted.is_there();
    let output = granted.vault(&["rotate"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "1 grant: sealed with a new key\n");
    assert!(keys().lines().count() == 2 && !keys().contains(&first));
    thread::sleep(ENDED);
    granted.is_there(); // renewed, and sealed with the new key
    lists_the_folder(&Caller { port: granted.project.up().port, token: None });

    let kept = granted.counted(&["list"]);
    let user = kept[0]["user"].as_str().unwrap();
    assert_eq!((kept.as_array().unwrap().len(), kept[0]["server"].as_str()), (1, Some(granted.theirs.as_str())), "{kept}");
    assert!(granted.vault(&["forget"]).status.code() == Some(2), "nobody forgets everything by a slip");
    for others in [&["forget", "--user", "nobody"][..], &["forget", "--server", "https://other.example/mcp"]] {
        assert_eq!(granted.counted(others), json!({ "grants": 0 }));
    }
    granted.is_there();
    assert_eq!(granted.counted(&["forget", "--user", user, "--server", &granted.theirs]), json!({ "grants": 1 }));
    granted.is_gone();
    assert_eq!(granted.counted(&["list"]), json!([]));
    assert_eq!(granted.counted(&["rotate"]), json!({ "grants": 0 }));

    fs::write(granted.own_key(), "lost").unwrap();
    let told = granted.refused(&["rotate"]);
    assert!(told.contains("holds no keys of a vault") && told.contains("sallyport vault forget --all"), "{told}");
    fs::remove_file(granted.own_key()).unwrap();
    assert_eq!(granted.counted(&["forget", "--all"]), json!({ "grants": 0 }));
    granted.is_gone();
}

#[test]
fn a_key_that_the_operator_keeps_seals_at_both_gateways_and_is_changed_by_the_operator() {
    let [old, new] = [("AQEB", "AQE="), ("AgIC", "AgI=")].map(|(part, end)| format!("{}{end}", part.repeat(10)));
    let granted = Granted::new("[vault]\nkey = \"file:kept.key\"", &[("kept.key", &old)]);
    assert!(!granted.own_key().exists(), "there is no other");
    let put = |text: &str| write_private(&granted.project, "kept.key", text);
    let told = granted.refused(&["rotate"]);
    assert!(told.contains("holds one key") && told.contains("openssl rand -base64 32") && !told.contains(&old), "{told}");

    put(&format!("{new}\n{old}\n"));
    granted.is_there();
    let output = granted.vault(&["rotate"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.starts_with("1 grant: sealed with the first key of `file:") && told.ends_with("kept.key`\n"), "{told}");
    put(&new);
    granted.is_there();
    thread::sleep(ENDED);
    granted.is_there();
    lists_the_folder(&Caller { port: granted.project.up().port, token: None });

    // Open to others it is none, to nobody.
    fs::set_permissions(granted.project.path("kept.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let told = granted.refused(&["rotate"]);
    assert!(told.contains("chmod 600"), "{told}");
    thread::sleep(ENDED);
    let answer = call(&granted.callers()[0], "theirs__list_directory");
    assert!(answer["result"]["isError"] == json!(true) || answer["error"].is_object(), "{answer}");
    put(&new);
    granted.is_there();
}

#[test]
fn a_key_in_the_configuration_itself_is_refused_and_a_variable_that_is_not_set_is_told() {
    let project = Project::new("[vault]\nkey = \"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\"\n");
    let check = || project.sallyport().arg("check").output().unwrap();
    let output = check();
    assert!(!output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("AQEB"), "{output:?}");
    project.configure("[vault]\nkey = \"env:VAULT_KEY\"\n");
    let told = format!("{:?}", check());
    assert!(told.contains("vault.key") && told.contains("`VAULT_KEY` is not set"), "{told}");
}
