//! Configuration: from a file, or none, to a [`Plan`].
//!
//! [`load`] and [`read`] look at the file system; [`validate()`] and everything below it is pure. Starting and
//! reloading use the same function, so that what `sallyport check` says is what happens.

pub mod client_file;
pub(crate) mod diagnostic;
mod discovery;
mod duration;
pub mod model;
pub mod plain_secret;
pub mod reference;
mod template;
mod toml_file;
mod validate;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub use diagnostic::{Diagnostic, Place, nearest};
pub use discovery::{FILE_NAME, Found, LARGEST_FILE, built_in_default, find, read_bounded, user_file};
pub use duration::parse as parse_duration;
pub use model::Config;
pub use template::{escape, verbatim};
pub use validate::{good_for_nothing, matches, validate};

use sallyport_transport::server::tls::ClientAuthority;

use crate::config::diagnostic::Places;
use crate::plan::{Origin, Plan, SecretFile, Source, tls_key};

/// Looks up a variable of the environment.
pub type Variables = dyn Fn(&str) -> Option<String> + Send + Sync;

/// How the program was called, as far as the configuration depends on it.
#[derive(Clone)]
pub struct Invocation {
    /// The file that was asked for (`--config`), or a folder to look in instead of the working directory.
    pub file: Option<PathBuf>,
    /// The address that was asked for (`--listen`); it takes the place of the file's.
    pub listen: Option<String>,
    /// The working directory, absolute.
    pub folder: PathBuf,
    /// The environment.
    pub variables: Arc<Variables>,
}

impl Invocation {
    /// The working directory and environment of this process.
    ///
    /// # Errors
    /// When the working directory is gone or not accessible.
    pub fn of_this_process(file: Option<PathBuf>, listen: Option<String>) -> std::io::Result<Self> {
        let variables = Arc::new(|name: &str| std::env::var(name).ok());
        Ok(Self { file, listen, folder: std::env::current_dir()?, variables })
    }

    /// The folder that an absolute path in the variable `name` names.
    pub(crate) fn folder_in(&self, name: &str) -> Option<PathBuf> {
        (self.variables)(name).map(PathBuf::from).filter(|folder| folder.is_absolute())
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, listen, folder, variables: _ } = self;
        formatter.debug_struct("Invocation").field("file", file).field("listen", listen).field("folder", folder).finish_non_exhaustive()
    }
}

/// Finds the configuration, reads and checks it.
///
/// # Errors
/// Everything that is wrong, each with file, place and key.
pub fn load(invocation: &Invocation) -> Result<Plan, Vec<Diagnostic>> {
    let origin = find(invocation).map_err(|diagnostic| vec![diagnostic])?.origin;
    let Some(file) = origin.file.clone() else {
        return plan(built_in_default(&origin.folder), origin, invocation, &Places::default());
    };
    let text = read_bounded(&file).map_err(|diagnostic| vec![diagnostic])?;
    read(&text, origin, invocation)
}

/// Reads and checks `text` as the content of the file that `origin` names: a client's JSON by its name, otherwise a `sallyport.toml`.
///
/// # Errors
/// Everything that is wrong, each with file, place and key.
pub fn read(text: &str, origin: Origin, invocation: &Invocation) -> Result<Plan, Vec<Diagnostic>> {
    let file = origin.file.clone();
    let put_file = |diagnostic: &mut Diagnostic| {
        if diagnostic.path != LISTEN_ARGUMENT {
            diagnostic.file.clone_from(&file);
        }
    };
    let read = if file.as_deref().is_some_and(is_json) { read_client } else { read_own };
    match read(text, origin, invocation) {
        Ok(mut plan) => {
            plan.warnings.iter_mut().for_each(put_file);
            Ok(plan)
        }
        Err(mut errors) => {
            errors.iter_mut().for_each(put_file);
            Err(errors)
        }
    }
}

/// Whether a file is taken for a client's JSON.
#[must_use]
pub fn is_json(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json") || extension.eq_ignore_ascii_case("jsonc"))
}

fn read_own(text: &str, origin: Origin, invocation: &Invocation) -> Result<Plan, Vec<Diagnostic>> {
    let (config, places) = toml_file::read(text)?;
    plan(config, origin, invocation, &places)
}

fn read_client(text: &str, origin: Origin, invocation: &Invocation) -> Result<Plan, Vec<Diagnostic>> {
    let setting = client_file::Setting { folder: &origin.folder, variables: &*invocation.variables };
    let client_file::ClientFile { config, warnings, places, own_paths } = client_file::read(text, &setting)?;
    let put_own_path = |diagnostic: &mut Diagnostic| diagnostic.path = own_paths.own(&diagnostic.path);
    match plan(config, origin, invocation, &places) {
        Ok(mut plan) => {
            plan.warnings.iter_mut().for_each(put_own_path);
            plan.warnings.extend(warnings);
            plan.warnings.sort_by_key(|warning| warning.place);
            plan.warnings.extend(no_network(&plan));
            Ok(plan)
        }
        Err(mut errors) => {
            errors.iter_mut().for_each(put_own_path);
            Err(errors)
        }
    }
}

