//! From the text of policies to policies that know where they stand.

use cedar_policy::{ActionConstraint, EntityUid, Policy, PolicyId, PolicySet, ResourceConstraint};
use miette::Diagnostic;
use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use super::mentions::Mentions;
use crate::InvalidPolicy;
use crate::engines::Source;

/// One policy. Its id is its place, `FILE:LINE`.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) policy: Policy,
    pub(super) head: Head,
    pub(super) mentions: Mentions,
    /// Why it asks for a person, where it does. Kept here, because Cedar parses an annotation's name each time that it is asked for one.
    pub(super) asks: Option<Arc<str>>,
}

/// The annotation of a `permit` that holds only once a person has approved: `@ask`, or `@ask("why")`.
const ASK: &str = "ask";

/// What a policy's head bounds it to. Asked of every policy for every tool, so it is taken out once.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// The actions that it names; `None` for any.
    pub(super) actions: Option<Vec<EntityUid>>,
    /// The type that the resource has to be of.
    of_type: Option<String>,
    /// What the resource has to be, or to be in.
    pub(super) resource: Option<EntityUid>,
}

/// Parses a text.
///
/// # Errors
/// What cannot be parsed, with its place.
pub(super) fn parse(source: &Source) -> Result<Vec<Placed>, Vec<InvalidPolicy>> {
    let set = PolicySet::from_str(&source.text).map_err(|errors| {
        let wrong = |error: &cedar_policy::ParseError| {
            let offset = error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
            InvalidPolicy {
                place: place(source, line_of(&source.text, offset)),
                message: format!("it is not Cedar: {error}"),
                hint: error.help().map_or_else(|| "`permit (principal, action, resource) when { … };`".to_owned(), |help| help.to_string()),
            }
        };
        errors.iter().map(wrong).collect::<Vec<_>>()
    })?;
    if set.num_of_templates() > 0 {
        let hint = "write the principal or resource in the place of `?principal` and `?resource`";
        return Err(vec![InvalidPolicy { place: source.name.clone(), message: "templates are not used here".into(), hint: hint.into() }]);
    }
    let lines = lines(&source.text);
    let mut policies: Vec<Policy> = set.policies().cloned().collect();
    policies.sort_by_key(|policy| number(policy.id()));
    Ok(policies
        .into_iter()
        .enumerate()
        .map(|(index, policy)| {
            let id = place(source, lines.get(index).copied().unwrap_or(1));
            let asks = policy.annotation(ASK).map(Into::into);
            Placed { head: Head::of(&policy), mentions: Mentions::of(&policy), asks, policy: policy.new_id(PolicyId::new(id)) }
        })
        .collect())
}

/// Gives every policy a place of its own: several may begin on one line, and a file may be named twice. To Cedar a place is a name, and two
/// policies of one name would be none.
pub(super) fn told_apart(policies: &mut [Placed]) {
    let mut met: HashMap<String, usize> = HashMap::new();
    for placed in policies {
        let place = placed.place();
        let count = met.entry(place.clone()).or_default();
        *count += 1;
        if *count > 1 {
            placed.policy = placed.policy.new_id(PolicyId::new(format!("{place}#{count}")));
        }
    }
}

fn place(source: &Source, line: usize) -> String {
    format!("{}:{line}", source.name)
}

/// The parser calls policies `policy0`, `policy1` and so on, in the order of the text.
fn number(id: &PolicyId) -> usize {
    id.to_string().strip_prefix("policy").and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The line that each policy begins on: its `permit` or `forbid`, outside of strings, comments, annotations and conditions.
fn lines(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let (mut lines, mut line, mut depth, mut at) = (Vec::new(), 1, 0_usize, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\n' => line += 1,
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes.iter().skip(at).take_while(|byte| **byte != b'\n').count();
                continue;
            }
            b'"' => {
                let end = end_of_string(bytes, at);
                line += bytes.iter().take(end).skip(at).filter(|byte| **byte == b'\n').count();
                at = end;
                continue;
            }
            b'(' | b'{' | b'[' => depth += 1,
            b')' | b'}' | b']' => depth = depth.saturating_sub(1),
            b'p' | b'f' if depth == 0 => {
                let word: Vec<u8> =
                    bytes.iter().skip(at).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').copied().collect();
                let is_annotation = at.checked_sub(1).and_then(|before| bytes.get(before)) == Some(&b'@');
                if !is_annotation && matches!(word.as_slice(), b"permit" | b"forbid") {
                    lines.push(line);
                }
                at += word.len();
                continue;
            }
            byte if byte.is_ascii_alphabetic() || *byte == b'_' => {
                at += bytes.iter().skip(at).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    lines
}

/// Behind the string that begins at `at`.
fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'\\' => end += 2,
            b'"' => return end + 1,
            _ => end += 1,
        }
    }
    bytes.len()
}

impl Placed {
    /// Where it stands.
    pub(super) fn place(&self) -> String {
        self.policy.id().to_string()
    }

    /// Whether its head leaves room for this action (or a group that it is in), with a resource of that type that is, or is in, one of `things`.
    pub(super) fn concerns(&self, actions: &[&EntityUid], of_type: &str, things: &[&EntityUid]) -> bool {
        let Head { actions: named, of_type: wanted, resource } = &self.head;
        let does = named.as_ref().is_none_or(|named| named.iter().any(|action| actions.contains(&action)));
        does && wanted.as_ref().is_none_or(|wanted| wanted == of_type) && resource.as_ref().is_none_or(|thing| things.contains(&thing))
    }
}

impl Head {
    fn of(policy: &Policy) -> Self {
        let actions = match policy.action_constraint() {
            ActionConstraint::Any => None,
            ActionConstraint::In(actions) => Some(actions),
            ActionConstraint::Eq(action) => Some(vec![action]),
        };
        let (of_type, resource) = match policy.resource_constraint() {
            ResourceConstraint::Any => (None, None),
            ResourceConstraint::In(uid) | ResourceConstraint::Eq(uid) => (None, Some(uid)),
            ResourceConstraint::Is(name) => (Some(name.to_string()), None),
            ResourceConstraint::IsIn(name, uid) => (Some(name.to_string()), Some(uid)),
        };
        Self { actions, of_type, resource }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_know_their_lines() {
        let text = "// permit\n@id(\"permit\")\npermit (principal, action,\n resource) when { \"forbid\" == \"}\" };\n\n@permit(\"x\n\\\"\")\nforbid(principal, action, resource)\nunless { context has forbid };permit(principal,action,resource);";
        assert_eq!(lines(text), [3, 8, 9]);
    }
}
