use std::sync::Arc;

use proptest::prelude::*;
use signal::{BucketSpan, Buckets, Histogram, HistogramSample, Sample, Timestamp};

use super::*;
use crate::promql::annotations::Annotation;

fn h(text: &str) -> Histogram {
    from_notation(text).unwrap()
}

fn samples(list: &[&str]) -> Vec<HistogramSample> {
    let at = |index: usize| Timestamp(60_000 * i64::try_from(index).unwrap());
    let one = |(index, text): (usize, &&str)| HistogramSample { at: at(index), histogram: Arc::new(h(text)) };
    list.iter().enumerate().map(one).collect()
}

#[test]
fn bounds_are_those_of_the_schema() {
    for (schema, index, want) in [
        (0, 0, 1.0),
        (0, 1, 2.0),
        (0, -1, 0.5),
        (1, -1, 0.707_106_781_186_547_5),
        (-1, 1, 4.0),
        (-4, 1, 65_536.0),
        (8, 256, 2.0),
        (2, 3, 1.681_792_830_507_428_8),
        (0, 1023, f64::powi(2.0, 1023)),
        (0, 1024, f64::MAX),
        (0, 1025, f64::INFINITY),
        (3, 8192, f64::MAX),
        (3, 8193, f64::INFINITY),
        (-2, 256, f64::MAX),
        (0, -1074, 5e-324),
        (0, -1075, 0.0),
        (8, i64::MAX, f64::INFINITY),
    ] {
        let histogram = Histogram { schema, ..Histogram::default() };
        assert_eq!(upper_bound(&histogram, index), want, "schema {schema}, bucket {index}");
    }
    let custom = h("{{schema:-53 custom_values:[5 10]}}");
    let bounds: Vec<f64> = (-1..=3).map(|index| upper_bound(&custom, index)).collect();
    assert_eq!(bounds, [f64::NEG_INFINITY, 5.0, 10.0, f64::INFINITY, f64::INFINITY]);
}

#[test]
fn buckets_come_from_low_to_high() {
    let text = |histogram: &Histogram| {
        let one = |b: Bucket| {
            let (open, close) = (if b.has_lower { '[' } else { '(' }, if b.has_upper { ']' } else { ')' });
            format!("{open}{},{}{close}:{}", b.lower, b.upper, b.count)
        };
        buckets(histogram).into_iter().map(one).collect::<Vec<_>>().join(" ")
    };
    for (case, histogram, want) in [
        (
            "all three parts",
            "{{z_bucket:2 z_bucket_w:0.001 buckets:[1 2] n_buckets:[3 4]}}",
            "[-2,-1):4 [-1,-0.5):3 [-0.001,0.001]:2 (0.5,1]:1 (1,2]:2",
        ),
        ("overlapping the zero bucket", "{{z_bucket:1 z_bucket_w:0.7 buckets:[1]}}", "[-0.7,0.7]:1 (0.7,1]:1"),
        ("custom", "{{schema:-53 custom_values:[5 10] buckets:[1 2 3]}}", "[-inf,5]:1 (5,10]:2 (10,inf]:3"),
        ("empty", "{{}}", ""),
    ] {
        assert_eq!(text(&h(histogram)), want, "{case}");
    }
}

