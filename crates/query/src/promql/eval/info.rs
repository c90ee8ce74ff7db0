//! `info(vector, {labels})`: labels taken over from info metrics such as `target_info`.

use std::collections::{HashMap, HashSet};

use signal::{Labels, LabelsBuilder, Matcher, TimeRange, Timestamp};
use store::SeriesReader;

use super::call::argument;
use super::keys::{Choice, Places};
use super::rows::{Grid, Name, Row, is_present, same_labelset};
use super::select::millis;
use super::source::{Instant, Pick, Supply};
use super::{EvalError, Evaluator};
use crate::promql::ast::{At, Call, Expr, Selector};

const TARGET_INFO: &str = "target_info";

/// The labels by which a series and its info find each other; upstream knows no others either.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

impl Evaluator<'_> {
    pub(super) fn info(&mut self, call: &Call, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let base = self.vector(argument(call, 0)?, grid)?;
        let wanted: &[Matcher] = match call.args.get(1).map(Expr::unwrapped) {
            Some(Expr::Selector(selector)) => &selector.matchers,
            _ => &[],
        };
        let is_name = |matcher: &&Matcher| matcher.name == Labels::NAME;
        let mut matchers = wanted.to_vec();
        if !wanted.iter().any(|matcher| is_name(&matcher)) {
            matchers.push(Matcher::equal(Labels::NAME, TARGET_INFO));
        }
        // An info series is not enriched itself.
        let named = |row: &Row| matchers.iter().filter(is_name).all(|matcher| matcher.matches(row.metric_name()));
        let is_info: Vec<bool> = base.iter().map(named).collect();
        let enrichable = base.iter().zip(&is_info).filter(|(_, is_info)| !**is_info).map(|(row, _)| row);
        let infos = self.info_series(argument(call, 0)?, enrichable, &matchers, grid)?;
        let joined = Joined::new(&infos);
        let data = || wanted.iter().filter(|matcher| !is_name(matcher));
        let data_names: HashSet<&str> = data().map(|matcher| matcher.name.as_str()).collect();
        let may_lack = data().all(Matcher::matches_empty);
        let mut answers: Vec<Row> = Vec::new();
        let mut places: HashMap<Labels, usize> = HashMap::new();
        for (row, is_info) in base.iter().zip(is_info) {
            self.budget.check_canceled()?;
            let own = row.labels();
            let groups = joined.of(&own, row.name() == Name::Gone);
            let mut target: Option<(Vec<Option<usize>>, Option<usize>)> = None;
            for (step, point) in row.points.present() {
                let found: Vec<Option<usize>> = if is_info {
                    Vec::new()
                } else {
                    groups.iter().map(|group| joined.newest(*group, &infos, step)).collect::<Result<_, _>>()?
                };
                let place = match &target {
                    Some((known, place)) if *known == found => *place,
                    _ => {
                        let labels = if is_info {
                            Some(own.clone())
                        } else {
                            enriched(
                                &own,
                                found.iter().flatten().filter_map(|at| infos.get(*at)),
                                &data_names,
                                may_lack,
                            )?
                        };
                        labels.map(|labels| {
                            let next = answers.len();
                            let place = *places.entry(labels.clone()).or_insert(next);
                            if place == next {
                                let name = if row.name() == Name::Gone { Name::Kept } else { row.name() };
                                answers.push(Row::absent(labels, name, grid));
                            }
                            place
                        })
                    }
                };
                target = Some((found, place));
                let Some(answer) = place.and_then(|place| answers.get_mut(place)) else { continue };
                if answer.points.is_present(step) {
                    return Err(same_labelset());
                }
                answer.points.put(step, point);
            }
        }
        Ok(answers)
    }

    /// The info series that can belong to any of `base`; their values are the times of their samples.
    fn info_series<'r>(
        &mut self,
        expr: &Expr,
        base: impl Iterator<Item = &'r Row>,
        matchers: &[Matcher],
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let mut known: [HashSet<&str>; 2] = Default::default();
        for row in base {
            for (label, known) in IDENTIFYING.iter().zip(&mut known) {
                known.extend(row.raw_labels().get(label));
            }
        }
        if known.iter().all(HashSet::is_empty) {
            return Ok(Vec::new());
        }
        let lookback = millis(self.settings.lookback);
        let ends: Vec<i64> = grid.times().collect();
        // Upstream reads where the first selector looks, but evaluates at the steps of the query.
        let (first, last) = self.looked_at(expr.selectors().first().copied(), grid);
        let range = TimeRange::new(Timestamp(first.saturating_sub(lookback).saturating_add(1)), Timestamp(last));
        let mut readers: Vec<SeriesReader<'_>> = self.snapshot.find(matchers, range);
        readers.retain(|reader| {
            let fits = |(label, known): (&&str, &HashSet<&str>)| {
                known.is_empty() || reader.labels().get(label).is_some_and(|value| known.contains(value))
            };
            IDENTIFYING.iter().zip(&known).all(fits)
        });
        let supply = Supply::Instant(Instant { readers, range, ends, lookback, pick: Pick::Time });
        self.collect(supply, grid)
    }

    fn looked_at(&self, selector: Option<&Selector>, grid: Grid) -> (i64, i64) {
        let Some(selector) = selector else {
            return (grid.start, grid.end());
        };
        let offset = selector.shift.offset_ms.unwrap_or(0);
        let fixed = match selector.shift.at {
            None => None,
            Some(At::Time(at)) => Some(at.0),
            Some(At::Start) => Some(self.query.start),
            Some(At::End) => Some(self.query.end()),
        };
        let (start, end) = fixed.map_or((grid.start, grid.end()), |at| (at, at));
        (start.saturating_sub(offset), end.saturating_sub(offset))
    }
}

