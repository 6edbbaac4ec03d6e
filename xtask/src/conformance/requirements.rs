//! What a revision requires, as the suite's own frozen lists say.

use std::fs;
use std::path::Path;

use crate::repository::Outcome;

/// Which side of the gateway is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The gateway's endpoint, with the suite as its client.
    Server,
    /// The gateway's upstream side, with the suite's mock server behind it.
    Client,
    /// The gateway's own authorization server, with the suite as a client of it.
    AuthorizationServer,
}

impl Role {
    /// The suite's word for it: a key in its lists, and what the folders of some reports begin with.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::AuthorizationServer => "authorization-server",
        }
    }
}

/// The scenarios of one revision and role.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Requirements {
    /// Those that count.
    pub(crate) required: Vec<String>,
    /// Those that are run and reported: extensions, pending ones, and ones of later releases.
    pub(crate) unscored: Vec<String>,
}

impl Requirements {
    /// Reads `requirements/<revision>.yaml` of the suite installed at `package`.
    pub(crate) fn read(package: &Path, revision: &str, role: Role) -> Outcome<Self> {
        let path = package.join("requirements").join(revision).with_extension("yaml");
        let text = fs::read_to_string(&path).map_err(|error| format!("could not read {}: {error}", path.display()))?;
        let requirements = Self::parse(&text, role);
        if requirements.required.is_empty() { Err(format!("{} requires nothing", path.display())) } else { Ok(requirements) }
    }

    /// Everything that is run.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.required.iter().chain(&self.unscored).map(String::as_str)
    }

    /// The lists are flat, so their lines can be read one by one: `server:` and `client:` head lists of names, `not_scored:` one of
    /// entries, whose `scenario` comes before its `leg`.
    fn parse(text: &str, role: Role) -> Self {
        let mut requirements = Self::default();
        let (mut heading, mut entry) = ("", "");
        for line in text.lines() {
            let item = line.trim_start().trim_start_matches("- ").trim();
            if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with([' ', '#'])) {
                heading = name;
            } else if heading == "not_scored" {
                match item.split_once(": ") {
                    Some(("scenario", name)) => entry = name,
                    Some(("leg", leg)) if leg == role.name() => requirements.unscored.push(entry.to_owned()),
                    _ => {}
                }
            } else if heading == role.name() && line.starts_with("  - ") {
                requirements.required.push(item.to_owned());
            }
        }
        requirements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_a_role_are_found() {
        let text = "\
# Lists:
#   server: - not this
server:
  - ping
  - tools-list

client:
  - initialize
  - auth/basic-cimd

not_scored:
  - scenario: tasks-lifecycle
    leg: server
    reason: extension
    note: >-
      pending: run for visibility
  - scenario: auth/dpop
    leg: client
    reason: extension
";
        let server = Requirements::parse(text, Role::Server);
        assert_eq!(
            (server.required, server.unscored),
            (vec!["ping".to_owned(), "tools-list".to_owned()], vec!["tasks-lifecycle".to_owned()])
        );
        let client = Requirements::parse(text, Role::Client);
        assert_eq!(
            (client.required, client.unscored),
            (vec!["initialize".to_owned(), "auth/basic-cimd".to_owned()], vec!["auth/dpop".to_owned()])
        );
    }
}
