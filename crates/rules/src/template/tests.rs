use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use signal::{Labels, Sample, SeriesWrite, Timestamp};

use super::{Queries, Template, data};
use crate::ask::{Ask, Element, Reading};
use crate::group::Surroundings;
use crate::question::Language;
use crate::unit_test::bench::Bench;

/// What the texts expand to for `x{job="a",instance="i.dom:80"}` with `value`, in a world with `x` of two jobs.
fn expand(text: &str, value: f64) -> String {
    let mut bench = Bench::new(Duration::from_secs(60));
    let world = [("a", 1_234_567.891), ("b", 0.0123)].map(|(job, value)| {
        let labels = Labels::from_pairs([("__name__", "x"), ("job", job)]);
        SeriesWrite::new(labels, [Sample { at: Timestamp(60_000), value }])
    });
    bench.append(world.to_vec()).unwrap();
    let surroundings = Surroundings {
        external_labels: BTreeMap::from([("cluster".to_owned(), "eu".to_owned())]),
        external_url: "http://prom.example/p".to_owned(),
        ..Surroundings::default()
    };
    let labels = Labels::from_pairs([("__name__", "x"), ("job", "a"), ("instance", "i.dom:80")]);
    let element = Element { labels, reading: Reading::Number(value) };
    let mut queries = Queries::new(Timestamp(60_000), Language::Metrics, &surroundings);
    Template::new("Tpl", text).expand(&data(&element, &surroundings), &mut queries, &mut bench)
}

