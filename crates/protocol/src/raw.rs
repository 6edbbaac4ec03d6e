//! JSON that stays the text it came in.

mod in_order;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One well-formed JSON value, as the bytes it was written in.
///
/// Cloning shares the bytes; a value cut out of a message shares the message's buffer.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawJson(Bytes);

impl RawJson {
    /// Checks that `text` is one JSON value in UTF-8 and keeps it.
    ///
    /// # Errors
    /// Where it is not; the error names line and column.
    pub fn parse(text: impl Into<Bytes>) -> Result<Self, serde_json::Error> {
        let text = text.into();
        let raw: &RawValue = serde_json::from_slice(&text)?;
        Ok(Self::cut(&text, raw))
    }

    /// Writes `value` as JSON.
    ///
    /// # Errors
    /// As `serde_json` has them: maps with keys that are no strings, failing `Serialize`.
    pub fn encode(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_vec(value).map(|text| Self(Bytes::from(text)))
    }

    /// A JSON string.
    #[must_use]
    pub fn string(text: &str) -> Self {
        let mut out = Vec::with_capacity(text.len() + 2);
        write_string(&mut out, text);
        Self(Bytes::from(out))
    }

    /// A value known to be JSON when the program is written.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// An array of these values.
    #[must_use]
    pub fn of_array(items: &[Self]) -> Self {
        let mut out = Vec::with_capacity(items.iter().map(|item| item.0.len() + 1).sum::<usize>() + 2);
        out.push(b'[');
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&item.0);
        }
        out.push(b']');
        Self(Bytes::from(out))
    }

    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("null") // checked when it was made
    }

    /// The value's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The value's bytes, given away.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Reads the value as `T`.
    ///
    /// # Errors
    /// Where it has another shape.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// Opens an object one level deep.
    ///
    /// # Errors
    /// Where the value is no object, or names a member twice.
    pub fn object(&self) -> Result<RawObject, serde_json::Error> {
        RawObject::parse(&self.0)
    }

    /// Opens an array one level deep.
    ///
    /// # Errors
    /// Where the value is no array.
    pub fn array(&self) -> Result<Vec<RawJson>, serde_json::Error> {
        let items: Vec<&RawValue> = serde_json::from_slice(&self.0)?;
        Ok(items.into_iter().map(|raw| Self::cut(&self.0, raw)).collect())
    }

    /// The string that this value is, if it is one.
    #[must_use]
    pub fn string_value(&self) -> Option<Cow<'_, str>> {
        if self.0.first() != Some(&b'"') {
            return None;
        }
        let mut reader = serde_json::Deserializer::from_slice(&self.0);
        CowText.deserialize(&mut reader).ok()
    }

    /// Whether the value is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0.as_ref() == b"null"
    }

    pub(crate) fn cut(source: &Bytes, raw: &RawValue) -> Self {
        Self(source.slice_ref(raw.get().as_bytes()))
    }
}

impl fmt::Debug for RawJson {
    /// Only the length: a payload does not belong in a log.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RawJson({} bytes)", self.0.len())
    }
}

impl Serialize for RawJson {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_slice(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(Bytes::from(String::from(Box::<str>::from(raw)))))
    }
}

/// A JSON object opened one level deep: members in their order, each value as the text it came in.
///
/// Unknown members survive; while nothing was changed the object writes itself as the bytes it came in.
/// An object that names a member twice is refused, since two readers could see different values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawObject {
    members: Vec<(Bytes, RawJson)>,
    /// The object's own text, as long as no member was changed.
    text: Option<Bytes>,
}

