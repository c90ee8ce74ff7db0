//! What a range function needs of its lines, series by series.

use std::collections::HashMap;

use signal::{Labels, Nanos};

use crate::logql::ast::RangeOp;

/// One line as a number.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Sample {
    pub(super) at: Nanos,
    pub(super) value: f64,
}

/// The instants at which any window begins or ends. What happens between two of them is in the same windows.
#[derive(Debug)]
pub(super) struct Edges {
    /// Ascending; a bin reaches from behind one to the next.
    instants: Vec<i64>,
}

/// With more edges the lines are kept one by one.
const MOST_EDGES: usize = 4_096;

impl Edges {
    /// Of windows that each begin behind `start` and end with `end`.
    pub(super) fn new(windows: &[(Nanos, Nanos)]) -> Self {
        let mut instants: Vec<i64> = windows.iter().flat_map(|(start, end)| [start.0, end.0]).collect();
        instants.sort_unstable();
        instants.dedup();
        Self { instants }
    }

    fn bins(&self) -> usize {
        self.instants.len() + 1
    }

    /// The bin of an instant.
    pub(super) fn bin(&self, at: i64) -> usize {
        self.instants.partition_point(|edge| *edge < at)
    }

    /// The last instant of a bin.
    pub(super) fn end(&self, bin: usize) -> i64 {
        self.instants.get(bin).copied().unwrap_or(i64::MAX)
    }

    /// The bins of a window.
    pub(super) fn inside(&self, (start, end): (Nanos, Nanos)) -> std::ops::Range<usize> {
        self.bin(start.0) + 1..self.bin(end.0) + 1
    }
}

/// What is known of the lines of one bin.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Bin {
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

const EMPTY: Bin = Bin { count: 0.0, sum: 0.0, min: f64::NAN, max: f64::NAN };

impl Bin {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        let min = if other.min < self.min || self.min.is_nan() { other.min } else { self.min };
        let max = if other.max > self.max || self.max.is_nan() { other.max } else { self.max };
        Self { count: self.count + other.count, sum: self.sum + other.sum, min, max }
    }
}

/// What a function needs of a series.
#[derive(Clone, Debug)]
pub(super) enum Gathered {
    /// Lines that share their windows, put together.
    Bins(Vec<Bin>),
    /// Each line by itself.
    Samples(Vec<Sample>),
}

/// Series with what was gathered of them.
#[derive(Debug)]
pub(super) struct Gathering<'e> {
    edges: &'e Edges,
    is_binned: bool,
    series: Vec<(Labels, Gathered)>,
    places: HashMap<Labels, usize>,
}

impl<'e> Gathering<'e> {
    pub(super) fn new(op: RangeOp, edges: &'e Edges) -> Self {
        let is_binned = edges.bins() <= MOST_EDGES
            && match op {
                RangeOp::Rate
                | RangeOp::CountOverTime
                | RangeOp::BytesRate
                | RangeOp::BytesOverTime
                | RangeOp::SumOverTime
                | RangeOp::AvgOverTime
                | RangeOp::MinOverTime
                | RangeOp::MaxOverTime
                | RangeOp::AbsentOverTime => true,
                RangeOp::RateCounter
                | RangeOp::StdvarOverTime
                | RangeOp::StddevOverTime
                | RangeOp::QuantileOverTime
                | RangeOp::FirstOverTime
                | RangeOp::LastOverTime => false,
            };
        Self { edges, is_binned, series: Vec::new(), places: HashMap::new() }
    }

