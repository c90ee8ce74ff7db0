//! Turns what happened into lines of at most 80 columns.

use signal::Timestamp;

use crate::score::Scored;

const WIDTH: usize = 80;
/// Width of everything before a text: time of day, time since the start, label.
const INDENT: usize = 26;

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    pub(crate) at: Timestamp,
    pub(crate) label: &'a str,
    pub(crate) text: &'a str,
    pub(crate) details: &'a [String],
}

/// The lines of one event; `started` is where relative times begin.
pub(crate) fn event(event: &Event<'_>, started: Timestamp) -> Vec<String> {
    let time = format!("{} {:>6}", time_of_day(event.at), relative(event.at, started));
    let mut lines = Vec::new();
    for (number, part) in wrap(event.text, WIDTH - INDENT).into_iter().enumerate() {
        let head = if number == 0 { format!("{time} {:<9} ", short(event.label)) } else { " ".repeat(INDENT) };
        lines.push(format!("{head}{part}").trim_end().to_owned());
    }
    for detail in event.details {
        for (number, part) in wrap(detail, WIDTH - INDENT - 2).into_iter().enumerate() {
            let bullet = if number == 0 { "- " } else { "  " };
            lines.push(format!("{}{bullet}{part}", " ".repeat(INDENT)));
        }
    }
    lines
}

/// The table of results, one row for each scenario.
pub(crate) fn results(scored: &[Scored]) -> Vec<String> {
    let mut lines = vec![
        "scenario        detect  cause  mitigate  verify  actions  wrong  failed   result".to_owned(),
        "-".repeat(WIDTH),
    ];
    let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"));
    for row in scored {
        lines.push(format!(
            "{:<14} {:>7} {:>6} {:>9} {:>7}  {:>7}  {:>5}  {:>6}   {}",
            row.name.to_string(),
            time(row.detection_s),
            time(row.cause_s),
            time(row.mitigation_s),
            time(row.verification_s),
            row.actions.len(),
            row.wrong_actions,
            row.failed_requests,
            if row.passed { "passed" } else { "FAILED" },
        ));
        for why in &row.why_not {
            for (number, part) in wrap(why, WIDTH - 6).into_iter().enumerate() {
                let bullet = if number == 0 { "- " } else { "  " };
                lines.push(format!("    {bullet}{part}"));
            }
        }
    }
    lines
}

/// Any JSON object as `name  value` lines, nested names joined by dots.
pub(crate) fn facts(value: &serde_json::Value) -> Vec<String> {
    let mut pairs = Vec::new();
    flatten("", value, &mut pairs);
    let widest = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(44);
    let line = |(name, value): &(String, String)| format!("{name:<widest$}  {value}");
    pairs.iter().map(|pair| line(pair).chars().take(WIDTH).collect()).collect()
}

fn flatten(name: &str, value: &serde_json::Value, pairs: &mut Vec<(String, String)>) {
    let inner = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                flatten(&inner(key), value, pairs);
            }
        }
        serde_json::Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                flatten(&inner(&at.to_string()), value, pairs);
            }
        }
        serde_json::Value::Null => pairs.push((name.to_owned(), "-".to_owned())),
        serde_json::Value::String(text) => pairs.push((name.to_owned(), text.clone())),
        serde_json::Value::Number(number) => {
            let text = match number.as_f64() {
                Some(real) if number.is_f64() => format!("{real:.3}"),
                _ => number.to_string(),
            };
            pairs.push((name.to_owned(), text));
        }
        serde_json::Value::Bool(value) => pairs.push((name.to_owned(), value.to_string())),
    }
}

