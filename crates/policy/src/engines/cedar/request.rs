//! From a question to what Cedar is asked.

use cedar_policy::{Context, Request, RestrictedExpression};
use serde_json::Value;

use super::compiled::Slice;
use super::prepared::Prepared;
use super::shape::Shape;
use crate::{EngineFailure, Origin, Question};

/// What is asked of one slice.
pub(super) struct Asked {
    pub(super) request: Request,
    /// What is known, and goes in only when all that is not known has been put aside: see [`Asked::new`].
    pub(super) bindings: Vec<(String, RestrictedExpression)>,
}

/// Why nothing can be asked.
pub(super) enum NotAsked {
    /// An argument is not of the type that its tool says: which one, and what about it.
    Argument(String),
    Failed(EngineFailure),
}

impl Asked {
    /// Puts a question to a slice; `arguments` are `None` while they are not known.
    ///
    /// Cedar looks into a record that has something unknown in it only if nothing else in it has to be worked out, as moments and addresses
    /// have. So these are unknown at first as well, and bound afterwards.
    pub(super) fn new(question: &Question<'_>, slice: &Slice, prepared: &Prepared, arguments: Option<&Value>) -> Result<Self, NotAsked> {
        let (mut members, mut bindings) = (circumstances(question, slice), Vec::new());
        if let Some(shape) = &slice.arguments {
            let arguments = match arguments {
                Some(arguments) => given(shape, slice, arguments)?,
                None => {
                    for (name, value) in members.iter_mut().filter(|(name, _)| matches!(name.as_str(), "now" | "address")) {
                        let known = std::mem::replace(value, RestrictedExpression::new_unknown(&*name));
                        bindings.push((name.clone(), known));
                    }
                    open(shape, slice)?
                }
            };
            members.push(("args".to_owned(), arguments));
        }
        let context = Context::from_pairs(members).map_err(failed)?;
        let (user, does, thing) = (prepared.user.clone(), slice.action.clone(), slice.resource.clone());
        let request = Request::new(user, does, thing, context, None).map_err(failed)?;
        Ok(Self { request, bindings })
    }
}

/// The arguments that policies look at.
fn given(shape: &Shape, slice: &Slice, arguments: &Value) -> Result<RestrictedExpression, NotAsked> {
    let mut given = Vec::new();
    if let (Shape::Record(members), Some(arguments)) = (shape, arguments.as_object()) {
        for (name, member) in members.iter().filter(|(name, _)| slice.mentions.has(name)) {
            if let Some(value) = arguments.get(name).filter(|value| !value.is_null()) {
                let value = member.shape.value(value);
                let value = value.ok_or_else(|| NotAsked::Argument(format!("`{name}` is not as its tool's schema says")))?;
                given.push((name.clone(), value));
            }
        }
    }
    RestrictedExpression::new_record(given).map_err(failed)
}

/// Arguments that nobody knows yet. Where all that policies look at is there in every call, it is known which there are.
fn open(shape: &Shape, slice: &Slice) -> Result<RestrictedExpression, NotAsked> {
    let Shape::Record(members) = shape else { return Ok(RestrictedExpression::new_unknown("args")) };
    let looked_at = || members.iter().filter(|(name, _)| slice.mentions.has(name));
    if !looked_at().all(|(_, member)| member.is_required) {
        return Ok(RestrictedExpression::new_unknown("args"));
    }
    let unknown = looked_at().map(|(name, _)| (name.clone(), RestrictedExpression::new_unknown(format!("args.{name}"))));
    RestrictedExpression::new_record(unknown).map_err(failed)
}

fn circumstances(question: &Question<'_>, slice: &Slice) -> Vec<(String, RestrictedExpression)> {
    let mut members = Vec::new();
    if slice.mentions.has("now") {
        members.push(("now".to_owned(), RestrictedExpression::new_datetime(datetime(question.circumstances.seconds()))));
    }
    if slice.mentions.has("loopback") {
        members.push(("loopback".to_owned(), RestrictedExpression::new_bool(question.circumstances.origin == Origin::ThisMachine)));
    }
    if let Some(address) = question.circumstances.origin.address().filter(|_| slice.mentions.has("address")) {
        members.push(("address".to_owned(), RestrictedExpression::new_ip(address.to_string())));
    }
    if slice.mentions.has("taint") {
        members.push(("taint".to_owned(), RestrictedExpression::new_set([])));
    }
    members
}

pub(super) fn failed(error: impl ToString) -> NotAsked {
    NotAsked::Failed(EngineFailure(error.to_string()))
}

/// Seconds since 1970 as Cedar writes a moment: `2026-11-22T20:04:17Z`. (Civil from days, after H. Hinnant.)
fn datetime(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::datetime;

    #[test]
    fn a_moment_is_written_as_cedar_reads_it() {
        for (seconds, written) in
            [(0, "1970-01-01T00:00:00Z"), (951_782_400, "2000-02-29T00:00:00Z"), (1_795_377_857, "2026-11-22T20:04:17Z")]
        {
            assert_eq!(datetime(seconds), written);
        }
    }
}
