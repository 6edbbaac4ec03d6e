//! Asks a built-in server, and checks everything it answers against what it says of itself.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use sallyport_protocol::{
    Asker, BoxFuture, Cancel, Client, Context, ErrorObject, Failure, McpServer, Method, RawJson, RawObject, Reply, Request, Revision,
};
use sallyport_servers::BuiltInConfig;
use serde_json::{Value, json};

use crate::schema;

/// Hears nothing and answers nothing: built-in tools ask no questions.
struct Silent;

impl Asker for Silent {
    fn notify(&self, _method: &str, _params: RawObject) {}

    fn ask<'a>(&'a self, method: &'a str, _params: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        Box::pin(async move { Err(ErrorObject::new(ErrorObject::METHOD_NOT_FOUND, method)) })
    }
}

pub struct Caller {
    pub server: Arc<dyn McpServer>,
    runtime: tokio::runtime::Runtime,
    pub tools: Vec<Value>,
    schemas: HashMap<String, Value>,
}

/// A tool's answer.
pub struct Answer {
    pub structured: Value,
    pub content: Value,
}

impl Answer {
    pub fn text(&self) -> &str {
        self.content["text"].as_str().unwrap()
    }
}

pub fn context(cancel: Cancel) -> Context {
    let client = Client { revision: Revision::LATEST, capabilities: RawObject::new(), info: None };
    Context { client: Arc::new(client), asker: Arc::new(Silent), cancel, credential: None }
}

impl Caller {
    pub fn filesystem(root: &Path, write: bool) -> Self {
        Self::new(json!({ "filesystem": { "root": root, "write": write } }))
    }

    /// A `filesystem` server that writes, but not `file`.
    pub fn protecting(root: &Path, file: &Path) -> Self {
        let mut config: BuiltInConfig = serde_json::from_value(json!({ "filesystem": { "root": root, "write": true } })).unwrap();
        config.protect(file.to_owned());
        Self::of(config)
    }

    pub fn hiding(root: &Path, file: &Path) -> Self {
        Self::with_hidden(json!({ "filesystem": { "root": root } }), file)
    }

    /// A server from which `file` is kept.
    pub fn with_hidden(config: Value, file: &Path) -> Self {
        let mut config: BuiltInConfig = serde_json::from_value(config).unwrap();
        config.hide(file.to_owned());
        Self::of(config)
    }

    pub fn git(root: &Path, write: bool) -> Self {
        Self::new(json!({ "git": { "root": root, "write": write } }))
    }

    pub fn new(config: Value) -> Self {
        Self::of(serde_json::from_value(config).unwrap())
    }

    pub fn of(config: BuiltInConfig) -> Self {
        let server = Arc::from(config.build().unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let mut caller = Self { server, runtime, tools: Vec::new(), schemas: HashMap::new() };
        let list: Value = caller.send(Method::ToolsList, json!({})).unwrap().result.to_json().decode().unwrap();
        caller.tools = list["tools"].as_array().unwrap().clone();
        caller.schemas =
            caller.tools.iter().map(|tool| (tool["name"].as_str().unwrap().to_owned(), tool["outputSchema"].clone())).collect();
        caller
    }

    pub fn send(&self, method: Method, params: Value) -> Result<Reply, Failure> {
        self.send_with(method, params, Cancel::new())
    }

    pub fn send_with(&self, method: Method, params: Value, cancel: Cancel) -> Result<Reply, Failure> {
        let params = RawJson::encode(&params).unwrap().object().unwrap();
        self.runtime.block_on(self.server.handle(Request::new(method, params), context(cancel)))
    }

    fn call(&self, tool: &str, arguments: Value) -> (bool, Value) {
        let reply = self.send(Method::ToolsCall, json!({ "name": tool, "arguments": arguments })).unwrap();
        assert_eq!(reply.revision, Revision::LATEST);
        let result: Value = reply.result.to_json().decode().unwrap();
        assert_eq!(result["resultType"], "complete");
        assert_eq!(result["content"].as_array().unwrap().len(), 1);
        (result["isError"] == true, result)
    }

    /// Calls a tool that must do it.
    pub fn ok(&self, tool: &str, arguments: Value) -> Answer {
        let (failed, result) = self.call(tool, arguments.clone());
        assert!(!failed, "{tool} {arguments}: {}", result["content"][0]["text"]);
        schema::check(&self.schemas[tool], &result["structuredContent"], tool);
        Answer { structured: result["structuredContent"].clone(), content: result["content"][0].clone() }
    }

    /// Calls a tool that must refuse, and gives what it tells the model.
    pub fn err(&self, tool: &str, arguments: Value) -> String {
        let (failed, result) = self.call(tool, arguments.clone());
        assert!(failed, "{tool} {arguments} was done: {}", result["structuredContent"]);
        assert!(result.get("structuredContent").is_none());
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// All items that pages of `tool` hold under `key`, and how many pages there were.
    pub fn pages(&self, tool: &str, mut arguments: Value, key: &str) -> (Vec<Value>, usize) {
        let (mut items, mut pages) = (Vec::new(), 0);
        loop {
            let answer = self.ok(tool, arguments.clone());
            items.extend(answer.structured[key].as_array().unwrap().clone());
            pages += 1;
            match answer.structured.get("next") {
                Some(next) => arguments["offset"] = next.clone(),
                None => return (items, pages),
            }
        }
    }
}
