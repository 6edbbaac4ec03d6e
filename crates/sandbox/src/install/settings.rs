//! The settings that the user's own package managers follow: which registries, with which credentials, by which way.
//! They hold inside too; of the home nothing else is shown.

mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::network::Remote;
use super::{Error, Source};
use crate::profile::EnvText;

/// Settings files are a few lines; a larger one is none.
const FILE_BYTES: u64 = 256 * 1024;

/// Variables that every package manager's way to its registry may need.
const NETWORK_VARIABLES: &[&str] = &[
    "ALL_PROXY",
    "CURL_CA_BUNDLE",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NODE_EXTRA_CA_CERTS",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];

/// Settings that say what is done and where it goes, which is for us to say.
const OURS: &[&str] = &[
    "cache",
    "cache_dir",
    "compile_bytecode",
    "dry_run",
    "home", // of rustup: set where it is there
    "global",
    "global_prefix",
    "local_prefix",
    "location",
    "log",
    "log_file",
    "no_binary",
    "no_binary_package",
    "prefix",
    "project",
    "python",
    "root",
    "src",
    "system_python",
    "target",
    "user",
    "working_dir",
    "working_directory",
];

/// Settings whose value is a file or folder to be read.
const PATHS: &[&str] =
    &["cafile", "cainfo", "cert", "certfile", "client-cert", "client_cert", "find-links", "find_links", "keyfile", "ssl_cert_file"];

/// How the variables of cargo and rustup begin that are passed on.
const CARGO_VARIABLES: &[&str] = &["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_SOURCE_", "RUSTUP_"];

/// Settings that name the registry which is used in place of the usual one.
const REGISTRIES: &[&str] = &["default_index", "index-url", "index_url", "registry", "replace-with"];

/// Settings whose value is a proxy, also without a scheme.
const PROXIES: &[&str] = &["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "https-proxy", "https_proxy", "proxy"];

/// The port of a proxy that names none, as curl has it.
const PROXY_PORT: u16 = 1080;

/// Settings whose value is one or several folders with packages.
const FOLDERS: &[&str] = &["directory", "find-links", "find_links", "local-registry"];

/// Where npm has the settings for all users: beside its program.
const NPM_GLOBAL: &[&str] = &["/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc"];

/// What a package manager gets of the user's settings.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) env: BTreeMap<String, EnvText>,
    pub(super) read: Vec<PathBuf>,
    /// Folders without secrets: toolchains, interpreters, packages.
    pub(super) harmless: Vec<PathBuf>,
    /// The variables of `env` that code of packages may know.
    pub(super) harmless_env: BTreeMap<String, EnvText>,
    /// The first setting that holds credentials.
    pub(super) credentials: Option<String>,
    /// Every host that a setting names: registries, indexes, proxies.
    pub(super) remotes: BTreeSet<Remote>,
    /// A setting says which registry is used in place of the usual one.
    pub(super) names_registry: bool,
    /// Cargo's own files of settings, which it is handed by name.
    pub(super) cargo: Vec<PathBuf>,
}

impl Settings {
    pub(super) fn of_the_user(source: Source) -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut settings = Self::from_variables(source, &variables.collect());
        if source == Source::Npm {
            settings.name_global(NPM_GLOBAL.iter().map(Path::new));
        }
        settings
    }

    fn from_variables(source: Source, variables: &BTreeMap<String, String>) -> Self {
        let mut settings = Self::default();
        for (name, value) in variables {
            if let Some(setting) = setting(source, name) {
                settings.env.insert(name.clone(), EnvText::from(value.as_str()));
                settings.look_for_credentials(name, value, || format!("variable {name}"));
                settings.show(&setting, value);
                settings.names_registry |= REGISTRIES.contains(&setting.as_str());
            }
        }
        let home = variables.get("HOME").map(Path::new).filter(|home| home.is_absolute());
        if let Some(home) = home {
            // Package managers find their settings by it; it holds nothing else inside.
            settings.env.insert("HOME".to_owned(), EnvText::from(home.to_string_lossy().into_owned()));
        }
        for file in files(source, home, variables) {
            settings.file(&file, variables);
        }
        if source == Source::Cargo {
            settings.cargo = files(source, home, variables);
            settings.toolchain(home, variables);
        }
        settings.harmless_env = secrets::harmless(&settings.env);
        if source == Source::PyPi {
            settings.harmless.extend(interpreters(home, variables).filter(|folder| folder.is_dir()));
        }
        settings
    }

    /// Names npm's settings for all users, where they are not named already: it would look for them below the `--prefix` that it is given.
    fn name_global<'p>(&mut self, mut places: impl Iterator<Item = &'p Path>) {
        const NAME: &str = "npm_config_globalconfig";
        if !self.env.keys().any(|name| name.eq_ignore_ascii_case(NAME))
            && let Some(place) = places.find(|place| place.is_file())
        {
            self.env.insert(NAME.to_owned(), EnvText::from(place.to_string_lossy().into_owned()));
        }
    }

    /// A settings file, the files that it names, and the variables that it takes values from.
    fn file(&mut self, file: &Path, variables: &BTreeMap<String, String>) {
        let mut text = String::new();
        let read = File::open(file).and_then(|file| file.take(FILE_BYTES).read_to_string(&mut text));
        if read.is_err() {
            return; // not there, not readable, or not text: the package manager could not use it either
        }
        self.read.push(file.to_path_buf());
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            // A value may go on in the next line, which then has no name.
            let (name, value) = line.split_once('=').unwrap_or(("", line));
            let value = value.trim().trim_matches(['"', '\'']);
            let name = name.trim();
            self.show(name.rsplit(':').next().unwrap_or_default(), value);
            self.look_for_credentials(name, value, || file.display().to_string());
            // The registry of one scope alone leaves the usual one where it is.
            self.names_registry |= REGISTRIES.contains(&name);
            for wanted in value.split("${").skip(1).filter_map(|rest| rest.split(['}', '?']).next()) {
                if let Some(known) = variables.get(wanted) {
                    self.remotes.extend(Remote::all_in(known));
                    self.env.insert(wanted.to_owned(), EnvText::from(known.as_str()));
                }
            }
        }
    }

    fn look_for_credentials(&mut self, name: &str, value: &str, place: impl FnOnce() -> String) {
        if self.credentials.is_none() && secrets::holds(name, value) {
            self.credentials = Some(place());
        }
    }

    /// Refuses settings with credentials where code of packages is run with the registries in reach: it could send them there.
    pub(super) fn refuse_credentials(&self) -> Result<(), Error> {
        let Some(place) = &self.credentials else { return Ok(()) };
        Err(Error::new(format!("`scripts = true` would show code of packages the credentials in {place}, with the index in reach"))
            .with_hint("remove `scripts` (wheels need none); or name an index or mirror without credentials to the gateway, by PIP_CONFIG_FILE or UV_CONFIG_FILE"))
    }

    /// What cargo's files of settings say to a build, without credentials.
    pub(super) fn harmless_cargo(&self) -> Vec<String> {
        let text = |file: &PathBuf| {
            let mut text = String::new();
            File::open(file).and_then(|file| file.take(FILE_BYTES).read_to_string(&mut text)).ok()?;
            secrets::harmless_cargo(&text)
        };
        self.cargo.iter().filter_map(text).collect()
    }

    /// What lies beside `cargo`, which runs `rustc`, and where rustup keeps the toolchains that both stand for.
    fn toolchain(&mut self, home: Option<&Path>, variables: &BTreeMap<String, String>) {
        let path = variables.get("PATH").map(String::as_str).unwrap_or_default();
        self.harmless.extend(std::env::split_paths(path).find(|folder| folder.is_absolute() && folder.join("cargo").is_file()));
        let named = variables.get("RUSTUP_HOME").map(PathBuf::from).or_else(|| home.map(|home| home.join(".rustup")));
        if let Some(folder) = named.filter(|folder| folder.is_absolute() && folder.is_dir()) {
            self.env.insert("RUSTUP_HOME".to_owned(), EnvText::from(folder.to_string_lossy().into_owned()));
            self.harmless.push(folder);
        }
    }

    /// A file that a setting names must be readable too, and its host reachable.
    fn show(&mut self, setting: &str, value: &str) {
        let path = Path::new(value);
        self.remotes.extend(Remote::all_in(value));
        if PROXIES.contains(&setting) && !value.contains("://") {
            self.remotes.extend(Remote::read(value, PROXY_PORT));
        }
        for path in value.split([' ', ',']).map(Path::new).filter(|path| FOLDERS.contains(&setting) && path.is_absolute()) {
            self.harmless.extend(path.exists().then(|| path.to_path_buf()));
        }
        let named = PATHS.contains(&setting.to_ascii_lowercase().as_str()) || NETWORK_VARIABLES.contains(&setting);
        if named && path.is_absolute() && path.exists() {
            self.read.push(path.to_path_buf());
        }
    }
}

