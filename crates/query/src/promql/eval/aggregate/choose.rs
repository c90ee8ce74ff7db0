//! Aggregations that keep some of the series of every group: topk, bottomk, limitk, limit_ratio.

use std::cmp::Ordering;

use signal::Labels;
use xxhash_rust::xxh64::xxh64;

use super::{grouped, members_at, there_at};
use crate::promql::annotations::Annotation;
use crate::promql::ast::Aggregate;
use crate::promql::eval::call::at;
use crate::promql::eval::rows::{Grid, Row};
use crate::promql::eval::{EvalError, Evaluator};
use crate::promql::print::general_text;

/// Which series of a group stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kept {
    Largest,
    Smallest,
    First,
    /// A share of them, by their hashes.
    Sampled,
}

impl Evaluator<'_> {
    pub(super) fn chosen(
        &mut self,
        (aggregate, kept): (&Aggregate, Kept),
        params: &[f64],
        mut rows: Vec<Row>,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let params = if kept == Kept::Sampled { self.ratios(aggregate, params)? } else { counts(params)? };
        if params.iter().all(|param| *param == 0.0) {
            return Ok(Vec::new());
        }
        if matches!(kept, Kept::Largest | Kept::Smallest) {
            self.pass_over_histograms(aggregate, &mut rows);
        }
        let mut order = Vec::with_capacity(rows.len());
        for (_, _, members) in grouped(aggregate, &rows) {
            self.budget.check_canceled()?;
            for step in 0..grid.count {
                let param = at(params.as_slice(), step);
                let (staying, lost) = match kept {
                    Kept::Largest => best(members_at(&rows, &members, step), param, |a, b| b.partial_cmp(&a)),
                    Kept::Smallest => best(members_at(&rows, &members, step), param, |a, b| a.partial_cmp(&b)),
                    Kept::Sampled => there_at(&rows, &members, step)
                        .map(|(member, _)| member)
                        .partition(|member| rows.get(*member).is_some_and(|row| is_sampled(&row.labels(), param))),
                    Kept::First => {
                        let mut there: Vec<usize> = there_at(&rows, &members, step).map(|(member, _)| member).collect();
                        let lost = there.split_off((param as usize).min(there.len()));
                        (there, lost)
                    }
                };
                for member in lost {
                    if let Some(row) = rows.get_mut(member) {
                        row.points.blank(step);
                    }
                }
                if grid.count == 1 {
                    order.extend(staying);
                }
            }
        }
        if grid.count == 1 {
            let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
            return Ok(order.into_iter().filter_map(|member| rows.get_mut(member)?.take()).collect());
        }
        rows.retain(|row| !row.is_absent());
        Ok(rows)
    }

    fn pass_over_histograms(&mut self, aggregate: &Aggregate, rows: &mut Vec<Row>) {
        if rows.iter().all(|row| row.points.histograms.is_empty()) {
            return;
        }
        self.note(Annotation::histogram_ignored_in_aggregation(aggregate.op.as_str()), aggregate.place);
        for row in rows.iter_mut() {
            row.points.histograms.clear();
        }
        rows.retain(|row| !row.is_absent());
    }

    /// Shares of the series to keep, from -1 to 1; negative ones keep the others.
    fn ratios(&mut self, aggregate: &Aggregate, params: &[f64]) -> Result<Vec<f64>, EvalError> {
        if params.iter().any(|param| param.is_nan()) {
            return Err(EvalError::execution("Ratio value is NaN"));
        }
        let place = aggregate.param.as_ref().map_or(aggregate.place, |param| param.place());
        let largest = params.iter().copied().reduce(f64::max).filter(|ratio| *ratio > 1.0);
        let smallest = params.iter().copied().reduce(f64::min).filter(|ratio| *ratio < -1.0);
        for (odd, capped) in [(largest, 1.0), (smallest, -1.0)] {
            if let Some(odd) = odd {
                self.note(Annotation::invalid_ratio(odd, capped), place);
            }
        }
        Ok(params.iter().map(|param| param.clamp(-1.0, 1.0)).collect())
    }
}

