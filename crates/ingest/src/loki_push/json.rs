//! The JSON of a push.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use signal::{Labels, LogLine, Nanos, StreamWrite};

use super::PushError;
use crate::rejection::excerpt;

/// All streams of the body, checked for form only.
pub(super) fn streams(body: &[u8]) -> Result<Vec<StreamWrite>, PushError> {
    let push: Push = serde_json::from_slice(body).map_err(PushError::Json)?;
    let streams = push.streams.unwrap_or_default();
    Ok(streams.into_iter().map(|stream| StreamWrite { labels: stream.stream.0, lines: stream.values }).collect())
}

#[derive(serde::Deserialize)]
struct Push {
    streams: Option<Vec<Stream>>,
}

#[derive(serde::Deserialize)]
struct Stream {
    #[serde(default)]
    stream: Pairs,
    #[serde(default, deserialize_with = "lines")]
    values: Vec<LogLine>,
}

/// An object of strings.
#[derive(Default)]
struct Pairs(Labels);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object whose values are strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'_>, Text<'_>>()? {
                    pairs.push((name.0, value.0));
                }
                Ok(Pairs(Labels::from_pairs(pairs)))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A string, borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Any)
    }
}

/// `null` stands for no lines.
fn lines<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LogLine>, D::Error> {
    let entries: Option<Vec<Entry>> = Option::deserialize(deserializer)?;
    Ok(entries.unwrap_or_default().into_iter().map(|entry| entry.0).collect())
}

struct Entry(LogLine);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Entry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of a timestamp in nanoseconds, a line and optional structured metadata")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry, A::Error> {
                let at: Text<'_> = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                let at = nanos(&at.0).ok_or_else(|| {
                    de::Error::custom(format!("timestamp `{}` is not a number of nanoseconds", excerpt(&at.0)))
                })?;
                let line: Text<'_> = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
                let metadata: Pairs = seq.next_element::<Option<Pairs>>()?.flatten().unwrap_or_default();
                if seq.next_element::<de::IgnoredAny>()?.is_some() {
                    return Err(de::Error::invalid_length(4, &self));
                }
                Ok(Entry(LogLine { at, line: line.0.into_owned(), metadata: metadata.0 }))
            }
        }
        deserializer.deserialize_seq(Array)
    }
}

/// Digits only: neither sign `+` nor fraction nor RFC 3339.
fn nanos(text: &str) -> Option<Nanos> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok().map(Nanos)).flatten()
}
