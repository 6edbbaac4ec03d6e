//! From what the suite wrote to what is printed.

use std::collections::BTreeMap;

use super::checks::Report;
use super::expected::{Explanation, least};
use super::requirements::Requirements;

/// What came of one set against one pairing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Required scenarios.
    pub(crate) required: usize,
    /// Required scenarios that passed.
    pub(crate) passed: usize,
    /// What is said below the line: scenarios that are not scored, and faults.
    pub(crate) notes: Vec<String>,
    /// Scenarios that are as they should be: passed, or explained.
    pub(crate) as_they_should: usize,
    /// Scenarios that are not.
    pub(crate) faults: usize,
}

/// How one scenario went.
enum Course<'report> {
    Passed,
    /// Every check that was made passed, but so few that the scenario did not happen: how many, and how many there should be.
    Hollow(usize, usize),
    Failed(&'report [String]),
    Missing,
}

impl Verdict {
    /// Judges the reports on a set. `explanations` are those that hold for this pairing.
    pub(crate) fn of(requirements: &Requirements, reports: &[Report], explanations: &[&Explanation]) -> Self {
        let by_name: BTreeMap<&str, &Report> = reports.iter().map(|report| (report.scenario.as_str(), report)).collect();
        let course = |name: &str| course(name, by_name.get(name).copied());
        let mut verdict = Self { required: requirements.required.len(), ..Self::default() };
        for name in &requirements.required {
            match course(name) {
                Course::Passed => verdict.passed += 1,
                course => verdict.fault(name, &course),
            }
        }
        verdict.as_they_should = verdict.passed;
        let mut passing = Vec::new();
        for name in &requirements.unscored {
            let explanation = explanations.iter().find(|explanation| explanation.scenario == name);
            match (course(name), explanation) {
                (Course::Passed, None) => passing.push(name.as_str()),
                (Course::Passed, Some(_)) => verdict.complain(format!("{name} passes now: take its explanation away")),
                (Course::Failed(_) | Course::Hollow(..), Some(explanation)) => {
                    verdict.as_they_should += 1;
                    verdict.notes.push(format!("not scored, explained: {name}: {}", explanation.why));
                }
                (course, _) => verdict.fault(name, &course),
            }
        }
        verdict.as_they_should += passing.len();
        if !passing.is_empty() {
            verdict.notes.insert(0, format!("not scored, passed: {}", passing.join(", ")));
        }
        verdict
    }

    /// A pairing that could not be run at all.
    pub(crate) fn broken(why: String) -> Self {
        let mut verdict = Self::default();
        verdict.complain(why);
        verdict
    }

    fn fault(&mut self, name: &str, course: &Course<'_>) {
        match course {
            Course::Passed => {}
            Course::Missing => self.complain(format!("{name} was not run")),
            Course::Hollow(passed, least) => self.complain(format!("{name} made {passed} checks, {least} are the least")),
            Course::Failed(faults) => {
                self.complain(name.to_owned());
                self.notes.extend(faults.iter().map(|fault| format!("    {fault}")));
            }
        }
    }

    fn complain(&mut self, what: String) {
        self.faults += 1;
        self.notes.push(format!("FAILED {what}"));
    }
}

fn course<'report>(name: &str, report: Option<&'report Report>) -> Course<'report> {
    let least = least(name);
    match report {
        None => Course::Missing,
        Some(report) if !report.faults.is_empty() => Course::Failed(&report.faults),
        Some(report) if report.passed < least => Course::Hollow(report.passed, least),
        Some(_) => Course::Passed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(scenario: &str, passed: usize, faults: &[&str]) -> Report {
        Report { scenario: scenario.to_owned(), passed, faults: faults.iter().map(|&fault| fault.to_owned()).collect() }
    }

    fn verdict(required: &[&str], unscored: &[&str], reports: &[Report], explained: bool) -> Verdict {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let requirements = Requirements { required: names(required), unscored: names(unscored) };
        let explanation = Explanation { scenario: "tasks-x", behind: |_| true, why: "it cannot" };
        let explanations: &[&Explanation] = if explained { &[&explanation] } else { &[] };
        Verdict::of(&requirements, reports, explanations)
    }

    #[test]
    fn what_passed_is_counted_and_not_shown() {
        let verdict = verdict(&["caching"], &["tasks-x"], &[report("caching", 8, &[]), report("tasks-x", 2, &[])], false);
        assert_eq!((verdict.passed, verdict.required, verdict.as_they_should, verdict.faults), (1, 1, 2, 0));
        assert_eq!(verdict.notes, ["not scored, passed: tasks-x"]);
    }

    #[test]
    fn a_scenario_that_did_not_happen_has_not_passed() {
        let verdict = verdict(&["http-custom-headers", "caching"], &[], &[report("http-custom-headers", 1, &[])], false);
        assert_eq!((verdict.passed, verdict.faults), (0, 2));
        assert_eq!(verdict.notes, ["FAILED http-custom-headers made 1 checks, 18 are the least", "FAILED caching was not run"]);
    }

    #[test]
    fn a_failure_is_shown_with_its_checks() {
        let verdict = verdict(&["caching"], &["tasks-x"], &[report("caching", 9, &["a: no"]), report("tasks-x", 0, &["b: no"])], false);
        assert_eq!((verdict.passed, verdict.faults), (0, 2));
        assert_eq!(verdict.notes, ["FAILED caching", "    a: no", "FAILED tasks-x", "    b: no"]);
    }

    #[test]
    fn an_explanation_holds_until_the_scenario_passes() {
        let explained = |report| verdict(&[], &["tasks-x"], &[report], true);
        let held = explained(report("tasks-x", 0, &["b: no"]));
        assert_eq!((held.as_they_should, held.faults), (1, 0));
        assert_eq!(held.notes, ["not scored, explained: tasks-x: it cannot"]);
        let stale = explained(report("tasks-x", 3, &[]));
        assert_eq!(stale.faults, 1);
        assert_eq!(stale.notes, ["FAILED tasks-x passes now: take its explanation away"]);
    }

    #[test]
    fn a_required_scenario_cannot_be_explained_away() {
        let verdict = verdict(&["tasks-x"], &[], &[report("tasks-x", 0, &["b: no"])], true);
        assert_eq!((verdict.passed, verdict.faults), (0, 1));
    }
}
