//! Functions of range vectors, one series at a time. Each follows its namesake in Prometheus' promql/functions.go.

use signal::{HistogramSample, Sample, Timestamp};

use super::notes::Notes;
use super::rows::{Grid, Point, Points, is_present};
use super::{EvalError, Place};
use crate::promql::annotations::Annotation;
use crate::promql::ast::Reach;

pub(super) mod extended;
mod floats;
mod mixed;
mod slide;

pub(super) use slide::Span;

/// A function of the samples of one series in a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Over {
    /// One when there is anything; the caller turns it round.
    Absent,
    Avg,
    Changes,
    Count,
    Delta,
    Deriv,
    First,
    Idelta,
    Increase,
    Irate,
    Last,
    Mad,
    Max,
    Min,
    PredictLinear,
    Present,
    Quantile,
    Rate,
    Resets,
    Smoothing,
    Stddev,
    Stdvar,
    Sum,
    TimeOfFirst,
    TimeOfLast,
    TimeOfMax,
    TimeOfMin,
}

impl Over {
    /// Whether the answer is still that metric.
    pub(super) fn keeps_name(self) -> bool {
        matches!(self, Self::First | Self::Last)
    }

    /// Whether the same window can give something else at another evaluation time.
    pub(crate) fn looks_at_the_time(self) -> bool {
        self == Self::PredictLinear
    }
}

/// A function with everything but the series.
#[derive(Debug)]
pub(super) struct OverCall {
    pub(super) over: Over,
    pub(super) frame: Frame,
    /// Scalar arguments by step; empty when the function has none.
    pub(super) first: Vec<f64>,
    pub(super) second: Vec<f64>,
    /// What remarks point at.
    pub(super) place: Place,
    /// Whether types are told by labels.
    pub(super) typed: bool,
}

/// The windows of every step: `(end - range, end]`.
#[derive(Debug)]
pub(super) struct Frame {
    /// Evaluation times.
    pub(super) grid: Grid,
    /// Where the window of each step ends; differs from its time under `offset` and `@`.
    pub(super) ends: Vec<i64>,
    pub(super) range: i64,
    /// How far the function looks beyond its windows.
    pub(super) reach: Reach,
    pub(super) lookback: i64,
}

/// Memory that is used again for the next series.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Places of counter resets, or running counts.
    places: Vec<usize>,
    values: Vec<f64>,
    spans: Vec<Span>,
    pairs: Vec<super::math::Sum>,
}

/// The samples of one series in one window.
#[derive(Clone, Copy, Debug)]
struct Window<'a> {
    samples: &'a [Sample],
    histograms: &'a [HistogramSample],
    start: Timestamp,
    end: Timestamp,
    /// The evaluation time.
    at: Timestamp,
}

impl OverCall {
    fn first(&self, step: usize) -> f64 {
        self.first.get(step).copied().unwrap_or(f64::NAN)
    }

    fn second(&self, step: usize) -> f64 {
        self.second.get(step).copied().unwrap_or(f64::NAN)
    }

    /// What the function gives for a series at every step. `samples` and `histograms` ascend and have no staleness
    /// markers.
    pub(super) fn fill(
        &self,
        series: &Input<'_>,
        work: &mut Work,
        notes: &mut Notes,
        out: &mut Points,
    ) -> Result<(), EvalError> {
        out.reset(self.frame.ends.len());
        if series.samples.is_empty() && series.histograms.is_empty() {
            return Ok(());
        }
        self.check_factors(series)?;
        if self.frame.reach != Reach::Window {
            extended::fill(self, series, work, &mut out.values)?;
        } else if series.histograms.is_empty() {
            floats::fill(self, series.samples, work, &mut out.values);
        } else {
            mixed::fill(self, series, work, notes, out);
        }
        self.remark(series, notes, out);
        Ok(())
    }

    /// Says what is wrong with arguments or with the metric, when there is an answer at all.
    fn remark(&self, series: &Input<'_>, notes: &mut Notes, out: &Points) {
        if self.over == Over::Quantile {
            for (q, value) in self.first.iter().zip(&out.values) {
                if !(0.0..=1.0).contains(q) && is_present(*value) {
                    notes.add(Annotation::invalid_quantile(*q), self.place);
                }
            }
        }
        let name = series.metric;
        if !matches!(self.over, Over::Rate | Over::Increase) || name.is_empty() {
            return;
        }
        let annotation = if self.typed {
            let fits = matches!(series.kind, "counter" | "histogram");
            (!fits).then(|| Annotation::possible_non_counter_label(name, series.kind))
        } else {
            let fits = ["_total", "_sum", "_count", "_bucket"].iter().any(|ending| name.ends_with(ending));
            (!fits).then(|| Annotation::possible_non_counter(name))
        };
        if let Some(annotation) = annotation.filter(|_| out.values.iter().copied().any(is_present)) {
            notes.add(annotation, self.place);
        }
    }

    /// Refuses factors of the smoothing that are not between 0 and 1, at steps that have a window to smooth.
    fn check_factors(&self, series: &Input<'_>) -> Result<(), EvalError> {
        if self.over != Over::Smoothing {
            return Ok(());
        }
        let mut spans = Vec::new();
        slide::spans(series.samples, |sample| sample.at.0, &self.frame, &mut spans);
        let mut other = Vec::new();
        slide::spans(series.histograms, |sample| sample.at.0, &self.frame, &mut other);
        for (step, (samples, histograms)) in spans.iter().zip(&other).enumerate() {
            if samples.is_empty() && histograms.is_empty() {
                continue;
            }
            for (what, short, factor) in [("smoothing", "sf", self.first(step)), ("trend", "tf", self.second(step))] {
                if factor <= 0.0 || factor >= 1.0 {
                    let message = format!("invalid {what} factor. Expected: 0 < {short} < 1, got: {factor:.6}");
                    return Err(EvalError::execution(message));
                }
            }
        }
        Ok(())
    }
}

/// One series, with what remarks say about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a> {
    pub(super) samples: &'a [Sample],
    pub(super) histograms: &'a [HistogramSample],
    /// Name of the metric; may be empty.
    pub(super) metric: &'a str,
    /// Its type, where types are told by labels.
    pub(super) kind: &'a str,
}

/// A number, or nothing.
fn float(value: Option<f64>) -> Option<Point> {
    value.map(Point::Float)
}

#[cfg(test)]
mod tests;
