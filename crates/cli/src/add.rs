//! `sallyport add`: puts a server into the configuration.

use sallyport_gateway::config::client_file::fitting_name;
use sallyport_gateway::config::model::{ServerConfig, Value};
use sallyport_gateway::config::{escape, user_file};

use crate::arguments::{AddArguments, Global};
use crate::output::{self, Failure};
use crate::project_file::{Changed, ProjectFile};
use crate::secret_file::SecretFiles;
use crate::tenant;

pub(crate) fn run(global: &Global, arguments: &AddArguments) -> Result<(), Failure> {
    let name = &arguments.name;
    if fitting_name(name) != *name {
        return Err(
            Failure::new(format!("`{}` cannot be a server's name", name.escape_debug())).hint(format!("`{}` can", fitting_name(name)))
        );
    }
    let mut file = ProjectFile::open(global, &arguments.target)?.of_tenant(arguments.of.tenant.as_deref())?;
    if file.has(name) {
        let whose = tenant::option(file.tenant());
        return Err(
            Failure::new(format!("there is a server `{name}` already")).hint(format!("`sallyport remove {name}{whose}` takes it out"))
        );
    }
    let mut server = server(arguments);
    let folder = user_file(file.invocation()).map(|own| own.with_file_name("secrets"));
    let mut secrets = SecretFiles::in_folder(folder.ok_or_else(|| Failure::new("HOME is not set").hint("set it to your home folder"))?);
    // Files of two tenants' secrets are told apart at a glance.
    let whose = file.tenant().map_or_else(|| name.clone(), |tenant| format!("{tenant}-{name}"));
    let moved = secrets.take_from(&whose, &mut server);
    file.insert(name, &server)?;
    if !arguments.target.dry_run {
        file.check()?;
        secrets.write().map_err(|error| Failure::new(format!("a secret cannot be written to a file of its own: {error}")))?;
    }
    let plan = file.save(&arguments.target)?;
    for key in &moved {
        output::note(format!(
            "note: {key} looks like a secret: it goes to a file that only you may read, and the configuration names that"
        ));
    }
    let key = file.key_of(name);
    let about_it = |path: &str| path.strip_prefix(&key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    // In a dry run the files of secrets are not there yet.
    let is_moved = |path: &str| moved.iter().any(|key| path == format!("{}.{key}", file.key_of(name)));
    let warnings: Vec<_> = plan.warnings.into_iter().filter(|warning| about_it(&warning.path) && !is_moved(&warning.path)).collect();
    if arguments.target.json {
        return output::json(&Changed { server: name, secrets: &moved, outcome: file.outcome(!arguments.target.dry_run, &warnings) });
    }
    output::warnings(&warnings);
    Ok(())
}

fn server(arguments: &AddArguments) -> ServerConfig {
    let values = |pairs: &[(String, String)]| pairs.iter().map(|(name, value)| (name.clone(), Value::Written(value.clone()))).collect();
    // What a shell passed on is meant as it is: only `${env:…}` and `${file:…}` are references.
    let word = |text: &String| if text.contains("${env:") || text.contains("${file:") { text.clone() } else { escape(text) };
    ServerConfig {
        command: (!arguments.command.is_empty()).then(|| arguments.command.iter().map(word).collect()),
        url: arguments.url.clone(),
        env: values(&arguments.env),
        headers: values(&arguments.header),
        network: arguments.network.clone(),
        read: arguments.read.clone(),
        write: arguments.write.clone(),
        ..ServerConfig::default()
    }
}
