//! Log messages: asked for once a session, or with every request.

use sallyport_protocol::Era;
use serde_json::json;

use super::WireClient;
use super::fault::Fault;

impl WireClient {
    /// Asks for log messages of `level` and above: by `logging/setLevel`, or in the envelope of every later request.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn set_log_level(&self, level: &str) -> Result<(), Fault> {
        if self.revision().era() == Era::Modern {
            self.envelope.set_log_level(level);
            return Ok(());
        }
        self.request("logging/setLevel", json!({ "level": level })).await.map(|_empty| ())
    }
}
