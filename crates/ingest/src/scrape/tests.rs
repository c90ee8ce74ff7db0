use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use signal::{Labels, Timestamp, WriteBatch, is_stale};

use super::*;
use crate::Limits;

fn check(json: &str) -> Result<ScrapeConfig, ScrapeConfigError> {
    check_with(json, &ScrapeGlobal::default())
}

fn check_with(json: &str, global: &ScrapeGlobal) -> Result<ScrapeConfig, ScrapeConfigError> {
    let file: ScrapeFile = serde_json::from_str(json).unwrap();
    let base = std::path::Path::new("/etc/a");
    file.check(Surroundings { interval: Duration::from_secs(15), timeout: Duration::from_secs(10), global, base })
}

fn config(json: &str) -> ScrapeConfig {
    check(json).unwrap()
}

const TEXT: Option<&str> = Some("text/plain");

fn state(extra: &str) -> TargetState {
    let json =
        format!(r#"{{"job_name":"api","static_configs":[{{"targets":["h:1"],"labels":{{"env":"prod"}}}}]{extra}}}"#);
    let config = config(&json);
    let target = resolve(&config, []).active.remove(0);
    TargetState::new(target, Arc::new(config))
}

fn scrape(state: &mut TargetState, body: Result<&str, &str>, at: i64) -> String {
    let fetched = body
        .map(|body| Fetched { body: body.as_bytes(), content_type: TEXT })
        .map_err(|reason| NoPage::Failed(reason.to_owned()));
    let scraped = state.observe(fetched, Timestamp(at), Duration::from_millis(250), &Limits::default());
    let error = scraped.error.map(|error| format!("\n! {error}")).unwrap_or_default();
    shown(&scraped.batch) + &error
}

fn shown(batch: &WriteBatch) -> String {
    let line = |series: &signal::SeriesWrite| {
        let sample = series.samples[0];
        let value = if is_stale(sample.value) { "stale".to_owned() } else { sample.value.to_string() };
        let labels =
            series.labels.to_string().replace(r#"env="prod", "#, "").replace(r#"instance="h:1", job="api""#, "…");
        format!("{labels} {value} @{}", sample.at.0)
    };
    batch.series.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_life_of_a_target() {
    let mut state = state("");
    assert_eq!(state.health(), Health::Unknown);
    insta::assert_snapshot!(scrape(&mut state, Ok("a 1\nb{env=\"x\"} 2\nold 3 77\n"), 1000), @r#"
    a{…} 1 @1000
    b{exported_env="x", …} 2 @1000
    old{…} 3 @77
    up{…} 1 @1000
    scrape_duration_seconds{…} 0.25 @1000
    scrape_samples_scraped{…} 3 @1000
    scrape_samples_post_metric_relabeling{…} 3 @1000
    scrape_series_added{…} 3 @1000
    "#);
    insta::assert_snapshot!(scrape(&mut state, Ok("a 5\n"), 2000), @r#"
    a{…} 5 @2000
    b{exported_env="x", …} stale @2000
    up{…} 1 @2000
    scrape_duration_seconds{…} 0.25 @2000
    scrape_samples_scraped{…} 1 @2000
    scrape_samples_post_metric_relabeling{…} 1 @2000
    scrape_series_added{…} 0 @2000
    "#);
    insta::assert_snapshot!(scrape(&mut state, Err("connection refused"), 3000), @r"
    a{…} stale @3000
    up{…} 0 @3000
    scrape_duration_seconds{…} 0.25 @3000
    scrape_samples_scraped{…} 0 @3000
    scrape_samples_post_metric_relabeling{…} 0 @3000
    scrape_series_added{…} 0 @3000
    ! connection refused
    ");
    assert_eq!((state.health(), state.last_error()), (Health::Down, "connection refused"));
    scrape(&mut state, Ok("a 5\n"), 4000);
    insta::assert_snapshot!(shown(&state.gone(Timestamp(5000))), @r"
    a{…} stale @5000
    up{…} stale @5000
    scrape_duration_seconds{…} stale @5000
    scrape_samples_scraped{…} stale @5000
    scrape_samples_post_metric_relabeling{…} stale @5000
    scrape_series_added{…} stale @5000
    ");
    assert!(state.gone(Timestamp(6000)).is_empty(), "a second removal has nothing to mark");
}

#[test]
fn settings_of_the_job_apply() {
    for (case, extra, body, first, error) in [
        ("honor labels", r#","honor_labels":true"#, "b{env=\"x\"} 2", r#"b{env="x", …} 2 @9"#, None),
        (
            "honor labels without a value",
            r#","honor_labels":true"#,
            "b{instance=\"\",job=\"push\"} 2",
            r#"b{job="push"} 2 @9"#,
            None,
        ),
        ("labels without a value otherwise", "", "b{instance=\"\"} 2", "b{…} 2 @9", None),
        ("own clock", r#","honor_timestamps":false"#, "a 1 77", "a{…} 1 @9", None),
        (
            "exported twice",
            "",
            "b{env=\"x\",exported_env=\"y\"} 2",
            r#"b{exported_env="y", exported_exported_env="x", …} 2 @9"#,
            None,
        ),
        (
            "metric rules",
            r#","metric_relabel_configs":[{"source_labels":["__name__"],"regex":"go_.*","action":"drop"}]"#,
            "go_x 1\na 1",
            "a{…} 1 @9",
            None,
        ),
        (
            "rules eat the name",
            r#","metric_relabel_configs":[{"regex":"__name__","action":"labeldrop"}]"#,
            "a 1",
            "up{…} 0 @9",
            Some(
                r#"series has no metric name after `metric_relabel_configs`: `{env="prod", instance="h:1", job="api"}`"#,
            ),
        ),
        (
            "sample limit",
            r#","sample_limit":1"#,
            "a 1\nb 1",
            "up{…} 0 @9",
            Some("page has 2 samples, more than the limit of 1 (sample_limit)"),
        ),
        (
            "body limit",
            r#","body_size_limit":2"#,
            "a 1",
            "up{…} 0 @9",
            Some("page has more bytes than the limit of 2 (body_size_limit)"),
        ),
        (
            "label limit",
            r#","label_limit":4"#,
            "a{x=\"1\"} 1",
            "up{…} 0 @9",
            Some(
                r#"series has 5 labels, more than the limit of 4 (label_limit): `a{env="prod", instance="h:1", job="api", x="1"}`"#,
            ),
        ),
        (
            "label name limit",
            r#","label_name_length_limit":8"#,
            "a{long_name=\"1\"} 1",
            "up{…} 0 @9",
            Some(
                r#"name of label `long_name` has 9 bytes, more than the limit of 8 (label_name_length_limit): `a{env="prod", instance="h:1", job="api", long_name="1"}`"#,
            ),
        ),
        (
            "label value limit",
            r#","label_value_length_limit":4"#,
            "a{x=\"12345\"} 1",
            "up{…} 0 @9",
            Some(
                r#"value of label `x` has 5 bytes, more than the limit of 4 (label_value_length_limit): `a{env="prod", instance="h:1", job="api", x="12345"}`"#,
            ),
        ),
        (
            "legacy names",
            r#","metric_name_validation_scheme":"legacy""#,
            "{\"a.b\"} 1",
            "up{…} 0 @9",
            Some(
                r#"series has a name that is not allowed (metric_name_validation_scheme): `a.b{env="prod", instance="h:1", job="api"}`"#,
            ),
        ),
        ("a line twice", "", "a 1\na 2", "a{…} 1 @9", None),
        ("bad page", "", "a 1\nb", "up{…} 0 @9", Some("line 2, column 2: sample has no value")),
    ] {
        let mut state = state(extra);
        let got = scrape(&mut state, Ok(body), 9);
        assert_eq!(got.lines().next(), Some(first), "{case}");
        assert_eq!(got.lines().find_map(|line| line.strip_prefix("! ")), error, "{case}");
    }
}

#[test]
fn series_with_times_of_their_own_end_only_when_told() {
    for (case, extra, want) in [
        ("not tracked", "", ""),
        ("tracked", r#","track_timestamps_staleness":true"#, "a{…} stale @2"),
        ("own clock", r#","honor_timestamps":false"#, "a{…} stale @2"),
    ] {
        let mut state = state(extra);
        scrape(&mut state, Ok("a 1 1\n"), 1);
        let got = scrape(&mut state, Ok(""), 2);
        assert_eq!(got.lines().find(|line| line.starts_with('a')).unwrap_or(""), want, "{case}");
    }
}

#[test]
fn a_page_must_say_what_it_is() {
    let fetched = Fetched { body: b"a 1\n", content_type: None };
    let observe = |state: &mut TargetState| {
        state.observe(Ok(fetched), Timestamp(1), Duration::ZERO, &Limits::default()).error.unwrap_or_default()
    };
    assert!(observe(&mut state("")).contains("states no content type"));
    assert_eq!(observe(&mut state(r#","fallback_scrape_protocol":"PrometheusText0.0.4""#)), "");
}

#[test]
fn extra_series_tell_of_the_limits() {
    let mut state = state(r#","extra_scrape_metrics":true,"sample_limit":9,"body_size_limit":"5B""#);
    let shown = scrape(&mut state, Ok("a 1\n"), 1);
    for line in ["scrape_timeout_seconds{…} 10 @1", "scrape_sample_limit{…} 9 @1", "scrape_body_size_bytes{…} 4 @1"]
    {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(scrape(&mut state, Ok("a 1\nb 2\n"), 2).contains("scrape_body_size_bytes{…} -1 @2"));
}

#[test]
fn families_are_described_when_they_change() {
    let mut state = state("");
    let mut described = |body: &str| {
        let fetched = Fetched { body: body.as_bytes(), content_type: TEXT };
        state.observe(Ok(fetched), Timestamp(1), Duration::ZERO, &Limits::default()).batch.metadata.len()
    };
    let page = "# HELP a Text.\n# TYPE a gauge\na 1\n";
    assert_eq!((described(page), described(page)), (1, 0));
    assert_eq!(described(&page.replace("Text", "Other text")), 1);
    assert_eq!((0..64).map(|_| described("# HELP a Other text.\n# TYPE a gauge\na 1\n")).sum::<usize>(), 1);
}

#[test]
fn a_series_that_came_back_after_a_failure_is_not_new() {
    let mut state = state("");
    scrape(&mut state, Ok("a 1\n"), 1);
    scrape(&mut state, Err("refused"), 2);
    assert!(scrape(&mut state, Ok("a 1\nb 1\n"), 3).contains("scrape_series_added{…} 1 @3"));
}

#[test]
fn two_lines_that_become_one_series_end_with_the_last() {
    let mut state = state(r#","metric_relabel_configs":[{"regex":"x","action":"labeldrop"}]"#);
    scrape(&mut state, Ok("a{x=\"1\"} 1\na{x=\"2\"} 1\n"), 1);
    assert!(!scrape(&mut state, Ok("a{x=\"2\"} 1\n"), 2).contains("stale"));
    assert!(scrape(&mut state, Ok(""), 3).contains("a{…} stale @3"));
}

#[test]
fn a_new_configuration_keeps_what_was_seen() {
    let mut before = state("");
    scrape(&mut before, Ok("a 1\nb 1\n"), 1);
    let after = state(r#","metric_relabel_configs":[{"source_labels":["__name__"],"regex":"b","action":"drop"}]"#);
    let mut state = before.with_config(after.target().clone(), Arc::clone(after.config()));
    assert_eq!(state.health(), Health::Up);
    insta::assert_snapshot!(scrape(&mut state, Ok("a 1\nb 1\n"), 2), @r"
    a{…} 1 @2
    b{…} stale @2
    up{…} 1 @2
    scrape_duration_seconds{…} 0.25 @2
    scrape_samples_scraped{…} 2 @2
    scrape_samples_post_metric_relabeling{…} 1 @2
    scrape_series_added{…} 1 @2
    ");
}

#[test]
fn too_many_targets_stop_the_job_and_dropped_ones_are_counted() {
    let config = config(
        r#"{"job_name":"j","target_limit":1,"keep_dropped_targets":1,
            "static_configs":[{"targets":["h:1","h:2","d:1","d:2"]}],
            "relabel_configs":[{"source_labels":["__address__"],"regex":"d.*","action":"Drop"}]}"#,
    );
    let resolved = resolve(&config, []);
    assert_eq!(resolved.over_limit.unwrap(), "job has 2 targets, more than the limit of 1 (target_limit)");
    assert_eq!((resolved.dropped.len(), resolved.dropped_count), (1, 2));
}

#[test]
fn the_global_section_is_the_default() {
    let global = ScrapeGlobal {
        scrape_native_histograms: true,
        body_size_limit: Some(Size(10)),
        sample_limit: Some(5),
        metric_name_validation_scheme: NameValidation::Legacy,
        ..ScrapeGlobal::default()
    };
    let inherited = check_with(r#"{"job_name":"j"}"#, &global).unwrap();
    assert_eq!(inherited.protocols, ScrapeProtocol::PROTOBUF_FIRST);
    assert_eq!((inherited.limits.body_size, inherited.limits.samples), (10, 5));
    assert_eq!(inherited.escaping, Escaping::Underscores);
    let own = r#"{"job_name":"j","scrape_native_histograms":false,"body_size_limit":"10MB","sample_limit":0,
                  "metric_name_validation_scheme":"utf8"}"#;
    let own = check_with(own, &global).unwrap();
    assert_eq!(own.protocols, ScrapeProtocol::TEXT);
    assert_eq!((own.limits.body_size, own.limits.samples), (10 << 20, 5));
    assert_eq!(own.escaping, Escaping::AllowUtf8);
}

#[test]
fn addresses_become_targets() {
    let config = config(
        r#"{"job_name":"j","metrics_path":"m","scheme":"https","params":{"q":["a b","c"]},
            "static_configs":[{"targets":["h:1","h:1","bad/path","drop:1"],"labels":{"__meta_x":"1","zone":"z"}}],
            "relabel_configs":[
              {"source_labels":["__address__"],"regex":"drop:.*","action":"drop"},
              {"source_labels":["__meta_x"],"target_label":"x"}]}"#,
    );
    let more =
        parse_target_groups(br#"[{"targets":["f:2"],"labels":{"job":"other","__scrape_interval__":"1m"}}]"#).unwrap();
    let resolved = resolve(&config, &more);
    let targets: Vec<_> = resolved.active.iter().map(|t| format!("{} {} {:?}", t.labels, t.url, t.interval)).collect();
    assert_eq!(
        targets,
        [
            r#"{instance="h:1", job="j", x="1", zone="z"} https://h:1/m?q=a%20b&q=c 15s"#,
            r#"{instance="f:2", job="other"} https://f:2/m?q=a%20b&q=c 60s"#,
        ]
    );
    assert_eq!(resolved.problems, ["target address `bad/path` of job `j` is not `host:port`"]);
    assert_eq!(resolved.dropped[0].discovered.get("__address__"), Some("drop:1"));
}

#[test]
fn offsets_are_stable_and_spread() {
    let config = config(r#"{"job_name":"j","scrape_interval":"10s"}"#);
    let targets = (0..100).map(|at| format!("host-{at}:80"));
    let resolved = resolve(&config, &[TargetGroup::of_addresses(targets, Labels::empty())]);
    let offsets: Vec<_> = resolved.active.iter().map(Target::offset_in_interval).collect();
    assert!(offsets.iter().all(|offset| *offset < Duration::from_secs(10)));
    for second in 0..10 {
        let inside = offsets.iter().filter(|offset| offset.as_secs() == second).count();
        assert!((2..=25).contains(&inside), "{inside} of 100 targets in second {second}");
    }
    assert_eq!(offsets, resolved.active.iter().map(Target::offset_in_interval).collect::<Vec<_>>());
}

#[test]
fn bad_settings_are_named() {
    for (json, want) in [
        (r#"{"job_name":""}"#, "`job_name` is empty"),
        (
            r#"{"job_name":"j","scrape_interval":"soon"}"#,
            "`scrape_interval` of job `j` is `soon`; expected a duration above zero, like `15s`",
        ),
        (
            r#"{"job_name":"j","scrape_timeout":"0"}"#,
            "`scrape_timeout` of job `j` is `0`; expected a duration above zero, like `15s`",
        ),
        (
            r#"{"job_name":"j","scrape_timeout":"20s"}"#,
            "`scrape_timeout` of job `j` is longer than its `scrape_interval`",
        ),
        (r#"{"job_name":"j","scheme":"ftp"}"#, "`scheme` of job `j` is `ftp`; expected `http` or `https`"),
        (r#"{"job_name":"j","scrape_protocols":[]}"#, "job `j`: `scrape_protocols` is empty"),
        (
            r#"{"job_name":"j","scrape_protocols":["PrometheusProto","PrometheusProto"]}"#,
            "job `j`: `scrape_protocols` has a protocol twice",
        ),
        (
            r#"{"job_name":"j","metric_name_validation_scheme":"legacy","metric_name_escaping_scheme":"allow-utf8"}"#,
            "job `j`: `metric_name_escaping_scheme` allows UTF-8 and `metric_name_validation_scheme` does not",
        ),
        (
            r#"{"job_name":"j","static_configs":[{"targets":["http://h"]}]}"#,
            "job `j`: `http://h` of `static_configs` is not `host:port`",
        ),
        (
            r#"{"job_name":"j","file_sd_configs":[{"files":["*/t.json"]}]}"#,
            "job `j`: `files` of `file_sd_configs` has `*/t.json`; expected a path that ends in .json, .yml or .yaml, \
             with `*` only in its last part",
        ),
        (
            r#"{"job_name":"j","http_sd_configs":[{"url":"h"}]}"#,
            "job `j`: `url` of `http_sd_configs` is `h`; expected http:// or https://",
        ),
        (
            r#"{"job_name":"j","dns_sd_configs":[{"names":["n"],"type":"a"}]}"#,
            "job `j`: `dns_sd_configs` needs a `port` for all types but SRV",
        ),
        (
            r#"{"job_name":"j","dns_sd_configs":[{"names":["n"],"refresh_interval":"0s"}]}"#,
            "job `j`: `refresh_interval` is `0s`; expected a duration above zero, like `30s`",
        ),
        (
            r#"{"job_name":"j","kubernetes_sd_configs":[{}]}"#,
            "job `j`: `kubernetes_sd_configs` has an entry without `role`; expected node, pod, service, endpoints, \
             endpointslice or ingress",
        ),
        (
            r#"{"job_name":"j","kubernetes_sd_configs":[{"role":"pod","selectors":[{"role":"service"}]}]}"#,
            "job `j`: role `pod` of `kubernetes_sd_configs` does not use a selector for `service`",
        ),
        (
            r#"{"job_name":"j","kubernetes_sd_configs":[{"role":"pod","bearer_token":"x"}]}"#,
            "job `j`: settings of the HTTP client of `kubernetes_sd_configs` need `api_server`",
        ),
        (
            r#"{"job_name":"j","relabel_configs":[{"target_label":"x"},{"regex":"("}]}"#,
            "rule 2 of `relabel_configs` of job `j` is not usable",
        ),
    ] {
        assert_eq!(check(json).unwrap_err().to_string(), want);
    }
    assert!(serde_json::from_str::<ScrapeFile>(r#"{"job_name":"j","scrape_intervall":"1s"}"#).is_err());
    for bad in [r#"{"targets":[]}"#, r#"[{"target":[]}]"#, "[", "x"] {
        assert!(parse_target_groups(bad.as_bytes()).is_err(), "{bad}");
    }
}

proptest! {
    /// Whatever a target shows from scrape to scrape, each of its series that has begun ends exactly once.
    #[test]
    fn every_series_that_begins_ends_once(pages in proptest::collection::vec(proptest::option::of(0_u8..16), 1..12)) {
        let mut state = state("");
        let mut alive = std::collections::HashSet::new();
        let mut follow = |batch: &WriteBatch| {
            for series in &batch.series {
                let name = series.labels.get_or_empty(Labels::NAME).to_owned();
                if is_stale(series.samples[0].value) {
                    assert!(alive.remove(&name), "{name} ended without having begun");
                } else {
                    alive.insert(name);
                }
            }
            alive.len()
        };
        for (at, page) in pages.iter().enumerate() {
            // Each bit of the number is a series.
            let body: Option<String> = page.map(|bits| {
                (0..4).filter(|bit| bits & (1 << bit) != 0).map(|bit| format!("m{bit} 1\n")).collect()
            });
            let fetched = body.as_ref().map(|body| Fetched { body: body.as_bytes(), content_type: TEXT });
            let fetched = fetched.ok_or_else(|| NoPage::Failed("refused".to_owned()));
            let at = Timestamp(i64::try_from(at).unwrap());
            let scraped = state.observe(fetched, at, Duration::ZERO, &Limits::default());
            let shown = page.map_or(0, |bits| usize::try_from(bits.count_ones()).unwrap());
            prop_assert_eq!(follow(&scraped.batch), shown + 5);
        }
        prop_assert_eq!(follow(&state.gone(Timestamp(99))), 0);
    }

    #[test]
    fn any_page_is_observed(bytes in proptest::collection::vec(any::<u8>(), 0..100), content_type in "[a-z/;=. -]{0,20}") {
        let mut state = state("");
        let fetched = Fetched { body: &bytes, content_type: Some(&content_type) };
        let scraped = state.observe(Ok(fetched), Timestamp(1), Duration::ZERO, &Limits::default());
        prop_assert!(scraped.batch.series.len() >= 5);
        let _ = parse_target_groups(&bytes);
    }
}

mod native_histograms {
    use prost::Message;
    use signal::Histogram;

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Family {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(int32, tag = "3")]
        kind: i32,
        #[prost(message, repeated, tag = "4")]
        metric: Vec<Metric>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Metric {
        #[prost(message, optional, tag = "7")]
        histogram: Option<Native>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Native {
        #[prost(uint64, tag = "1")]
        sample_count: u64,
        #[prost(double, tag = "2")]
        sample_sum: f64,
        #[prost(message, repeated, tag = "3")]
        bucket: Vec<Bucket>,
        #[prost(sint32, tag = "5")]
        schema: i32,
        #[prost(message, repeated, tag = "12")]
        positive_span: Vec<Span>,
        #[prost(sint64, repeated, tag = "13")]
        positive_delta: Vec<i64>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Bucket {
        #[prost(uint64, tag = "1")]
        cumulative_count: u64,
        #[prost(double, tag = "2")]
        upper_bound: f64,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Span {
        #[prost(sint32, tag = "1")]
        offset: i32,
        #[prost(uint32, tag = "2")]
        length: u32,
    }

    /// A page with one histogram: four native buckets of one observation each, and classic ones.
    fn page() -> Vec<u8> {
        let histogram = Native {
            sample_count: 4,
            sample_sum: 10.0,
            bucket: vec![
                Bucket { cumulative_count: 1, upper_bound: 1.0 },
                Bucket { cumulative_count: 4, upper_bound: f64::INFINITY },
            ],
            schema: 1,
            positive_span: vec![Span { offset: 1, length: 4 }],
            positive_delta: vec![1, 0, 0, 0],
        };
        let family = Family { name: "h".to_owned(), kind: 4, metric: vec![Metric { histogram: Some(histogram) }] };
        family.encode_length_delimited_to_vec()
    }

    fn scraped(extra: &str) -> (WriteBatch, Option<String>) {
        let kind = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let (mut state, page) = (state(extra), page());
        let fetched = Fetched { body: &page, content_type: Some(kind) };
        let scraped = state.observe(Ok(fetched), Timestamp(1), Duration::ZERO, &Limits::default());
        (scraped.batch, scraped.error)
    }

    fn native(batch: &WriteBatch) -> Option<Histogram> {
        let mut found = batch.series.iter().flat_map(|series| &series.histograms);
        found.next().map(|sample| (*sample.histogram).clone())
    }

    #[test]
    fn the_job_chooses_the_form() {
        for (extra, has_native, has_buckets) in [
            ("", false, true),
            (r#","scrape_native_histograms":true"#, true, false),
            (r#","scrape_native_histograms":true,"always_scrape_classic_histograms":true"#, true, true),
        ] {
            let (batch, error) = scraped(extra);
            assert_eq!(error, None, "{extra}");
            assert_eq!(native(&batch).is_some(), has_native, "{extra}");
            let is_bucket = |series: &signal::SeriesWrite| series.labels.metric_name() == Some("h_bucket");
            assert_eq!(batch.series.iter().any(is_bucket), has_buckets, "{extra}");
        }
    }

    #[test]
    fn buckets_are_merged_until_they_fit() {
        for (extra, schema, counts) in [
            ("", 1, &[1.0, 1.0, 1.0, 1.0][..]),
            (r#","native_histogram_bucket_limit":2"#, 0, &[2.0, 2.0]),
            (r#","native_histogram_min_bucket_factor":3"#, -1, &[4.0]),
            (r#","native_histogram_min_bucket_factor":1.1"#, 1, &[1.0, 1.0, 1.0, 1.0]),
        ] {
            let (batch, error) = scraped(&format!(r#","scrape_native_histograms":true{extra}"#));
            assert_eq!(error, None, "{extra}");
            let kept = native(&batch).unwrap();
            assert_eq!((kept.schema, kept.positive.counts.as_slice()), (schema, counts), "{extra}");
        }
    }
}
