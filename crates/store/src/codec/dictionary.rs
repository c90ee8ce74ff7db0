//! Label sets written once per segment and then called by number.

use std::collections::HashMap;
use std::sync::Arc;

use signal::Labels;

use crate::wire::{DecodeError, Reader, put_len, put_text};

/// Numbers for the label sets of one segment, in the order they are first written.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    texts: HashMap<Arc<str>, usize>,
    sets: HashMap<Labels, usize>,
    /// What came since the last [`commit`](Self::commit).
    new_texts: Vec<Arc<str>>,
    new_sets: Vec<Labels>,
}

impl Dictionary {
    /// The number of a label set, given now if it has none.
    pub(crate) fn number(&mut self, labels: &Labels) -> usize {
        if let Some(number) = self.sets.get(labels) {
            return *number;
        }
        for (name, value) in labels {
            self.number_text(name);
            self.number_text(value);
        }
        let number = self.sets.len();
        self.sets.insert(labels.clone(), number);
        self.new_sets.push(labels.clone());
        number
    }

    fn number_text(&mut self, text: &str) {
        if !self.texts.contains_key(text) {
            let text: Arc<str> = Arc::from(text);
            self.texts.insert(Arc::clone(&text), self.texts.len());
            self.new_texts.push(text);
        }
    }

    /// Writes what is new since the last commit.
    pub(crate) fn put_new(&self, out: &mut Vec<u8>) {
        put_len(out, self.new_texts.len());
        self.new_texts.iter().for_each(|text| put_text(out, text));
        put_len(out, self.new_sets.len());
        for set in &self.new_sets {
            put_len(out, set.len());
            for (name, value) in set {
                for text in [name, value] {
                    put_len(out, self.texts.get(text).copied().unwrap_or_default());
                }
            }
        }
    }

    /// The record with the new entries is in the segment.
    pub(crate) fn commit(&mut self) {
        self.new_texts.clear();
        self.new_sets.clear();
    }

    /// The record with the new entries is not in the segment: their numbers are free again.
    pub(crate) fn roll_back(&mut self) {
        for text in self.new_texts.drain(..) {
            self.texts.remove(&text);
        }
        for set in self.new_sets.drain(..) {
            self.sets.remove(&set);
        }
    }
}

/// The same numbers on the reading side.
#[derive(Debug, Default)]
pub(crate) struct Names {
    texts: Vec<Arc<str>>,
    pub(crate) sets: Vec<Labels>,
}

impl Names {
    pub(crate) fn take_new(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        for _ in 0..reader.count()? {
            self.texts.push(Arc::from(reader.text()?));
        }
        for _ in 0..reader.count()? {
            let mut labels = Vec::new();
            for _ in 0..reader.count()? {
                labels.push((self.take_text(reader)?, self.take_text(reader)?));
            }
            self.sets.push(Labels::from_pairs(labels));
        }
        Ok(())
    }

    fn take_text(&self, reader: &mut Reader<'_>) -> Result<Arc<str>, DecodeError> {
        let number = reader.index()?;
        self.texts.get(number).cloned().ok_or(DecodeError("a text was never written"))
    }

    /// Reads the number of a label set that must be known.
    pub(crate) fn take_set(&self, reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
        let number = reader.index()?;
        if number < self.sets.len() { Ok(number) } else { Err(DecodeError("a label set was never written")) }
    }

    /// For writing on where the reading ended.
    pub(crate) fn into_dictionary(self) -> Dictionary {
        Dictionary {
            texts: self.texts.into_iter().enumerate().map(|(number, text)| (text, number)).collect(),
            sets: self.sets.into_iter().enumerate().map(|(number, set)| (set, number)).collect(),
            ..Dictionary::default()
        }
    }
}
