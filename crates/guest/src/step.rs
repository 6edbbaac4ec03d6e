//! A step that failed, as the gateway hears of it.

use std::io;

use sallyport_guest::ToHost;

/// Which step, and why.
#[derive(Debug)]
pub(crate) struct Failed {
    step: String,
    cause: io::Error,
}

/// Names what was tried.
pub(crate) trait Step<T> {
    fn step(self, step: &str) -> Result<T, Failed>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &str) -> Result<T, Failed> {
        self.map_err(|cause| Failed { step: step.to_owned(), cause: cause.into() })
    }
}

impl From<Failed> for ToHost {
    fn from(failed: Failed) -> Self {
        let Failed { step, cause } = failed;
        match cause.raw_os_error() {
            Some(errno) => Self::Failed { step, errno },
            None => Self::Failed { step: format!("{step}: {cause}"), errno: 0 },
        }
    }
}
