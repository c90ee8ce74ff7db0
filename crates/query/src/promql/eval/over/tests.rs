use super::*;
use crate::promql::eval::math;
use crate::promql::eval::rows::ABSENT;
use proptest::prelude::*;

fn at(index: usize) -> Timestamp {
    Timestamp(1000 * (i64::try_from(index).unwrap() + 1))
}

fn samples(values: &[f64]) -> Vec<Sample> {
    values.iter().enumerate().map(|(index, value)| Sample { at: at(index), value: *value }).collect()
}

fn call(over: Over, grid: Grid, range: i64, first: f64, second: f64) -> OverCall {
    let ends: Vec<i64> = grid.times().collect();
    let params = |value| vec![value; grid.count];
    let frame = Frame { grid, ends, range, reach: Reach::Window, lookback: 300_000 };
    OverCall { over, frame, first: params(first), second: params(second), place: Place::NOWHERE, typed: false }
}

fn fill(call: &OverCall, samples: &[Sample]) -> Vec<f64> {
    let input = Input { samples, histograms: &[], metric: "m_total", kind: "" };
    let mut points = Points::default();
    call.fill(&input, &mut Work::default(), &mut Notes::default(), &mut points).unwrap();
    points.values
}

/// One window over one sample a second.
fn over(function: Over, values: &[f64]) -> Option<f64> {
    let end = 1000 * i64::try_from(values.len()).unwrap();
    let grid = Grid { start: end, step: 1, count: 1 };
    let parameter = if function == Over::PredictLinear { 10.0 } else { 0.5 };
    Some(fill(&call(function, grid, end, parameter, 0.5), &samples(values))[0]).filter(|value| is_present(*value))
}

#[test]
fn each_function_gives_its_number() {
    let nan = f64::NAN;
    for (case, function, values, want) in [
        ("rate", Over::Rate, &[1.0, 2.0, 3.0, 4.0][..], Some(1.0)),
        ("increase with reset", Over::Increase, &[0.0, 10.0, 5.0], Some(15.0)),
        ("increase stops at zero", Over::Increase, &[0.5, 1.5, 2.5], Some(2.5)),
        ("delta", Over::Delta, &[3.0, 2.0, 1.0], Some(-3.0)),
        ("rate of one", Over::Rate, &[1.0], None),
        ("irate", Over::Irate, &[1.0, 5.0, 3.0], Some(3.0)),
        ("idelta", Over::Idelta, &[1.0, 5.0, 3.0], Some(-2.0)),
        ("changes", Over::Changes, &[1.0, 1.0, nan, nan, 2.0], Some(2.0)),
        ("resets", Over::Resets, &[1.0, 0.0, 3.0, 2.0], Some(2.0)),
        ("avg", Over::Avg, &[1.0, 2.0, 6.0], Some(3.0)),
        ("sum", Over::Sum, &[1.0, 2.0, 6.0], Some(9.0)),
        ("count", Over::Count, &[1.0, nan], Some(2.0)),
        ("present", Over::Present, &[nan], Some(1.0)),
        ("min passes over NaN", Over::Min, &[nan, 2.0, 1.0], Some(1.0)),
        ("max passes over NaN", Over::Max, &[nan, 2.0, 1.0], Some(2.0)),
        ("first", Over::First, &[7.0, 8.0], Some(7.0)),
        ("last", Over::Last, &[7.0, 8.0], Some(8.0)),
        ("time of first", Over::TimeOfFirst, &[7.0, 8.0], Some(1.0)),
        ("time of last", Over::TimeOfLast, &[7.0, 8.0], Some(2.0)),
        ("time of max", Over::TimeOfMax, &[1.0, 9.0, 9.0, 2.0], Some(3.0)),
        ("time of min", Over::TimeOfMin, &[5.0, 1.0, 9.0], Some(2.0)),
        ("variance", Over::Stdvar, &[1.0, 3.0, 5.0, 7.0], Some(5.0)),
        ("deviation", Over::Stddev, &[2.0, 4.0], Some(1.0)),
        ("median", Over::Quantile, &[1.0, 9.0, 2.0], Some(2.0)),
        ("mad", Over::Mad, &[1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0], Some(1.0)),
        ("deriv", Over::Deriv, &[1.0, 3.0, 5.0], Some(2.0)),
        ("deriv of a constant", Over::Deriv, &[4.0, 4.0], Some(0.0)),
        ("predict_linear", Over::PredictLinear, &[1.0, 3.0, 5.0], Some(25.0)),
        ("smoothing", Over::Smoothing, &[0.0, 10.0, 20.0, 30.0], Some(30.0)),
        ("nothing", Over::Avg, &[], None),
    ] {
        assert_eq!(over(function, values), want, "{case}");
    }
}

/// Each window by itself.
fn naive(function: Over, values: &[f64], grid: Grid, range: i64) -> Vec<f64> {
    let all = samples(values);
    let value = |end: i64| {
        let inside: Vec<f64> = all
            .iter()
            .filter(|sample| end - range < sample.at.0 && sample.at.0 <= end)
            .map(|sample| sample.value)
            .collect();
        let (first, pairs) = (*inside.first()?, inside.iter().zip(inside.iter().skip(1)));
        Some(match function {
            Over::Sum => inside
                .iter()
                .fold(math::Sum::default(), |mut sum, value| {
                    sum.add(*value);
                    sum
                })
                .total(),
            Over::Avg => inside.iter().sum::<f64>() / inside.len() as f64,
            Over::Min => inside.iter().copied().fold(first, math::lesser),
            Over::Max => inside.iter().copied().fold(first, math::greater),
            Over::Changes => pairs.filter(|(a, b)| a != b).count() as f64,
            Over::Resets => pairs.filter(|(a, b)| b < a).count() as f64,
            _ => inside.len() as f64,
        })
    };
    grid.times().map(|end| value(end).unwrap_or(ABSENT)).collect()
}

proptest! {
    #[test]
    fn sliding_gives_what_each_window_gives_by_itself(
        values in proptest::collection::vec((-1000_i32..1000).prop_map(f64::from), 0..200),
        start in -50_000_i64..100_000,
        step in 1_i64..20_000,
        count in 1_usize..60,
        range in 1_i64..120_000,
    ) {
        let grid = Grid { start, step, count };
        for function in [Over::Sum, Over::Avg, Over::Min, Over::Max, Over::Changes, Over::Resets, Over::Count] {
            let got = fill(&call(function, grid, range, 0.0, 0.0), &samples(&values));
            let want = naive(function, &values, grid, range);
            for (got, want) in got.iter().zip(&want) {
                let same = got.to_bits() == want.to_bits() || (got - want).abs() <= 1e-12 * want.abs();
                prop_assert!(same, "{:?}: {} instead of {}", function, got, want);
            }
        }
    }

    #[test]
    fn rates_do_not_depend_on_the_windows_before(
        values in proptest::collection::vec((0_i32..50).prop_map(f64::from), 0..100),
        step in 1_i64..20_000,
        range in 1_i64..60_000,
    ) {
        let all = samples(&values);
        let grid = Grid { start: 0, step, count: 40 };
        for function in [Over::Rate, Over::Increase, Over::Delta] {
            let together = fill(&call(function, grid, range, 0.0, 0.0), &all);
            for (end, together) in grid.times().zip(together) {
                let one = Grid { start: end, step: 1, count: 1 };
                let alone = fill(&call(function, one, range, 0.0, 0.0), &all)[0];
                prop_assert_eq!(alone.to_bits(), together.to_bits(), "{:?} at {}", function, end);
            }
        }
    }
}
