//! The live view of `sallyport up` on a terminal: the servers, and the calls as they pass.

mod screen;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use sallyport_gateway::Gateway;
use sallyport_gateway::plan::{Plan, Source};
use sallyport_sandbox::{Isolation, Network};
use sallyport_telemetry::{AuditRecord, Tap};
use tokio::sync::watch;

use crate::connect;
use crate::start::Opened;
use screen::Screen;

/// Calls kept for the eye: more than any terminal has lines.
const CALLS: usize = 500;

/// How long the view waits for a key before it looks for news: ten pictures a second look alive and cost little.
const TICK: Duration = Duration::from_millis(100);

/// Which of its pages the view shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Calls,
    Clients,
}

/// What the view shows.
struct View {
    gateway: Gateway,
    url: String,
    clients: String,
    tap: Tap,
    calls: VecDeque<AuditRecord<'static>>,
    page: Page,
}

/// Shows the view on a thread of its own until `stopping`, or until the user leaves: then it says `stop`.
pub(crate) fn run(opened: &Opened, url: &str, stop: watch::Sender<bool>, stopping: watch::Receiver<bool>) {
    let plan = opened.gateway.plan();
    let mut view = View {
        gateway: opened.gateway.clone(),
        url: format!("{url}/mcp"),
        clients: lines_to_paste(&plan),
        tap: opened.audit.subscribe(),
        calls: VecDeque::with_capacity(CALLS),
        page: Page::Calls,
    };
    let show = move || {
        let mut terminal = ratatui::init();
        while !*stopping.borrow() {
            view.hear();
            if terminal.draw(|frame| Screen::of(&view).draw(frame)).is_err() || view.wants_to_end() {
                break;
            }
        }
        ratatui::restore();
        let _ = stop.send(true); // the gateway ends already
    };
    if let Err(error) = std::thread::Builder::new().name("view".into()).spawn(show) {
        tracing::error!("there is no live view: {error}");
    }
}

impl View {
    /// Takes what was recorded since the last picture.
    fn hear(&mut self) {
        while let Some(record) = self.tap.try_recv() {
            if self.calls.len() == CALLS {
                self.calls.pop_back();
            }
            self.calls.push_front(record);
        }
    }

    /// Waits a moment for a key, and tells whether it was one to leave with.
    fn wants_to_end(&mut self) -> bool {
        let Ok(true) = event::poll(TICK) else { return false };
        let Ok(Event::Key(key)) = event::read() else { return false };
        self.pressed(key)
    }

    fn pressed(&mut self, key: KeyEvent) -> bool {
        if key.kind != KeyEventKind::Press {
            return false;
        }
        match key.code {
            KeyCode::Char('q') => return true,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Char('c') | KeyCode::Esc => {
                self.page = if self.page == Page::Calls && key.code != KeyCode::Esc { Page::Clients } else { Page::Calls };
            }
            _ => {}
        }
        false
    }
}

fn lines_to_paste(plan: &Arc<Plan>) -> String {
    let sections = connect::paste(plan).into_iter().map(|(client, lines)| format!("{}\n{lines}\n", client.title()));
    sections.collect::<Vec<_>>().join("\n")
}

/// The servers that are less confined than they could be, and in which way: told wherever servers are shown.
pub(crate) fn open_boundaries(plan: &Plan) -> Vec<(&str, &'static str)> {
    let open = |source: &Source| match source {
        Source::Stdio(stdio) if stdio.sandbox.is_none() => Some("runs without a sandbox (`sandbox = \"none\"`)"),
        Source::Stdio(stdio) if stdio.sandbox.isolation() == Isolation::Landlock => {
            Some("runs without namespaces (`sandbox = \"landlock\"`)")
        }
        Source::Stdio(stdio) if stdio.network == Network::Host => Some("may use the host's whole network (`network = [\"host-network\"]`)"),
        _ => None,
    };
    plan.servers.iter().filter_map(|(name, server)| Some((name.as_str(), open(&server.source)?))).collect()
}
