#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;
use crate::Store;

const BOUNDS: Bounds = Bounds { pending: 3, kept: 10 };

fn asked(handle: &str, principal: &str, call: u8) -> Asked {
    Asked {
        handle: handle.into(),
        binding: [call; 32],
        tenant: String::new(),
        principal: principal.into(),
        server: "bank".into(),
        action: "call".into(),
        target: "pay".into(),
        arguments: "{}".into(),
        attributes: None,
        reason: "it is on an ask list".into(),
        rule: "servers.bank.ask[0]".into(),
    }
}

/// A store of one file, opened as often as there are processes.
struct Kept {
    folder: tempfile::TempDir,
}

impl Kept {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> Store {
        Store::open(&self.folder.path().join("store.db")).unwrap()
    }

    async fn ask(&self, of: Asked, now: i64) -> Result<(Approval, bool), Full> {
        self.open().write(move |tables| ask(tables, &of, (now, now + 100), BOUNDS)).await.unwrap()
    }

    async fn decide(&self, handle: &'static str, approves: bool, now: i64) -> bool {
        let store = self.open();
        store.write(move |tables| decide(tables, handle, approves, "cli:me", (now, now + 50))).await.unwrap().is_some()
    }

    async fn take(&self, call: u8, now: i64) -> Taken {
        self.open().write(move |tables| take(tables, &[call; 32], None, now)).await.unwrap()
    }
}

fn is_through(taken: &Taken) -> bool {
    matches!(taken, Taken::Through(_))
}

#[tokio::test]
async fn an_approved_call_goes_through_once() {
    let kept = Kept::new();
    assert_eq!(kept.take(1, 0).await, Taken::None);
    assert!(kept.ask(asked("a", "me", 1), 0).await.unwrap().1);
    assert!(matches!(kept.take(1, 1).await, Taken::Stopped(_)));
    assert!(kept.decide("a", true, 2).await);
    assert!(!kept.decide("a", true, 2).await, "it is decided");
    assert!(!is_through(&kept.take(2, 3).await), "another call");
    assert!(is_through(&kept.take(1, 3).await));
    assert!(!kept.decide("a", false, 3).await, "it has been made");
    assert_eq!(kept.take(1, 3).await, Taken::None);
}

#[tokio::test]
async fn an_approval_can_be_taken_back_until_it_is_used() {
    let kept = Kept::new();
    kept.ask(asked("a", "me", 1), 0).await.unwrap();
    assert!(kept.decide("a", true, 1).await && kept.decide("a", false, 2).await);
    assert!(matches!(kept.take(1, 3).await, Taken::Stopped(_)));
    assert!(!kept.decide("a", true, 3).await, "a refusal holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_come_at_once_one_goes_through() {
    let kept = Kept::new();
    let stores = [kept.open(), kept.open()];
    for (call, handle) in (0..).zip(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]) {
        kept.ask(asked(handle, handle, call), 0).await.unwrap();
        assert!(kept.decide(handle, true, 1).await);
        let all = (0..8).map(|at| {
            let store = stores[at % 2].clone();
            tokio::spawn(async move { store.write(move |tables| take(tables, &[call; 32], None, 2)).await.unwrap() })
        });
        let mut through = 0;
        for task in all.collect::<Vec<_>>() {
            through += usize::from(is_through(&task.await.unwrap()));
        }
        assert_eq!(through, 1);
    }
}

#[tokio::test]
async fn the_same_call_is_asked_about_once_and_a_refusal_holds() {
    let kept = Kept::new();
    kept.ask(asked("a", "me", 1), 0).await.unwrap();
    let (again, is_new) = kept.ask(asked("b", "me", 1), 1).await.unwrap();
    assert_eq!((again.asked.handle.as_str(), is_new), ("a", false));
    assert!(kept.decide("a", false, 2).await);
    assert_eq!(kept.ask(asked("b", "me", 1), 3).await.unwrap().0.standing, Standing::Refused);
    assert!(matches!(kept.take(1, 3).await, Taken::Stopped(_)));
    assert!(kept.ask(asked("b", "me", 1), 100).await.unwrap().1, "until it is over");
}

