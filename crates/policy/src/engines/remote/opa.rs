//! OPA's REST API: `POST /v1/data/<path>` with `{"input": …}`, which is what Rego calls `input` here.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Remote;
use crate::{Effect, EngineFailure};

#[derive(Deserialize)]
struct Answered {
    /// Not there where the document is undefined.
    result: Option<Value>,
}

/// # Errors
/// No answer, or one that is neither true nor false nor `"ask"`: an undefined document is what a misspelt path is.
pub(super) async fn one(remote: &Remote, document: &Value) -> Result<Effect, EngineFailure> {
    let answer = remote.ask("", json!({ "input": document }).to_string().into_bytes()).await?;
    let answered: Answered =
        serde_json::from_slice(&answer).map_err(|error| EngineFailure(format!("`{}` sent no answer of OPA: {error}", remote.place)))?;
    match answered.result {
        Some(Value::Bool(true)) => Ok(Effect::Allow),
        Some(Value::Bool(false)) => Ok(Effect::Deny),
        Some(Value::String(answer)) if answer == "ask" => Ok(Effect::Ask),
        Some(_) => Err(EngineFailure(format!("the document of `{}` is neither true nor false nor `ask`", remote.place))),
        None => Err(EngineFailure(format!("the document of `{}` is undefined", remote.place))),
    }
}
