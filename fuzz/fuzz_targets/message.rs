//! Reading of messages, batches and objects: no panic; what was read and written is read the same again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sallyport_protocol::{Message, Meta, Method, RawJson, RawObject};

/// Messages in one batch at most, as the front door has it.
const BATCH: usize = 100;

fuzz_target!(|data: &[u8]| {
    let text = Bytes::copy_from_slice(data);
    match Message::parse(&text) {
        Ok(message) => stays_the_same(&message),
        Err(bad) => assert!(bad.error.code < 0),
    }
    if let Ok(batch) = Message::parse_batch(&text, BATCH) {
        assert!((1..=BATCH).contains(&batch.len()));
        batch.into_iter().flatten().for_each(|message| stays_the_same(&message));
    }
    if let Ok(object) = RawObject::parse(&text) {
        change(object);
    }
    if let Ok(value) = RawJson::parse(text) {
        let _ = (value.array(), value.string_value());
    }
});

fn stays_the_same(message: &Message) {
    let line = Bytes::from(message.to_line());
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    let again = Message::parse(&line).expect("a written message is one");
    assert_eq!(again.to_line(), line);
    if let Message::Request { method, .. } = message
        && let Some(known) = Method::from_name(method).or_else(|| Method::of_extension(method))
    {
        assert_eq!(known.as_str(), method);
    }
}

/// An object with a member changed is an object with the others as they were.
fn change(mut object: RawObject) {
    let before: Vec<_> = object.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
    if let Some((key, _)) = before.first() {
        object.set(key, RawJson::from_static("[1]"));
        let written = RawObject::parse(&object.to_bytes()).expect("a changed object is one");
        assert!(before.iter().skip(1).all(|(key, value)| written.get(key) == Some(value)));
        assert_eq!(written.len(), before.len());
    }
    let _ = Meta::take_from(&mut object);
    assert!(RawJson::parse(object.to_bytes()).is_ok());
}
