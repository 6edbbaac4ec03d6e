//! What is read and written again is the same: as bytes where it was written as we write it, else as a value.

use bytes::Bytes;
use proptest::prelude::*;
use sallyport_protocol::{Message, RawJson, RawObject};
use serde_json::Value;

use crate::{corpus, generate};

/// Arrays in arrays: far more than a reader that goes down a level a call could take.
const DEEP: usize = 200_000;

fn rewritten(text: &Bytes) -> Bytes {
    let message = Message::parse(text).unwrap_or_else(|bad| panic!("{bad}: {}", String::from_utf8_lossy(text)));
    Bytes::from(message.to_line())
}

fn value(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap()
}

#[test]
fn every_recorded_message_says_the_same_after_reading_and_writing() {
    for (revision, text) in corpus::messages() {
        let once = rewritten(&text);
        assert_eq!(value(&once), value(&text), "{revision}");
        assert_eq!(rewritten(&once), once, "{revision}");
    }
}

#[test]
fn depth_costs_no_stack() {
    let deep = format!("{}{}", "[".repeat(DEEP), "]".repeat(DEEP));
    for text in [
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"arguments":{deep}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":{deep}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":1,"message":"m","data":{deep}}}}}"#),
    ] {
        assert_eq!(rewritten(&Bytes::from(text.clone())), text);
    }
}

proptest! {
    #[test]
    fn a_message_is_written_as_it_was_read(text in generate::message()) {
        prop_assert_eq!(rewritten(&Bytes::from(text.clone())), text);
    }

    #[test]
    fn a_batch_is_its_messages(texts in proptest::collection::vec(generate::message(), 1..5)) {
        let batch = Bytes::from(format!("[{}]", texts.join(" , ")));
        let read = Message::parse_batch(&batch, texts.len()).unwrap();
        let written: Vec<_> = read.into_iter().map(|message| message.unwrap().to_line()).collect();
        prop_assert_eq!(written, texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
        prop_assert!(Message::parse_batch(&batch, texts.len() - 1).is_err());
    }

    #[test]
    fn line_breaks_between_tokens_change_nothing(text in generate::object(), at in any::<proptest::sample::Index>()) {
        let broken = format!("{{\n\"result\":{text}\r\n,\"id\":1,\n\"jsonrpc\":\"2.0\"}}");
        let line = rewritten(&Bytes::from(broken.clone()));
        prop_assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
        prop_assert_eq!(value(&line), value(broken.as_bytes()));
        // Cut anywhere it is no message any more, and says so.
        let cut = at.index(broken.len());
        prop_assert!(Message::parse(&Bytes::copy_from_slice(&broken.as_bytes()[..cut])).is_err());
    }

    #[test]
    fn any_bytes_are_a_message_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = Message::parse(&Bytes::from(bytes)) {
            let line = Bytes::from(message.to_line());
            prop_assert_eq!(rewritten(&line), line);
        }
    }

    #[test]
    fn a_changed_object_keeps_its_other_members(text in generate::object(), new in generate::json()) {
        let mut object = RawObject::parse(&Bytes::from(text)).unwrap();
        let before: Vec<_> = object.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
        object.set("\"new\"", RawJson::parse(new.clone()).unwrap());
        let written = RawObject::parse(&object.to_bytes()).unwrap();
        let found: Vec<_> = written.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
        prop_assert_eq!(&found[..before.len()], &before[..]);
        prop_assert_eq!(written.get("\"new\"").unwrap().as_str(), new);
    }
}
