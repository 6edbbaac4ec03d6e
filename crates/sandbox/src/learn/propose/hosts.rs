//! Hosts and ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{MOST, MOST_WARNINGS, Proposal, Warning};
use crate::egress::{Destination, Host, WEB_PORTS, is_public};
use crate::learn::record::Record;

pub(super) fn propose(record: &Record, proposal: &mut Proposal) {
    let mut warnings = Vec::new();
    let mut wanted: BTreeMap<&Host, BTreeSet<u16>> = BTreeMap::new();
    for ((host, port), _) in record.hosts.iter().filter(|(_, (allowed, _))| !allowed) {
        wanted.entry(host).or_default().extend(port);
    }
    for (host, ports) in wanted {
        // A name that is known already is asked for whatever the port; one of which nothing but the name is known is one of the web.
        let is_known = || record.hosts.iter().any(|((other, port), (allowed, _))| other == host && (*allowed || port.is_some()));
        let ports = match ports.is_empty() {
            true if is_known() => continue,
            true => WEB_PORTS.into(),
            false => ports,
        };
        match destination(host, &ports) {
            Ok(destination) => {
                warnings.extend(is_inside(host).then(|| Warning::new(&destination, "not a public address")));
                proposal.network.push(destination);
            }
            Err(warning) => warnings.push(warning),
        }
    }
    if let Some(more) = proposal.network.len().checked_sub(MOST).filter(|more| *more > 0) {
        proposal.network.truncate(MOST);
        let why = "too many for a list: `*.NAME` is every name below one, `*` any name at all";
        warnings.push(Warning::new(format_args!("{more} more hosts"), why));
    }
    warnings.truncate(MOST_WARNINGS);
    proposal.warnings.extend(warnings);
}

fn destination(host: &Host, ports: &BTreeSet<u16>) -> Result<Destination, Warning> {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let written = format!("{host}:{}", ports.join(","));
    let address = match host {
        Host::Address(address) => Some(*address),
        Host::Name(_) => None,
    };
    if address.is_some_and(|address| address.is_loopback()) {
        return Err(Warning::grave(written, "a service of this very machine: not proposed, name it yourself if this server is to use it"));
    }
    if address.is_some_and(is_link_local) {
        return Err(Warning::grave(written, "where clouds hand out this machine's credentials: not proposed"));
    }
    written.parse().map_err(|error| Warning::new(&written, format!("cannot be named in `network`: {error}")))
}

fn is_inside(host: &Host) -> bool {
    matches!(host, Host::Address(address) if !is_public(*address))
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
