//! The tools of a component, and one call of one of them.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, oneshot};
use wasmtime::Result;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker, Type, Val};

use super::schema::{self, Schemas, Unsayable};
use super::value;
use crate::wasm::engine;
use crate::wasm::room::{Guest, Room, Wasi};

/// A component with more functions is not one that somebody wrote for agents.
const MOST_TOOLS: usize = 500;

/// The longest name of a tool that every client takes.
const LONGEST_NAME: usize = 64;

/// An answer in JSON. Clients take less; what is larger belongs into a file.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// All tools of one component.
pub(super) struct Tools {
    linked: InstancePre<Guest<Wasi>>,
    room: Room,
    tools: BTreeMap<String, Tool>,
    places: Semaphore,
}

struct Tool {
    index: ComponentExportIndex,
    function: ComponentFunc,
    definition: Value,
    /// Whether the result is an object of its own; everything else is wrapped in one.
    gives_record: bool,
}

/// How a call ended.
pub(super) enum Outcome {
    Result(Value),
    /// The call failed, or the function itself says so.
    Failed(String),
    /// It was given up.
    Stopped,
}

impl Tools {
    /// Takes what `component` exports; what cannot be a tool is told in the log.
    ///
    /// # Errors
    /// It needs what is not there, or has no tool.
    pub(super) fn of(component: Component, room: Room, calls: usize) -> Result<Self> {
        let mut linker = Linker::new(component.engine());
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        let linked = linker.instantiate_pre(&component)?;
        let mut tools = BTreeMap::new();
        for (name, index, function) in functions(&component) {
            match Tool::new(&name, index, function) {
                Ok(tool) if tools.len() < MOST_TOOLS => drop(tools.insert(name, tool)),
                Ok(_) => room.note(&format!("function {name} is not offered: there are more than {MOST_TOOLS}")),
                Err(unsayable) => room.note(&format!("function {name} is not offered: {}", unsayable.why())),
            }
        }
        if tools.is_empty() {
            return Err(wasmtime::Error::msg("it exports no function that could be a tool, and is no program either"));
        }
        Ok(Self { linked, room, tools, places: Semaphore::new(calls) })
    }

    /// What `tools/list` answers.
    pub(super) fn definitions(&self) -> Vec<&Value> {
        self.tools.values().map(|tool| &tool.definition).collect()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.tools.contains_key(name)
    }

    /// Calls one in an instance of its own, which nothing of another call is in. Ends early when `stop` does.
    pub(super) async fn call(&self, name: &str, arguments: Map<String, Value>, mut stop: oneshot::Receiver<()>) -> Outcome {
        let Some(tool) = self.tools.get(name) else { return Outcome::Failed(format!("there is no tool {name}")) };
        let values = match value::arguments(arguments, &tool.function) {
            Ok(values) => values,
            Err(mismatch) => return Outcome::Failed(mismatch.to_string()),
        };
        let _place = tokio::select! {
            _ = &mut stop => return Outcome::Stopped,
            place = self.places.acquire() => place,
        };
        let (linked, room, index) = (self.linked.clone(), self.room.clone(), tool.index);
        let gives = tool.function.results().len();
        let run = move || async move { run(&linked, &room, &index, &values, gives).await };
        let stopped = async {
            let _either_way = stop.await;
        };
        match engine::run(run, stopped) {
            Ok(ended) => ended.await.ok().flatten().map_or(Outcome::Stopped, |given| tool.outcome(given)),
            Err(error) => Outcome::Failed(format!("it cannot be called now: {error:#}")),
        }
    }
}

/// Runs the function. What went wrong becomes text here, because the store that tells why is dropped at the end.
async fn run(
    linked: &InstancePre<Guest<Wasi>>,
    room: &Room,
    index: &ComponentExportIndex,
    arguments: &[Val],
    gives: usize,
) -> std::result::Result<Option<Val>, String> {
    let context = room.context().map_err(|error| format!("{error:#}"))?.build();
    let mut store = room.store(linked.engine(), Wasi::new(context));
    let mut results = vec![Val::Bool(false); gives];
    let called = async {
        let instance = linked.instantiate_async(&mut store).await?;
        let function = instance.get_func(&mut store, index).ok_or_else(|| wasmtime::Error::msg("it is not there"))?;
        function.call_async(&mut store, arguments, &mut results).await
    };
    let called = called.await;
    called.map(|()| results.pop()).map_err(|error| {
        let why = if store.data().share.was_refused() { "it wanted more memory than `limits.memory_mb` allows: " } else { "" };
        format!("{why}{}", error.root_cause())
    })
}