    pub(super) fn edges(&self) -> &'e Edges {
        self.edges
    }

    /// The place of a series, to be named when lines are added.
    pub(super) fn place(&mut self, labels: &Labels) -> usize {
        if let Some(place) = self.places.get(labels) {
            return *place;
        }
        let gathered =
            if self.is_binned { Gathered::Bins(vec![EMPTY; self.edges.bins()]) } else { Gathered::Samples(Vec::new()) };
        self.series.push((labels.clone(), gathered));
        self.places.insert(labels.clone(), self.series.len() - 1);
        self.series.len() - 1
    }

    /// Adds a line.
    pub(super) fn add(&mut self, place: usize, sample: Sample) {
        let Some((_, gathered)) = self.series.get_mut(place) else { return };
        match gathered {
            Gathered::Samples(samples) => samples.push(sample),
            Gathered::Bins(bins) => {
                let Sample { at, value } = sample;
                if let Some(bin) = bins.get_mut(self.edges.bin(at.0)) {
                    *bin = bin.and(Bin { count: 1.0, sum: value, min: value, max: value });
                }
            }
        }
    }

    /// Adds as many lines of one bin, each with the same value; false when lines are wanted one by one.
    pub(super) fn add_many(&mut self, place: usize, bin: usize, count: usize, value: f64) -> bool {
        let Some((_, Gathered::Bins(bins))) = self.series.get_mut(place) else { return false };
        if let Some(bin) = bins.get_mut(bin) {
            *bin = bin.and(Bin { count: count as f64, sum: count as f64 * value, min: value, max: value });
        }
        true
    }

    /// Takes over what others gathered.
    pub(super) fn join(&mut self, other: Self) {
        for (labels, theirs) in other.series {
            let place = self.place(&labels);
            let Some((_, mine)) = self.series.get_mut(place) else { continue };
            match (mine, theirs) {
                (Gathered::Samples(mine), Gathered::Samples(theirs)) => mine.extend(theirs),
                (Gathered::Bins(mine), Gathered::Bins(theirs)) => {
                    mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine = mine.and(theirs));
                }
                // All are gathered in the same way.
                (Gathered::Samples(_), Gathered::Bins(_)) | (Gathered::Bins(_), Gathered::Samples(_)) => {}
            }
        }
    }

    pub(super) fn series_count(&self) -> usize {
        self.series.len()
    }

    /// Every series; samples ascend in time.
    pub(super) fn finish(mut self) -> Vec<(Labels, Gathered)> {
        for (_, gathered) in &mut self.series {
            if let Gathered::Samples(samples) = gathered {
                // Several streams may flow into one series.
                samples.sort_by_key(|sample| sample.at);
            }
        }
        self.series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_the_bins_between_its_edges() {
        let windows = [(Nanos(0), Nanos(10)), (Nanos(5), Nanos(15)), (Nanos(10), Nanos(20))];
        let edges = Edges::new(&windows);
        for window in windows {
            let bins = edges.inside(window);
            for at in -2..25 {
                let is_inside = window.0.0 < at && at <= window.1.0;
                assert_eq!(bins.contains(&edges.bin(at)), is_inside, "{at} in {window:?}");
                assert!(at <= edges.end(edges.bin(at)));
            }
        }
    }

    #[test]
    fn bins_and_lines_come_to_the_same() {
        let edges = Edges::new(&[(Nanos(0), Nanos(10))]);
        let mut one = Gathering::new(RangeOp::SumOverTime, &edges);
        let mut other = Gathering::new(RangeOp::SumOverTime, &edges);
        let labels = Labels::from_pairs([("a", "b")]);
        let (place, there) = (one.place(&labels), other.place(&labels));
        for (at, value) in [(1, 3.0), (2, -1.0), (10, 4.0), (11, 9.0)] {
            one.add(place, Sample { at: Nanos(at), value });
        }
        assert!(other.add_many(there, 1, 2, 5.0));
        one.join(other);
        let all = one.finish();
        let [(_, Gathered::Bins(bins))] = all.as_slice() else { panic!("bins: {all:?}") };
        assert_eq!(bins[1], Bin { count: 5.0, sum: 16.0, min: -1.0, max: 5.0 });
        assert_eq!(bins[2].count, 1.0);
    }
}
