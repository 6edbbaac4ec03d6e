#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use super::*;
use crate::egress::{Allowed, Surroundings};
use crate::profile::Limits;

/// Sends everything back, once it has all.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut all = Vec::new();
                let _broken = stream.read_to_end(&mut all).and_then(|_| stream.write_all(&all));
            });
        }
    });
    address
}

/// The guest's end of a port that is served, and what ends it.
fn guest(allowed: SocketAddr) -> (Port, watch::Sender<Option<Exit>>) {
    let (ours, theirs) = Port::pair().unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let allowed = Allowed::new(vec![allowed.to_string().parse().unwrap()]).unwrap();
    let (end, ended) = watch::channel(None);
    start(theirs, Room::new("", "test", allowed, Limits::default(), Surroundings::default()), ended).unwrap();
    (ours, end)
}

fn say(port: &mut Port, records: &[Carried]) {
    for record in records {
        port.write_all(&record.encode()).unwrap();
    }
}

/// The next record; `None` at the end.
fn next(port: &mut Port) -> Option<Carried> {
    let mut header = [0; HEADER];
    port.read_exact(&mut header).ok()?;
    let (kind, length) = length(header, LONGEST_CARRIED).unwrap();
    let mut rest = vec![0; length];
    port.read_exact(&mut rest).unwrap();
    Some(Carried::decode(kind, &rest).unwrap())
}

#[test]
fn bytes_go_there_and_back_within_the_windows() {
    let address = echo();
    let (mut port, _end) = guest(address);
    let sent: Vec<u8> = (0..300_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
    say(&mut port, &[Carried::Open(1, address)]);
    let (mut credit, mut rest, mut back, mut has_ended) = (WINDOW_BYTES, &*sent, Vec::new(), false);
    loop {
        while credit > 0 && !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(credit).min(PIECE));
            say(&mut port, &[Carried::Data(1, piece.to_vec())]);
            (rest, credit) = (behind, credit - piece.len());
        }
        if rest.is_empty() && !has_ended {
            say(&mut port, &[Carried::End(1)]);
            has_ended = true;
        }
        match next(&mut port).unwrap() {
            Carried::Taken(1, count) => credit += usize::try_from(count).unwrap(),
            Carried::Data(1, bytes) => {
                say(&mut port, &[Carried::Taken(1, u32::try_from(bytes.len()).unwrap())]);
                back.extend(bytes);
            }
            Carried::End(1) => {}
            Carried::Close(1) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(back == sent, "{} bytes came back", back.len());
}

#[test]
fn whoever_is_not_allowed_is_reset_and_the_end_of_the_machine_is_the_end_of_all() {
    let address = echo();
    let (mut port, end) = guest(address);
    let other = SocketAddr::new(address.ip(), if address.port() == 1 { 2 } else { 1 });
    say(&mut port, &[Carried::Open(1, other), Carried::Open(2, "28.18.0.77:80".parse().unwrap())]);
    let mut resets = [next(&mut port).unwrap(), next(&mut port).unwrap()];
    resets.sort_by_key(|reset| *reset == Carried::Reset(2));
    assert_eq!(resets, [Carried::Reset(1), Carried::Reset(2)]);
    say(&mut port, &[Carried::Open(3, address), Carried::Data(3, vec![1])]);
    assert_eq!(next(&mut port), Some(Carried::Taken(3, 1)));
    end.send_replace(Some(Exit::Code(0)));
    while next(&mut port).is_some() {}
}

#[test]
fn a_guest_that_says_nonsense_is_not_served_any_more() {
    let address = echo();
    let opened = |more: &[Carried]| [&[Carried::Open(1, address)][..], more].concat();
    let too_much = vec![Carried::Data(1, vec![0; PIECE]); 64];
    let too_many: Vec<Carried> = (0..600).map(|number| Carried::Open(number, address)).collect();
    let nonsense = [
        opened(&[Carried::Taken(1, 1)]),
        opened(&[Carried::End(1), Carried::Data(1, vec![1])]),
        opened(&[Carried::Open(1, address)]),
        vec![Carried::Answer(1, vec![])],
        opened(&too_much),
        too_many,
    ];
    for said in nonsense {
        let (mut port, _end) = guest(address);
        port.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        let first = said.get(1).cloned();
        // It may be over before all was said.
        let _broken = said.iter().try_for_each(|record| port.write_all(&record.encode()));
        let mut records = 0;
        while next(&mut port).is_some() {
            records += 1;
            assert!(records < 2000, "{first:?}");
        }
    }
    let (mut port, _end) = guest(address);
    port.write_all(&[0xFF; 64]).unwrap();
    assert_eq!(next(&mut port), None);
}
