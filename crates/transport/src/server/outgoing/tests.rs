#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;
use std::task::Waker;

fn next(queue: &Outgoing, reader: Reader) -> Poll<Option<Bytes>> {
    queue.poll_next(reader, &Context::from_waker(Waker::noop())).map(|message| message.map(|message| message.text))
}

#[test]
fn what_is_offered_is_bounded_and_what_is_pushed_is_not_lost() {
    let queue = Outgoing::default();
    let reader = queue.attach();
    let taken = (0..1000).filter(|_| queue.offer(Bytes::from_static(b"x"))).count();
    assert_eq!(taken, MOST_WAITING);
    assert!(queue.push(Bytes::from_static(b"answer")));
    queue.end();
    assert!(!queue.push(Bytes::from_static(b"late")));
    let mut read = Vec::new();
    while let Poll::Ready(Some(message)) = next(&queue, reader) {
        read.push(message);
    }
    assert_eq!(read.len(), MOST_WAITING + 1);
    assert_eq!(read.last().map(Bytes::as_ref), Some(&b"answer"[..]));
}

#[test]
fn large_messages_are_bounded_by_their_bytes() {
    let queue = Outgoing::default();
    let large = Bytes::from(vec![0; MOST_BYTES / 2]);
    assert!(queue.offer(large.clone()) && queue.offer(large.clone()) && !queue.offer(large));
}

#[test]
fn the_same_news_waits_once() {
    let queue = Outgoing::default();
    let reader = queue.attach();
    (0..10).for_each(|_| queue.push_once(Bytes::from_static(b"changed")));
    assert_eq!(next(&queue, reader), Poll::Ready(Some(Bytes::from_static(b"changed"))));
    assert_eq!(next(&queue, reader), Poll::Pending);
}

#[test]
fn a_new_reader_ends_the_old_one() {
    let queue = Outgoing::default();
    let old = queue.attach();
    let new = queue.attach();
    queue.push(Bytes::from_static(b"x"));
    assert_eq!(next(&queue, old), Poll::Ready(None));
    assert_eq!(next(&queue, new), Poll::Ready(Some(Bytes::from_static(b"x"))));
}

/// Everything that can be read now.
fn read(queue: &Outgoing, reader: Reader) -> Vec<(u64, Bytes)> {
    let mut all = Vec::new();
    while let Poll::Ready(Some(message)) = queue.poll_next(reader, &Context::from_waker(Waker::noop())) {
        all.push((message.number, message.text));
    }
    all
}

/// A queue that keeps what is read, in a session's room, with so many messages read.
fn kept(messages: u8) -> (Arc<Room>, Outgoing) {
    let (room, queue) = (Room::of_door().of_session(), Outgoing::default());
    queue.keep(Life::Request, &room);
    (0..messages).for_each(|text| assert!(queue.push(Bytes::from(vec![text]))));
    let reader = queue.attach();
    assert_eq!(read(&queue, reader).len(), usize::from(messages));
    queue.leave(reader);
    (room, queue)
}

#[test]
fn what_was_read_comes_again_with_its_number_and_once_more_if_it_is_lost_again() {
    let (_, queue) = kept(5);
    queue.push(Bytes::from_static(b"new"));
    for _ in 0..2 {
        let again = queue.resume(3).unwrap();
        let read = read(&queue, again);
        assert_eq!(read, [(4, Bytes::from_static(&[3])), (5, Bytes::from_static(&[4])), (6, Bytes::from_static(b"new"))]);
    }
    assert!(queue.resume(7).is_none(), "a number that no message had");
    let behind_all = queue.resume(6).unwrap();
    assert_eq!(next(&queue, behind_all), Poll::Pending);
    assert_eq!(read(&queue, queue.resume(0).unwrap()), [], "what a client says to have is not kept");
}

#[test]
fn what_is_kept_is_bounded_in_messages_and_bytes_and_given_back() {
    let (room, queue) = kept(200);
    let again = read(&queue, queue.resume(0).unwrap());
    assert!(again.len() == 64 && again.last().unwrap().0 == 200, "the newest are kept");
    let large = Bytes::from(vec![0; 600_000]);
    let reader = queue.attach();
    queue.push(large.clone());
    queue.push(large);
    assert_eq!(read(&queue, reader).len(), 2);
    assert_eq!(read(&queue, queue.resume(0).unwrap()).len(), 1, "there is room for one of them");
    assert!(room.is_scarce());
    drop(queue);
    assert!(!room.is_scarce());
}

#[test]
fn what_nobody_reads_is_kept_if_there_is_room_and_else_given_up() {
    for (bytes, is_kept) in [(1000, true), (2_000_000, false)] {
        let (room, queue) = kept(1);
        assert_eq!(queue.push(Bytes::from(vec![0; bytes])), is_kept, "{bytes}");
        assert_eq!(queue.has_ended(), !is_kept);
        queue.end();
        assert_eq!(queue.resume(1).is_some(), is_kept);
        assert!(!room.is_scarce());
    }
    let (_, queue) = kept(1);
    let half = Bytes::from(vec![0; 600_000]);
    assert!(queue.offer(half.clone()) && !queue.offer(half), "what may be lost is lost");
    assert!(!queue.has_ended());
    let (_, queue) = kept(1);
    let reader = queue.attach();
    assert!(queue.push(Bytes::from(vec![0; 2_000_000])), "somebody reads");
    queue.leave(reader);
    assert!(queue.has_ended() && queue.resume(0).is_none(), "nobody does any more");
}

#[test]
fn news_go_on_whether_somebody_reads_them_or_not() {
    let (room, news) = (Room::of_door().of_session(), Outgoing::default());
    news.keep(Life::Session, &room);
    news.leave(news.attach());
    assert!(news.push(Bytes::from(vec![0; 2_000_000])));
    assert!(!room.is_scarce() && !news.has_ended());
    assert_eq!(read(&news, news.resume(0).unwrap()).len(), 1);
}

#[test]
fn an_end_that_was_read_can_be_read_again_and_one_that_arrived_cannot() {
    let (_, queue) = kept(2);
    queue.end();
    let reader = queue.resume(1).unwrap();
    assert_eq!(read(&queue, reader), [(2, Bytes::from_static(&[1]))]);
    queue.leave(reader);
    assert!(queue.resume(2).is_none());
}

#[test]
fn what_is_old_is_dropped_unless_somebody_is_still_to_read_it() {
    let (room, queue) = kept(3);
    assert!(queue.forget_old(Duration::from_secs(60)), "not old");
    assert!(queue.forget_old(Duration::ZERO), "it has not ended");
    let reader = queue.resume(0).unwrap();
    assert_eq!(read(&queue, reader), []);
    queue.push(Bytes::from_static(b"answer"));
    queue.end();
    assert!(queue.forget_old(Duration::ZERO), "somebody reads it");
    assert_eq!(read(&queue, reader).len(), 1);
    queue.leave(reader);
    assert!(!queue.forget_old(Duration::ZERO));
    let news = Outgoing::default();
    news.keep(Life::Session, &room);
    let reader = news.attach();
    assert!(news.forget_old(Duration::ZERO));
    news.leave(reader);
    assert!(!news.forget_old(Duration::ZERO));
}
