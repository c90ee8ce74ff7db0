//! The single questions a hypothesis is made of, each answered with a number and the query behind it.

use std::collections::BTreeMap;

use detect::Unit;
use detect::templates::TemplateCount;

use super::facts::{Course, Deploy, Facts, median};
use super::weigh::Seen;
use crate::questions::name;
use crate::{ChangeKind, Finding};

/// Load counts as higher from this factor on, and as unchanged below the other.
pub(super) const SURGE: f64 = 1.5;
const STEADY: f64 = 1.35;
/// A template counts from so many lines on.
const LINES: u64 = 3;

/// How much the load grew; `None` when unknown.
pub(super) fn load_factor(facts: &Facts<'_>) -> Option<(f64, f64, f64)> {
    let course = facts.course(name::REQUESTS)?;
    let before = course.before.filter(|before| *before > 0.1)?;
    let now = facts.rate_now(&course);
    Some((before, now, now / before))
}

fn load_words(before: f64, now: f64, factor: f64) -> String {
    format!("request rate {} -> {} ({factor:.1} times)", Unit::PerSecond.words(before), Unit::PerSecond.words(now))
}

pub(super) fn load_is_up(facts: &Facts<'_>) -> Seen {
    let Some((before, now, factor)) = load_factor(facts) else { return Seen::Unknown };
    let words = load_words(before, now, factor);
    // The first half minute is an estimate, not what the query shows: say so.
    let is_estimate = facts.course(name::REQUESTS).is_some_and(|course| (course.now - now).abs() > 0.02 * now);
    let claim = if is_estimate { format!("{words}, estimated from the first seconds") } else { words };
    Seen::from(factor >= SURGE, facts.finding(name::REQUESTS, claim))
}

/// Judged by the rate as measured: the estimate for the time since is noisier, and noise must not look like load.
pub(super) fn load_is_steady(facts: &Facts<'_>) -> Seen {
    let Some(course) = facts.course(name::REQUESTS) else { return Seen::Unknown };
    let Some(before) = course.before.filter(|before| *before > 0.1) else { return Seen::Unknown };
    let (now, factor) = (course.now, course.now / before);
    Seen::from(factor < STEADY, facts.finding(name::REQUESTS, load_words(before, now, factor)))
}

/// Whether the load grew on every instance that served before: a surge does not pick.
pub(super) fn load_is_everywhere(facts: &Facts<'_>) -> Seen {
    let courses = facts.courses_by(name::REQUESTS_BY_INSTANCE, "instance");
    let factors: Vec<f64> = courses
        .values()
        .filter_map(|course| Some(facts.rate_now(course) / course.before.filter(|before| *before > 0.1)?))
        .collect();
    let Some(least) = factors.iter().copied().min_by(f64::total_cmp) else { return Seen::Unknown };
    let claim =
        format!("every one of {} instances serves at least {least:.1} times its rate from before", factors.len());
    Seen::from(least >= 1.2, facts.finding(name::REQUESTS_BY_INSTANCE, claim))
}

pub(super) fn pool_is_full(facts: &Facts<'_>) -> Seen {
    let Some(pool) = facts.pool() else { return Seen::Unknown };
    let before = pool.before.map_or(String::new(), |before| format!(", {} before", Unit::Ratio.words(before)));
    let claim = format!(
        "{:.0} of {:.0} pool connections in use at the peak ({}{before})",
        pool.used,
        pool.size,
        Unit::Ratio.words(pool.share)
    );
    Seen::from(pool.share >= 0.9, facts.finding(name::POOL_USED, claim))
}

pub(super) fn requests_wait(facts: &Facts<'_>) -> Seen {
    let Some(course) = facts.course(name::POOL_PENDING) else { return Seen::Unknown };
    let before = course.before.unwrap_or(0.0);
    let claim = format!("up to {:.0} requests wait for a connection, {before:.0} before", course.peak);
    Seen::from(course.peak >= 2.0_f64.max(3.0 * before), facts.finding(name::POOL_PENDING, claim))
}

