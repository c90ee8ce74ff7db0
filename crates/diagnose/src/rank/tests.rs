use detect::templates::TemplateCount;
use policy::Target;
use signal::Labels;

use super::*;
use crate::{
    Answer, Change, ChangeKind, Item, OperationStats, Operations, Question, Revision, SeriesAnswer, Workload, questions,
};

const WINDOW: Duration = Duration::from_secs(30);
const ONSET: Timestamp = Timestamp(1_706_189_400_000);

/// What happens to a service at the onset; everything else follows.
#[derive(Clone)]
struct Story {
    rate: (f64, f64),
    errors: (f64, f64),
    p99: (f64, f64),
    hold: (f64, f64),
    used: (f64, f64),
    pending: f64,
    timeouts: f64,
    cpu: (f64, f64),
    revision: (u64, u64),
    deployed: bool,
    crashes: usize,
    lines: Vec<(&'static str, &'static str, u64)>,
    /// The same, in the five minutes before.
    lines_before: Vec<(&'static str, &'static str, u64)>,
    /// Mean self time of the insert, before and since.
    insert_ms: (f64, f64),
    /// Seconds after the onset at which evidence is gathered.
    after: i64,
    /// The onset was put this many seconds too early.
    early: i64,
    /// Another surge filled the time before, until this many seconds before the onset.
    surge_until: Option<i64>,
    /// The current revision came by a roll-back this many seconds before the onset.
    rolled_back: Option<i64>,
}

fn calm() -> Story {
    Story {
        rate: (50.0, 50.0),
        errors: (0.004, 0.004),
        p99: (0.09, 0.09),
        hold: (0.078, 0.078),
        used: (3.3, 3.3),
        pending: 0.0,
        timeouts: 0.0,
        cpu: (0.08, 0.08),
        revision: (1, 1),
        deployed: false,
        crashes: 0,
        lines: Vec::new(),
        lines_before: Vec::new(),
        insert_ms: (80.0, 80.0),
        after: 15,
        early: 0,
        surge_until: None,
        rolled_back: None,
    }
}

fn surge() -> Story {
    Story {
        rate: (50.0, 125.0),
        errors: (0.004, 0.25),
        p99: (0.09, 2.1),
        used: (3.3, 6.0),
        pending: 80.0,
        timeouts: 20.0,
        cpu: (0.08, 0.15),
        lines: vec![("error", "Error: Connection pool exhausted", 90), ("warn", "Database query slow: <*>", 40)],
        insert_ms: (80.0, 1900.0),
        ..calm()
    }
}

fn broken() -> Story {
    Story {
        errors: (0.004, 0.24),
        revision: (1, 2),
        deployed: true,
        lines: vec![("error", "Error: cannot normalise name: unsupported character", 70)],
        ..calm()
    }
}

/// The evidence the shell would bring: five-second steps, rates over thirty seconds.
fn evidence(story: &Story) -> Evidence {
    let now = Timestamp(ONSET.0 + story.after * 1000);
    let items = questions("backend", ONSET, now, WINDOW)
        .into_iter()
        .map(|question| {
            let answer = match &question {
                Question::Metric { name, start, end, step_ms, .. } => series(story, name, (start.0, end.0, *step_ms)),
                Question::Templates { name: asked, .. } => Answer::Templates(lines(story, asked)),
                Question::Operations { name: asked, .. } => Answer::Operations(traces(story, asked)),
                Question::Workloads { .. } => Answer::Workloads(vec![workload(story)]),
            };
            Item { question, answer }
        })
        .collect();
    Evidence { gathered_at: now, items }
}

