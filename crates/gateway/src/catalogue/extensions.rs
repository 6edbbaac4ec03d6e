//! Extensions of the protocol (2026-07-28, `extensions`): what servers declare, and what of it holds at an endpoint of several.

use sallyport_protocol::{Client, Discovery, Endpoint, Failure, Method, RawJson, RawObject};

use super::resolve::no_method;
use super::{Catalogue, Member};

/// MCP Apps: tools with a page to show, as resources of the scheme `ui`.
const APPS: &str = "io.modelcontextprotocol/ui";

/// What servers are told when they are asked for their lists: that there may be clients who show pages. Those who do not are shown the
/// lists without the tools that are for pages alone.
pub(crate) const OWN: RawJson = RawJson::from_static(r#"{"io.modelcontextprotocol/ui":{"mimeTypes":["text/html;profile=mcp-app"]}}"#);

/// Skills: directories of instructions, as resources.
const SKILLS: &str = "io.modelcontextprotocol/skills";

/// The setting of the skills extension that says that directories can be read.
const DIRECTORY_READ: &str = "directoryRead";

/// The extensions that a discovery declares.
fn declared(discovery: &Discovery) -> Option<RawObject> {
    discovery.capabilities.get_object("extensions").ok().flatten()
}

/// The settings of one of them.
fn settings(discovery: &Discovery, extension: &str) -> Option<RawObject> {
    declared(discovery)?.get_object(extension).ok().flatten()
}

/// Whether a server declares skills.
pub(crate) fn has_skills(discovery: &Discovery) -> bool {
    settings(discovery, SKILLS).is_some()
}

fn reads_directories(discovery: &Discovery) -> bool {
    settings(discovery, SKILLS).is_some_and(|skills| is_true(skills.get(DIRECTORY_READ)))
}

fn is_true(value: Option<&RawJson>) -> bool {
    value.is_some_and(|value| value.as_bytes().as_ref() == b"true")
}

/// Whether a server has a method that only extensions have. Which methods belong to an extension that the gateway does not know, it
/// cannot know either: a server that declares any may have them.
fn has_method(discovery: &Discovery, method: Method) -> bool {
    match method {
        Method::SkillsList | Method::SkillsGet => has_skills(discovery),
        Method::DirectoryRead => reads_directories(discovery),
        Method::Extension(_) => declared(discovery).is_some_and(|extensions| !extensions.is_empty()),
        _ => true,
    }
}

/// Whether only extensions have this method, so that it depends on the servers whether an endpoint has it.
pub(crate) const fn concern(method: Method) -> bool {
    matches!(method, Method::SkillsList | Method::SkillsGet | Method::DirectoryRead | Method::Extension(_))
}

/// Whether an endpoint may have a method, whatever its servers declare. What an extension that nobody here knows means by its parameters is
/// not known either, so its methods are there at a server's own endpoint alone, where nothing has another name. A toolset is a selection
/// of tools: it has no skills.
pub(super) const fn may_have(method: Method, endpoint: &Endpoint) -> bool {
    match (method, endpoint) {
        (Method::Extension(_), _) => matches!(endpoint, Endpoint::Server(_)),
        (_, Endpoint::Toolset(_)) => !concern(method),
        (_, Endpoint::Server(_) | Endpoint::All) => true,
    }
}

impl Member {
    /// Whether the server is known to have a method that only extensions have.
    pub(super) fn has_method(&self, method: Method) -> bool {
        self.listing.discovery.as_ref().is_some_and(|discovery| has_method(discovery, method))
    }
}

impl Catalogue {
    /// Checks that an endpoint has a method, where that depends on the extensions of its servers.
    ///
    /// # Errors
    /// `MethodNotFound`.
    pub(crate) fn require(&self, method: Method, endpoint: &Endpoint) -> Result<(), Failure> {
        let is_served = || self.members_of(endpoint).into_iter().any(|member| member.has_method(method));
        if !concern(method) || may_have(method, endpoint) && is_served() {
            return Ok(());
        }
        Err(no_method(method))
    }
}

/// What an endpoint of several servers declares: the extensions that keep their meaning where tools and resources have other names.
/// Each is there if any server has it, with the settings of the first; directories can be read if any server's can.
///
/// Tasks are not among them: the gateway serves those itself, and announces them by itself.
pub(crate) fn merged<'a>(discoveries: impl Iterator<Item = &'a Discovery> + Clone, endpoint: &Endpoint) -> RawObject {
    let mut all = RawObject::new();
    let crossing: &[&str] = if *endpoint == Endpoint::All { &[APPS, SKILLS] } else { &[APPS] };
    for extension in crossing {
        let Some(mut first) = discoveries.clone().find_map(|discovery| settings(discovery, extension)) else { continue };
        if *extension == SKILLS && !is_true(first.get(DIRECTORY_READ)) && discoveries.clone().any(reads_directories) {
            first.set(DIRECTORY_READ, RawJson::from_static("true"));
        }
        all.set(extension, first.to_json());
    }
    all
}

