//! What is printed, and how: results on stdout, everything else on stderr, colours only where a person reads.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::process::ExitCode;

use owo_colors::OwoColorize;
use sallyport_gateway::config::Diagnostic;
use serde::Serialize;

/// The exit codes, as `--help` and `docs/reference/exit-codes.md` have them. (2, a wrong command line, is clap's own.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did not work.
    Failed,
    /// It worked, and something is not as it was.
    Differs,
    /// The configuration is wrong (`EX_USAGE` of sysexits.h, which other proxies use for it too).
    Configuration,
    /// The code of the program that was run.
    Program(u8),
}

impl Exit {
    fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed => 1,
            Self::Differs => 3,
            Self::Configuration => 64,
            Self::Program(code) => code,
        })
    }
}

/// Why a subcommand ends without having done what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure with a message: lower case, no full stop, never a secret.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into(), hint: None }
    }

    /// The same with a hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What went wrong, without its hint.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// A failure that has been told already, such as in the JSON on stdout.
    pub(crate) fn told(exit: Exit) -> Self {
        Self { exit, message: String::new(), hint: None }
    }

    /// The configuration is wrong.
    pub(crate) fn of_configuration(errors: &[Diagnostic]) -> Self {
        let mut message = String::new();
        for error in errors {
            let separator = if message.is_empty() { "" } else { "\n" };
            // Writing into a text cannot fail.
            let _ = write!(message, "{separator}{}", styled(&error_label(), error));
        }
        Self { exit: Exit::Configuration, message, hint: None }
    }

    /// Tells it on stderr, and gives the exit code.
    pub(crate) fn tell(&self) -> ExitCode {
        let mut stderr = anstream::stderr().lock();
        // When stderr is closed there is nobody to tell.
        let _ = match self {
            Self { message, .. } if message.is_empty() => Ok(()),
            Self { exit: Exit::Configuration, message, .. } => writeln!(stderr, "{message}"),
            Self { message, .. } => writeln!(stderr, "{} {message}", error_label()),
        };
        if let Some(hint) = &self.hint {
            let _ = writeln!(stderr, "  {} {hint}", "hint:".cyan());
        }
        self.exit.code()
    }
}

impl From<Vec<Diagnostic>> for Failure {
    fn from(errors: Vec<Diagnostic>) -> Self {
        Self::of_configuration(&errors)
    }
}

impl From<Diagnostic> for Failure {
    fn from(error: Diagnostic) -> Self {
        Self::of_configuration(&[error])
    }
}

/// stdout is closed or full: nothing more can be said there.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // `sallyport list | head -1` is no failure worth a message.
        if error.kind() == io::ErrorKind::BrokenPipe { Self::told(Exit::Failed) } else { Self::new(error.to_string()) }
    }
}

/// Prints a result, as JSON on one line.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(io::Error::from)?;
    line(text)
}

/// Prints a line of a result.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    Ok(writeln!(anstream::stdout().lock(), "{text}")?)
}

/// Tells the user what is going on, on stderr.
pub(crate) fn note(text: impl Display) {
    // When stderr is closed there is nobody to tell.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Tells warnings, on stderr.
pub(crate) fn warnings(warnings: &[Diagnostic]) {
    for warning in warnings {
        note(styled(&"warning:".yellow().bold().to_string(), warning));
    }
}

fn error_label() -> String {
    "error:".red().bold().to_string()
}

/// A diagnostic with its place in front and its hint set off.
fn styled(label: &str, diagnostic: &Diagnostic) -> String {
    let text = diagnostic.to_string();
    match text.split_once("\n  hint: ") {
        Some((message, hint)) => format!("{label} {message}\n  {} {hint}", "hint:".cyan()),
        None => format!("{label} {text}"),
    }
}
