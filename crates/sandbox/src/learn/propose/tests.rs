#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::egress::{Host, Name};
use crate::learn::record::{Refused, Want};

const HOME: &str = "/home/u";

/// `r /path`, `l /path/` (a folder), `w`, `e`.
fn record(lines: &[&str]) -> Record {
    let mut record = Record::default();
    record.roots.insert("/home/u/project".into());
    for line in lines {
        let (kind, path) = line.split_at(2);
        let want = match kind {
            "l " => Want::Look,
            "r " => Want::Read,
            "w " => Want::Write,
            _ => Want::Entries,
        };
        record
            .refused
            .insert(PathBuf::from(path.trim_end_matches('/')), Refused { want, folder: path.ends_with('/'), times: 1, leads_to: None });
    }
    record
}

fn proposed(lines: &[&str]) -> Proposal {
    propose(&record(lines), Some(Path::new(HOME)), &kept())
}

fn kept() -> Kept {
    Kept {
        rules: vec!["/home/u/project/sallyport.toml".into(), "/srv/policies/main.cedar".into()],
        secrets: vec!["/srv/creds/team".into()],
        folders: vec!["/srv/state/sallyport".into()],
    }
}

fn texts(paths: &[PathBuf]) -> Vec<&str> {
    paths.iter().map(|path| path.to_str().unwrap()).collect()
}

#[test]
fn what_was_wanted_is_proposed() {
    let proposal = proposed(&["r /data/set/a.csv", "l /srv/repo/", "w /home/u/notes/today.md", "e /home/u/project/out/"]);
    assert_eq!(texts(&proposal.read), ["/data/set/a.csv", "/srv/repo"]);
    assert_eq!(texts(&proposal.write), ["/home/u/notes/today.md", "/home/u/project/out"]);
    assert_eq!(proposal.warnings, []);
}

#[test]
fn many_entries_of_a_folder_are_the_folder() {
    let proposal =
        proposed(&["r /data/s/a/1", "r /data/s/a/2", "r /data/s/a/3", "r /data/s/a/4", "r /data/s/b", "r /data/s/c", "r /data/s/d/x/"]);
    assert_eq!(texts(&proposal.read), ["/data/s/a", "/data/s/b", "/data/s/c", "/data/s/d/x"]);
    let proposal = proposed(&["r /data/s/a", "r /data/s/b", "r /data/s/c", "r /data/s/d"]);
    assert_eq!(texts(&proposal.read), ["/data/s"]);
    let proposal = proposed(&["r /data/a", "r /data/b", "r /data/c", "r /data/d", "r /data/e"]);
    assert_eq!(proposal.read.len(), 5, "a folder at the top is never what becomes of its entries");
}

#[test]
fn what_is_written_is_read_as_well() {
    let proposal = proposed(&["e /srv/db/", "r /srv/db/index", "w /srv/db/index.new", "l /srv/"]);
    assert_eq!((texts(&proposal.read), texts(&proposal.write)), (vec![], vec!["/srv/db"]));
}

#[test]
fn secrets_and_whole_homes_are_told_of_and_not_proposed() {
    let secret =
        ["/home/u/.ssh/config", "/home/u/.aws/", "/home/u/.config/gh/hosts.yml", "/srv/app/.env", "/srv/tls/server.key", "/etc/shadow"];
    for path in secret {
        let proposal = proposed(&[&format!("r {path}")]);
        assert!(proposal.is_empty() && proposal.warnings.iter().all(|warning| warning.is_grave), "{path}: {proposal:?}");
        assert_eq!(proposal.warnings.len(), 1, "{path}");
    }
    for path in ["/home/u/", "/home/", "/home/other/", "/data/", "/home/u/.config/", "/var/lib/", "/run/user/1000/"] {
        for kind in ["r", "e"] {
            let proposal = proposed(&[&format!("{kind} {path}")]);
            assert!(proposal.is_empty() && proposal.warnings.len() == 1, "{path}: {proposal:?}");
        }
    }
    for line in ["w /home/u/project/sallyport.toml", "e /srv/code/.git/hooks/", "w /home/u/project/.envrc"] {
        let proposal = proposed(&[line]);
        assert!(proposal.is_empty() && proposal.warnings[0].is_grave, "{line}");
    }
    let mut record = record(&["r /srv/harmless", "w /etc/hosts"]);
    record.refused.get_mut(Path::new("/srv/harmless")).unwrap().leads_to = Some("/home/u/.aws/credentials".into());
    let proposal = propose(&record, Some(Path::new(HOME)), &Kept::default());
    assert!(proposal.is_empty() && proposal.warnings.len() == 2, "where a link leads counts: {proposal:?}");
    assert_eq!(texts(&proposed(&["r /srv/code/.git/config"]).read), ["/srv/code/.git/config"], "to be read");
}

#[test]
fn what_is_the_gateways_own_is_told_of_and_not_proposed() {
    let grave =
        ["w /srv/policies/main.cedar", "r /srv/creds/team", "l /srv/creds/team", "w /srv/creds/team", "r /srv/state/sallyport/store.db"];
    for line in grave.into_iter().chain(["e /srv/state/sallyport/", "w /srv/state/sallyport/new"]) {
        let proposal = proposed(&[line]);
        assert!(proposal.is_empty() && proposal.warnings.len() == 1 && proposal.warnings[0].is_grave, "{line}: {proposal:?}");
    }
    let mut record = record(&["r /srv/harmless"]);
    record.refused.get_mut(Path::new("/srv/harmless")).unwrap().leads_to = Some("/srv/creds/team".into());
    assert!(propose(&record, None, &kept()).is_empty());
    assert_eq!(texts(&proposed(&["r /srv/policies/main.cedar"]).read), ["/srv/policies/main.cedar"], "to be read");
}