/// Whether a client can show pages of MCP Apps, and so knows which tools are for them.
pub(crate) fn shows_apps(client: &Client) -> bool {
    client.capabilities.get_object("extensions").ok().flatten().is_some_and(|extensions| extensions.get(APPS).is_some())
}

/// Whether a tool is for pages alone and not for the model (MCP Apps, `_meta.ui.visibility`).
pub(super) fn is_for_apps_alone(tool: &RawObject) -> bool {
    let visibility = || tool.get_object("_meta").ok()??.get_object("ui").ok()??.get("visibility")?.array().ok();
    visibility().is_some_and(|seers| !seers.iter().any(|seer| seer.string_value().as_deref() == Some("model")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use sallyport_protocol::{Revision, ServerIdentity};

    use super::*;

    fn object(text: &str) -> RawObject {
        RawJson::parse(text.to_owned()).unwrap().object().unwrap()
    }

    fn declaring(extensions: &str) -> Discovery {
        let capabilities = object(&format!(r#"{{"tools":{{}},"extensions":{extensions}}}"#));
        Discovery { revision: Revision::LATEST, capabilities, identity: ServerIdentity::new("x", "1"), instructions: None }
    }

    #[test]
    fn a_server_has_the_methods_of_the_extensions_that_it_declares() {
        let thing = Method::of_extension("vendor/thing").unwrap();
        let methods = [Method::SkillsList, Method::SkillsGet, Method::DirectoryRead, thing];
        for (extensions, has) in [
            ("{}", [false; 4]),
            (r#"{"com.example/x":{}}"#, [false, false, false, true]),
            (r#"{"io.modelcontextprotocol/skills":{}}"#, [true, true, false, true]),
            (r#"{"io.modelcontextprotocol/skills":{"directoryRead":false}}"#, [true, true, false, true]),
            (r#"{"io.modelcontextprotocol/skills":{"directoryRead":true}}"#, [true; 4]),
            ("[]", [false; 4]),
        ] {
            assert_eq!(methods.map(|method| has_method(&declaring(extensions), method)), has, "{extensions}");
        }
        assert!(has_method(&declaring("{}"), Method::ToolsCall));
    }

    #[test]
    fn extensions_that_cross_renaming_are_merged() {
        let servers = [
            declaring(r#"{"com.example/x":{},"io.modelcontextprotocol/skills":{"n":1}}"#),
            declaring("{}"),
            declaring(r#"{"io.modelcontextprotocol/ui":{"mimeTypes":["a/b"]},"io.modelcontextprotocol/skills":{"directoryRead":true}}"#),
        ];
        let ui = r#""io.modelcontextprotocol/ui":{"mimeTypes":["a/b"]}"#;
        assert_eq!(
            merged(servers.iter(), &Endpoint::All).to_json().as_str(),
            format!(r#"{{{ui},"io.modelcontextprotocol/skills":{{"n":1,"directoryRead":true}}}}"#)
        );
        assert_eq!(merged(servers.iter(), &Endpoint::Toolset("t".into())).to_json().as_str(), format!("{{{ui}}}"));
        assert!(merged(servers[1..2].iter(), &Endpoint::All).is_empty());
    }

    #[test]
    fn tools_for_apps_alone_are_those_without_the_model() {
        for (meta, alone) in [
            (r#"{"ui":{"visibility":["app"]}}"#, true),
            (r#"{"ui":{"visibility":[]}}"#, true),
            (r#"{"ui":{"visibility":["model","app"]}}"#, false),
            (r#"{"ui":{"resourceUri":"ui://a"}}"#, false),
            (r#"{"ui":{"visibility":"app"}}"#, false),
            ("{}", false),
        ] {
            assert_eq!(is_for_apps_alone(&object(&format!(r#"{{"name":"t","_meta":{meta}}}"#))), alone, "{meta}");
        }
    }
}
