//! The addresses that stand for names inside a sandbox: local to its own network namespace, and known nowhere else.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::name::Name;
use sallyport_address::Block;

/// Where names are asked for, and where the proxy is: of a block that is set aside for benchmarks (RFC 2544).
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// The addresses of names. They look public, because programs that guard themselves against requests into private networks
/// (`mcp-server-fetch` is one) refuse a name that resolves to an address set aside for anything. Who really has them is reached by name
/// all the same, since it is the gateway that dials.
const NAMES: Block = match Block::new(IpAddr::V4(Ipv4Addr::new(28, 18, 0, 0)), 20) {
    Some(block) => block,
    None => Block::single(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), // never: checked by a test
};

/// Everything that is local in a sandbox with a way out, and so cannot be a destination.
pub(crate) const BLOCKS: [Block; 2] = [Block::single(IpAddr::V4(GATEWAY)), NAMES];

/// The first address of a name.
const FIRST: u32 = Ipv4Addr::new(28, 18, 0, 1).to_bits();

/// Names that have an address at the same time: more than a program uses in ten minutes, and a megabyte at most.
const MOST_NAMES: usize = 4000;

/// How long a program may keep an address, in seconds; as an answer of DNS says it.
pub(super) const TTL_SECONDS: u32 = 60;

/// An address goes to another name only when nobody has asked for it for this long: ten times what programs may keep it.
const KEPT: Duration = Duration::from_secs(600);

/// Whether an address is one of those that stand for names.
pub(crate) fn stands_for_a_name(address: Ipv4Addr) -> bool {
    NAMES.contains(IpAddr::V4(address))
}

/// Which address stands for which name, in one sandbox.
#[derive(Debug, Default)]
pub(super) struct Table {
    positions: HashMap<Name, usize>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    used: Instant,
}

impl Table {
    /// The address that stands for `name`; a new one if it has none. `None`: all are in use.
    pub(super) fn address_of(&mut self, name: &Name, now: Instant) -> Option<Ipv4Addr> {
        let position = match self.positions.get(name) {
            Some(position) => *position,
            None => self.add(name, now)?,
        };
        self.entries.get_mut(position)?.used = now;
        u32::try_from(position).ok().map(|position| Ipv4Addr::from_bits(FIRST + position))
    }

    /// Whether `address` could stand for a name.
    pub(super) fn covers(address: IpAddr) -> bool {
        NAMES.contains(address)
    }

    /// The name that `address` stands for.
    pub(super) fn name_of(&mut self, address: Ipv4Addr, now: Instant) -> Option<Name> {
        let position = usize::try_from(address.to_bits().checked_sub(FIRST)?).ok()?;
        let entry = self.entries.get_mut(position)?;
        entry.used = now;
        Some(entry.name.clone())
    }

    fn add(&mut self, name: &Name, now: Instant) -> Option<usize> {
        let entry = Entry { name: name.clone(), used: now };
        let position = if self.entries.len() < MOST_NAMES {
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            let (position, oldest) = self.entries.iter_mut().enumerate().min_by_key(|(_, entry)| entry.used)?;
            if now.duration_since(oldest.used) < KEPT {
                return None;
            }
            self.positions.remove(&oldest.name);
            *oldest = entry;
            position
        };
        self.positions.insert(name.clone(), position);
        Some(position)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;
    use sallyport_address::is_public;

    fn name(number: usize) -> Name {
        Name::new(&format!("n{number}.example")).unwrap()
    }

    #[test]
    fn the_range_is_what_it_says() {
        assert_eq!(NAMES.to_string(), "28.18.0.0/20");
        let last = Ipv4Addr::from_bits(FIRST + u32::try_from(MOST_NAMES).unwrap() - 1);
        assert!(NAMES.contains(last.into()) && is_public(last.into()));
    }

    #[test]
    fn a_name_keeps_its_address_and_the_address_its_name() {
        let (mut table, now) = (Table::default(), Instant::now());
        let first = table.address_of(&name(1), now).unwrap();
        let second = table.address_of(&name(2), now).unwrap();
        assert_ne!(first, second);
        assert_eq!(table.address_of(&name(1), now), Some(first));
        assert_eq!(table.name_of(second, now), Some(name(2)));
        assert_eq!(table.name_of(GATEWAY, now), None);
        assert_eq!(table.name_of(Ipv4Addr::new(28, 18, 15, 255), now), None);
    }

    #[test]
    fn a_full_table_gives_away_only_what_nobody_uses() {
        let (mut table, start) = (Table::default(), Instant::now());
        let first = table.address_of(&name(0), start).unwrap();
        for number in 1..MOST_NAMES {
            table.address_of(&name(number), start).unwrap();
        }
        assert_eq!(table.address_of(&name(MOST_NAMES), start), None);
        let later = start + KEPT;
        assert_eq!(table.name_of(first, later), Some(name(0)), "using it keeps it");
        let reused = table.address_of(&name(MOST_NAMES), later).unwrap();
        assert_eq!(table.name_of(reused, later), Some(name(MOST_NAMES)));
        assert_ne!(reused, first);
        assert_eq!(table.positions.len(), MOST_NAMES);
    }
}