#[test]
fn what_programs_look_for_anywhere_is_not_proposed() {
    let proposal = proposed(&["r /etc/host.conf", "l /etc/gitconfig", "r /home/u/package.json", "l /home/.git/", "l /srv/", "r /srv/a/b"]);
    assert_eq!((texts(&proposal.read), proposal.warnings), (vec!["/srv/a/b"], vec![]));
}

#[test]
fn hosts_are_proposed_with_the_ports_that_were_wanted() {
    let mut record = Record::default();
    let name = |text: &str| Host::Name(Name::new(text).unwrap());
    let address = |text: &str| Host::Address(text.parse().unwrap());
    for (host, port, allowed) in [
        (name("a.example"), None, false),
        (name("a.example"), Some(8443), false),
        (name("a.example"), Some(443), false),
        (name("b.example"), None, false),
        (name("c.example"), None, true),
        (name("c.example"), Some(22), false),
        (name("d.example"), None, true),
        (name("d.example"), Some(443), true),
        (address("10.0.0.7"), Some(5432), false),
        (address("1.1.1.1"), Some(853), false),
        (address("127.0.0.1"), Some(6379), false),
        (address("169.254.169.254"), Some(80), false),
        (address("224.0.0.1"), Some(80), false),
    ] {
        record.hosts.insert((host, port), (allowed, 1));
    }
    let proposal = propose(&record, None, &Kept::default());
    let network: Vec<String> = proposal.network.iter().map(ToString::to_string).collect();
    assert_eq!(network, ["a.example:443,8443", "b.example", "c.example:22", "1.1.1.1:853", "10.0.0.7:5432"]);
    let told: Vec<_> = proposal.warnings.iter().map(|warning| (warning.subject.as_str(), warning.is_grave)).collect();
    assert_eq!(told, [("10.0.0.7:5432", false), ("127.0.0.1:6379", true), ("169.254.169.254:80", true), ("224.0.0.1:80", false)]);
}

#[test]
fn a_proposal_is_no_longer_than_somebody_reads() {
    let mut record = Record::default();
    for number in 0..500 {
        let refused = Refused { want: Want::Read, folder: false, times: 1, leads_to: None };
        record.refused.insert(format!("/data/{number}/deep/file").into(), refused.clone());
        record.refused.insert(format!("/srv/{number}/.ssh/x").into(), refused);
        record.hosts.insert((Host::Name(Name::new(&format!("h{number}.example")).unwrap()), None), (false, 1));
        record.calls.insert(format!("call {number}"), 1);
    }
    record.local_sockets = 1;
    let proposal = propose(&record, None, &Kept::default());
    assert_eq!((proposal.read.len(), proposal.network.len()), (MOST, MOST));
    assert!(proposal.warnings.len() <= 4 * MOST_WARNINGS, "{}", proposal.warnings.len());
    for said in ["468 more paths", "468 more hosts"] {
        assert!(proposal.warnings.iter().any(|warning| warning.subject == said), "{said}");
    }
}

fn path() -> impl Strategy<Value = String> {
    let part =
        prop_oneof![Just("a"), Just("b"), Just("c"), Just("d"), Just("home"), Just("u"), Just(".ssh"), Just(".config"), Just("x.key")];
    proptest::collection::vec(part, 1..6).prop_map(|parts| format!("/{}", parts.join("/")))
}

proptest! {
    /// Whatever is wanted: nothing that holds secrets or too much is proposed, and each path is either proposed or told of or noise.
    #[test]
    fn grouping_never_opens_more_than_it_may(wanted in proptest::collection::vec((path(), 0..4u8, any::<bool>()), 0..60)) {
        let mut record = Record::default();
        for (path, want, folder) in &wanted {
            let want = [Want::Look, Want::Read, Want::Write, Want::Entries][usize::from(*want)];
            record.refused.insert(path.into(), Refused { want, folder: *folder, times: 1, leads_to: None });
        }
        let proposal = propose(&record, Some(Path::new(HOME)), &Kept::default());
        for path in proposal.read.iter().chain(&proposal.write) {
            prop_assert!(!private::holds_secrets(path, Some(Path::new(HOME))), "{path:?}");
            let folder = record.refused.get(path).is_none_or(|refused| refused.folder);
            prop_assert!(!folder || !private::holds_too_much(path, Some(Path::new(HOME))), "{path:?}");
            prop_assert!(record.refused.keys().any(|wanted| wanted.starts_with(path)), "nobody wanted {path:?}");
        }
        if proposal.write.len() < MOST && proposal.warnings.len() < MOST_WARNINGS {
            for (path, refused) in record.refused.iter().filter(|(_, refused)| refused.want >= Want::Write) {
                let covered = proposal.write.iter().any(|written| path.starts_with(written));
                let told = proposal.warnings.iter().any(|warning| Path::new(&warning.subject) == path);
                prop_assert!(covered || told, "{path:?} {refused:?} got lost: {proposal:?}");
            }
        }
    }
}
