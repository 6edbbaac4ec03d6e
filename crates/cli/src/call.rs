//! `sallyport call`: one call of a tool.

use sallyport_gateway::config;
use sallyport_protocol::{Method, RawJson, RawObject};

use crate::arguments::{CallArguments, Global};
use crate::output::{self, Exit, Failure};
use crate::reach::{self, Reach};
use crate::tools::shown;
use crate::{start, tenant};

pub(crate) fn run(global: &Global, arguments: &CallArguments) -> Result<(), Failure> {
    let given = read_arguments(&arguments.arguments)?;
    let plan = tenant::of(config::load(&global.invocation()?)?, arguments.of.tenant.as_deref())?;
    let mut params = RawObject::new();
    params.set("name", RawJson::string(&arguments.tool));
    params.set("arguments", given.to_json());
    let result = start::runtime()?.block_on(async {
        let reach = Reach::open(plan).await?;
        reach.settle(Some(&arguments.tool)).await;
        let result = match reach.ask(Method::ToolsCall, params).await {
            Err(failure) => Err(unknown(&reach, &arguments.tool).await.unwrap_or(failure)),
            result => result,
        };
        reach.close().await;
        result
    })?;
    if arguments.json {
        output::line(result.to_json().as_str())?;
    } else {
        tell(&result)?;
    }
    match result.get("isError").is_some_and(|value| value.as_str() == "true") {
        true => Err(Failure::told(Exit::Failed)),
        false => Ok(()),
    }
}

/// What to say of a call that failed because there is no such tool; `None` where it is listed, or nobody can say.
async fn unknown(reach: &Reach, tool: &str) -> Option<Failure> {
    let tools = reach::all(reach, Method::ToolsList, "tools").await.ok()?;
    let names: Vec<String> = tools.iter().filter_map(|tool| Some(tool.object().ok()?.get_str("name")?.into_owned())).collect();
    if names.iter().any(|name| name == tool) {
        return None;
    }
    let hint = match config::nearest(tool, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{}`?", shown(near)),
        None => "`sallyport tools` lists those that there are, and says which servers are missing".to_owned(),
    };
    Some(Failure::new(format!("there is no tool `{}`", shown(tool))).hint(hint))
}

/// One JSON object, or `ARG=VALUE` each: a value that is JSON is taken as such, anything else as text.
fn read_arguments(given: &[String]) -> Result<RawObject, Failure> {
    if let [whole] = given
        && whole.trim_start().starts_with('{')
    {
        let read = RawJson::parse(whole.clone()).and_then(|json| json.object());
        return read.map_err(|error| {
            Failure::new(format!("the arguments are no JSON object: {error}")).hint("quote it for your shell: '{\"path\": \"README.md\"}'")
        });
    }
    let mut object = RawObject::new();
    for pair in given {
        let (name, value) = pair.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            Failure::new(format!("{pair:?} is no argument")).hint("write ARG=VALUE each, or one JSON object: '{\"path\": \"README.md\"}'")
        })?;
        if object.get(name).is_some() {
            return Err(Failure::new(format!("the argument {name:?} is there twice"))
                .hint(format!("several values of one argument are a list: {name}='[1, 2]'")));
        }
        object.set(name, RawJson::parse(value.to_owned()).unwrap_or_else(|_| RawJson::string(value)));
    }
    Ok(object)
}

/// The texts of a result as they are; of anything else, what it is.
fn tell(result: &RawObject) -> Result<(), Failure> {
    let blocks = result.get("content").and_then(|content| content.array().ok()).unwrap_or_default();
    for block in blocks {
        let Ok(block) = block.object() else { continue };
        match block.get_str("text") {
            Some(text) => output::line(shown(&text))?,
            None => {
                let kind = block.get_str("type").unwrap_or_default();
                output::line(format!("[{}: {} bytes; --json shows all]", shown(&kind), block.text_len()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn read(given: &[&str]) -> Result<String, Failure> {
        let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
        read_arguments(&given).map(|object| object.to_json().as_str().to_owned())
    }

    #[test]
    fn arguments_are_json_where_they_can_be() {
        assert_eq!(read(&["limit=5", "path=a=b", "deep=[1]", "text="]).unwrap(), r#"{"limit":5,"path":"a=b","deep":[1],"text":""}"#);
        assert_eq!(read(&[r#"{"a":1}"#]).unwrap(), r#"{"a":1}"#);
        assert_eq!(read(&[]).unwrap(), "{}");
    }

    #[test]
    fn what_is_no_argument_is_refused() {
        for bad in [&["limit"][..], &["=5"], &["{"], &["a=1", "a=2"]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
