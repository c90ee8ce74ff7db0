//! What the query's author should know, each finding once.

use std::collections::HashSet;

use crate::promql::annotations::{Annotation, Level};
use crate::promql::ast::Place;

/// Findings in order of their first appearance.
#[derive(Debug, Default)]
pub(super) struct Notes {
    seen: HashSet<(Annotation, usize)>,
    list: Vec<(Annotation, Place)>,
}

impl Notes {
    pub(super) fn add(&mut self, annotation: Annotation, place: Place) {
        if self.seen.insert((annotation.clone(), place.start)) {
            self.list.push((annotation, place));
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (annotation, place) in other.list {
            self.add(annotation, place);
        }
    }

    /// The texts of the warnings, and those of the infos.
    pub(super) fn into_texts(self) -> (Vec<String>, Vec<String>) {
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        for (annotation, place) in self.list {
            let text = annotation.at(place);
            match annotation.level {
                Level::Warning => warnings.push(text),
                Level::Info => infos.push(text),
            }
        }
        (warnings, infos)
    }
}