#[tokio::test]
async fn what_is_over_lets_nothing_through() {
    let kept = Kept::new();
    kept.ask(asked("a", "me", 1), 0).await.unwrap();
    assert!(!kept.decide("a", true, 100).await, "too late to decide");
    kept.ask(asked("b", "me", 1), 100).await.unwrap();
    assert!(kept.decide("b", true, 199).await);
    assert_eq!(kept.take(1, 249).await, Taken::None, "too late to use");
}

#[tokio::test]
async fn requests_are_bounded_for_each_principal_and_in_all() {
    let kept = Kept::new();
    for (call, handle) in (0..).zip(["a", "b", "c"]) {
        kept.ask(asked(handle, "me", call), 0).await.unwrap();
    }
    assert_eq!(kept.ask(asked("d", "me", 9), 0).await, Err(Full::OfPrincipal));
    for (call, handle) in (10..).zip(["e", "f", "g", "h", "i", "j", "k"]) {
        kept.ask(asked(handle, handle, call), 0).await.unwrap();
    }
    assert_eq!(kept.ask(asked("l", "l", 30), 0).await, Err(Full::OfAll));
    assert!(kept.decide("a", true, 1).await && kept.decide("b", true, 1).await);
    assert!(is_through(&kept.take(0, 2).await) && is_through(&kept.take(1, 2).await));
    assert!(kept.ask(asked("l", "l", 30), 2).await.is_ok(), "what was used makes room");
}

#[tokio::test]
async fn a_call_goes_on_with_its_state_alone_and_once() {
    let kept = Kept::new();
    kept.ask(asked("a", "me", 1), 0).await.unwrap();
    kept.decide("a", true, 1).await;
    assert!(is_through(&kept.take(1, 2).await));
    let store = kept.open();
    store.write(|tables| go_on(tables, "a", (&[7; 32], "[\"who\"]"), 60)).await.unwrap();
    assert!(!is_through(&kept.take(1, 3).await), "a request that begins anew");
    let with = |state: u8| store.write(move |tables| take(tables, &[1; 32], Some(&[state; 32]), 4));
    assert!(!is_through(&with(8).await.unwrap()));
    assert!(matches!(with(7).await.unwrap(), Taken::GoesOn(_, questions) if questions == "[\"who\"]"), "it is known what was asked");
    assert!(matches!(with(7).await.unwrap(), Taken::None));
    store.write(|tables| go_on(tables, "a", (&[9; 32], ""), 60)).await.unwrap();
    let (anew, is_new) = kept.ask(asked("b", "me", 1), 5).await.unwrap();
    assert_eq!((anew.standing, is_new), (Standing::Pending, true), "who begins anew is asked about anew");
    assert!(!is_through(&with(9).await.unwrap()));
}

#[tokio::test]
async fn what_was_not_carried_out_can_be_called_again() {
    let kept = Kept::new();
    kept.ask(asked("a", "me", 1), 0).await.unwrap();
    kept.decide("a", true, 1).await;
    assert!(is_through(&kept.take(1, 2).await));
    kept.open().write(|tables| give_back(tables, "a")).await.unwrap();
    assert!(is_through(&kept.take(1, 3).await));
}

#[tokio::test]
async fn lists_are_of_one_tenant() {
    let kept = Kept::new();
    kept.ask(asked("a", "me", 1), 0).await.unwrap();
    kept.ask(Asked { tenant: "acme".into(), ..asked("b", "me", 2) }, 1).await.unwrap();
    let store = kept.open();
    let listed = |tenant: Option<&'static str>| store.read(move |tables| list(tables, tenant, 2));
    let handles = |found: Vec<Approval>| found.into_iter().map(|kept| kept.asked.handle).collect::<Vec<_>>();
    assert_eq!(handles(listed(None).await.unwrap()), ["b", "a"]);
    assert_eq!(handles(listed(Some("acme")).await.unwrap()), ["b"]);
    assert_eq!(handles(listed(Some("")).await.unwrap()), ["a"]);
}
