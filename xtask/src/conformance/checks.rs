//! What the suite wrote about one scenario.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::requirements::Role;
use crate::repository::Outcome;

/// One scenario as it was run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// Its name.
    pub(crate) scenario: String,
    /// How many of its checks passed.
    pub(crate) passed: usize,
    /// What did not, a line each.
    pub(crate) faults: Vec<String>,
}

/// One check of a scenario.
#[derive(Debug, Deserialize)]
struct Check {
    id: String,
    status: Status,
    description: String,
    #[serde(rename = "errorMessage")]
    error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Success,
    Failure,
    /// A SHOULD that was not kept: no conformant peer has one, so it counts as a failure here.
    Warning,
    Skipped,
    Info,
}

impl Report {
    /// The reports on a role in the folder that the suite was told to write to.
    pub(crate) fn read_all(folder: &Path, role: Role) -> Outcome<Vec<Self>> {
        let mut reports = Self::read_group(folder, "", role)?;
        let group = folder.join("auth"); // these scenarios have a slash in their names
        if group.is_dir() {
            reports.extend(Self::read_group(&group, "auth/", role)?);
        }
        Ok(reports)
    }

    fn read_group(folder: &Path, group: &str, role: Role) -> Outcome<Vec<Self>> {
        let entries = fs::read_dir(folder).map_err(|error| format!("could not read {}: {error}", folder.display()))?;
        entries
            .filter_map(Result::ok)
            .filter_map(|entry| Some((scenario_of(entry.file_name().to_str()?, role)?, entry.path().join("checks.json"))))
            .map(|(scenario, path)| Self::read(format!("{group}{scenario}"), &path))
            .collect()
    }

    fn read(scenario: String, path: &Path) -> Outcome<Self> {
        // A scenario that the suite itself could not run to its end leaves an empty folder.
        let Ok(text) = fs::read_to_string(path) else {
            return Ok(Self { scenario, passed: 0, faults: vec!["the suite broke the scenario off".to_owned()] });
        };
        let checks: Vec<Check> = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self::of(scenario, checks))
    }

    fn of(scenario: String, checks: Vec<Check>) -> Self {
        let passed = checks.iter().filter(|check| check.status == Status::Success).count();
        let faults = checks.into_iter().filter(|check| matches!(check.status, Status::Failure | Status::Warning));
        Self { scenario, passed, faults: faults.map(|check| check.told()).collect() }
    }
}

impl Check {
    fn told(self) -> String {
        let what = self.error.unwrap_or(self.description);
        format!("{}: {}", self.id, what.replace('\n', " "))
    }
}

/// The suite's folders are called `<role>-<scenario>-<time>`, those of clients `<scenario>-<time>`, the time being of this length.
fn scenario_of(folder: &str, role: Role) -> Option<String> {
    const TIME: usize = "-2026-01-01T00-00-00-000Z".len();
    let name = folder.get(..folder.len().checked_sub(TIME)?)?;
    let name = match role {
        Role::Client => name,
        _ => name.strip_prefix(role.name())?.strip_prefix('-')?,
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_and_warnings_are_faults_and_skips_are_neither() {
        let text = r#"[
            {"id":"a","status":"SUCCESS","description":"d","timestamp":"t"},
            {"id":"b","status":"FAILURE","description":"d","errorMessage":"one\ntwo"},
            {"id":"c","status":"WARNING","description":"should"},
            {"id":"d","status":"SKIPPED","description":"d"},
            {"id":"e","status":"INFO","description":"d","details":{}}
        ]"#;
        let report = Report::of("s".to_owned(), serde_json::from_str(text).expect("the sample parses"));
        assert_eq!(report, Report { scenario: "s".to_owned(), passed: 1, faults: vec!["b: one two".to_owned(), "c: should".to_owned()] });
    }

    #[test]
    fn a_folder_is_named_after_its_scenario() {
        assert_eq!(scenario_of("tools_call-2026-11-22T13-26-12-123Z", Role::Client).as_deref(), Some("tools_call"));
        assert_eq!(scenario_of("server-server-stateless-2026-11-22T13-26-12-123Z", Role::Server).as_deref(), Some("server-stateless"));
        let grant = "authorization-server-authorization-code-grant-2026-11-22T13-26-12-123Z";
        assert_eq!(scenario_of(grant, Role::AuthorizationServer).as_deref(), Some("authorization-code-grant"));
        assert_eq!(scenario_of("gateway", Role::Client), None);
    }
}
