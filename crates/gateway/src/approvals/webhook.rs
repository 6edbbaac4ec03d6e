//! A notice of a call that begins to wait, to where people are told of such things.
//!
//! It says who calls which tool, and by which handle the call is known; never the arguments. It is signed, so that its reader knows whose it
//! is, and says no more than that somebody should look: nothing that comes back is read.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;
use sallyport_identity::fetch::{Fetcher, Reach};
use sallyport_secrets::SecretReference;
use sallyport_store::approval::Approval;
use serde_json::json;
use tokio::sync::Semaphore;
use url::Url;

use super::now;

/// The header that holds the signature: `t=SECONDS,v1=HEX`, where HEX is the HMAC-SHA256 of `SECONDS.BODY`.
const SIGNATURE: HeaderName = HeaderName::from_static("sallyport-signature");
/// When a notice is sent, and sent again where nobody took it: a receiver that is being restarted is back by then.
const TRIES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(10)];
/// Notices under way at once: a receiver that does not answer is not to pile them up. Those beyond are left out, and the log says so.
pub(super) const MOST: usize = 32;

/// Sends notices to one place.
pub(super) struct Webhook {
    pub(super) url: Url,
    pub(super) secret: SecretReference,
    pub(super) fetcher: Fetcher,
}

impl Webhook {
    /// Tells of `approval`, in its own time; `page` is where it is decided.
    pub(super) fn tell(self, room: &Arc<Semaphore>, approval: &Approval, page: Option<String>) {
        let handle = approval.asked.handle.clone();
        let Ok(permit) = room.clone().try_acquire_owned() else {
            return tracing::warn!(handle, "no notice is sent of a call that waits: too many are under way");
        };
        let body = body(approval, page.as_deref());
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(why) = self.send(body).await {
                tracing::warn!(handle, "nobody took the notice of a call that waits: {why}");
            }
        });
    }

    async fn send(&self, body: Vec<u8>) -> Result<(), String> {
        let mut why = String::new();
        for wait in TRIES {
            tokio::time::sleep(wait).await;
            // Anew for each: the secret may have been replaced, and the time is part of what is signed.
            let headers = self.headers(&body)?;
            why = match self.fetcher.post_json(&self.url, Reach::Configured, headers, body.clone()).await {
                Ok(answer) if answer.status.is_success() => return Ok(()),
                Ok(answer) => format!("it answered with HTTP {}", answer.status.as_u16()),
                Err(error) => error.to_string(),
            };
        }
        Err(why)
    }

    fn headers(&self, body: &[u8]) -> Result<HeaderMap, String> {
        let secret = sallyport_secrets::resolve(&self.secret).map_err(|error| error.to_string())?;
        let signature = sign(secret.expose().as_bytes(), now(), body);
        let value = HeaderValue::try_from(signature).map_err(|error| error.to_string())?;
        Ok([(SIGNATURE, value)].into_iter().collect())
    }
}

fn sign(secret: &[u8], time: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(format!("{time}.").as_bytes());
    context.update(body);
    let digits: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={time},v1={digits}")
}

fn body(approval: &Approval, page: Option<&str>) -> Vec<u8> {
    let asked = &approval.asked;
    let notice = json!({
        "type": "approval.requested",
        "handle": asked.handle,
        "tenant": asked.tenant,
        "principal": asked.principal,
        "server": asked.server,
        "target": asked.target,
        "rule": asked.rule,
        "asked": approval.made,
        "expires": approval.ends,
        "page": page,
    });
    notice.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_its_time_and_body() {
        // By `openssl dgst -sha256 -hmac key`.
        let own = sign(b"key", 1_795_000_000, b"{}");
        assert_eq!(own, "t=1795000000,v1=71f6cd81e7ac967a6bfd8d621347e9ee7792b1fde3a9a64c3161a631437c7fb6");
        assert_ne!(own, sign(b"key", 1_795_000_000, b"[]"));
        assert_ne!(
            own.split_once(",").map(|(_, hex)| hex.to_owned()),
            sign(b"key", 1, b"{}").split_once(",").map(|(_, hex)| hex.to_owned())
        );
    }
}
