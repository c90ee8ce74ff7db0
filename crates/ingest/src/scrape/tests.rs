use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use signal::{Labels, Timestamp, WriteBatch, is_stale};

use super::*;
use crate::Limits;

fn config(json: &str) -> ScrapeConfig {
    let file: ScrapeFile = serde_json::from_str(json).unwrap();
    file.check(Duration::from_secs(15), Duration::from_secs(10)).unwrap()
}

fn state(extra: &str) -> TargetState {
    let json =
        format!(r#"{{"job_name":"api","static_configs":[{{"targets":["h:1"],"labels":{{"env":"prod"}}}}]{extra}}}"#);
    let config = config(&json);
    let target = resolve(&config, &[]).active.remove(0);
    TargetState::new(target, Arc::new(config))
}

fn scrape(state: &mut TargetState, body: Result<&str, &str>, at: i64) -> String {
    let fetched = body.map(|body| Fetched { body: body.as_bytes(), content_type: None }).map_err(str::to_owned);
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
            Some("page has 3 bytes, more than the limit of 2 (body_size_limit)"),
        ),
        ("bad page", "", "a 1\nb", "up{…} 0 @9", Some("line 2, column 2: sample has no value")),
    ] {
        let mut state = state(extra);
        let got = scrape(&mut state, Ok(body), 9);
        assert_eq!(got.lines().next(), Some(first), "{case}");
        assert_eq!(got.lines().find_map(|line| line.strip_prefix("! ")), error, "{case}");
    }
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
    let more = parse_file_sd(br#"[{"targets":["f:2"],"labels":{"job":"other","__scrape_interval__":"1m"}}]"#).unwrap();
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
    let targets = (0..100).map(|at| format!("host-{at}:80")).collect();
    let resolved = resolve(&config, &[TargetGroup { targets, labels: Labels::empty() }]);
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
        (
            r#"{"job_name":"j","relabel_configs":[{"target_label":"x"},{"regex":"("}]}"#,
            "rule 2 of `relabel_configs` of job `j` is not usable",
        ),
    ] {
        let file: ScrapeFile = serde_json::from_str(json).unwrap();
        let error = file.check(Duration::from_secs(15), Duration::from_secs(10)).unwrap_err();
        assert_eq!(error.to_string(), want);
    }
    assert!(serde_json::from_str::<ScrapeFile>(r#"{"job_name":"j","scrape_intervall":"1s"}"#).is_err());
    for bad in [r#"{"targets":[]}"#, r#"[{"target":[]}]"#, "[", "x"] {
        assert!(parse_file_sd(bad.as_bytes()).is_err(), "{bad}");
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
            let fetched = body.as_ref().map(|body| Fetched { body: body.as_bytes(), content_type: None });
            let fetched = fetched.ok_or_else(|| "refused".to_owned());
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
        let _ = parse_file_sd(&bytes);
    }
}
