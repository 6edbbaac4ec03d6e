//! Which boundaries can be built here, and which one each program gets.

use sallyport_gateway::plan::{Plan, ServerPlan, Source, StdioPlan};
use sallyport_sandbox::backends::{landlock, microvm, os};
use sallyport_sandbox::{BackendConfig, Host, Isolation, Network, Report, Selection};

use super::{Finding, called, finding, plans};
use crate::output::Failure;
use crate::{start, view};

/// What real programs in real boundaries showed.
pub(super) struct Boundaries {
    os: Report,
    landlock: Report,
    /// Those that servers name beside these two, and the machine, which can be prepared.
    named: Vec<(Selection, Report)>,
}

impl Boundaries {
    /// Starts one in each.
    pub(super) fn probe(plan: Option<&Plan>) -> Result<Self, Failure> {
        let runtime = start::runtime()?;
        let probe = |selection: &Selection| -> Result<Report, Failure> {
            let backend = selection.build(&Host::this_binary()).map_err(|error| Failure::new(error.to_string()))?;
            Ok(runtime.block_on(backend.probe()))
        };
        let mut named: Vec<Selection> = Vec::new();
        for selection in programs(plan).map(|program| &program.sandbox).filter(|selection| is_probed_by_name(selection)) {
            if !named.contains(selection) {
                named.push(selection.clone());
            }
        }
        if !named.iter().any(Selection::is_machine) {
            named.push(BackendConfig::Microvm(microvm::Config::default()).into());
        }
        let probed = |selection: Selection| probe(&selection).map(|report| (selection, report));
        Ok(Self {
            os: probe(&BackendConfig::Os(os::Config::default()).into())?,
            landlock: probe(&BackendConfig::Landlock(landlock::Config::default()).into())?,
            named: named.into_iter().map(probed).collect::<Result<_, _>>()?,
        })
    }

