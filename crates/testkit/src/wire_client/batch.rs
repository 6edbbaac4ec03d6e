//! Batches, which 2025-03-26 has.

use serde_json::{Value, json};

use super::fault::{Answer, Fault};
use super::{PATIENCE, WireClient};

impl WireClient {
    /// Sends requests together, and gives their answers in the same order.
    ///
    /// # Errors
    /// When the batch cannot be sent; an answer that is an error stands in its place.
    pub async fn batch(&self, requests: &[(&str, Value)]) -> Result<Vec<Answer>, Fault> {
        let ids: Vec<u64> = requests.iter().map(|_| self.next_id()).collect();
        let answers: Vec<_> = ids.iter().map(|id| self.inbox.expect(*id)).collect();
        let members = ids.iter().zip(requests);
        let batch = members.map(|(id, (method, params))| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        self.channel.request(ids.clone(), batch.collect()).await?;
        let mut found = Vec::with_capacity(answers.len());
        for answer in answers {
            let answer = tokio::time::timeout(PATIENCE, answer).await;
            found.push(match answer {
                Ok(Ok(answer)) => answer,
                Ok(Err(_dropped)) => Err(Fault::Closed("the batch was given up".to_owned())),
                Err(_elapsed) => Err(Fault::TimedOut),
            });
        }
        Ok(found)
    }
}
