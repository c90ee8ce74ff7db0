use proptest::prelude::*;
use signal::{SeriesWrite, WriteBatch};
use store::Store;

use super::*;
use crate::promql::parse;
use crate::promql::parser::tests::expressions;

/// Ten series `m{n="…"}` with a sample each minute from 0 to 9 minutes, worth minutes times series.
fn snapshot() -> Snapshot {
    let mut batch = WriteBatch::default();
    for n in 0..10_i32 {
        let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("n", n.to_string())]);
        let samples = (0..10_i32)
            .map(|minute| Sample { at: Timestamp(i64::from(minute) * 60_000), value: f64::from(minute * n) });
        batch.series.push(SeriesWrite::new(labels, samples));
    }
    let store = Store::in_memory();
    store.append(&[batch]).unwrap();
    store.snapshot()
}

fn steps(start: i64, end: i64, seconds: u64) -> Steps {
    Steps { start: Timestamp(start), end: Timestamp(end), step: Duration::from_secs(seconds) }
}

fn ask(query: &str, settings: &Settings) -> Result<Answer, EvalError> {
    range(&parse(query).unwrap(), &snapshot(), steps(0, 540_000, 60), settings, &Cancel::default())
}

#[test]
fn too_many_samples_are_refused() {
    for (case, query, max_samples, fits) in [
        ("selector", "m", 200, true),
        ("selector", "m", 99, false),
        ("window", "sum_over_time(m[10m])", 110, true),
        ("window", "sum_over_time(m[10m])", 99, false),
        ("groups only", "sum(sum_over_time(m[10m]))", 30, true),
        ("groups only", "sum(sum_over_time(m[10m]))", 19, false),
        ("children are let go", "sum(m) + sum(m) + sum(m) + sum(m)", 260, true),
        ("subquery", "max_over_time(sum(m)[10m:1ms])", 10_000, false),
        ("endless subquery", "max_over_time(sum(m)[100y:1ms])", 50_000_000, false),
        ("scalars", "1 + 2 + time()", 9, false),
    ] {
        let got = ask(query, &Settings { max_samples, ..Settings::default() });
        match (fits, got) {
            (true, Ok(_)) | (false, Err(EvalError::TooManySamples)) => {}
            (_, other) => panic!("{case}: {other:?}"),
        }
    }
}

#[test]
fn a_canceled_query_stops() {
    let cancel = Cancel::default();
    cancel.cancel();
    let got = instant(&parse("m").unwrap(), &snapshot(), Timestamp(0), &Settings::default(), &cancel);
    assert_eq!(got, Err(EvalError::Canceled));
}

#[test]
fn range_queries_give_scalars_and_vectors_only() {
    for (query, found) in [("m[5m]", "range vector"), ("\"text\"", "string"), ("m[5m:1m]", "range vector")] {
        let message = ask(query, &Settings::default()).unwrap_err().to_string();
        let want = format!("invalid expression type \"{found}\" for range query, must be Scalar or instant Vector");
        assert_eq!(message, want, "{query}");
    }
}

#[test]
fn an_instant_query_may_show_raw_samples() {
    let expr = parse("m{n=\"2\"}[2m]").unwrap();
    let answer = instant(&expr, &snapshot(), Timestamp(180_000), &Settings::default(), &Cancel::default()).unwrap();
    let sample = |at: i64, value: f64| Sample { at: Timestamp(at), value };
    let labels = Labels::from_pairs([("__name__", "m"), ("n", "2")]);
    let series = Series { labels, samples: vec![sample(120_000, 4.0), sample(180_000, 6.0)], histograms: vec![] };
    let Value::Matrix(got) = answer.value else { panic!("no matrix") };
    assert_eq!(got.len(), 1);
    assert_eq!((&got[0].labels, &got[0].samples), (&series.labels, &series.samples));
}

#[test]
fn scalars_of_a_range_query_are_one_series_without_labels() {
    let answer = ask("time()", &Settings::default()).unwrap();
    let Value::Matrix(got) = answer.value else { panic!("no matrix") };
    assert_eq!(got.len(), 1);
    assert!(got[0].labels.is_empty());
    assert_eq!(got[0].samples.len(), 10);
}

#[test]
fn notes_name_the_place() {
    let answer = ask("sum(rate(m[5m])) +\n  quantile(2, m)", &Settings::default()).unwrap();
    let info =
        "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"m\" (1:10)";
    assert_eq!(answer.infos, [info]);
    assert_eq!(answer.warnings, ["PromQL warning: quantile value should be between 0 and 1, got 2 (2:12)"]);
}

