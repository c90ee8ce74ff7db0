//! What is asked about an incident, and what came back.

use detect::templates::TemplateCount;
use policy::Target;
use serde::{Deserialize, Serialize};
use signal::{Labels, Timestamp};

use crate::Operations;

/// One question to the stored telemetry or to the driver; each is a query a reader can open.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// A range query.
    Metric {
        /// What it is about, in words.
        name: String,
        /// PromQL.
        query: String,
        /// First step.
        start: Timestamp,
        /// Last step.
        end: Timestamp,
        /// Distance of steps.
        step_ms: i64,
    },
    /// Log lines, to be grouped by template.
    Templates {
        /// What it is about, in words.
        name: String,
        /// LogQL.
        query: String,
        /// First instant.
        start: Timestamp,
        /// Last instant.
        end: Timestamp,
        /// How many lines at most.
        limit: u32,
    },
    /// Traces, to be summarised by operation.
    Operations {
        /// What it is about, in words.
        name: String,
        /// TraceQL.
        query: String,
        /// First instant.
        start: Timestamp,
        /// Last instant.
        end: Timestamp,
        /// How many traces at most.
        limit: u32,
    },
    /// What runs the service, and what changed about it.
    Workloads {
        /// The service.
        service: String,
    },
}

/// What came back.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// For `Metric`.
    Series(Vec<SeriesAnswer>),
    /// For `Templates`, most frequent first.
    Templates(Vec<TemplateCount>),
    /// For `Operations`.
    Operations(Operations),
    /// For `Workloads`.
    Workloads(Vec<Workload>),
    /// No answer, and why.
    Unavailable(String),
}

/// One series of a range query.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SeriesAnswer {
    /// Identity.
    pub labels: Labels,
    /// Milliseconds and value, ascending, finite.
    pub points: Vec<(i64, f64)>,
}

impl SeriesAnswer {
    /// A series without the points that are no numbers: those could not be written to a ledger.
    #[must_use]
    pub fn new(labels: Labels, points: impl IntoIterator<Item = (i64, f64)>) -> Self {
        Self { labels, points: points.into_iter().filter(|(_, value)| value.is_finite()).collect() }
    }
}

/// One question and its answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Item {
    /// What was asked.
    pub question: Question,
    /// What came back.
    pub answer: Answer,
}

/// Everything gathered for one diagnosis.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// When.
    pub gathered_at: Timestamp,
    /// In the order of the questions.
    pub items: Vec<Item>,
}

/// A deployment that runs a service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Workload {
    /// What a driver would act on.
    pub target: Target,
    /// The service it runs.
    pub service: String,
    /// Replicas asked for.
    pub desired: u32,
    /// Replicas that are ready.
    pub ready: u32,
    /// The current revision.
    pub revision: u64,
    /// Known revisions, oldest first.
    pub revisions: Vec<Revision>,
    /// What changed, oldest first.
    pub changes: Vec<Change>,
}

/// One version of a workload.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Revision {
    /// Its number.
    pub number: u64,
    /// When it was made.
    pub at: Timestamp,
    /// Image or version.
    pub label: String,
}

/// Something that was done to a workload or happened to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// What kind.
    pub kind: ChangeKind,
    /// Plain words.
    pub text: String,
    /// Who did it; may be empty.
    pub by: String,
}

/// Kinds of change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A new revision.
    Deploy,
    /// Another number of replicas.
    Scale,
    /// Back to an earlier revision.
    RollBack,
    /// The same revision, started anew.
    Restart,
    /// A replica died.
    Crash,
}

impl Evidence {
    /// Every workload in the answers.
    pub fn workloads(&self) -> impl Iterator<Item = &Workload> {
        let lists = self.items.iter().filter_map(|item| match &item.answer {
            Answer::Workloads(workloads) => Some(workloads),
            Answer::Series(_) | Answer::Templates(_) | Answer::Operations(_) | Answer::Unavailable(_) => None,
        });
        lists.flatten()
    }

    /// The series that answered the metric question called `name`; `None` when it was not asked or not answered.
    #[must_use]
    pub fn series(&self, name: &str) -> Option<&[SeriesAnswer]> {
        self.items.iter().find_map(|item| match (&item.question, &item.answer) {
            (Question::Metric { name: asked, .. }, Answer::Series(series)) if asked == name => Some(series.as_slice()),
            _ => None,
        })
    }

    /// Why the metric question called `name` has no answer; `None` when it has one or was not asked.
    #[must_use]
    pub fn unavailable(&self, name: &str) -> Option<&str> {
        self.items.iter().find_map(|item| match (&item.question, &item.answer) {
            (Question::Metric { name: asked, .. }, Answer::Unavailable(why)) if asked == name => Some(why.as_str()),
            _ => None,
        })
    }
}