/// Info series by their metric and what they have in common with the series they are about.
struct Joined {
    choice: Choice,
    places: Places,
    /// Names of the info metrics.
    metrics: Vec<String>,
    groups: Vec<Vec<usize>>,
}

impl Joined {
    fn new(infos: &[Row]) -> Self {
        let choice = Choice::only(&IDENTIFYING.map(str::to_owned));
        let mut joined = Self { choice, places: Places::default(), metrics: Vec::new(), groups: Vec::new() };
        for (index, row) in infos.iter().enumerate() {
            let metric = row.metric_name();
            if !joined.metrics.iter().any(|known| known == metric) {
                joined.metrics.push(metric.to_owned());
            }
            let key = joined.key(metric, row.raw_labels(), false);
            let (place, is_new) = joined.places.place(&key);
            if is_new {
                joined.groups.push(Vec::new());
            }
            if let Some(group) = joined.groups.get_mut(place) {
                group.push(index);
            }
        }
        joined.metrics.sort();
        joined
    }

    fn key(&self, metric: &str, labels: &Labels, nameless: bool) -> Vec<u8> {
        let mut key = Vec::new();
        self.choice.write(labels, nameless, &mut key);
        key.extend_from_slice(metric.as_bytes());
        key
    }

    /// For each info metric the group that a series belongs to.
    fn of(&self, labels: &Labels, nameless: bool) -> Vec<usize> {
        self.metrics.iter().filter_map(|metric| self.places.find(&self.key(metric, labels, nameless))).collect()
    }

    /// The member of a group with the newest sample at a step.
    fn newest(&self, group: usize, infos: &[Row], step: usize) -> Result<Option<usize>, EvalError> {
        let mut newest: Option<(usize, f64)> = None;
        for member in self.groups.get(group).into_iter().flatten() {
            let Some(row) = infos.get(*member) else { continue };
            let Some(at) = row.points.values.get(step).copied().filter(|at| is_present(*at)) else { continue };
            match newest {
                Some((_, known)) if known == at => {
                    let name = row.metric_name();
                    return Err(EvalError::execution(format!("found duplicate series for info metric {name}")));
                }
                Some((_, known)) if known > at => {}
                Some(_) | None => newest = Some((*member, at)),
            }
        }
        Ok(newest.map(|(member, _)| member))
    }
}

/// The labels of a series with those of its info series; `None` when labels that were asked for are missing.
fn enriched<'r>(
    own: &Labels,
    infos: impl Iterator<Item = &'r Row>,
    data_names: &HashSet<&str>,
    may_lack: bool,
) -> Result<Option<Labels>, EvalError> {
    let mut added = LabelsBuilder::default();
    let mut is_empty = true;
    for row in infos {
        for (name, value) in row.raw_labels() {
            if name == Labels::NAME || (!data_names.is_empty() && !data_names.contains(name)) {
                continue;
            }
            if added.get(name).is_some_and(|known| known != value) {
                return Err(EvalError::execution(format!("conflicting label: {name}")));
            }
            if own.get(name).is_none() {
                added.set(name, value);
                is_empty = false;
            }
        }
    }
    if is_empty {
        return Ok(may_lack.then(|| own.clone()));
    }
    let added = added.build();
    Ok(Some(added.iter().fold(own.clone(), |labels, (name, value)| labels.with(name, value))))
}