fn series(story: &Story, asked: &str, (start, end, step): (i64, i64, i64)) -> Answer {
    let steps = || (0..=(end - start) / step).map(move |at| start + at * step);
    let turned = ONSET.0 + story.early * 1000;
    // A rate shows a step only as far as its window lies after it.
    let covered = |at: i64| ((at - turned) as f64 / 30_000.0).clamp(0.0, 1.0);
    let rate = |of: (f64, f64)| steps().map(|at| (at, of.0 + (of.1 - of.0) * covered(at))).collect::<Vec<_>>();
    let earlier = |usual: Vec<(i64, f64)>, first: f64, then: f64| -> Vec<(i64, f64)> {
        let Some(until) = story.surge_until else { return usual };
        let until = ONSET.0 - until * 1000;
        let during = |at: i64| if at < until - 180_000 { first } else { then };
        usual.into_iter().map(|(at, value)| (at, if at < until { during(at) } else { value })).collect()
    };
    let requests = || earlier(rate(story.rate), 125.0, 125.0);
    let errors = || earlier(rate(story.errors), 0.25, 0.004);
    let step_to = |of: (f64, f64)| steps().map(|at| (at, if at > turned { of.1 } else { of.0 })).collect::<Vec<_>>();
    let single = |points: Vec<(i64, f64)>| vec![SeriesAnswer::new(Labels::empty(), points)];
    let each_of_three = |points: Vec<(i64, f64)>| -> Vec<SeriesAnswer> {
        (1..=3)
            .map(|at| {
                let labels = Labels::from_pairs([("instance", format!("127.0.0.1:900{at}"))]);
                SeriesAnswer::new(labels, points.iter().map(|(at, value)| (*at, value / 3.0)))
            })
            .collect()
    };
    // After a deploy the new revision takes over at the onset.
    let by_revision = |points: Vec<(i64, f64)>| -> Vec<SeriesAnswer> {
        let of = |revision: u64, keep: &dyn Fn(i64) -> bool| {
            let labels = Labels::from_pairs([("revision", revision.to_string())]);
            SeriesAnswer::new(labels, points.iter().copied().filter(|(at, _)| keep(*at)))
        };
        if story.revision.0 == story.revision.1 {
            return vec![of(story.revision.1, &|_| true)];
        }
        vec![of(story.revision.0, &|at| at <= turned), of(story.revision.1, &|at| at > turned)]
    };
    Answer::Series(match asked {
        name::REQUESTS | name::REQUESTS_BY_STATUS | name::REQUESTS_BY_PATH => single(requests()),
        name::QUERY_RATE => single(rate((story.rate.0 * 0.95, story.rate.1.min(77.0) * 0.95))),
        name::REQUESTS_BY_INSTANCE => each_of_three(requests()),
        name::REQUESTS_BY_REVISION => by_revision(requests()),
        name::ERRORS => single(errors()),
        name::ERRORS_BY_INSTANCE => each_of_three(rate((story.errors.0 * 3.0, story.errors.1 * 3.0))),
        name::ERRORS_BY_REVISION => by_revision(errors()),
        name::LATENCY => single(step_to(story.p99)),
        name::LATENCY_BY_REVISION => by_revision(step_to(story.p99)),
        name::QUERY_TIME => single(step_to(story.hold)),
        name::POOL_USED => each_of_three(step_to(story.used)),
        name::POOL_SIZE => each_of_three(step_to((6.0, 6.0))),
        name::POOL_PENDING => each_of_three(step_to((0.0, story.pending))),
        name::POOL_TIMEOUTS => single(rate((0.0, story.timeouts))),
        name::CPU => each_of_three(rate((story.cpu.0 * 3.0, story.cpu.1 * 3.0))),
        name::MEMORY => each_of_three(step_to((90e6, 93e6))),
        name::STARTS => each_of_three(step_to((3e9, 3e9))),
        other => panic!("nobody answers `{other}`"),
    })
}

fn lines(story: &Story, asked: &str) -> Vec<TemplateCount> {
    let found = match asked {
        name::LINES_SINCE => &story.lines,
        name::LINES_BEFORE => &story.lines_before,
        _ => return Vec::new(),
    };
    let line = |(level, template, count): &(&str, &str, u64)| TemplateCount {
        template: (*template).to_owned(),
        count: *count,
        level: (*level).to_owned(),
        example: (*template).to_owned(),
        trace: None,
        first: ONSET,
        last: ONSET,
    };
    found.iter().map(line).collect()
}

