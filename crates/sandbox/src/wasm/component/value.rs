//! Values on their way between JSON and a component, by type.

use std::fmt;

use serde_json::{Map, Number, Value};
use wasmtime::component::types::{ComponentFunc, Variant};
use wasmtime::component::{Type, Val};

/// An argument that is not what its type wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// Where, from the inside out.
    place: Vec<String>,
    wanted: String,
}

impl Mismatch {
    fn wants(wanted: impl Into<String>) -> Self {
        Self { place: Vec::new(), wanted: wanted.into() }
    }

    fn within(mut self, outer: impl Into<String>) -> Self {
        self.place.push(outer.into());
        self
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place: Vec<&str> = self.place.iter().rev().map(String::as_str).collect();
        write!(f, "argument {} must be {}", place.join("."), self.wanted)
    }
}

/// The arguments of a call, in the function's order.
pub(super) fn arguments(given: Map<String, Value>, function: &ComponentFunc) -> Result<Vec<Val>, Mismatch> {
    members(given, function.params()).map(|named| named.into_iter().map(|(_, value)| value).collect())
}

/// The members of an object by their types; one that is an option may be missing, none may be unknown.
fn members<'a>(mut given: Map<String, Value>, wanted: impl Iterator<Item = (&'a str, Type)>) -> Result<Vec<(String, Val)>, Mismatch> {
    let mut values = Vec::new();
    for (name, ty) in wanted {
        let value = match given.remove(name) {
            Some(value) => read(value, &ty).map_err(|mismatch| mismatch.within(name))?,
            None if matches!(ty, Type::Option(_)) => Val::Option(None),
            None => return Err(Mismatch::wants("there").within(name)),
        };
        values.push((name.to_owned(), value));
    }
    match given.keys().next() {
        Some(unknown) => Err(Mismatch::wants("left out: it is not known").within(unknown)),
        None => Ok(values),
    }
}

fn read(json: Value, ty: &Type) -> Result<Val, Mismatch> {
    Ok(match ty {
        Type::Bool => Val::Bool(json.as_bool().ok_or_else(|| Mismatch::wants("true or false"))?),
        Type::S8 => Val::S8(signed(&json)?),
        Type::U8 => Val::U8(unsigned(&json)?),
        Type::S16 => Val::S16(signed(&json)?),
        Type::U16 => Val::U16(unsigned(&json)?),
        Type::S32 => Val::S32(signed(&json)?),
        Type::U32 => Val::U32(unsigned(&json)?),
        Type::S64 => Val::S64(signed(&json)?),
        Type::U64 => Val::U64(unsigned(&json)?),
        #[expect(clippy::cast_possible_truncation, reason = "a float of that size is what the function takes")]
        Type::Float32 => Val::Float32(number(&json)? as f32),
        Type::Float64 => Val::Float64(number(&json)?),
        Type::Char => Val::Char(character(&json).ok_or_else(|| Mismatch::wants("a string of one character"))?),
        Type::String => Val::String(string(json)?),
        Type::List(list) => Val::List(items(array(json)?, &list.ty())?),
        Type::FixedLengthList(list) => {
            let given = array(json)?;
            if u32::try_from(given.len()) != Ok(list.len()) {
                return Err(Mismatch::wants(format!("a list of {}", list.len())));
            }
            Val::FixedLengthList(items(given, &list.ty())?)
        }
        Type::Record(record) => Val::Record(members(object(json)?, record.fields().map(|field| (field.name, field.ty)))?),
        Type::Tuple(tuple) => {
            let given = array(json)?;
            if given.len() != tuple.types().len() {
                return Err(Mismatch::wants(format!("a list of {}", tuple.types().len())));
            }
            let read_one =
                |(index, (json, ty)): (usize, (Value, Type))| read(json, &ty).map_err(|mismatch| mismatch.within(index.to_string()));
            Val::Tuple(given.into_iter().zip(tuple.types()).enumerate().map(read_one).collect::<Result<_, _>>()?)
        }
        Type::Variant(variant) => case(json, variant)?,
        Type::Enum(cases) => Val::Enum(one_of(&string(json)?, cases.names())?),
        Type::Flags(flags) => {
            let given = array(json)?.into_iter().map(|json| one_of(&string(json)?, flags.names()));
            Val::Flags(given.collect::<Result<_, _>>()?)
        }
        Type::Option(_) if json.is_null() => Val::Option(None),
        Type::Option(option) => Val::Option(Some(Box::new(read(json, &option.ty())?))),
        Type::Result(result) => {
            let (name, inner) = only_member(object(json)?).ok_or_else(|| Mismatch::wants("{\"ok\": …} or {\"err\": …}"))?;
            match name.as_str() {
                "ok" => Val::Result(Ok(payload(inner, result.ok().as_ref())?)),
                "err" => Val::Result(Err(payload(inner, result.err().as_ref())?)),
                _ => return Err(Mismatch::wants("{\"ok\": …} or {\"err\": …}")),
            }
        }
        // Functions with these are no tools.
        Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext | Type::Map(_) => {
            return Err(Mismatch::wants("something that cannot be written down"));
        }
    })
}

fn signed<T: TryFrom<i64>>(json: &Value) -> Result<T, Mismatch> {
    let fits = json.as_i64().and_then(|number| T::try_from(number).ok());
    fits.ok_or_else(|| Mismatch::wants(format!("an integer that fits in {} bits with a sign", size_of::<T>() * 8)))
}

