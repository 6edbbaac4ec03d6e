//! Requests on their way: begun, awaited, cancelled; and sent again with the answers that the server asked for.

use std::time::Duration;

use sallyport_protocol::Era;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::channel::Channel;
use super::fault::{Answer, Fault};
use super::{PATIENCE, WireClient};

/// How often the client sends a request again before it takes the server for one that never has enough.
const ROUNDS: usize = 16;

/// A request that was sent and whose answer nobody took yet.
#[derive(Debug)]
pub struct Flight<'a> {
    client: &'a WireClient,
    id: u64,
    answer: oneshot::Receiver<Answer>,
    stream: Option<AbortHandle>,
}

impl WireClient {
    /// Sends a request, and leaves the answer to whoever waits for it. An `input_required` is such an answer.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub async fn begin(&self, method: &str, params: Value) -> Result<Flight<'_>, Fault> {
        let id = self.next_id();
        let answer = self.inbox.expect(id);
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": self.envelope.wrap(params) });
        let stream = self.channel.request(vec![id], message).await?;
        Ok(Flight { client: self, id, answer, stream })
    }

    /// Answers what the server asks for until it is content, starting from `answer` to the request of that `id`.
    pub(super) async fn complete(&self, method: &str, params: Value, id: u64, answer: Value) -> Answer {
        let (mut id, mut answer) = (id, answer);
        for _ in 0..ROUNDS {
            if answer["resultType"] != "input_required" {
                return Ok(answer);
            }
            let Some(retry) = self.retry(&params, id, &answer) else { return Ok(answer) };
            let flight = self.begin(method, retry).await?;
            id = flight.id();
            answer = flight.answer().await?;
        }
        Err(Fault::NotSpoken(format!("the server wants input after {ROUNDS} rounds: {answer}")))
    }

    /// The params of the retry; `None` where the person does not answer.
    fn retry(&self, params: &Value, id: u64, answer: &Value) -> Option<Value> {
        let mut responses = Map::new();
        for (key, question) in answer["inputRequests"].as_object().into_iter().flatten() {
            responses.insert(key.clone(), self.inbox.ask(id, question)?);
        }
        let mut retry = params.clone();
        if !responses.is_empty() {
            retry["inputResponses"] = Value::Object(responses);
        }
        if let Some(state) = answer.get("requestState") {
            retry["requestState"] = state.clone();
        }
        Some(retry)
    }
}

impl Flight<'_> {
    /// The request's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// When it is an error, or none comes within [`PATIENCE`].
    pub async fn answer(self) -> Answer {
        self.answer_within(PATIENCE).await.unwrap_or(Err(Fault::TimedOut))
    }

    /// Waits that long for the answer; `None` where none came.
    pub async fn answer_within(self, patience: Duration) -> Option<Answer> {
        let answer = tokio::time::timeout(patience, self.answer).await.ok()?;
        Some(answer.unwrap_or_else(|_dropped| Err(Fault::Closed("the request was given up".to_owned()))))
    }

    /// Takes the request back in the way of the revision and transport: by a notification, or from 2026-07-28 on over HTTP by
    /// closing the stream. Gives back the flight, for those who want to see that no answer comes.
    ///
    /// # Errors
    /// When the notification cannot be sent.
    pub async fn cancel(self) -> Result<Self, Fault> {
        let modern = self.client.revision().era() == Era::Modern;
        match &self.stream {
            Some(stream) if modern => stream.abort(),
            _ => self.client.notify_cancelled(self.id).await?,
        }
        Ok(self)
    }
}

impl WireClient {
    async fn notify_cancelled(&self, id: u64) -> Result<(), Fault> {
        let params = json!({ "requestId": id, "reason": "the person changed their mind" });
        self.notify("notifications/cancelled", params).await
    }

    /// Whether the request's answers have streams of their own.
    #[must_use]
    pub fn is_streamable_http(&self) -> bool {
        matches!(self.channel, Channel::StreamableHttp(_))
    }
}