fn traces(story: &Story, asked: &str) -> Operations {
    let since = asked != name::TRACES_BEFORE;
    let row = |operation: &str, errors: f64, self_mean_ms: f64| OperationStats {
        service: "backend".to_owned(),
        name: operation.to_owned(),
        count: 100,
        errors: (errors * 100.0) as u64,
        mean_ms: self_mean_ms,
        p50_ms: self_mean_ms,
        p99_ms: self_mean_ms,
        self_mean_ms,
    };
    let errors = if since { story.errors.1 } else { story.errors.0 };
    let insert = if since { story.insert_ms.1 } else { story.insert_ms.0 };
    Operations {
        stats: vec![row("auth.verify", 0.0, 5.0), row("db.insert", 0.0, insert), row("http.request", errors, 9.0)],
        slowest: None,
    }
}

fn workload(story: &Story) -> Workload {
    let ago = |seconds: i64| Timestamp(ONSET.0 - seconds * 1000);
    let deploy = |at, text: &str| Change { at, kind: ChangeKind::Deploy, text: text.to_owned(), by: String::new() };
    let mut changes = vec![deploy(ago(200), "revision 1")];
    let mut revisions = vec![Revision { number: 1, at: ago(200), label: "1.0.0".to_owned() }];
    if story.deployed {
        changes.push(deploy(ago(4), "revision 2"));
        revisions.push(Revision { number: 2, at: ago(4), label: "2.0.0".to_owned() });
    }
    if let Some(seconds) = story.rolled_back {
        changes.push(Change {
            at: ago(seconds),
            kind: ChangeKind::RollBack,
            text: "to 1.0.0".to_owned(),
            by: String::new(),
        });
        revisions.push(Revision { number: 2, at: ago(seconds + 60), label: "2.0.0".to_owned() });
        revisions.push(Revision { number: 3, at: ago(seconds), label: "1.0.0".to_owned() });
    }
    for at in 0..story.crashes {
        let text = "exited with status 1".to_owned();
        changes.push(Change { at: ago(10 - at as i64), kind: ChangeKind::Crash, text, by: String::new() });
    }
    Workload {
        target: Target { namespace: "production".to_owned(), name: "backend".to_owned() },
        service: "backend".to_owned(),
        desired: 3,
        ready: if story.crashes > 0 { 1 } else { 3 },
        revision: if story.deployed { 2 } else { story.revision.1 },
        revisions,
        changes,
    }
}

fn diagnose(story: &Story) -> Diagnosis {
    rank("backend", ONSET, &[], &evidence(story), WINDOW)
}

