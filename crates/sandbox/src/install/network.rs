//! The only network of an installation: the registries that the user's own settings name, and the proxies on the way to them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tokio::net::lookup_host;

use super::Source;
use super::nearness::Nearness;
use super::settings::Settings;
use crate::egress::{Allowed, Block, Destination, Hosts, Name};
use crate::profile::Network;

/// A host that a setting names, with its port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Remote {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Where the packages of an index lie that has them elsewhere.
const FILES_OF: &[(&str, &str)] =
    &[("pypi.org", "files.pythonhosted.org"), ("test.pypi.org", "test-files.pythonhosted.org"), ("index.crates.io", "static.crates.io")];

impl Source {
    /// The registry that its package managers use when no setting names another. An image names its own.
    fn registry(self) -> Option<&'static str> {
        match self {
            Self::Npm => Some("registry.npmjs.org"),
            Self::PyPi => Some("pypi.org"),
            Self::Cargo => Some("index.crates.io"),
            Self::Oci => None,
        }
    }
}

impl Remote {
    /// All hosts of the `http://` and `https://` URLs in `text`.
    pub(super) fn all_in(text: &str) -> impl Iterator<Item = Self> {
        let schemes = [("http://", 80), ("https://", 443)];
        schemes.into_iter().flat_map(move |(scheme, port)| text.split(scheme).skip(1).filter_map(move |rest| Self::read(rest, port)))
    }

