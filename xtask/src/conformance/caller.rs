//! An MCP client at the stdin and stdout of `sallyport stdio`, in either era.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Map, Value, json};

use super::browser;
use crate::repository::Outcome;

/// Rounds of questions before a call is given up: no scenario has more than two.
const MOST_ROUNDS: usize = 8;

/// The error with which a server of 2025-11-25 wants an address to be opened.
const URL_ELICITATION_REQUIRED: i64 = -32042;

/// The era a caller speaks, and with it the way it is asked questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Era {
    /// `initialize`, then requests; the server asks by requests of its own.
    Legacy,
    /// Every request for itself; the server asks by `input_required` results.
    Modern,
}

impl Era {
    /// How this era is called in the lines that are printed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

/// A client of one gateway. It answers every question from the question's own schema.
pub(crate) struct Caller {
    gateway: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    era: Era,
    last_id: u64,
    capabilities: Value,
    /// A tool that is called while the next question waits for its answer.
    meanwhile: Option<String>,
    /// An address that the last refused request wants to be opened.
    link: Option<String>,
}

impl Caller {
    /// Starts `command` (a `sallyport stdio`) and, in the legacy era, shakes hands with it.
    pub(crate) fn start(command: &mut Command, era: Era) -> Outcome<Self> {
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut gateway = started.map_err(|error| format!("could not start the gateway: {error}"))?;
        let (Some(input), Some(output)) = (gateway.stdin.take(), gateway.stdout.take()) else {
            return Err("the gateway has no pipes".to_owned());
        };
        let output = BufReader::new(output).lines();
        let mut caller = Self { gateway, input, output, era, last_id: 0, capabilities: Value::Null, meanwhile: None, link: None };
        caller.capabilities = match era {
            Era::Legacy => caller.shake_hands()?,
            Era::Modern => caller.request("server/discover", json!({}))?["capabilities"].take(),
        };
        Ok(caller)
    }

    /// Whether the gateway has this capability.
    pub(crate) fn has(&self, capability: &str) -> bool {
        self.capabilities.get(capability).is_some()
    }

    /// Has `tool` called in the middle of the next call that asks something.
    pub(crate) fn call_meanwhile(&mut self, tool: &str) {
        self.meanwhile = Some(tool.to_owned());
    }

    /// Sends a request, answers the questions that come with it, and gives its result.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> Outcome<Value> {
        let mut round = params.clone();
        for _ in 0..MOST_ROUNDS {
            let result = match self.exchange(method, &round) {
                Err(refusal) if self.link.is_some() => {
                    let link = self.link.take().unwrap_or_default();
                    browser::grant(&link).map_err(|error| format!("{refusal}, and there: {error}"))?;
                    continue; // as the person's client does once they have been there
                }
                other => other?,
            };
            if result["resultType"] != "input_required" {
                return Ok(result);
            }
            round = params.clone();
            round["inputResponses"] = self.answers(&result["inputRequests"])?;
            if let Some(state) = result.get("requestState") {
                round["requestState"] = state.clone();
            }
        }
        Err(format!("{method} asked {MOST_ROUNDS} times"))
    }

    /// Closes the gateway's stdin and waits for its end.
    pub(crate) fn end(self) -> Outcome {
        let Self { mut gateway, input, .. } = self;
        drop(input);
        gateway.wait().map(|_status| ()).map_err(|error| format!("could not wait for the gateway: {error}"))
    }

    fn shake_hands(&mut self) -> Outcome<Value> {
        let client = json!({ "name": "conformance", "version": "1" });
        let params = json!({ "protocolVersion": "2025-11-25", "clientInfo": client, "capabilities": own_capabilities() });
        let mut greeting = self.exchange("initialize", &params)?;
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        Ok(greeting["capabilities"].take())
    }

    /// One request and its answer. What the server asks in between is answered; what it only tells is passed over.
    fn exchange(&mut self, method: &str, params: &Value) -> Outcome<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let mut params = params.clone();
        if self.era == Era::Modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "conformance", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": own_capabilities(),
            });
        }
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        loop {
            let mut message = self.receive()?;
            if message.get("method").is_some() {
                self.take_question(&message)?;
            } else if message["id"] == id {
                return match message.get_mut("result") {
                    Some(result) => Ok(result.take()),
                    None => {
                        let error = &message["error"];
                        if error["code"] == URL_ELICITATION_REQUIRED {
                            self.link = error["data"]["elicitations"][0]["url"].as_str().map(str::to_owned);
                        }
                        Err(format!("{method}: {error}"))
                    }
                };
            }
        }
    }

    /// Answers a request of the server's; leaves its notifications alone.
    fn take_question(&mut self, message: &Value) -> Outcome {
        let Some(id) = message.get("id") else { return Ok(()) };
        let answer = match message["method"].as_str() {
            Some("elicitation/create") => json!({ "result": self.answer(&message["params"])? }),
            Some("ping") => json!({ "result": {} }),
            _ => json!({ "error": { "code": -32601, "message": "no scenario asks this" } }),
        };
        let mut message = json!({ "jsonrpc": "2.0", "id": id });
        if let (Some(message), Value::Object(answer)) = (message.as_object_mut(), answer) {
            message.extend(answer);
        }
        self.send(&message)
    }

    /// The answers to the questions of an `input_required` result, under the same keys.
    fn answers(&mut self, questions: &Value) -> Outcome<Value> {
        let mut answers = Map::new();
        for (key, question) in questions.as_object().into_iter().flatten() {
            answers.insert(key.clone(), self.answer(&question["params"])?);
        }
        Ok(Value::Object(answers))
    }

    /// Accepts a form with the defaults that it names, as a client that shows forms fills them in.
    fn answer(&mut self, question: &Value) -> Outcome<Value> {
        if let Some(tool) = self.meanwhile.take() {
            self.request("tools/call", json!({ "name": tool, "arguments": {} }))?;
        }
        if let Some(link) = question["url"].as_str() {
            browser::grant(link)?;
            return Ok(json!({ "action": "accept" }));
        }
        let fields = question["requestedSchema"]["properties"].as_object().into_iter().flatten();
        let content: Map<String, Value> = fields.map(|(name, field)| (name.clone(), filled_in(field))).collect();
        Ok(json!({ "action": "accept", "content": content }))
    }

    fn send(&mut self, message: &Value) -> Outcome {
        writeln!(self.input, "{message}").map_err(|error| format!("the gateway does not read: {error}"))
    }

    fn receive(&mut self) -> Outcome<Value> {
        let line = self.output.next().ok_or("the gateway ended")?.map_err(|error| format!("could not read from the gateway: {error}"))?;
        serde_json::from_str(&line).map_err(|error| format!("the gateway wrote no JSON: {error}: {line}"))
    }
}

/// What this client can do: fill in forms, and open addresses.
fn own_capabilities() -> Value {
    json!({ "elicitation": { "form": {}, "url": {} } })
}

/// A field's default, else a yes.
fn filled_in(field: &Value) -> Value {
    field.get("default").cloned().unwrap_or(Value::Bool(true))
}
