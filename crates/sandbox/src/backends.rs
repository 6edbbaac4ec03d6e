//! The back-ends, one file each.

use crate::backend::{Backend, Host};
use crate::error::Error;

sallyport_registry::registry! {
    /// The boundary round a program.
    pub BackendConfig builds Backend, or Error, given (host: &Host) {
        /// The kernel's own means: namespaces, Landlock, seccomp, limits. Works for an ordinary user as well as for root.
        os => Os,
        /// Landlock, seccomp and limits without namespaces, for machines that refuse those. The host's processes and the names of its
        /// files can be seen; `network` cannot be named.
        landlock => Landlock,
        /// A virtual machine with a kernel of its own, in which the program sees what `os` would show it, as it was at the start; or a
        /// container image. Needs QEMU, and `sallyport microvm prepare` once.
        microvm => Microvm,
        /// A container image on disk, started by a container runtime.
        oci => Oci,
        /// WebAssembly: a WASI program, or a component whose exported functions are tools, run by an engine within the gateway.
        wasm => Wasm,
        /// No boundary at all: the program can do whatever the gateway's user can.
        none => None,
    }
}