#[test]
fn sums_and_differences() {
    for (case, left, right, sum, difference) in [
        (
            "same layout",
            "{{count:3 sum:4 buckets:[1 2]}}",
            "{{count:4 sum:1 buckets:[3 1]}}",
            "{{count:7 sum:5 buckets:[4 3]}}",
            "{{count:-1 sum:3 buckets:[-2 1]}}",
        ),
        (
            "gaps and overlaps",
            "{{count:3 offset:1 buckets:[1 0 2] n_buckets:[1]}}",
            "{{count:6 offset:-1 buckets:[3 0 1 1 0 1] n_offset:2 n_buckets:[5]}}",
            "{{count:9 offset:-1 buckets:[3 0 2 1 2 1] n_buckets:[1 0 5]}}",
            "{{count:-3 offset:-1 buckets:[-3 0 0 -1 2 -1] n_buckets:[1 0 -5]}}",
        ),
        (
            "other resolution",
            "{{count:3 buckets:[1 2]}}",
            "{{schema:1 count:6 buckets:[1 2 3]}}",
            "{{count:9 buckets:[2 7]}}",
            "{{count:-3 offset:1 buckets:[-3]}}",
        ),
        (
            "wider zero bucket",
            "{{count:6 z_bucket:1 z_bucket_w:0.25 offset:-1 buckets:[2 3]}}",
            "{{count:3 z_bucket:2 z_bucket_w:1 buckets:[0 1]}}",
            "{{count:9 z_bucket:8 z_bucket_w:1 offset:1 buckets:[1]}}",
            "{{count:3 z_bucket:4 z_bucket_w:1 offset:1 buckets:[-1]}}",
        ),
        (
            "zero bucket inside a filled bucket",
            "{{count:3 z_bucket:1 z_bucket_w:0.6 offset:1 buckets:[2]}}",
            "{{count:3 z_bucket:1 z_bucket_w:0.1 buckets:[2]}}",
            "{{count:6 z_bucket:4 z_bucket_w:1 offset:1 buckets:[2]}}",
            "{{z_bucket:-2 z_bucket_w:1 offset:1 buckets:[2]}}",
        ),
        (
            "custom",
            "{{schema:-53 count:3 custom_values:[2 3] buckets:[1 2]}}",
            "{{schema:-53 count:1 custom_values:[2 3] offset:2 buckets:[1]}}",
            "{{schema:-53 count:4 custom_values:[2 3] buckets:[1 2 1]}}",
            "{{schema:-53 count:2 custom_values:[2 3] buckets:[1 2 -1]}}",
        ),
    ] {
        let mut got = h(left);
        add(&mut got, &h(right)).unwrap();
        assert_eq!(to_notation(&got), sum, "{case}");
        let mut got = h(left);
        subtract(&mut got, &h(right)).unwrap();
        assert_eq!(to_notation(&got), difference, "{case}, subtracted");
    }
    for (left, right, want) in [
        ("{{}}", "{{schema:-53 custom_values:[2]}}", Mismatch::Schema),
        ("{{schema:-53 custom_values:[2]}}", "{{schema:-53 custom_values:[3]}}", Mismatch::Bounds),
    ] {
        assert_eq!(add(&mut h(left), &h(right)), Err(want));
        assert_eq!(subtract(&mut h(left), &h(right)), Err(want));
    }
}

#[test]
fn reset_hints_survive_addition_only_when_they_agree() {
    for (left, right, want) in [
        ("reset", "reset", "reset"),
        ("reset", "not_reset", "unknown"),
        ("gauge", "reset", "gauge"),
        ("not_reset", "gauge", "gauge"),
        ("unknown", "not_reset", "unknown"),
    ] {
        let hinted = |hint: &str| h(&format!("{{{{counter_reset_hint:{hint}}}}}"));
        let mut sum = hinted(left);
        add(&mut sum, &hinted(right)).unwrap();
        assert_eq!(sum.reset_hint, hinted(want).reset_hint, "{left} + {right}");
    }
}

#[test]
fn scaling_and_compacting() {
    let mut scaled = h("{{count:3 sum:6 z_bucket:1 buckets:[2]}}");
    multiply(&mut scaled, 2.0);
    assert_eq!(to_notation(&scaled), "{{count:6 sum:12 z_bucket:2 buckets:[4]}}");
    divide(&mut scaled, -2.0);
    assert_eq!(to_notation(&scaled), "{{count:-3 sum:-6 z_bucket:-1 buckets:[-2]}}");
    divide(&mut scaled, 0.0);
    assert_eq!(to_notation(&scaled), "{{count:-Inf sum:-Inf z_bucket:-Inf}}");

    let mut holes = h("{{buckets:[0 0 1 0 0 2 0]}}");
    compact(&mut holes);
    let spans = vec![BucketSpan { offset: 2, length: 1 }, BucketSpan { offset: 2, length: 1 }];
    assert_eq!(holes.positive, Buckets { spans, counts: vec![1.0, 2.0] });
}

