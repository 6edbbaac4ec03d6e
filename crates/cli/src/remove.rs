//! `sallyport remove`: takes a server out of the configuration.

use crate::arguments::{Global, RemoveArguments};
use crate::output::{self, Failure};
use crate::project_file::{Changed, ProjectFile};
use crate::tenant;

pub(crate) fn run(global: &Global, arguments: &RemoveArguments) -> Result<(), Failure> {
    let mut file = ProjectFile::open(global, &arguments.target)?.of_tenant(arguments.of.tenant.as_deref())?;
    if !file.remove(&arguments.name) {
        let failure = Failure::new(format!("there is no server `{}`", arguments.name.escape_debug()));
        return Err(failure.hint(format!("`sallyport list{}` names them", tenant::option(file.tenant()))));
    }
    let plan = file.save(&arguments.target)?;
    let toolsets = file.tenant().map_or_else(|| "toolsets.".to_owned(), |tenant| format!("tenants.{tenant}.toolsets."));
    let lost: Vec<_> = plan.warnings.into_iter().filter(|warning| warning.path.starts_with(&toolsets)).collect();
    if arguments.target.json {
        return output::json(&Changed { server: &arguments.name, secrets: &[], outcome: file.outcome(!arguments.target.dry_run, &lost) });
    }
    output::warnings(&lost);
    Ok(())
}