pub(super) fn waits_time_out(facts: &Facts<'_>) -> Seen {
    let Some(course) = facts.course(name::POOL_TIMEOUTS) else { return Seen::Unknown };
    let before = course.before.unwrap_or(0.0);
    let claim = format!(
        "waits for a connection time out: {} -> {}",
        Unit::PerSecond.words(before),
        Unit::PerSecond.words(course.peak)
    );
    Seen::from(course.peak >= 0.05_f64.max(3.0 * before), facts.finding(name::POOL_TIMEOUTS, claim))
}

/// How the time a query holds its connection changed: before, now, factor.
fn hold_time(facts: &Facts<'_>) -> Option<(f64, f64, f64)> {
    let course = facts.course(name::QUERY_TIME)?;
    let before = course.before.filter(|before| *before > 0.0)?;
    Some((before, course.now, course.now / before))
}

fn hold_words(before: f64, now: f64) -> String {
    format!("a query holds its connection for {}, {} before", Unit::Seconds.words(now), Unit::Seconds.words(before))
}

pub(super) fn queries_are_as_fast(facts: &Facts<'_>) -> Seen {
    let Some((before, now, factor)) = hold_time(facts) else { return Seen::Unknown };
    Seen::from(factor < 1.5, facts.finding(name::QUERY_TIME, hold_words(before, now)))
}

pub(super) fn queries_are_slower(facts: &Facts<'_>) -> Seen {
    let Some((before, now, factor)) = hold_time(facts) else { return Seen::Unknown };
    Seen::from(factor >= 2.0 && now - before >= 0.02, facts.finding(name::QUERY_TIME, hold_words(before, now)))
}

/// Whether one operation spends far more time in itself than before; says which.
pub(super) fn an_operation_is_slower(facts: &Facts<'_>) -> Seen {
    let (Some(before), Some(since)) = (facts.operations(name::TRACES_BEFORE), facts.operations(name::TRACES_SINCE))
    else {
        return Seen::Unknown;
    };
    let usual: BTreeMap<_, _> =
        before.stats.iter().map(|row| ((row.service.as_str(), row.name.as_str()), row.self_mean_ms)).collect();
    let grown = since
        .stats
        .iter()
        .filter_map(|row| Some((row, *usual.get(&(row.service.as_str(), row.name.as_str()))?)))
        .max_by(|a, b| (a.0.self_mean_ms - a.1).total_cmp(&(b.0.self_mean_ms - b.1)));
    let Some((row, usual)) = grown else { return Seen::Unknown };
    let claim = format!(
        "{} of {} spends {} in itself, {} before",
        row.name,
        row.service,
        Unit::Seconds.words(row.self_mean_ms / 1000.0),
        Unit::Seconds.words(usual / 1000.0)
    );
    let is_slower = row.self_mean_ms >= 2.0 * usual && row.self_mean_ms - usual >= 50.0;
    Seen::from(is_slower, facts.finding(name::TRACES_SINCE, claim))
}

/// Whether lines say that connections ran out, more than before.
pub(super) fn lines_say_pool(facts: &Facts<'_>) -> Seen {
    let says_pool = |found: &&TemplateCount| {
        let text = found.template.to_lowercase();
        let names_it = ["pool", "connection", "acquire"].iter().any(|word| text.contains(word));
        names_it
            && ["exhaust", "timeout", "timed out", "no free", "too many", "full"].iter().any(|word| text.contains(word))
    };
    let Some((since, since_s)) = facts.lines(name::LINES_SINCE) else { return Seen::Unknown };
    let (before, before_s) = facts.lines(name::LINES_BEFORE).unwrap_or((&[], 1.0));
    let earlier: u64 = before.iter().filter(says_pool).map(|found| found.count).sum();
    let Some(most) = since.iter().find(says_pool) else {
        return Seen::No(facts.finding(name::LINES_SINCE, "no line says that connections ran out".to_owned()));
    };
    let now: u64 = since.iter().filter(says_pool).map(|found| found.count).sum();
    let claim = format!("\"{}\": {}", most.template, lines_words((now, since_s), (earlier, before_s)));
    let is_more = per_second(now, since_s) > 3.0 * per_second(earlier, before_s);
    Seen::from(now >= LINES && is_more, facts.finding(name::LINES_SINCE, claim))
}

fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

