//! One program in a sandbox with no gateway round it: its stdio is this process's own.

use crate::backend::Backend;
use crate::error::Error;
use crate::instance::{Exit, Instance, Running};
use crate::profile::{Profile, Program};

/// Launches `program`; `tell` hears of the instance before anything is carried. Carries stdin and stdout until the program ends, and
/// writes the last lines of its stderr to stderr.
///
/// The runtime must be ended without waiting for its threads: one of them may read stdin for ever.
///
/// # Errors
/// When the program is not started, or its stdout cannot be carried.
pub async fn run(
    backend: &dyn Backend,
    profile: &Profile,
    program: &Program,
    tell: impl FnOnce(&Instance<Running>),
) -> Result<Exit, Error> {
    let instance = backend.launch(profile, program).await?;
    tell(&instance);
    let (mut stdin, mut stdout) = instance.take_io().ok_or_else(|| Error::new("its stdio is taken"))?;
    let feed = tokio::spawn(async move { tokio::io::copy(&mut tokio::io::stdin(), &mut stdin).await });
    let carried = tokio::io::copy(&mut stdout, &mut tokio::io::stdout()).await;
    carried.map_err(|cause| Error::io("its stdout cannot be carried", &cause))?;
    let exit = instance.wait().await;
    feed.abort();
    let exceeded = instance.exceeded().map(|exceeded| format!("it {}", exceeded.explain(exit)));
    for line in instance.stderr_tail().into_iter().chain(exceeded) {
        // Nobody reads it: nothing to be done.
        let _unread = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
    }
    Ok(exit)
}

/// The exit code of a program as shells give it: its own, or 128 and the number of the signal that ended it.
#[must_use]
pub fn code(exit: Exit) -> u8 {
    const SIGNAL_BASE: i32 = 128;
    let code = match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => SIGNAL_BASE + signal,
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}
