//! One cell of the matrix: a client of one revision, connected through the gateway to a server of another.

use std::collections::BTreeMap;

use sallyport_protocol::Era;
use sallyport_testkit::wire_client::{Fault, Heard, Person, Way, WireClient};
use serde_json::{Value, json};

use crate::ends::{End, Transport};
use crate::harness::gateway::{Gateway, Project};

/// What went otherwise than expected, for the text of the failing test.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A client at an endpoint of the gateway, and the server behind it.
pub(crate) struct Cell {
    pub(crate) client: WireClient,
    pub(crate) client_end: End,
    pub(crate) server_end: End,
    way: Way,
}

impl Cell {
    /// Connects a client whose person answers everything.
    pub(crate) async fn open(project: &Project, gateway: &Gateway, client_end: End, server_end: End) -> Result<Self, Fault> {
        let way = way(project, gateway, client_end, server_end);
        let client = WireClient::connect(&way, client_end.revision, Person::obliging()).await?;
        Ok(Self { client, client_end, server_end, way })
    }

    /// Another client of the same revision at the same place.
    pub(crate) async fn another(&self, person: Person) -> Result<WireClient, Fault> {
        WireClient::connect(&self.way, self.client_end.revision, person).await
    }

    /// `sallyport stdio` serves all servers together, and tells them apart by their names.
    pub(crate) fn is_merged(&self) -> bool {
        self.client_end.transport == Transport::Stdio
    }

    /// A tool or prompt of the server, as it is called at this endpoint.
    pub(crate) fn name(&self, name: &str) -> String {
        if self.is_merged() { format!("{}__{name}", self.server_end.server_name()) } else { name.to_owned() }
    }

    /// A resource of the server, as it is called at this endpoint.
    pub(crate) fn uri(&self, uri: &str) -> String {
        if self.is_merged() { format!("{}.mcp:{uri}", self.server_end.server_name()) } else { uri.to_owned() }
    }

    /// A request and its result, which has to be one of the client's own revision.
    pub(crate) async fn request(&self, method: &str, params: Value) -> Outcome<Value> {
        let result = self.client.request(method, params).await?;
        self.check_words(&result)?;
        Ok(result)
    }

    /// `tools/call`, as [`Self::request`].
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Outcome<Value> {
        self.request("tools/call", self.call_params(tool, &arguments)).await
    }

    /// The params of a `tools/call`.
    pub(crate) fn call_params(&self, tool: &str, arguments: &Value) -> Value {
        json!({ "name": self.name(tool), "arguments": arguments })
    }

    /// A call that has to fail: the text for the model, or the error.
    pub(crate) async fn failing_call(&self, tool: &str, arguments: Value) -> Outcome<String> {
        match self.client.request("tools/call", self.call_params(tool, &arguments)).await {
            Ok(result) if result["isError"] == true => Ok(text_of(&result).to_owned()),
            Ok(result) => Err(format!("it did not fail: {result}").into()),
            Err(Fault::Error { code: -32099..=-32020, .. }) if self.is_legacy() => Err("an error code of a later revision".into()),
            Err(fault @ Fault::Error { .. }) => Ok(fault.to_string()),
            Err(other) => Err(other.into()),
        }
    }

    /// The entries of a list that belong to the server, by their own names: `key` is `name`, `uri` or `uriTemplate`.
    pub(crate) async fn list(&self, method: &str, key: &str) -> Outcome<BTreeMap<String, Value>> {
        let prefix = if key == "name" { self.name("") } else { self.uri("") };
        let entries = self.client.list(method).await?;
        let own = |entry: Value| Some((entry[key].as_str()?.strip_prefix(&prefix)?.to_owned(), entry));
        Ok(entries.into_iter().filter_map(own).collect())
    }

    /// Whether the client speaks a revision with a handshake.
    pub(crate) fn is_legacy(&self) -> bool {
        self.client_end.revision.era() == Era::Legacy
    }

    /// A result of 2026-07-28 says of which kind it is; before that, nobody knows the word.
    fn check_words(&self, result: &Value) -> Outcome {
        if !self.is_legacy() {
            return expect(result["resultType"].is_string(), "a `resultType`", result);
        }
        let known = |word: &&str| !result[*word].is_null();
        let foreign: Vec<&str> = ["resultType", "ttlMs", "cacheScope"].into_iter().filter(known).collect();
        expect(foreign.is_empty() && !result["_meta"].to_string().contains("io.modelcontextprotocol/serverInfo"), "no later words", result)
    }

    /// Waits for a notification of that method since `mark`.
    pub(crate) async fn wait(&self, mark: usize, method: &str) -> Outcome<Heard> {
        let found = self.client.wait(mark, |heard| heard.method == method).await;
        found.map_err(|fault| format!("no {method}: {fault}; heard {:?}", self.client.heard(mark)).into())
    }
}

fn way(project: &Project, gateway: &Gateway, client_end: End, server_end: End) -> Way {
    let place = |ending: &str| gateway.url(&format!("/servers/{}/{ending}", server_end.server_name()));
    match client_end.transport {
        Transport::Stdio => Way::Stdio { command: project.stdio_command(), environment: project.environment() },
        Transport::HttpSse => Way::HttpSse(place("sse")),
        Transport::StreamableHttp => Way::StreamableHttp(place("mcp")),
    }
}

/// Fails, showing what was there, unless `holds`.
pub(crate) fn expect(holds: bool, what: &str, found: impl std::fmt::Debug) -> Outcome {
    if holds { Ok(()) } else { Err(format!("expected {what}, got {found:?}").into()) }
}

/// The text of a result's first block.
pub(crate) fn text_of(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}