fn lines_words((now, since_s): (u64, f64), (earlier, before_s): (u64, f64)) -> String {
    let lines = if now == 1 { "line" } else { "lines" };
    if earlier == 0 {
        return format!("{now} {lines} in {since_s:.0} s, none before");
    }
    format!("{now} {lines} in {since_s:.0} s, {earlier} in the {before_s:.0} s before")
}

/// Whether errors are logged that were not logged before.
pub(super) fn new_error_lines(facts: &Facts<'_>) -> Seen {
    let (Some((since, since_s)), Some((before, before_s))) =
        (facts.lines(name::LINES_SINCE), facts.lines(name::LINES_BEFORE))
    else {
        return Seen::Unknown;
    };
    let earlier =
        |template: &str| before.iter().filter(|found| found.template == template).map(|found| found.count).sum::<u64>();
    // Rates, not counts: the onset is an estimate, and the first lines may stand before it.
    let is_new = |found: &TemplateCount| {
        per_second(found.count, since_s) > 10.0 * per_second(earlier(&found.template), before_s)
    };
    let new = since
        .iter()
        .find(|found| matches!(found.level.as_str(), "error" | "critical") && found.count >= LINES && is_new(found));
    match new {
        Some(found) => {
            let words = lines_words((found.count, since_s), (earlier(&found.template), before_s));
            let claim = format!("new error \"{}\": {words}", found.template);
            Seen::Yes(facts.finding(name::LINES_SINCE, claim))
        }
        None => Seen::No(facts.finding(name::LINES_SINCE, "no kind of error is new in the logs".to_owned())),
    }
}

/// Whether an operation fails that did not fail before.
pub(super) fn an_operation_fails(facts: &Facts<'_>) -> Seen {
    let Some(since) = facts.operations(name::TRACES_SINCE) else { return Seen::Unknown };
    let share = |errors: u64, count: u64| errors as f64 / count.max(1) as f64;
    let usual = |service: &str, operation: &str| {
        let rows = facts.operations(name::TRACES_BEFORE).map(|found| found.stats.as_slice()).unwrap_or_default();
        rows.iter()
            .find(|row| row.service == service && row.name == operation)
            .map_or(0.0, |row| share(row.errors, row.count))
    };
    let worst = since
        .stats
        .iter()
        .map(|row| (row, share(row.errors, row.count), usual(&row.service, &row.name)))
        .max_by(|a, b| (a.1 - a.2).total_cmp(&(b.1 - b.2)));
    let Some((row, now, before)) = worst else { return Seen::Unknown };
    let claim =
        format!("{} of {} {} fail, {} before", Unit::Ratio.words(now), row.name, "spans", Unit::Ratio.words(before));
    Seen::from(now >= 0.02 && now >= 3.0 * before, facts.finding(name::TRACES_SINCE, claim))
}

pub(super) fn find_deploy(facts: &Facts<'_>) -> Option<Deploy> {
    match facts.workloads() {
        Some(_) => facts.deploy(),
        None => facts.deploy_by_labels(),
    }
}

pub(super) fn deployed_shortly_before(facts: &Facts<'_>) -> Seen {
    let about = |claim: String| Finding { claim, query: facts.service.to_owned(), language: crate::Language::Workload };
    if let Some(deploy) = find_deploy(facts) {
        let seconds = facts.onset.since(deploy.at).as_secs();
        let label = if deploy.label.is_empty() { String::new() } else { format!(" ({})", deploy.label) };
        return Seen::Yes(about(format!("revision {}{label} came {seconds} s before the onset", deploy.revision)));
    }
    if facts.workloads().is_some() {
        return Seen::No(about("no new revision in the ten minutes before the onset".to_owned()));
    }
    let known = facts.history_by(name::REQUESTS_BY_REVISION, "revision");
    if known.keys().any(|revision| !revision.is_empty()) {
        return Seen::No(
            facts.finding(name::REQUESTS_BY_REVISION, "every revision that serves has served before".to_owned()),
        );
    }
    Seen::Unknown
}

pub(super) fn not_deployed(facts: &Facts<'_>) -> Seen {
    match deployed_shortly_before(facts) {
        Seen::Yes(finding) => Seen::No(finding),
        Seen::No(finding) => Seen::Yes(finding),
        Seen::Unknown => Seen::Unknown,
    }
}

