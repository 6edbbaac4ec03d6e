//! How one list is fetched: page by page, within bounds, without what is no entry.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;
use std::time::Duration;

use sallyport_protocol::{ErrorObject, Failure, FailureKind, McpServer, RawJson, RawObject, Reply, Request, Retry};

use crate::upstream::listing::{Entry, Kind};
use crate::upstream::own_call::{self, Own};

/// Pages of one list at most. Servers page by 10 to 100 entries, so that this is beyond [`MOST_ENTRIES`]; it stops a cursor
/// that leads on for ever.
const MOST_PAGES: usize = 1_000;
/// Entries of one list at most: ten times what any client can put before a model.
const MOST_ENTRIES: usize = 10_000;
/// Bytes of one list at most. 10,000 tools of 1.5 KiB, a common size, are half of it.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// Faulty entries that are named in the log one by one; the rest is counted.
const FAULTS_NAMED: usize = 10;

/// One list as it was fetched.
pub(crate) struct Fetched {
    pub(crate) entries: Arc<[Entry]>,
    /// Why it is not all of it.
    pub(crate) cut_short: Option<String>,
}

impl Fetched {
    /// The list of a server that has none.
    pub(crate) fn nothing() -> Self {
        Self { entries: Arc::default(), cut_short: None }
    }
}

/// Fetches one list, page by page; each page may take `page_limit`.
///
/// # Errors
/// Where a page does not come, in time or at all, or is none. Faulty entries are no error: they are left out and logged.
pub(crate) async fn fetch(server: &dyn McpServer, own: &Own, kind: Kind, page_limit: Duration) -> Result<Fetched, Failure> {
    let mut collected = Collected::new(own.server(), kind);
    let mut cursor: Option<RawJson> = None;
    for _ in 0..MOST_PAGES {
        let reply = match own_call::ask(server, own, page_request(kind, cursor.as_ref()), page_limit).await {
            Ok(reply) => reply,
            Err(failure) if cursor.is_none() && is_no_such_method(&failure) => break, // declared, but nothing there
            Err(failure) => return Err(failure),
        };
        collected.take(&reply)?;
        let next = reply.result.get("nextCursor").filter(|next| next.string_value().is_some()).cloned();
        if next.is_none() {
            return Ok(collected.finish(None));
        }
        if next == cursor {
            return Ok(collected.finish(Some("the server's cursor does not move on")));
        }
        if collected.is_full() {
            return Ok(collected.finish(Some("it is longer than the gateway takes")));
        }
        cursor = next;
    }
    let endless = cursor.is_some().then_some("it has more pages than the gateway takes");
    Ok(collected.finish(endless))
}

fn page_request(kind: Kind, cursor: Option<&RawJson>) -> Request {
    let mut params = RawObject::new();
    if let Some(cursor) = cursor {
        params.set("cursor", cursor.clone());
    }
    Request::new(kind.method(), params)
}

fn is_no_such_method(failure: &Failure) -> bool {
    match &failure.kind {
        FailureKind::MethodNotFound => true,
        FailureKind::Upstream(error) => error.code == ErrorObject::METHOD_NOT_FOUND,
        _ => false,
    }
}

/// The entries of one list while its pages come in.
struct Collected<'a> {
    server: &'a str,
    kind: Kind,
    entries: Vec<Entry>,
    bytes: usize,
    full: bool,
    faults: usize,
}

impl<'a> Collected<'a> {
    fn new(server: &'a str, kind: Kind) -> Self {
        Self { server, kind, entries: Vec::new(), bytes: 0, full: false, faults: 0 }
    }

    fn is_full(&self) -> bool {
        self.full
    }

    /// Takes the entries of one page.
    fn take(&mut self, page: &Reply) -> Result<(), Failure> {
        let member = self.kind.member();
        let fault = |what: String| {
            let text = format!("server `{}`: {}: {what}", self.server, self.kind.method().as_str());
            Failure::upstream(self.server, FailureKind::Malformed, Retry::Never, text)
        };
        let entries = page.result.get(member).ok_or_else(|| fault(format!("`{member}` is missing")))?;
        let entries = entries.array().map_err(|_| fault(format!("`{member}` is not an array")))?;
        for (at, json) in entries.iter().enumerate() {
            match Entry::read(self.kind, json, page.revision) {
                Ok(entry) => self.add(entry, json.as_bytes().len()),
                Err(what) => self.log_fault(&format!("entry {at} of a page: {what}")),
            }
        }
        Ok(())
    }

    fn add(&mut self, entry: Entry, bytes: usize) {
        if self.entries.len() == MOST_ENTRIES || self.bytes + bytes > MOST_BYTES {
            self.full = true;
            return;
        }
        self.bytes += bytes;
        self.entries.push(entry);
    }

    fn log_fault(&mut self, what: &str) {
        self.faults += 1;
        if self.faults <= FAULTS_NAMED {
            tracing::warn!(server = self.server, list = self.kind.method().as_str(), "left out of the list: {what}");
        }
    }

    fn finish(mut self, cut_short: Option<&str>) -> Fetched {
        self.refuse_namesakes();
        if self.faults > FAULTS_NAMED {
            let more = self.faults - FAULTS_NAMED;
            tracing::warn!(server = self.server, list = self.kind.method().as_str(), "left out of the list: {more} more entries");
        }
        let cut_short = cut_short.or_else(|| self.full.then_some("it is longer than the gateway takes"));
        let cut_short = cut_short.map(|why| format!("{} is not complete: {why}", self.kind.method().as_str()));
        if let Some(why) = &cut_short {
            tracing::warn!(server = self.server, entries = self.entries.len(), "{why}");
        }
        Fetched { entries: self.entries.into(), cut_short }
    }

    /// Leaves out entries that share a name and differ: nobody could tell which of them a call means. The same entry
    /// told twice, as happens where pages overlap, is one.
    fn refuse_namesakes(&mut self) {
        let mut by_name: HashMap<String, Option<Entry>> = HashMap::with_capacity(self.entries.len());
        let mut order = Vec::with_capacity(self.entries.len());
        for entry in std::mem::take(&mut self.entries) {
            match by_name.entry(entry.name.clone()) {
                Slot::Vacant(slot) => {
                    order.push(entry.name.clone());
                    slot.insert(Some(entry));
                }
                Slot::Occupied(mut slot) if slot.get().as_ref().is_some_and(|known| known.raw != entry.raw) => *slot.get_mut() = None,
                Slot::Occupied(_) => {}
            }
        }
        for name in order {
            match by_name.remove(&name).flatten() {
                Some(entry) => self.entries.push(entry),
                None => {
                    let shown: String = name.escape_debug().take(200).collect();
                    self.log_fault(&format!("entries that differ are all called `{shown}`"));
                }
            }
        }
    }
}