/// The setting that a variable is, if it is one to pass on.
fn setting(source: Source, variable: &str) -> Option<String> {
    let upper = variable.to_ascii_uppercase();
    if NETWORK_VARIABLES.contains(&upper.as_str()) {
        return Some(upper);
    }
    let prefixes: &[&str] = match source {
        Source::Npm => &["NPM_CONFIG_"],
        Source::PyPi => &["PIP_", "UV_"],
        Source::Cargo => CARGO_VARIABLES,
        Source::Oci => &[],
    };
    let name = prefixes.iter().find_map(|prefix| upper.strip_prefix(prefix))?.to_ascii_lowercase();
    // What only publishing needs no installation gets.
    (!OURS.contains(&name.as_str()) && !name.starts_with("publish_")).then_some(name)
}

/// Where package managers look for settings.
fn files(source: Source, home: Option<&Path>, variables: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let config = config_folder(home, variables);
    let below = |folder: Option<&Path>, name: &str| folder.map(|folder| folder.join(name));
    let named =
        |name: &str| variables.iter().find(|(variable, _)| variable.eq_ignore_ascii_case(name)).map(|(_, path)| PathBuf::from(path));
    let places = match source {
        Source::Npm => vec![below(home, ".npmrc"), named("npm_config_userconfig"), named("npm_config_globalconfig")]
            .into_iter()
            .chain(NPM_GLOBAL.iter().map(|place| Some(place.into())))
            .collect(),
        Source::Cargo => {
            let own = named("CARGO_HOME").or_else(|| below(home, ".cargo"));
            ["config.toml", "config", "credentials.toml"].iter().map(|name| below(own.as_deref(), name)).collect()
        }
        Source::PyPi => vec![
            below(config.as_deref(), "pip/pip.conf"),
            below(home, ".pip/pip.conf"),
            Some("/etc/pip.conf".into()),
            Some("/etc/xdg/pip/pip.conf".into()),
            named("PIP_CONFIG_FILE"),
            below(config.as_deref(), "uv/uv.toml"),
            Some("/etc/uv/uv.toml".into()),
            named("UV_CONFIG_FILE"),
        ],
        Source::Oci => Vec::new(), // no program is run for it
    };
    places.into_iter().flatten().filter(|place| place.is_absolute() && place.is_file()).collect()
}