#[test]
fn finds_the_cause_of_each_story() {
    use CauseKind::{BadDeploy, CrashLoop, PoolExhaustion, ResourceExhaustion, SlowDependency, Unknown};
    let slow = Story { hold: (0.078, 0.6), p99: (0.09, 1.2), insert_ms: (80.0, 620.0), ..calm() };
    let slow_and_full = Story { used: (3.3, 6.0), pending: 60.0, timeouts: 9.0, errors: (0.004, 0.2), ..slow.clone() };
    let cases: [(&str, Story, CauseKind, bool); 17] = [
        ("a surge", surge(), PoolExhaustion, true),
        ("a surge, asked early", Story { after: 10, ..surge() }, PoolExhaustion, true),
        ("a surge, onset put too early", Story { after: 15, early: 5, ..surge() }, PoolExhaustion, true),
        ("a surge, asked late", Story { after: 90, ..surge() }, PoolExhaustion, true),
        ("a small service's surge", Story { rate: (20.0, 50.0), ..surge() }, PoolExhaustion, true),
        ("a bad deploy", broken(), BadDeploy, true),
        ("a bad deploy, asked early", Story { after: 10, ..broken() }, BadDeploy, true),
        ("a bad deploy, asked late", Story { after: 90, ..broken() }, BadDeploy, true),
        ("a deploy just before a surge", Story { deployed: true, ..surge() }, PoolExhaustion, true),
        ("a bad deploy soon after a surge", Story { surge_until: Some(40), ..broken() }, BadDeploy, true),
        ("a surge soon after another", Story { surge_until: Some(40), ..surge() }, PoolExhaustion, true),
        (
            "a surge after a roll-back",
            Story { rolled_back: Some(120), revision: (3, 3), ..surge() },
            PoolExhaustion,
            true,
        ),
        ("a slow database", slow, SlowDependency, true),
        ("a slow database that fills the pool", slow_and_full, SlowDependency, true),
        ("crashes", Story { crashes: 4, errors: (0.004, 0.3), ..calm() }, CrashLoop, true),
        (
            "a busy processor",
            Story { cpu: (0.3, 1.0), p99: (0.09, 0.9), after: 40, ..calm() },
            ResourceExhaustion,
            true,
        ),
        ("errors without a reason", Story { errors: (0.004, 0.2), ..calm() }, Unknown, false),
    ];
    for (case, story, kind, is_resolved) in cases {
        let found = diagnose(&story);
        let first = found.hypotheses.first().unwrap_or_else(|| panic!("{case}: no hypothesis: {found:#?}"));
        assert_eq!((first.kind, found.is_resolved), (kind, is_resolved), "{case}: {found:#?}");
        assert!(found.hypotheses.iter().all(|one| (0.0..=1.0).contains(&one.confidence)), "{case}");
        let named = found.hypotheses.iter().map(|one| one.kind).chain(found.ruled_out.iter().map(|one| one.kind));
        assert!(named.filter(|named| *named != Unknown).count() == 6, "{case}: every kind is ranked or ruled out");
    }
}

#[test]
fn sizes_the_pool_for_the_load() {
    for (case, story, replicas) in [
        ("asked after the window filled", Story { after: 40, ..surge() }, 8..=8),
        ("asked early", Story { after: 10, ..surge() }, 8..=9),
        ("onset put too early", Story { after: 15, early: 5, ..surge() }, 6..=8),
    ] {
        let found = diagnose(&story);
        let sizing = found.hypotheses[0].sizing.unwrap();
        assert!(replicas.contains(&sizing.replicas), "{case}: {sizing:?}");
        assert!((25.0..26.0).contains(&sizing.capacity_per_replica_per_s), "{case}: {sizing:?}");
    }
}

