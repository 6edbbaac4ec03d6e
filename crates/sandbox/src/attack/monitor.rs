//! The monitor round a machine: what holds it while it runs, and what somebody can do who has broken it. For that the hostile program is
//! started in a monitor's place: by the same launcher, with the same profile, in the folder of a machine.

use std::os::unix::fs::FileExt;
use std::path::Path;

use super::arena::Arena;
use super::contender::{Carried, Contender, Kind};
use super::judge::{Findings, GIVEN_VARIABLE};
use super::terrain::HOSTILE;
use super::wire::{Given, Machines, Order};
use crate::backend::{Backend, Host};
use crate::backends::microvm::Config;
use crate::enforced::Enforced;
use crate::error::Error;
use crate::microvm::{MEMORY, Place, SOCKETS};
use crate::profile::Profile;

/// The attacks that are tried from there: those that need nothing but system calls, and this row's own. Whoever is there has no way out, and
/// of the others some were about what the guest writes to.
const TRIED: [u8; 24] = [1, 2, 3, 4, 6, 7, 8, 9, 14, 15, 16, 22, 23, 24, 25, 26, 27, 28, 29, 30, 35, 37, 39, 41];

/// What is needed to stand in a monitor's place.
pub(super) struct Broken<'a> {
    pub(super) host: &'a Host,
    pub(super) config: &'a Config,
    pub(super) arena: &'a Arena,
    pub(super) binary: &'a Path,
    /// Of the machine's program.
    pub(super) profile: &'a Profile,
}

impl Broken<'_> {
    /// Tries everything, beside another machine that starts. Tells how many filters of system calls hold a monitor that has set none itself.
    pub(super) async fn must_get_nowhere(&self, given: Given, findings: &mut Findings) -> Result<u32, Error> {
        let own = Place::of(self.host, self.config, self.profile, HOSTILE).await?;
        let other = Place::of(self.host, self.config, &Profile::default(), "other").await?;
        let canary = self.arena.canary.as_bytes();
        let written = other.memory().write_all_at(canary, 0);
        written.map_err(|cause| Error::io("the memory of a machine cannot be written", &cause))?;
        let machines = Machines {
            other: other.folder().to_owned(),
            memory: MEMORY.to_owned(),
            sockets: SOCKETS.map(str::to_owned).to_vec(),
            kernel: own.kernel.clone(),
        };
        let os = crate::backends::os::build(crate::backends::os::Config::default(), self.host)?;
        let mut broken = Contender::start(&self.kind(&os, &own)).await?;
        let filters = Enforced::on(broken.instance.pid()).ok().as_ref().and_then(filters_in).unwrap_or(0);
        for row in TRIED {
            let machines = Some(machines.clone());
            // A monitor speaks over local sockets, so that those in what the machine may write are in its reach (decision 0046).
            let given = Given { machines, shown_sockets: Vec::new(), ..given.clone() };
            let order = Order::Try { row, part: 0, connected: false, given: Box::new(given) };
            let Carried { attempts, broken: cut, .. } = broken.carry_out(&order).await;
            for mut attempt in attempts {
                attempt.name.insert_str(0, "in the monitor's place: ");
                findings.hear(attempt);
            }
            findings.open.extend(cut.map(|why| format!("in the monitor's place, row {row}: not known to the end: {why}")));
            findings.said(&std::mem::take(&mut broken.said), &self.arena.canary);
            findings.open.extend(self.arena.effects());
        }
        broken.instance.kill();
        broken.instance.wait().await;
        let mut memory = vec![0; canary.len()];
        if other.memory().read_exact_at(&mut memory, 0).is_err() || memory != canary {
            findings.open.push("the memory of another machine has changed".to_owned());
        }
        if other.was_reached().await {
            findings.open.push("the gateway was reached in the name of another machine".to_owned());
        }
        Ok(filters)
    }

    /// The program itself is the one thing more that is to be seen.
    fn kind<'b>(&self, backend: &'b dyn Backend, place: &Place) -> Kind<'b> {
        let read = [place.profile.read.as_slice(), &[self.binary.to_owned()]].concat();
        Kind {
            backend,
            binary: self.binary.to_owned(),
            name: HOSTILE,
            variable: (GIVEN_VARIABLE, "given".to_owned()),
            log: self.arena.path("hostile.log"),
            profile: Profile { read, ..place.profile.clone() },
            room: Some(place.folder().to_owned()),
        }
    }
}

/// What holds a monitor that runs: the boundary of the back-end `os`, of which `filters` are of system calls, and one more that it has set
/// itself.
pub(super) fn look_at(pid: u32, filters: u32, findings: &mut Findings) {
    let found = match Enforced::on(pid) {
        Ok(found) => found,
        Err(error) => return findings.open.push(format!("the monitor cannot be looked at: {error}")),
    };
    for (key, wanted) in [("NoNewPrivs", "1"), ("Seccomp", "2"), ("CapEff", "0000000000000000")] {
        match found.status.get(key) {
            Some(value) if value == wanted => findings.stopped.push(format!("{key} of the monitor: {value}")),
            other => findings.open.push(format!("{key} of the monitor: {other:?}")),
        }
    }
    match filters_in(&found) {
        None => findings.stopped.push("filters of the monitor: their number is not told by this kernel".to_owned()),
        Some(all) if all > filters => findings.stopped.push(format!("filters of the monitor: {all}, {filters} of them its boundary's")),
        Some(_) => findings.open.push("the monitor has set no filter itself".to_owned()),
    }
    // Nobody has a namespace of time: it would hide nothing.
    let shared: Vec<&str> =
        found.namespaces.iter().filter(|(name, own)| !**own && *name != "time").map(|(name, _)| name.as_str()).collect();
    match shared.as_slice() {
        [] => findings.stopped.push("namespaces of the monitor: its own".to_owned()),
        _ => findings.open.push(format!("namespaces that the monitor shares: {}", shared.join(" "))),
    }
}

/// How many filters of system calls a process has, where the kernel tells.
fn filters_in(found: &Enforced) -> Option<u32> {
    found.status.get("Seccomp_filters")?.parse().ok()
}
