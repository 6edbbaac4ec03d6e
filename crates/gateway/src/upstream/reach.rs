//! What the keeper needs of a server, whatever it is: to be reached, to be heard ending, to be ended.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use sallyport_protocol::{BoxFuture, McpServer, Revision};
use sallyport_sandbox::Exceeded;

use crate::upstream::health::Outage;
use crate::upstream::standby::Sleeper;

/// Says what a start is at.
pub(crate) type Doing<'a> = &'a (dyn Fn(Cow<'static, str>) + Send + Sync);

/// A way to a server: a program to start, an address to connect to, a built-in to build.
pub(crate) trait Reach: Send + Sync + 'static {
    /// Reaches the server, handshake included. `known` is the revision it spoke the last time. Dropping the future ends
    /// what was begun.
    ///
    /// # Errors
    /// Why it cannot be reached.
    fn reach<'a>(&'a self, known: Option<Revision>, doing: Doing<'a>) -> BoxFuture<'a, Result<Reached, Outage>>;
}

/// Looks at which limit a program meets at the moment.
pub(crate) type Look = Arc<dyn Fn() -> Option<Exceeded> + Send + Sync>;

/// A server that was reached.
pub(crate) struct Reached {
    pub(crate) server: Arc<dyn McpServer>,
    pub(crate) hold: Box<dyn Hold>,
    /// A lost exchange is not the end: the next one connects anew.
    pub(crate) reconnects: bool,
}

/// The hold on a server that was reached. Dropping it ends the server the hard way.
pub(crate) trait Hold: Send + Sync {
    /// Waits until the server has ended by itself.
    fn ended(&self) -> BoxFuture<'_, Outage>;

    /// What may put it to sleep, where it is a program that may.
    fn sleeper(&self) -> Option<Arc<Sleeper>> {
        None
    }

    /// A look at which of its limits it meets at the moment, where it is a program that can be looked at. May block for milliseconds.
    fn look(&self) -> Option<Look> {
        None
    }

    /// What it was started from, where that is a package: its key in the store.
    fn package(&self) -> Option<String> {
        None
    }

    /// Ends it in order, within `grace`.
    fn close(&self, grace: Duration) -> BoxFuture<'_, ()>;
}
