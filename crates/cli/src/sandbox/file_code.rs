//! The gateway's own file code, as the attack suite races with it: the built-in server `filesystem`.

use std::path::Path;
use std::sync::Arc;

use sallyport_protocol::{
    Asker, BoxFuture, Cancel, Client, Context, ErrorObject, McpServer, Method, RawJson, RawObject, Request, Revision,
};
use sallyport_sandbox::Pending;
use sallyport_sandbox::attack::Gateway;
use sallyport_servers::{BuiltInConfig, filesystem};

/// Reads by calling `read_file`.
pub(super) struct FileCode;

impl Gateway for FileCode {
    fn read<'a>(&'a self, root: &'a Path, path: &'a Path) -> Pending<'a, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let config: filesystem::Config =
                serde_json::from_value(serde_json::json!({ "root": root })).map_err(|error| error.to_string())?;
            let server = BuiltInConfig::Filesystem(config).build().map_err(|error| error.message)?;
            let reply = call(&*server, path).await?;
            let failed = reply.get("isError").is_some_and(|value| value.as_str() == "true");
            let text = reply.to_json().as_str().to_owned();
            if failed { Err(text) } else { Ok(text.into_bytes()) }
        })
    }
}

async fn call(server: &dyn McpServer, path: &Path) -> Result<RawObject, String> {
    let mut params = RawObject::new();
    params.set("name", RawJson::string("read_file"));
    params.set("arguments", RawJson::encode(&serde_json::json!({ "path": path })).map_err(|error| error.to_string())?);
    let client = Client { revision: Revision::LATEST, capabilities: RawObject::new(), info: None };
    let context = Context { client: Arc::new(client), asker: Arc::new(Nobody), cancel: Cancel::new() };
    let reply = server.handle(Request::new(Method::ToolsCall, params), context).await;
    reply.map(|reply| reply.result).map_err(|failure| failure.to_string())
}

/// Who asks for a file is asked nothing back.
struct Nobody;

impl Asker for Nobody {
    fn notify(&self, _: &str, _: RawObject) {}

    fn ask<'a>(&'a self, method: &'a str, _: RawObject) -> BoxFuture<'a, Result<RawObject, ErrorObject>> {
        Box::pin(async move { Err(ErrorObject::new(ErrorObject::METHOD_NOT_FOUND, method)) })
    }
}
