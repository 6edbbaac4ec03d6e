//! What to do when the kernel refuses a layer.

use std::fs;

use rustix::io::Errno;

use crate::error::Failure;
use crate::layer::Layer;

/// The oldest kernel with everything the boundary is made of: `mount_setattr` is of 5.12, Landlock of 5.13.
pub(crate) const OLDEST_KERNEL: &str = "5.13";

/// The oldest kernel whose Landlock leaves no gap without namespaces: ABI 6.
const OLDEST_KERNEL_ALONE: &str = "6.12";

/// How to get a procfs where the kernel refuses one of its own: in there something covers a part of the outer one.
pub(crate) const PROCFS: &str = "in a container, start it with --security-opt systempaths=unconfined";

/// The way to put the layer in force, as far as it is known.
pub(crate) fn of(failure: &Failure) -> Option<String> {
    let errno = Errno::from_raw_os_error(failure.errno);
    let cure = match (failure.layer, errno) {
        (Layer::UserNamespace, Errno::INVAL) => "call enter_if_asked first in main, before any thread is started".to_owned(),
        (Layer::UserNamespace, _) => user_namespaces(errno),
        (Layer::Landlock, Errno::OPNOTSUPP) => "add landlock to the lsm= list of the kernel's command line".to_owned(),
        (Layer::Landlock, Errno::NOSYS) if crate::sys::landlock::abi().is_ok() => {
            format!("run linux {OLDEST_KERNEL_ALONE} or newer, whose Landlock also covers signals; or see to it that namespaces work")
        }
        (Layer::Root, Errno::OPNOTSUPP) => {
            "only the boundary os can keep a place in a folder from being written, or read: keep secrets outside of it; \
             `deny_write = [\"!*\"]` gives up the list of what is not written"
                .to_owned()
        }
        (Layer::Landlock | Layer::Root, Errno::NOSYS) => format!("run linux {OLDEST_KERNEL} or newer, built with CONFIG_SECURITY_LANDLOCK"),
        (Layer::Namespaces | Layer::Network | Layer::Root, Errno::PERM | Errno::ACCESS) => user_namespaces(errno),
        (Layer::Namespaces | Layer::Network, Errno::NOSPC) => "raise the limits below /proc/sys/user (max_*_namespaces)".to_owned(),
        (Layer::Network, Errno::AFNOSUPPORT | Errno::OPNOTSUPP) => {
            "IPv6 is off on this machine: name no IPv6 address in `network`".to_owned()
        }
        (Layer::IdMappedRoots, _) => {
            "start the gateway as the ordinary user who owns the folder, or give its root CAP_SYS_ADMIN and keep the folder on \
             a file system that maps ids"
                .to_owned()
        }
        (Layer::Seccomp, _) => "run a kernel built with CONFIG_SECCOMP_FILTER".to_owned(),
        (Layer::Start, Errno::NOENT) => {
            "its interpreter is not visible in the sandbox: add its folder to what the server may read".to_owned()
        }
        (Layer::Start, Errno::ACCESS) => {
            "it must be executable, and not below a folder that the server may write: nothing there can be executed".to_owned()
        }
        _ => return None,
    };
    Some(cure)
}

/// Ubuntu: the profile that is shipped, for the binary where it lies.
const APPARMOR: &str = "install the AppArmor profile: `sallyport doctor --apparmor-profile | sudo tee /etc/apparmor.d/sallyport && \
                        sudo apparmor_parser --replace /etc/apparmor.d/sallyport`, then start it again";

const CONTAINER: &str = "in a container, start it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined";

fn user_namespaces(errno: Errno) -> String {
    if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        return APPARMOR.to_owned();
    }
    if setting("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        return "run `sysctl kernel.unprivileged_userns_clone=1`".to_owned();
    }
    if errno == Errno::NOSPC || setting("/proc/sys/user/max_user_namespaces") == Some(0) {
        return "raise user.max_user_namespaces, for example `sysctl user.max_user_namespaces=10000`".to_owned();
    }
    CONTAINER.to_owned()
}

fn setting(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
