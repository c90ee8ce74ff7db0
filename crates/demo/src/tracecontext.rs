//! W3C trace context: where a request stands in its trace.

use std::sync::{Mutex, PoisonError};

use signal::{SpanId, TraceId};

use crate::rng::Rng;

/// The trace that a request belongs to and the span that caused it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TraceContext {
    pub(crate) trace: TraceId,
    pub(crate) parent: Option<SpanId>,
}

impl TraceContext {
    /// Reads a `traceparent` header (W3C Trace Context, section 3.2); `None` for anything not valid.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let extra = parts.next().is_some();
        if !hex(version, 2) || version == "ff" || (version == "00" && extra) || !hex(flags, 2) {
            return None;
        }
        if !hex(trace, 32) || !hex(parent, 16) {
            return None;
        }
        let (trace, parent): (TraceId, SpanId) = (trace.parse().ok()?, parent.parse().ok()?);
        (!trace.is_zero() && !parent.is_zero()).then_some(Self { trace, parent: Some(parent) })
    }
}

/// The header that tells the next service about `span` of `trace`.
pub(crate) fn traceparent(trace: TraceId, span: SpanId) -> String {
    format!("00-{trace}-{span}-01")
}

/// Makes identifiers that no other process makes.
#[derive(Debug)]
pub(crate) struct Ids(Mutex<Rng>);

impl Ids {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Rng::from_entropy()))
    }

    fn next(&self) -> u64 {
        // Zero is not a valid identifier.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64().max(1)
    }

    pub(crate) fn span(&self) -> SpanId {
        SpanId(self.next().to_be_bytes())
    }

    pub(crate) fn trace(&self) -> TraceId {
        TraceId(self.wide().to_be_bytes())
    }

    /// A version 4 UUID (RFC 9562).
    pub(crate) fn uuid(&self) -> String {
        let bits = (self.wide() & !(0xf000 << 64) & !(0xc000 << 48)) | (0x4000 << 64) | (0x8000 << 48);
        let hex = format!("{bits:032x}");
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
    }

    fn wide(&self) -> u128 {
        (u128::from(self.next()) << 64) | u128::from(self.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_contexts_are_continued() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (case, header, valid) in [
            ("plain", format!("00-{trace}-00f067aa0ba902b7-01"), true),
            ("a later version with more fields", format!("01-{trace}-00f067aa0ba902b7-01-more"), true),
            ("version 00 with more fields", format!("00-{trace}-00f067aa0ba902b7-01-more"), false),
            ("forbidden version", format!("ff-{trace}-00f067aa0ba902b7-01"), false),
            ("upper case", format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()), false),
            ("zero trace", format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), false),
            ("zero parent", format!("00-{trace}-0000000000000000-01"), false),
            ("short", format!("00-{trace}"), false),
            ("nothing", String::new(), false),
        ] {
            assert_eq!(TraceContext::parse(&header).is_some(), valid, "{case}");
        }
        let read = TraceContext::parse(&format!("00-{trace}-00f067aa0ba902b7-01")).unwrap();
        assert_eq!(traceparent(read.trace, read.parent.unwrap()), format!("00-{trace}-00f067aa0ba902b7-01"));
    }

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        let ids = Ids::new();
        for _ in 0..100 {
            let uuid = ids.uuid();
            assert_eq!(uuid.len(), 36, "{uuid}");
            assert_eq!(uuid.as_bytes()[14], b'4', "{uuid}");
            assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
        }
        assert_ne!(ids.trace(), ids.trace());
    }
}