impl Tool {
    fn new(name: &str, index: ComponentExportIndex, function: ComponentFunc) -> std::result::Result<Self, Unsayable> {
        let mut schemas = Schemas::default();
        let input = schemas.arguments(&function)?;
        let mut definition = json!({ "name": name, "inputSchema": input });
        let gives = given_when_well(schema::result_of(&function)?);
        if let Some(failure) = schema::result_of(&function)?.and_then(failure_of) {
            schemas.of(&failure)?;
        }
        let gives_record = matches!(gives, Some(Type::Record(_)));
        if let Some(ty) = gives.filter(|ty| *ty != Type::String) {
            let schema = schemas.of(&ty)?;
            let wrapped = || json!({ "type": "object", "properties": { "result": &schema }, "required": ["result"] });
            let output = if gives_record { schema } else { wrapped() };
            definition.as_object_mut().map(|members| members.insert("outputSchema".to_owned(), output));
        }
        Ok(Self { index, function, definition, gives_record })
    }

    /// What the function gave, as the result of a call: text, and unless it is a text anyway the value itself.
    fn outcome(&self, given: std::result::Result<Option<Val>, String>) -> Outcome {
        let value = match given {
            Err(why) => return Outcome::Failed(why),
            Ok(Some(Val::Result(Err(None)))) => return Outcome::Failed("it failed, and does not say why".to_owned()),
            Ok(Some(Val::Result(Err(Some(why))))) => return Outcome::Failed(as_text(*why)),
            Ok(None | Some(Val::Result(Ok(None)))) => return Outcome::Result(json!({ "content": [] })),
            Ok(Some(Val::Result(Ok(Some(value))))) => *value,
            Ok(Some(value)) => value,
        };
        if let Val::String(text) = value {
            return within_bounds(json!({ "content": [{ "type": "text", "text": text }] }));
        }
        let Some(value) = value::write(value) else {
            return Outcome::Failed("it gave a number that JSON cannot say".to_owned());
        };
        let structured = if self.gives_record { value } else { json!({ "result": value }) };
        let Some(text) = bounded_text(&structured) else { return too_large() };
        within_bounds(json!({ "content": [{ "type": "text", "text": text }], "structuredContent": structured }))
    }
}

fn as_text(value: Val) -> String {
    match value {
        Val::String(text) => text,
        other => value::write(other).and_then(|value| bounded_text(&value)).unwrap_or_else(|| "it failed".to_owned()),
    }
}

fn within_bounds(result: Value) -> Outcome {
    if bounded_text(&result).is_some() { Outcome::Result(result) } else { too_large() }
}

fn too_large() -> Outcome {
    Outcome::Failed(format!("its answer is larger than {} MiB", ANSWER_BYTES / 1024 / 1024))
}

/// The value as JSON text, if that is no longer than an answer may be.
fn bounded_text(value: &Value) -> Option<String> {
    let mut text = Bounded(Vec::new());
    serde_json::to_writer(&mut text, value).ok()?;
    String::from_utf8(text.0).ok()
}

struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > ANSWER_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a function gives when all goes well.
fn given_when_well(ty: Option<Type>) -> Option<Type> {
    match ty {
        Some(Type::Result(result)) => result.ok(),
        other => other,
    }
}

fn failure_of(ty: Type) -> Option<Type> {
    if let Type::Result(result) = ty { result.err() } else { None }
}

/// The exported functions, under the names of their tools. A function inside an interface has that interface's name before it.
fn functions(component: &Component) -> Vec<(String, ComponentExportIndex, ComponentFunc)> {
    let (ty, engine) = (component.component_type(), component.engine());
    let mut found = Vec::new();
    for (name, export) in ty.exports(engine) {
        match export.ty {
            ComponentItem::ComponentFunc(function) => {
                let index = component.get_export_index(None, name);
                found.extend(index.map(|index| (tool_name(None, name), index, function)));
            }
            ComponentItem::ComponentInstance(interface) => {
                let Some(outer) = component.get_export_index(None, name) else { continue };
                for (inner, export) in interface.exports(engine) {
                    let ComponentItem::ComponentFunc(function) = export.ty else { continue };
                    let index = component.get_export_index(Some(&outer), inner);
                    found.extend(index.map(|index| (tool_name(Some(name), inner), index, function)));
                }
            }
            _ => {}
        }
    }
    found
}

/// `add`, or of `example:tools/math@1.0.0` the function `add`: `math_add`.
fn tool_name(interface: Option<&str>, function: &str) -> String {
    let short = |name: &str| name.split('@').next().and_then(|name| name.rsplit('/').next()).unwrap_or_default().to_owned();
    let whole = interface.map_or_else(|| function.to_owned(), |interface| format!("{}_{function}", short(interface)));
    let plain = |character: char| if character.is_ascii_alphanumeric() || "_-".contains(character) { character } else { '_' };
    whole.chars().map(plain).take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_named_as_clients_take_it() {
        assert_eq!(tool_name(None, "add-all"), "add-all");
        assert_eq!(tool_name(Some("example:tools/math@1.0.0"), "add"), "math_add");
        assert_eq!(tool_name(None, "[method]thing.get"), "_method_thing_get");
        assert_eq!(tool_name(None, &"x".repeat(100)).len(), LONGEST_NAME);
    }
}
