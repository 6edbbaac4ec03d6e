//! The ends of the matrix: a revision, and a transport that it has.

use std::fmt;

use sallyport_protocol::Revision;

/// How messages are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Stdio,
    HttpSse,
    StreamableHttp,
}

/// A client or a server, as far as the matrix tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) revision: Revision,
    pub(crate) transport: Transport,
}

impl Transport {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::HttpSse => "HTTP+SSE",
            Self::StreamableHttp => "Streamable HTTP",
        }
    }

    /// The transports that a revision specifies.
    pub(crate) const fn of(revision: Revision) -> [Self; 2] {
        match revision {
            Revision::V2024_11_05 => [Self::Stdio, Self::HttpSse],
            _ => [Self::Stdio, Self::StreamableHttp],
        }
    }
}

impl End {
    /// Every revision over each of its transports.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Revision::ALL.into_iter().flat_map(|revision| Transport::of(revision).map(|transport| Self { revision, transport }))
    }

    /// A name for a server in the configuration: the transport, and year and month. At the endpoint of all servers a tool's name
    /// has it in front, and all of that has to be short enough to stand as it is.
    pub(crate) fn server_name(self) -> String {
        let transport = match self.transport {
            Transport::Stdio => 'p',
            Transport::HttpSse => 'e',
            Transport::StreamableHttp => 'h',
        };
        let date: Vec<&str> = self.revision.as_str().split('-').collect();
        let year = date[0].chars().last().unwrap_or_default();
        format!("{transport}{year}{}", date[1])
    }
}

impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} over {}", self.revision, self.transport.name())
    }
}
