//! What the user's own container tools know of registries: credentials, and which of them speak plain HTTP.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::super::reference::Reference;
use super::Error;
use crate::profile::EnvText;

/// Settings files are a few lines, with a line for each registry.
const FILE_BYTES: u64 = 1024 * 1024;

/// An administrator has a few.
const MOST_FILES: usize = 256;

/// In `/etc`, and in the user's own folder for settings.
const REGISTRIES: &str = "containers/registries.conf";

/// What docker keeps its own registry's credentials under.
const DOCKER: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// What is known of the user for a registry.
#[derive(Default)]
pub(super) struct Credentials {
    /// `Basic …`, if there is a name and a password.
    pub(super) basic: Option<HeaderValue>,
    /// What the settings have in their place, which is not used.
    pub(super) not_used: Option<&'static str>,
}

/// `config.json` of docker, `auth.json` of podman, skopeo and buildah.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Settings {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<EnvText>,
    identitytoken: Option<EnvText>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Registries {
    registry: Vec<Registry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Registry {
    prefix: Option<String>,
    location: Option<String>,
    insecure: bool,
    blocked: bool,
}

impl Registry {
    fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref().filter(|prefix| !prefix.is_empty()).or(self.location.as_deref())
    }
}

/// How much of a name a prefix is about, if it is; the one that is about most of it counts (containers-registries.conf(5)). `*.` stands for
/// any host below another.
fn covered(name: &str, prefix: &str) -> Option<usize> {
    let end = match prefix.strip_prefix('*') {
        None => name.starts_with(prefix).then_some(prefix.len()),
        Some(domain) => name.find(domain).filter(|at| !name.get(..*at).unwrap_or_default().contains('/')).map(|at| at + domain.len()),
    }?;
    let rest = name.get(end..)?;
    (rest.is_empty() || rest.starts_with(['/', ':'])).then_some(end)
}

/// Where settings are looked for.
pub(super) struct Places(BTreeMap<String, String>);

impl Places {
    /// As the user's own tools do.
    pub(super) fn of_the_user() -> Self {
        let names = ["DOCKER_CONFIG", "HOME", "REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"];
        Self(names.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect())
    }

    #[cfg(test)]
    pub(super) fn nowhere() -> Self {
        Self(BTreeMap::new())
    }

    fn below(&self, variable: &str, path: &str) -> Option<PathBuf> {
        let place = Path::new(self.0.get(variable)?);
        place.is_absolute().then(|| place.join(path))
    }

    /// The first that names a registry counts.
    fn of_credentials(&self) -> Vec<PathBuf> {
        let docker = self.below("DOCKER_CONFIG", "config.json").or_else(|| self.below("HOME", ".docker/config.json"));
        let named = self.0.get("REGISTRY_AUTH_FILE").map(PathBuf::from);
        let own = named.or_else(|| self.below("XDG_RUNTIME_DIR", "containers/auth.json"));
        own.into_iter().chain(docker).collect()
    }

    /// One's own replaces that of the system. What lies in the folders beside them is added to that, one's own last.
    fn of_registries(&self) -> Result<Vec<PathBuf>, Error> {
        let own = self.below("XDG_CONFIG_HOME", REGISTRIES).or_else(|| self.below("HOME", &format!(".config/{REGISTRIES}")));
        let system = Path::new("/etc").join(REGISTRIES);
        let mut files = vec![own.clone().filter(|own| own.exists()).unwrap_or_else(|| system.clone())];
        for file in [Some(system), own].into_iter().flatten() {
            files.extend(added(&file.with_extension("conf.d"))?);
        }
        Ok(files)
    }

    /// What is said of registries, by prefix, and which file said it last.
    fn registries(&self) -> Result<BTreeMap<String, (PathBuf, Registry)>, Error> {
        let mut all = BTreeMap::new();
        for file in self.of_registries()? {
            let Some(text) = read(&file)? else { continue };
            let found: Registries =
                toml::from_str(&text).map_err(|error| Error::new(format!("{} is not understood: {}", file.display(), error.message())))?;
            let entries = found.registry.into_iter().filter_map(|entry| Some((entry.prefix()?.to_owned(), (file.clone(), entry))));
            all.extend(entries);
        }
        Ok(all)
    }

    /// What is known for the registry of `reference`.
    ///
    /// # Errors
    /// When a file that is there cannot be read.
    pub(super) fn credentials(&self, reference: &Reference) -> Result<Credentials, Error> {
        let mut not_used = None;
        for file in self.of_credentials() {
            let Some(text) = read(&file)? else { continue };
            // The file holds secrets: what of it is not understood is not told.
            let settings: Settings =
                serde_json::from_str(&text).map_err(|_| Error::new(format!("{} is not understood", file.display())))?;
            let found = settings.find(reference);
            if found.basic.is_some() {
                return Ok(found);
            }
            not_used = not_used.or(found.not_used);
        }
        Ok(Credentials { basic: None, not_used })
    }

