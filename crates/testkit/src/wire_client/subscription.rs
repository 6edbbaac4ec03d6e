//! News of lists and resources: by `resources/subscribe` and a standing stream, or by `subscriptions/listen`.

use sallyport_protocol::Era;
use serde_json::{Value, json};

use super::WireClient;
use super::fault::{Answer, Fault};
use super::flight::Flight;

/// A wish for news, as long as it is not ended.
#[derive(Debug)]
pub struct Subscription<'a> {
    client: &'a WireClient,
    uris: Vec<String>,
    /// The `subscriptions/listen` that is open, from 2026-07-28 on.
    listening: Option<Flight<'a>>,
}

impl WireClient {
    /// Asks for news of the three lists and of the resources named, and waits until the server has taken note.
    ///
    /// # Errors
    /// When the server refuses, or does not acknowledge.
    pub async fn subscribe(&self, uris: &[&str]) -> Result<Subscription<'_>, Fault> {
        let uris: Vec<String> = uris.iter().map(|uri| (*uri).to_owned()).collect();
        if self.revision().era() == Era::Modern {
            let listening = Some(self.listen(&uris).await?);
            return Ok(Subscription { client: self, uris, listening });
        }
        self.channel.stand().await?;
        for uri in &uris {
            self.request("resources/subscribe", json!({ "uri": uri })).await?;
        }
        Ok(Subscription { client: self, uris, listening: None })
    }

    async fn listen(&self, uris: &[String]) -> Result<Flight<'_>, Fault> {
        let mark = self.mark();
        let mut wanted = json!({ "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true });
        if !uris.is_empty() {
            wanted["resourceSubscriptions"] = json!(uris);
        }
        let flight = self.begin("subscriptions/listen", json!({ "notifications": wanted })).await?;
        let id = json!(flight.id());
        self.wait(mark, |heard| heard.method == "notifications/subscriptions/acknowledged" && *heard.subscription() == id).await?;
        Ok(flight)
    }
}

impl Subscription<'_> {
    /// The id of the `subscriptions/listen`, from 2026-07-28 on.
    #[must_use]
    pub fn id(&self) -> Option<Value> {
        self.listening.as_ref().map(|flight| json!(flight.id()))
    }

    /// Ends it, in the way of the revision.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn end(self) -> Result<(), Fault> {
        if let Some(flight) = self.listening {
            return flight.cancel().await.map(drop);
        }
        for uri in &self.uris {
            let answer: Answer = self.client.request("resources/unsubscribe", json!({ "uri": uri })).await;
            answer?;
        }
        Ok(())
    }
}
