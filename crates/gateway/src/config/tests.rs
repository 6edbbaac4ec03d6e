#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Write as _;
use std::path::Path;

use sallyport_sandbox::{Isolation, Network, SystemCalls};
use sallyport_transport::server::Proxies;

use super::*;
use crate::plan::Source;

mod hostile;
mod identity;

/// A folder with a file in it, and how the program is called there.
struct Project {
    folder: tempfile::TempDir,
    variables: &'static [(&'static str, &'static str)],
}

impl Project {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: &[("HOME", "/home/me"), ("TOKEN", "t0ken")] }
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let file = self.folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        file
    }

    fn invocation(&self) -> Invocation {
        let variables = self.variables;
        let lookup = move |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Invocation { file: None, listen: None, folder: self.folder.path().to_owned(), variables: Arc::new(lookup) }
    }

    fn load(&self, file: &str) -> Result<Plan, Vec<Diagnostic>> {
        load(&Invocation { file: Some(file.into()), ..self.invocation() })
    }

    /// Everything that is said about a file, the folder's name taken out.
    fn told(&self, file: &str) -> String {
        let mut told = String::new();
        match self.load(file) {
            Ok(plan) => plan.warnings.iter().for_each(|warning| writeln!(told, "warning: {warning}").unwrap()),
            Err(errors) => errors.iter().for_each(|error| writeln!(told, "error: {error}").unwrap()),
        }
        told.replace(&self.folder.path().display().to_string(), "PROJECT")
    }
}

fn toml(text: &str) -> Result<Plan, Vec<Diagnostic>> {
    let project = Project::new();
    project.write(FILE_NAME, text);
    project.load(FILE_NAME)
}

fn told_of_toml(text: &str) -> String {
    let project = Project::new();
    project.write(FILE_NAME, text);
    project.told(FILE_NAME)
}

fn stdio<'p>(plan: &'p Plan, name: &str) -> &'p crate::plan::StdioPlan {
    match &plan.servers[name].source {
        Source::Stdio(stdio) => stdio,
        other => panic!("{name} is no program: {other:?}"),
    }
}

#[test]
fn every_slip_in_a_file_is_told_at_once_with_its_place() {
    let told = told_of_toml(
        r#"
lisen = "127.0.0.1:7420"
keys = ["hunter2"]
behind_proxy = "yes"

[polcy]
default = "allow"

[servers.github]
comand = ["npx"]
args = ["-y"]
timeouts = { cal = "60s" }

[servers.files]
builtin = { filesytem = { root = "." } }
sandbox = "offf"

[servers.search]
command = "npx -y search"
env = { A = 1 }
transport = "websocket"

[toolsets.review]
tols = ["a__*"]
"#,
    );
    insta::assert_snapshot!(told);
}