#[test]
fn equality_looks_at_buckets_and_not_at_spans() {
    let whole = h("{{count:3 buckets:[1 2]}}");
    let mut cut = whole.clone();
    cut.positive.spans =
        [0, 0, 0].into_iter().zip([1, 0, 1]).map(|(offset, length)| BucketSpan { offset, length }).collect();
    assert!(equal(&whole, &cut));
    for other in
        ["{{count:3 buckets:[1 2 0]}}", "{{count:3 offset:1 buckets:[1 2]}}", "{{count:3 sum:1 buckets:[1 2]}}"]
    {
        assert!(!equal(&whole, &h(other)), "{other}");
    }
    assert!(equal(&h("{{sum:NaN}}"), &h("{{sum:NaN}}")));
}

#[test]
fn resets_show_in_any_bucket() {
    for (case, before, after, want) in [
        ("growth", "{{count:3 buckets:[1 2]}}", "{{count:5 buckets:[2 3]}}", false),
        ("fewer observations", "{{count:3 buckets:[1 2]}}", "{{count:2 buckets:[1 1]}}", true),
        ("one bucket fell", "{{count:3 buckets:[1 2]}}", "{{count:4 buckets:[3 1]}}", true),
        ("one bucket went", "{{count:3 buckets:[1 2]}}", "{{count:4 buckets:[4]}}", true),
        ("an empty bucket went", "{{count:1 buckets:[1 0]}}", "{{count:4 buckets:[4]}}", false),
        ("a bucket below came", "{{count:1 offset:1 buckets:[1]}}", "{{count:4 buckets:[3 1]}}", false),
        ("lower resolution", "{{schema:1 count:3 buckets:[1 1 1]}}", "{{count:3 buckets:[1 2]}}", false),
        ("higher resolution", "{{count:3 buckets:[1 2]}}", "{{schema:1 count:3 buckets:[1 1 1]}}", true),
        ("hint says so", "{{count:1}}", "{{count:2 counter_reset_hint:reset}}", true),
        ("hint says no", "{{count:2}}", "{{count:1 counter_reset_hint:not_reset}}", false),
        ("gauges are compared", "{{count:2}}", "{{count:1 counter_reset_hint:gauge}}", true),
        (
            "zero bucket grew over buckets",
            "{{count:2 buckets:[1 1]}}",
            "{{count:2 z_bucket:1 z_bucket_w:1 offset:1 buckets:[1]}}",
            false,
        ),
        ("zero bucket lost", "{{count:2 buckets:[1 1]}}", "{{count:2 z_bucket_w:1 offset:1 buckets:[2]}}", true),
        ("zero bucket ends in a filled one", "{{count:1 buckets:[1]}}", "{{count:2 z_bucket:2 z_bucket_w:0.7}}", true),
        ("zero bucket shrank", "{{z_bucket_w:1}}", "{{z_bucket_w:0.5}}", true),
        ("other custom bounds", "{{schema:-53 custom_values:[1]}}", "{{schema:-53 custom_values:[2]}}", true),
        ("became custom", "{{}}", "{{schema:-53 custom_values:[2]}}", true),
        (
            "custom grew",
            "{{schema:-53 count:1 custom_values:[2] buckets:[1]}}",
            "{{schema:-53 count:2 custom_values:[2] buckets:[1 1]}}",
            false,
        ),
    ] {
        assert_eq!(is_reset(&h(after), &h(before)), want, "{case}");
    }
}

