//! One picture of the live view.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, Wrap};
use sallyport_gateway::plan::{ServerPlan, Source};
use sallyport_gateway::upstream::{Upstream, UpstreamState};
use sallyport_sandbox::{Exceeded, Network};
use sallyport_telemetry::{AuditRecord, Outcome, StandbyState};

use super::{Page, View};
use crate::tools::shown;

/// A picture of the view at one moment.
pub(super) struct Screen<'v> {
    view: &'v View,
}

impl<'v> Screen<'v> {
    pub(super) fn of(view: &'v View) -> Self {
        Self { view }
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let servers = self.view.gateway.upstreams();
        let table_height = u16::try_from(servers.len()).unwrap_or(u16::MAX).saturating_add(3).min(frame.area().height / 2);
        let areas = Layout::vertical([Constraint::Length(1), Constraint::Length(table_height), Constraint::Min(3), Constraint::Length(1)]);
        let [title, above, below, keys] = areas.areas(frame.area());
        frame.render_widget(Line::from(vec!["sallyport ".bold().green(), self.view.url.as_str().into()]), title);
        draw_servers(frame, above, &servers);
        match self.view.page {
            Page::Calls => self.draw_calls(frame, below),
            Page::Clients => {
                let lines = Paragraph::new(self.view.clients.as_str()).wrap(Wrap { trim: false });
                let title = " paste into your client (what does not fit: `sallyport connect CLIENT --dry-run`) ";
                frame.render_widget(lines.block(Block::new().borders(Borders::TOP).title(title)), below);
            }
        }
        frame.render_widget(Line::from(" q quit   c clients' lines ").dim(), keys);
    }

    fn draw_calls(&self, frame: &mut Frame<'_>, area: Rect) {
        let rows = self.view.calls.iter().take(usize::from(area.height)).map(call_row);
        let widths = [
            Constraint::Length(8),
            Constraint::Length(10),
            Constraint::Length(18),
            Constraint::Length(14),
            Constraint::Min(20),
            Constraint::Length(10),
        ];
        let missed = self.view.tap.missed();
        let title = if missed == 0 { " calls ".to_owned() } else { format!(" calls ({missed} not shown) ") };
        let header = Row::new(["time", "outcome", "client", "server", "what", "took"]).style(Style::new().add_modifier(Modifier::DIM));
        frame.render_widget(Table::new(rows, widths).header(header).block(Block::new().borders(Borders::TOP).title(title)), area);
    }
}

/// A server's name, with its version where another runs beside it.
fn titled(server: &Upstream) -> String {
    let version = server.version().map(|version| format!(" {}", shown(version))).unwrap_or_default();
    format!("{}{version}", server.name())
}

fn draw_servers(frame: &mut Frame<'_>, area: Rect, servers: &[std::sync::Arc<Upstream>]) {
    let rows = servers.iter().map(|server| {
        let state = server.state();
        let colour = match state {
            UpstreamState::Ready { .. } => Color::Green,
            UpstreamState::Failed { .. } => Color::Red,
            _ => Color::Yellow,
        };
        let (boundary, is_open) = boundary(server.plan());
        Row::new([
            Cell::from(titled(server)),
            Cell::from(told(&state, server.standby(), server.met())).fg(colour),
            Cell::from(server.listing().tools.len().to_string()),
            Cell::from(boundary).fg(if is_open { Color::Yellow } else { Color::Reset }),
        ])
    });
    let widths = [Constraint::Length(18), Constraint::Min(30), Constraint::Length(6), Constraint::Length(34)];
    let header = Row::new(["server", "state", "tools", "boundary"]).style(Style::new().add_modifier(Modifier::DIM));
    frame.render_widget(Table::new(rows, widths).header(header).block(Block::new().borders(Borders::TOP)), area);
}

/// What a server runs in, and whether that is less than it could be.
fn boundary(plan: &ServerPlan) -> (&'static str, bool) {
    match &plan.source {
        Source::BuiltIn(built_in) if built_in.writes() => ("built in, confined to what it names, writes", false),
        Source::BuiltIn(_) => ("built in, confined to what it names", false),
        Source::Remote(_) => ("elsewhere", false),
        Source::Stdio(stdio) if stdio.sandbox.is_none() => ("NO SANDBOX", true),
        Source::Stdio(stdio) => match stdio.network {
            Network::None => ("sandbox, no network", false),
            Network::Only(_) => ("sandbox, named hosts only", false),
            Network::Host => ("sandbox, WHOLE NETWORK", true),
        },
    }
}

fn told(state: &UpstreamState, standby: Option<StandbyState>, met: Option<Exceeded>) -> String {
    match state {
        UpstreamState::Idle => "waits for a call".into(),
        UpstreamState::Starting { since, doing } => format!("{doing} ({} s)", since.elapsed().as_secs()),
        UpstreamState::Ready { revision, identity } => {
            let word = standby.filter(|state| *state != StandbyState::Awake).map_or("ready", StandbyState::as_str);
            let met = met.map(|met| format!(", {met}")).unwrap_or_default();
            format!("{word}: {} ({revision}){met}", shown(&identity.name()))
        }
        UpstreamState::Failed { outage, .. } => format!("failed: {}", shown(&outage.why)),
        UpstreamState::Stopped => "stopped".into(),
    }
}

fn call_row<'r>(record: &AuditRecord<'r>) -> Row<'r> {
    let text = |text: Option<&str>| shown(text.unwrap_or("–"));
    let colour = match record.outcome {
        Outcome::Ok => Color::Green,
        Outcome::ToolError => Color::Yellow,
        Outcome::InputRequired => Color::Blue,
        Outcome::Denied | Outcome::Failed => Color::Red,
        Outcome::Cancelled => Color::DarkGray,
    };
    let time = record.time.to_string().chars().skip("2026-01-01T".len()).take(8).collect::<String>();
    let what = match &record.target {
        Some(target) => format!("{} {}", record.method, target),
        None => record.method.to_string(),
    };
    let took = record.durations.total.map(|total| format!("{:.1} ms", total.as_secs_f64() * 1e3)).unwrap_or_default();
    Row::new([
        Cell::from(time),
        Cell::from(record.outcome.as_str()).fg(colour),
        Cell::from(text(record.client.as_ref().map(|client| client.as_str()))),
        Cell::from(text(record.server.as_ref().map(|server| server.as_str()))),
        Cell::from(shown(&what)),
        Cell::from(took),
    ])
}

#[cfg(test)]
mod tests {
    use sallyport_protocol::{Revision, ServerIdentity};

    use super::*;

    #[test]
    fn a_limit_that_was_met_stands_behind_the_state() {
        let state = UpstreamState::Ready { revision: Revision::LATEST, identity: ServerIdentity::new("files", "1") };
        assert_eq!(told(&state, None, None), "ready: files (2026-07-28)");
        let met = Some(Exceeded::OpenFiles(64));
        assert_eq!(told(&state, None, met), "ready: files (2026-07-28), has as many files open as a process of it may, 64");
    }
}
