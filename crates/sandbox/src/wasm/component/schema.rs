//! What JSON a component's types are: the schema of a tool's arguments and of its result.
//!
//! Records are objects, lists and tuples arrays, options may be null, enums are strings, flags arrays of strings. A variant is its
//! name, or with something in it `{"name": …}`; a `result` inside a value is `{"ok": …}` or `{"err": …}`.

use serde_json::{Map, Value, json};
use wasmtime::component::Type;
use wasmtime::component::types::{ComponentFunc, Record};

/// What a component's author may take for a schema. A type that names others twice, which do so again, grows beyond all bounds.
const MOST_PARTS: usize = 2000;

/// Why a function cannot be a tool.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsayable {
    /// A handle, a stream, a future: nothing that could be written down.
    Handle,
    /// Too many parts.
    Size,
    /// It returns more than one value.
    Results,
}

impl Unsayable {
    pub(super) fn why(&self) -> &'static str {
        match self {
            Self::Handle => "it takes or gives a resource, a stream or a future, which JSON cannot say",
            Self::Size => "its types are too large for a schema",
            Self::Results => "it gives more than one value",
        }
    }
}

/// Counts the parts of the schemas of one function.
#[derive(Default)]
pub(super) struct Schemas {
    parts: usize,
}

/// The one value that a function gives, if it gives any.
pub(super) fn result_of(function: &ComponentFunc) -> Result<Option<Type>, Unsayable> {
    let mut results = function.results();
    let first = results.next();
    if results.next().is_some() { Err(Unsayable::Results) } else { Ok(first) }
}

impl Schemas {
    /// The schema of all arguments.
    pub(super) fn arguments(&mut self, function: &ComponentFunc) -> Result<Value, Unsayable> {
        self.object(function.params())
    }

    /// The schema of a value.
    pub(super) fn of(&mut self, ty: &Type) -> Result<Value, Unsayable> {
        self.parts += 1;
        if self.parts > MOST_PARTS {
            return Err(Unsayable::Size);
        }
        Ok(match ty {
            Type::Bool => json!({ "type": "boolean" }),
            Type::S8 => integer(i8::MIN, i8::MAX),
            Type::U8 => integer(u8::MIN, u8::MAX),
            Type::S16 => integer(i16::MIN, i16::MAX),
            Type::U16 => integer(u16::MIN, u16::MAX),
            Type::S32 => integer(i32::MIN, i32::MAX),
            Type::U32 => integer(u32::MIN, u32::MAX),
            Type::S64 => json!({ "type": "integer" }),
            Type::U64 => json!({ "type": "integer", "minimum": 0 }),
            Type::Float32 | Type::Float64 => json!({ "type": "number" }),
            Type::Char => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
            Type::String => json!({ "type": "string" }),
            Type::List(list) => json!({ "type": "array", "items": self.of(&list.ty())? }),
            Type::FixedLengthList(list) => {
                json!({ "type": "array", "items": self.of(&list.ty())?, "minItems": list.len(), "maxItems": list.len() })
            }
            Type::Record(record) => self.record(record)?,
            Type::Tuple(tuple) => {
                let items = tuple.types().map(|ty| self.of(&ty)).collect::<Result<Vec<_>, _>>()?;
                json!({ "type": "array", "minItems": items.len(), "maxItems": items.len(), "prefixItems": items })
            }
            Type::Variant(variant) => {
                let cases = variant.cases().map(|case| self.case(case.name, case.ty.as_ref())).collect::<Result<Vec<_>, _>>()?;
                json!({ "oneOf": cases })
            }
            Type::Enum(cases) => {
                let names: Vec<&str> = self.names(cases.names())?;
                json!({ "type": "string", "enum": names })
            }
            Type::Flags(flags) => {
                let names: Vec<&str> = self.names(flags.names())?;
                json!({ "type": "array", "items": { "type": "string", "enum": names }, "uniqueItems": true })
            }
            Type::Option(option) => json!({ "anyOf": [self.of(&option.ty())?, { "type": "null" }] }),
            Type::Result(result) => {
                json!({ "oneOf": [self.outcome("ok", result.ok())?, self.outcome("err", result.err())?] })
            }
            Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext | Type::Map(_) => {
                return Err(Unsayable::Handle);
            }
        })
    }

    fn record(&mut self, record: &Record) -> Result<Value, Unsayable> {
        self.object(record.fields().map(|field| (field.name, field.ty)))
    }

    /// Members that are options may be left out.
    fn object<'a>(&mut self, members: impl Iterator<Item = (&'a str, Type)>) -> Result<Value, Unsayable> {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for (name, ty) in members {
            properties.insert(name.to_owned(), self.of(&ty)?);
            if !matches!(ty, Type::Option(_)) {
                required.push(name);
            }
        }
        Ok(json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false }))
    }

    fn case(&mut self, name: &str, ty: Option<&Type>) -> Result<Value, Unsayable> {
        match ty {
            None => self.names([name].into_iter()).map(|_| json!({ "const": name })),
            Some(ty) => Ok(holder(name, self.of(ty)?)),
        }
    }

    fn outcome(&mut self, name: &str, ty: Option<Type>) -> Result<Value, Unsayable> {
        let inner = ty.map_or_else(|| Ok(json!({ "type": "null" })), |ty| self.of(&ty))?;
        Ok(holder(name, inner))
    }

    fn names<'a>(&mut self, names: impl ExactSizeIterator<Item = &'a str>) -> Result<Vec<&'a str>, Unsayable> {
        self.parts += names.len();
        if self.parts > MOST_PARTS { Err(Unsayable::Size) } else { Ok(names.collect()) }
    }
}

fn integer(least: impl Into<i64>, most: impl Into<i64>) -> Value {
    json!({ "type": "integer", "minimum": least.into(), "maximum": most.into() })
}

/// An object with this one member.
fn holder(name: &str, inner: Value) -> Value {
    let properties = Map::from_iter([(name.to_owned(), inner)]);
    json!({ "type": "object", "properties": properties, "required": [name], "additionalProperties": false })
}
