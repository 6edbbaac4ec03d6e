//! crate `rmcp`, in this process.
#![allow(deprecated, reason = "rmcp deprecates what 2026-07-28 dropped, and the servers here speak the revisions before it")]

use rmcp::model::{
    ClientConfig, CompleteRequestParams, CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams, ElicitResult, ErrorData,
    ListRootsResult, ProtocolVersion, SubscribeRequestParams, UnsubscribeRequestParams,
};
use rmcp::service::{RequestContext, RunningService};
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt as _, RoleClient};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::visit::{Answer, Reply, Step, Target, Visit};

pub(crate) struct Rmcp {
    runtime: tokio::runtime::Runtime,
}

impl Rmcp {
    pub(crate) fn new() -> Self {
        // Its HTTP client comes without a library of cryptography; whoever was first has chosen.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { runtime: runtime.expect("a runtime starts") }
    }

    pub(crate) fn visit(&mut self, visit: &Visit) -> Answer {
        self.runtime.block_on(async {
            match connect(visit).await {
                Ok(service) => go(service, &visit.steps).await,
                Err(error) => Answer { connect: json!({ "error": { "message": error } }), steps: Vec::new() },
            }
        })
    }
}

type Service = RunningService<RoleClient, Person>;

async fn connect(visit: &Visit) -> Result<Service, String> {
    let mode = match visit.mode {
        "legacy" => ClientLifecycleMode::Initialize,
        _ => ClientLifecycleMode::Discover { preferred_versions: vec![typed(json!(super::MODERN))] },
    };
    match &visit.target {
        Target::Url { url, .. } => {
            let transport = StreamableHttpClientTransport::from_uri(url.clone());
            Person.serve_with_lifecycle(transport, mode).await.map_err(|error| error.to_string())
        }
        Target::Command { command, env } => {
            let mut process = tokio::process::Command::new(&command[0]);
            process.args(&command[1..]).envs(env);
            let transport = TokioChildProcess::new(process).map_err(|error| error.to_string())?;
            Person.serve_with_lifecycle(transport, mode).await.map_err(|error| error.to_string())
        }
    }
}

async fn go(service: Service, steps: &[Step]) -> Answer {
    let mut replies = Vec::with_capacity(steps.len());
    for step in steps {
        replies.push(take(&service, step).await);
    }
    let revision = service.peer_info().map(|info| info.protocol_version.clone());
    let connect = json!({ "result": { "revision": revision } });
    // Its end is the transport's affair; what counts is in the replies.
    let _ended = service.cancel().await;
    Answer { connect, steps: replies }
}

async fn take(service: &Service, step: &Step) -> Reply {
    let params = step.params.clone();
    match step.method {
        "tools/list" => reply(service.list_all_tools().await.map(|tools| json!({ "tools": tools }))),
        "prompts/list" => reply(service.list_all_prompts().await.map(|prompts| json!({ "prompts": prompts }))),
        "resources/list" => reply(service.list_all_resources().await.map(|resources| json!({ "resources": resources }))),
        "resources/templates/list" => {
            reply(service.list_all_resource_templates().await.map(|templates| json!({ "resourceTemplates": templates })))
        }
        "tools/call" => reply(service.call_tool(typed(params)).await),
        "prompts/get" => reply(service.get_prompt(typed(params)).await),
        "resources/read" => reply(service.read_resource(typed(params)).await),
        "resources/subscribe" => reply(service.subscribe(typed::<SubscribeRequestParams>(params)).await.map(|()| json!({}))),
        "resources/unsubscribe" => reply(service.unsubscribe(typed::<UnsubscribeRequestParams>(params)).await.map(|()| json!({}))),
        "completion/complete" => reply(service.complete(typed::<CompleteRequestParams>(params)).await),
        other => Reply::of_error(&format!("this client has no step {other}")),
    }
}

fn reply<T: Serialize, E: std::fmt::Display>(outcome: Result<T, E>) -> Reply {
    match outcome {
        Ok(result) => Reply::of_result(&result),
        Err(error) => Reply::of_error(&error),
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the test's own values have the client's types")
}

/// What a person and a model would answer, the same as in the drivers.
struct Person;

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let capabilities = json!({ "roots": { "listChanged": true }, "sampling": {}, "elicitation": { "form": {}, "url": {} } });
        let mut config = ClientConfig::default();
        config.capabilities = typed(capabilities);
        config.protocol_version = ProtocolVersion::LATEST;
        config
    }

    async fn create_message(
        &self,
        _params: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        Ok(typed(json!({
            "model": "test-model", "role": "assistant", "stopReason": "endTurn", "content": { "type": "text", "text": "forty-two" },
        })))
    }

    async fn list_roots(&self, _context: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        Ok(typed(json!({ "roots": [{ "uri": "file:///srv/project", "name": "project" }] })))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(typed(match request {
            ElicitRequestParams::UrlElicitationParams { .. } => json!({ "action": "accept" }),
            _ => json!({ "action": "accept", "content": { "name": "Ada", "check": true, "integer": 7 } }),
        }))
    }
}