#[test]
fn the_deepest_expressions_fit_the_stack() {
    let nested = |open: &str, middle: &str, close: &str, times: usize| {
        format!("{}{middle}{}", open.repeat(times), close.repeat(times))
    };
    for query in [
        nested("abs(", "m", ")", 99),
        nested("sum(", "m", ")", 99),
        nested("max_over_time(", "m", "[5m:1m])", 60),
        nested("(m+", "m", ")", 49),
        nested("", "m", "+m", 199),
    ] {
        let answer = ask(&query, &Settings::default());
        assert!(answer.is_ok(), "{query}: {answer:?}");
    }
}

#[test]
fn odd_times_do_not_overflow() {
    let (snapshot, settings, cancel) = (snapshot(), Settings::default(), Cancel::default());
    for query in ["m", "rate(m[5m] offset 100y)", "m offset -100y", "sum_over_time(m[5m:1m])", "m @ -1000000"] {
        for at in [Timestamp::MIN, Timestamp::MAX, Timestamp(-1), Timestamp(0)] {
            let expr = parse(query).unwrap();
            let _ = instant(&expr, &snapshot, at, &settings, &cancel);
            let _ = range(&expr, &snapshot, Steps { start: at, end: at, step: Duration::ZERO }, &settings, &cancel);
        }
    }
    let empty = range(&parse("m").unwrap(), &snapshot, steps(10, 0, 60), &settings, &cancel).unwrap();
    assert_eq!(empty.value, Value::Matrix(Vec::new()));
    let endless = Steps { start: Timestamp::MIN, end: Timestamp::MAX, step: Duration::from_millis(1) };
    assert_eq!(range(&parse("m").unwrap(), &snapshot, endless, &settings, &cancel), Err(EvalError::TooManySamples));
}

/// Values by labels, with every NaN alike.
fn values(found: impl Iterator<Item = (Labels, f64)>) -> Vec<(Labels, u64)> {
    let mut values: Vec<_> = found
        .map(|(labels, value)| (labels, if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }))
        .collect();
    values.sort();
    values
}

proptest! {
    #[test]
    fn each_step_of_a_range_is_an_instant(query in expressions()) {
        let (snapshot, settings, cancel) = (snapshot(), Settings::default(), Cancel::default());
        let Ok(expr) = parse(&query) else { return Ok(()) };
        let Ok(answer) = range(&expr, &snapshot, steps(120_000, 240_000, 60), &settings, &cancel) else {
            return Ok(());
        };
        let Value::Matrix(series) = answer.value else { panic!("{query}: no matrix") };
        for at in [120_000, 180_000, 240_000].map(Timestamp) {
            let sample = |series: &Series| {
                let sample = series.samples.iter().find(|sample| sample.at == at)?;
                Some((series.labels.clone(), sample.value))
            };
            let want = values(series.iter().filter_map(sample));
            let got = match instant(&expr, &snapshot, at, &settings, &cancel) {
                Ok(Answer { value: Value::Vector(samples), .. }) => {
                    values(samples.into_iter().map(|one| (one.labels, one.sample.value)))
                }
                Ok(Answer { value: Value::Scalar(sample), .. }) => {
                    values([(Labels::empty(), sample.value)].into_iter())
                }
                other => panic!("{query}: {other:?}"),
            };
            prop_assert_eq!(got, want, "{} at {}", query, at);
        }
    }
}

/// Six hundred series in three groups, some of them with native histograms or with gaps.
fn many() -> Snapshot {
    let mut batch = WriteBatch::default();
    for n in 0..600_i32 {
        let labels = [("__name__", "m_total".to_owned()), ("n", n.to_string()), ("group", (n % 3).to_string())];
        let mut write = SeriesWrite { labels: Labels::from_pairs(labels), ..SeriesWrite::default() };
        for minute in (0..10_i32).filter(|minute| (minute + n) % 7 != 0) {
            let at = Timestamp(i64::from(minute) * 60_000);
            if n % 50 == 49 {
                let (count, sum) = (f64::from(n + minute), f64::from(minute));
                let histogram = Arc::new(Histogram { count, sum, zero_count: count, ..Histogram::default() });
                write.histograms.push(signal::HistogramSample { at, histogram });
            } else {
                write.samples.push(Sample { at, value: f64::from(minute * n % 91) / 7.0 });
            }
        }
        batch.series.push(write);
    }
    let store = Store::in_memory();
    store.append(&[batch]).unwrap();
    store.snapshot()
}

