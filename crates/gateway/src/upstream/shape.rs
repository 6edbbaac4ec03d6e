//! Whether a result is one: a look at its first level, so that a client never gets what its parser dies of.

use sallyport_protocol::{Era, Method, RawJson, Reply, Request};

/// What JSON value a member must be.
#[derive(Clone, Copy)]
enum Kind {
    Array,
    Object,
    Text,
    Boolean,
}

impl Kind {
    fn fits(self, value: &RawJson) -> bool {
        let first = value.as_bytes().first();
        match self {
            Self::Array => first == Some(&b'['),
            Self::Object => first == Some(&b'{'),
            Self::Text => first == Some(&b'"'),
            Self::Boolean => matches!(first, Some(b't' | b'f')),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Array => "an array",
            Self::Object => "an object",
            Self::Text => "a string",
            Self::Boolean => "true or false",
        }
    }
}

struct Member {
    name: &'static str,
    kind: Kind,
    required: bool,
}

const fn required(name: &'static str, kind: Kind) -> Member {
    Member { name, kind, required: true }
}

const fn optional(name: &'static str, kind: Kind) -> Member {
    Member { name, kind, required: false }
}

/// What the first level of a method's result must hold (MCP, `schema.ts` of each revision).
fn members(method: Method) -> &'static [Member] {
    const META: Member = optional("_meta", Kind::Object);
    match method {
        Method::ToolsCall | Method::TasksResult => const { &[required("content", Kind::Array), optional("isError", Kind::Boolean), META] },
        Method::ResourcesRead => const { &[required("contents", Kind::Array), META] },
        Method::PromptsGet => const { &[required("messages", Kind::Array), optional("description", Kind::Text), META] },
        Method::SkillsList => const { &[required("skills", Kind::Array), META] },
        Method::SkillsGet => const { &[required("skill", Kind::Object), META] },
        Method::DirectoryRead => const { &[required("resources", Kind::Array), META] },
        Method::Complete => const { &[required("completion", Kind::Object), META] },
        _ => const { &[META] },
    }
}

/// Says what is wrong with a result, if anything is: "`content` is missing".
pub(crate) fn fault(request: &Request, reply: &Reply) -> Option<String> {
    let result = &reply.result;
    if is_of_another_kind(request, reply) {
        return None; // a question, a task: whoever understands it looks into it
    }
    for member in members(request.method) {
        match result.get(member.name) {
            None if member.required => return Some(format!("`{}` is missing", member.name)),
            Some(value) if !member.kind.fits(value) => return Some(format!("`{}` is not {}", member.name, member.kind.name())),
            _ => {}
        }
    }
    // Before 2026-07-28 structured content is an object; since then any value.
    match result.get("structuredContent") {
        Some(value) if request.method == Method::ToolsCall && reply.revision.era() == Era::Legacy && !Kind::Object.fits(value) => {
            Some("`structuredContent` is not an object".into())
        }
        _ => None,
    }
}

/// Whether the result is complete in another way than the method's own: `resultType` (2026-07-28), a task (2025-11-25).
fn is_of_another_kind(request: &Request, reply: &Reply) -> bool {
    match reply.revision.era() {
        Era::Modern => reply.result.get("resultType").is_some_and(|kind| kind.as_str() != "\"complete\""),
        Era::Legacy => request.params.get("task").is_some() && reply.result.get("task").is_some(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use bytes::Bytes;
    use sallyport_protocol::{RawObject, Revision};

    use super::*;

    fn fault_of(method: Method, revision: Revision, result: &'static str) -> Option<String> {
        let result = RawObject::parse(&Bytes::from_static(result.as_bytes())).unwrap();
        fault(&Request::new(method, RawObject::new()), &Reply { result, revision })
    }

    #[test]
    fn good_results_pass() {
        for (method, result) in [
            (Method::ToolsCall, r#"{"content":[],"isError":true,"structuredContent":{},"x":1}"#),
            (Method::ResourcesRead, r#"{"contents":[{"uri":"a:b","text":""}]}"#),
            (Method::PromptsGet, r#"{"messages":[],"description":"d"}"#),
            (Method::SkillsList, r#"{"skills":[]}"#),
            (Method::SkillsGet, r#"{"skill":{"resources":"dynamic"}}"#),
            (Method::DirectoryRead, r#"{"resources":[]}"#),
            (Method::Complete, r#"{"completion":{"values":[]}}"#),
            (Method::SetLevel, "{}"),
        ] {
            assert_eq!(fault_of(method, Revision::LATEST_LEGACY, result), None, "{result}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (method, result, named) in [
            (Method::ToolsCall, "{}", "`content` is missing"),
            (Method::ToolsCall, r#"{"content":"text"}"#, "`content` is not an array"),
            (Method::ToolsCall, r#"{"content":null}"#, "`content` is not an array"),
            (Method::ToolsCall, r#"{"content":[],"isError":"no"}"#, "`isError` is not true or false"),
            (Method::ToolsCall, r#"{"content":[],"structuredContent":[1]}"#, "`structuredContent` is not an object"),
            (Method::ResourcesRead, r#"{"contents":{}}"#, "`contents` is not an array"),
            (Method::SkillsGet, r#"{"skill":"x"}"#, "`skill` is not an object"),
            (Method::PromptsGet, r#"{"messages":[],"_meta":3}"#, "`_meta` is not an object"),
        ] {
            assert_eq!(fault_of(method, Revision::LATEST_LEGACY, result).as_deref(), Some(named), "{result}");
        }
    }

    #[test]
    fn results_of_another_kind_are_left_alone() {
        assert_eq!(fault_of(Method::ToolsCall, Revision::LATEST, r#"{"resultType":"input_required","inputRequests":{}}"#), None);
        assert_eq!(
            fault_of(Method::ToolsCall, Revision::LATEST, r#"{"resultType":"complete","content":[],"structuredContent":[1]}"#),
            None
        );
        assert!(fault_of(Method::ToolsCall, Revision::LATEST, r#"{"resultType":"complete"}"#).is_some());
    }
}
