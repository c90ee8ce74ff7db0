//! Reads the numbers a diagnosis needs out of the evidence; what is missing stays `None`.

use std::collections::BTreeMap;
use std::time::Duration;

use detect::templates::TemplateCount;
use signal::Timestamp;

use crate::{Answer, Evidence, Finding, Language, Operations, Question, SeriesAnswer, Workload};

/// What "just before" means: long enough for a median, short enough to miss the incident before this one.
const JUST_BEFORE: Duration = Duration::from_secs(60);
/// How much later than the last reading without evidence it really began, on average, in seconds.
const ONSET_LAG: f64 = 1.0;
/// Fewer points than this are no history.
const FEW: usize = 3;

/// Evidence with its onset: every question below is "before or since?".
pub(super) struct Facts<'a> {
    pub(super) service: &'a str,
    pub(super) onset: Timestamp,
    pub(super) evidence: &'a Evidence,
    /// The window of the rates in it.
    pub(super) window: Duration,
}

/// One series, before and since.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Course {
    /// Median just before the onset.
    pub(super) before: Option<f64>,
    /// The latest value since.
    pub(super) now: f64,
    /// The largest value since.
    pub(super) peak: f64,
    /// When the latest value was.
    pub(super) at: Timestamp,
}

impl<'a> Facts<'a> {
    /// The series answered to the question of that name.
    pub(super) fn series(&self, name: &str) -> Option<&'a [SeriesAnswer]> {
        self.evidence.items.iter().find_map(|item| match (&item.question, &item.answer) {
            (Question::Metric { name: asked, .. }, Answer::Series(series)) if asked == name => Some(series.as_slice()),
            _ => None,
        })
    }

    pub(super) fn templates(&self, name: &str) -> Option<&'a [TemplateCount]> {
        self.evidence.items.iter().find_map(|item| match (&item.question, &item.answer) {
            (Question::Templates { name: asked, .. }, Answer::Templates(found)) if asked == name => {
                Some(found.as_slice())
            }
            _ => None,
        })
    }

    /// The lines of that question, with how many seconds they come from.
    pub(super) fn lines(&self, name: &str) -> Option<(&'a [TemplateCount], f64)> {
        let seconds = self.evidence.items.iter().find_map(|item| match &item.question {
            Question::Templates { name: asked, start, end, .. } if asked == name => Some(end.since(*start)),
            Question::Templates { .. }
            | Question::Metric { .. }
            | Question::Operations { .. }
            | Question::Workloads { .. } => None,
        })?;
        Some((self.templates(name)?, seconds.as_secs_f64().max(1.0)))
    }

    pub(super) fn operations(&self, name: &str) -> Option<&'a Operations> {
        self.evidence.items.iter().find_map(|item| match (&item.question, &item.answer) {
            (Question::Operations { name: asked, .. }, Answer::Operations(found)) if asked == name => Some(found),
            _ => None,
        })
    }

    /// The workloads of this service; `None` when nobody could say, never empty.
    pub(super) fn workloads(&self) -> Option<Vec<&'a Workload>> {
        self.evidence.items.iter().find_map(|item| match (&item.question, &item.answer) {
            (Question::Workloads { .. }, Answer::Workloads(found)) => {
                let of_service: Vec<_> = found.iter().filter(|workload| workload.service == self.service).collect();
                (!of_service.is_empty()).then_some(of_service)
            }
            _ => None,
        })
    }

    /// A finding that names the query of the question it comes from.
    pub(super) fn finding(&self, name: &str, claim: String) -> Finding {
        let asked = self.evidence.items.iter().find_map(|item| match &item.question {
            Question::Metric { name: asked, query, .. } if asked == name => Some((query, Language::Promql)),
            Question::Templates { name: asked, query, .. } if asked == name => Some((query, Language::Logql)),
            Question::Operations { name: asked, query, .. } if asked == name => Some((query, Language::Traceql)),
            Question::Metric { .. }
            | Question::Templates { .. }
            | Question::Operations { .. }
            | Question::Workloads { .. } => None,
        });
        match asked {
            Some((query, language)) => Finding { claim, query: query.clone(), language },
            None => Finding { claim, query: self.service.to_owned(), language: Language::Workload },
        }
    }

    /// The course of the sum of all series of a question.
    pub(super) fn course(&self, name: &str) -> Option<Course> {
        self.course_of(&total(self.series(name)?))
    }

    /// Courses by the value of `label`; series without it come under the empty string.
    pub(super) fn courses_by(&self, name: &str, label: &str) -> BTreeMap<String, Course> {
        let mut found = BTreeMap::new();
        for series in self.series(name).unwrap_or_default() {
            let points: BTreeMap<i64, f64> = finite(series).collect();
            if let Some(course) = self.course_of(&points) {
                found.insert(series.labels.get_or_empty(label).to_owned(), course);
            }
        }
        found
    }

    /// Values by the value of `label` that were seen well before the onset: how many points, and their median.
    pub(super) fn history_by(&self, name: &str, label: &str) -> BTreeMap<String, (usize, f64)> {
        let until = self.onset.minus(self.window);
        let mut found = BTreeMap::new();
        for series in self.series(name).unwrap_or_default() {
            let mut values: Vec<f64> =
                finite(series).filter(|(at, _)| Timestamp(*at) <= until).map(|(_, value)| value).collect();
            if !values.is_empty() {
                let count = values.len();
                found.insert(series.labels.get_or_empty(label).to_owned(), (count, median(&mut values)));
            }
        }
        found
    }

    fn course_of(&self, points: &BTreeMap<i64, f64>) -> Option<Course> {
        let recent = self.onset.minus(JUST_BEFORE);
        let mut just_before: Vec<f64> = points.range(recent.0..=self.onset.0).map(|(_, value)| *value).collect();
        if just_before.len() < FEW {
            just_before = points.range(..=self.onset.0).map(|(_, value)| *value).collect();
        }
        let before = if just_before.is_empty() { None } else { Some(median(&mut just_before)) };
        let after = self.onset.0.checked_add(1)?;
        let (at, now) = points.range(after..).next_back()?;
        let peak = points.range(after..).map(|(_, value)| *value).fold(*now, f64::max);
        Some(Course { before, now: *now, peak, at: Timestamp(*at) })
    }

    /// The rate since the onset, freed from the part of its window that still lies before it.
    pub(super) fn rate_now(&self, course: &Course) -> f64 {
        let Some(before) = course.before else { return course.now };
        let window = self.window.as_secs_f64();
        // Only a rise is corrected: what seems to fall is often the end of an earlier rise, still inside "before".
        if course.now <= before {
            return course.now;
        }
        let covered = course.at.since(self.onset).as_secs_f64() - ONSET_LAG;
        if covered >= window {
            return course.now;
        }
        // Never stretched more than fourfold: noise grows with it.
        let stretch = (window / covered.max(1.0)).min(4.0);
        (before + (course.now - before) * stretch).max(0.0)
    }

    /// Largest share of the pool in use since the onset, and the size of one instance's pool.
    pub(super) fn pool(&self) -> Option<Pool> {
        use crate::questions::name;
        let (used, size) = (total(self.series(name::POOL_USED)?), total(self.series(name::POOL_SIZE)?));
        let share_at = |at: &i64, used: &f64| {
            let size = size.get(at).copied().filter(|size| *size > 0.0)?;
            Some((used / size, *used, size))
        };
        let since = used.range(self.onset.0.checked_add(1)?..);
        let peak = since.filter_map(|(at, used)| share_at(at, used)).max_by(|a, b| a.0.total_cmp(&b.0))?;
        let mut before: Vec<f64> = used
            .range(self.onset.minus(JUST_BEFORE).0..=self.onset.0)
            .filter_map(|(at, used)| share_at(at, used).map(|found| found.0))
            .collect();
        let before = if before.is_empty() { None } else { Some(median(&mut before)) };
        let sizes: Vec<f64> = self.courses_by(name::POOL_SIZE, "instance").values().map(|course| course.now).collect();
        let per_instance = sizes.iter().sum::<f64>() / (sizes.len().max(1) as f64);
        Some(Pool { before, share: peak.0, used: peak.1, size: peak.2, per_instance })
    }

    /// The revision that came shortly before the onset, if it replaced another one.
    pub(super) fn deploy(&self) -> Option<Deploy> {
        let (earliest, latest) = (self.onset.minus(Duration::from_secs(600)), self.onset.plus(Duration::from_secs(30)));
        for workload in self.workloads()? {
            let Some(current) = workload.revisions.iter().find(|known| known.number == workload.revision) else {
                continue;
            };
            let has_other = workload.revisions.iter().any(|known| known.number != current.number);
            if has_other && earliest <= current.at && current.at <= latest {
                return Some(Deploy { revision: current.number, label: current.label.clone(), at: current.at });
            }
        }
        None
    }

    /// The same from labels alone: a revision that serves since the onset and did not well before it.
    pub(super) fn deploy_by_labels(&self) -> Option<Deploy> {
        use crate::questions::name;
        let known = self.history_by(name::REQUESTS_BY_REVISION, "revision");
        let serving = self.courses_by(name::REQUESTS_BY_REVISION, "revision");
        let newest = serving
            .iter()
            .filter_map(|(label, course)| Some((label.parse::<u64>().ok()?, course)))
            .max_by_key(|(number, _)| *number)?;
        let is_new = !known.contains_key(&newest.0.to_string());
        if known.is_empty() || !is_new || newest.1.peak <= 0.0 {
            return None;
        }
        Some(Deploy { revision: newest.0, label: String::new(), at: self.onset })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Deploy {
    pub(super) revision: u64,
    pub(super) label: String,
    pub(super) at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    pub(super) before: Option<f64>,
    pub(super) share: f64,
    pub(super) used: f64,
    pub(super) size: f64,
    pub(super) per_instance: f64,
}

fn finite(series: &SeriesAnswer) -> impl Iterator<Item = (i64, f64)> + '_ {
    series.points.iter().copied().filter(|(_, value)| value.is_finite())
}

fn total(series: &[SeriesAnswer]) -> BTreeMap<i64, f64> {
    let mut sum = BTreeMap::new();
    for (at, value) in series.iter().flat_map(finite) {
        *sum.entry(at).or_insert(0.0) += value;
    }
    sum
}

pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
