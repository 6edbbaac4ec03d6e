//! Answers DNS questions (RFC 1035) out of the allow-list alone: no question ever leaves this process, so none carries anything out.

use std::net::Ipv4Addr;

use super::bytes::Bytes;
use super::name::Name;
use super::synthetic::TTL_SECONDS;

/// The largest question over UDP without extensions; larger ones are not looked at.
pub(super) const LONGEST_QUESTION: usize = 512;

/// What is known of a name that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It stands for this address.
    At(Ipv4Addr),
    /// It is not allowed.
    Unknown,
    /// It is allowed, but no address is free for it.
    NoAddress,
}

const HEADER: usize = 12;
const RESPONSE: u8 = 0x80;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
const OPCODE: u8 = 0x78;

const FORMAT_ERROR: u8 = 1;
const SERVER_FAILURE: u8 = 2;
const NAME_ERROR: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;

const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;

/// The answer to one packet; `None` for what is no question at all. `look_up` is asked once at most.
pub(super) fn answer(packet: &[u8], look_up: impl FnOnce(&Name) -> Known) -> Option<Vec<u8>> {
    let header = packet.get(..HEADER).filter(|_| packet.len() <= LONGEST_QUESTION)?;
    let &[_, _, flags, _, count_high, count_low, ..] = header else { return None };
    if flags & RESPONSE != 0 {
        return None;
    }
    if flags & OPCODE != 0 {
        return Some(reply(header, NOT_IMPLEMENTED, None, None));
    }
    let body = packet.get(HEADER..)?;
    let Some(question) = Some(body).filter(|_| (count_high, count_low) == (0, 1)).and_then(read_question) else {
        return Some(reply(header, FORMAT_ERROR, None, None));
    };
    let Some(name) = question.name else {
        return Some(reply(header, NAME_ERROR, Some(question.bytes), None));
    };
    Some(match look_up(&name) {
        Known::Unknown => reply(header, NAME_ERROR, Some(question.bytes), None),
        Known::NoAddress => reply(header, SERVER_FAILURE, Some(question.bytes), None),
        Known::At(address) => {
            let asked = (question.kind, question.class) == (TYPE_A, CLASS_IN);
            reply(header, 0, Some(question.bytes), asked.then_some(address))
        }
    })
}

struct Question<'a> {
    /// `None` where it is not a host's name.
    name: Option<Name>,
    kind: u16,
    class: u16,
    /// As it was asked: some programs check the case of what comes back.
    bytes: &'a [u8],
}

/// Reads the question at the start of `body`. A question has nothing before it that a compression pointer could point to.
fn read_question(body: &[u8]) -> Option<Question<'_>> {
    let mut rest = Bytes(body);
    let (mut text, mut is_text) = (String::new(), true);
    loop {
        let length = rest.u8()?;
        match length {
            0 => break,
            1..=63 => {}
            _ => return None, // a pointer
        }
        let label = rest.take(length.into())?;
        // A dot inside a label would be read as a border of labels.
        is_text &= label.is_ascii() && !label.contains(&b'.');
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&String::from_utf8_lossy(label));
    }
    let (kind, class) = (rest.u16()?, rest.u16()?);
    let bytes = body.get(..body.len() - rest.0.len())?;
    Some(Question { name: Name::new(&text).filter(|_| is_text), kind, class, bytes })
}

fn reply(header: &[u8], code: u8, question: Option<&[u8]>, address: Option<Ipv4Addr>) -> Vec<u8> {
    let (questions, answers) = (u8::from(question.is_some()), u8::from(address.is_some()));
    let mut packet = Vec::with_capacity(LONGEST_QUESTION);
    packet.extend(header.iter().take(2));
    let flags = header.get(2).copied().unwrap_or_default();
    packet.extend([RESPONSE | (flags & (OPCODE | RECURSION_DESIRED)), RECURSION_AVAILABLE | code]);
    packet.extend([0, questions, 0, answers, 0, 0, 0, 0]);
    packet.extend(question.unwrap_or_default());
    if let Some(address) = address {
        packet.extend([0xc0, 12]); // the name of the question, which begins at byte 12
        packet.extend(TYPE_A.to_be_bytes());
        packet.extend(CLASS_IN.to_be_bytes());
        packet.extend(TTL_SECONDS.to_be_bytes());
        packet.extend([0, 4]);
        packet.extend(address.octets());
    }
    packet
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use proptest::prelude::*;

    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 7);

    fn question(labels: &[&[u8]], kind: u16) -> Vec<u8> {
        let mut packet = vec![0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            packet.push(label.len().try_into().unwrap());
            packet.extend(*label);
        }
        packet.push(0);
        packet.extend(kind.to_be_bytes());
        packet.extend([0, 1]);
        packet
    }

    fn known(name: &Name) -> Known {
        match name.as_str() {
            "api.example" => Known::At(ADDRESS),
            "full.example" => Known::NoAddress,
            _ => Known::Unknown,
        }
    }

    fn code(packet: &[u8]) -> u8 {
        packet[3] & 0x0f
    }

    #[test]
    fn an_allowed_name_gets_its_address_in_the_case_that_was_asked() {
        let asked = question(&[b"ApI", b"eXample"], 1);
        let answered = answer(&asked, known).unwrap();
        assert_eq!(answered[..12], [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(answered[12..asked.len()], asked[12..]);
        assert_eq!(answered[asked.len()..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 19, 0, 7]);
    }

    #[test]
    fn other_types_of_an_allowed_name_are_empty_and_not_errors() {
        for kind in [28, 65, 16, 255] {
            let answered = answer(&question(&[b"api", b"example"], kind), known).unwrap();
            assert_eq!((code(&answered), answered[7]), (0, 0), "type {kind}");
        }
    }

    #[test]
    fn every_other_name_does_not_exist() {
        let names: &[&[&[u8]]] = &[
            &[b"evil", b"example"],
            &[b"api.example"],
            &[b"api\0", b"example"],
            &[b"secret-in-a-label", b"api", b"example"],
            &[b"\xff\xfe"],
            &[],
        ];
        for name in names {
            for kind in [1, 16, 28] {
                let answered = answer(&question(name, kind), known).unwrap();
                assert_eq!((code(&answered), answered[7]), (3, 0), "{name:?}");
            }
        }
        assert_eq!(code(&answer(&question(&[b"full", b"example"], 1), known).unwrap()), 2);
    }

    #[test]
    fn what_is_no_question_is_refused_or_dropped() {
        let good = question(&[b"api", b"example"], 1);
        assert_eq!(answer(&[], known), None);
        assert_eq!(answer(&good[..11], known), None);
        let mut response = good.clone();
        response[2] |= 0x80;
        assert_eq!(answer(&response, known), None);
        assert_eq!(answer(&[good.clone(), vec![0; 512]].concat(), known), None);
        let mut update = good.clone();
        update[2] = 0x28;
        assert_eq!(code(&answer(&update, known).unwrap()), 4);
        let mut two = good.clone();
        two[5] = 2;
        assert_eq!(code(&answer(&two, known).unwrap()), 1);
        let pointer = [&good[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
        assert_eq!(code(&answer(&pointer, known).unwrap()), 1);
        assert_eq!(code(&answer(&good[..20], known).unwrap()), 1);
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_stumble_or_answer_at_length(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(answered) = answer(&packet, |_| Known::At(ADDRESS)) {
                prop_assert!(answered.len() <= packet.len() + 16);
            }
        }
    }
}
