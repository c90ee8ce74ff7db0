//! How the spans of a trace lie to each other. Spans are meant by their place in the trace.

use std::collections::HashMap;
use std::sync::Arc;

use signal::{Span, SpanId};

use super::ast::Relation;

/// The tree of a trace; a span whose parent is missing is a root, and so is one on a circle of parents.
pub(super) struct Tree {
    parents: Vec<Option<usize>>,
    children: Vec<Vec<usize>>,
    roots: Vec<usize>,
    /// Numbers on the way down and up.
    nested: Vec<(i64, i64)>,
}

impl Tree {
    pub(super) fn new(spans: &[Arc<Span>]) -> Self {
        let by_id: HashMap<SpanId, usize> = spans.iter().enumerate().map(|(at, span)| (span.id, at)).collect();
        let mut parents: Vec<Option<usize>> = spans
            .iter()
            .enumerate()
            .map(|(at, span)| span.parent.and_then(|parent| by_id.get(&parent).copied()).filter(|parent| *parent != at))
            .collect();
        cut_circles(&mut parents);
        let mut children = vec![Vec::new(); spans.len()];
        let mut roots = Vec::new();
        for (at, parent) in parents.iter().enumerate() {
            match parent.and_then(|parent| children.get_mut(parent)) {
                Some(siblings) => siblings.push(at),
                None => roots.push(at),
            }
        }
        let nested = number(&roots, &children);
        Self { parents, children, roots, nested }
    }

    pub(super) fn parent(&self, span: usize) -> Option<usize> {
        self.parents.get(span).copied().flatten()
    }

    pub(super) fn child_count(&self, span: usize) -> usize {
        self.children.get(span).map_or(0, Vec::len)
    }

    /// Left and right number.
    pub(super) fn nested(&self, span: usize) -> (i64, i64) {
        self.nested.get(span).copied().unwrap_or((0, 0))
    }

    /// For each span whether one of `from` (a flag for each span) has it in the relation.
    pub(super) fn related(&self, relation: Relation, from: &[bool]) -> Vec<bool> {
        let has = |span: usize| from.get(span).copied().unwrap_or(false);
        let count = self.parents.len();
        match relation {
            Relation::Child => (0..count).map(|span| self.parent(span).is_some_and(has)).collect(),
            Relation::Parent => {
                let mut found = vec![false; count];
                for parent in (0..count).filter(|span| has(*span)).filter_map(|span| self.parent(span)) {
                    mark(&mut found, parent);
                }
                found
            }
            Relation::Descendant => {
                let mut found = vec![false; count];
                let mut below = self.roots.clone();
                // A parent is always taken before its children, so its answer is there when they need it.
                while let Some(span) = below.pop() {
                    let above = self.parent(span);
                    if above.is_some_and(|above| has(above) || found.get(above).copied().unwrap_or(false)) {
                        mark(&mut found, span);
                    }
                    below.extend(self.children.get(span).into_iter().flatten());
                }
                found
            }
            Relation::Ancestor => {
                let mut found = vec![false; count];
                for span in (0..count).filter(|span| has(*span)) {
                    let mut above = self.parent(span);
                    while let Some(ancestor) = above.filter(|ancestor| !found.get(*ancestor).copied().unwrap_or(true)) {
                        mark(&mut found, ancestor);
                        above = self.parent(ancestor);
                    }
                }
                found
            }
            Relation::Sibling => {
                let mut found = vec![false; count];
                for siblings in &self.children {
                    let matching = siblings.iter().filter(|span| has(**span)).count();
                    for span in siblings {
                        if matching > usize::from(has(*span)) {
                            mark(&mut found, *span);
                        }
                    }
                }
                found
            }
        }
    }
}

impl Relation {
    /// The same pair, seen from the other side.
    pub(super) fn reversed(self) -> Self {
        match self {
            Self::Child => Self::Parent,
            Self::Parent => Self::Child,
            Self::Descendant => Self::Ancestor,
            Self::Ancestor => Self::Descendant,
            Self::Sibling => Self::Sibling,
        }
    }
}

fn mark(flags: &mut [bool], at: usize) {
    if let Some(flag) = flags.get_mut(at) {
        *flag = true;
    }
}

/// Makes a root of one span on each circle.
fn cut_circles(parents: &mut [Option<usize>]) {
    // Zero is not seen; otherwise the walk on which a span was seen first.
    let mut seen = vec![0_usize; parents.len()];
    for start in 0..parents.len() {
        let walk = start + 1;
        let mut at = Some(start);
        while let Some(span) = at {
            match seen.get_mut(span) {
                Some(first) if *first == 0 => *first = walk,
                Some(first) if *first == walk => {
                    if let Some(parent) = parents.get_mut(span) {
                        *parent = None;
                    }
                    break;
                }
                _ => break,
            }
            at = parents.get(span).copied().flatten();
        }
    }
}

fn number(roots: &[usize], children: &[Vec<usize>]) -> Vec<(i64, i64)> {
    let mut numbers = vec![(0, 0); children.len()];
    let mut next = 1;
    let mut work: Vec<(usize, bool)> = roots.iter().rev().map(|root| (*root, true)).collect();
    while let Some((span, down)) = work.pop() {
        if let Some(place) = numbers.get_mut(span) {
            if down { place.0 = next } else { place.1 = next }
        }
        next += 1;
        if down {
            work.push((span, false));
            work.extend(children.get(span).into_iter().flatten().rev().map(|child| (*child, true)));
        }
    }
    numbers
}
