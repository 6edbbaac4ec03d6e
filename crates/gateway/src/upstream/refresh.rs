//! Keeps the lists of a running server: fetched when it starts, and again when it says that they changed or where they could not be had.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sallyport_policy::Pin;
use sallyport_protocol::Event;
use tokio::time::Instant;

use crate::upstream::fetch::{self, Fetched};
use crate::upstream::health::nameless;
use crate::upstream::life::Life;
use crate::upstream::link::Link;
use crate::upstream::listing::{Entry, Freshness, Kind, Listing};
use crate::upstream::news::{Kinds, News};

/// The lists are not fetched more often, however often a server says that they changed.
const LISTING_INTERVAL: Duration = Duration::from_secs(1);
/// The longest wait before a list that could not be had is asked for again.
const LISTING_RETRY_CAP: Duration = Duration::from_secs(60);
/// Changed tools that are named in the log; the rest is counted.
const TOLD: usize = 20;

/// Keeps the lists as long as it is polled; never ends.
pub(crate) async fn keep_listed(life: &Life, link: &Link, news: &News) -> Infallible {
    let mut lists = Lists { life, link, troubles: Default::default() };
    let mut failures: u32 = 0;
    let mut missing = lists.refresh(Kinds::ALL).await;
    life.subscribed.renew(link, &life.own, life.plan.timeouts.list).await;
    loop {
        let next = Instant::now() + LISTING_INTERVAL;
        failures = if missing.is_empty() { 0 } else { failures.saturating_add(1) };
        let retry = (!missing.is_empty()).then(|| LISTING_INTERVAL.saturating_mul(2_u32.saturating_pow(failures)).min(LISTING_RETRY_CAP));
        let due = news.changes(retry, next).await.and(missing);
        missing = lists.refresh(due).await;
    }
}

/// The lists of a running server while they are kept.
struct Lists<'a> {
    life: &'a Life,
    link: &'a Link,
    /// What is wrong with each list.
    troubles: [Option<String>; Kind::ALL.len()],
}

impl Lists<'_> {
    /// Fetches the lists that are `due` and publishes them; says which could not be had.
    async fn refresh(&mut self, due: Kinds) -> Kinds {
        // Between two lists, or while tools are compared, it would else be idle: stopped then, it would never have said what it offers.
        let _awake = self.link.sleeper.as_ref().map(|sleeper| sleeper.keep_awake());
        let discovery = &self.link.discovery;
        let asked = Kind::ALL.into_iter().filter(|kind| due.has(*kind));
        let fetched = join_all(asked.map(async |kind| (kind, self.fetch(kind).await))).await;
        let mut listing = (*self.life.listing.load_full()).clone();
        let mut missing = Kinds::NONE;
        let mut changed = Kinds::NONE;
        for (kind, outcome) in fetched {
            self.troubles[kind as usize] = match outcome {
                Ok(mut list) => {
                    if kind == Kind::Tools && !self.compare(&mut list.entries).await {
                        missing = missing.with(kind);
                    }
                    if *listing.of(kind) != list.entries {
                        changed = changed.with(kind);
                        tell_changed(&self.life.name, &list.entries);
                        listing.set(kind, list.entries);
                    }
                    list.cut_short
                }
                Err(why) => {
                    missing = missing.with(kind);
                    Some(why)
                }
            };
        }
        listing.discovery = Some(discovery.clone());
        listing.freshness = self.freshness(&listing, missing);
        self.publish(listing, changed);
        missing
    }

    /// Finds out how tools stand to what is recorded of them; `false` if that cannot be found out now.
    async fn compare(&self, tools: &mut Arc<[Entry]>) -> bool {
        match Arc::get_mut(tools) {
            Some(tools) => self.life.pinning.compare(tools).await,
            None => true, // there are none: all that are fetched are ours
        }
    }

    /// Fetches one list; one that the server does not declare is empty.
    async fn fetch(&self, kind: Kind) -> Result<Fetched, String> {
        if !self.link.discovery.has(kind.capability()) {
            return Ok(Fetched::nothing());
        }
        let fetched = fetch::fetch(&*self.link.server, &self.life.own, kind, self.life.plan.timeouts.list).await;
        fetched.map_err(|failure| {
            tracing::warn!(server = %self.life.name, list = kind.method().as_str(), "the list could not be had: {failure}");
            format!("{} failed: {}", kind.method().as_str(), nameless(&self.life.name, &failure.public))
        })
    }

    fn freshness(&self, listing: &Listing, missing: Kinds) -> Freshness {
        let troubles: Vec<&str> = self.troubles.iter().filter_map(Option::as_deref).collect();
        if troubles.is_empty() {
            return Freshness::Fresh;
        }
        let why = troubles.join("; ");
        if listing.is_empty() && !missing.is_empty() {
            // There is no last good list to show, and an empty one would say that the server offers nothing.
            return Freshness::Gone { why, hint: self.life.log_hint() };
        }
        Freshness::Stale { why }
    }

    fn publish(&self, listing: Listing, changed: Kinds) {
        if changed.is_empty() && self.life.listing.load().freshness == listing.freshness && !self.is_new_to(&listing) {
            return;
        }
        self.life.set_listing(listing);
        for (kind, event) in [
            (Kind::Tools, Event::ToolsChanged),
            (Kind::Resources, Event::ResourcesChanged),
            (Kind::Templates, Event::ResourcesChanged),
            (Kind::Prompts, Event::PromptsChanged),
        ] {
            if changed.has(kind) {
                self.life.listeners.tell(&event);
            }
        }
    }

    /// Whether the listing is of another connection than the published one.
    fn is_new_to(&self, listing: &Listing) -> bool {
        match (&self.life.listing.load().discovery, &listing.discovery) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
            _ => true,
        }
    }
}

/// Tells the log which tools say something else of themselves than when they were seen first.
fn tell_changed(server: &str, entries: &[Entry]) {
    let changed: Vec<&str> = entries.iter().filter(|tool| tool.pin == Pin::Changed).map(|tool| tool.name.as_str()).collect();
    if !changed.is_empty() {
        let some: Vec<&str> = changed.iter().copied().take(TOLD).collect();
        tracing::warn!(server, tools = ?some, all = changed.len(), "tools say something else of themselves than when they were seen first");
    }
}
