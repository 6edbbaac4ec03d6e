//! `sallyport microvm prepare`: makes what machines start from, once for all servers.

use indicatif::ProgressBar;
use sallyport_sandbox::microvm::{self, Prepared, Source};

use crate::arguments::{MicrovmArguments, MicrovmCommand, PrepareArguments};
use crate::output::{self, Failure};

pub(crate) fn run(arguments: &MicrovmArguments) -> Result<(), Failure> {
    match &arguments.command {
        MicrovmCommand::Prepare(arguments) => prepare(arguments),
    }
}

fn prepare(arguments: &PrepareArguments) -> Result<(), Failure> {
    let told = |error: sallyport_sandbox::Error| match error.hint() {
        Some(hint) => Failure::new(error.to_string()).hint(hint),
        None => Failure::new(error.to_string()),
    };
    let source = match (&arguments.from, &arguments.kernel, &arguments.modules) {
        (Some(folder), ..) => Source::Folder(folder.clone()),
        (None, Some(kernel), Some(modules)) => Source::Files { kernel: kernel.clone(), modules: modules.clone() },
        _ => Source::Package,
    };
    let folder = match &arguments.into {
        Some(folder) => std::path::absolute(folder)?,
        None => microvm::prepared_in(&microvm::folder().map_err(told)?),
    };
    let line = ProgressBar::new_spinner(); // on stderr, and nothing at all where that is no terminal
    line.enable_steady_tick(std::time::Duration::from_millis(100));
    let prepared = microvm::prepare(&source, &folder, &|doing| line.set_message(doing.to_owned()));
    line.finish_and_clear();
    let prepared = prepared.map_err(told)?;
    if arguments.json {
        return output::json(&prepared);
    }
    let Prepared { kernel, .. } = prepared;
    output::line(format!("prepared linux {kernel} in {}", folder.display()))?;
    let setting = match &arguments.into {
        Some(_) => format!("sandbox = {{ microvm = {{ guest = {folder:?} }} }}"),
        None => "sandbox = \"microvm\"".to_owned(),
    };
    output::note(format!("Write `{setting}` at a server to run it in a machine of its own; `sallyport doctor` boots one."));
    Ok(())
}
