//! What type Cedar gives an argument, from what the tool's `inputSchema` says and what rules declare.

use std::collections::BTreeMap;

use cedar_policy::RestrictedExpression;
use serde_json::{Value, json};

use crate::ArgumentKind;

/// Deepest nesting that gets a type: what lies deeper no policy can look at.
const DEEPEST: usize = 6;
/// Most members of one object that get a type: far above what tools have.
const MOST: usize = 200;

/// A type that a policy can look at.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Text,
    Whole,
    Decimal,
    Truth,
    List(Box<Shape>),
    Record(BTreeMap<String, Member>),
}

/// A member of a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    pub(super) shape: Shape,
    pub(super) is_required: bool,
}

impl Shape {
    /// The type of what a schema describes; `None` where it has none that Cedar knows. The second: it may be `null`.
    pub(super) fn of_schema(schema: &Value, depth: usize) -> Option<(Self, bool)> {
        let (name, is_nullable) = type_of(schema)?;
        let shape = match name {
            "string" => Self::Text,
            "integer" => Self::Whole,
            "number" => Self::Decimal,
            "boolean" => Self::Truth,
            "array" if depth < DEEPEST => Self::List(Box::new(Self::of_schema(schema.get("items")?, depth + 1)?.0)),
            "object" if depth < DEEPEST => Self::Record(members(schema, depth)?),
            _ => return None,
        };
        Some((shape, is_nullable))
    }

    /// The type of an argument that was taken apart.
    pub(super) fn of_kind(kind: ArgumentKind) -> Self {
        let texts = || Self::List(Box::new(Self::Text));
        let members = match kind {
            ArgumentKind::Sql(_) => vec![("kind", Self::Text), ("tables", texts()), ("functions", texts()), ("columns", texts())],
            ArgumentKind::Path => vec![("text", Self::Text), ("absolute", Self::Truth), ("below", texts())],
            ArgumentKind::Text => vec![("text", Self::Text), ("length", Self::Whole)],
            ArgumentKind::Url => vec![
                ("text", Self::Text),
                ("scheme", Self::Text),
                ("host", Self::Text),
                ("port", Self::Whole),
                ("path", Self::Text),
                ("domains", texts()),
            ],
        };
        Self::Record(members.into_iter().map(|(name, shape)| (name.to_owned(), Member { shape, is_required: true })).collect())
    }

    /// As Cedar's JSON schemas write it.
    pub(super) fn to_schema(&self) -> Value {
        match self {
            Self::Text => json!({ "type": "String" }),
            Self::Whole => json!({ "type": "Long" }),
            Self::Decimal => json!({ "type": "Extension", "name": "decimal" }),
            Self::Truth => json!({ "type": "Boolean" }),
            Self::List(entry) => json!({ "type": "Set", "element": entry.to_schema() }),
            Self::Record(members) => {
                let member = |(name, member): (&String, &Member)| {
                    let mut schema = member.shape.to_schema();
                    if let (false, Some(schema)) = (member.is_required, schema.as_object_mut()) {
                        schema.insert("required".into(), false.into());
                    }
                    (name.clone(), schema)
                };
                json!({ "type": "Record", "attributes": members.iter().map(member).collect::<serde_json::Map<_, _>>() })
            }
        }
    }

    /// A value of this type, as Cedar takes it; `None` for one that is of another.
    pub(super) fn value(&self, value: &Value) -> Option<RestrictedExpression> {
        Some(match (self, value) {
            (Self::Text, Value::String(text)) => RestrictedExpression::new_string(text.clone()),
            (Self::Whole, Value::Number(number)) => RestrictedExpression::new_long(number.as_i64()?),
            (Self::Decimal, Value::Number(number)) => RestrictedExpression::new_decimal(decimal(&number.to_string())?),
            (Self::Truth, Value::Bool(truth)) => RestrictedExpression::new_bool(*truth),
            (Self::List(entry), Value::Array(list)) => {
                RestrictedExpression::new_set(list.iter().map(|value| entry.value(value)).collect::<Option<Vec<_>>>()?)
            }
            (Self::Record(members), Value::Object(values)) => {
                let mut given = Vec::new();
                for (name, member) in members {
                    if let Some(value) = values.get(name).filter(|value| !value.is_null()) {
                        given.push((name.clone(), member.shape.value(value)?));
                    }
                }
                RestrictedExpression::new_record(given).ok()?
            }
            _ => return None,
        })
    }
}

/// The name of a schema's one type, and whether it may be `null` as well.
fn type_of(schema: &Value) -> Option<(&str, bool)> {
    match schema.get("type") {
        Some(Value::String(name)) => Some((name, false)),
        Some(Value::Array(names)) => {
            let mut others = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            let name = others.next().filter(|_| names.len() <= 2)?;
            others.next().is_none().then_some((name, names.len() == 2))
        }
        _ => {
            let values = schema.get("enum")?.as_array()?;
            (!values.is_empty() && values.iter().all(Value::is_string)).then_some(("string", false))
        }
    }
}

/// The members of an object that have a type.
pub(super) fn members(schema: &Value, depth: usize) -> Option<BTreeMap<String, Member>> {
    let empty = Vec::new();
    let required = schema.get("required").and_then(Value::as_array).unwrap_or(&empty);
    let properties = schema.get("properties")?.as_object()?;
    let member = |(name, schema): (&String, &Value)| {
        let (shape, is_nullable) = Shape::of_schema(schema, depth + 1)?;
        Some((name.clone(), Member { shape, is_required: !is_nullable && required.iter().any(|required| required == name) }))
    };
    Some(properties.iter().take(MOST).filter_map(member).collect())
}

/// As Cedar writes decimals: one to four digits behind the point. `None` for a number that has more, or an exponent.
fn decimal(number: &str) -> Option<String> {
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_digits(whole.strip_prefix('-').unwrap_or(whole)) && is_digits(part) && part.len() <= 4).then(|| format!("{whole}.{part}"))
}
