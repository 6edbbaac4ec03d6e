//! Structured logs: to stderr for whoever watches, and to a bounded file for whoever looks later.
//!
//! Secrets cannot be logged because their types cannot be printed. What other libraries print of their own inside
//! (headers, frames) is not under that rule, so from them only warnings and errors are taken, whatever the filter says.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Mutex;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterFn, ParseError};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::bounded_log::{BoundedLog, Bounds};

/// 24 MiB in all: about 100,000 lines, and the log has a line for what is out of the ordinary, not for every call.
const BOUNDS: Bounds = Bounds { bytes_per_file: 8 * 1024 * 1024, files: 3 };
/// What is logged unless asked otherwise.
const DEFAULT_FILTER: &str = "info";

/// What goes to stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stderr {
    /// Nothing: the terminal shows something else.
    Off,
    /// Lines to read on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// JSON.
    Json,
}

/// How to log.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What goes to stderr.
    pub stderr: Stderr,
    /// A file beside it, always JSON, in a folder that exists.
    pub file: Option<PathBuf>,
    /// What to log, in the form of `tracing`'s directives, such as `debug` or `sallyport_gateway=trace`.
    pub filter: Option<String>,
}

/// Starts logging for the whole process, once.
///
/// # Errors
/// When the filter is not understood, the file cannot be opened, or logging had been started before.
pub fn start(options: &Options) -> Result<(), LogError> {
    let directives = options.filter.as_deref().unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(directives).map_err(LogError::Filter)?;
    let file = match &options.file {
        Some(path) => Some(BoundedLog::open(path, BOUNDS).map_err(|error| LogError::File(path.clone(), error))?),
        None => None,
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(stderr_layer(options.stderr).map(|layer| layer.with_filter(FilterFn::new(may_speak))))
        .with(file.map(|file| file_layer(file).with_filter(FilterFn::new(may_speak))))
        .try_init()
        .map_err(LogError::Started)
}

type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

fn stderr_layer<S>(stderr: Stderr) -> Option<BoxedLayer<S>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(io::stderr);
    match stderr {
        Stderr::Off => None,
        Stderr::Auto if io::stderr().is_terminal() => Some(layer.compact().boxed()),
        Stderr::Auto | Stderr::Json => Some(layer.json().flatten_event(true).boxed()),
    }
}

fn file_layer<S>(file: BoundedLog) -> BoxedLayer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .log_internal_errors(false) // a full disk is no reason to fill the terminal
        .with_writer(Mutex::new(file))
        .boxed()
}

/// Our own crates may say everything, others only what went wrong.
fn may_speak(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("sallyport") || *metadata.level() <= Level::WARN
}

/// Why logging could not be started.
#[derive(Debug)]
pub enum LogError {
    /// The filter is not understood.
    Filter(ParseError),
    /// The file cannot be opened.
    File(PathBuf, io::Error),
    /// It had been started before.
    Started(TryInitError),
}

impl LogError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Filter(_) => "write a level (`error`, `warn`, `info`, `debug`, `trace`) or `TARGET=LEVEL`, separated by commas",
            Self::File(..) => "make its folder writable for the user who runs the gateway, or set XDG_STATE_HOME",
            Self::Started(_) => "start logging once a process",
        }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(error) => write!(formatter, "log filter: {error}"),
            Self::File(path, error) => write!(formatter, "log file `{}`: {error}", path.display()),
            Self::Started(error) => write!(formatter, "logging: {error}"),
        }
    }
}

impl std::error::Error for LogError {}