fn config_folder(home: Option<&Path>, variables: &BTreeMap<String, String>) -> Option<PathBuf> {
    let named = variables.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    named.or_else(|| home.map(|home| home.join(".config")))
}

/// Where uv keeps the interpreters that it has installed.
fn interpreters(home: Option<&Path>, variables: &BTreeMap<String, String>) -> impl Iterator<Item = PathBuf> {
    let named = variables.get("UV_PYTHON_INSTALL_DIR").map(PathBuf::from);
    let data = variables.get("XDG_DATA_HOME").map(PathBuf::from).or_else(|| home.map(|home| home.join(".local/share")));
    let usual = data.map(|data| data.join("uv/python"));
    named.into_iter().chain(usual).filter(|folder| folder.is_absolute())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn settings(source: Source, variables: &[(&str, &str)]) -> Settings {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::from_variables(source, &variables)
    }

    #[test]
    fn registries_are_passed_on_and_where_things_go_is_not() {
        let variables = [
            ("HTTPS_PROXY", "http://proxy:1"),
            ("https_proxy", "http://proxy:2"),
            ("NPM_CONFIG_REGISTRY", "https://npm.example"),
            ("PIP_INDEX_URL", "https://pypi.example"),
            ("PIP_TARGET", "/elsewhere"),
            ("TOKEN", "secret"),
            ("UV_DEFAULT_INDEX", "https://uv.example"),
            ("UV_SYSTEM_PYTHON", "1"),
            ("npm_config_prefix", "/elsewhere"),
        ];
        let names = |source| settings(source, &variables).env.into_keys().collect::<Vec<_>>();
        assert_eq!(names(Source::Npm), ["HTTPS_PROXY", "NPM_CONFIG_REGISTRY", "https_proxy"]);
        assert_eq!(names(Source::PyPi), ["HTTPS_PROXY", "PIP_INDEX_URL", "UV_DEFAULT_INDEX", "https_proxy"]);
    }

    #[test]
    fn of_a_home_only_settings_are_shown_with_what_they_name() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        let file = |name: &str, text: &str| std::fs::write(home.join(name), text).unwrap();
        std::fs::create_dir_all(home.join(".config/pip")).unwrap();
        file("ca.pem", "");
        file("id_rsa", "");
        file(".npmrc", &format!("cafile = {0}/ca.pem\nprefix={0}/id_rsa\n//npm.example/:_authToken=${{NPM_TOKEN}}\n", home.display()));
        file(".config/pip/pip.conf", "[global]\nindex-url = https://pypi.example\n");
        let variables = [("HOME", home.to_str().unwrap()), ("NPM_TOKEN", "token"), ("OTHER", "value")];

        let shown = |settings: &Settings| settings.read.iter().filter(|path| path.starts_with(home)).cloned().collect::<Vec<_>>();
        let npm = settings(Source::Npm, &variables);
        assert_eq!(shown(&npm), [home.join(".npmrc"), home.join("ca.pem")]);
        assert_eq!(npm.env.into_keys().collect::<Vec<_>>(), ["HOME", "NPM_TOKEN"]);
        assert_eq!(shown(&settings(Source::PyPi, &variables)), [home.join(".config/pip/pip.conf")]);
    }

    #[test]
    fn npms_settings_for_all_users_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let global = folder.path().join("npmrc");
        let named = |variables: &[(&str, &str)]| {
            let mut npm = settings(Source::Npm, variables);
            npm.name_global([Path::new("/nowhere/npmrc"), &global].into_iter());
            npm.env.into_keys().collect::<Vec<_>>()
        };
        assert!(named(&[]).is_empty(), "there are none");
        std::fs::write(&global, "cafile = /ca.pem\n").unwrap();
        assert_eq!(named(&[]), ["npm_config_globalconfig"]);
        assert_eq!(named(&[("NPM_CONFIG_GLOBALCONFIG", "/mine")]), ["NPM_CONFIG_GLOBALCONFIG"], "the user's own word stays");
    }
}
