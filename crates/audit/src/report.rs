//! One incident as a page of plain text, at most 80 columns wide.

use std::fmt::Write as _;

use control::IncidentId;
use signal::Timestamp;

use crate::{IncidentView, Timeline};

const WIDTH: usize = 80;

/// Renders an incident: what users saw, why, what was done, whether it helped, and every step with its time.
#[must_use]
pub fn report(timeline: &Timeline, id: IncidentId) -> Option<String> {
    let incident = timeline.incident(id)?;
    let mut text = String::new();
    let title = format!("INCIDENT #{id}  {}", incident.title);
    section(&mut text, "", &title);
    let _ = writeln!(text, "{}", "=".repeat(WIDTH));
    section(&mut text, "STATE    ", &format!("{}, severity {}", incident.state, incident.severity));
    if let Some(diagnosis) = &incident.diagnosis {
        for finding in &diagnosis.impact {
            section(&mut text, "WHAT     ", &finding.claim);
        }
        if let Some(cause) = &incident.cause {
            section(&mut text, "WHY      ", &format!("{} (confidence {:.2})", cause.title, cause.confidence));
        }
        for finding in diagnosis.hypotheses.first().map(|cause| cause.evidence.as_slice()).unwrap_or_default() {
            section(&mut text, "  for    ", &finding.claim);
        }
        for finding in diagnosis.hypotheses.first().map(|cause| cause.against.as_slice()).unwrap_or_default() {
            section(&mut text, "  but    ", &finding.claim);
        }
        for out in &diagnosis.ruled_out {
            section(&mut text, "  not    ", &format!("{}: {}", out.kind.as_str().replace('_', " "), out.reason));
        }
    }
    for action in &incident.actions {
        let outcome = action.outcome.as_deref().unwrap_or("no answer yet");
        section(&mut text, "ACTION   ", &format!("{} - {outcome}", action.text));
        section(&mut text, "  policy ", &action.policies.join(", "));
        if action.undone {
            section(&mut text, "  undone ", "yes");
        }
    }
    if let Some(verdict) = incident.verdict {
        section(&mut text, "VERDICT  ", &verdict.to_string());
    }
    section(&mut text, "TIMES    ", &times(incident));
    let _ = writeln!(text, "\nTIMELINE (UTC)");
    for entry in timeline.entries.iter().filter(|entry| entry.incident == id) {
        let stage = serde_json::to_value(entry.stage).ok();
        let stage = stage.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        section(&mut text, &format!("{}  {stage:<10}", clock(entry.at)), &entry.text);
    }
    Some(text)
}

fn times(incident: &IncidentView) -> String {
    let onset = incident.onset;
    let mut parts = vec![format!("onset {}", clock(onset))];
    for (name, at) in [
        ("detected", Some(incident.detected_at)),
        ("cause", incident.diagnosed_at),
        ("acted", incident.acted_at),
        ("mitigated", incident.mitigated_at),
        ("verified", incident.verified_at),
    ] {
        if let Some(at) = at {
            parts.push(format!("{name} +{:.0} s", at.since(onset).as_secs_f64()));
        }
    }
    parts.join(", ")
}

/// `12:03:40`, UTC.
fn clock(at: Timestamp) -> String {
    at.to_string().get(11..19).unwrap_or("--:--:--").to_owned()
}

/// Writes `words` behind `head`, wrapped and indented so that no line is wider than the page.
fn section(text: &mut String, head: &str, words: &str) {
    let indent = head.chars().count();
    let mut line = head.to_owned();
    let mut is_empty = true;
    for word in words.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{}", line.trim_end());
            line = " ".repeat(indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    let _ = writeln!(text, "{}", line.trim_end());
}
