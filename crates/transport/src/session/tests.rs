#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;
use bytes::Bytes;
use sallyport_telemetry::metric::DoorMetrics;
use std::time::Duration;

fn caller(name: &str) -> CallerId {
    CallerId(name.into())
}

fn table(total: usize, per_caller: usize) -> Sessions {
    Sessions::new(SessionBounds { total, per_caller, idle: Duration::from_secs(3600) }, DoorMetrics::default())
}

#[test]
fn ids_are_read_as_they_are_written_and_in_no_other_way() {
    let id = SessionId::random().unwrap();
    assert_eq!(SessionId::from_text(id.to_string().as_bytes()), Some(id));
    assert_ne!(SessionId::random().unwrap(), id);
    for other in ["", "0", "+0000000000000000000000000000000", "0000000000000000000000000000000G", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(SessionId::from_text(other.as_bytes()), None, "{other}");
    }
    assert!(!format!("{id:?}").contains(&id.to_string()));
}

#[test]
fn one_caller_cannot_push_out_the_sessions_of_others() {
    let sessions = table(100, 10);
    let (kept, _) = sessions.create(caller("alice"), Endpoint::All).unwrap();
    for _ in 0..50 {
        sessions.create(caller("mallory"), Endpoint::All).unwrap();
    }
    assert!(sessions.find(kept.id(), &caller("alice"), &Endpoint::All).is_some());
}

#[test]
fn sessions_that_are_in_use_go_last() {
    let sessions = table(100, 4);
    let (busy, _) = sessions.create(caller("a"), Endpoint::All).unwrap();
    busy.start(&RequestId::number(1), &Cancel::new());
    let (streaming, _) = sessions.create(caller("a"), Endpoint::All).unwrap();
    let _open = streaming.hold_open();
    for _ in 0..10 {
        sessions.create(caller("a"), Endpoint::All).unwrap();
    }
    for session in [&busy, &streaming] {
        assert!(sessions.find(session.id(), &caller("a"), &Endpoint::All).is_some());
    }
}

#[test]
fn an_idle_session_is_small() {
    let capabilities = RawObject::parse(&Bytes::from_static(br#"{"roots":{"listChanged":true},"sampling":{},"elicitation":{}}"#)).unwrap();
    let session = Session::new(SessionId::random().unwrap(), caller("a"), Endpoint::All, &Room::of_door());
    session.set_client(Arc::new(Client { revision: Revision::V2025_11_25, capabilities, info: None }));
    // With the client's few hundred bytes this leaves most of the 4 KiB that an idle session may take.
    assert!(size_of::<Session>() <= 512, "{}", size_of::<Session>());
}

#[test]
fn requests_of_one_session_are_bounded_and_cancelled_by_id() {
    let session = Session::new(SessionId::random().unwrap(), caller("a"), Endpoint::All, &Room::of_door());
    let cancels: Vec<_> = (0..MOST_RUNNING).map(|_| Cancel::new()).collect();
    for (number, cancel) in cancels.iter().enumerate() {
        assert!(session.start(&RequestId::number(u64::try_from(number).unwrap()), cancel));
    }
    assert!(!session.start(&RequestId::number(999), &Cancel::new()));
    session.cancel(&RequestId::number(3));
    session.cancel(&RequestId::number(999));
    assert_eq!(cancels.iter().filter(|cancel| cancel.is_cancelled()).count(), 1);
    session.finish(&RequestId::number(3));
    assert!(session.start(&RequestId::number(3), &Cancel::new()));
}

#[tokio::test]
async fn a_question_is_answered_once_and_withdrawn_when_nobody_waits() {
    let questions = Questions::default();
    let question = questions.open().unwrap();
    let id = question.id();
    questions.answer(&RequestId::number(77), Ok(RawObject::new()));
    questions.answer(&id, Ok(RawObject::new()));
    questions.answer(&id, Err(sallyport_protocol::ErrorObject::new(1, "late")));
    assert!(question.answered().await.unwrap().is_ok());
    let open: Vec<_> = std::iter::from_fn(|| questions.open()).take(1000).collect();
    assert!(open.len() < 1000, "open questions are bounded");
    drop(open);
    assert!(questions.open().is_some());
}