#[test]
fn quantiles_and_fractions() {
    let close = |a: f64, b: f64| (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() < 1e-9 * b.abs().max(1.0);
    for (histogram, q, want) in [
        ("{{count:5 sum:4 buckets:[0 5]}}", 0.5, 2.0_f64.sqrt()),
        ("{{count:5 sum:4 n_buckets:[0 5]}}", 0.5, -(2.0_f64.sqrt())),
        ("{{count:12 z_bucket:2 z_bucket_w:0.001 buckets:[2 3 0 1 4]}}", 1.0 / 12.0, 0.0005),
        ("{{count:12 z_bucket:2 z_bucket_w:0.001 n_buckets:[2 3 0 1 4]}}", 11.0 / 12.0, -0.0005),
        ("{{count:4 schema:-53 custom_values:[5 10] buckets:[1 2 1]}}", 0.5, 7.5),
        ("{{count:4 schema:-53 custom_values:[5 10] buckets:[1 2 1]}}", 0.99, 10.0),
        ("{{count:4 schema:-53 custom_values:[-5 10] buckets:[4]}}", 0.5, -5.0),
        ("{{count:4 buckets:[4]}}", 0.0, 0.5),
        ("{{count:4 buckets:[4]}}", 1.0, 1.0),
        ("{{count:4 buckets:[4]}}", -0.1, f64::NEG_INFINITY),
        ("{{count:4 buckets:[4]}}", 1.1, f64::INFINITY),
        ("{{count:4 buckets:[4]}}", f64::NAN, f64::NAN),
        ("{{}}", 0.5, f64::NAN),
    ] {
        let (got, note) = quantile(q, &h(histogram), "m");
        assert!(close(got, want), "{q} of {histogram} is {got}");
        assert_eq!(note, None, "{q} of {histogram}");
    }
    let nan = h("{{count:15 sum:NaN buckets:[12]}}");
    let (value, note) = quantile(0.81, &nan, "m");
    assert!(value.is_nan());
    assert_eq!(note, Some(Annotation::quantile_nan_result("m")));
    assert_eq!(quantile(0.8, &nan, "m"), (1.0, Some(Annotation::quantile_nan_skew("m"))));
    assert_eq!(fraction(f64::NEG_INFINITY, f64::INFINITY, &nan, "m"), (0.8, Some(Annotation::fraction_nan("m"))));
    let infinite = h("{{count:2 sum:NaN buckets:[2]}}");
    assert_eq!(quantile(1.0, &infinite, "m"), (1.0, None));

    let positive = h("{{count:12 sum:100 z_bucket:2 z_bucket_w:0.001 buckets:[2 3 0 1 4]}}");
    let inf = f64::INFINITY;
    for (lower, upper, want) in [
        (0.0, inf, 1.0),
        (-inf, 0.0, 0.0),
        (0.0, 0.0005, 1.0 / 12.0),
        (1.0, 2.0, 0.25),
        (1.5, 2.0, 0.103_759_374_819_710_91),
        (0.0, 6.0, 0.632_080_208_393_429_7),
        (42.0, 3.0, 0.0),
        (f64::NAN, 3.0, f64::NAN),
        (-inf, inf, 1.0),
    ] {
        let (got, note) = fraction(lower, upper, &positive, "m");
        assert!(close(got, want), "{lower} to {upper} is {got}");
        assert_eq!(note, None);
    }
    let custom = h("{{schema:-53 count:4 custom_values:[5 10] buckets:[1 2 1]}}");
    for (lower, upper, want) in [(5.0, 10.0, 0.5), (0.0, 5.0, 0.25), (-inf, 5.0, 0.25), (7.5, inf, 0.5)] {
        assert_eq!(fraction(lower, upper, &custom, "m").0, want, "{lower} to {upper}");
    }
}

#[test]
fn means_and_variances() {
    let histogram = h("{{schema:2 count:4 sum:10 buckets:[1 0 0 0 1 0 0 1 1]}}");
    assert_eq!(mean(&histogram), 2.5);
    assert!((variance(&histogram) - 1.163_807_968_526_718).abs() < 1e-12);
    let custom = h("{{schema:-53 count:110 sum:330 custom_values:[0 0.1 0.2 1] offset:1 buckets:[50 20 40]}}");
    assert!((variance(&custom) - 7.527_045_454_545_455).abs() < 1e-12);
}

#[test]
fn changes_over_time() {
    const NONE: &[fn(&str) -> Annotation] = &[];
    let window = (Timestamp(-60_000), Timestamp(120_000));
    for (case, kind, list, want, notes) in [
        (
            "growth",
            Change::Increase,
            &["{{count:1 buckets:[1]}}", "{{count:2 buckets:[2]}}", "{{count:3 buckets:[3]}}"][..],
            Some("{{count:3 counter_reset_hint:gauge buckets:[3]}}"),
            NONE,
        ),
        (
            "per second",
            Change::Rate,
            &["{{count:0}}", "{{count:0}}", "{{count:120 buckets:[120]}}"],
            Some("{{count:1 counter_reset_hint:gauge buckets:[1]}}"),
            NONE,
        ),
        (
            "reset in one bucket",
            Change::Increase,
            &["{{count:4 buckets:[1 2 1]}}", "{{count:5 buckets:[1 1 3]}}", "{{count:6 buckets:[1 2 3]}}"],
            Some("{{count:9 counter_reset_hint:gauge buckets:[1.5 3 4.5]}}"),
            NONE,
        ),
        (
            "a foreign first sample counts for nothing after a reset",
            Change::Increase,
            &["{{schema:-53 count:1 custom_values:[2]}}", "{{count:2 buckets:[2]}}", "{{count:4 buckets:[4]}}"],
            Some("{{count:6 counter_reset_hint:gauge buckets:[6]}}"),
            NONE,
        ),
        (
            "a gauge under rate",
            Change::Increase,
            &["{{count:1 counter_reset_hint:gauge}}", "{{count:1}}", "{{count:3}}"],
            Some("{{count:3 counter_reset_hint:gauge}}"),
            &[Annotation::histogram_not_counter],
        ),
        (
            "a counter under delta",
            Change::Delta,
            &["{{count:3}}", "{{count:9}}", "{{count:1}}"],
            Some("{{count:-3 counter_reset_hint:gauge}}"),
            &[Annotation::histogram_not_gauge],
        ),
        (
            "kinds of buckets mixed",
            Change::Increase,
            &["{{count:1}}", "{{count:2}}", "{{schema:-53 count:3 custom_values:[2]}}"],
            None,
            &[Annotation::mixed_exponential_custom],
        ),
        (
            "bounds mixed",
            Change::Increase,
            &[
                "{{schema:-53 custom_values:[2]}}",
                "{{schema:-53 custom_values:[2]}}",
                "{{schema:-53 custom_values:[3]}}",
            ],
            None,
            &[Annotation::incompatible_custom_buckets],
        ),
        ("one sample", Change::Increase, &["{{count:1}}"], None, NONE),
    ] {
        let mut said = Vec::new();
        let got = change(kind, &samples(list), window, "m", &mut said);
        assert_eq!(got.as_ref().map(to_notation).as_deref(), want, "{case}");
        assert_eq!(said, notes.iter().map(|note| note("m")).collect::<Vec<_>>(), "{case}");
    }
}

#[test]
fn instant_changes() {
    let list = samples(&["{{count:60 buckets:[60]}}", "{{count:180 buckets:[180]}}"]);
    let ask = |is_rate| {
        let mut said = Vec::new();
        let got = instant_change(is_rate, &list[0], &list[1], "m", &mut said);
        (got.as_ref().map(to_notation).unwrap(), said)
    };
    assert_eq!(ask(true), ("{{count:2 counter_reset_hint:gauge buckets:[2]}}".to_owned(), vec![]));
    let delta = "{{count:120 counter_reset_hint:gauge buckets:[120]}}".to_owned();
    assert_eq!(ask(false), (delta, vec![Annotation::histogram_not_gauge("m")]));
}

#[test]
fn totals_and_averages() {
    let list = [h("{{count:3 sum:3 buckets:[1 2]}}"), h("{{count:1 sum:5 buckets:[1]}}")];
    let text = |got: Result<Option<Histogram>, Mismatch>| got.map(|got| got.as_ref().map(to_notation));
    assert_eq!(text(total(&list)), Ok(Some("{{count:4 sum:8 buckets:[2 2]}}".to_owned())));
    assert_eq!(text(average(&list)), Ok(Some("{{count:2 sum:4 buckets:[1 1]}}".to_owned())));
    assert_eq!(text(total(&[])), Ok(None));
    let custom = h("{{schema:-53 custom_values:[2]}}");
    assert_eq!(total([&list[0], &custom]), Err(Mismatch::Schema));
    assert_eq!(average([&custom, &list[0]]), Err(Mismatch::Schema));
}

#[test]
fn changes_of_kind_count() {
    let floats = [(30_000, 1.0), (150_000, 1.0), (160_000, 0.5)].map(|(at, value)| Sample { at: Timestamp(at), value });
    let histograms = samples(&["{{count:2}}", "{{count:1}}", "{{count:1}}"]);
    // histogram, float, histogram, histogram, float, lower float
    assert_eq!(resets(&floats, &histograms), 4.0);
    assert_eq!(changes(&floats, &histograms), 4.0);
    assert_eq!(resets(&[], &histograms), 1.0);
    assert_eq!(changes(&floats, &[]), 1.0);
}

#[test]
fn what_cannot_be_is_refused() {
    let spans = |mut histogram: Histogram| {
        histogram.positive.spans = vec![BucketSpan { offset: 0, length: 7 }];
        histogram
    };
    for (case, histogram, want) in [
        ("fine", h("{{schema:3 count:3 buckets:[1 2]}}"), None),
        ("fine custom", h("{{schema:-53 custom_values:[1 2] buckets:[1 2 3]}}"), None),
        ("schema", h("{{schema:9}}"), Some("histogram has schema 9, but only -4 to 8 and -53 exist")),
        ("negative", h("{{buckets:[-1]}}"), Some("positive is -1, but a count cannot be negative")),
        ("spans", spans(h("{{buckets:[1]}}")), Some("positive side has 1 buckets, but its spans need 7")),
        (
            "bounds",
            h("{{schema:-53 custom_values:[2 1]}}"),
            Some("custom bounds have to be finite and ascending, but 1 is not"),
        ),
        (
            "far",
            h("{{schema:-53 custom_values:[2] buckets:[1 2 3]}}"),
            Some("bucket 2 lies behind the last of 1 custom bounds"),
        ),
        ("zero", h("{{schema:-53 z_bucket:1}}"), Some("histogram with custom buckets and a zero bucket")),
        ("foreign", h("{{custom_values:[1]}}"), Some("histogram with an exponential schema and custom bounds")),
    ] {
        assert_eq!(validate(&histogram).err().map(|error| error.to_string()).as_deref(), want, "{case}");
    }
}

#[test]
fn notation_errors_name_the_key() {
    for (text, want) in [
        ("{count:1}", "bad histogram \"{count:1}\": it has to stand in double braces"),
        ("{{count}}", "bad histogram \"{{count}}\": no value after \"count\""),
        ("{{count:x}}", "bad histogram \"{{count:x}}\": count is \"x\", which is no number"),
        ("{{buckets:[1}}", "bad histogram \"{{buckets:[1}}\": the list of \"buckets\" does not end"),
        ("{{foo:1}}", "bad histogram \"{{foo:1}}\": unknown key \"foo\""),
        ("{{sum:1 sum:2}}", "bad histogram \"{{sum:1 sum:2}}\": duplicate key \"sum\""),
    ] {
        assert_eq!(from_notation(text).unwrap_err().to_string(), want);
    }
}

prop_compose! {
    /// Broken ones too: spans and counts need not fit.
    fn any_histogram()(
        schema in prop::sample::select(vec![-53, -4, -1, 0, 1, 3, 8, 100, i32::MIN]),
        zero_threshold in prop::sample::select(vec![0.0, 0.001, 0.6, 4.0, f64::INFINITY, f64::NAN, -1.0]),
        zero_count in 0.0..5.0_f64,
        count in -1.0..50.0_f64,
        sides in prop::array::uniform2((
            prop::collection::vec((prop_oneof![-5..5_i32, any::<i32>()], 0..4_u32), 0..4),
            prop::collection::vec(prop::sample::select(vec![0.0, 1.0, 2.5, f64::NAN, -1.0]), 0..8),
        )),
        custom in prop::collection::vec(-3.0..3.0_f64, 0..3),
    ) -> Histogram {
        let [positive, negative] = sides.map(|(spans, counts)| Buckets {
            spans: spans.into_iter().map(|(offset, length)| BucketSpan { offset, length }).collect(),
            counts,
        });
        let custom_values = custom.into();
        Histogram { schema, zero_threshold, zero_count, count, positive, negative, custom_values, ..Histogram::default() }
    }
}

prop_compose! {
    fn sound_histogram()(
        schema in 0..3_i32,
        zero_threshold in prop::sample::select(vec![0.0, 0.001, 0.6, 4.0]),
        zero_count in 0..5_u8,
        positive in prop::collection::vec(0..4_u8, 0..6),
        negative in prop::collection::vec(0..4_u8, 0..6),
        offset in -3..3_i32,
    ) -> Histogram {
        // The zero bucket covers no other.
        let bound = |index| upper_bound(&Histogram { schema, ..Histogram::default() }, i64::from(index));
        let first = (offset..).find(|index| bound(*index) > zero_threshold).unwrap();
        let side = |counts: Vec<u8>| Buckets {
            spans: vec![BucketSpan { offset: first, length: u32::try_from(counts.len()).unwrap() }],
            counts: counts.into_iter().map(f64::from).collect(),
        };
        let (positive, negative) = (side(positive), side(negative));
        let count = f64::from(zero_count) + positive.counts.iter().sum::<f64>() + negative.counts.iter().sum::<f64>();
        let zero_count = f64::from(zero_count);
        Histogram { schema, zero_threshold, zero_count, count, sum: count, positive, negative, ..Histogram::default() }
    }
}

proptest! {
    #[test]
    fn nothing_panics_or_hangs(a in any_histogram(), b in any_histogram(), q in -0.5..1.5_f64) {
        let _ = (buckets(&a), is_reset(&a, &b), equal(&a, &b), validate(&a), variance(&a), to_notation(&b));
        let _ = (quantile(q, &a, ""), fraction(q, q + 1.0, &a, ""), with_schema(&a, b.schema));
        let mut sum = a;
        let _ = (add(&mut sum, &b), subtract(&mut sum, &b));
        compact(&mut sum);
    }

    #[test]
    fn no_observation_is_lost_in_a_sum(a in sound_histogram(), b in sound_histogram()) {
        // Otherwise a widened zero bucket may end inside a merged bucket, which then counts twice, upstream as well.
        if a.schema != b.schema && a.zero_threshold != b.zero_threshold {
            return Ok(());
        }
        let mut sum = a.clone();
        add(&mut sum, &b).unwrap();
        let counted = |h: &Histogram| buckets(h).iter().map(|bucket| bucket.count).sum::<f64>();
        prop_assert_eq!(counted(&sum), a.count + b.count);
        prop_assert!(validate(&sum).is_ok());
        prop_assert!(!is_reset(&sum, &a), "adding is growing");
        let mut back = sum.clone();
        subtract(&mut back, &b).unwrap();
        compact(&mut back);
        prop_assert_eq!(counted(&back) + back.zero_count.min(0.0), a.count);
    }

    #[test]
    fn quantile_and_fraction_are_inverse(a in sound_histogram(), q in 0.01..0.99_f64) {
        prop_assume!(a.count > 0.0);
        let (value, _) = quantile(q, &a, "");
        let (share, _) = fraction(f64::NEG_INFINITY, value, &a, "");
        // A quantile on the edge of empty buckets is worth the observations below them.
        let filled = buckets(&a).iter().any(|bucket| bucket.count > 0.0 && bucket.lower < value && value < bucket.upper);
        prop_assert!(!filled || (share - q).abs() < 1e-9, "{q} is {value} is {share}");
    }

    #[test]
    fn notation_reads_back(a in sound_histogram()) {
        let read = from_notation(&to_notation(&a)).unwrap();
        prop_assert_eq!(to_notation(&read), to_notation(&a));
    }
}
