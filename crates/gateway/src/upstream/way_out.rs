//! What all credentials towards servers share: the client that asks for tokens, the vault, the gateway's own address.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use sallyport_identity::fetch::Fetcher;
use sallyport_identity::upstream::{Around, Logins, Vault, now};
use sallyport_protocol::{RawJson, RawObject};
use sallyport_secrets::SecretReference;
use sallyport_store::{Store, StoreError};
use sallyport_telemetry::Folders;
use sallyport_telemetry::state_folder::private_folder;
use sallyport_transport::client::system_tls;
use url::Url;

use crate::upstream::health::Outage;

/// The tool of a server that asks its user to grant access. It stays answered once access is granted, since clients call it again then.
pub(crate) const CONNECT_TOOL: &str = "sallyport_connect";
/// What that tool takes: nothing.
pub(crate) const CONNECT_SCHEMA: &str = r#"{"type":"object"}"#;

/// That tool of `server`, as it is listed.
pub(crate) fn connect_tool(server: &str) -> RawJson {
    let text = format!(
        "Asks the user to grant access to `{server}`. Its own tools are listed once they have. Call this when the user wants something from it."
    );
    let mut tool = RawObject::new();
    tool.set("name", RawJson::string(CONNECT_TOOL));
    tool.set("description", RawJson::string(&text));
    tool.set("inputSchema", RawJson::from_static(CONNECT_SCHEMA));
    tool.set("annotations", RawJson::from_static(r#"{"readOnlyHint":true,"openWorldHint":false}"#));
    tool.to_json()
}

/// Made as it is needed: a gateway without such servers opens no store.
pub struct WayOut {
    folders: Folders,
    around: Mutex<Option<Around>>,
    logins: Mutex<Option<Logins>>,
    base: OnceLock<Url>,
    /// What the vault's keys are, where the configuration says it.
    keys: OnceLock<Option<SecretReference>>,
    /// What the paths of its pages begin with: nothing, or `/t/NAME`.
    path: String,
}

impl WayOut {
    /// The way out of a gateway that keeps its state in these folders.
    #[must_use]
    pub fn new(folders: &Folders) -> Self {
        let (around, logins) = (Mutex::default(), Mutex::default());
        Self { folders: folders.clone(), around, logins, base: OnceLock::new(), keys: OnceLock::new(), path: String::new() }
    }

    /// The way out of a tenant, whose pages are below its own path at the address of `gateway`.
    pub(crate) fn of_tenant(name: &str, folders: &Folders, gateway: &Self) -> Self {
        Self { path: format!("/t/{name}"), base: gateway.base.clone(), ..Self::new(folders) }
    }

    /// The way out of the tenant that there is not, whose vault nothing is ever put into: to look there for what is not there takes the
    /// steps that it takes at a tenant.
    pub(crate) fn of_nobody(folders: &Folders, gateway: &Self) -> Self {
        let folders = Folders { state: folders.state.join("nobody"), ..folders.clone() };
        Self { path: "/t/-".to_owned(), ..Self::of_tenant("", &folders, gateway) }
    }

    /// Takes note of where browsers reach the gateway: scheme, host and port. The first word holds: an issuer knows it.
    pub fn reached_at(&self, base: Url) {
        let _ = self.base.set(base);
    }

    /// Takes note of where the vault's keys are. The first word holds: what is sealed with them is in use.
    pub(crate) fn sealed_with(&self, keys: Option<SecretReference>) {
        let _ = self.keys.set(keys);
    }

    /// The page that a user is sent to for the login `id`; `None` where no browser reaches this gateway.
    pub(crate) fn link(&self, id: &str) -> Option<String> {
        self.base.get()?.join(&format!("{}/connect/{id}", self.path)).ok().map(String::from)
    }

    /// The page on which the approval with this handle is decided; `None` where no browser reaches this gateway.
    pub(crate) fn approval_page(&self, handle: &str) -> Option<String> {
        self.base.get()?.join(&format!("{}/approvals/{handle}", self.path)).ok().map(String::from)
    }

    /// Where issuers send browsers back to.
    #[must_use]
    pub fn callback(&self) -> Option<Url> {
        self.base.get()?.join(&format!("{}/connect/callback", self.path)).ok()
    }

    pub(crate) fn around(&self) -> Result<Around, Outage> {
        let mut made = self.around.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(around) = &*made {
            return Ok(around.clone());
        }
        let fetcher = system_tls().and_then(|tls| Fetcher::new(&tls).map_err(|error| error.to_string()));
        let around = Around { fetcher: fetcher.map_err(Outage::new)?, clock: now };
        *made = Some(around.clone());
        Ok(around)
    }

    /// Logins, and the vault that they end in.
    ///
    /// # Errors
    /// Where the store cannot be opened.
    pub fn logins(&self) -> Result<Logins, Outage> {
        let around = self.around()?;
        let mut made = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(logins) = &*made {
            return Ok(logins.clone());
        }
        let logins = Logins::new(vault(&self.folders, self.keys.get().cloned().flatten())?, around);
        *made = Some(logins.clone());
        Ok(logins)
    }
}

/// The vault of a gateway that keeps its state in these folders: with keys of its own there, or with those of a reference.
///
/// # Errors
/// Where the store cannot be opened.
pub fn vault(folders: &Folders, keys: Option<SecretReference>) -> Result<Vault, Outage> {
    let store = open_store(folders)?;
    Ok(match keys {
        Some(reference) => Vault::with_keys_of(store, reference),
        None => Vault::new(store, folders.state.join("vault.key")),
    })
}

/// The store of a gateway that keeps its state in these folders.
///
/// # Errors
/// Where it cannot be opened.
pub(crate) fn open_store(folders: &Folders) -> Result<Store, Outage> {
    private_folder(&folders.state).map_err(|error| Outage { hint: Some(error.hint()), ..Outage::new(error.to_string()) })?;
    Store::open(&folders.store_file()).map_err(of_store)
}

/// Why the store is of no use.
pub(crate) fn of_store(error: StoreError) -> Outage {
    Outage { hint: error.hint().map(str::to_owned), ..Outage::new(error.to_string()) }
}

impl fmt::Debug for WayOut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("WayOut").field("base", &self.base.get()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_tenants_pages_are_below_its_own_path() {
        let folders = Folders { state: "/s".into(), cache: "/c".into(), config: "/g".into() };
        let gateway = WayOut::new(&folders);
        gateway.reached_at(Url::parse("https://mcp.example.com").unwrap());
        let tenant = WayOut::of_tenant("acme", &folders.of_tenant("acme"), &gateway);
        assert_eq!(gateway.link("x").unwrap(), "https://mcp.example.com/connect/x");
        assert_eq!(tenant.link("x").unwrap(), "https://mcp.example.com/t/acme/connect/x");
        assert_eq!(tenant.callback().unwrap().as_str(), "https://mcp.example.com/t/acme/connect/callback");
        assert_eq!(WayOut::of_nobody(&folders, &gateway).folders.state, std::path::Path::new("/s/nobody"));
    }
}