#[test]
fn texts_expand_as_promtool_expands_them() {
    for (text, want) in [
        ("plain", "plain"),
        ("{{ $value }} {{ .Value }}", "1.234567891e+06 1.234567891e+06"),
        (r#"{{ printf "%.3f" $value }}"#, "1234567.891"),
        ("a{{ $labels.nothing }}b", "ab"),
        (r#"[{{ .Labels.nothing }}][{{ index $labels "nothing" }}]"#, "[][]"),
        (r#"{{ if $labels.nothing }}T{{ else }}F{{ end }}{{ if eq $labels.nothing "" }}E{{ end }}"#, "FE"),
        (r#"{{ with query "sum(x)" }}{{ . | first | value }}{{ end }}"#, "1.2345679033000001e+06"),
        (
            r#"{{ range query "x" | sortByLabel "job" }}{{ .Labels.job }}={{ .Value }} {{ label "job" . }};{{ end }}"#,
            "a=1.234567891e+06 a;b=0.0123 b;",
        ),
        (r#"{{ (query "x{job=\"a\"}" | first).Labels.job }}"#, "a"),
        (r#"{{ range $k, $v := $labels }}{{ $k }}={{ $v }},{{ end }}"#, "__name__=x,instance=i.dom:80,job=a,"),
        ("{{ $externalLabels.cluster }} {{ .ExternalLabels.none }} {{ $externalURL }}", "eu  http://prom.example/p"),
        ("{{ externalURL }} {{ pathPrefix }}", "http://prom.example/p /p"),
        (r#"{{ graphLink "up{job=\"x\"} + 1" }}"#, "/graph?g0.expr=up%7Bjob%3D%22x%22%7D+%2B+1&g0.tab=0"),
        (r#"{{ tableLink "a b" }}"#, "/graph?g0.expr=a+b&g0.tab=1"),
        (
            r#"{{ reReplaceAll "(a+)" "<$1>" "baab" }} {{ match "a.c" "xabcx" }} {{ match "{" "a{" }}"#,
            "b<aa>b true true",
        ),
        (r#"{{ title "hello wORLD of x" }} {{ toUpper "aB" }} {{ "aB" | toLower }}"#, "Hello WORLD Of X AB ab"),
        (
            r#"{{ stripPort "host.example:9100" }} {{ stripPort "[::1]:90" }} {{ stripPort "::1" }}"#,
            "host.example ::1 ::1",
        ),
        (
            r#"{{ stripDomain "h.ex:9100" }} {{ stripDomain "10.0.0.1:9100" }} {{ stripDomain "a.b" }}"#,
            "h:9100 10.0.0.1:9100 a",
        ),
        (r#"{{ define "x" }}{{ .arg0 }}-{{ .arg1 }}{{ end }}{{ template "x" (args 1 "b") }}"#, "1-b"),
        (r#"{{ parseDuration "1h30m" }} {{ now }}"#, "5400 60"),
        ("{{ toTime $value }}", "1970-01-15 06:56:07.891 +0000 UTC"),
        (
            "{{ $labels }} {{ 1e6 }} {{ 1.5 }} {{ 100000.0 }}",
            "map[__name__:x instance:i.dom:80 job:a] 1e+06 1.5 100000",
        ),
        ("{{ 12345678.9 }} {{ 0.00001 }}", "1.23456789e+07 1e-05"),
        ("{{ if gt $value 2.0 }}big{{ else }}small{{ end }} {{ len $labels }}", "big 3"),
        (r#"{{ $value | printf "%.1f" }}"#, "1234567.9"),
        (r#"{{ printf "%v %s %d%% %5.1f|%-4s|" $value "a" 5 2.25 "b" }}"#, "1.234567891e+06 a 5%   2.2|b   |"),
        (
            r#"{{ $value | printf "%v" }} {{ print $value 1 "a" 2 }} {{ printf "%v" $labels }}"#,
            "1.234567891e+06 1.234567891e+06 1a2 map[__name__:x instance:i.dom:80 job:a]",
        ),
        (
            r#"{{ with query "absent_over_time(x[1s])" }}{{ end }}{{ $x := 1e9 }}{{ printf "%08.3f %e %g" 3.14159 $x $x }}"#,
            "0003.142 1.000000e+09 1e+09",
        ),
        (r#"{{ "0.5" | humanizePercentage }} {{ humanize "12345" }}"#, "50% 12.35k"),
        (r#"{{- "x" -}}  y"#, "xy"),
        (r#"{{ urlQueryEscape "a b&c" }} {{ safeHtml "<b>" }} {{ strvalue (query "x" | first) }}"#, "a+b%26c <b> "),
    ] {
        assert_eq!(expand(text, 1_234_567.891), want, "{text}");
    }
}

#[test]
fn numbers_are_written_as_promtool_writes_them() {
    let text = "{{ humanize $value }} {{ humanize1024 $value }} {{ humanizeDuration $value }} \
                {{ humanizePercentage $value }} {{ humanizeTimestamp $value }} {{ $value }}";
    for (value, want) in [
        (0.0, "0 0 0s 0% 1970-01-01 00:00:00 +0000 UTC 0"),
        (1.0, "1 1 1s 100% 1970-01-01 00:00:01 +0000 UTC 1"),
        (-1.0, "-1 -1 -1s -100% 1969-12-31 23:59:59 +0000 UTC -1"),
        (999.9, "999.9 999.9 16m 39s 9.999e+04% 1970-01-01 00:16:39.9 +0000 UTC 999.9"),
        (1000.0, "1k 1000 16m 40s 1e+05% 1970-01-01 00:16:40 +0000 UTC 1000"),
        (1024.0, "1.024k 1ki 17m 4s 1.024e+05% 1970-01-01 00:17:04 +0000 UTC 1024"),
        (123456.0, "123.5k 120.6ki 1d 10h 17m 36s 1.235e+07% 1970-01-02 10:17:36 +0000 UTC 123456"),
        (0.5, "500m 0.5 500ms 50% 1970-01-01 00:00:00.5 +0000 UTC 0.5"),
        (0.0001234, "123.4u 0.0001234 123.4us 0.01234% 1970-01-01 00:00:00 +0000 UTC 0.0001234"),
        (1e-7, "100n 1e-07 100ns 1e-05% 1970-01-01 00:00:00 +0000 UTC 1e-07"),
        (59.99, "59.99 59.99 59.99s 5999% 1970-01-01 00:00:59.99 +0000 UTC 59.99"),
        (60.0, "60 60 1m 0s 6000% 1970-01-01 00:01:00 +0000 UTC 60"),
        (3599.0, "3.599k 3.515ki 59m 59s 3.599e+05% 1970-01-01 00:59:59 +0000 UTC 3599"),
        (3600.0, "3.6k 3.516ki 1h 0m 0s 3.6e+05% 1970-01-01 01:00:00 +0000 UTC 3600"),
        (-90061.0, "-90.06k -87.95ki -1d 1h 1m 1s -9.006e+06% 1969-12-30 22:58:59 +0000 UTC -90061"),
        (-0.25, "-250m -0.25 -250ms -25% 1969-12-31 23:59:59.75 +0000 UTC -0.25"),
        (
            1435065584.128,
            "1.435G 1.337Gi 16609d 13h 19m 44s 1.435e+11% 2015-06-23 13:19:44.128 +0000 UTC 1.435065584128e+09",
        ),
        (0.99999, "1000m 1 1000ms 100% 1970-01-01 00:00:00.999 +0000 UTC 0.99999"),
        (9999.5, "9.999k 9.765ki 2h 46m 39s 1e+06% 1970-01-01 02:46:39.5 +0000 UTC 9999.5"),
        (999999.0, "1000k 976.6ki 11d 13h 46m 39s 1e+08% 1970-01-12 13:46:39 +0000 UTC 999999"),
        (f64::INFINITY, "+Inf +Inf +Inf +Inf% +Inf +Inf"),
        (f64::NEG_INFINITY, "-Inf -Inf -Inf -Inf% -Inf -Inf"),
        (f64::NAN, "NaN NaN NaN NaN% NaN NaN"),
        (1000000.0, "1M 976.6ki 11d 13h 46m 40s 1e+08% 1970-01-12 13:46:40 +0000 UTC 1e+06"),
        (12345678.0, "12.35M 11.77Mi 142d 21h 21m 18s 1.235e+09% 1970-05-23 21:21:18 +0000 UTC 1.2345678e+07"),
        (0.00001, "10u 1e-05 10us 0.001% 1970-01-01 00:00:00 +0000 UTC 1e-05"),
    ] {
        assert_eq!(expand(text, value), want, "{value}");
    }
}

#[test]
fn a_text_that_fails_says_so_in_place() {
    for (text, want) in [
        (r#"{{ query "sum(" }}"#, "error calling query: 1:5: parse error: unclosed left parenthesis"),
        (r#"{{ query "nothing" | first }}"#, "error calling first: first() called on vector with no elements"),
        ("{{ $labels.job.more }}", "can't evaluate field more in type string"),
        ("{{ .Nope }}", "can't evaluate field Nope in type struct"),
        ("{{ humanize $labels }}", "can't convert map to float"),
        (
            r#"{{ humanizeTimestamp 1e30 }}"#,
            "1e+30 cannot be represented as a nanoseconds timestamp since it overflows int64",
        ),
        (r#"{{ reReplaceAll "(" "" "a" }}"#, "error parsing regexp"),
        (r#"{{ printf "%1000000000d" 1 }}{{ range 100000000 }}x{{ end }}"#, "budget"),
    ] {
        let got = expand(text, 1.0);
        assert!(got.starts_with("<error expanding template: error executing template __alert_Tpl: "), "{text}: {got}");
        assert!(got.contains(want) && got.ends_with('>'), "{text}: {got}");
    }
}

#[test]
fn what_cannot_be_read_is_found_before_it_runs() {
    for (text, want) in [
        ("{{ if }}{{ end }}", "empty command"),
        ("{{ nothing $labels }}", "function \"nothing\" not defined"),
        ("{{ $unknown }}", "undefined variable"),
        ("{{ $labels.job", "unclosed action"),
        ("{{ tmpl \"x\" . }}", "function \"tmpl\" not defined"),
        ("{{ range $labels }}", "unexpected EOF"),
        ("{{ if true }}a{{ end }}{{ end }}", "unexpected {{end}}"),
        ("{{ if true }}{{ \"{{ end }}\" }}", "unexpected EOF"),
    ] {
        let error = Template::check("Tpl", text).expect_err(text);
        assert!(error.contains(want), "{text}: {error}");
        assert!(expand(text, 1.0).starts_with("<error expanding template: error parsing template __alert_Tpl: "));
    }
    let deep = "(".repeat(5000);
    assert!(Template::check("Tpl", &format!("{{{{ {deep}1 }}}}")).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_expansion_panic(text in "[{}()$.|\"a-z0-9 =:]{0,40}") {
        let _ = expand(&format!("{{{{{text}}}}}"), 1.5);
    }
}