/// `HH:MM:SS`, UTC.
fn time_of_day(at: Timestamp) -> String {
    let second = at.0.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// `+m:ss` since the start.
fn relative(at: Timestamp, started: Timestamp) -> String {
    let seconds = at.since(started).as_secs();
    format!("+{}:{:02}", seconds / 60, seconds % 60)
}

fn short(label: &str) -> String {
    label.chars().take(9).collect()
}

/// Breaks `text` at spaces into parts of at most `width` characters; a longer word is broken where it must be.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut line = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        if length > 0 && length + 1 + word.len() > width {
            parts.push(std::mem::take(&mut line));
            length = 0;
        }
        while word.len() > width {
            let rest = word.split_off(width);
            parts.push(word.into_iter().collect());
            word = rest;
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        length += word.len();
        line.extend(word);
    }
    if !line.is_empty() || parts.is_empty() {
        parts.push(line);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn an_event_fits_into_80_columns() {
        let details = [
            "pool: 6 of 6 connections used since 12:03:31, 0.3 s mean wait before, now 1.9 s for every request"
                .to_owned(),
            "https://example.com/a/very/long/address/without/any/space/that/does/not/fit/into/one/line".to_owned(),
        ];
        let lines = event(
            &Event {
                at: Timestamp(1_706_184_220_000),
                label: "detected",
                text: "backend: errors 0.4% -> 24%, p99 62ms -> 2.1s; users of POST /api/v1/users notice",
                details: &details,
            },
            Timestamp(1_706_184_100_000),
        );
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
        insta::assert_snapshot!(lines.join("\n"), @r"
        12:03:40  +2:00 detected  backend: errors 0.4% -> 24%, p99 62ms -> 2.1s; users
                                  of POST /api/v1/users notice
                                  - pool: 6 of 6 connections used since 12:03:31, 0.3 s
                                    mean wait before, now 1.9 s for every request
                                  - https://example.com/a/very/long/address/without/any/
                                    space/that/does/not/fit/into/one/line
        ");
    }

    #[test]
    fn results_fit_into_80_columns() {
        let row = Scored {
            name: Scenario::CampaignSurge,
            seed: 1,
            base_rps: 50.0,
            onset: 0,
            detected_at: Some(12_300),
            diagnosed_at: Some(14_400),
            acted_at: Some(15_000),
            mitigated_at: Some(112_000),
            verified_at: Some(118_000),
            detection_s: Some(12.3),
            cause_s: Some(2.1),
            mitigation_s: Some(112.0),
            verification_s: Some(103.0),
            verdict: Some("fixed".to_owned()),
            cause: Some("pool_exhaustion".to_owned()),
            cause_right: Some(true),
            actions: vec!["scale 3 -> 6".to_owned()],
            wrong_actions: 0,
            incidents_that_page: 1,
            requests: 12_000,
            failed_requests: 812,
            passed: true,
            why_not: Vec::new(),
        };
        let why_not =
            vec!["the cause named is traffic_surge of backend, right is pool_exhaustion of backend".to_owned()];
        let failed = Scored { name: Scenario::BadDeploy, detection_s: None, passed: false, why_not, ..row.clone() };
        let lines = results(&[row, failed]);
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        insta::assert_snapshot!(lines.join("\n"), @r"
        scenario        detect  cause  mitigate  verify  actions  wrong  failed   result
        --------------------------------------------------------------------------------
        campaign-surge  12.3 s  2.1 s   112.0 s 103.0 s        1      0     812   passed
        bad-deploy           -  2.1 s   112.0 s 103.0 s        1      0     812   FAILED
            - the cause named is traffic_surge of backend, right is pool_exhaustion of
              backend
        ");
    }

    #[test]
    fn wrapping_loses_no_word() {
        for (text, width, parts) in [
            ("", 5, vec![""]),
            ("a bc def", 4, vec!["a bc", "def"]),
            ("abcdefghij k", 4, vec!["abcd", "efgh", "ij k"]),
            ("éèê ëïü", 3, vec!["éèê", "ëïü"]),
        ] {
            assert_eq!(wrap(text, width), parts, "{text}");
        }
        // Sorted, because a JSON object keeps or sorts its names depending on how the library was built.
        let mut facts = facts(&serde_json::json!({ "mttr_s": 41.5, "incidents": { "total": 2 }, "rate": null }));
        facts.sort();
        assert_eq!(facts, ["incidents.total  2", "mttr_s           41.500", "rate             -"]);
    }
}
