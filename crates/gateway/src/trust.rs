//! Whose word is taken for who calls: from the configuration to what recognises callers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sallyport_identity::Identity;
use sallyport_identity::api_keys::ApiKeys;
use sallyport_identity::authorization_server::{AuthorizationServer, ConfiguredClient, Resources, Settings};
use sallyport_identity::certificates::Certificates;
use sallyport_identity::fetch::Fetcher;
use sallyport_identity::resource_server::introspection::Introspection;
use sallyport_identity::resource_server::key_source::KeySource;
use sallyport_identity::resource_server::remote_issuer::RemoteIssuer;
use sallyport_identity::resource_server::resource::{METADATA, endpoint_of, metadata, usual_scope};
use sallyport_identity::resource_server::{ResourceServer, Terms, TrustedIssuer};
use sallyport_policy::Scopes;
use sallyport_protocol::Endpoint;
use sallyport_secrets::{Secret, SecretReference};
use sallyport_store::Store;
use sallyport_telemetry::state_folder::private_folder;
use sha2::{Digest as _, Sha256};

use crate::build::{BuildError, Fault};
use crate::gateway::Gateway;
use crate::plan::{IssuerPlan, Plan};
use crate::upstream::Surroundings;

/// What recognises callers, and the issuers behind it by name.
pub(crate) struct Trust {
    pub(crate) identity: Identity,
    pub(crate) issuers: BTreeMap<String, RemoteIssuer>,
    /// The authorization server inside the gateway.
    pub(crate) server: Option<AuthorizationServer>,
}

/// Makes what a configuration says. What is known of the issuers of `before` stays known.
pub(crate) fn build(plan: &Plan, surroundings: &Surroundings, before: &BTreeMap<String, RemoteIssuer>) -> Result<Trust, BuildError> {
    let keys = secrets(plan.keys.iter())?;
    let issuers = issuers(plan, before)?;
    let own = own_server(plan, surroundings)?;
    // That of a tenant takes credentials also where it knows of none: what it says to a stranger must not tell which ones there are.
    let takes_more = plan.tenant.is_some() || plan.identity.api_keys || !plan.identity.issuers.is_empty() || own.is_some();
    let server = takes_more.then(|| resource_server(plan, surroundings, &issuers, own.as_ref())).transpose()?.map(Arc::new);
    let identity = Identity::new(plan.tenant_name(), keys, server).map_err(|invalid| BuildError {
        faults: invalid.into_iter().map(|key| Fault { message: key.to_string(), hint: Some(key.hint().to_string()) }).collect(),
    })?;
    let identity = identity.with_certificates(Certificates::new(plan.tenant_name(), plan.identity.certificates.clone()));
    Ok(Trust { identity, issuers, server: own })
}

/// What references stand for, each with its own name.
fn secrets<'a>(references: impl Iterator<Item = &'a SecretReference>) -> Result<Vec<(String, Secret)>, BuildError> {
    let (mut secrets, mut faults) = (Vec::new(), Vec::new());
    for reference in references {
        match sallyport_secrets::resolve(reference) {
            Ok(secret) => secrets.push((reference.to_string(), secret)),
            Err(error) => faults.push(Fault { message: error.to_string(), hint: Some(error.hint()) }),
        }
    }
    if faults.is_empty() { Ok(secrets) } else { Err(BuildError { faults }) }
}

fn issuers(plan: &Plan, before: &BTreeMap<String, RemoteIssuer>) -> Result<BTreeMap<String, RemoteIssuer>, BuildError> {
    if plan.identity.issuers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let tls = sallyport_transport::client::system_tls().map_err(|why| unusable(&why, None))?;
    let fetcher = Fetcher::new(&tls).map_err(|error| unusable(&error, None))?;
    let issuer = |issuer: &IssuerPlan| {
        let name = issuer.terms.issuer.clone();
        let known = before.get(&name).cloned().unwrap_or_else(|| RemoteIssuer::new(name.clone(), fetcher.clone()));
        (name, known)
    };
    Ok(plan.identity.issuers.iter().map(issuer).collect())
}

fn resource_server(
    plan: &Plan,
    surroundings: &Surroundings,
    remote: &BTreeMap<String, RemoteIssuer>,
    own: Option<&AuthorizationServer>,
) -> Result<ResourceServer, BuildError> {
    let mut issuers = Vec::new();
    if let (Some(own), Some(public)) = (own, &plan.public_url) {
        let terms = Terms { tenant: plan.tenant.clone(), groups: None, ..Terms::new(public.to_string()) };
        issuers.push(TrustedIssuer { terms, keys: Arc::new(own.clone()), introspection: None });
    }
    for issuer in &plan.identity.issuers {
        let Some(remote) = remote.get(&issuer.terms.issuer) else { continue };
        let introspection = issuer.introspection.as_ref().map(|(id, reference)| introspection(remote, id, reference)).transpose()?;
        issuers.push(TrustedIssuer { terms: issuer.terms.clone(), keys: Arc::new(remote.clone()), introspection });
    }
    let api_keys =
        plan.identity.api_keys.then(|| open_store(surroundings)).transpose()?.map(|store| ApiKeys::new(store, plan.tenant_name()));
    Ok(ResourceServer::new(plan.public_url.clone(), issuers, api_keys))
}

