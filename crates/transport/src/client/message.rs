//! What comes from a server: messages, and what only looks like one.

use bytes::Bytes;
use sallyport_protocol::{ErrorObject, Message, RequestId};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Messages in one array at most. 2025-03-26 alone knows them, and its servers put a call's notifications and its answer there.
const MOST_IN_A_BATCH: usize = 256;

/// One thing that a server sent.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message.
    Message(Message),
    /// Meant as a message, but none: whose answer it may have been, and what is wrong with it.
    Malformed { id: Option<u64>, what: String },
    /// No attempt at a message: a log line on stdout.
    Babble,
}

/// Reads what a server sent, one thing at a time.
pub(crate) fn read(text: &Bytes, mut take: impl FnMut(Received)) {
    let start = text.trim_ascii_start();
    if start.first() != Some(&b'[') {
        return take(judge(Message::parse(text), text));
    }
    match Message::parse_batch(text, MOST_IN_A_BATCH) {
        Ok(messages) => messages.into_iter().for_each(|message| take(judge(message, &Bytes::new()))),
        Err(_) => take(Received::Babble),
    }
}

/// The one message of a body that answers one request, where it is a message at all.
pub(crate) fn read_answer(text: &Bytes) -> Option<Message> {
    let mut answer = None;
    read(text, |received| {
        if let Received::Message(message @ (Message::Result { .. } | Message::Error { .. })) = received {
            answer = Some(message);
        }
    });
    answer
}

fn judge(parsed: Result<Message, sallyport_protocol::jsonrpc::NotAMessage>, text: &Bytes) -> Received {
    match parsed {
        Ok(message) => Received::Message(message),
        Err(refused) if memchr::memmem::find(text, b"\"jsonrpc\"").is_none() && refused.id.is_none() => Received::Babble,
        Err(refused) => {
            let id = refused.id.as_ref().and_then(RequestId::as_u64).or_else(|| id_in(text));
            let what = match refused.error.code {
                ErrorObject::PARSE => format!("it is not JSON ({})", refused.error.message),
                _ => refused.error.message,
            };
            Received::Malformed { id, what }
        }
    }
}

/// The id of a message whose other members are wrong.
fn id_in(text: &Bytes) -> Option<u64> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
    }
    serde_json::from_slice::<Envelope<'_>>(text).ok()?.id?.get().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &'static str) -> Vec<Received> {
        let mut out = Vec::new();
        read(&Bytes::from_static(text.as_bytes()), |received| out.push(received));
        out
    }

    #[test]
    fn log_lines_are_told_from_broken_answers() {
        for babble in ["Server running on stdio", "{\"level\":\"info\"}", "[debug] x", "{not json", "42", "[]"] {
            assert!(matches!(all(babble)[..], [Received::Babble]), "{babble}");
        }
        for (broken, whose) in [
            (r#"{"jsonrpc":"2.0","id":3,"result":"text"}"#, Some(3)),
            (r#"{"result":[1],"jsonrpc":"2.0","id":4}"#, Some(4)),
            (r#"{"jsonrpc":"2.0","id":5,"result":{}"#, Some(5)),
            (r#"{"jsonrpc":"2.0","result":{"#, None),
        ] {
            assert!(matches!(&all(broken)[..], [Received::Malformed { id, .. }] if *id == whose), "{broken}: {:?}", all(broken));
        }
    }

    #[test]
    fn a_batch_is_read_one_by_one() {
        let read = all(r#"[{"jsonrpc":"2.0","method":"notifications/message"},{"jsonrpc":"2.0","id":1,"result":{}}]"#);
        assert!(matches!(read[..], [Received::Message(Message::Notification { .. }), Received::Message(Message::Result { .. })]));
    }
}
