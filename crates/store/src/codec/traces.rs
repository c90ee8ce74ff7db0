//! Records of the traces signal. Texts and resources are written once per record and then called by number.

use std::collections::HashMap;
use std::sync::Arc;

use signal::{AttributeValue, Nanos, Span, SpanEvent, SpanId, SpanKind, SpanLink, SpanStatus, TraceId};

use crate::wire::{DecodeError, Reader, put_bytes, put_float, put_len, put_signed, put_text};

/// Lists and maps may be nested this deep.
pub(crate) const MAX_DEPTH: usize = 64;

/// A span with an attribute nested deeper than [`MAX_DEPTH`].
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct TooDeep {
    /// Its name.
    pub(crate) span: String,
}

/// The same, before the span is known.
struct Deep;

type Attributes = Vec<(String, AttributeValue)>;

pub(crate) fn encode<'a>(spans: impl ExactSizeIterator<Item = &'a Span>) -> Result<Vec<u8>, TooDeep> {
    let mut encoder = Encoder::default();
    let mut body = Vec::new();
    put_len(&mut body, spans.len());
    for span in spans {
        encoder.put_span(&mut body, span).map_err(|Deep| TooDeep { span: span.name.clone() })?;
    }
    let mut out = Vec::with_capacity(body.len() + 256);
    put_len(&mut out, encoder.texts.len());
    encoder.text_order.iter().for_each(|text| put_text(&mut out, text));
    put_len(&mut out, encoder.resource_order.len());
    encoder.resource_order.iter().for_each(|resource| out.extend_from_slice(resource));
    out.append(&mut body);
    Ok(out)
}

#[derive(Default)]
struct Encoder<'a> {
    texts: HashMap<&'a str, usize>,
    text_order: Vec<&'a str>,
    /// By address: the spans of one sender share theirs.
    shared_resources: HashMap<usize, usize>,
    /// By content.
    resources: HashMap<Vec<u8>, usize>,
    resource_order: Vec<Vec<u8>>,
    clock: i64,
}

impl<'a> Encoder<'a> {
    fn put_span(&mut self, out: &mut Vec<u8>, span: &'a Span) -> Result<(), Deep> {
        out.extend_from_slice(&span.trace.0);
        out.extend_from_slice(&span.id.0);
        out.push(u8::from(span.parent.is_some()));
        if let Some(parent) = span.parent {
            out.extend_from_slice(&parent.0);
        }
        put_signed(out, span.start.0.wrapping_sub(self.clock));
        self.clock = span.start.0;
        put_signed(out, span.end.0.wrapping_sub(span.start.0));
        out.push(kind_to_byte(span.kind));
        out.push(status_to_byte(span.status));
        for text in [&span.name, &span.trace_state, &span.status_message, &span.scope_name, &span.scope_version] {
            self.put_text(out, text);
        }
        let resource = self.resource(&span.resource)?;
        put_len(out, resource);
        self.put_attributes(out, &span.attributes, 0)?;
        put_len(out, span.events.len());
        for event in &span.events {
            put_signed(out, event.at.0.wrapping_sub(span.start.0));
            self.put_text(out, &event.name);
            self.put_attributes(out, &event.attributes, 0)?;
        }
        put_len(out, span.links.len());
        for link in &span.links {
            out.extend_from_slice(&link.trace.0);
            out.extend_from_slice(&link.span.0);
            self.put_attributes(out, &link.attributes, 0)?;
        }
        Ok(())
    }

    fn resource(&mut self, resource: &'a Arc<Attributes>) -> Result<usize, Deep> {
        let address = Arc::as_ptr(resource).addr();
        if let Some(number) = self.shared_resources.get(&address) {
            return Ok(*number);
        }
        let mut bytes = Vec::new();
        self.put_attributes(&mut bytes, resource, 0)?;
        let next = self.resource_order.len();
        let number = *self.resources.entry(bytes.clone()).or_insert(next);
        if number == next {
            self.resource_order.push(bytes);
        }
        self.shared_resources.insert(address, number);
        Ok(number)
    }

    fn put_text(&mut self, out: &mut Vec<u8>, text: &'a str) {
        let next = self.texts.len();
        let number = *self.texts.entry(text).or_insert(next);
        if number == next {
            self.text_order.push(text);
        }
        put_len(out, number);
    }

    fn put_attributes(
        &mut self,
        out: &mut Vec<u8>,
        attributes: &'a [(String, AttributeValue)],
        depth: usize,
    ) -> Result<(), Deep> {
        put_len(out, attributes.len());
        for (name, value) in attributes {
            self.put_text(out, name);
            self.put_value(out, value, depth)?;
        }
        Ok(())
    }