/// The authorization server inside the gateway, or the tenant's, where there is to be one.
fn own_server(plan: &Plan, surroundings: &Surroundings) -> Result<Option<AuthorizationServer>, BuildError> {
    let (Some(server), Some(public)) = (&plan.identity.server, &plan.public_url) else { return Ok(None) };
    let tls = sallyport_transport::client::system_tls().map_err(|why| unusable(&why, None))?;
    let fetcher = Fetcher::new(&tls).map_err(|error| unusable(&error, None))?;
    let clients = server.clients.iter().map(|client| {
        let secret = secrets(client.secret.iter())?.pop();
        let secret = secret.map(|(_, secret)| Sha256::digest(secret.expose()).into());
        Ok(ConfiguredClient { secret, ..client.client.clone() })
    });
    let providers = server.providers.iter().map(|name| {
        let provider: Arc<dyn KeySource> = Arc::new(RemoteIssuer::new(name.clone(), fetcher.clone()));
        (name.clone(), provider)
    });
    let settings = Settings {
        issuer: public.to_string(),
        tenant: plan.tenant_name().to_owned(),
        algorithm: server.algorithm,
        access_life: server.access_life,
        access_lives: server.access_lives.clone(),
        refresh_life: server.refresh_life,
        registration: server.registration,
        clients: clients.collect::<Result<_, BuildError>>()?,
        resources: endpoints(plan),
        providers: providers.collect(),
        sign_ins: server.sign_ins.clone(),
    };
    let made = AuthorizationServer::new(settings, open_store(surroundings)?, fetcher);
    made.map(Some).ok_or_else(|| unusable(&"the public URL is no URL", None))
}

/// The endpoints of a configuration, each with the scope that a client gets there that asks for none.
fn endpoints(plan: &Plan) -> Resources {
    let servers: BTreeSet<String> = plan.servers.keys().cloned().collect();
    let toolsets: BTreeSet<String> = plan.toolsets.keys().cloned().collect();
    Arc::new(move |path| {
        let endpoint = endpoint_of(path)?;
        let is_there = match &endpoint {
            Endpoint::All => true,
            Endpoint::Server(name) => servers.contains(&**name),
            Endpoint::Toolset(name) => toolsets.contains(&**name),
        };
        is_there.then(|| Scopes::parse(usual_scope(&endpoint)))?
    })
}

fn introspection(issuer: &RemoteIssuer, id: &str, reference: &SecretReference) -> Result<Introspection, BuildError> {
    let secrets = secrets(std::iter::once(reference))?;
    let made = secrets.first().and_then(|(_, secret)| Introspection::new(issuer.clone(), id, secret));
    made.ok_or_else(|| unusable(&format!("`{reference}` does not fit into a header"), None))
}

fn open_store(surroundings: &Surroundings) -> Result<Store, BuildError> {
    private_folder(&surroundings.folders.state).map_err(|error| unusable(&error, Some(error.hint())))?;
    Store::open(&surroundings.folders.store_file()).map_err(|error| unusable(&error, error.hint().map(str::to_owned)))
}

fn unusable(what: &dyn std::fmt::Display, hint: Option<String>) -> BuildError {
    BuildError { faults: vec![Fault { message: what.to_string(), hint }] }
}

impl Gateway {
    /// The authorization server inside the gateway, where there is one.
    #[must_use]
    pub fn authorization_server(&self) -> Option<AuthorizationServer> {
        self.0.parts.load().authorization_server.clone()
    }

    /// Looks after its own authorization server and those of the tenants: before the first request, and then every minute.
    ///
    /// # Errors
    /// What cannot be done, and whose it is; the others are looked after.
    pub async fn tend(&self) -> Result<(), String> {
        let mut failed = Vec::new();
        for gateway in std::iter::once(self.clone()).chain(self.tenants()) {
            let Some(server) = gateway.authorization_server() else { continue };
            if let Err(why) = server.tend().await {
                failed.push(match &gateway.plan().tenant {
                    Some(name) => format!("tenant `{name}`: {why}"),
                    None => why,
                });
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    /// The document at `path`, where that is one of protected resources (RFC 9728) and tokens are taken. Without a path behind it, it is
    /// of the endpoint of everything.
    #[must_use]
    pub fn resource_metadata(&self, path: &str) -> Option<String> {
        let (gateway, tenant, path) = self.of_resource(path.strip_prefix(METADATA)?)?;
        let endpoint = match path {
            "" | "/" => Endpoint::All,
            path => endpoint_of(path)?,
        };
        let parts = gateway.0.parts.load();
        let server = parts.identity.resource_server().filter(|server| server.issuers().next().is_some())?;
        let public = tenant.map_or_else(|| server.public().cloned(), |tenant| Some(server.public()?.of_tenant(tenant)))?;
        Some(metadata(&public, &endpoint, server.issuers(), server.asks_for_scopes()).to_string())
    }
}
