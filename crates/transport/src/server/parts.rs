//! A message that is sent in parts, so that a large payload is not copied.

use std::collections::VecDeque;
use std::io::{IoSlice, Write as _};

use bytes::{Buf, Bytes};
use sallyport_protocol::jsonrpc::result_head;
use sallyport_protocol::raw::write_string;
use sallyport_protocol::{RawObject, RequestId};

use crate::frame::Line;
use crate::session::EventId;

/// Pieces up to this size are gathered into one buffer: a copy is cheaper than another vector of the system call.
const GATHERED_BYTES: usize = 16 * 1024;

/// Bytes that are sent one part behind the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    first: Bytes,
    rest: VecDeque<Bytes>,
}

impl From<Vec<u8>> for Parts {
    fn from(text: Vec<u8>) -> Self {
        Self { first: Bytes::from(text), rest: VecDeque::new() }
    }
}

impl From<Bytes> for Parts {
    fn from(text: Bytes) -> Self {
        Self { first: text, rest: VecDeque::new() }
    }
}

impl Parts {
    /// The JSON-RPC message that answers request `id` with `result`.
    pub(crate) fn of_result(id: &RequestId, result: &RawObject) -> Self {
        let mut gather = Gather::new(result_head(id));
        match result.unchanged() {
            Some(text) => gather.add(text),
            None => gather.add_members(result),
        }
        gather.buffer.push(b'}');
        gather.done()
    }

    /// The message as the data of one server-sent event; only streams that can be resumed give their events ids.
    pub(crate) fn into_event(self, id: Option<EventId>) -> Self {
        let mut gather = Gather::new(Vec::with_capacity(self.remaining().min(GATHERED_BYTES) + 64));
        gather.buffer.extend_from_slice(b"event: message\n");
        if let Some(id) = id {
            // Writing to a vector does not fail.
            let _ = writeln!(gather.buffer, "id: {id}");
        }
        gather.buffer.extend_from_slice(b"data: ");
        for part in std::iter::once(self.first).chain(self.rest) {
            gather.add(&without_breaks(part));
        }
        gather.buffer.extend_from_slice(b"\n\n");
        gather.done()
    }

    /// The message as a line of stdio.
    pub(crate) fn into_line(mut self) -> Line {
        match (self.rest.pop_front(), self.rest.pop_front(), self.rest.is_empty()) {
            (Some(second), Some(third), true) => Line::of_parts([self.first, second, third]),
            (Some(second), None, _) => Line::of_parts([self.first, second, Bytes::new()]),
            (None, ..) => Line::new(without_breaks(self.first)),
            (Some(second), Some(third), false) => {
                let parts = [self.first, second, third];
                Line::new(without_breaks(parts.into_iter().chain(self.rest).flatten().collect()))
            }
        }
    }

    /// The message as one piece without line breaks.
    pub(crate) fn into_bytes(self) -> Bytes {
        if self.rest.is_empty() {
            return without_breaks(self.first);
        }
        let mut out = Vec::with_capacity(self.remaining());
        std::iter::once(self.first).chain(self.rest).for_each(|part| out.extend_from_slice(&part));
        without_breaks(Bytes::from(out))
    }
}

/// Inside JSON's strings a line break is always escaped, so one that is found stands between tokens and may be a space.
fn without_breaks(text: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &text).is_none() {
        return text;
    }
    text.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

/// Collects small pieces into a buffer and lets large ones stand alone.
struct Gather {
    buffer: Vec<u8>,
    parts: Vec<Bytes>,
}

impl Gather {
    fn new(buffer: Vec<u8>) -> Self {
        Self { buffer, parts: Vec::new() }
    }

    fn add(&mut self, piece: &Bytes) {
        if piece.len() <= GATHERED_BYTES {
            self.buffer.extend_from_slice(piece);
            return;
        }
        self.parts.push(Bytes::from(std::mem::take(&mut self.buffer)));
        self.parts.push(piece.clone());
    }

    fn add_members(&mut self, object: &RawObject) {
        self.buffer.push(b'{');
        for (at, (key, value)) in object.iter().enumerate() {
            if at > 0 {
                self.buffer.push(b',');
            }
            write_string(&mut self.buffer, key);
            self.buffer.push(b':');
            self.add(value.as_bytes());
        }
        self.buffer.push(b'}');
    }

    fn done(self) -> Parts {
        if self.parts.is_empty() {
            return Parts::from(self.buffer);
        }
        let mut rest = VecDeque::from(self.parts);
        rest.push_back(Bytes::from(self.buffer));
        Parts { first: rest.pop_front().unwrap_or_default(), rest }
    }
}

impl Buf for Parts {
    fn remaining(&self) -> usize {
        self.first.len() + self.rest.iter().map(Bytes::len).sum::<usize>()
    }

    fn chunk(&self) -> &[u8] {
        if self.first.is_empty() { self.rest.iter().find(|part| !part.is_empty()).map_or(&[], |part| part) } else { &self.first }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = std::iter::once(&self.first).chain(&self.rest).filter(|part| !part.is_empty());
        slices.iter_mut().zip(parts).map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    fn advance(&mut self, mut count: usize) {
        loop {
            let step = count.min(self.first.len());
            self.first.advance(step);
            count -= step;
            if !self.first.is_empty() {
                return;
            }
            match self.rest.pop_front() {
                Some(next) => self.first = next,
                None => {
                    assert!(count == 0, "advanced beyond the end");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use sallyport_protocol::RawJson;

    fn all(mut parts: Parts) -> String {
        let length = parts.remaining();
        let mut slices = [IoSlice::new(&[]); 8];
        let counted: usize = {
            let filled = parts.chunks_vectored(&mut slices);
            slices.iter().take(filled).map(|slice| slice.len()).sum()
        };
        assert_eq!(counted, length);
        String::from_utf8(parts.copy_to_bytes(length).to_vec()).unwrap()
    }

    fn object(text: String) -> RawObject {
        RawObject::parse(&Bytes::from(text)).unwrap()
    }

    #[test]
    fn a_small_result_is_one_piece() {
        let parts = Parts::of_result(&RequestId::number(7), &object(r#"{ "a": 1 }"#.into()));
        assert!(parts.rest.is_empty());
        assert_eq!(all(parts), r#"{"jsonrpc":"2.0","id":7,"result":{ "a": 1 }}"#);
    }

    #[test]
    fn a_large_member_is_not_copied_even_where_others_were_changed() {
        let large = "x".repeat(GATHERED_BYTES + 1);
        let mut result = object(format!(r#"{{"text":"{large}"}}"#));
        let shared = result.get("text").unwrap().as_bytes().as_ptr();
        result.set("resultType", RawJson::from_static("\"complete\""));
        let parts = Parts::of_result(&RequestId::number(1), &result);
        assert!(parts.rest.iter().any(|part| part.as_ptr() == shared));
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"text":"{large}","resultType":"complete"}}}}"#);
        assert_eq!(all(parts.clone()), text);
        assert_eq!(parts.clone().into_bytes(), text);
        assert_eq!(all(parts.into_event(None)), format!("event: message\ndata: {text}\n\n"));
    }

    #[test]
    fn breaks_between_tokens_never_reach_a_stream() {
        let result = object("{\n \"a\":\r\n [1]\n}".into());
        let parts = Parts::of_result(&RequestId::number(1), &result);
        assert!(!all(parts.clone().into_event(None)).trim_end().replace("event: message\n", "").contains('\n'));
        assert!(!parts.into_bytes().contains(&b'\n'));
    }
}