#[test]
fn missing_or_swapped_evidence_leaves_it_unresolved() {
    type Change = fn(&mut Evidence);
    let without = |evidence: &mut Evidence, dropped: &dyn Fn(&Question) -> bool| {
        for item in &mut evidence.items {
            if dropped(&item.question) {
                item.answer = Answer::Unavailable("no answer within 5 s".to_owned());
            }
        }
    };
    let is_named = |question: &Question, part: &str| match question {
        Question::Metric { name, .. } | Question::Templates { name, .. } | Question::Operations { name, .. } => {
            name.contains(part)
        }
        Question::Workloads { .. } => part == "workloads",
    };
    let cases: [(&str, Story, &str, bool); 10] = [
        ("no logs", surge(), "warnings", true),
        ("no traces", surge(), "traces", true),
        ("no pool", surge(), "pool", false),
        ("no metrics at all", surge(), "e", false),
        ("no traces", broken(), "traces", true),
        ("no logs", broken(), "warnings", true),
        ("no driver", broken(), "workloads", true),
        ("no revisions in metrics", broken(), "by revision", false),
        ("nothing about failures", broken(), "failed requests", false),
        ("no request rate", Story { lines: Vec::new(), ..surge() }, "request rate", true),
    ];
    for (case, story, part, is_resolved) in cases {
        let mut gathered = evidence(&story);
        without(&mut gathered, &|question| is_named(question, part));
        let found = rank("backend", ONSET, &[], &gathered, WINDOW);
        assert_eq!(found.is_resolved, is_resolved, "{case}: {found:#?}");
    }

    let empty: Change = |evidence| evidence.items.clear();
    let swapped: Change = |evidence| {
        let mut answers: Vec<Answer> = evidence.items.iter().map(|item| item.answer.clone()).collect();
        answers.reverse();
        for (item, answer) in evidence.items.iter_mut().zip(answers) {
            item.answer = answer;
        }
    };
    let endless: Change = |evidence| {
        for item in &mut evidence.items {
            if let Answer::Series(series) = &mut item.answer {
                for point in series.iter_mut().flat_map(|series| &mut series.points) {
                    point.1 = f64::NAN;
                }
            }
        }
    };
    let stale: Change = |evidence| {
        for item in &mut evidence.items {
            if let Answer::Series(series) = &mut item.answer {
                for one in series.iter_mut() {
                    one.points.retain(|(at, _)| *at <= ONSET.0);
                }
            }
        }
    };
    for (case, change) in [("empty", empty), ("swapped", swapped), ("not a number", endless), ("stale", stale)] {
        for story in [surge(), broken()] {
            let mut gathered = evidence(&story);
            change(&mut gathered);
            let found = rank("backend", ONSET, &[], &gathered, WINDOW);
            assert!(!found.is_resolved, "{case}: {found:#?}");
        }
    }
    assert!(!rank("another", ONSET, &[], &Evidence { gathered_at: ONSET, items: Vec::new() }, WINDOW).is_resolved);
}

#[test]
fn a_revision_is_dated_by_itself_not_by_an_earlier_deploy() {
    let mut gathered = evidence(&broken());
    for item in &mut gathered.items {
        if let Answer::Workloads(found) = &mut item.answer {
            for workload in found {
                // The onset was put too early: the second revision came a minute after it, the first long before.
                for revision in workload.revisions.iter_mut().filter(|revision| revision.number == 2) {
                    revision.at = Timestamp(ONSET.0 + 60_000);
                }
                workload.changes.retain(|change| change.at < ONSET.minus(Duration::from_secs(60)));
            }
        }
    }
    let found = rank("backend", ONSET, &[], &gathered, WINDOW);
    let text = serde_json::to_string(&found).unwrap();
    assert!(!text.contains("revision 2 (2.0.0) came 200 s before the onset"), "{text}");
}

#[test]
fn the_same_evidence_gives_the_same_diagnosis_and_both_survive_writing() {
    for story in [surge(), broken(), calm()] {
        let gathered = evidence(&story);
        let found = rank("backend", ONSET, &[], &gathered, WINDOW);
        let text = serde_json::to_string(&found).unwrap();
        assert!(!text.contains("null,\"confidence") && text == serde_json::to_string(&diagnose(&story)).unwrap());
        assert_eq!(serde_json::from_str::<Diagnosis>(&text).unwrap(), found);
        let text = serde_json::to_string(&gathered).unwrap();
        assert_eq!(serde_json::from_str::<Evidence>(&text).unwrap(), gathered);
    }
}

/// The diagnosis as a person would read it.
fn told(found: &Diagnosis) -> String {
    let mut text = String::new();
    let mut line = |depth: usize, said: &str| text.push_str(&format!("{:depth$}{said}\n", "", depth = depth * 2));
    for finding in &found.impact {
        line(0, &finding.claim);
    }
    for one in &found.hypotheses {
        line(0, &format!("{} ({}, revision {:?}, {:?})", one.title, one.confidence, one.revision, one.sizing));
        for finding in &one.evidence {
            line(1, &format!("+ {}", finding.claim));
        }
        for finding in &one.against {
            line(1, &format!("- {}", finding.claim));
        }
    }
    for one in &found.ruled_out {
        line(0, &format!("not {}: {}", one.kind, one.reason));
    }
    text
}

