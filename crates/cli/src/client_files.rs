//! Where clients keep their configurations.

use std::path::PathBuf;

use sallyport_gateway::config::Invocation;

use crate::arguments::Client;

/// The folders that clients' files lie in.
#[derive(Debug)]
pub(crate) struct ClientFiles<'i> {
    invocation: &'i Invocation,
    home: PathBuf,
    /// Where programs with windows keep what is the user's.
    applications: PathBuf,
    config: PathBuf,
}

impl<'i> ClientFiles<'i> {
    /// The folders of this user. `None` without a home folder.
    pub(crate) fn of(invocation: &'i Invocation) -> Option<Self> {
        let home = folder(invocation, "HOME")?;
        let config = folder(invocation, "XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let applications = if cfg!(target_os = "macos") { home.join("Library/Application Support") } else { config.clone() };
        Some(Self { invocation, home, applications, config })
    }

    /// The user's own file of `client`.
    pub(crate) fn own(&self, client: Client) -> PathBuf {
        match client {
            Client::ClaudeCode => folder(self.invocation, "CLAUDE_CONFIG_DIR").unwrap_or_else(|| self.home.clone()).join(".claude.json"),
            Client::ClaudeDesktop => self.applications.join("Claude/claude_desktop_config.json"),
            Client::Cursor => self.home.join(".cursor/mcp.json"),
            Client::VsCode => self.applications.join("Code/User/mcp.json"),
            Client::Codex => folder(self.invocation, "CODEX_HOME").unwrap_or_else(|| self.home.join(".codex")).join("config.toml"),
            Client::Zed => self.config.join("zed/settings.json"),
        }
    }

    /// The file of `client` in the working directory, where the client looks for one.
    pub(crate) fn of_project(&self, client: Client) -> Option<PathBuf> {
        let name = match client {
            Client::ClaudeCode => ".mcp.json",
            Client::ClaudeDesktop => return None,
            Client::Cursor => ".cursor/mcp.json",
            Client::VsCode => ".vscode/mcp.json",
            Client::Codex => ".codex/config.toml",
            Client::Zed => ".zed/settings.json",
        };
        Some(self.invocation.folder.join(name))
    }

    /// Every file in which `client` may name servers, whether it is there or not.
    pub(crate) fn all(&self, client: Client) -> Vec<PathBuf> {
        let mut files = vec![self.own(client)];
        if client == Client::VsCode {
            files.push(self.applications.join("Code/User/settings.json")); // before VS Code 1.102
        }
        files.extend(self.of_project(client));
        files
    }
}

fn folder(invocation: &Invocation, variable: &str) -> Option<PathBuf> {
    (invocation.variables)(variable).map(PathBuf::from).filter(|folder| folder.is_absolute())
}
