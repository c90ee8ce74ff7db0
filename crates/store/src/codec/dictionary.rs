//! Label sets written once per segment and then called by number.

use std::collections::HashMap;
use std::sync::Arc;

use signal::Labels;

use crate::wire::{DecodeError, Reader, put_len, put_text};

/// Numbers for the label sets of one segment, in the order they are first written.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    texts: HashMap<Arc<str>, usize>,
    /// The sets that are looked up here; others are remembered by whoever numbers them.
    sets: HashMap<Labels, usize>,
    set_count: usize,
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
        let number = self.add(labels);
        self.sets.insert(labels.clone(), number);
        number
    }

    /// The number of a label set that has none yet.
    fn add(&mut self, labels: &Labels) -> usize {
        for (name, value) in labels {
            self.number_text(name);
            self.number_text(value);
        }
        self.new_sets.push(labels.clone());
        self.set_count += 1;
        self.set_count - 1
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
            self.set_count -= 1;
        }
    }
}

/// A dictionary whose sets are called by the ids they have in memory, which is faster than by the sets themselves.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    dictionary: Dictionary,
    /// By id: the set's number; [`NONE`] without.
    by_id: Vec<u32>,
    /// Ids numbered since the last commit.
    new_ids: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Numbers {
    /// The number of the set with this id, given now if it has none.
    pub(crate) fn number<'a>(&mut self, id: u32, labels: impl FnOnce() -> Option<&'a Labels>) -> u32 {
        let place = id as usize;
        if self.by_id.len() <= place {
            self.by_id.resize(place + 1, NONE);
        }
        let Some(number) = self.by_id.get_mut(place) else { return NONE };
        if *number == NONE
            && let Some(labels) = labels()
        {
            *number = u32::try_from(self.dictionary.add(labels)).unwrap_or(NONE);
            self.new_ids.push(id);
        }
        *number
    }

    /// Writes what is new since the last commit.
    pub(crate) fn put_new(&self, out: &mut Vec<u8>) {
        self.dictionary.put_new(out);
    }

    /// The record with the new entries is in the segment.
    pub(crate) fn commit(&mut self) {
        self.dictionary.commit();
        self.new_ids.clear();
    }

    /// The record with the new entries is not in the segment: their numbers are free again.
    pub(crate) fn roll_back(&mut self) {
        self.dictionary.roll_back();
        for id in self.new_ids.drain(..) {
            if let Some(number) = self.by_id.get_mut(id as usize) {
                *number = NONE;
            }
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
            set_count: self.sets.len(),
            sets: self.sets.into_iter().enumerate().map(|(number, set)| (set, number)).collect(),
            ..Dictionary::default()
        }
    }

    /// The same where sets are called by the ids they have in memory; `ids` holds them by number.
    pub(crate) fn into_numbers(self, ids: &[u32]) -> Numbers {
        let mut by_id = Vec::new();
        for (number, id) in ids.iter().enumerate() {
            let place = *id as usize;
            if by_id.len() <= place {
                by_id.resize(place + 1, NONE);
            }
            if let Some(known) = by_id.get_mut(place) {
                *known = u32::try_from(number).unwrap_or(NONE);
            }
        }
        let dictionary = Dictionary {
            texts: self.texts.into_iter().enumerate().map(|(number, text)| (text, number)).collect(),
            set_count: self.sets.len(),
            ..Dictionary::default()
        };
        Numbers { dictionary, by_id, new_ids: Vec::new() }
    }
}