/// Whether `revision` fails or lags far more than what served before, or serves beside it.
pub(super) fn revision_is_worse(facts: &Facts<'_>, revision: u64) -> Seen {
    let key = revision.to_string();
    let errors = compare(facts, (name::ERRORS_BY_REVISION, name::ERRORS), &key);
    let latency = compare(facts, (name::LATENCY_BY_REVISION, name::LATENCY), &key);
    if let Some((new, reference, beside)) = errors {
        let is_worse = new >= reference + 0.02 && new >= 3.0 * reference;
        let who = if beside { "of the other revision at the same time" } else { "before it" };
        let claim = format!(
            "{} of the requests to revision {revision} fail, {} {who}",
            Unit::Ratio.words(new),
            Unit::Ratio.words(reference)
        );
        let lags = latency.is_some_and(|(new, reference, _)| new >= 3.0 * reference && new - reference >= 0.2);
        if is_worse || !lags {
            return Seen::from(is_worse, facts.finding(name::ERRORS_BY_REVISION, claim));
        }
    }
    let Some((new, reference, _)) = latency else { return Seen::Unknown };
    let claim = format!(
        "p99 of revision {revision} is {}, {} before it",
        Unit::Seconds.words(new),
        Unit::Seconds.words(reference)
    );
    Seen::from(new >= 3.0 * reference && new - reference >= 0.2, facts.finding(name::LATENCY_BY_REVISION, claim))
}

/// The worst value of a revision, what to compare it with, and whether that was measured at the same time.
fn compare(facts: &Facts<'_>, (by_revision, overall): (&str, &str), key: &str) -> Option<(f64, f64, bool)> {
    let courses = facts.courses_by(by_revision, "revision");
    let new = courses.get(key)?.peak;
    let beside: Vec<f64> = courses.iter().filter(|(other, _)| *other != key).map(|(_, course)| course.now).collect();
    // What serves beside the new revision is the fairer measure, unless both suffer; then the past decides as well.
    if let Some(other) = beside.into_iter().max_by(f64::total_cmp) {
        return Some((new, other, true));
    }
    let history = facts.history_by(by_revision, "revision");
    let earlier =
        history.iter().filter(|(other, _)| *other != key).map(|(_, (_, value))| *value).max_by(f64::total_cmp);
    let reference = earlier.or_else(|| facts.course(overall)?.before)?;
    Some((new, reference, false))
}

/// Whether `revision` already served for a while without trouble: then it is not the news.
pub(super) fn revision_served_well(facts: &Facts<'_>, revision: u64) -> Seen {
    let history = facts.history_by(name::ERRORS_BY_REVISION, "revision");
    let Some((points, share)) = history.get(&revision.to_string()) else {
        let claim = format!("revision {revision} had not served before the onset");
        return Seen::Yes(facts.finding(name::ERRORS_BY_REVISION, claim));
    };
    let claim =
        format!("revision {revision} served before the onset with {} failed requests", Unit::Ratio.words(*share));
    Seen::from(*points < 6 || *share >= 0.05, facts.finding(name::ERRORS_BY_REVISION, claim))
}

/// Whether replicas die. The onset is known to about a window; what died earlier died of something else.
pub(super) fn replicas_die(facts: &Facts<'_>) -> Seen {
    let since = facts.onset.minus(facts.window);
    let window = format!("{} s", facts.window.as_secs());
    let starts = facts.series(name::STARTS).unwrap_or_default();
    let restarted: usize = starts
        .iter()
        .map(|series| {
            let values: Vec<f64> =
                series.points.iter().filter(|(at, _)| *at >= since.0).map(|(_, value)| *value).collect();
            values.windows(2).filter(|pair| matches!(pair, [first, second] if second > first)).count()
        })
        .sum();
    let Some(workloads) = facts.workloads() else {
        if starts.is_empty() {
            return Seen::Unknown;
        }
        let processes = if restarted == 1 { "process" } else { "processes" };
        let claim = format!("{restarted} {processes} started anew since {window} before the onset");
        return Seen::from(restarted >= 2, facts.finding(name::STARTS, claim));
    };
    let crashes = workloads
        .iter()
        .flat_map(|workload| &workload.changes)
        .filter(|change| change.kind == ChangeKind::Crash && change.at >= since)
        .count();
    let replicas = if crashes == 1 { "replica" } else { "replicas" };
    let claim = format!("{crashes} {replicas} crashed since {window} before the onset");
    let finding = Finding { claim, query: facts.service.to_owned(), language: crate::Language::Workload };
    Seen::from(crashes >= 2 || restarted >= 2, finding)
}