    /// Whether the user has said that plain HTTP is spoken where an image is.
    ///
    /// # Errors
    /// When a file that is there cannot be read, and when it says that nothing is to be fetched from there.
    pub(super) fn say_insecure(&self, reference: &Reference) -> Result<bool, Error> {
        let (name, all) = (format!("{}/{}", canonical(&reference.registry), reference.repository), self.registries()?);
        let about = all.iter().filter_map(|(prefix, said)| Some((covered(&name, prefix)?, said)));
        match about.max_by_key(|(covered, _)| *covered) {
            Some((_, (file, entry))) if entry.blocked => {
                Err(Error::new(format!("{} says that nothing is fetched from where {name} is", file.display()))
                    .with_hint("take the image from elsewhere, or `blocked` out of that file"))
            }
            about => Ok(about.is_some_and(|(_, (_, entry))| entry.insecure)),
        }
    }
}

impl Settings {
    fn find(&self, reference: &Reference) -> Credentials {
        let name = format!("{}/{}", canonical(&reference.registry), reference.repository);
        let covers = |key: &str| name.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        // The longest counts: `auth.json` may have some for a part of a registry.
        let fitting = self.auths.iter().filter_map(|(key, entry)| Some((canonical(key), entry)).filter(|(key, _)| covers(key)));
        let entry = fitting.max_by_key(|(key, _)| key.len()).map(|(_, entry)| entry);
        let basic = entry.and_then(|entry| entry.auth.as_ref()).and_then(|auth| basic(auth.expose()));
        let helper = self.creds_store.is_some() || self.cred_helpers.keys().any(|key| covers(canonical(key)));
        let not_used = match entry {
            Some(Entry { identitytoken: Some(_), .. }) => Some("an identity token, which is not used here"),
            _ if helper => Some("a credential helper, which is a program and is not run"),
            _ => None,
        };
        Credentials { basic, not_used }
    }
}

/// A registry's key without what some tools write round it.
fn canonical(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key).trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    if DOCKER.contains(&key) { "docker.io" } else { key }
}

