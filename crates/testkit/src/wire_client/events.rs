//! Server-sent events, read from the body of an answer.

use std::time::Duration;

use super::http::Reply;

/// One event.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Event {
    /// `event:`, empty where there was none.
    pub(super) name: String,
    /// `data:`, lines joined.
    pub(super) data: String,
}

/// A body as a row of events.
#[derive(Debug)]
pub(super) struct Events {
    reply: Reply,
    lines: Lines,
    /// The newest `id:`, with which the stream can be taken up again.
    pub(super) last_id: Option<String>,
    /// The newest `retry:`.
    pub(super) retry: Option<Duration>,
}

impl Events {
    pub(super) fn of(reply: Reply) -> Self {
        Self { reply, lines: Lines::default(), last_id: None, retry: None }
    }

    /// The same stream, going on in another answer.
    pub(super) fn taken_up(self, reply: Reply) -> Self {
        Self { reply, lines: Lines::default(), ..self }
    }

    /// The next event; `None` once the stream has ended.
    pub(super) async fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        let mut begun = false;
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                if begun {
                    return Some(event);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            begun |= !field.is_empty();
            match field {
                "event" => value.clone_into(&mut event.name),
                "data" if event.data.is_empty() => value.clone_into(&mut event.data),
                "data" => event.data = format!("{}\n{value}", event.data),
                "id" => self.last_id = Some(value.to_owned()),
                "retry" => self.retry = value.parse().ok().map(Duration::from_millis),
                _ => {}
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.lines.next() {
                return Some(line);
            }
            let chunk = self.reply.chunk().await?;
            self.lines.buffer.extend_from_slice(&chunk);
        }
    }
}

/// Bytes that are not yet read as lines.
#[derive(Debug, Default)]
struct Lines {
    buffer: Vec<u8>,
}

impl Lines {
    fn next(&mut self) -> Option<String> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }
}
