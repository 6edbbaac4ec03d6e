//! What a trial brings to light, within bounds: a program cannot make it grow by asking for more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::egress::{Allowed, Host, Name, PROXY_PORT, synthetic};
use crate::policy::{Access, View};
use crate::profile::Network;

/// Different things of one kind that are kept: more than anybody reads, and a few megabytes at most, since a path has 4 KiB.
const MOST: usize = 1000;

/// What a program did in a trial, wanted to do, and was refused.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// What it used of what it sees, summed up by root.
    pub used: BTreeMap<PathBuf, Used>,
    /// Files and folders of this machine that it does not see, or may not do with what it wanted.
    pub refused: BTreeMap<PathBuf, Refused>,
    /// Programs that it sees and cannot execute, since they lie where it may write; how often it tried.
    pub unexecutable: BTreeMap<PathBuf, u64>,
    /// Sockets of services of this machine that it wanted to connect to; how often.
    pub services: BTreeMap<PathBuf, u64>,
    /// How often it wanted a local socket that can have a name: to connect to a service of this machine, or for its own parts.
    pub local_sockets: u64,
    /// Hosts, with the port where it is known: whether `network` names them, and how often they were asked for.
    pub hosts: BTreeMap<(Host, Option<u16>), (bool, u64)>,
    /// Addresses that packets without a connection (UDP) were sent to; how often.
    pub packets: BTreeMap<SocketAddr, u64>,
    /// Ports that it wanted to listen at; how often.
    pub listens: BTreeMap<u16, u64>,
    /// System calls that the filter refused, by name; how often.
    pub calls: BTreeMap<String, u64>,
    /// Its roots: what it sees besides the system.
    pub roots: BTreeSet<PathBuf>,
    /// Calls of which it cannot be told what they were about: the program's memory could not be read.
    pub unread: u64,
    /// How often something was not kept any more, because there was too much of its kind.
    pub dropped: u64,
}

/// How often something was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Files opened to be read, folders listed.
    pub read: u64,
    /// Files opened to be written, and whatever else changes files and folders.
    pub written: u64,
    /// Programs executed.
    pub executed: u64,
}

/// What was wanted of a file or a folder, in vain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The most that was wanted.
    pub want: Want,
    /// It is a folder.
    pub folder: bool,
    /// Where links on the way lead, if there are any.
    pub leads_to: Option<PathBuf>,
    /// How often.
    pub times: u64,
}

/// What may be wanted, each more than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// To know that it is there.
    #[default]
    Look,
    /// To read or execute it.
    Read,
    /// To write it.
    Write,
    /// To make, rename and remove what is in it.
    Entries,
}

/// Keeps the record.
#[derive(Default)]
pub(super) struct Recorder {
    record: Record,
    /// What the program sees, roots and system.
    trees: Vec<(PathBuf, Access)>,
    reaches: Reaches,
    names: HashMap<Ipv4Addr, Name>,
}

/// Where connections may go.
#[derive(Default)]
enum Reaches {
    #[default]
    Nowhere,
    Some(Allowed),
    Everywhere,
}

impl Recorder {
    pub(super) fn record(&self) -> Record {
        self.record.clone()
    }

    pub(super) fn shows(&mut self, view: &View) {
        self.trees = view.trees.iter().map(|tree| (tree.path.clone(), tree.access)).collect();
        self.record.roots = view.trees.iter().filter(|tree| tree.access != Access::System).map(|tree| tree.path.clone()).collect();
    }

    pub(super) fn may_reach(&mut self, network: &Network) {
        self.reaches = match network {
            Network::None => Reaches::Nowhere,
            Network::Only(allowed) => Reaches::Some(allowed.clone()),
            Network::Host => Reaches::Everywhere,
        };
    }

    /// The innermost tree that `path` lies in.
    pub(super) fn tree_of(&self, path: &Path) -> Option<&(PathBuf, Access)> {
        self.trees.iter().rev().find(|(tree, _)| path.starts_with(tree))
    }

    pub(super) fn uses(&mut self, path: &Path, count: impl FnOnce(&mut Used)) {
        let root = match self.tree_of(path) {
            Some((tree, Access::System)) => path.components().take(tree.components().count() + 1).collect(),
            Some((tree, _)) => tree.clone(),
            None => path.components().take(2).collect(),
        };
        keep(&mut self.record.used, root, &mut self.record.dropped, count);
    }

    pub(super) fn refuses(&mut self, path: PathBuf, place: &Path, want: Want, folder: bool) {
        let leads_to = (path != place).then(|| place.to_path_buf());
        keep(&mut self.record.refused, path, &mut self.record.dropped, |refused| {
            refused.want = refused.want.max(want);
            refused.folder = folder;
            refused.leads_to = leads_to;
            refused.times += 1;
        });
    }

    pub(super) fn cannot_execute(&mut self, path: PathBuf) {
        keep(&mut self.record.unexecutable, path, &mut self.record.dropped, |times| *times += 1);
    }

    pub(super) fn refuses_service(&mut self, path: PathBuf) {
        keep(&mut self.record.services, path, &mut self.record.dropped, |times| *times += 1);
    }

    pub(super) fn refuses_local_socket(&mut self) {
        self.record.local_sockets += 1;
    }

    pub(super) fn refuses_call(&mut self, name: String) {
        keep(&mut self.record.calls, name, &mut self.record.dropped, |times| *times += 1);
    }

