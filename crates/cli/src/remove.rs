//! `sallyport remove`: takes a server out of the configuration.

use crate::arguments::{Global, RemoveArguments};
use crate::output::{self, Failure};
use crate::project_file::{Changed, ProjectFile};

pub(crate) fn run(global: &Global, arguments: &RemoveArguments) -> Result<(), Failure> {
    let mut file = ProjectFile::open(global, &arguments.target)?;
    if !file.remove(&arguments.name) {
        return Err(Failure::new(format!("there is no server `{}`", arguments.name.escape_debug())).hint("`sallyport list` names them"));
    }
    let plan = file.save(&arguments.target)?;
    let lost: Vec<_> = plan.warnings.into_iter().filter(|warning| warning.path.starts_with("toolsets.")).collect();
    if arguments.target.json {
        return output::json(&Changed { server: &arguments.name, secrets: &[], outcome: file.outcome(!arguments.target.dry_run, &lost) });
    }
    output::warnings(&lost);
    Ok(())
}