    /// `[USER[:PASSWORD]@]HOST[:PORT]` at the start of `text`.
    pub(super) fn read(text: &str, usual_port: u16) -> Option<Self> {
        let end = text.find(|character: char| "/?#\"' ,;\t\n]})".contains(character) && character != ']').unwrap_or(text.len());
        let authority = text.get(..end)?;
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        let (host, port) = match place.strip_prefix('[') {
            Some(v6) => v6.split_once(']').map(|(host, rest)| (host, rest.strip_prefix(':')))?,
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = port.map_or(Some(usual_port), |port| port.parse().ok())?;
        (!host.is_empty() && port != 0).then(|| Self { host: host.to_ascii_lowercase(), port })
    }
}

/// The network for `source` under these settings. What the names resolve to now may be dialled even where it is not public: a registry
/// or a proxy of one's own network is named by one's own settings.
pub(super) async fn of(source: Source, settings: &Settings) -> Network {
    let mut remotes = settings.remotes.clone();
    let usual = source.registry().filter(|_| !settings.names_registry);
    remotes.extend(usual.map(|host| Remote { host: host.to_owned(), port: 443 }));
    for (index, files) in FILES_OF {
        if remotes.iter().any(|remote| remote.host == *index) {
            remotes.insert(Remote { host: (*files).to_owned(), port: 443 });
        }
    }
    let mut hosts = BTreeSet::new();
    for remote in remotes {
        hosts.extend(reached(&remote).await.into_iter().map(|host| (host, remote.port)));
    }
    let destinations = hosts.into_iter().map(|(hosts, port)| Destination { hosts, ports: vec![port] }).collect();
    match Allowed::new(destinations) {
        Ok(allowed) => Network::Only(allowed),
        Err(error) => {
            tracing::warn!("the package manager's settings name too many registries: {error}");
            Network::None
        }
    }
}

/// The host by name, and its addresses where they are of one's own network or machine.
async fn reached(remote: &Remote) -> Vec<Hosts> {
    if let Ok(address) = remote.host.parse::<IpAddr>() {
        return vec![Hosts::Addresses(Block::single(address.to_canonical()))];
    }
    let Some(name) = Name::new(&remote.host) else { return Vec::new() };
    let found = lookup_host((remote.host.as_str(), remote.port)).await;
    // A name that cannot be resolved is the package manager's to complain about.
    let addresses: Vec<IpAddr> = found.into_iter().flatten().map(|address| address.ip().to_canonical()).collect();
    led_to(name, &addresses)
}

/// What a name that has these addresses gives: itself, and where it is in one's own network those as well. By public names it is not led
/// there, and nobody to the link's addresses or a cloud's metadata; a setting may name such an address itself.
fn led_to(name: Name, addresses: &[IpAddr]) -> Vec<Hosts> {
    let near = Nearness::of_all(addresses.iter().copied());
    let is_own = |address: &&IpAddr| match Nearness::of(**address) {
        Nearness::Public | Nearness::Other => false,
        own => near == Some(own),
    };
    let own = addresses.iter().filter(is_own).map(|address| Hosts::Addresses(Block::single(*address)));
    // Inside, `localhost` is an address.
    let by_name = (!name.is_localhost()).then(|| Hosts::Exact(name.clone()));
    own.chain(by_name).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn all(text: &str) -> Vec<String> {
        Remote::all_in(text).map(|remote| format!("{}:{}", remote.host, remote.port)).collect()
    }

    #[test]
    fn hosts_are_found_wherever_a_setting_has_a_url() {
        for (text, expected) in [
            ("https://npm.example/path", &["npm.example:443"][..]),
            ("https://user:to%40ken@Index.example:8443/simple/", &["index.example:8443"]),
            ("http://127.0.0.1:4873", &["127.0.0.1:4873"]),
            ("http://[::1]:4873/", &["::1:4873"]),
            ("sparse+https://crates.example/index/", &["crates.example:443"]),
            ("[{ url = \"https://a.example/simple\" }, { url = \"https://b.example\" }]", &["a.example:443", "b.example:443"]),
            ("https://a.example https://b.example", &["a.example:443", "b.example:443"]),
            ("/opt/wheels", &[]),
            ("https://", &[]),
            ("https://a.example:none/", &[]),
            ("https://a.example:0/", &[]),
        ] {
            assert_eq!(all(text), expected, "{text}");
        }
    }

    async fn network(names_registry: bool, remotes: &[(&str, u16)]) -> Vec<String> {
        let remotes = remotes.iter().map(|(host, port)| Remote { host: (*host).to_owned(), port: *port }).collect();
        let settings = Settings { names_registry, remotes, ..Settings::default() };
        match of(Source::PyPi, &settings).await {
            Network::Only(allowed) => allowed.destinations().iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_the_settings_name_is_reached_and_nothing_else() {
        assert_eq!(network(true, &[("127.0.0.1", 3141)]).await, ["127.0.0.1:3141"]);
        assert!(network(true, &[("localhost", 3141)]).await.contains(&"127.0.0.1:3141".to_owned()));
        // The usual registry, and where it has its files; where they resolve to is the machine's business.
        let usual = network(false, &[]).await;
        assert!(["pypi.org:443", "files.pythonhosted.org:443"].iter().all(|host| usual.contains(&(*host).to_owned())), "{usual:?}");
    }

    #[test]
    fn a_public_name_does_not_lead_into_ones_own_network() {
        let given = |name: &str, addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            let hosts = led_to(Name::new(name).unwrap(), &addresses).into_iter();
            hosts.map(|hosts| Destination { hosts, ports: vec![80] }.to_string()).collect::<Vec<_>>()
        };
        let by_name = vec!["index.example:80".to_owned()];
        assert_eq!(given("index.example", &["93.184.215.14", "10.0.0.1", "127.0.0.1", "169.254.169.254"]), by_name);
        assert_eq!(given("index.example", &["169.254.169.254", "fe80::1", "0.0.0.0", "100.100.100.200"]), by_name);
        assert_eq!(given("index.example", &[]), by_name);
        assert_eq!(given("index.example", &["10.0.0.1", "127.0.0.1", "169.254.169.254"]), ["10.0.0.1:80", "index.example:80"]);
        assert_eq!(given("index.example", &["127.0.1.1"]), ["127.0.1.1:80", "index.example:80"]);
        assert_eq!(given("localhost", &["127.0.0.1", "::1"]), ["127.0.0.1:80", "[::1]:80"]);
    }
}