    fn put_value(&mut self, out: &mut Vec<u8>, value: &'a AttributeValue, depth: usize) -> Result<(), Deep> {
        if depth > MAX_DEPTH {
            return Err(Deep);
        }
        match value {
            AttributeValue::String(text) => {
                out.push(0);
                self.put_text(out, text);
            }
            AttributeValue::Bool(value) => out.push(if *value { 2 } else { 1 }),
            AttributeValue::Int(value) => {
                out.push(3);
                put_signed(out, *value);
            }
            AttributeValue::Float(value) => {
                out.push(4);
                put_float(out, *value);
            }
            AttributeValue::Bytes(bytes) => {
                out.push(5);
                put_bytes(out, bytes);
            }
            AttributeValue::List(values) => {
                out.push(6);
                put_len(out, values.len());
                for value in values {
                    self.put_value(out, value, depth + 1)?;
                }
            }
            AttributeValue::Map(values) => {
                out.push(7);
                self.put_attributes(out, values, depth + 1)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn decode(content: &[u8]) -> Result<Vec<Span>, DecodeError> {
    let mut decoder = Decoder { reader: Reader::new(content), texts: Vec::new(), resources: Vec::new(), clock: 0 };
    for _ in 0..decoder.reader.count()? {
        decoder.texts.push(decoder.reader.text()?);
    }
    for _ in 0..decoder.reader.count()? {
        let resource = decoder.attributes(0)?;
        decoder.resources.push(Arc::new(resource));
    }
    let mut spans = Vec::new();
    for _ in 0..decoder.reader.count()? {
        spans.push(decoder.span()?);
    }
    if decoder.reader.is_at_end() { Ok(spans) } else { Err(DecodeError("bytes are left over")) }
}

struct Decoder<'a> {
    reader: Reader<'a>,
    texts: Vec<&'a str>,
    resources: Vec<Arc<Attributes>>,
    clock: i64,
}

impl Decoder<'_> {
    fn span(&mut self) -> Result<Span, DecodeError> {
        let trace = TraceId(self.reader.array()?);
        let id = SpanId(self.reader.array()?);
        let parent = match self.reader.byte()? {
            0 => None,
            1 => Some(SpanId(self.reader.array()?)),
            _ => return Err(DecodeError("a parent has an unknown shape")),
        };
        self.clock = self.clock.wrapping_add(self.reader.signed()?);
        let start = Nanos(self.clock);
        let end = Nanos(start.0.wrapping_add(self.reader.signed()?));
        let kind = kind_from_byte(self.reader.byte()?)?;
        let status = status_from_byte(self.reader.byte()?)?;
        let (name, trace_state, status_message) = (self.text()?, self.text()?, self.text()?);
        let (scope_name, scope_version) = (self.text()?, self.text()?);
        let resource = self.reader.index()?;
        let resource = self.resources.get(resource).cloned().ok_or(DecodeError("a resource was never written"))?;
        let attributes = self.attributes(0)?;
        let mut events = Vec::new();
        for _ in 0..self.reader.count()? {
            let at = Nanos(start.0.wrapping_add(self.reader.signed()?));
            events.push(SpanEvent { at, name: self.text()?, attributes: self.attributes(0)? });
        }
        let mut links = Vec::new();
        for _ in 0..self.reader.count()? {
            let (trace, span) = (TraceId(self.reader.array()?), SpanId(self.reader.array()?));
            links.push(SpanLink { trace, span, attributes: self.attributes(0)? });
        }
        Ok(Span {
            trace,
            id,
            parent,
            trace_state,
            name,
            kind,
            start,
            end,
            status,
            status_message,
            attributes,
            resource,
            scope_name,
            scope_version,
            events,
            links,
        })
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let number = self.reader.index()?;
        self.texts.get(number).map(|text| (*text).to_owned()).ok_or(DecodeError("a text was never written"))
    }

    fn attributes(&mut self, depth: usize) -> Result<Attributes, DecodeError> {
        let mut attributes = Vec::new();
        for _ in 0..self.reader.count()? {
            attributes.push((self.text()?, self.value(depth)?));
        }
        Ok(attributes)
    }

    fn value(&mut self, depth: usize) -> Result<AttributeValue, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError("an attribute is nested too deep"));
        }
        Ok(match self.reader.byte()? {
            0 => AttributeValue::String(self.text()?),
            1 => AttributeValue::Bool(false),
            2 => AttributeValue::Bool(true),
            3 => AttributeValue::Int(self.reader.signed()?),
            4 => AttributeValue::Float(self.reader.float()?),
            5 => AttributeValue::Bytes(self.reader.bytes()?.to_vec()),
            6 => {
                let mut values = Vec::new();
                for _ in 0..self.reader.count()? {
                    values.push(self.value(depth + 1)?);
                }
                AttributeValue::List(values)
            }
            7 => AttributeValue::Map(self.attributes(depth + 1)?),
            _ => return Err(DecodeError("an attribute has an unknown shape")),
        })
    }
}

fn kind_to_byte(kind: SpanKind) -> u8 {
    match kind {
        SpanKind::Unspecified => 0,
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

fn kind_from_byte(byte: u8) -> Result<SpanKind, DecodeError> {
    Ok(match byte {
        0 => SpanKind::Unspecified,
        1 => SpanKind::Internal,
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        _ => return Err(DecodeError("a span kind is unknown")),
    })
}

fn status_to_byte(status: SpanStatus) -> u8 {
    match status {
        SpanStatus::Unset => 0,
        SpanStatus::Ok => 1,
        SpanStatus::Error => 2,
    }
}

fn status_from_byte(byte: u8) -> Result<SpanStatus, DecodeError> {
    Ok(match byte {
        0 => SpanStatus::Unset,
        1 => SpanStatus::Ok,
        2 => SpanStatus::Error,
        _ => return Err(DecodeError("a span status is unknown")),
    })
}