#[test]
fn answers_do_not_depend_on_the_number_of_threads() {
    let snapshot = many();
    for query in [
        "m_total",
        "sum by (group) (rate(m_total{n!~\".*[49]9\"}[5m]))",
        "avg by (group) (m_total{n!~\".*[49]9\"})",
        "avg(increase(m_total{n!~\".*[49]9\"}[3m]))",
        "stddev by (group) (avg_over_time(m_total[4m]))",
        "quantile(0.9, m_total)",
        "topk by (group) (3, m_total)",
        "count(max_over_time(m_total[5m:30s]))",
        "m_total + on (n) m_total",
        "min without (n) (m_total) or max without (n) (m_total)",
    ] {
        let answers = [1, 2, 5].map(|threads| {
            // The store is small; cost alone would never ask for a second thread.
            let settings = Settings { threads, ..Settings::default() };
            let expr = parse(query).unwrap();
            range(&expr, &snapshot, steps(0, 540_000, 1), &settings, &Cancel::default()).unwrap()
        });
        let [first, others @ ..] = &answers;
        assert!(matches!(&first.value, Value::Matrix(series) if !series.is_empty()), "{query}");
        for other in others {
            assert_eq!(format!("{other:?}"), format!("{first:?}"), "{query}");
        }
    }
}

#[test]
fn native_histograms_go_through_every_kind_of_node() {
    let snapshot = many();
    for (query, value, histogram, notes) in [
        ("m_total{n=\"49\"}", None, Some((58.0, 9.0)), 0),
        ("sum(m_total{n=~\"49|99\"})", None, Some((166.0, 18.0)), 0),
        ("avg(m_total{n=~\"49|99\"})", None, Some((83.0, 9.0)), 0),
        ("sum(m_total{n=~\"48|49\"})", None, None, 1),
        ("count(m_total{n=~\"48|49\"})", Some(2.0), None, 0),
        ("max(m_total{n=~\"48|49\"})", Some(9.0 * 48.0 % 91.0 / 7.0), None, 1),
        ("histogram_count(m_total{n=\"49\"})", Some(58.0), None, 0),
        ("-m_total{n=\"49\"}", None, Some((-58.0, -9.0)), 0),
        ("m_total{n=\"49\"} * 2", None, Some((116.0, 18.0)), 0),
        ("m_total{n=\"49\"} + m_total{n=\"49\"}", None, Some((116.0, 18.0)), 0),
        ("m_total{n=\"49\"} > 1", None, None, 1),
        ("m_total{n=\"49\"} == m_total{n=\"49\"}", None, Some((58.0, 9.0)), 0),
        ("abs(m_total{n=\"49\"})", None, None, 0),
        ("last_over_time(m_total{n=\"49\"}[5m])", None, Some((58.0, 9.0)), 0),
        ("count_over_time(m_total{n=\"49\"}[5m])", Some(4.0), None, 0),
        ("label_replace(m_total{n=\"49\"}, \"x\", \"y\", \"\", \"\")", None, Some((58.0, 9.0)), 0),
        ("m_total{n=\"49\"} and m_total{n=\"49\"}", None, Some((58.0, 9.0)), 0),
        ("sort(m_total{n=\"49\"})", None, None, 0),
        ("limitk(1, m_total{n=\"49\"})", None, Some((58.0, 9.0)), 0),
        ("topk(1, m_total{n=\"49\"})", None, None, 1),
    ] {
        let expr = parse(query).unwrap();
        let at = Timestamp(540_000);
        let answer = instant(&expr, &snapshot, at, &Settings::default(), &Cancel::default()).unwrap();
        let Value::Vector(found) = &answer.value else { panic!("{query}: no vector") };
        let got = found.first().map(|one| match &one.histogram {
            Some(histogram) => (None, Some((histogram.count, histogram.sum))),
            None => (Some(one.sample.value), None),
        });
        assert_eq!(got.unwrap_or_default(), (value, histogram), "{query}");
        assert_eq!(answer.warnings.len() + answer.infos.len(), notes, "{query}: {answer:?}");
    }
}