/// Says what a client's file cannot say.
fn no_network(plan: &Plan) -> Option<Diagnostic> {
    let has_programs = plan.servers.values().any(|server| matches!(server.source, Source::Stdio(_)));
    has_programs.then(|| {
        Diagnostic::new("", "the programs named here run without network, because this file cannot say where they may connect to")
            .hint("`sallyport import` makes a sallyport.toml of it, where `network` says so for each")
    })
}

/// Says which files of the endpoint's TLS are not there: the gateway cannot start until they are.
fn missing_files(plan: &Plan) -> Vec<Diagnostic> {
    let missing = plan.tls_files().into_iter().filter(|(_, file)| !file.is_file());
    let told = |(path, file): (String, &Path)| {
        Diagnostic::new(path, format!("{} is no file", file.display())).hint("the gateway cannot start until it is there")
    };
    missing.map(told).collect()
}

/// Says what is wrong with the file that a secret lies in: that it is not there, or that others may read it.
fn missing_secret(file: &SecretFile) -> Option<Diagnostic> {
    let error = sallyport_secrets::look(&file.reference).err()?;
    Some(Diagnostic::new(&file.path, error.to_string()).hint(format!("{} until that is put right: {}", file.consequence, error.hint())))
}

/// Says which lists of revoked certificates are past their date, or cannot be read.
fn outdated_lists(plan: &Plan) -> Vec<Diagnostic> {
    let with_lists = plan.client_authorities().filter(|authority| authority.revoked.as_deref().is_some_and(Path::is_file));
    with_lists.flat_map(outdated_lists_of).collect()
}

fn outdated_lists_of(authority: &ClientAuthority) -> Vec<Diagnostic> {
    let told = |message: String, hint: &str| Diagnostic::new(tls_key(authority, "client_revoked"), message).hint(hint);
    let outdated = |issuer| {
        let message = format!("the list of `{issuer}` is past its date, so no certificate of that issuer is taken");
        told(message, "put a newer one there: the file is read again when it changes")
    };
    match authority.outdated_lists(SystemTime::now()) {
        Ok(issuers) => issuers.into_iter().map(outdated).collect(),
        Err(error) => vec![told(error.to_string(), "it holds lists in PEM, `-----BEGIN X509 CRL-----`")],
    }
}

/// The path of a diagnostic about what the command line says.
const LISTEN_ARGUMENT: &str = "--listen";

/// Checks what was read, with what the command line says instead, and puts a place to whatever is told.
fn plan(mut config: Config, origin: Origin, invocation: &Invocation, places: &Places) -> Result<Plan, Vec<Diagnostic>> {
    if invocation.listen.is_some() {
        config.listen.clone_from(&invocation.listen);
    }
    let put_places = |diagnostics: &mut Vec<Diagnostic>| {
        for diagnostic in diagnostics.iter_mut() {
            if diagnostic.path == "listen" && invocation.listen.is_some() {
                LISTEN_ARGUMENT.clone_into(&mut diagnostic.path);
            } else {
                diagnostic.place = places.find(&diagnostic.path);
            }
        }
        diagnostics.sort_by_key(|diagnostic| diagnostic.place);
    };
    let mut read = read_policies("policy", &mut config.policy, &origin);
    for (name, tenant) in &mut config.tenants {
        read.extend(read_policies(&format!("{}.policy", diagnostic::join("tenants", name)), &mut tenant.policy, &origin));
    }
    if !read.is_empty() {
        let mut errors = read;
        put_places(&mut errors);
        return Err(errors);
    }
    match validate(config, origin, &*invocation.variables) {
        Ok(mut plan) => {
            plan.warnings.extend(missing_files(&plan));
            plan.warnings.extend(plan.secret_files.iter().filter_map(missing_secret));
            plan.warnings.extend(outdated_lists(&plan));
            put_places(&mut plan.warnings);
            Ok(plan)
        }
        Err(mut errors) => {
            put_places(&mut errors);
            Err(errors)
        }
    }
}

/// Puts in what the files of policies hold. They are read with the configuration and checked with it, so that what was checked is what is
/// put in force. Says which cannot be read; `path` is where the policy stands.
fn read_policies(path: &str, policy: &mut sallyport_policy::Config, origin: &Origin) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    for (key, engines) in [("engines", &mut policy.engines), ("shadow", &mut policy.shadow)] {
        for (index, engine) in engines.iter_mut().enumerate() {
            let place = format!("{path}.{key}[{index}].{}.files", engine.name());
            let Some(sources) = engine.sources_mut() else { continue };
            for (at, name) in sources.files.iter().enumerate() {
                match read_bounded(&origin.absolute(Path::new(name))) {
                    Ok(text) => sources.read.push(sallyport_policy::engines::Source { name: name.clone(), text }),
                    Err(wrong) => {
                        let wrong = Diagnostic::new(format!("{place}[{at}]"), format!("`{name}`: {}", wrong.message));
                        errors.push(wrong.hint("a path relative to the configuration's folder, of a file that the gateway may read"));
                    }
                }
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests;