#[test]
fn a_surge_reads_well() {
    insta::assert_snapshot!(told(&diagnose(&surge())), @r#"
    failed requests 0.4 % -> 13 %
    p99 90 ms -> 2.1 s
    request rate 50/s -> about 130/s
    database connection pool of backend exhausted, by a traffic surge (0.97, revision None, Some(Sizing { offered_per_s: 129.2, capacity_per_replica_per_s: 25.6, replicas: 8 }))
      + 6 of 6 pool connections in use at the peak (100 %, 55 % before)
      + up to 80 requests wait for a connection, 0 before
      + waits for a connection time out: 0/s -> 10/s
      + a query holds its connection for 78 ms, 78 ms before
      + db.insert of backend spends 1.9 s in itself, 80 ms before
      + "Error: Connection pool exhausted": 90 lines in 15 s, none before
      + request rate 50/s -> 130/s (2.6 times), estimated from the first seconds
    not traffic_surge: the request rate is 2.6 times as high, but works through the full connection pool
    not bad_deploy: no new revision in the ten minutes before the onset
    not slow_dependency: a query holds its connection for 78 ms, 78 ms before
    not crash_loop: 0 replicas crashed since 30 s before the onset
    not resource_exhaustion: the busiest instance uses 0.11 processor cores, 0.08 before
    "#);
}

#[test]
fn a_bad_deploy_reads_well() {
    insta::assert_snapshot!(told(&diagnose(&broken())), @r#"
    failed requests 0.4 % -> 12 %
    p99 90 ms -> 90 ms
    request rate 50/s -> about 50/s
    revision 2 of backend answers with errors (0.97, revision Some(2), None)
      + revision 2 (2.0.0) came 4 s before the onset
      + 12 % of the requests to revision 2 fail, 0.4 % before it
      + new error "Error: cannot normalise name: unsupported character": 70 lines in 15 s, none before
      + 24 % of http.request spans fail, 0 % before
      + request rate 50/s -> 50/s (1.0 times)
    not traffic_surge: request rate 50/s -> 50/s (1.0 times)
    not pool_exhaustion: 3 of 6 pool connections in use at the peak (55 %, 55 % before)
    not slow_dependency: a query holds its connection for 78 ms, 78 ms before
    not crash_loop: 0 replicas crashed since 30 s before the onset
    not resource_exhaustion: the busiest instance uses 0.08 processor cores, 0.08 before
    "#);
}

#[test]
fn one_odd_instance_is_named() {
    let mut gathered = evidence(&Story { errors: (0.004, 0.1), ..calm() });
    for item in &mut gathered.items {
        let Question::Metric { name: asked, .. } = &item.question else { continue };
        let Answer::Series(series) = &mut item.answer else { continue };
        if asked == name::ERRORS_BY_INSTANCE {
            for one in series.iter_mut().skip(1) {
                one.points.iter_mut().for_each(|point| point.1 = 0.004);
            }
        }
    }
    let found = rank("backend", ONSET, &[], &gathered, WINDOW);
    assert_eq!((found.hypotheses[0].instance.as_deref(), found.is_resolved), (Some("127.0.0.1:9001"), false));
}

#[test]
fn lines_from_just_before_a_late_onset_do_not_hide_a_new_error() {
    const BROKEN: &str = "Error: cannot normalise name: unsupported character";
    for (case, before, is_new) in [("four seconds of it", 44, true), ("as often all the time", 1_400, false)] {
        let story = Story { lines_before: vec![("error", BROKEN, before)], ..broken() };
        let diagnosis = diagnose(&story);
        let claims =
            diagnosis.hypotheses.iter().flat_map(|found| &found.evidence).map(|finding| finding.claim.as_str());
        let said = claims.filter(|claim| claim.starts_with("new error")).count();
        assert_eq!(said > 0, is_new, "{case}: {diagnosis:?}");
    }
}
