#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::SystemTime;

use futures_util::FutureExt;
use sallyport_policy::{Action, Annotations, Circumstances, Effect, Pin, Policy, Principal, Scopes, ServerRules};
use sallyport_protocol::{Method, RawObject, Request, ServerIdentity};

use super::view::ListRequest;
use super::*;
use crate::upstream::Freshness;

pub(super) fn entry(name: &str, text: &str) -> Entry {
    let raw = RawJson::parse(text.to_owned()).unwrap().object().unwrap();
    Entry { name: name.into(), raw, revision: Revision::V2025_06_18, annotations: Annotations::default(), pin: Pin::Unpinned }
}

fn tool(name: &str) -> Entry {
    entry(name, &format!(r#"{{ "name" : {}, "inputSchema":{{"type":"object"}}, "x-future":[1] }}"#, serde_json::to_string(name).unwrap()))
}

pub(super) fn member(name: &str, listing: Listing) -> Member {
    Member { name: name.into(), label: uris::label(name), trusted: false, listing: Arc::new(listing) }
}

pub(super) fn with_tools(name: &str, tools: &[&str]) -> Member {
    let tools = tools.iter().map(|name| tool(name)).collect();
    member(name, Listing { tools, freshness: Freshness::Fresh, ..Listing::default() })
}

fn catalogue(members: Vec<Member>) -> Catalogue {
    Catalogue::new("g1".into(), members, &BTreeMap::new())
}

fn names(view: &View, kind: Kind) -> Vec<&str> {
    view.lane(kind).items().iter().map(|item| item.exposed.as_str()).collect()
}

pub(super) fn call(name: &str) -> Request {
    let mut params = RawObject::new();
    params.set("name", RawJson::string(name));
    Request::new(Method::ToolsCall, params)
}

#[test]
fn tools_are_offered_in_the_order_of_servers_and_of_each_servers_list() {
    let catalogue = catalogue(vec![with_tools("zoo", &["b", "a"]), with_tools("ant", &["z"])]);
    assert_eq!(names(&catalogue.merged, Kind::Tools), ["ant__z", "zoo__b", "zoo__a"]);
}

#[test]
fn a_servers_own_endpoint_shows_each_entry_as_the_server_wrote_it() {
    let catalogue = catalogue(vec![with_tools("s", &["a"])]);
    let view = catalogue.view(&Endpoint::Server("s".into())).unwrap();
    assert_eq!(view.tools.items()[0].raw.as_str(), r#"{ "name" : "a", "inputSchema":{"type":"object"}, "x-future":[1] }"#);
}

#[test]
fn the_schema_of_a_tool_that_asks_for_headers_is_at_hand_under_each_of_its_names() {
    let schema = r#"{"properties":{"r":{"type":"string","x-mcp-header":"Region"}}}"#;
    let asks = entry("asks", &format!(r#"{{"name":"asks","inputSchema":{schema}}}"#));
    let says = entry("says", r#"{"name":"says","description":"no x-mcp-header here","inputSchema":{"type":"object"}}"#);
    let listing = Listing { tools: [asks, says].into_iter().collect(), freshness: Freshness::Fresh, ..Listing::default() };
    let set = ToolsetPlan {
        tools: vec![globset::Glob::new("s__*").unwrap()],
        rename: BTreeMap::from([("s__asks".to_owned(), "renamed".to_owned())]),
        describe: BTreeMap::new(),
    };
    let catalogue = Catalogue::new("g1".into(), vec![member("s", listing)], &BTreeMap::from([("set".to_owned(), set)]));
    for (endpoint, asks, says) in [
        (Endpoint::All, "s__asks", "s__says"),
        (Endpoint::Server("s".into()), "asks", "says"),
        (Endpoint::Toolset("set".into()), "renamed", "s__says"),
    ] {
        let tools = &catalogue.view(&endpoint).unwrap().tools;
        assert_eq!(tools.get(asks).unwrap().header_schema.as_ref().unwrap().as_str(), schema, "{endpoint}");
        assert!(tools.get(says).unwrap().header_schema.is_none(), "{endpoint}");
    }
}

#[test]
fn a_call_goes_to_the_server_that_has_the_tool_under_its_own_name() {
    let long = "x".repeat(60);
    let catalogue = catalogue(vec![with_tools("one", &["a", &long]), with_tools("two", &["a.b"])]);
    for (exposed, server, own) in [
        ("one__a".to_owned(), "one", "a"),
        (names::exposed("one", &long), "one", long.as_str()),
        (names::exposed("two", "a.b"), "two", "a.b"),
        ("two__not_listed".to_owned(), "two", "not_listed"),
    ] {
        let call = catalogue.resolve(call(&exposed), &Endpoint::All).unwrap();
        assert_eq!((&*call.routed.server, call.target.own.as_str()), (server, own));
        assert_eq!(call.routed.request.params.get_str("name").unwrap(), own);
    }
    for missing in ["a", "three__a", "one", ""] {
        assert!(matches!(catalogue.resolve(call(missing), &Endpoint::All).unwrap_err().kind, FailureKind::NotFound), "{missing}");
    }
}

#[test]
fn a_name_that_looks_like_another_is_refused_and_not_to_be_called() {
    let catalogue = catalogue(vec![with_tools("pay", &["send"]), with_tools("Pay", &["send"])]);
    assert_eq!(names(&catalogue.merged, Kind::Tools), ["Pay__send"]);
    let refusal = &catalogue.refusals()[0];
    assert_eq!((&*refusal.refused.0, &*refusal.holder.0), ("pay", "Pay"));
    assert!(catalogue.resolve(call("pay__send"), &Endpoint::All).is_err());
}

#[test]
fn a_server_that_is_gone_loses_its_entries_and_still_gets_its_calls() {
    let mut gone = with_tools("s", &["a"]);
    gone.listing = Arc::new(Listing { freshness: Freshness::Gone { why: "refused".into(), hint: None }, ..(*gone.listing).clone() });
    let catalogue = catalogue(vec![gone, with_tools("t", &["b"])]);
    assert_eq!(names(&catalogue.merged, Kind::Tools), ["t__b"]);
    assert_eq!(&*catalogue.resolve(call("s__a"), &Endpoint::All).unwrap().routed.server, "s");
}

#[test]
fn resources_and_completions_find_their_way_back() {
    let listing = Listing {
        resources: Arc::new([entry("test://a", r#"{"uri":"test://a","name":"a"}"#)]),
        templates: Arc::new([entry("test://t/{id}", r#"{"uriTemplate":"test://t/{id}","name":"t"}"#)]),
        freshness: Freshness::Fresh,
        ..Listing::default()
    };
    let catalogue = catalogue(vec![member("s", listing)]);
    assert_eq!(names(&catalogue.merged, Kind::Resources), ["s.mcp:test://a"]);
    assert_eq!(names(&catalogue.merged, Kind::Templates), ["s.mcp:test://t/{id}"]);
    let mut params = RawObject::new();
    params.set("uri", RawJson::string("s.mcp:test://t/5"));
    let read = catalogue.resolve(Request::new(Method::ResourcesRead, params), &Endpoint::All).unwrap();
    assert_eq!(read.routed.request.params.to_json().as_str(), r#"{"uri":"test://t/5"}"#);
    let params =
        RawJson::from_static(r#"{"ref":{"type":"ref/resource","uri":"s.mcp:test://t/{id}"},"argument":{"name":"id","value":"1"}}"#);
    let complete = catalogue.resolve(Request::new(Method::Complete, params.object().unwrap()), &Endpoint::All).unwrap();
    assert_eq!(complete.routed.request.params.get("ref").unwrap().as_str(), r#"{"type":"ref/resource","uri":"test://t/{id}"}"#);
    let mut params = RawObject::new();
    params.set("uri", RawJson::string("test://a"));
    let missing = catalogue.resolve(Request::new(Method::ResourcesRead, params), &Endpoint::All).unwrap_err();
    assert!(matches!(missing.kind, FailureKind::ResourceNotFound(_)));
}

/// Rules are about texts: what a server takes for the same is not asked for in another one.
#[test]
fn a_uri_is_spelt_plainly_or_as_its_server_does() {
    let listing = Listing {
        resources: Arc::new([entry("file:///a//b", r#"{"uri":"file:///a//b","name":"a"}"#)]),
        templates: Arc::new([entry("file://nas/{path}", r#"{"uriTemplate":"file://nas/{path}","name":"t"}"#)]),
        freshness: Freshness::Fresh,
        ..Listing::default()
    };
    let catalogue = catalogue(vec![member("s", listing)]);
    let resolve = |method, uri: &str| {
        let request = match method {
            Method::Complete => {
                RawJson::parse(format!(r#"{{"ref":{{"type":"ref/resource","uri":"{uri}"}},"argument":{{}}}}"#)).unwrap().object().unwrap()
            }
            _ => RawJson::parse(format!(r#"{{"uri":"{uri}"}}"#)).unwrap().object().unwrap(),
        };
        catalogue.resolve(Request::new(method, request), &Endpoint::All).map(drop).map_err(|failure| failure.kind)
    };
    assert!(resolve(Method::ResourcesUnsubscribe, "s.mcp:file:///c//d").is_ok());
    for method in [Method::ResourcesRead, Method::ResourcesSubscribe, Method::Complete] {
        for uri in
            ["file:///srv/public/../../etc/passwd", "file:///srv/%2e%2e/x", "FILE:///etc/x", "file://localhost/etc/x", "file:///c//d"]
        {
            assert!(matches!(resolve(method, &format!("s.mcp:{uri}")), Err(FailureKind::InvalidParams)), "{method:?} {uri}");
        }
        for uri in ["file:///a//b", "file://nas/{path}", "file:///a/b"] {
            assert!(resolve(method, &format!("s.mcp:{uri}")).is_ok(), "{method:?} {uri}");
        }
    }
}

fn declaring(name: &str, extensions: &str, listing: Listing) -> Member {
    let capabilities = RawJson::parse(format!(r#"{{"resources":{{}},"extensions":{extensions}}}"#)).unwrap().object().unwrap();
    let discovery = sallyport_protocol::Discovery {
        revision: Revision::LATEST,
        capabilities,
        identity: ServerIdentity::new("x", "1"),
        instructions: None,
    };
    member(name, Listing { discovery: Some(Arc::new(discovery)), freshness: Freshness::Fresh, ..listing })
}

fn about(method: Method, uri: &str) -> Request {
    let mut params = RawObject::new();
    params.set("uri", RawJson::string(uri));
    Request::new(method, params)
}

#[test]
fn skills_and_directories_are_found_where_they_are_declared() {
    let catalogue = catalogue(vec![
        declaring("full", r#"{"io.modelcontextprotocol/skills":{"directoryRead":true}}"#, Listing::default()),
        declaring("few", r#"{"io.modelcontextprotocol/skills":{}}"#, Listing::default()),
        with_tools("none", &["a"]),
    ]);
    let (all, few) = (Endpoint::All, Endpoint::Server("few".into()));
    let found = catalogue.resolve(about(Method::SkillsGet, "skill://few.mcp/a/SKILL.md"), &all).unwrap();
    assert_eq!((&*found.routed.server, found.action, found.target.own.as_str()), ("few", Action::Read, "skill://a/SKILL.md"));
    assert_eq!(found.routed.request.params.to_json().as_str(), r#"{"uri":"skill://a/SKILL.md"}"#);
    assert_eq!(catalogue.resolve(about(Method::SkillsGet, "skill://a/SKILL.md"), &few).unwrap().target.own, "skill://a/SKILL.md");
    assert_eq!(&*catalogue.resolve(about(Method::DirectoryRead, "skill://full.mcp/a"), &all).unwrap().routed.server, "full");

    let refused = |method, uri: &str, endpoint: &Endpoint| catalogue.resolve(about(method, uri), endpoint).unwrap_err().kind;
    for (method, uri) in [
        (Method::DirectoryRead, "skill://few.mcp/a"),
        (Method::SkillsGet, "none.mcp:x:a/SKILL.md"),
        (Method::SkillsGet, "skill://a/SKILL.md"),
    ] {
        assert!(matches!(refused(method, uri, &all), FailureKind::NotFound), "{uri}");
    }
    assert!(matches!(refused(Method::DirectoryRead, "skill://a", &few), FailureKind::MethodNotFound));
    assert!(matches!(refused(Method::SkillsGet, "x:a", &Endpoint::Server("none".into())), FailureKind::MethodNotFound));
    assert!(matches!(refused(Method::SkillsGet, "skill://few.mcp/a", &Endpoint::Toolset("t".into())), FailureKind::MethodNotFound));
}

#[test]
fn a_name_that_no_server_lists_is_known_for_that() {
    let catalogue = catalogue(vec![with_tools("s", &["a"])]);
    let is_listed = |name: &str, endpoint: &Endpoint| {
        let mut params = RawObject::new();
        params.set("name", RawJson::string(name));
        catalogue.resolve(Request::new(Method::ToolsCall, params), endpoint).unwrap().target.is_listed
    };
    let own = Endpoint::Server("s".into());
    assert!(is_listed("a", &own) && is_listed("s__a", &Endpoint::All));
    assert!(!is_listed("b", &own) && !is_listed("s__b", &Endpoint::All));
}

#[test]
fn a_method_that_nobody_knows_goes_to_the_server_whose_endpoint_it_is() {
    let catalogue = catalogue(vec![declaring("s", r#"{"com.example/x":{}}"#, Listing::default()), with_tools("plain", &["a"])]);
    let thing = || Request::new(Method::of_extension("vendor/thing").unwrap(), RawJson::from_static(r#"{ "name":1 }"#).object().unwrap());
    let call = catalogue.resolve(thing(), &Endpoint::Server("s".into())).unwrap();
    assert_eq!((&*call.routed.server, call.target.kind, call.target.own.as_str()), ("s", resolve::TargetKind::Method, "vendor/thing"));
    assert_eq!(call.routed.request.params.to_bytes(), r#"{ "name":1 }"#);
    for endpoint in [Endpoint::All, Endpoint::Server("plain".into()), Endpoint::Server("gone".into()), Endpoint::Toolset("t".into())] {
        assert!(matches!(catalogue.resolve(thing(), &endpoint).unwrap_err().kind, FailureKind::MethodNotFound), "{endpoint}");
    }
}

#[test]
fn tools_of_apps_keep_their_pages_and_those_for_pages_alone_are_listed_to_clients_that_show_them() {
    let shown =
        r#"{"name":"show","_meta":{"ui":{"resourceUri":"ui://panel/x","visibility":["model","app"]},"ui/resourceUri":"ui://panel/x"}}"#;
    let press = r#"{"name":"press","_meta":{"ui":{"visibility":["app"]}}}"#;
    let listing = Listing { tools: Arc::new([entry("show", shown), entry("press", press)]), ..Listing::default() };
    let plan = ToolsetPlan {
        tools: vec![globset::Glob::new("s__*").unwrap()],
        rename: [("s__show".to_owned(), "look".to_owned())].into(),
        describe: BTreeMap::new(),
    };
    let members = vec![declaring("s", r#"{"io.modelcontextprotocol/ui":{}}"#, listing)];
    let catalogue = Catalogue::new("g1".into(), members, &[("set".to_owned(), plan)].into());
    let renamed = shown.replace("ui://panel", "ui://s.mcp/panel");
    for (endpoint, show, press, raw) in [
        (Endpoint::All, "s__show", "s__press", renamed.replace(r#""show""#, r#""s__show""#)),
        (Endpoint::Toolset("set".into()), "look", "s__press", renamed.replace(r#""show""#, r#""look""#)),
        (Endpoint::Server("s".into()), "show", "press", shown.to_owned()),
    ] {
        let tools = &catalogue.view(&endpoint).unwrap().tools;
        assert_eq!(tools.get(show).unwrap().raw.as_str(), raw, "{endpoint}");
        assert_eq!(listed(tools, true), [show, press], "{endpoint}");
        assert_eq!(listed(tools, false), [show], "{endpoint}");
        assert_eq!(catalogue.resolve(call(press), &endpoint).unwrap().target.own, "press");
    }
    // A page need not be listed to be read.
    for endpoint in [Endpoint::All, Endpoint::Toolset("set".into())] {
        let page = catalogue.resolve(about(Method::ResourcesRead, "ui://s.mcp/panel/x"), &endpoint).unwrap();
        assert_eq!((&*page.routed.server, page.target.own.as_str()), ("s", "ui://panel/x"));
    }
}

/// Policy need not know of toolsets: what is not in one is not there.
#[test]
fn a_toolset_opens_nothing_that_it_does_not_list_but_the_pages_of_its_tools() {
    let listing = Listing {
        tools: [
            entry("show", r#"{"name":"show","_meta":{"ui":{"resourceUri":"ui://panel/x"}}}"#),
            entry("older", r#"{"name":"older","_meta":{"ui/resourceUri":"ui://panel/old"}}"#),
            entry("hidden", r#"{"name":"hidden","_meta":{"ui":{"resourceUri":"ui://panel/hidden"}}}"#),
            entry("sly", r#"{"name":"sly","_meta":{"ui":{"resourceUri":"memo:hr"}}}"#),
        ]
        .into_iter()
        .collect(),
        resources: Arc::new([entry("memo:hr", r#"{"uri":"memo:hr","name":"hr"}"#)]),
        templates: Arc::new([entry("memo:{id}", r#"{"uriTemplate":"memo:{id}","name":"memo"}"#)]),
        prompts: Arc::new([entry("p", r#"{"name":"p"}"#)]),
        ..Listing::default()
    };
    let tools = ["s__show", "s__older", "s__sly"].map(|name| globset::Glob::new(name).unwrap());
    let plan = ToolsetPlan { tools: tools.into(), rename: BTreeMap::new(), describe: BTreeMap::new() };
    let catalogue = Catalogue::new("g1".into(), vec![declaring("s", "{}", listing)], &[("set".to_owned(), plan)].into());
    let is_there = |request: Request, endpoint: &Endpoint| catalogue.resolve(request, endpoint).is_ok();
    let completing = |reference: &str| {
        let params = RawJson::parse(format!(r#"{{"ref":{reference},"argument":{{"name":"id","value":"1"}}}}"#)).unwrap();
        Request::new(Method::Complete, params.object().unwrap())
    };
    let prompt = || {
        let mut params = RawObject::new();
        params.set("name", RawJson::string("s__p"));
        Request::new(Method::PromptsGet, params)
    };
    for (endpoint, opens) in [(Endpoint::All, true), (Endpoint::Toolset("set".into()), false)] {
        for method in [Method::ResourcesRead, Method::ResourcesSubscribe] {
            for uri in ["s.mcp:memo:hr", "s.mcp:memo:1", "ui://s.mcp/panel/hidden", "ui://s.mcp/panel/x?y"] {
                assert_eq!(is_there(about(method, uri), &endpoint), opens, "{} {uri} at {endpoint}", method.as_str());
            }
            for page in ["ui://s.mcp/panel/x", "ui://s.mcp/panel/old"] {
                assert!(is_there(about(method, page), &endpoint), "{} {page} at {endpoint}", method.as_str());
            }
        }
        for reference in [r#"{"type":"ref/resource","uri":"s.mcp:memo:{id}"}"#, r#"{"type":"ref/prompt","name":"s__p"}"#] {
            assert_eq!(is_there(completing(reference), &endpoint), opens, "{reference} at {endpoint}");
        }
        assert_eq!(is_there(prompt(), &endpoint), opens, "{endpoint}");
        assert!(is_there(about(Method::ResourcesUnsubscribe, "s.mcp:memo:hr"), &endpoint), "{endpoint}");
    }
}

/// The names of tools as they are listed to a client that shows apps, or does not.
fn listed(tools: &Lane, shows_apps: bool) -> Vec<String> {
    listed_for(&Principal::local_user(), tools, shows_apps)
}

fn listed_for(principal: &Principal, tools: &Lane, shows_apps: bool) -> Vec<String> {
    let config = sallyport_policy::Config { default: Some(Effect::Allow), ..Default::default() };
    let policy = Policy::build(&config, &[("s".to_owned(), ServerRules::default())].into()).unwrap();
    let request = ListRequest {
        principal,
        circumstances: Circumstances::local(SystemTime::UNIX_EPOCH),
        policy: &policy,
        identity: &ServerIdentity::new("sallyport", "0"),
        revision: Revision::LATEST,
        shows_apps,
        cursor: None,
        generation: "g1",
    };
    let entries = tools.list(Kind::Tools, &request).now_or_never().unwrap().unwrap().result.get("tools").unwrap().array().unwrap();
    entries.iter().map(|tool| tool.object().unwrap().get_str("name").unwrap().into_owned()).collect()
}

#[test]
fn a_list_is_prepared_for_the_scopes_of_a_token_and_not_only_for_its_holder() {
    let catalogue = catalogue(vec![with_tools("s", &["a", "b"])]);
    let with = |scopes: &str| {
        let holder = Principal::user("https://issuer.example.com", "alice").limited_to(Scopes::parse(scopes).unwrap());
        listed_for(&holder, &catalogue.merged.tools, true)
    };
    assert_eq!(with("s"), ["s__a", "s__b"]);
    assert_eq!(with("s:a"), ["s__a"]);
    assert_eq!(with("other"), Vec::<String>::new());
    assert_eq!(with("s"), ["s__a", "s__b"]);
}

#[test]
fn a_toolset_is_a_selection_under_names_of_its_own() {
    let plan = ToolsetPlan {
        tools: vec![globset::Glob::new("one__a*").unwrap()],
        rename: [("one__ab".to_owned(), "look".to_owned())].into(),
        describe: [("one__ab".to_owned(), "Looks.".to_owned())].into(),
    };
    let members = vec![with_tools("one", &["ab", "ac", "b"]), with_tools("two", &["a"])];
    let catalogue = Catalogue::new("g1".into(), members, &[("review".to_owned(), plan)].into());
    let endpoint = Endpoint::Toolset("review".into());
    let view = catalogue.view(&endpoint).unwrap();
    assert_eq!(names(view, Kind::Tools), ["look", "one__ac"]);
    assert!(view.tools.items()[0].raw.as_str().contains(r#""description":"Looks.""#));
    assert_eq!(catalogue.resolve(call("look"), &endpoint).unwrap().target.own, "ab");
    for outside in ["one__b", "two__a", "one__ab"] {
        assert!(catalogue.resolve(call(outside), &endpoint).is_err(), "{outside}");
    }
}

#[test]
fn a_list_is_filtered_by_policy_paged_and_then_kept() {
    let tools: Vec<String> = (0..2_500).map(|at| format!("t{at}")).collect();
    let catalogue = catalogue(vec![with_tools("s", &tools.iter().map(String::as_str).collect::<Vec<_>>())]);
    let rules = ServerRules { deny: vec!["t1".into(), "t2100".into()], ..ServerRules::default() };
    let policy = Policy::build(&sallyport_policy::Config::default(), &[("s".to_owned(), rules)].into()).unwrap();
    let principal = Principal::local_user();
    let identity = ServerIdentity::new("sallyport", "0");
    let page = |cursor: Option<&str>| {
        let request = ListRequest {
            principal: &principal,
            circumstances: Circumstances::local(SystemTime::UNIX_EPOCH),
            policy: &policy,
            identity: &identity,
            revision: Revision::V2025_06_18,
            shows_apps: false,
            cursor,
            generation: catalogue.generation(),
        };
        catalogue.merged.tools.list(Kind::Tools, &request).now_or_never().unwrap()
    };
    let first = page(None).unwrap().result;
    assert_eq!(first.get("tools").unwrap().array().unwrap().len(), 2_000);
    assert!(!first.get("tools").unwrap().as_str().contains("\"s__t1\""));
    assert_eq!(first.to_bytes().as_ptr(), page(None).unwrap().result.to_bytes().as_ptr(), "the same memory");
    let cursor = first.get_str("nextCursor").unwrap();
    let second = page(Some(&cursor)).unwrap().result;
    assert_eq!(second.get("tools").unwrap().array().unwrap().len(), 2_498 - 2_000);
    assert!(second.get("nextCursor").is_none());
    for bad in ["", "g0.5", "g1.x", "g1"] {
        assert!(matches!(page(Some(bad)).unwrap_err().kind, FailureKind::InvalidParams), "{bad}");
    }
}

#[test]
fn only_the_lists_that_changed_are_told() {
    let before = catalogue(vec![with_tools("s", &["a"]), with_tools("t", &["b"])]);
    let now = catalogue(vec![with_tools("s", &["a", "c"]), with_tools("t", &["b"])]);
    assert_eq!(now.changes_since(&before), [(Endpoint::All, Kind::Tools), (Endpoint::Server("s".into()), Kind::Tools)]);
}