#[test]
fn numbers_and_the_keys_of_one_table_are_told_in_the_words_of_the_file() {
    let told = told_of_toml(
        r#"
[servers.a]
command = ["a"]
limits = { memory_mb = "much", processes = -1, colour = 2 }
sandbox = { os = {}, none = {} }

[servers.b]
command = ["b"]
sandbox = "offf"
"#,
    );
    for expected in [
        "servers.a.limits.memory_mb: a string is given where a whole number from 0 to 4294967295 is wanted",
        "servers.a.limits.processes: another number is given where a whole number from 0 to 4294967295 is wanted",
        "servers.a.limits.colour: unknown key `colour`",
        "servers.a.sandbox: two sandboxes are named",
        "known here: auto, os, landlock",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
}

#[test]
fn every_wrong_value_is_told_at_once_with_its_place() {
    let told = told_of_toml(
        r#"
listen = "localhost"
allowed_origins = ["*", "app.example.com", "https://ok.example.com"]
allowed_hosts = ["a b"]

[servers.nothing]

[servers.both]
command = ["a"]
url = "https://a.com"

[servers."not a name"]
command = ["a"]

[servers.git_hub]
command = ["docker", "compose", "up"]

[servers.git-hub]
command = ["sh", "-c", "echo ${HOME}", "${env:"]
env = { "A=B" = "x", TOKEN = "env:not a name" }
network = ["https://a.com", "a.com:0", "localhost:80"]
read = ["~other/x"]
headers = { A = "b" }
allow = ["[a"]
retry = ["{a"]
timeouts = { call = "10", call_max = "1s", list = "0s" }

[servers.everywhere]
command = ["a"]
network = ["host-network", "a.com"]

[servers.remote]
url = "ftp://a.com"
env = { A = "b" }
headers = { "a b" = "c", Host = "d", X = "a\nb" }

[toolsets.empty]
[toolsets.renamed]
tools = ["github__*"]
rename = { github__a = "x", github__b = "x", github__c = "y z" }
"#,
    );
    insta::assert_snapshot!(told);
}

#[test]
fn what_is_risky_but_allowed_is_a_warning() {
    let told = told_of_toml(
        r#"
[servers.open]
command = ["server"]
sandbox = "none"
write = ["."]
env = { API_KEY = "0123456789", OTHER = "env:UNSET" }

[servers.writer]
command = ["server"]
write = ["."]

[servers.closed]
command = ["server"]
read_only = true

[servers.clear]
url = "http://mcp.example.com/mcp"

[servers.files]
builtin = { filesystem = { root = ".", write = true } }

[servers.history]
builtin = { git = { root = ".", write = true } }

[servers.home]
builtin = { filesystem = { root = "~" } }

[toolsets.set]
tools = ["flies__*"]

[servers.everywhere]
command = ["server"]
network = ["host-network"]
"#,
    );
    insta::assert_snapshot!(told);
}

#[test]
fn beyond_loopback_a_key_and_tls_are_required() {
    let told = told_of_toml("listen = \"0.0.0.0:7420\"\n");
    insta::assert_snapshot!(told);
    let plan =
        toml("listen = \"0.0.0.0:7420\"\nkeys = [\"env:TOKEN\", \"file:key\"]\nbehind_proxy = true\ntrusted_proxies = [\"10.0.0.5\"]\n")
            .unwrap();
    assert!(!plan.is_local());
    assert!(plan.keys[1].to_string().ends_with("/key"), "a relative file belongs to the folder: {}", plan.keys[1]);
    toml("listen = \"[::]:7420\"\nkeys = [\"env:TOKEN\"]\ntls = { certificate = \"c.pem\", key = \"k.pem\" }\n").unwrap();
}

#[test]
fn a_proxy_is_believed_where_it_is_known() {
    let of = |text: &str| toml(text).unwrap().proxies;
    assert_eq!(of(""), None);
    assert_eq!(of("behind_proxy = true\n"), Some(Proxies::on_this_machine()), "nobody else reaches loopback");
    let named = Proxies::at(["10.0.0.5", "fd00::/64"].map(|block| block.parse().unwrap()).into());
    assert_eq!(of("behind_proxy = true\ntrusted_proxies = [\"10.0.0.5\", \"fd00::/64\"]\n"), Some(named));
    insta::assert_snapshot!(told_of_toml("listen = \"0.0.0.0:7420\"\nkeys = [\"env:TOKEN\"]\nbehind_proxy = true\n"));
    insta::assert_snapshot!(told_of_toml(
        "trusted_proxies = [\"10.0.0.5\", \"proxy.example\", \"10.0.0.5/8\", \"0.0.0.0/0\", \"::ffff:10.0.0.0/104\"]\n"
    ));
}

#[test]
fn the_command_line_is_named_when_it_is_wrong() {
    let project = Project::new();
    project.write(FILE_NAME, "");
    let told = |listen: &str| load(&Invocation { listen: Some(listen.into()), ..project.invocation() }).unwrap_err();
    assert_eq!(told("nowhere")[0].path, "--listen");
    assert_eq!(told("nowhere")[0].file, None);
    assert_eq!(told("0.0.0.0:1").len(), 2);
    let plan = load(&Invocation { listen: Some("localhost:0".into()), ..project.invocation() }).unwrap();
    assert_eq!(plan.listen.to_string(), "127.0.0.1:0");
}

#[test]
fn a_program_has_all_that_it_was_given_and_no_more() {
    let plan = toml(
        r#"
[servers.github]
command = ["./run.sh", "--key=${env:TOKEN}", "a$${b}"]
env = { TOKEN = "env:TOKEN", AUTH = "Bearer ${file:secret}", URL = { text = "file:./dev.db" } }
cwd = "sub"
write = ["data", "~/notes"]
network = ["API.github.com:443"]
limits = { memory_mb = 512 }
timeouts = { call = "15m" }
"#,
    )
    .unwrap();
    let folder = plan.origin.folder.clone();
    let program = stdio(&plan, "github");
    assert_eq!(Path::new(&program.program), folder.join("run.sh"));
    assert_eq!(program.arguments[0].to_string(), "--key=${env:TOKEN}");
    assert_eq!(program.arguments[1].as_text(), Some("a${b}"));
    assert_eq!(program.environment["AUTH"].to_string(), format!("Bearer ${{file:{}}}", folder.join("secret").display()));
    assert_eq!(program.environment["URL"].as_text(), Some("file:./dev.db"));
    assert_eq!(program.folder, Some(folder.join("sub")));
    assert_eq!(program.write, [folder.join("data"), "/home/me/notes".into()]);
    assert!(program.read.is_empty(), "naming `write` is naming the roots");
    assert_eq!(program.deny_write, sallyport_sandbox::DENY_WRITE);
    let Network::Only(allowed) = &program.network else { panic!("{:?}", program.network) };
    assert_eq!(allowed.destinations()[0].to_string(), "api.github.com:443");
    assert_eq!(program.limits.memory_mb, 512);
    let timeouts = plan.servers["github"].timeouts;
    assert_eq!((timeouts.call.as_secs(), timeouts.call_max.as_secs()), (900, 900));
}

#[test]
fn the_deny_write_list_is_added_to_and_taken_from() {
    let list = |entries: &str| {
        let plan = toml(&format!("[servers.a]\ncommand = [\"a\"]\nwrite = [\".\"]\ndeny_write = [{entries}]\n"));
        plan.map(|plan| stdio(&plan, "a").deny_write.clone())
    };
    let usual = sallyport_sandbox::DENY_WRITE.len();
    assert_eq!(list(r#""keys", "~/.kube?""#).unwrap()[usual..], ["keys", "~/.kube?"]);
    assert!(!list(r#""!.git/config", "!.git/modules""#).unwrap().iter().any(|entry| entry == ".git/config" || entry.contains("modules")));
    assert_eq!(list(r#""!*", "keys""#).unwrap(), ["keys"]);
    for bad in ["/etc", "../x", "a/../b", "", "~", "~/", "!.git/confg", "?", "."] {
        let errors = list(&format!("\"{bad}\"")).unwrap_err();
        assert_eq!(errors.len(), 1, "{bad}");
        assert!(errors[0].to_string().contains("servers.a.deny_write[0]"), "{}", errors[0]);
    }
}

#[test]
fn the_built_in_filesystem_has_the_same_list() {
    let list = |keys: &str| {
        let plan = toml(&format!("[servers.a]\nbuiltin = {{ filesystem = {{ {keys} }} }}\n"))?;
        let Source::BuiltIn(sallyport_servers::BuiltInConfig::Filesystem(files)) = &plan.servers["a"].source else { panic!("{plan:?}") };
        Ok::<_, Vec<Diagnostic>>(files.deny_write.clone())
    };
    assert_eq!(list("write = true").unwrap(), sallyport_sandbox::DENY_WRITE);
    let other = list(r#"write = true, deny_write = ["!.vscode", "keys"]"#).unwrap();
    assert!(!other.iter().any(|entry| entry.starts_with(".vscode")) && other.last().is_some_and(|last| last == "keys"), "{other:?}");
    assert_eq!(list(r#"write = true, deny_write = ["!*"]"#).unwrap(), Vec::<String>::new());
    for (wrong, told) in [
        (r#"write = true, deny_write = ["!.vscod"]"#, "servers.a.builtin.filesystem.deny_write[0]"),
        (r#"write = true, deny_write = ["../x"]"#, "is not below a folder to write"),
        (r#"deny_write = ["!.vscode"]"#, "has no effect without `write`"),
    ] {
        let errors = list(wrong).unwrap_err();
        assert!(errors.len() == 1 && errors[0].to_string().contains(told), "{wrong}: {}", errors[0]);
    }
}

#[test]
fn a_program_that_names_no_root_may_read_the_project() {
    let plan = toml("[servers.a]\ncommand = [\"a\"]\n").unwrap();
    let program = stdio(&plan, "a");
    assert_eq!((program.read.as_slice(), program.write.len(), &program.network), (&[plan.origin.folder.clone()][..], 0, &Network::None));
    assert!(!program.sandbox.is_none());
}

#[test]
fn only_a_floor_that_is_written_contradicts_a_boundary_that_is_named() {
    let boundaries = |text: &str| {
        let plan = toml(text)?;
        let of = |server: &str| (stdio(&plan, server).sandbox.name(), stdio(&plan, server).sandbox.floor());
        Ok::<_, Vec<Diagnostic>>((of("a"), of("b")))
    };
    let two = |top: &str, a: &str, b: &str| format!("{top}\n[servers.a]\ncommand = [\"a\"]\n{a}\n[servers.b]\ncommand = [\"b\"]\n{b}\n");
    let (os, landlock) = (("os", Isolation::Os), ("auto", Isolation::Landlock));

    assert_eq!(boundaries(&two("", "", "sandbox = \"none\"")).unwrap(), (os, ("none", Isolation::Os)));
    assert_eq!(boundaries(&two("", "min_isolation = \"landlock\"", "")).unwrap(), (landlock, os));
    assert_eq!(boundaries(&two("min_isolation = \"landlock\"", "min_isolation = \"os\"", "")).unwrap(), (os, landlock));
    let named = two("min_isolation = \"os\"", "sandbox = \"none\"\nmin_isolation = \"none\"", "");
    assert_eq!(boundaries(&named).unwrap(), (("none", Isolation::None), os));

    const IMAGE_BY_RUNC: &str = "sandbox = { oci = { image = \"i\", runtime = \"runc\" } }\nmin_isolation = \"gvisor\"";
    const IMAGE_BY_GVISOR: &str = "sandbox = { oci = { image = \"i\", runtime = \"runsc\" } }\nmin_isolation = \"microvm\"";
    let gvisor = IMAGE_BY_GVISOR.replace("microvm", "gvisor");
    assert_eq!(boundaries(&two("", &gvisor, "")).unwrap(), (("oci", Isolation::Gvisor), os));

    for (top, a, told) in [
        ("min_isolation = \"os\"", "sandbox = \"none\"", "the boundary is `none`, and `min_isolation` asks for `os`"),
        ("", "sandbox = \"landlock\"\nmin_isolation = \"os\"", "the boundary is `landlock`, and `min_isolation` asks for `os`"),
        ("", "min_isolation = \"microvm\"", "the boundary is at most `os`, and `min_isolation` asks for `microvm`"),
        ("", "min_isolation = \"gvisor\"", "the boundary is at most `os`, and `min_isolation` asks for `gvisor`"),
        ("", IMAGE_BY_RUNC, "the boundary is `oci`, and `min_isolation` asks for `gvisor`"),
        ("", IMAGE_BY_GVISOR, "the boundary is `gvisor`, and `min_isolation` asks for `microvm`"),
        ("", "sandbox = \"oci\"\nmin_isolation = \"microvm\"", "the boundary is `oci`, and `min_isolation` asks for `microvm`"),
        ("", "shared = false\nsandbox = { microvm = { pool = 1 } }", "`pool` would keep as many machines ready for every caller"),
    ] {
        let errors = boundaries(&two(top, a, "")).unwrap_err();
        let error = errors.iter().find(|error| error.path == "servers.a.sandbox").unwrap();
        assert!(error.message.contains(told) && error.hint.is_some(), "{error:?}");
    }
}

#[test]
fn no_code_of_a_package_runs_below_the_floor_while_it_is_installed() {
    let server = |top: &str, settings: &str| {
        toml(&format!("{top}\n[servers.a]\ncommand = [\"npm:a@1\"]\nsandbox = \"microvm\"\n{settings}\n")).map(drop)
    };
    for (top, settings) in [("min_isolation = \"microvm\"", "scripts = true"), ("", "scripts = true\nmin_isolation = \"gvisor\"")] {
        let errors = server(top, settings).unwrap_err();
        let error = errors.iter().find(|error| error.path == "servers.a.scripts").unwrap();
        assert!(error.message.contains("has the boundary `os` while it is installed") && error.hint.is_some(), "{error:?}");
    }
    // Without them none of its code runs then; a lower floor says that `os` is enough.
    server("min_isolation = \"microvm\"", "").unwrap();
    server("", "scripts = true").unwrap();
    server("min_isolation = \"microvm\"", "scripts = true\nmin_isolation = \"os\"").unwrap();
}

#[test]
fn the_root_of_a_machine_is_an_image_where_one_is_named() {
    let server = |command: &str, settings: &str| {
        let plan = toml(&format!("min_isolation = \"microvm\"\n[servers.a]\ncommand = [\"{command}\"]\n{settings}\n"))?;
        let program = stdio(&plan, "a");
        Ok::<_, Vec<Diagnostic>>((program.sandbox.name(), program.sandbox.has_image(), program.folder.is_some()))
    };
    assert_eq!(server("a", "sandbox = \"microvm\"").unwrap(), ("microvm", false, true));
    // Where it starts the image says.
    assert_eq!(server("entrypoint", "sandbox = { microvm = { image = \"i.tar\" } }").unwrap(), ("microvm", true, false));
    assert_eq!(server("oci:registry.example.com/a:1", "sandbox = \"microvm\"").unwrap(), ("microvm", true, false));
    for (command, settings, told, hint) in [
        ("npm:a@1", "sandbox = { microvm = { image = \"i.tar\" } }", "cannot run in an image in a microVM", "take `sandbox` out"),
        ("a", "sandbox = { microvm = { digest = \"sha256:1\" } }", "`digest` is that of no `image`", "name the image"),
        (
            "oci:registry.example.com/a:1",
            "sandbox = { microvm = { image = \"i.tar\" } }",
            "this names another one",
            "`sandbox = \"microvm\"`",
        ),
        ("oci:registry.example.com/a:1", "", "the boundary is `oci`", "run the image in a machine"),
    ] {
        let errors = server(command, settings).unwrap_err();
        let found = errors.iter().any(|error| error.message.contains(told) && error.hint.as_ref().is_some_and(|said| said.contains(hint)));
        assert!(found, "{command} {settings}: {errors:?}");
    }
}

#[test]
fn what_gvisor_does_not_keep_is_refused() {
    let with = |settings: &str| {
        toml(&format!("[servers.a]\ncommand = [\"a\"]\nsandbox = {{ oci = {{ image = \"i\", runtime = \"runsc\" }} }}\n{settings}\n"))
    };
    assert!(with("").is_ok());
    for (key, settings) in
        [("network", "network = [\"a.example\"]"), ("network", "network = [\"host-network\"]"), ("seccomp", "seccomp = [\"-sockets\"]")]
    {
        let errors = with(settings).unwrap_err();
        let error = errors.iter().find(|error| error.path == format!("servers.a.{key}")).unwrap();
        assert!(error.message.contains("the boundary `gvisor` does not keep to it"), "{error:?}");
        assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("the runtime runc")), "{error:?}");
    }
}

#[test]
fn without_namespaces_nobody_is_let_to_some_hosts_only() {
    let with = |network: &str| toml(&format!("[servers.a]\ncommand = [\"a\"]\nsandbox = \"landlock\"\nnetwork = [{network}]\n"));
    assert!(with("").is_ok() && with("\"host-network\"").is_ok());
    let errors = with("\"a.example\"").unwrap_err();
    assert_eq!((errors.len(), errors[0].path.as_str()), (1, "servers.a.network"));
    assert!(errors[0].message.contains("some hosts only") && errors[0].hint.is_some());
}

#[test]
fn users_grants_for_one_address_are_asked_for_in_one_way() {
    let both = |second: &str| {
        toml(&format!(
            "[servers.a]\nurl = \"https://example.com/mcp\"\ncredential = {{ per_user = {{ scopes = [\"read\"] }} }}\n\
             [servers.b]\nurl = {second}\n"
        ))
    };
    assert!(both("\"https://example.com/mcp\"\ncredential = { per_user = { scopes = [\"read\"] } }").is_ok());
    assert!(both("\"https://example.com/other\"\ncredential = { per_user = {} }").is_ok());
    let errors = both("\"https://example.com/mcp\"\ncredential = { per_user = {} }").unwrap_err();
    assert!(errors.iter().any(|error| error.path == "servers.b.credential.per_user" && error.message.contains("`a`")), "{errors:?}");
}

#[test]
fn system_calls_are_named_by_groups() {
    let plan = toml("[servers.a]\ncommand = [\"a\"]\nseccomp = [\"+debugging\", \"-ipc\"]\n").unwrap();
    assert_eq!(stdio(&plan, "a").seccomp, SystemCalls::parse(&["+debugging", "-ipc"]).unwrap());
    let told = told_of_toml("[servers.a]\ncommand = [\"a\"]\nseccomp = [\"+mount\"]\n");
    assert!(told.contains("servers.a.seccomp") && told.contains("`+mount` is none of the groups +debugging, -ipc"), "{told}");
    let local = |sandbox: &str| toml(&format!("[servers.a]\ncommand = [\"a\"]\nsandbox = {sandbox:?}\nseccomp = [\"+local-sockets\"]\n"));
    assert!(local("os").is_ok());
    assert!(local("landlock").unwrap_err().iter().any(|error| error.path == "servers.a.seccomp" && error.hint.is_some()));
}

#[test]
fn a_home_folder_is_nobodys_project() {
    let mut config = Config::default();
    config.servers.insert("a".into(), model::ServerConfig { command: Some(vec!["a".into()]), ..Default::default() });
    let origin = Origin { file: None, folder: "/home".into() };
    let plan = validate(config, origin, &|_| Some("/home/me".into())).unwrap();
    assert!(stdio(&plan, "a").read.is_empty());
    assert_eq!(stdio(&plan, "a").folder, None, "a folder that is not shown is nowhere to start");
    assert_eq!(plan.warnings.len(), 1);
}

#[test]
fn a_program_starts_in_the_project_where_it_sees_it_and_in_what_is_named_in_any_case() {
    let plan = toml(
        r#"
[servers.default]
command = ["a"]
[servers.inner]
command = ["a"]
read = ["data"]
[servers.named]
command = ["a"]
read = ["data"]
cwd = "."
[servers.open]
command = ["a"]
read = ["data"]
sandbox = "none"
"#,
    )
    .unwrap();
    let project = Some(plan.origin.folder.clone());
    for (name, folder) in [("default", &project), ("inner", &None), ("named", &project), ("open", &project)] {
        assert_eq!(stdio(&plan, name).folder, *folder, "{name}");
    }
}

#[test]
fn an_installing_command_that_cannot_be_carried_out_is_told_unless_a_secret_is_in_it() {
    let told = |arguments: &str| told_of_toml(&format!("[servers.a]\ncommand = [\"npx\", {arguments}]\n"));
    for refused in [r#""-c", "server --x""#, r#""--no-such-option", "server""#] {
        let told = told(refused);
        assert!(told.starts_with("error: ") && told.contains("servers.a.command") && told.contains("hint: "), "{told}");
    }
    for fine in [r#""-y", "server", "-c""#, r#""--key=${env:TOKEN}", "server""#] {
        assert_eq!(told(fine), "", "{fine}");
    }
}

#[test]
fn a_disabled_server_is_left_out_whatever_else_it_says() {
    let plan = toml("[servers.a]\ncommand = [\"docker\"]\ndisabled = true\n").unwrap();
    assert!(plan.servers.is_empty());
}

#[test]
fn a_variable_in_a_url_is_replaced_and_never_shown() {
    let plan = toml("[servers.a]\nurl = \"https://a.com/mcp?key=${env:TOKEN}\"\n").unwrap();
    let Source::Remote(remote) = &plan.servers["a"].source else { panic!("not remote") };
    assert_eq!(remote.url.as_str(), "https://a.com/mcp?key=t0ken");
    assert!(!format!("{plan:?}").contains("t0ken"));
}

#[test]
fn the_nearest_file_holds_then_the_users_own_then_none() {
    let project = Project::new();
    let inner = project.folder.path().join("a/b");
    std::fs::create_dir_all(&inner).unwrap();
    let own_home = project.folder.path().join("home");
    let home = own_home.display().to_string();
    let in_folder = |folder: &Path| Invocation {
        folder: folder.to_owned(),
        variables: Arc::new({
            let home = home.clone();
            move |name: &str| (name == "HOME").then(|| home.clone())
        }),
        ..project.invocation()
    };
    let found = find(&in_folder(&inner)).unwrap();
    assert_eq!(found.origin, Origin { file: None, folder: inner.clone() });

    let own = project.write("home/.config/sallyport/sallyport.toml", "");
    let origin = find(&in_folder(&inner)).unwrap().origin;
    assert_eq!(origin, Origin { file: Some(own), folder: inner.clone() }, "the user's own is about the folder it is used in");

    let above = project.write("a/sallyport.toml", "");
    let origin = find(&in_folder(&inner)).unwrap().origin;
    assert_eq!(origin, Origin { file: Some(above), folder: project.folder.path().join("a") });
}

#[test]
fn a_folder_can_be_asked_for_instead_of_a_file() {
    let project = Project::new();
    let file = project.write("a/sallyport.toml", "");
    let asked_for = |folder: &str| find(&Invocation { file: Some(folder.into()), ..project.invocation() }).unwrap().origin;
    std::fs::create_dir_all(project.folder.path().join("b")).unwrap();
    assert_eq!(asked_for("a").file, Some(file));
    assert_eq!(asked_for("b"), Origin { file: None, folder: project.folder.path().join("b") });
}

#[cfg(unix)]
#[test]
fn a_file_that_another_user_left_is_not_believed_unless_it_is_asked_for() {
    let project = Project::new();
    let file = project.write(FILE_NAME, "");
    if std::os::unix::fs::chown(&file, Some(12345), None).is_err() {
        return; // only root may give files away
    }
    let told = load(&project.invocation()).unwrap_err();
    assert!(told[0].message.contains("another user"), "{told:?}");
    project.load(FILE_NAME).unwrap();
}

#[test]
fn without_a_file_this_folder_is_served_to_read() {
    let project = Project::new();
    let invocation = project.invocation();
    let plan = load(&invocation).unwrap();
    assert_eq!(plan.servers.keys().collect::<Vec<_>>(), ["filesystem"]);
    let Source::BuiltIn(files) = &plan.servers["filesystem"].source else { panic!("not built in") };
    assert_eq!((files.place(), files.writes()), (Some(("root", project.folder.path())), false));
}

#[test]
fn a_client_s_folder_belongs_to_the_project_around_it() {
    let project = Project::new();
    project.write(".vscode/mcp.json", r#"{ "servers": { "a": { "command": "${workspaceFolder}/a" } } }"#);
    let plan = project.load(".vscode/mcp.json").unwrap();
    assert_eq!(plan.origin.folder, project.folder.path());
    assert_eq!(Path::new(&stdio(&plan, "a").program), project.folder.path().join("a"));
}

/// What `standby` comes to for a program with these further keys.
fn standby(keys: &str) -> crate::plan::Standby {
    stdio(&toml(&format!("[servers.a]\ncommand = [\"a\"]\n{keys}")).unwrap(), "a").standby
}

#[test]
fn standby_is_on_where_nobody_could_hang_up() {
    let seconds = |count| Some(std::time::Duration::from_secs(count));
    let default = crate::plan::Standby { freeze_after: seconds(60), reclaim_after: seconds(600), stop_after: None };
    let never = crate::plan::Standby::default();
    for (keys, wanted) in [
        ("", default),
        ("standby = true\nnetwork = [\"a.example\"]", default),
        ("network = [\"a.example\"]", never),
        ("sandbox = \"none\"", never),
        ("standby = false", never),
        ("standby = {}", default),
        ("standby = { freeze_after = \"never\" }", never),
        (
            "standby = { freeze_after = \"1h\" }",
            crate::plan::Standby { freeze_after: seconds(3600), reclaim_after: seconds(3600), ..never },
        ),
        ("standby = { stop_after = \"1h\" }\nsandbox = \"none\"", crate::plan::Standby { stop_after: seconds(3600), ..never }),
    ] {
        assert_eq!(standby(keys), wanted, "{keys}");
    }
}

#[test]
fn a_standby_that_cannot_be_is_told() {
    for (keys, told) in [
        ("standby = { freeze_after = \"1m\", reclaim_after = \"1s\" }", "only a frozen program's memory is given back"),
        ("standby = { freeze_after = \"never\", reclaim_after = \"1s\" }", "only a frozen program's memory is given back"),
        ("standby = { freeze_after = \"soon\" }", "servers.a.standby.freeze_after: the duration cannot be used"),
        ("standby = true\nsandbox = \"none\"", "cannot be frozen"),
        ("standby = \"yes\"", "expected `true`, `false` or"),
    ] {
        let text = told_of_toml(&format!("[servers.a]\ncommand = [\"a\"]\n{keys}"));
        assert!(text.contains(told), "{keys}: {text}");
    }
    let remote = told_of_toml("[servers.a]\nurl = \"https://a.example/mcp\"\nstandby = true");
    assert!(remote.contains("`standby` has no effect on a server elsewhere"), "{remote}");
}

#[test]
fn limits_with_which_nothing_can_run_are_refused() {
    let limits = |text: &str| told_of_toml(&format!("[servers.a]\ncommand = [\"a\"]\nlimits = {{ {text} }}\n"));
    for text in ["memory_mb = 0", "processes = 0", "cpu_weight = 0", "cpu_weight = 10001", "tmp_mb = 0", "line_mb = 2000", "tmp_files = 1"]
    {
        let told = limits(text);
        assert!(told.contains("cannot be a limit here") && told.contains("hint: write a number from"), "{text}: {told}");
    }
    for text in ["cpus = 0", "cpus = -1.0", "cpus = nan", "cpus = 1e9"] {
        assert!(limits(text).contains("between 0.01 and 1000"), "{text}: {}", limits(text));
    }
    for text in ["memory_mb = 8", "cpus = 1", "cpus = 0.5", "cpu_weight = 10000, output_mb = 1, stderr_mb = 3"] {
        assert!(!limits(text).contains("error:"), "{text}: {}", limits(text));
    }
}

#[test]
fn what_a_machine_cannot_give_is_refused_and_its_start_may_take_longer() {
    let table = |rest: &str| told_of_toml(&format!("[servers.a]\ncommand = [\"a\"]\nsandbox = \"microvm\"\n{rest}\n"));
    assert!(table("network = [\"host-network\"]").starts_with("error: "));
    assert!(!table("network = [\"example.com\"]").contains("error: "));
    for given in ["read = [\"data\"]", "write = [\"data\"]"] {
        assert_eq!(table(given), "");
    }
    let plan =
        toml("[servers.a]\ncommand = [\"a\"]\nsandbox = { microvm = { memory_mb = 256 } }\n[servers.b]\ncommand = [\"b\"]\n").unwrap();
    let [machine, other] = ["a", "b"].map(|name| plan.servers[name].timeouts.connect);
    assert!(machine > other);
}

#[test]
fn what_is_wrong_with_approvals_is_told_at_once() {
    let told = told_of_toml(
        r#"
        [approvals]
        approvers = ["key:alice", "alice", "local"]
        expires_after = "1s"
        webhook = "http://hooks.example/x"
        webhook_secret = "env:HOOK"
        "#,
    );
    for part in ["approvals.approvers[1]", "approvals.approvers[2]", "too short for a person", "approvals.webhook: ", "it has to be https"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = told_of_toml("[approvals]\nwebhook = \"https://hooks.example/x\"");
    assert!(told.contains("anybody could send them"), "{told}");
    assert!(told_of_toml("[approvals]\nwebhook_secret = \"env:HOOK\"").contains("there is no `webhook`"));
}

#[test]
fn an_approver_is_somebody_who_can_log_in_here_or_has_a_key() {
    let told = |approver: &str, server: &str| {
        told_of_toml(&format!("public_url = \"https://mcp.example.com\"\n{server}\n[approvals]\napprovers = [\"{approver}\"]\n"))
    };
    let server = "[identity.server]";
    assert_eq!(told("user:alice@https://mcp.example.com", server), "");
    assert!(told("user:alice@https://mcp.example.com", "").contains("cannot log in here"));
    let issuer = "[identity.server]\n[identity.issuers.idp]\nissuer = \"https://idp.example.com\"";
    assert!(told("user:alice@https://idp.example.com", issuer).contains("cannot log in here"));
    assert!(told("client:bot@https://idp.example.com", issuer).contains("is nobody"));
}

#[test]
fn names_that_nobody_has_and_what_is_not_there_are_warnings() {
    let told = told_of_toml(
        r#"
public_url = "https://mcp.example.com"
keys = ["file:none.key"]
tls = { certificate = "none.pem", key = "none.key", client_ca = "none.ca", client_revoked = "none.crl" }
[policy]
engines = [{ remote = { url = "https://pdp.example.com", speaks = "opa", token = "env:UNSET_TOKEN" } }]
shadow = [{ remote = { url = "https://pdp.example.com", speaks = "opa", token = "file:none.token" } }]
[approvals]
webhook = "https://hooks.example.com/a"
webhook_secret = "file:none.hook"
[identity.issuers.hr]
issuer = "https://hr.example.com"
introspection = { client_id = "gateway", client_secret = "file:none.asked" }
[identity.server.login.okta]
issuer = "https://okta.example.com"
anyone = true
client = { id = "gateway", secret = "file:none.login" }
[identity.server.clients.bot]
secret = "env:UNSET_SECRET"
scopes = ["shop:query", "shp:query", "mcp:read", "mcp:*"]
[identity.certificates.ci]
certificate = "dns:ci.example.com"
scopes = ["mcp", "shop:*", "mcp:write"]
[servers.far]
url = "https://far.example.com/mcp"
headers = { Authorization = "Bearer ${file:none.far}" }
[servers.own]
url = "https://own.example.com/mcp"
credential = { client_credentials = { issuer = "https://as.example.com", client = { id = "gateway", key = "file:none.pem" } } }
[tenants.acme]
keys = ["file:none.acme"]
[servers.shop]
builtin = { database = { sqlite = "shop.db", tables = ["orders"] } }
[[servers.shop.arguments]]
tools = ["query"]
argument = "sql"
sql = { dialect = "sqlite", tables = ["main.Orders", "ordes"] }
[[limits]]
server = "shpo"
at_once = 1
[[limits]]
server = "s*"
at_once = 1
"#,
    );
    for expected in [
        "none.pem is no file",
        "none.key is no file",
        "tls.client_ca: PROJECT/none.ca is no file",
        "tls.client_revoked: PROJECT/none.crl is no file",
        "`UNSET_TOKEN` is not set",
        "`UNSET_SECRET` is not set",
        "keys[0]: secret `file:PROJECT/none.key`: there is no such file\n  hint: the gateway cannot start until that is put right: check the path",
        "identity.server.login.okta.client.secret: secret `file:PROJECT/none.login`: there is no such file\n  hint: nobody can log in with it",
        "identity.issuers.hr.introspection.client_secret: secret `file:PROJECT/none.asked`",
        "approvals.webhook_secret: secret `file:PROJECT/none.hook`",
        "policy.shadow[0].remote.token: secret `file:PROJECT/none.token`",
        "servers.far.headers.Authorization: secret `file:PROJECT/none.far`: there is no such file\n  hint: the server cannot start",
        "servers.own.credential.client_credentials.client.key: secret `file:PROJECT/none.pem`: there is no such file",
        "tenants.acme.keys[0]: secret `file:PROJECT/none.acme`: there is no such file",
        "the scope `shp:query` is good for nothing: no server is called `shp`",
        "the scope `mcp:*` is good for nothing: of all servers together there is no other scope\n  hint: `mcp` is good for everything",
        "identity.certificates.ci.scopes: the scope `mcp:write` is good for nothing",
        "the server itself does not give the table `ordes`",
        "did you mean `orders`?",
        "no server is called `shpo`, so nothing is limited",
        "did you mean `shop`?",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert_eq!(told.matches("warning:").count(), 19, "{told}");
}

#[test]
fn an_exchange_that_nobodys_token_is_good_for_is_a_warning() {
    let credential = |subject: &str| {
        let client = "client = { id = \"us\", secret = \"env:HOME\" }";
        format!(
            "[SERVERS.a]\nurl = \"https://a.example.com/mcp\"\n\
             credential = {{ exchange = {{ issuer = \"https://idp.example.com\", {client}{subject} }} }}\n\
             [SERVERS.b]\nurl = \"https://b.example.com/mcp\"\n\
             credential = {{ id_jag = {{ provider = {{ issuer = \"https://idp.example.com\", {client}{subject} }}, {client}, \
             issuer = \"https://as.example.com\" }} }}\n"
        )
    };
    let told = |rest: &str, subject: &str| {
        let text = format!("public_url = \"https://mcp.example.com\"\n{rest}\n{}", credential(subject).replace("SERVERS", "servers"));
        told_of_toml(&text)
    };
    let other = "[identity.issuers.other]\nissuer = \"https://other.example.com\"";
    for rest in ["", other, "[identity.server]"] {
        let told = told(rest, "");
        for place in ["servers.a.credential.exchange.issuer", "servers.b.credential.id_jag.provider.issuer"] {
            assert!(told.contains(&format!("{place}: no caller has a token to exchange there")), "{rest}: {told}");
        }
        assert!(told.contains("identity.issuers") && told.contains("`subject = \"file:PATH\"`"), "{told}");
        assert_eq!(told.matches("tokens of https://idp.example.com are not taken").count(), 2, "as it is written: {told}");
    }
    assert!(!told("", ", subject = \"file:token\"").contains("no caller has"), "it names a token");
    assert_eq!(told("[identity.issuers.idp]\nissuer = \"https://idp.example.com/\"", ""), "");
    let own = credential("").replace("SERVERS", "servers").replace("https://idp.example.com", "https://mcp.example.com");
    assert_eq!(told_of_toml(&format!("public_url = \"https://mcp.example.com\"\n[identity.server]\n{own}")), "");
    // A tenant trusts the issuers that all have in common, too.
    let tenants = credential("").replace("SERVERS", "tenants.acme.servers");
    let shared = |claim: &str| {
        told_of_toml(&format!(
            "public_url = \"https://mcp.example.com\"\n[identity.issuers.idp]\nissuer = \"https://idp.example.com\"\n{claim}\n\
             [tenants.acme.identity]\napi_keys = true\n{tenants}"
        ))
    };
    assert_eq!(shared("tenant_claim = \"org\""), "");
    assert!(shared("").contains("tenants.acme.servers.a.credential.exchange.issuer: no caller has"), "{}", shared(""));
}

#[test]
fn the_token_of_a_decision_point_lies_beside_the_configuration() {
    let engine = "{ remote = { url = \"https://pdp.example.com\", speaks = \"opa\", token = \"file:pdp.token\" } }";
    let plan = toml(&format!("[policy]\nengines = [{engine}]\nshadow = [{engine}]\n")).unwrap();
    let told = format!("{:?}", plan.policy);
    let anchored = plan.origin.absolute(Path::new("pdp.token"));
    assert_eq!(told.matches(&format!("file:{}", anchored.display())).count(), 2, "{told}");
}