#[test]
fn names_leave_at_once_or_at_the_end() {
    let snapshot = snapshot();
    for (query, delayed, want) in [
        ("label_replace(-m{n=\"1\"}, \"was\", \"$1\", \"__name__\", \"(.*)\")", false, "{n=\"1\"}"),
        ("label_replace(-m{n=\"1\"}, \"was\", \"$1\", \"__name__\", \"(.*)\")", true, "{n=\"1\", was=\"m\"}"),
        ("sum by (__name__) (m)", true, "m"),
        ("sum by (__name__) (rate(m[5m]))", true, "{}"),
        ("m{n=\"1\"} > bool 1", true, "{n=\"1\"}"),
        ("m{n=\"1\"} >= 1", true, "m{n=\"1\"}"),
    ] {
        let settings = Settings { delayed_name_removal: delayed, ..Settings::default() };
        let at = Timestamp(540_000);
        let answer = instant(&parse(query).unwrap(), &snapshot, at, &settings, &Cancel::default()).unwrap();
        let Value::Vector(found) = answer.value else { panic!("{query}: no vector") };
        assert_eq!(found[0].labels.to_string(), want, "{query}, delayed: {delayed}");
    }
}

#[test]
fn a_limit_on_series_names_how_many_there_are() {
    let settings = Settings { max_series: 9, ..Settings::default() };
    assert_eq!(ask("sum(m)", &settings), Err(EvalError::TooManySeries { found: 10, limit: 9 }));
    assert!(ask("sum(m{n=\"1\"})", &settings).is_ok());
}

#[test]
fn info_takes_labels_over_from_info_metrics() {
    let mut batch = WriteBatch::default();
    for (name, pairs) in [
        ("requests", vec![("instance", "a"), ("job", "x"), ("code", "200")]),
        ("requests", vec![("instance", "b"), ("job", "x"), ("code", "200")]),
        ("target_info", vec![("instance", "a"), ("job", "x"), ("version", "1"), ("region", "eu")]),
        ("build_info", vec![("instance", "a"), ("job", "x"), ("commit", "c0ffee")]),
    ] {
        let labels = Labels::from_pairs(pairs.into_iter().chain([("__name__", name)]));
        batch.series.push(SeriesWrite::new(labels, [Sample { at: Timestamp(0), value: 1.0 }]));
    }
    let store = Store::in_memory();
    store.append(&[batch]).unwrap();
    for (query, want) in [
        (
            "info(requests{instance=\"a\"})",
            &["requests{code=\"200\", instance=\"a\", job=\"x\", region=\"eu\", version=\"1\"}"][..],
        ),
        ("info(requests, {version=~\".+\"})", &["requests{code=\"200\", instance=\"a\", job=\"x\", version=\"1\"}"]),
        (
            "info(requests{instance=\"a\"}, {__name__=\"build_info\"})",
            &["requests{code=\"200\", commit=\"c0ffee\", instance=\"a\", job=\"x\"}"],
        ),
        ("info(requests{instance=\"b\"})", &["requests{code=\"200\", instance=\"b\", job=\"x\"}"]),
    ] {
        let expr = parse(query).unwrap();
        let answer = instant(&expr, &store.snapshot(), Timestamp(0), &Settings::default(), &Cancel::default()).unwrap();
        let Value::Vector(found) = answer.value else { panic!("{query}: no vector") };
        let got: Vec<String> = found.iter().map(|one| one.labels.to_string()).collect();
        assert_eq!(got, want, "{query}");
    }
}

#[test]
fn fill_values_stand_in_for_missing_partners() {
    for (query, want) in [
        ("m{n=~\"1|2\"} + ignoring (n) group_left () sum(m{n=\"1\"})", 2),
        ("m{n=~\"1|2\"} + on (n) m{n=~\"2|3\"}", 1),
        ("m{n=~\"1|2\"} + on (n) fill_right (0) m{n=~\"2|3\"}", 2),
        ("m{n=~\"1|2\"} + on (n) fill_left (0) m{n=~\"2|3\"}", 2),
        ("m{n=~\"1|2\"} + on (n) fill (0) m{n=~\"2|3\"}", 3),
        ("m{n=\"1\"} + on (n) fill (0) absent(m)", 1),
    ] {
        let answer = ask(query, &Settings::default()).unwrap();
        let Value::Matrix(found) = answer.value else { panic!("{query}: no matrix") };
        assert_eq!(found.len(), want, "{query}");
    }
}