    pub(super) fn listens(&mut self, port: u16) {
        keep(&mut self.record.listens, port, &mut self.record.dropped, |times| *times += 1);
    }

    pub(super) fn unread(&mut self) {
        self.record.unread += 1;
    }

    pub(super) fn stands_for(&mut self, address: Ipv4Addr, name: &Name) {
        self.names.insert(address, name.clone()); // as many as there are addresses that stand for names
    }

    pub(super) fn wants(&mut self, host: &Host, port: Option<u16>) {
        let allowed = match (&self.reaches, port) {
            (Reaches::Nowhere, _) => false,
            (Reaches::Everywhere, _) => true,
            (Reaches::Some(allowed), Some(port)) => allowed.find(host, port).is_some(),
            (Reaches::Some(allowed), None) => matches!(host, Host::Name(name) if allowed.knows(name)),
        };
        keep(&mut self.record.hosts, (host.clone(), port), &mut self.record.dropped, |(is_allowed, times)| {
            *is_allowed = allowed;
            *times += 1;
        });
    }

    /// The program connects to an address, which may stand for a name.
    pub(super) fn connects(&mut self, address: SocketAddr) {
        if let Some(host) = self.meant_by(address) {
            self.wants(&host, Some(address.port()));
        }
    }

    /// The program sends a packet.
    pub(super) fn sends(&mut self, address: SocketAddr) {
        if self.meant_by(address).is_some() {
            keep(&mut self.record.packets, address, &mut self.record.dropped, |times| *times += 1);
        }
    }

    /// Whom a connection is for; nobody where it is for the gateway itself, or only asks for a route.
    fn meant_by(&self, address: SocketAddr) -> Option<Host> {
        let is_gateway = address.ip() == IpAddr::V4(synthetic::GATEWAY) && [53, PROXY_PORT].contains(&address.port());
        match address.ip() {
            _ if address.port() == 0 || is_gateway => None,
            IpAddr::V4(v4) if synthetic::stands_for_a_name(v4) => self.names.get(&v4).cloned().map(Host::Name),
            ip => Some(Host::Address(ip)),
        }
    }
}

/// Counts in a map that cannot grow without end.
fn keep<K: Ord, V: Default>(map: &mut BTreeMap<K, V>, key: K, dropped: &mut u64, count: impl FnOnce(&mut V)) {
    if map.len() >= MOST && !map.contains_key(&key) {
        *dropped += 1;
    } else {
        count(map.entry(key).or_default());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_kept() {
        let mut recorder = Recorder::default();
        for number in 0..5000_u16 {
            let path = PathBuf::from(format!("/data/{number}"));
            recorder.refuses(path.clone(), &path, Want::Read, false);
            recorder.refuses_service(format!("/run/{number}").into());
            recorder.connects(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)), number));
        }
        let record = recorder.record();
        assert_eq!((record.refused.len(), record.services.len(), record.hosts.len()), (MOST, MOST, MOST));
        assert_eq!(record.dropped, 4000 * 3 - 1, "port 0 only asks for a route");
        recorder.refuses("/data/1".into(), Path::new("/else/1"), Want::Write, false);
        let twice = Refused { want: Want::Write, folder: false, leads_to: Some("/else/1".into()), times: 2 };
        assert_eq!(recorder.record().refused[Path::new("/data/1")], twice);
    }

    #[test]
    fn an_address_means_the_name_that_it_stands_for() {
        let mut recorder = Recorder::default();
        recorder.may_reach(&Network::Only(Allowed::new(vec!["b.example:443".parse().unwrap()]).unwrap()));
        let (a, b) = (Name::new("a.example").unwrap(), Name::new("b.example").unwrap());
        recorder.stands_for(Ipv4Addr::new(28, 18, 0, 1), &a);
        recorder.stands_for(Ipv4Addr::new(28, 18, 0, 2), &b);
        for address in ["28.18.0.1:8443", "28.18.0.2:443", "28.18.0.9:443", "198.18.0.1:53", "198.18.0.1:3128", "10.0.0.1:22"] {
            recorder.connects(address.parse().unwrap());
        }
        let hosts = recorder.record().hosts;
        assert_eq!(hosts.len(), 3);
        assert_eq!(hosts[&(Host::Name(a), Some(8443))], (false, 1));
        assert_eq!(hosts[&(Host::Name(b), Some(443))], (true, 1));
        assert_eq!(hosts[&(Host::Address("10.0.0.1".parse().unwrap()), Some(22))], (false, 1));
    }

    #[test]
    fn use_is_summed_up_by_root() {
        let trees = vec![("/usr".into(), Access::System), ("/home/u/project".into(), Access::Read)];
        let mut recorder = Recorder { trees, ..Recorder::default() };
        for path in ["/usr/lib/a", "/usr/lib/b/c", "/home/u/project/deep/er", "/tmp/x/y", "/etc/hosts"] {
            recorder.uses(Path::new(path), |used| used.read += 1);
        }
        let used = recorder.record().used;
        let counted: Vec<_> = used.iter().map(|(path, used)| (path.to_str().unwrap(), used.read)).collect();
        assert_eq!(counted, [("/etc", 1), ("/home/u/project", 1), ("/tmp", 1), ("/usr/lib", 2)]);
    }
}
