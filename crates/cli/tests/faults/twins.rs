//! Two gateways for one configuration: whoever uses the first goes on with it, and is found another when it is gone.

use std::process::Stdio;

use crate::harness::gateway::{Gateway, Project};

/// Which of some gateways `sallyport stdio` relays to.
fn relays_to(project: &Project, gateways: &[&Gateway]) -> Vec<bool> {
    let output = project.sallyport().arg("stdio").stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    gateways
        .iter()
        .map(|gateway| told.contains(&format!("relaying to the gateway that runs at http://127.0.0.1:{}\n", gateway.port)))
        .collect()
}

#[test]
fn a_second_gateway_takes_over_nothing_that_the_first_has() {
    let project = Project::new("[servers.files]\nbuiltin = { filesystem = { root = \".\" } }\n");
    let first = project.up();
    let mut second = project.up();
    let told = second.log();
    assert!(told.contains("runs already (process") && told.contains(&format!("at http://127.0.0.1:{}:", first.port)), "{told}");
    assert_eq!(relays_to(&project, &[&first, &second]), [true, false]);
    second.signal("TERM");
    assert_eq!(second.wait(), Some(0));
    assert_eq!(relays_to(&project, &[&first, &second]), [true, false], "the first is found as before");

    let third = project.up();
    drop(first); // killed: its note stays behind
    assert_eq!(relays_to(&project, &[&third]), [true]);
    drop(third);
    assert_eq!(relays_to(&project, &[]), [false; 0]);
    let fourth = project.up();
    assert!(!fourth.log().contains("runs already"), "those that were killed are in nobody's way: {}", fourth.log());
    assert_eq!(relays_to(&project, &[&fourth]), [true]);
}
