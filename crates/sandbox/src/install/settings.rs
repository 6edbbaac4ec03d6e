//! The settings that the user's own package managers follow: which registries, with which credentials, by which way.
//! They hold inside too; of the home nothing else is shown.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Registry;
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
    &["cafile", "cert", "certfile", "client-cert", "client_cert", "find-links", "find_links", "keyfile", "ssl_cert_file"];

/// What a package manager gets of the user's settings.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) env: BTreeMap<String, EnvText>,
    pub(super) read: Vec<PathBuf>,
}

impl Settings {
    pub(super) fn of_the_user(registry: Registry) -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::from_variables(registry, &variables.collect())
    }

    fn from_variables(registry: Registry, variables: &BTreeMap<String, String>) -> Self {
        let mut settings = Self::default();
        for (name, value) in variables {
            if let Some(setting) = setting(registry, name) {
                settings.env.insert(name.clone(), EnvText::from(value.as_str()));
                settings.show(&setting, value);
            }
        }
        let home = variables.get("HOME").map(Path::new).filter(|home| home.is_absolute());
        if let Some(home) = home {
            // Package managers find their settings by it; it holds nothing else inside.
            settings.env.insert("HOME".to_owned(), EnvText::from(home.to_string_lossy().into_owned()));
        }
        for file in files(registry, home, variables) {
            settings.file(&file, variables);
        }
        if registry == Registry::PyPi {
            settings.read.extend(interpreters(home, variables).filter(|folder| folder.is_dir()));
        }
        settings
    }

    /// A settings file, the files that it names, and the variables that it takes values from.
    fn file(&mut self, file: &Path, variables: &BTreeMap<String, String>) {
        let mut text = String::new();
        let read = File::open(file).and_then(|file| file.take(FILE_BYTES).read_to_string(&mut text));
        if read.is_err() {
            return; // not there, not readable, or not text: the package manager could not use it either
        }
        self.read.push(file.to_path_buf());
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let value = value.trim().trim_matches(['"', '\'']);
            let name = name.trim().rsplit(':').next().unwrap_or_default();
            self.show(name, value);
            for wanted in value.split("${").skip(1).filter_map(|rest| rest.split(['}', '?']).next()) {
                let known = variables.get(wanted).map(|value| EnvText::from(value.as_str()));
                self.env.extend(known.map(|value| (wanted.to_owned(), value)));
            }
        }
    }

    /// A file that a setting names must be readable too.
    fn show(&mut self, setting: &str, value: &str) {
        let path = Path::new(value);
        let named = PATHS.contains(&setting.to_ascii_lowercase().as_str()) || NETWORK_VARIABLES.contains(&setting);
        if named && path.is_absolute() && path.exists() {
            self.read.push(path.to_path_buf());
        }
    }
}

/// The setting that a variable is, if it is one to pass on.
fn setting(registry: Registry, variable: &str) -> Option<String> {
    let upper = variable.to_ascii_uppercase();
    if NETWORK_VARIABLES.contains(&upper.as_str()) {
        return Some(upper);
    }
    let prefixes: &[&str] = match registry {
        Registry::Npm => &["NPM_CONFIG_"],
        Registry::PyPi => &["PIP_", "UV_"],
    };
    let name = prefixes.iter().find_map(|prefix| upper.strip_prefix(prefix))?.to_ascii_lowercase();
    (!OURS.contains(&name.as_str())).then_some(name)
}

/// Where package managers look for settings.
fn files(registry: Registry, home: Option<&Path>, variables: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let config = config_folder(home, variables);
    let below = |folder: Option<&Path>, name| folder.map(|folder| folder.join(name));
    let named =
        |name: &str| variables.iter().find(|(variable, _)| variable.eq_ignore_ascii_case(name)).map(|(_, path)| PathBuf::from(path));
    let places = match registry {
        Registry::Npm => {
            vec![below(home, ".npmrc"), named("npm_config_userconfig"), named("npm_config_globalconfig"), Some("/etc/npmrc".into())]
        }
        Registry::PyPi => vec![
            below(config.as_deref(), "pip/pip.conf"),
            below(home, ".pip/pip.conf"),
            Some("/etc/pip.conf".into()),
            Some("/etc/xdg/pip/pip.conf".into()),
            named("PIP_CONFIG_FILE"),
            below(config.as_deref(), "uv/uv.toml"),
            Some("/etc/uv/uv.toml".into()),
            named("UV_CONFIG_FILE"),
        ],
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

    fn settings(registry: Registry, variables: &[(&str, &str)]) -> Settings {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::from_variables(registry, &variables)
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
        let names = |registry| settings(registry, &variables).env.into_keys().collect::<Vec<_>>();
        assert_eq!(names(Registry::Npm), ["HTTPS_PROXY", "NPM_CONFIG_REGISTRY", "https_proxy"]);
        assert_eq!(names(Registry::PyPi), ["HTTPS_PROXY", "PIP_INDEX_URL", "UV_DEFAULT_INDEX", "https_proxy"]);
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
        let npm = settings(Registry::Npm, &variables);
        assert_eq!(shown(&npm), [home.join(".npmrc"), home.join("ca.pem")]);
        assert_eq!(npm.env.into_keys().collect::<Vec<_>>(), ["HOME", "NPM_TOKEN"]);
        assert_eq!(shown(&settings(Registry::PyPi, &variables)), [home.join(".config/pip/pip.conf")]);
    }
}