/// How many series to keep at each step. Numbers below 1 keep none.
fn counts(params: &[f64]) -> Result<Vec<f64>, EvalError> {
    // Upstream looks no further when nothing would be kept anyway.
    if params.iter().all(|param| *param < 1.0) {
        return Ok(vec![0.0; params.len()]);
    }
    if params.iter().any(|param| param.is_nan()) {
        return Err(EvalError::execution("Parameter value is NaN"));
    }
    let smallest = params.iter().copied().fold(f64::INFINITY, f64::min);
    if smallest <= -9_223_372_036_854_775_808.0 {
        return Err(EvalError::execution(format!("Scalar value {} underflows int64", general_text(smallest))));
    }
    let largest = params.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest >= 9_223_372_036_854_774_784.0 {
        return Err(EvalError::execution(format!("Scalar value {} overflows int64", general_text(largest))));
    }
    Ok(params.iter().map(|param| if *param < 1.0 { 0.0 } else { param.trunc() }).collect())
}

/// Parts the best `count` from the rest, the best first. NaN is worst; among equals the earlier wins.
fn best(
    candidates: impl Iterator<Item = (usize, f64)>,
    count: f64,
    order: impl Fn(f64, f64) -> Option<Ordering>,
) -> (Vec<usize>, Vec<usize>) {
    let mut candidates: Vec<(usize, f64)> = candidates.collect();
    let compare = |a: &(usize, f64), b: &(usize, f64)| {
        let by_value = order(a.1, b.1).unwrap_or_else(|| a.1.is_nan().cmp(&b.1.is_nan()));
        by_value.then(a.0.cmp(&b.0))
    };
    let count = count as usize;
    let mut lost = Vec::new();
    if count < candidates.len() {
        if count > 0 {
            candidates.select_nth_unstable_by(count - 1, compare);
        }
        lost = candidates.split_off(count).into_iter().map(|(member, _)| member).collect();
    }
    candidates.sort_unstable_by(compare);
    (candidates.into_iter().map(|(member, _)| member).collect(), lost)
}

/// Whether a series is among the share `ratio` of all (upstream `AddRatioSample`): by a hash of its labels, so that it is at
/// every step, in every query and with every server.
fn is_sampled(labels: &Labels, ratio: f64) -> bool {
    let mut bytes = Vec::with_capacity(256);
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        let mut length = text.len();
        while length > 0x7f {
            bytes.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend_from_slice(text.as_bytes());
    }
    let share = xxh64(&bytes, 0) as f64 / u64::MAX as f64;
    (ratio >= 0.0 && share < ratio) || (ratio < 0.0 && share >= 1.0 + ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_nan_last() {
        let values = [3.0, f64::NAN, 5.0, 3.0, 1.0];
        let candidates = || values.iter().copied().enumerate();
        for (count, want) in [(0.0, vec![]), (1.0, vec![2]), (3.0, vec![2, 0, 3]), (9.0, vec![2, 0, 3, 4, 1])] {
            let (kept, lost) = best(candidates(), count, |a, b| b.partial_cmp(&a));
            assert_eq!(kept, want, "{count}");
            assert_eq!(kept.len() + lost.len(), values.len());
        }
    }

    #[test]
    fn a_ratio_and_its_complement_make_the_whole() {
        for n in 0..50 {
            let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("n", n.to_string())]);
            for ratio in [0.2, 0.5, 0.9] {
                assert_ne!(is_sampled(&labels, ratio), is_sampled(&labels, ratio - 1.0), "{n} {ratio}");
            }
            assert!(is_sampled(&labels, 1.0) && is_sampled(&labels, -1.0) && !is_sampled(&labels, 0.0));
        }
    }
}
