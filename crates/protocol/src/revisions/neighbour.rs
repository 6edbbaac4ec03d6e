//! The way from one revision to another, neighbour by neighbour.

use super::NEIGHBOURS;
use crate::failure::{Failure, FailureKind};
use crate::method::Method;
use crate::raw::RawObject;
use crate::revision::Revision;

/// How each kind of payload crosses between a revision and its newer neighbour. What a revision does not write down here
/// crosses as it is.
///
/// To *narrow* is to make the newer revision's payload one of the older; to *widen* is the way back.
pub(super) trait Neighbour: Sync {
    /// A result of a request.
    fn narrow_reply(&self, _result: &mut RawObject, _method: Method) -> Result<(), NoWord> {
        Ok(())
    }
    fn widen_reply(&self, _result: &mut RawObject, _method: Method) {}

    /// A request's parameters.
    fn narrow_params(&self, _params: &mut RawObject, _method: Method) {}
    fn widen_params(&self, _params: &mut RawObject, _method: Method) {}

    /// A notification's parameters; `false` where the other revision has no such notification.
    fn narrow_notification(&self, _params: &mut RawObject, _method: &str) -> bool {
        true
    }
    fn widen_notification(&self, _params: &mut RawObject, _method: &str) -> bool {
        true
    }

    /// A client's capabilities.
    fn narrow_client(&self, _capabilities: &mut RawObject) {}
    fn widen_client(&self, _capabilities: &mut RawObject) {}

    /// A server's capabilities.
    fn narrow_server(&self, _capabilities: &mut RawObject) {}
    fn widen_server(&self, _capabilities: &mut RawObject) {}

    /// What a program says of itself. It is not widened: nothing is missing in it.
    fn narrow_implementation(&self, _info: &mut RawObject) {}

    /// The parameters of a server's question.
    fn narrow_question(&self, _params: &mut RawObject, _method: &str) -> Result<(), NoWord> {
        Ok(())
    }
    fn widen_question(&self, _params: &mut RawObject, _method: &str) {}

    /// A client's answer to one.
    fn narrow_answer(&self, _result: &mut RawObject, _method: &str) {}
    fn widen_answer(&self, _result: &mut RawObject, _method: &str) {}
}

/// What the older revision has no word for.
#[derive(Debug)]
pub(super) struct NoWord {
    what: String,
    /// The first revision that has one.
    since: Revision,
}

impl NoWord {
    pub(super) fn new(what: impl Into<String>, since: Revision) -> Self {
        Self { what: what.into(), since }
    }

    /// The failure of the server's answer or question that needed the word.
    pub(super) fn of(self, payload: &str, to: Revision) -> Failure {
        let Self { what, since } = self;
        Failure::client(FailureKind::CannotCross, format!("the server's {payload} ({what}) cannot cross to revision {to}"))
            .with_hint(format!("use a client that speaks revision {since}"))
    }
}

/// One step of the way, over the differences of the older of two neighbours.
#[derive(Clone, Copy)]
pub(super) enum Step {
    /// From the newer to the older.
    Down(&'static dyn Neighbour),
    /// From the older to the newer.
    Up(&'static dyn Neighbour),
}

/// The steps from one revision to another: none where they are the same.
pub(super) fn way(from: Revision, to: Revision) -> impl Iterator<Item = Step> {
    let (from, to) = (from as usize, to as usize);
    let steps = |begin: usize, end: usize| NEIGHBOURS.get(begin..end).unwrap_or_default().iter().copied();
    steps(to, from.max(to)).rev().map(Step::Down).chain(steps(from, to.max(from)).map(Step::Up))
}
