//! What the gateway knows of one sandbox on the way out.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::time::Instant;

use sallyport_telemetry::ConnectionOutcome;
use tokio::sync::Semaphore;

use super::allowed::{Allowed, Host, PROXY_PORT};
use super::dns::Known;
use super::event::{Connection, Outcome, Refusal, Surroundings};
use super::limit::{Open, Pace, Usage};
use super::name::Name;
use super::synthetic::{self, Table};
use super::told::Told;
use crate::learn::Trial;
use crate::profile::Limits;

/// Look-ups of one sandbox at a time: a name that nobody answers for must not hold up the other sandboxes.
const LOOK_UPS: usize = 4;

/// Refusals and connections of one sandbox that are told within a minute: enough to see what it wants and does, too few to push
/// everything else out of a log. Of the others the sum is told.
const TOLD_REFUSALS: u32 = 20;
const TOLD_CONNECTIONS: u32 = 300;
const MINUTE: Duration = Duration::from_secs(60);

/// Where programs that like a proxy find one.
pub(super) const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(synthetic::GATEWAY), PROXY_PORT);

/// One sandbox on the way out.
pub(crate) struct Room {
    pub(super) server: Arc<str>,
    allowed: Allowed,
    table: Mutex<Table>,
    /// One for each destination, in its order.
    usage: Vec<Usage>,
    limits: Limits,
    refusals: Told,
    connections: Told,
    pub(super) look_ups: Arc<Semaphore>,
    pub(super) surroundings: Surroundings,
    trial: Option<Trial>,
}

/// Whom a connection is for, by the address that the program connected to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meant {
    Proxy,
    Host(Host),
    /// An address that stands for nobody.
    Nobody,
}

impl Room {
    /// `scope` is whose program it is.
    pub(crate) fn new(scope: &str, server: &str, allowed: Allowed, limits: Limits, surroundings: Surroundings) -> Self {
        let server: Arc<str> = server.into();
        let told = |most| Told::new(Arc::clone(&server), Arc::clone(&surroundings.observer), Pace::new(most, MINUTE));
        Self {
            refusals: told(TOLD_REFUSALS),
            connections: told(TOLD_CONNECTIONS),
            usage: surroundings.accounts.of(scope, &server, &allowed),
            server,
            allowed,
            table: Mutex::default(),
            limits,
            look_ups: Arc::new(Semaphore::new(LOOK_UPS)),
            surroundings,
            trial: None,
        }
    }

    /// The same in a trial, if it is one: told of every host that is asked for, and a name that is not allowed gets an address all the
    /// same, so that the program says by connecting which port it wants. The connection is refused.
    pub(crate) fn in_trial(self, trial: Option<Trial>) -> Self {
        Self { trial, ..self }
    }

    /// What is to be answered when the program asks for a name.
    pub(super) fn look_up(&self, name: &Name) -> Known {
        if !self.allowed.knows(name) {
            self.refuse_name(name);
            if self.trial.is_none() {
                return Known::Unknown;
            }
        }
        let Some(address) = self.table().address_of(name, Instant::now()) else { return Known::NoAddress };
        if let Some(trial) = &self.trial {
            trial.stands_for(address, name);
            trial.wants(&Host::Name(name.clone()), None);
        }
        Known::At(address)
    }

    pub(super) fn meant_by(&self, local: SocketAddr) -> Meant {
        match local.ip().to_canonical() {
            _ if local == PROXY => Meant::Proxy,
            IpAddr::V4(address) if Table::covers(address.into()) => {
                self.table().name_of(address, Instant::now()).map_or(Meant::Nobody, |name| Meant::Host(Host::Name(name)))
            }
            address => Meant::Host(Host::Address(address)),
        }
    }

    /// The host itself, where a program resolved a name and gave the proxy the address that stands for it.
    pub(super) fn behind(&self, host: Host) -> Host {
        match host {
            Host::Address(IpAddr::V4(address)) => match self.table().name_of(address, Instant::now()) {
                Some(name) => Host::Name(name),
                None => host,
            },
            host => host,
        }
    }

    /// Opens a connection's account, if there may be one.
    pub(super) fn admit(&self, host: &Host, port: u16) -> Result<Open<'_>, Refusal> {
        if let Some(trial) = &self.trial {
            trial.wants(host, Some(port));
        }
        let usage = self.allowed.find(host, port).and_then(|position| self.usage.get(position)).ok_or(Refusal::NotAllowed)?;
        usage.open(self.limits.connections, u64::from(self.limits.network_mb) << 20)
    }

    pub(super) fn may_dial(&self, address: IpAddr, port: u16) -> bool {
        self.allowed.may_dial(address, port)
    }

    /// Tells of a connection that is over.
    pub(super) fn tell(&self, connection: &Connection) {
        let Connection { server, target, way, outcome, sent, received, lasted, .. } = connection;
        let is_refusal = matches!(outcome, Outcome::Refused(_));
        let told = if is_refusal { &self.refusals } else { &self.connections };
        if !told.one_more(outcome.counted(), *sent, *received) {
            return;
        }
        self.surroundings.observer.connection(connection);
        let address = connection.address.map(tracing::field::display);
        if is_refusal {
            tracing::warn!(server = &**server, destination = target, ?way, address, "a program's connection was {outcome}");
        } else {
            tracing::info!(
                server = &**server,
                destination = target,
                ?way,
                address,
                sent,
                received,
                ?lasted,
                "a program's connection {outcome}"
            );
        }
    }

    fn refuse_name(&self, name: &Name) {
        if self.refusals.one_more(ConnectionOutcome::NameRefused, 0, 0) {
            self.surroundings.observer.name_refused(&self.server, name);
            tracing::warn!(server = &*self.server, name = name.as_str(), "a program asked for a name that `network` does not name");
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
