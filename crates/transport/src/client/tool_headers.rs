//! Arguments that a modern HTTP server wants repeated in headers (2026-07-28, `x-mcp-header`).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderName, HeaderValue};
use sallyport_protocol::{FailureKind, Method, RawJson, RawObject, Request};

use super::fault::Fault;
use crate::headers::ParamHeaders;

/// Tools whose headers are remembered: as many as the longest lists in use have, with room.
const MOST_TOOLS: usize = 10_000;

/// The tools that want headers, as far as their lists have been read.
#[derive(Debug, Default)]
pub(crate) struct ToolHeaders(RwLock<HashMap<String, Arc<ParamHeaders>>>);

impl ToolHeaders {
    /// Reads a page of `tools/list`. Tools with annotations that are not allowed are taken out of it, which the revision demands.
    pub(crate) fn learn(&self, server: &str, request: &Request, result: &mut RawObject) {
        let Some(tools) = result.get("tools").filter(|tools| memchr::memmem::find(tools.as_bytes(), b"x-mcp-header").is_some()) else {
            return; // nearly every list
        };
        let Ok(tools) = tools.array() else { return };
        let count = tools.len();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if request.params.get("cursor").is_none() {
            known.clear();
        }
        let kept: Vec<RawJson> = tools.into_iter().filter(|tool| keep(server, tool, &mut known)).collect();
        if kept.len() < count {
            result.set("tools", RawJson::of_array(&kept));
        }
    }

    /// The headers that go with a request.
    pub(crate) fn of_request(&self, request: &Request) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
        if request.method != Method::ToolsCall {
            return Ok(Vec::new());
        }
        let params = {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if known.is_empty() {
                return Ok(Vec::new()); // nearly every server
            }
            request.name().and_then(|name| known.get(name.as_ref()).cloned())
        };
        let headers = params.map(|params| params.for_arguments(request.params.get("arguments"))).transpose();
        Ok(headers.map_err(|bad| Fault::Refused(FailureKind::InvalidParams, bad.to_string()))?.unwrap_or_default())
    }
}

fn keep(server: &str, tool: &RawJson, known: &mut HashMap<String, Arc<ParamHeaders>>) -> bool {
    let Ok(tool) = tool.object() else { return true };
    let (Some(name), Some(schema)) = (tool.get_str("name"), tool.get("inputSchema")) else { return true };
    match ParamHeaders::of_schema(schema) {
        Ok(params) if params.is_empty() => true,
        Ok(params) => {
            if known.len() < MOST_TOOLS {
                known.insert(name.into_owned(), Arc::new(params));
            }
            true
        }
        Err(bad) => {
            tracing::warn!(server, tool = %name, %bad, "tool left out: its headers are not allowed");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_list_teaches_the_headers_and_loses_what_is_not_allowed() {
        let headers = ToolHeaders::default();
        let text = r#"{"tools":[{"name":"good","inputSchema":{"properties":{"r":{"type":"string","x-mcp-header":"R"}}}},{"name":"bad","inputSchema":{"properties":{"r":{"type":"number","x-mcp-header":"R"}}}},{"name":"plain","inputSchema":{}}],"ttlMs":0}"#;
        let mut result = RawJson::from_static(text).object().unwrap();
        headers.learn("x", &Request::new(Method::ToolsList, RawObject::new()), &mut result);
        let names: Vec<String> = result
            .get("tools")
            .unwrap()
            .array()
            .unwrap()
            .iter()
            .map(|tool| tool.object().unwrap().get_str("name").unwrap().into_owned())
            .collect();
        assert_eq!(names, ["good", "plain"]);
        let call = |name: &str| {
            let mut params = RawObject::new();
            params.set("name", RawJson::string(name));
            params.set("arguments", RawJson::from_static(r#"{"r":"eu"}"#));
            headers.of_request(&Request::new(Method::ToolsCall, params)).unwrap()
        };
        assert_eq!(call("good"), [(HeaderName::from_static("mcp-param-r"), HeaderValue::from_static("eu"))]);
        assert!(call("plain").is_empty());
    }
}
