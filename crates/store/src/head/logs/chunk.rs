//! Lines as they came, one text behind the other.

use std::sync::LazyLock;

use signal::{Labels, LogLine, Nanos};

use crate::rows::Line;

/// Lines of one stream in order of arrival; never changes once it is shared.
#[derive(Clone, Debug, Default)]
pub(crate) struct LineChunk {
    text: String,
    /// When each line was, and where its text ends.
    places: Vec<(Nanos, u32)>,
    /// For each line; nothing at all when no line has any.
    metadata: Vec<Labels>,
    bounds: Option<(Nanos, Nanos)>,
}

impl LineChunk {
    /// Room for so many lines of so many bytes in all.
    pub(crate) fn with_capacity(lines: usize, bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), places: Vec::with_capacity(lines), ..Self::default() }
    }

    /// Copies lines, as many as there are and no more room.
    pub(crate) fn of(lines: &[Line<'_>]) -> Self {
        let mut chunk = Self::with_capacity(lines.len(), lines.iter().map(|line| line.line.len()).sum());
        lines.iter().for_each(|line| chunk.push(line.at, line.line, line.metadata));
        chunk
    }

    /// Adds a line. Texts of more than 4 GiB together do not fit; a write is never so large.
    pub(crate) fn push(&mut self, at: Nanos, line: &str, metadata: &Labels) {
        let Ok(end) = u32::try_from(self.text.len() + line.len()) else { return };
        if !metadata.is_empty() || !self.metadata.is_empty() {
            self.metadata.resize_with(self.places.len(), Labels::empty);
            self.metadata.push(metadata.clone());
        }
        self.text.push_str(line);
        self.places.push((at, end));
        let (first, last) = self.bounds.unwrap_or((at, at));
        self.bounds = Some((first.min(at), last.max(at)));
    }

    /// Adds lines behind each other.
    pub(crate) fn extend(&mut self, lines: &[LogLine]) {
        lines.iter().for_each(|line| self.push(line.at, &line.line, &line.metadata));
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Of the texts.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The earliest and the latest instant; `None` without a line.
    pub(crate) fn bounds(&self) -> Option<(Nanos, Nanos)> {
        self.bounds
    }

    /// The lines in order of arrival.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Line<'_>> {
        static NONE: LazyLock<Labels> = LazyLock::new(Labels::empty);
        let mut begin = 0_usize;
        self.places.iter().enumerate().map(move |(number, (at, end))| {
            let end = *end as usize;
            let line = self.text.get(begin..end).unwrap_or_default();
            begin = end;
            Line { at: *at, line, metadata: self.metadata.get(number).unwrap_or(&NONE) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_came() {
        let mut chunk = LineChunk::with_capacity(1, 1);
        assert_eq!((chunk.bounds(), chunk.len()), (None, 0));
        let some = Labels::from_pairs([("trace_id", "a")]);
        let want =
            [(5, "five", Labels::empty()), (3, "", some.clone()), (9, "nine ö", Labels::empty()), (3, "x", some)];
        for (at, line, metadata) in &want {
            chunk.push(Nanos(*at), line, metadata);
        }
        let found: Vec<_> = chunk.iter().map(|line| (line.at.0, line.line, line.metadata.clone())).collect();
        assert_eq!(found, want);
        assert_eq!((chunk.bounds(), chunk.len(), chunk.bytes()), (Some((Nanos(3), Nanos(9))), 4, 12));
    }
}
