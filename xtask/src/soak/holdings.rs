//! What a gateway holds of the machine, as the kernel and its own metrics tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::fleet::Fleet;

/// One look at the gateway.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holdings {
    /// Sessions and parked calls, where the gateway counts them.
    pub(super) sessions: Option<u64>,
    pub(super) parked: Option<u64>,
    pub(super) processes: u64,
    pub(super) descriptors: u64,
    /// Memory of its own, in KiB. The pages of its program are the system's, which takes and gives them as it likes.
    pub(super) memory: u64,
}

impl Holdings {
    pub(super) fn of(fleet: &Fleet) -> Self {
        let id = fleet.gateway_id();
        let metrics = get(fleet.gateway_port(), "/metrics").unwrap_or_default();
        let children = descendants(id).into_iter().filter(|child| !is_zombie(*child)).count();
        Self {
            sessions: metric(&metrics, "sallyport_sessions"),
            parked: metric(&metrics, "sallyport_parked_calls"),
            processes: children as u64,
            descriptors: fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count) as u64,
            memory: memory(id),
        }
    }
}

impl fmt::Display for Holdings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let (sessions, parked) = (counted(self.sessions), counted(self.parked));
        write!(out, "sessions {sessions:>4}  parked {parked:>3}  processes {:>3}  ", self.processes)?;
        write!(out, "descriptors {:>4}  memory {:>6} KiB", self.descriptors, self.memory)
    }
}

/// The sum of a metric over its labels.
fn metric(metrics: &str, name: &str) -> Option<u64> {
    let own = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    let values = metrics.lines().filter(own).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    let values: Vec<f64> = values.collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a gauge of whole things")]
    (!values.is_empty()).then(|| values.iter().sum::<f64>() as u64)
}

/// The body of a plain GET.
pub(super) fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

/// Every process that descends from `ancestor`, itself left out.
pub(super) fn descendants(ancestor: u32) -> BTreeSet<u32> {
    let parents = parents();
    let mut found = BTreeSet::from([ancestor]);
    loop {
        let before = found.len();
        let children: Vec<u32> = parents.iter().filter(|(_, parent)| found.contains(parent)).map(|(id, _)| *id).collect();
        found.extend(children);
        if found.len() == before {
            found.remove(&ancestor);
            return found;
        }
    }
}

fn parents() -> BTreeMap<u32, u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| stat(id).map(|(_, parent)| (id, parent))).collect()
}

fn is_zombie(id: u32) -> bool {
    stat(id).is_none_or(|(state, _)| state == 'Z')
}

/// State and parent. The second field is the program's name in parentheses, which may hold anything.
fn stat(id: u32) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn memory(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|rest| rest.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_the_sum_over_its_labels() {
        let metrics =
            "# TYPE sallyport_sessions gauge\nsallyport_sessions{kind=\"a\"} 2\nsallyport_sessions{kind=\"b\"} 3\nsallyport_sessions_x 9\n";
        assert_eq!(metric(metrics, "sallyport_sessions"), Some(5));
        assert_eq!(metric(metrics, "sallyport_parked_calls"), None);
    }
}