fn unsigned<T: TryFrom<u64>>(json: &Value) -> Result<T, Mismatch> {
    let fits = json.as_u64().and_then(|number| T::try_from(number).ok());
    fits.ok_or_else(|| Mismatch::wants(format!("an integer from 0 that fits in {} bits", size_of::<T>() * 8)))
}

fn number(json: &Value) -> Result<f64, Mismatch> {
    json.as_f64().ok_or_else(|| Mismatch::wants("a number"))
}

fn character(json: &Value) -> Option<char> {
    let mut characters = json.as_str()?.chars();
    characters.next().filter(|_| characters.next().is_none())
}

fn string(json: Value) -> Result<String, Mismatch> {
    if let Value::String(text) = json { Ok(text) } else { Err(Mismatch::wants("a string")) }
}

fn array(json: Value) -> Result<Vec<Value>, Mismatch> {
    if let Value::Array(items) = json { Ok(items) } else { Err(Mismatch::wants("a list")) }
}

fn object(json: Value) -> Result<Map<String, Value>, Mismatch> {
    if let Value::Object(members) = json { Ok(members) } else { Err(Mismatch::wants("an object")) }
}

fn only_member(members: Map<String, Value>) -> Option<(String, Value)> {
    let mut members = members.into_iter();
    members.next().filter(|_| members.next().is_none())
}

fn items(given: Vec<Value>, ty: &Type) -> Result<Vec<Val>, Mismatch> {
    let read_one = |(index, json)| read(json, ty).map_err(|mismatch: Mismatch| mismatch.within(usize::to_string(&index)));
    given.into_iter().enumerate().map(read_one).collect()
}

fn one_of<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Result<String, Mismatch> {
    let names: Vec<&str> = names.collect();
    if names.contains(&given) { Ok(given.to_owned()) } else { Err(Mismatch::wants(format!("one of {}", names.join(", ")))) }
}

fn payload(json: Value, ty: Option<&Type>) -> Result<Option<Box<Val>>, Mismatch> {
    match ty {
        Some(ty) => Ok(Some(Box::new(read(json, ty)?))),
        None if json.is_null() => Ok(None),
        None => Err(Mismatch::wants("null")),
    }
}

fn case(json: Value, variant: &Variant) -> Result<Val, Mismatch> {
    let (name, inner) = match json {
        Value::String(name) => (name, None),
        Value::Object(members) => only_member(members).map(|(name, inner)| (name, Some(inner))).unwrap_or_default(),
        _ => Default::default(),
    };
    let found = variant.cases().find(|case| case.name == name);
    match (found.map(|case| case.ty), inner) {
        (Some(None), None) => Ok(Val::Variant(name, None)),
        (Some(Some(ty)), Some(inner)) => {
            let inner = read(inner, &ty).map_err(|mismatch| mismatch.within(name.clone()))?;
            Ok(Val::Variant(name, Some(Box::new(inner))))
        }
        _ => {
            let say = |case: wasmtime::component::types::Case<'_>| match case.ty {
                Some(_) => format!("{{\"{}\": …}}", case.name),
                None => format!("\"{}\"", case.name),
            };
            Err(Mismatch::wants(format!("one of {}", variant.cases().map(say).collect::<Vec<_>>().join(", "))))
        }
    }
}

/// A value as JSON; `None` where JSON has no word for it (a number that is none, a handle).
pub(super) fn write(value: Val) -> Option<Value> {
    Some(match value {
        Val::Bool(value) => value.into(),
        Val::S8(value) => value.into(),
        Val::U8(value) => value.into(),
        Val::S16(value) => value.into(),
        Val::U16(value) => value.into(),
        Val::S32(value) => value.into(),
        Val::U32(value) => value.into(),
        Val::S64(value) => value.into(),
        Val::U64(value) => value.into(),
        Val::Float32(value) => Value::Number(Number::from_f64(value.into())?),
        Val::Float64(value) => Value::Number(Number::from_f64(value)?),
        Val::Char(value) => value.to_string().into(),
        Val::String(value) | Val::Enum(value) | Val::Variant(value, None) => value.into(),
        Val::List(items) | Val::Tuple(items) | Val::FixedLengthList(items) => {
            items.into_iter().map(write).collect::<Option<Vec<_>>>()?.into()
        }
        Val::Record(members) => {
            let members = members.into_iter().map(|(name, value)| Some((name, write(value)?)));
            Value::Object(members.collect::<Option<_>>()?)
        }
        Val::Variant(name, Some(inner)) => held(name, Some(inner))?,
        Val::Option(inner) => optional(inner)?,
        Val::Result(Ok(inner)) => held("ok".to_owned(), inner)?,
        Val::Result(Err(inner)) => held("err".to_owned(), inner)?,
        Val::Flags(names) => names.into(),
        Val::Resource(_) | Val::Future(_) | Val::Stream(_) | Val::ErrorContext(_) | Val::Map(_) => return None,
    })
}

fn optional(inner: Option<Box<Val>>) -> Option<Value> {
    inner.map_or(Some(Value::Null), |inner| write(*inner))
}

fn held(name: String, inner: Option<Box<Val>>) -> Option<Value> {
    Some(Value::Object(Map::from_iter([(name, optional(inner)?)])))
}