impl RawObject {
    /// An object without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens `text`, sharing its bytes.
    ///
    /// # Errors
    /// Where it is not one JSON object, or names a member twice.
    pub fn parse(text: &Bytes) -> Result<Self, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(text);
        let object = ObjectSeed { source: text }.deserialize(&mut reader)?;
        reader.end()?;
        Ok(object)
    }

    /// Opens what `value` encodes to.
    ///
    /// # Errors
    /// Where `value` does not encode to an object.
    pub fn encode(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        RawJson::encode(value)?.object()
    }

    /// The value of a member.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&RawJson> {
        self.members.iter().find(|(name, _)| name.as_ref() == key.as_bytes()).map(|(_, value)| value)
    }

    /// The text of a member that is a string.
    #[must_use]
    pub fn get_str(&self, key: &str) -> Option<Cow<'_, str>> {
        self.get(key)?.string_value()
    }

    /// A member that is an object, opened.
    ///
    /// # Errors
    /// Where it is there and no object.
    pub fn get_object(&self, key: &str) -> Result<Option<RawObject>, serde_json::Error> {
        self.get(key).map(RawJson::object).transpose()
    }

    /// Sets a member: in its place where it is there already, else at the end.
    pub fn set(&mut self, key: &str, value: RawJson) {
        self.text = None;
        match self.members.iter_mut().find(|(name, _)| name.as_ref() == key.as_bytes()) {
            Some((_, old)) => *old = value,
            None => self.members.push((Bytes::copy_from_slice(key.as_bytes()), value)),
        }
    }

    /// Takes a member out.
    pub fn remove(&mut self, key: &str) -> Option<RawJson> {
        let at = self.members.iter().position(|(name, _)| name.as_ref() == key.as_bytes())?;
        self.text = None;
        Some(self.members.remove(at).1)
    }

    /// Takes out all members whose key `keep` does not want.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        let before = self.members.len();
        self.members.retain(|(key, _)| keep(std::str::from_utf8(key).unwrap_or("")));
        if self.members.len() < before {
            self.text = None;
        }
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawJson)> {
        self.members.iter().map(|(key, value)| (std::str::from_utf8(key).unwrap_or(""), value))
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Appends the object's text to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        if let Some(text) = &self.text {
            out.extend_from_slice(text);
            return;
        }
        out.reserve(self.members.iter().map(|(key, value)| key.len() + value.0.len() + 4).sum::<usize>() + 2);
        out.push(b'{');
        for (at, (key, value)) in self.members.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_string(out, std::str::from_utf8(key).unwrap_or(""));
            out.push(b':');
            out.extend_from_slice(&value.0);
        }
        out.push(b'}');
    }

    /// Bytes of the object's text.
    #[must_use]
    pub fn text_len(&self) -> usize {
        let written = || self.members.iter().map(|(key, value)| key.len() + value.0.len() + 4).sum::<usize>() + 1;
        self.text.as_ref().map_or_else(written, Bytes::len)
    }

    /// The object's text; shared, not copied, where nothing was changed.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match &self.text {
            Some(text) => text.clone(),
            None => {
                let mut out = Vec::new();
                self.write_to(&mut out);
                Bytes::from(out)
            }
        }
    }

    /// The text that the object came in, as long as no member was changed.
    #[must_use]
    pub fn unchanged(&self) -> Option<&Bytes> {
        self.text.as_ref()
    }

    /// The object as a value.
    #[must_use]
    pub fn to_json(&self) -> RawJson {
        RawJson(self.to_bytes())
    }
}

impl fmt::Debug for RawObject {
    /// Only the members' names: a payload does not belong in a log.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.iter().map(|(key, _)| key)).finish()
    }
}

/// Reads an object out of a deserializer that runs over `source`, sharing its bytes.
pub(crate) struct ObjectSeed<'s> {
    pub(crate) source: &'s Bytes,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'de> {
    type Value = RawObject;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawObject, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'de> {
    type Value = RawObject;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject, A::Error> {
        let mut members: Vec<(Bytes, RawJson)> = Vec::with_capacity(4);
        // Objects of a protocol message have a handful of members, where a scan beats a set; a hostile
        // one with many switches to a set, so that the check stays linear.
        let mut seen = std::collections::HashSet::new();
        while let Some(key) = map.next_key_seed(CowText)? {
            let raw: &'de RawValue = map.next_value()?;
            let key = match key {
                Cow::Borrowed(text) => self.source.slice_ref(text.as_bytes()),
                Cow::Owned(text) => Bytes::from(text),
            };
            if names_again(&members, &mut seen, &key) {
                return Err(de::Error::custom(format_args!("member `{}` named twice", String::from_utf8_lossy(&key))));
            }
            members.push((key, RawJson::cut(self.source, raw)));
        }
        let text = own_text(self.source, &members);
        Ok(RawObject { members, text })
    }
}

