//! What the server said of its own accord, kept in order.

use serde_json::Value;

/// A notification, or a question of the server's.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Where it came.
    pub stream: Stream,
    /// Its method.
    pub method: String,
    /// Its params, or null.
    pub params: Value,
    /// Whether the server wanted an answer: a request of its own, or an entry of `inputRequests`.
    pub is_question: bool,
}

/// A way on which messages reach the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The one there is: stdio's pipe, or the event stream of HTTP+SSE.
    Only,
    /// The answer to the request of this id.
    Request(u64),
    /// The standing stream of Streamable HTTP's GET.
    Standing,
}

impl Heard {
    /// The `progressToken` of a progress notification, or null.
    #[must_use]
    pub fn progress_token(&self) -> &Value {
        &self.params["progressToken"]
    }

    /// The id of the `subscriptions/listen` that this belongs to, or null.
    #[must_use]
    pub fn subscription(&self) -> &Value {
        &self.params["_meta"]["io.modelcontextprotocol/subscriptionId"]
    }
}
