//! Resolving references as a gateway does.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use sallyport_secrets::{SecretReference, resolve};

#[test]
fn a_variable_is_read_from_the_environment() {
    let reference: SecretReference = "env:CARGO_PKG_NAME".parse().unwrap(); // cargo sets it for tests
    assert_eq!(resolve(&reference).ok().unwrap().expose(), "sallyport-secrets");
}

#[test]
fn an_error_names_the_reference_and_what_to_do() {
    let reference: SecretReference = "env:SALLYPORT_SURELY_NOT_SET".parse().unwrap();
    let error = resolve(&reference).err().unwrap();
    assert_eq!(error.to_string(), "secret `env:SALLYPORT_SURELY_NOT_SET`: the environment variable is not set");
    assert_eq!(error.hint(), "set SALLYPORT_SURELY_NOT_SET in the environment that starts the gateway");
}

#[test]
fn an_open_file_is_refused_with_the_command_that_closes_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, "hunter2").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let reference = "file:key".parse::<SecretReference>().unwrap().within(folder.path());

    let error = resolve(&reference).err().unwrap();
    assert_eq!(error.hint(), format!("chmod 600 '{}'", path.display()));
    assert!(error.to_string().contains("mode 644"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(resolve(&reference).ok().unwrap().expose(), "hunter2");
}
