//! Names a step when it fails.

use rustix::io::Errno;

use crate::error::Failure;
use crate::layer::Layer;

/// Turns an errno into the failure of a named step of a layer.
pub(super) trait Step<T> {
    fn step(self, layer: Layer, step: &str) -> Result<T, Failure>;
}

impl<T> Step<T> for Result<T, Errno> {
    fn step(self, layer: Layer, step: &str) -> Result<T, Failure> {
        self.map_err(|errno| failure(layer, step, errno))
    }
}

impl<T> Step<T> for Result<T, std::io::Error> {
    fn step(self, layer: Layer, step: &str) -> Result<T, Failure> {
        self.map_err(|error| failure(layer, step, Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }
}

pub(super) fn failure(layer: Layer, step: &str, errno: Errno) -> Failure {
    Failure { layer, step: step.to_owned(), errno: errno.raw_os_error() }
}