    /// Everything about `os` and what servers name; about `landlock` whether it works, and where it is needed, what else it is.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = self.own_findings();
        for (selection, report) in &self.named {
            findings.extend(report.findings.iter().map(|found| from_probe(selection.name(), found)));
        }
        findings
    }

    fn own_findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.os.findings.iter().map(|found| from_probe("sandbox", found)).collect();
        if self.os.works && self.landlock.works {
            let detail = "works too; used only where namespaces are refused and `min_isolation` allows it";
            findings.push(finding("sandbox", "landlock alone", true, detail.into()));
            return findings;
        }
        let known = |found: &&sallyport_sandbox::Finding| {
            self.os.findings.iter().any(|os| os.subject == found.subject && os.detail == found.detail)
        };
        let other = self.landlock.findings.iter().filter(|found| !known(found));
        findings.extend(other.map(|found| from_probe("landlock alone", found)));
        findings
    }

    /// Whether every program of the configuration can be started; without a configuration, whether one as it comes could.
    pub(super) fn suffice(&self, plan: Option<&Plan>) -> bool {
        match programs(plan).next() {
            None => self.os.works,
            Some(_) => programs(plan).all(|program| !matches!(self.gets(program), Gets::Nothing(_))),
        }
    }

    /// One line for each server, the tenants' too.
    pub(super) fn of_servers<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = Finding> + 'a {
        plans(plan).flat_map(|plan| self.of_own_servers(plan))
    }

    fn of_own_servers<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = Finding> + 'a {
        let open = view::open_boundaries(plan);
        plan.servers.iter().map(move |(name, server)| {
            let opened = open.iter().find(|(opened, _)| opened == name).map(|(_, what)| *what);
            let gets = program(server).map(|program| self.gets(program));
            self.of_server(&called(plan, name), &server.source, gets, opened)
        })
    }

    fn of_server(&self, name: &str, source: &Source, gets: Option<Gets<'_>>, opened: Option<&'static str>) -> Finding {
        match (gets, opened) {
            (Some(Gets::Nothing(None)), _) => Finding {
                cost: Some("the server does not start".into()),
                cure: Some(self.cure(source)),
                ..finding("servers", name, false, "refused: its boundary cannot be built here".into())
            },
            (Some(Gets::Nothing(Some(missing))), _) => Finding {
                cost: Some("the server does not start".into()),
                cure: missing.cure.clone().or_else(|| Some("see above what is missing".into())),
                ..finding("servers", name, false, format!("refused: its sandbox does not work here: {}", missing.detail))
            },
            (_, Some(what)) => Finding {
                cost: Some("a hostile server reaches more of this machine".into()),
                ..finding("servers", name, false, what.into())
            },
            (Some(Gets::Landlock), None) => Finding {
                cost: Some("it sees which processes and files this machine has, but not what is in them".into()),
                ..finding("servers", name, false, "a program in the boundary landlock, without namespaces".into())
            },
            (_, None) => finding("servers", name, true, described(source).into()),
        }
    }

    /// What a program gets.
    fn gets(&self, program: &StdioPlan) -> Gets<'_> {
        if let Some((_, report)) = self.named.iter().find(|(selection, _)| *selection == program.sandbox) {
            let missing = report.findings.iter().find(|found| !found.in_force);
            return if report.works { Gets::Whole } else { Gets::Nothing(missing) };
        }
        let landlock = self.landlock.works && !matches!(program.network, Network::Only(_));
        let selection = &program.sandbox;
        match (selection.isolation(), selection.is_auto()) {
            (Isolation::Landlock, _) if landlock => Gets::Landlock,
            (Isolation::Os, true) if self.os.works => Gets::Whole,
            (Isolation::Os, true) if landlock && selection.floor() <= Isolation::Landlock => Gets::Landlock,
            (Isolation::Os, false) if selection.name() == "os" && self.os.works => Gets::Whole,
            (Isolation::Landlock, _) | (Isolation::Os, true) => Gets::Nothing(None),
            (Isolation::Os, false) if selection.name() == "os" => Gets::Nothing(None),
            _ => Gets::Whole,
        }
    }

    /// How a refused program can be started.
    fn cure(&self, source: &Source) -> String {
        let step_down = match source {
            Source::Stdio(program) if matches!(program.network, Network::Only(_)) && self.landlock.works => {
                "; without namespaces it could be started only without `network`"
            }
            Source::Stdio(program) if program.sandbox.is_auto() && self.landlock.works => {
                "; or write `min_isolation = \"landlock\"`, which is less"
            }
            _ => "",
        };
        let missing = self.os.findings.iter().find_map(|found| found.cure.as_deref().filter(|_| !found.in_force));
        format!("{}{step_down}", missing.unwrap_or("see above what is missing"))
    }
}

/// What a program is started in.
enum Gets<'a> {
    /// What it asks for.
    Whole,
    /// The step down.
    Landlock,
    /// It is refused; for a sandbox that is named, because of this.
    Nothing(Option<&'a sallyport_sandbox::Finding>),
}

fn programs(plan: Option<&Plan>) -> impl Iterator<Item = &StdioPlan> {
    plan.into_iter().flat_map(plans).flat_map(|plan| plan.servers.values()).filter_map(program)
}

/// Whether a back-end is there only for those that name it.
fn is_probed_by_name(selection: &Selection) -> bool {
    !selection.is_auto() && !matches!(selection.name(), "os" | "landlock" | "none")
}

fn program(server: &ServerPlan) -> Option<&StdioPlan> {
    match &server.source {
        Source::Stdio(program) => Some(program),
        _ => None,
    }
}

fn described(source: &Source) -> &'static str {
    match source {
        Source::Stdio(stdio) if stdio.network == Network::None => "a program in the sandbox, without network",
        Source::Stdio(_) => "a program in the sandbox, which reaches only the hosts that `network` names",
        Source::Remote(_) => "elsewhere, over HTTP",
        Source::BuiltIn(_) => "built in, confined to what it names",
    }
}

fn from_probe(area: &'static str, found: &sallyport_sandbox::Finding) -> Finding {
    Finding {
        cost: found.cost.clone().filter(|_| !found.in_force),
        cure: found.cure.clone().filter(|_| !found.in_force),
        ..finding(area, &found.subject, found.in_force, found.detail.clone())
    }
}
