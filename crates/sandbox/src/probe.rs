//! What `doctor` shows of a back-end. A probe starts a real program in a real boundary: no file and no uid proves anything.

use serde::Serialize;

#[cfg(target_os = "linux")]
pub(crate) use linux::of_trial;

use crate::backend::Host;
use crate::layer::Layer;
use crate::profile::Program;

/// The argument with which this binary ends at once, as the trial's program.
pub(crate) const TRIAL_ARGUMENT: &str = "__sandbox_trial";

/// The program of a trial start: this binary, which then ends at once.
pub(crate) fn trial(host: &Host) -> Program {
    // Through the link, because the file itself is what the sandbox can show.
    let launcher = host.launcher();
    let file = std::fs::read_link(launcher).unwrap_or_else(|_| launcher.to_path_buf());
    let mut trial = Program::new("trial", file.to_string_lossy());
    trial.args.push(TRIAL_ARGUMENT.to_owned());
    trial
}

/// Whether a back-end works here, and what was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether programs can be launched.
    pub works: bool,
    /// One line each, in the order of setting up.
    pub findings: Vec<Finding>,
}

/// One line of a report.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at: a layer, the kernel, a facility of it.
    pub subject: String,
    /// Whether it is there.
    pub in_force: bool,
    /// In which form it is there, or why it is not.
    pub detail: String,
    /// What its absence costs.
    pub cost: Option<String>,
    /// How to get it.
    pub cure: Option<String>,
}

impl Report {
    /// A report of one line.
    pub(crate) fn single(works: bool, finding: Finding) -> Self {
        Self { works, findings: vec![finding] }
    }
}

/// What is lost where a layer does not hold.
pub(crate) fn cost(layer: Layer) -> &'static str {
    match layer {
        Layer::Procfs => "programs run without /proc: some report no processor or memory figures",
        Layer::UidDrop => "nothing: the gateway does not run as the host's root",
        Layer::IdMappedRoots => "files that only their owner may read are not readable to servers",
        Layer::Network => "servers reach the host's whole network, or none of it",
        Layer::UserNamespace | Layer::Namespaces => "programs see that the host's other processes exist, and cannot be frozen",
        Layer::Root => "programs see names, sizes and owners of the host's files, and have no /tmp",
        _ => "no server is started with this back-end",
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::thread::{CapabilitySet, capabilities};

    use super::{Finding, Report, cost};
    use crate::cgroup;
    use crate::cure::{OLDEST_KERNEL, PROCFS};
    use crate::error::Error;
    use crate::instance::{Exit, Instance, Running};
    use crate::layer::{Layer, State};
    use crate::sys;

    /// The report of a trial start.
    pub(crate) async fn of_trial(trial: Result<Instance<Running>, Error>) -> Report {
        let mut findings = vec![kernel(), landlock()];
        let works = match trial {
            Ok(instance) => {
                let layers = instance.in_force();
                findings.extend(layers.iter().map(|(layer, state)| holds(layers.boundary(), layer, state)));
                let exit = instance.wait().await;
                findings.push(ran(exit, &instance.stderr_tail()));
                exit.is_success()
            }
            Err(error) => {
                findings.push(refused(&error));
                false
            }
        };
        findings.extend([cgroups(), memory_of_idle_servers()]);
        Report { works, findings }
    }

    fn holds(boundary: &str, layer: Layer, state: &State) -> Finding {
        let (in_force, detail) = match state {
            State::InForce(detail) => (true, detail),
            State::Absent(reason) => (false, reason),
        };
        // Where the boundary is to have one, only a container's masks can be the reason.
        let cure = (!in_force && layer == Layer::Procfs && boundary == "os").then(|| PROCFS.to_owned());
        Finding {
            subject: layer.name().to_owned(),
            in_force,
            detail: detail.clone(),
            cost: (!in_force).then(|| cost(layer).to_owned()),
            cure,
        }
    }

    fn ran(exit: Exit, stderr: &[String]) -> Finding {
        Finding {
            subject: "trial program".to_owned(),
            in_force: exit.is_success(),
            detail: [vec![exit.to_string()], stderr.to_vec()].concat().join(" | "),
            cost: (!exit.is_success()).then(|| "servers may not run either".to_owned()),
            cure: None,
        }
    }

    fn refused(error: &Error) -> Finding {
        Finding {
            subject: error.layer().map_or("trial program", |layer| layer.name()).to_owned(),
            in_force: false,
            detail: error.to_string(),
            cost: Some("no server is started with this back-end".to_owned()),
            cure: error.hint().map(str::to_owned),
        }
    }

    fn kernel() -> Finding {
        let system = rustix::system::uname();
        Finding {
            subject: "kernel".to_owned(),
            in_force: true,
            detail: format!("linux {} (needed: {OLDEST_KERNEL})", system.release().to_string_lossy()),
            cost: None,
            cure: None,
        }
    }

    fn landlock() -> Finding {
        let abi = sys::landlock::abi();
        let detail = match abi {
            Ok(abi) => format!("the kernel offers abi {abi}"),
            Err(errno) => errno.to_string(),
        };
        Finding {
            subject: "landlock in the kernel".to_owned(),
            in_force: abi.is_ok(),
            detail,
            cost: abi.is_err().then(|| "no server is started with this back-end".to_owned()),
            cure: abi.is_err().then(|| "add landlock to the lsm= list of the kernel's command line".to_owned()),
        }
    }

    /// What `process_madvise` asks for on another process, or a group that the kernel takes memory of; looked up, because nothing of the
    /// trial sleeps.
    fn memory_of_idle_servers() -> Finding {
        let has_privilege = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_NICE));
        let by_group = cgroup::places().can_reclaim();
        let may = has_privilege || by_group;
        Finding {
            subject: "memory of idle servers".to_owned(),
            in_force: may,
            detail: match (has_privilege, by_group) {
                (true, _) => "can be given back",
                (false, true) => "can be given back (control group v2)",
                (false, false) => "cannot be given back without CAP_SYS_NICE",
            }
            .to_owned(),
            cost: (!may).then(|| "servers that nobody calls are frozen, and keep their memory".to_owned()),
            cure: (!may).then(|| "start the gateway in a control group of its own (`Delegate=yes`), or give it CAP_SYS_NICE (systemd: AmbientCapabilities=CAP_SYS_NICE)"
                    .to_owned()),
        }
    }

    /// What holds a program as a whole to its limits.
    fn cgroups() -> Finding {
        let held = cgroup::places().held();
        let by = [("memory", held.memory), ("processes", held.processes), ("processor", held.processor)];
        let found = by.iter().filter_map(|(what, version)| version.map(|version| format!("{what} by {version}")));
        let whole = by.iter().all(|(_, version)| version.is_some());
        let details: Vec<String> = found.chain(cgroup::places().refused()).collect();
        Finding {
            subject: "control groups".to_owned(),
            in_force: whole,
            detail: if details.is_empty() { "none can be made here".to_owned() } else { details.join("; ") },
            cost: (!whole).then(|| {
                "what no group holds is held otherwise: memory by a look once a second, processes by the resource limit, the processor not at all"
                    .to_owned()
            }),
            cure: (!whole).then(|| {
                "start the gateway in a group of its own: `systemd-run --user --scope -p Delegate=yes sallyport up`, or `Delegate=yes` in its unit"
                    .to_owned()
            }),
        }
    }
}
