//! Where an installation of an image may go: to the registry that the user names, and to where that leads, but not into a network that the
//! registry itself is not in.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url, redirect};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::lookup_host;

use super::Error;
use super::credentials::Places;
use crate::egress::is_public;
use crate::install::reference::Reference;

/// For how long a name may take to become a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// For how long a connection may be silent; the installation as a whole has its own limit.
const SILENCE: Duration = Duration::from_secs(60);

/// How near an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Public,
    /// Of one's own network.
    Private,
    Loopback,
    /// The link's, a cloud's metadata, and what else nobody serves images from.
    Other,
}

fn nearness(address: IpAddr) -> Nearness {
    let address = address.to_canonical();
    let is_private = match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    };
    match (is_public(address), address.is_loopback(), is_private) {
        (true, ..) => Nearness::Public,
        (_, true, _) => Nearness::Loopback,
        (_, _, true) => Nearness::Private,
        _ => Nearness::Other,
    }
}

/// The registry's own place, and how near others may be.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    base: Url,
    /// Where the registry was when this began: a name that is another address a moment later gains nothing.
    addresses: Vec<SocketAddr>,
    near: Nearness,
}

impl Reach {
    /// Finds the registry.
    ///
    /// # Errors
    /// When its name cannot be resolved.
    pub(super) async fn of(reference: &Reference, places: &Places) -> Result<Self, Error> {
        let host = reference.host();
        let failed = |why: &dyn std::fmt::Display| Error::new(format!("registry {host} cannot be found: {why}"));
        let https = Url::parse(&format!("https://{host}/")).map_err(|error| failed(&error))?;
        let (name, port) = (https.host_str().unwrap_or_default(), https.port_or_known_default().unwrap_or(443));
        let plain_by_setting = places.say_insecure(reference)?;
        let found: Vec<SocketAddr> = lookup_host((name, port)).await.map_err(|error| failed(&error).with_hint(UNREACHABLE))?.collect();
        // A name that only happens to lead here would have credentials shown to whoever listens.
        let is_loopback = is_this_machine(name) && found.iter().all(|address| address.ip().is_loopback());
        let scheme = if is_loopback || plain_by_setting { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{host}/")).map_err(|error| failed(&error))?;
        Self::at(base, &found).ok_or_else(|| failed(&"its name has no address").with_hint(UNREACHABLE))
    }

    /// A registry whose name has these addresses. Of some that are near and some that are not the farthest count alone: whoever runs a public
    /// name could lead into one's own network by one more address.
    fn at(base: Url, found: &[SocketAddr]) -> Option<Self> {
        let near = found.iter().map(|address| nearness(address.ip())).min()?;
        let as_near = found.iter().filter(|address| nearness(address.ip()) == near);
        Some(Self { base, addresses: as_near.map(|address| SocketAddr::new(address.ip(), 0)).collect(), near })
    }

    /// Where the registry is asked.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// Whether `url` is the registry itself, who alone is shown what it gave or was given.
    pub(super) fn is_registry(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// Says whether a request may go to `url`, which the registry has named.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(&self, url: &Url) -> Result<(), Error> {
        let refused = |why: &str| Err(Error::new(format!("the registry leads to {}, which is not asked: {why}", shown(url))));
        if url.scheme() != "https" && (url.scheme() != "http" || self.base.scheme() != "http") {
            return refused("it has to be https");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("it holds a user's name or password");
        }
        let text = url.host_str().unwrap_or_default();
        let address = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        match address {
            Some(address) if !self.is_registry(url) && !self.permits(address) => refused(NOT_THERE),
            _ if text.is_empty() => refused("it names no host"),
            _ => Ok(()),
        }
    }

    /// Whether others may be at this address: on the internet, or as near as the registry itself.
    fn permits(&self, address: IpAddr) -> bool {
        match nearness(address) {
            Nearness::Public => true,
            Nearness::Other => false,
            near => self.near == near,
        }
    }

    /// Who asks. Names are resolved once, looked at, and dialled as they are; no redirect is followed by itself.
    ///
    /// # Errors
    /// Where there is no TLS.
    pub(super) fn client(&self) -> Result<Client, Error> {
        let built = Client::builder()
            .tls_backend_preconfigured(tls()?)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .dns_resolver(Arc::new(Permitted(self.clone())))
            .user_agent(concat!("sallyport/", env!("CARGO_PKG_VERSION")))
            .build();
        built.map_err(|error| Error::new(format!("no HTTP: {error}")))
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

const NOT_THERE: &str = "its address is not public, nor as near as the registry's own";

pub(super) const UNREACHABLE: &str = "look at the network and at the registry's name; once installed, it starts without";

/// A URL without its query, which may be a secret.
fn shown(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())
}

/// Trusts what the system trusts (or `SSL_CERT_FILE`, `SSL_CERT_DIR`).
fn tls() -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Error::new(format!("no TLS: {error}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

struct Permitted(Reach);

impl Resolve for Permitted {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0.clone();
        Box::pin(async move {
            if reach.base.host_str().is_some_and(|host| host.eq_ignore_ascii_case(name.as_str())) {
                return Ok(Box::new(reach.addresses.into_iter()) as Addrs);
            }
            let found: Vec<SocketAddr> = lookup_host((name.as_str(), 0)).await?.collect();
            // One that has another beside them is made to be tried until it leads inside.
            if found.is_empty() || !found.iter().all(|address| reach.permits(address.ip())) {
                return Err(format!("{} is not asked: {NOT_THERE}", name.as_str()).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn reach(base: &str, addresses: &[&str]) -> Reach {
        let addresses: Vec<SocketAddr> = addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 443)).collect();
        Reach::at(Url::parse(base).unwrap(), &addresses).unwrap()
    }

    fn allows(reach: &Reach, url: &str) -> bool {
        reach.check(&Url::parse(url).unwrap()).is_ok()
    }

    const METADATA: [&str; 4] = ["https://169.254.169.254/", "https://[fe80::1]/", "https://0.0.0.0/", "https://100.100.100.200/"];

    #[test]
    fn a_public_registry_leads_to_the_internet_alone() {
        let public = reach("https://registry.example.com/", &["93.184.215.14"]);
        assert!(allows(&public, "https://1.1.1.1/blob") && allows(&public, "https://cdn.example.com/blob?signature=x"));
        for url in ["https://10.0.0.1/", "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://[fd00::1]/"] {
            assert!(!allows(&public, url), "{url}");
        }
        assert!(!allows(&public, "http://1.1.1.1/") && !allows(&public, "http://registry.example.com/"));
        assert!(!allows(&public, "https://me:x@1.1.1.1/") && !allows(&public, "file:///etc/passwd") && !allows(&public, "ftp://1.1.1.1/"));
        assert!(METADATA.iter().all(|url| !allows(&public, url)));
    }

    #[test]
    fn one_in_ones_own_network_leads_there_too_and_no_nearer() {
        let private = reach("https://registry.internal/", &["10.0.0.1"]);
        assert!(allows(&private, "https://10.9.0.1/") && allows(&private, "https://192.168.1.1/") && allows(&private, "https://1.1.1.1/"));
        assert!(!allows(&private, "https://127.0.0.1/") && METADATA.iter().all(|url| !allows(&private, url)));
        let own = reach("http://localhost:5000/", &["127.0.0.1", "::1"]);
        assert!(allows(&own, "http://127.0.0.1:9000/") && allows(&own, "https://1.1.1.1/"));
        assert!(!allows(&own, "http://10.0.0.1/") && METADATA.iter().all(|url| !allows(&own, url)));
    }

    #[tokio::test]
    async fn of_public_and_private_addresses_of_one_name_the_private_ones_are_not_dialled() {
        let dialled = async |addresses: &[&str]| {
            let mixed = reach("https://registry.example.com/", addresses);
            let near = allows(&mixed, "https://10.9.0.1/");
            let found = Permitted(mixed).resolve("registry.example.com".parse().unwrap()).await.unwrap();
            (found.map(|address| address.ip().to_string()).collect::<Vec<_>>(), near)
        };
        let public = "93.184.215.14";
        for others in [["10.0.0.1", "fd00::1"], ["127.0.0.1", "::1"], ["169.254.169.254", "::ffff:10.0.0.1"]] {
            assert_eq!(dialled(&[others[0], public, others[1]]).await, (vec![public.to_owned()], false), "{others:?}");
        }
        assert_eq!(dialled(&["10.0.0.1", "127.0.0.1", "169.254.169.254"]).await, (vec!["10.0.0.1".to_owned()], true));
        assert!(Reach::at(Url::parse("https://registry.example.com/").unwrap(), &[]).is_none());
    }

    #[tokio::test]
    async fn only_this_machine_by_its_own_name_speaks_plain_http() {
        let places = Places::nowhere();
        for (name, scheme) in [("localhost:5000/x", "http"), ("127.0.0.1:5000/x", "http"), ("10.0.0.1/x", "https"), ("1.1.1.1/x", "https")]
        {
            let found = Reach::of(&Reference::read(name).unwrap(), &places).await.unwrap();
            assert_eq!(found.base().scheme(), scheme, "{name}");
        }
        assert!(!is_this_machine("localhost.example.com") && !is_this_machine("registry.example.com"));
    }

    #[tokio::test]
    async fn names_are_judged_by_where_they_lead() {
        let ask = async |reach: &Reach, name: &str| Permitted(reach.clone()).resolve(name.parse().unwrap()).await.map(Iterator::count);
        let public = reach("https://registry.example.com/", &["93.184.215.14"]);
        assert!(ask(&public, "localhost").await.unwrap_err().to_string().contains("not public"));
        assert_eq!(ask(&public, "registry.example.com").await.unwrap(), 1, "where it was when this began");
        assert!(ask(&reach("http://127.0.0.1:5000/", &["127.0.0.1", "::1"]), "localhost").await.unwrap() > 0);
    }
}