/// The text of the object with these members: from the brace before the first key to the one behind the last value.
fn own_text(source: &Bytes, members: &[(Bytes, RawJson)]) -> Option<Bytes> {
    let (first_key, first_value) = members.first()?;
    let (_, last_value) = members.last()?;
    // An escaped key is a copy: no text. An empty one lies nowhere, but no brace can stand between it and its value.
    let key_at = offset_in(source, if first_key.is_empty() { &first_value.0 } else { first_key })?;
    let value_end = offset_in(source, &last_value.0)? + last_value.0.len();
    let start = source.get(..key_at)?.iter().rposition(|byte| *byte == b'{')?;
    let end = value_end + source.get(value_end..)?.iter().position(|byte| *byte == b'}')?;
    Some(source.slice(start..=end))
}

fn offset_in(source: &Bytes, part: &Bytes) -> Option<usize> {
    let at = (part.as_ptr() as usize).checked_sub(source.as_ptr() as usize)?;
    (at + part.len() <= source.len()).then_some(at)
}

const SCANNED_MEMBERS: usize = 16;

fn names_again(members: &[(Bytes, RawJson)], seen: &mut std::collections::HashSet<Bytes>, key: &Bytes) -> bool {
    if members.len() < SCANNED_MEMBERS {
        return members.iter().any(|(name, _)| name == key);
    }
    if seen.is_empty() {
        seen.extend(members.iter().map(|(name, _)| name.clone()));
    }
    !seen.insert(key.clone())
}

/// Reads a string, borrowed where it holds no escape.
pub(crate) struct CowText;

impl<'de> DeserializeSeed<'de> for CowText {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for CowText {
    type Value = Cow<'de, str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// Appends `text` as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    // Writing a str into a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn open(text: &'static str) -> Result<RawObject, serde_json::Error> {
        RawObject::parse(&Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn an_unchanged_object_writes_the_bytes_it_came_in() {
        for text in [r#"{ "b" : 1.50e3, "a":{"x": [1, 2]} }"#, "{}", r#"{"\u0061":1}"#, r#"{ "" : {} }"#] {
            let written = open(text).unwrap().to_bytes();
            assert_eq!(written, text.replace("\\u0061", "a").as_bytes());
        }
    }

    #[test]
    fn a_changed_member_leaves_the_others_as_they_were() {
        let mut object = open(r#"{"name":"a","arguments":{"n": 1.0},"x":null}"#).unwrap();
        object.set("name", RawJson::string("b\"c"));
        object.remove("x");
        assert_eq!(object.to_json().as_str(), r#"{"name":"b\"c","arguments":{"n": 1.0}}"#);
    }

    #[test]
    fn a_member_named_twice_is_refused_however_it_is_spelt() {
        assert!(open(r#"{"name":"a","name":"b"}"#).is_err());
        assert!(open(r#"{"name":"a","\u006eame":"b"}"#).is_err());
        let many = (0..40).map(|n| format!("\"k{n}\":0,")).collect::<String>();
        assert!(RawObject::parse(&Bytes::from(format!("{{{many}\"k3\":1}}"))).is_err());
        assert!(RawObject::parse(&Bytes::from(format!("{{{many}\"z\":1}}"))).is_ok());
    }

    #[test]
    fn values_share_the_messages_buffer() {
        let text = Bytes::from_static(br#"{"a":{"deep":true}}"#);
        let inner = RawObject::parse(&text).unwrap().get("a").unwrap().clone();
        assert_eq!(inner.as_bytes().as_ptr(), text[5..].as_ptr());
    }

    #[test]
    fn text_that_is_no_json_is_refused() {
        for bad in ["", "{", "[1,]", "{\"a\":01}", "{\"a\":\"\u{1}\"}", "nul", "{} {}"] {
            assert!(RawJson::parse(bad).is_err(), "{bad}");
        }
        assert!(RawJson::parse(&b"\"\xff\""[..]).is_err());
    }
}
