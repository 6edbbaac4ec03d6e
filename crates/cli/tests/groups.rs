//! Sallyport on another kernel than this one, which is booted by what the sandbox's tests use: `doctor` with control groups of version 2,
//! delegated to it or not, and with user namespaces turned off as Debian's administrators do it (`groups.py` is its init); standby where
//! programs wait for memory (`pressure.py`).
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

#[path = "../../sandbox/tests/support/kernel.rs"]
#[allow(dead_code, reason = "a part is used here")]
mod kernel;

use std::path::Path;

use serde_json::Value;

/// An id that no distribution gives to anybody.
const USER: &str = "64111";

/// Boots the kernel with this script as its init; gives what that tells. `argument` is the script's own, after those that all take.
fn inside(script: &str, argument: &str, settings: &str) -> Vec<Value> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let support = here.parent().unwrap().join("sandbox/tests/support");
    let arguments = [support.to_str().unwrap(), env!("CARGO_BIN_EXE_sallyport"), argument];
    kernel::run(&here.join("tests").join(script), &arguments, settings)
}

/// What `doctor` found each time.
struct Found(Vec<Value>);

impl Found {
    fn inside() -> Self {
        Self(inside("groups.py", USER, ""))
    }

    fn of(&self, what: &str) -> &Value {
        let told = self.0.iter().find(|told| told["what"] == what);
        &told.unwrap_or_else(|| panic!("it did not come to {what}: {:#?}", self.0))["found"]
    }

    fn get(&self, what: &str, subject: &str) -> &Value {
        let found = self.of(what);
        let finding = found["findings"].as_array().and_then(|list| list.iter().find(|finding| finding["subject"] == subject));
        finding.unwrap_or_else(|| panic!("{what}: nothing is said of {subject}: {found:#}"))
    }
}

#[test]
fn doctor_tells_what_delegated_groups_hold_and_what_stands_in_the_way() {
    let found = Found::inside();
    for whole in ["root", "user"] {
        let groups = found.get(whole, "control groups");
        assert_eq!(groups["ok"], true, "{groups:#}");
        assert_eq!(groups["detail"], "memory by control group v2; processes by control group v2; processor by control group v2");
        let limits = found.get(whole, "limits")["detail"].as_str().unwrap();
        assert!(limits.contains("MiB together (control group v2)"), "{limits}");
        assert_eq!(found.get(whole, "memory of idle servers")["ok"], true);
        assert_eq!(found.of(whole)["code"], 0);
    }
    assert_eq!(found.get("user", "memory of idle servers")["detail"], "can be given back (control group v2)");

    let shared = found.get("beside another", "control groups");
    assert_eq!(shared["ok"], false);
    let (detail, cure) = (shared["detail"].as_str().unwrap(), shared["cure"].as_str().unwrap());
    assert!(detail.contains("other processes are in the gateway's own group") && cure.contains("Delegate=yes"), "{shared:#}");
    assert_eq!(found.of("beside another")["code"], 0, "servers start all the same");

    let namespace = found.get("restricted", "user namespace");
    assert_eq!(namespace["ok"], false);
    assert!(namespace["cure"].as_str().unwrap().contains("kernel.unprivileged_userns_clone=1"), "{namespace:#}");
    assert_eq!(found.of("restricted")["code"], 1, "nothing could be started");
}

/// The server's own times are a second and a day: what takes it down to where its memory is given back is what the kernel says.
#[test]
fn memory_of_an_idle_server_is_given_back_as_soon_as_programs_wait_for_memory() {
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/standby/idle_server.py");
    let told = inside("pressure.py", server.to_str().unwrap(), "psi=1");
    let found = &told[0];
    assert_eq!(found["error"], Value::Null, "{found:#}");
    let percent = |when: &str| found[when].as_f64().unwrap();
    assert!(percent("before") < 10.0 && percent("after") >= 10.0, "{found:#}");
    let log = found["gateway"]["stderr"].as_str().unwrap();
    assert!(log.contains("gave memory back, bytes resident"), "{log}");
    let counted = |when: &str| found[when]["stdout"].as_str().unwrap().to_owned();
    assert_eq!([counted("first"), counted("second")], ["1", "2"], "the same program answers: {found:#}");
}