pub(super) fn replicas_are_missing(facts: &Facts<'_>) -> Seen {
    let Some(workloads) = facts.workloads() else { return Seen::Unknown };
    let (ready, desired) = workloads
        .iter()
        .fold((0_u64, 0_u64), |sum, workload| (sum.0 + u64::from(workload.ready), sum.1 + u64::from(workload.desired)));
    let claim = format!("{ready} of {desired} replicas are ready");
    let finding = Finding { claim, query: facts.service.to_owned(), language: crate::Language::Workload };
    Seen::from(ready < desired, finding)
}

/// Whether processor or memory of an instance is used up.
pub(super) fn resources_are_used_up(facts: &Facts<'_>) -> Seen {
    let cpu = facts.courses_by(name::CPU, "instance");
    let memory = facts.courses_by(name::MEMORY, "instance");
    let worst_cpu = cpu.values().max_by(|a, b| a.peak.total_cmp(&b.peak));
    let growth = |course: &Course| course.before.map_or(0.0, |before| course.peak / before.max(1.0));
    let worst_memory = memory.values().max_by(|a, b| growth(a).total_cmp(&growth(b)));
    if let Some(course) = worst_memory
        && growth(course) >= 1.5
        && course.peak - course.before.unwrap_or(course.peak) >= 64e6
    {
        let claim = format!(
            "memory of an instance grew from {:.0} MB to {:.0} MB",
            course.before.unwrap_or(0.0) / 1e6,
            course.peak / 1e6
        );
        return Seen::Yes(facts.finding(name::MEMORY, claim));
    }
    let Some(course) = worst_cpu else { return Seen::Unknown };
    let before = course.before.unwrap_or(0.0);
    let claim = format!("the busiest instance uses {:.2} processor cores, {before:.2} before", course.peak);
    Seen::from(course.peak >= 0.9 && course.peak >= 1.3 * before, facts.finding(name::CPU, claim))
}

/// Whether anything inside the service is at its limit.
pub(super) fn something_is_at_its_limit(facts: &Facts<'_>) -> Seen {
    match (pool_is_full(facts), resources_are_used_up(facts)) {
        (Seen::Yes(finding), _) | (_, Seen::Yes(finding)) => Seen::Yes(finding),
        (Seen::No(finding), _) | (_, Seen::No(finding)) => Seen::No(finding),
        (Seen::Unknown, Seen::Unknown) => Seen::Unknown,
    }
}

/// Whether users notice.
pub(super) fn users_suffer(facts: &Facts<'_>) -> Seen {
    let Some(course) = facts.course(name::ERRORS) else { return Seen::Unknown };
    let before = course.before.unwrap_or(0.0);
    let claim = format!("failed requests {} -> {}", Unit::Ratio.words(before), Unit::Ratio.words(course.peak));
    let is_slow = facts.course(name::LATENCY).is_some_and(|latency| {
        latency.before.is_some_and(|before| latency.peak >= 2.0 * before && latency.peak - before >= 0.2)
    });
    Seen::from(course.peak >= before + 0.02 || is_slow, facts.finding(name::ERRORS, claim))
}

/// The one instance that fails while its peers do not: its name, share and the share of the others.
pub(super) fn odd_one_out(facts: &Facts<'_>) -> Option<(String, f64, f64)> {
    let courses = facts.courses_by(name::ERRORS_BY_INSTANCE, "instance");
    let (worst, share) =
        courses.iter().map(|(instance, course)| (instance, course.now)).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let mut others: Vec<f64> =
        courses.iter().filter(|(instance, _)| *instance != worst).map(|(_, course)| course.now).collect();
    let most = others.iter().copied().max_by(f64::total_cmp)?;
    let usual = median(&mut others);
    (!worst.is_empty() && share >= 0.05 && share >= 5.0 * most).then(|| (worst.clone(), share, usual))
}
