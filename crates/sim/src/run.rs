//! What is left after a run.

use std::fmt::Write as _;

use audit::{Kpis, Record, Timeline};
use signal::Timestamp;

use crate::target::Call;

/// The end of a run.
#[derive(Debug)]
pub struct Run {
    /// Laws that were broken, in plain words; empty in every run that is fine.
    pub broken: Vec<String>,
    /// Everything on record.
    pub records: Vec<Record>,
    /// The record folded.
    pub timeline: Timeline,
    /// How well it went.
    pub kpis: Kpis,
    /// Every call that changed the target or tried to.
    pub driver: Vec<Call>,
    /// Incidents that are still open.
    pub open: usize,
    /// Symptoms that opened no incident because too many were open.
    pub not_opened: u64,
    /// Replicas and revision of the deployment.
    pub replicas: u32,
    /// See `replicas`.
    pub revision: u64,
    /// How often Aegis was started.
    pub starts: u64,
    /// The instant from which the golden times count.
    pub(crate) epoch: Timestamp,
}

impl Run {
    /// The timeline as scripts expect it: one line for each step, and one for the end.
    #[must_use]
    pub fn golden(&self) -> String {
        let mut text = String::new();
        for entry in &self.timeline.entries {
            let at = entry.at.since(self.epoch).as_secs_f64();
            let stage = serde_json::to_value(entry.stage).ok();
            let stage = stage.as_ref().and_then(|stage| stage.as_str()).unwrap_or_default().to_owned();
            let _ = writeln!(text, "{at:>6.1}  #{} {stage:<9}  {}", entry.incident, entry.text);
        }
        let calls: Vec<String> = self.driver.iter().map(|call| format!("{}: {}", call.action, call.outcome)).collect();
        let calls = if calls.is_empty() { "nothing".to_owned() } else { calls.join("; ") };
        let _ = writeln!(
            text,
            "   end  {} incidents, {} open; done: {calls}; {} replicas of revision {}; started {} times",
            self.timeline.incidents.len(),
            self.open,
            self.replicas,
            self.revision,
            self.starts
        );
        text
    }
}