/// The header's value, of what is `USER:PASSWORD` in base64.
fn basic(auth: &str) -> Option<HeaderValue> {
    let decoded = Zeroizing::new(STANDARD.decode(auth).ok()?);
    let (user, password) = decoded.split_at_checked(decoded.iter().position(|byte| *byte == b':')?)?;
    if user.is_empty() || password.len() < 2 {
        return None; // what stays behind where a helper took the rest away
    }
    let mut value = HeaderValue::from_str(&Zeroizing::new(format!("Basic {auth}"))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The settings in a folder, in the order in which one replaces another.
fn added(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |cause: io::Error| Error::io(format_args!("{} cannot be read", folder.display()), &cause);
    let entries = match fs::read_dir(folder) {
        Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let paths: Vec<PathBuf> = entries.take(MOST_FILES + 1).map(|entry| Ok(entry?.path())).collect::<io::Result<_>>().map_err(unreadable)?;
    if paths.len() > MOST_FILES {
        return Err(Error::new(format!("{} holds more than {MOST_FILES} files", folder.display())));
    }
    let mut files: Vec<PathBuf> = paths.into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "conf")).collect();
    files.sort_unstable();
    Ok(files)
}

fn read(file: &Path) -> Result<Option<Zeroizing<String>>, Error> {
    let mut text = Zeroizing::new(String::new());
    match File::open(file).and_then(|opened| opened.take(FILE_BYTES).read_to_string(&mut text)) {
        Ok(_) => Ok(Some(text)),
        Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(cause) => Err(Error::io(format_args!("{} cannot be read", file.display()), &cause)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use serde_json::{Value, json};

    use super::*;

    struct Home(tempfile::TempDir);

    impl Home {
        fn with(files: &[(&str, &str)]) -> Self {
            let home = Self(tempfile::tempdir().unwrap());
            for (path, text) in files {
                let file = home.0.path().join(path);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            home
        }

        fn places(&self) -> Places {
            let path = |name: &str| self.0.path().join(name).to_str().unwrap().to_owned();
            Places(BTreeMap::from([("HOME".to_owned(), path("")), ("XDG_RUNTIME_DIR".to_owned(), path("run"))]))
        }

        fn shown(&self, reference: &str) -> (Option<String>, Option<&'static str>) {
            let found = self.places().credentials(&Reference::read(reference).unwrap()).unwrap();
            (found.basic.map(|value| value.to_str().unwrap().to_owned()), found.not_used)
        }
    }

    fn of_docker(settings: &Value) -> Home {
        Home::with(&[(".docker/config.json", &settings.to_string())])
    }

    #[test]
    fn the_entry_of_the_registry_is_shown_to_it_and_to_no_other() {
        let (one, two) = (STANDARD.encode("me:one"), STANDARD.encode("me:two"));
        let home = of_docker(&json!({ "auths": {
            "https://index.docker.io/v1/": { "auth": one },
            "registry.example.com": { "auth": one },
            "registry.example.com/team": { "auth": two },
        } }));
        let basic = |auth: &str| (Some(format!("Basic {auth}")), None);
        assert_eq!(home.shown("docker.io/library/x"), basic(&one));
        assert_eq!(home.shown("registry.example.com/other"), basic(&one));
        assert_eq!(home.shown("registry.example.com/team/x"), basic(&two));
        assert_eq!(home.shown("registry.example.com/teams/x"), basic(&one));
        for other in ["registry.example.com:5000/x", "registry.example.co/x", "xregistry.example.com/x", "ghcr.io/x"] {
            assert_eq!(home.shown(other), (None, None), "{other}");
        }
    }

    #[test]
    fn podmans_file_comes_first() {
        let entry = |auth: &str| json!({ "auths": { "a.example": { "auth": STANDARD.encode(auth) } } }).to_string();
        let home = Home::with(&[("run/containers/auth.json", &entry("me:podman")), (".docker/config.json", &entry("me:docker"))]);
        assert_eq!(home.shown("a.example/x").0, Some(format!("Basic {}", STANDARD.encode("me:podman"))));
    }

    #[test]
    fn what_is_not_used_is_told() {
        let helper = Some("a credential helper, which is a program and is not run");
        assert_eq!(of_docker(&json!({ "auths": { "a.example": {} }, "credsStore": "desktop" })).shown("a.example/x"), (None, helper));
        assert_eq!(of_docker(&json!({ "credHelpers": { "a.example": "ecr" } })).shown("a.example/x"), (None, helper));
        assert_eq!(of_docker(&json!({ "credHelpers": { "b.example": "ecr" } })).shown("a.example/x"), (None, None));
        let token = json!({ "auths": { "a.example": { "auth": STANDARD.encode("0000:"), "identitytoken": "x" } } });
        assert_eq!(of_docker(&token).shown("a.example/x"), (None, Some("an identity token, which is not used here")));
    }

    #[test]
    fn a_file_that_is_none_is_an_error_without_its_text() {
        let home = of_docker(&json!("me:secret"));
        let error = home.places().credentials(&Reference::read("a.example/x").unwrap()).err().unwrap().to_string();
        assert!(error.contains("config.json is not understood") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn only_the_users_own_word_makes_a_registry_insecure() {
        let file = "unqualified-search-registries = [\"docker.io\"]\n[[registry]]\nlocation = \"a.example:5000/team\"\ninsecure = true\n\
            [[registry]]\nprefix = \"b.example\"\n[[registry]]\nlocation = \"d.example/x\"\nblocked = true\n\
            [[registry]]\nprefix = \"c.example\"\ninsecure = true\n";
        let home = Home::with(&[(".config/containers/registries.conf", file)]);
        let said = |name: &str| home.places().say_insecure(&Reference::read(name).unwrap());
        let insecure = |name: &str| said(name).unwrap();
        assert!(insecure("a.example:5000/team/x") && insecure("a.example:5000/team") && insecure("c.example/x"));
        assert!(!insecure("a.example:5000/teams") && !insecure("a.example:5000/other/x"), "for others there credentials would go in clear");
        assert!(!insecure("a.example/team/x") && !insecure("b.example/x") && !insecure("docker.io/x/y") && !insecure("d.example/y"));
        assert!(said("d.example/x/y").is_err(), "what is blocked is not fetched");
    }
    #[test]
    fn of_several_entries_the_one_that_is_about_most_of_a_name_counts() {
        let file = "[[registry]]\nlocation = \"a.example\"\ninsecure = true\n[[registry]]\nprefix = \"a.example/prod\"\n\
            [[registry]]\nprefix = \"*.b.example\"\nblocked = true\n[[registry]]\nprefix = \"open.b.example\"\nlocation = \"x\"\n\
            [[registry]]\nprefix = \"c.example\"\nblocked = true\n[[registry]]\nprefix = \"c.example/team\"\ninsecure = true\n";
        let home = Home::with(&[
            (".config/containers/registries.conf", file),
            (".config/containers/registries.conf.d/10.conf", "[[registry]]\nlocation = \"d.example\"\ninsecure = true\n"),
            (".config/containers/registries.conf.d/20.conf", "[[registry]]\nprefix = \"d.example\"\nblocked = true\n"),
            (".config/containers/registries.conf.d/30.txt", "[[registry]]\nprefix = \"d.example\"\ninsecure = true\n"),
        ]);
        let said = |name: &str| home.places().say_insecure(&Reference::read(name).unwrap());
        for (name, is_insecure) in [
            ("a.example/x", true),
            ("a.example:5000/x", true),
            ("a.example/production", true),
            ("a.example/prod", false),
            ("a.example/prod/x", false),
            ("open.b.example/x", false),
            ("b.example/x", false),
            ("b.example.org/x/a.b.example", false),
            ("c.example/team/x", true),
        ] {
            assert_eq!(said(name).unwrap(), is_insecure, "{name}");
        }
        for name in ["one.b.example/x", "one.two.b.example:5000/x", "c.example/x", "d.example/x"] {
            assert!(said(name).is_err(), "{name}");
        }
        assert!(said("d.example/x").unwrap_err().to_string().contains("20.conf"), "what comes later replaces what is there");
    }
}
