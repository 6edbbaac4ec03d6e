//! The gateway's own code, as the attack suite takes it on: that for files, of the built-in server `filesystem`, and that for a server's lines.

use std::path::Path;
use std::sync::Arc;

use sallyport_protocol::{
    Asker, BoxFuture, Cancel, Client, Context, ErrorObject, McpServer, Method, RawJson, RawObject, Request, Revision,
};
use sallyport_sandbox::attack::{Gateway, Heard};
use sallyport_sandbox::{Pending, Stdout};
use sallyport_servers::{BuiltInConfig, filesystem};
use sallyport_transport::frame::{LineError, LineReader};

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

    fn listen<'a>(&'a self, stdout: Stdout, longest: usize) -> Pending<'a, Heard> {
        Box::pin(async move {
            let (mut lines, mut heard) = (LineReader::new(stdout, longest), Heard::default());
            loop {
                match lines.next().await {
                    Ok(Some(line)) => heard = Heard { lines: heard.lines + 1, longest: heard.longest.max(line.len()), ..heard },
                    Err(LineError::TooLong) => heard.refused += 1,
                    Ok(None) | Err(_) => return heard,
                }
            }
        })
    }
}

async fn call(server: &dyn McpServer, path: &Path) -> Result<RawObject, String> {
    let mut params = RawObject::new();
    params.set("name", RawJson::string("read_file"));
    params.set("arguments", RawJson::encode(&serde_json::json!({ "path": path })).map_err(|error| error.to_string())?);
    let client = Client { revision: Revision::LATEST, capabilities: RawObject::new(), info: None };
    let context = Context { client: Arc::new(client), asker: Arc::new(Nobody), cancel: Cancel::new(), credential: None };
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
