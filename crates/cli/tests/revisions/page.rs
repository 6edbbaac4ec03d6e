//! `docs/reference/revisions.md`, made from the same data that the cells are checked against.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sallyport_protocol::Revision;

use crate::ends::Transport;
use crate::feature::{Feature, Verdict};
use crate::features::{self, SUBJECTS};
use crate::harness::peers;

const INTRODUCTION: &str = include_str!("introduction.md");

/// Fails when the page in the repository is another one; writes it instead if `SALLYPORT_BLESS` is set.
pub(crate) fn check() {
    let path = peers::repository().join("docs/reference/revisions.md");
    if std::env::var_os("SALLYPORT_BLESS").is_some() {
        std::fs::write(&path, page()).expect("the docs are writable");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page(), "docs/reference/revisions.md is stale: run `cargo xtask bless`");
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    write_matrix(&mut page);
    write_transports(&mut page);
    for client in Revision::ALL {
        write_client(&mut page, client);
    }
    page
}

/// How many features a cell was seen to carry, and a note for each that its client gets in another form.
fn write_matrix(page: &mut String) {
    page.push_str("## Every client with every server\n\n| client ↓ server → |");
    Revision::ALL.iter().for_each(|server| {
        let _ = write!(page, " {server} |");
    });
    page.push_str("\n| --- |");
    Revision::ALL.iter().for_each(|_| page.push_str(" --- |"));
    page.push('\n');
    let mut notes = Notes::default();
    for client in Revision::ALL {
        let _ = write!(page, "| **{client}** |");
        for server in Revision::ALL {
            let cell = Tally::of(client, server, &mut notes);
            let _ = write!(page, " {} of {}{} |", cell.carried, cell.said, cell.marks);
        }
        page.push('\n');
    }
    page.push('\n');
    notes.write(page);
}

/// What a cell comes to.
struct Tally {
    carried: usize,
    said: usize,
    marks: String,
}

impl Tally {
    fn of(client: Revision, server: Revision, notes: &mut Notes) -> Self {
        let (mut carried, mut said, mut numbers) = (0, 0, BTreeSet::new());
        for feature in features::all() {
            match feature.verdict(client, server) {
                Verdict::Carried => carried += 1,
                Verdict::Instead(instead, _) => drop(numbers.insert(notes.number(feature, instead.gets))),
                Verdict::Unsaid(_) => continue,
            }
            said += 1;
        }
        Self { carried, said, marks: numbers.into_iter().map(|number| format!(" [{number}]")).collect() }
    }
}

/// What clients get instead, numbered in the order of their first mention, each with the features it stands for.
#[derive(Default)]
struct Notes(Vec<(&'static str, Vec<&'static str>)>);

impl Notes {
    fn number(&mut self, feature: &Feature, gets: &'static str) -> usize {
        let index = self.0.iter().position(|(known, _)| *known == gets).unwrap_or(self.0.len());
        if index == self.0.len() {
            self.0.push((gets, Vec::new()));
        }
        let names = &mut self.0[index].1;
        if !names.contains(&feature.name) {
            names.push(feature.name);
        }
        index + 1
    }

    fn write(&self, page: &mut String) {
        page.push_str(
            "`21 of 23` says that the server's revision has 23 of the features below that a client may meet, and 21 get through as they are.\n\
             For the others the client's revision has no word, and the client gets something else; nothing is left out in silence:\n\n",
        );
        for (number, (gets, names)) in (1..).zip(&self.0) {
            let names: Vec<String> = names.iter().map(|name| format!("**{name}**")).collect();
            let _ = writeln!(page, "- [{number}] {}: the client gets {gets}.", names.join(", "));
        }
        page.push('\n');
    }
}

fn write_transports(page: &mut String) {
    page.push_str("## Transports\n\nEach cell stands for every pair of these, which all gave the same:\n\n| revision | as client and as server |\n| --- | --- |\n");
    for revision in Revision::ALL {
        let names = Transport::of(revision).map(Transport::name).join(", ");
        let _ = writeln!(page, "| {revision} | {names} |");
    }
    page.push('\n');
}

/// A table a client: every feature with every server.
fn write_client(page: &mut String, client: Revision) {
    let _ = writeln!(page, "## A client of {client}\n");
    let mut reasons = BTreeSet::new();
    for subject in &SUBJECTS {
        let _ = write!(page, "| {} |", subject.title);
        Revision::ALL.iter().for_each(|server| {
            let _ = write!(page, " {server} |");
        });
        page.push_str("\n| --- |");
        Revision::ALL.iter().for_each(|_| page.push_str(" :-: |"));
        page.push('\n');
        for feature in subject.features {
            write_row(page, feature, client, &mut reasons);
        }
        page.push('\n');
    }
    page.push_str("Why not everywhere:\n\n");
    reasons.iter().for_each(|reason| {
        let _ = writeln!(page, "- {reason}");
    });
    page.push('\n');
}

fn write_row(page: &mut String, feature: &Feature, client: Revision, reasons: &mut BTreeSet<String>) {
    let _ = write!(page, "| **{}**: {} |", feature.name, feature.means);
    for server in Revision::ALL {
        let mark = match feature.verdict(client, server) {
            Verdict::Carried => "●",
            Verdict::Instead(instead, why) => {
                reasons.insert(format!("**{}** ○ {why}; it gets {}", feature.name, instead.gets));
                "○"
            }
            Verdict::Unsaid(why) => {
                reasons.insert(format!("**{}** – {why}", feature.name));
                "–"
            }
        };
        let _ = write!(page, " {mark} |");
    }
    page.push('\n');
}
