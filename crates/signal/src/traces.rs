//! Traces: spans that share a trace id.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Nanos;

/// Identity of a trace: 16 bytes, written as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TraceId(pub [u8; 16]);

/// Identity of a span inside its trace: 8 bytes, written as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SpanId(pub [u8; 8]);

/// A text that is not an id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not a hexadecimal id of at most {digits} digits")]
pub struct IdError {
    /// What was given.
    pub text: String,
    /// How many digits it may have.
    pub digits: usize,
}

/// Which side of a call a span describes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpanKind {
    /// Not said.
    #[default]
    Unspecified,
    /// Work inside one service.
    Internal,
    /// Answers a call.
    Server,
    /// Makes a call.
    Client,
    /// Hands over a message.
    Producer,
    /// Takes a message.
    Consumer,
}

/// How a span ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpanStatus {
    /// Not said; usually fine.
    #[default]
    Unset,
    /// Explicitly fine.
    Ok,
    /// Failed.
    Error,
}

/// The value of a span or resource attribute.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeValue {
    /// Text.
    String(String),
    /// Truth.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Real number.
    Float(f64),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// Several values.
    List(Vec<AttributeValue>),
    /// Named values.
    Map(Vec<(String, AttributeValue)>),
}

/// Something that happened during a span.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SpanEvent {
    /// When.
    pub at: Nanos,
    /// What.
    pub name: String,
    /// Facts about it.
    pub attributes: Vec<(String, AttributeValue)>,
}

/// A pointer to a span of another trace.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SpanLink {
    /// The other trace.
    pub trace: TraceId,
    /// The span in it.
    pub span: SpanId,
    /// Facts about the link.
    pub attributes: Vec<(String, AttributeValue)>,
}

/// One timed operation of a trace.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Span {
    /// The trace it belongs to.
    pub trace: TraceId,
    /// Its identity there.
    pub id: SpanId,
    /// The span that caused it; `None` for a root.
    pub parent: Option<SpanId>,
    /// W3C trace state; usually empty.
    pub trace_state: String,
    /// Operation name.
    pub name: String,
    /// Side of a call.
    pub kind: SpanKind,
    /// When it began.
    pub start: Nanos,
    /// When it ended; never before `start` once admitted.
    pub end: Nanos,
    /// How it ended.
    pub status: SpanStatus,
    /// Why it failed; usually empty.
    pub status_message: String,
    /// Facts about the operation.
    pub attributes: Vec<(String, AttributeValue)>,
    /// Facts about who ran it, shared by all spans of one sender; `service.name` among them.
    pub resource: Arc<Vec<(String, AttributeValue)>>,
    /// Instrumentation library name; may be empty.
    pub scope_name: String,
    /// Instrumentation library version; may be empty.
    pub scope_version: String,
    /// What happened meanwhile.
    pub events: Vec<SpanEvent>,
    /// Pointers to other traces.
    pub links: Vec<SpanLink>,
}

impl Span {
    /// How long it took.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.end.since(self.start)
    }

    /// The resource's `service.name`, or the empty string.
    #[must_use]
    pub fn service(&self) -> &str {
        attribute(&self.resource, "service.name").and_then(AttributeValue::as_str).unwrap_or("")
    }

    /// A span attribute by name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&AttributeValue> {
        attribute(&self.attributes, name)
    }

    /// A resource attribute by name.
    #[must_use]
    pub fn resource_attribute(&self, name: &str) -> Option<&AttributeValue> {
        attribute(&self.resource, name)
    }
}

fn attribute<'a>(attributes: &'a [(String, AttributeValue)], name: &str) -> Option<&'a AttributeValue> {
    attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

impl AttributeValue {
    /// The text, when it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Bytes(_) | Self::List(_) | Self::Map(_) => None,
        }
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => f.write_str(text),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Bytes(bytes) => f.write_str(&hex(bytes)),
            Self::List(values) => {
                f.write_str("[")?;
                for (at, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if at > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Map(values) => {
                f.write_str("{")?;
                for (at, (name, value)) in values.iter().enumerate() {
                    write!(f, "{}{name}={value}", if at > 0 { "," } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads at most `2 * N` hex digits; shorter text is padded with zeros on the left, as Tempo does.
fn unhex<const N: usize>(text: &str) -> Result<[u8; N], IdError> {
    let error = || IdError { text: text.chars().take(80).collect(), digits: 2 * N };
    if text.is_empty() || text.len() > 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(error());
    }
    let padded = format!("{text:0>width$}", width = 2 * N);
    let mut id = [0; N];
    for (at, byte) in id.iter_mut().enumerate() {
        let digits = padded.get(2 * at..2 * at + 2).ok_or_else(error)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| error())?;
    }
    Ok(id)
}

macro_rules! hex_id {
    ($name:ident, $bytes:literal) => {
        impl $name {
            /// Whether every byte is zero, which the specification calls invalid.
            #[must_use]
            pub fn is_zero(&self) -> bool {
                self.0.iter().all(|byte| *byte == 0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                unhex::<$bytes>(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id!(TraceId, 16);
hex_id!(SpanId, 8);

impl SpanKind {
    /// The word TraceQL uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

impl SpanStatus {
    /// The word TraceQL uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex_and_short_ones_are_padded() {
        for (text, want) in [
            ("a1b2c3d4e5f6", Some("00000000000000000000a1b2c3d4e5f6")),
            ("4BF92F3577B34DA6A3CE929D0E0E4736", Some("4bf92f3577b34da6a3ce929d0e0e4736")),
            ("", None),
            ("xyz", None),
            ("000000000000000000000000000000000", None),
            ("é", None),
        ] {
            assert_eq!(text.parse::<TraceId>().ok().map(|id| id.to_string()).as_deref(), want, "{text}");
        }
    }
}
