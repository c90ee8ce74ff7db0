//! What must hold whatever goes wrong.

use std::collections::BTreeSet;
use std::path::Path;

use audit::{LEDGER_FILE, Record};
use control::EffectRecord;
use policy::{Action, ProposalId};
use store::{Disk, MemoryDisk};

use crate::target::{Call, Deployment};

/// Checked after every step: what the driver was made to do.
pub(crate) fn check_target(deployment: &Deployment, max_replicas: u32, may_exceed: u32, broken: &mut Vec<String>) {
    let replicas = deployment.desired();
    if replicas > max_replicas.max(may_exceed) {
        broken.push(format!("{replicas} replicas run, {max_replicas} are allowed"));
    }
    let mut seen = BTreeSet::new();
    let mut until = None;
    for call in &deployment.calls {
        if !seen.insert(&call.id) {
            broken.push(format!("{} was carried out twice", call.id));
        }
        if until.is_some_and(|until| call.from < until) && changes_something(call) {
            broken.push(format!("{} began while another action was running", call.id));
        }
        until = until.max(Some(call.until));
        if call.id.0.matches("/undo").count() > 1 {
            broken.push(format!("{} takes back an undo", call.id));
        }
        if let Action::Scale { to, .. } = call.action
            && to > max_replicas
            && !call.id.0.ends_with("/undo")
        {
            broken.push(format!("{} asked for {to} replicas, {max_replicas} are allowed", call.id));
        }
    }
}

fn changes_something(call: &Call) -> bool {
    matches!(call.outcome, remediate::Outcome::Done { .. })
}

/// Checked before every action: its record is on the disk already.
pub(crate) fn check_intent(disk: &MemoryDisk, audit: &Path, id: &ProposalId, broken: &mut Vec<String>) {
    let name = format!("{:?}", id.0);
    let bytes = disk.read(&audit.join(LEDGER_FILE)).unwrap_or_default();
    let is_there = bytes.split(|byte| *byte == b'\n').rev().take(2).any(|line| {
        let text = String::from_utf8_lossy(line);
        text.contains("\"effect\":\"act\"") && text.contains(&name)
    });
    if !is_there {
        broken.push(format!("{id} acts before it is on record"));
    }
}

/// Checked when records are read back: nothing was done that they do not know of.
pub(crate) fn check_records(deployment: &Deployment, records: &[Record], broken: &mut Vec<String>) {
    let permitted: BTreeSet<&ProposalId> = records
        .iter()
        .flat_map(|record| &record.effects)
        .filter_map(|effect| match effect {
            EffectRecord::Act { proposal, .. } => Some(&proposal.id),
            EffectRecord::Gather { .. }
            | EffectRecord::Inspect { .. }
            | EffectRecord::Check { .. }
            | EffectRecord::Wake { .. }
            | EffectRecord::Note { .. } => None,
        })
        .collect();
    for call in deployment.calls.iter().filter(|call| !permitted.contains(&call.id)) {
        broken.push(format!("{} was done and is not on record", call.id));
    }
}

/// Checked at the end: the ledger holds, and deciding again gives the same bytes.
pub(crate) fn check_ledger(bytes: &[u8], records: &[Record], broken: &mut Vec<String>) {
    let verified = audit::verify(bytes);
    if let Some(bad) = verified.bad {
        broken.push(format!("the ledger does not verify: {bad}"));
    }
    if verified.records != records.len() as u64 {
        broken.push(format!("{} records verify, {} were read", verified.records, records.len()));
    }
    if let Err(divergence) = audit::replay(records) {
        broken.push(divergence.to_string());
    }
}

#[cfg(test)]
mod tests {
    use policy::Action;
    use remediate::Outcome;
    use signal::Timestamp;

    use super::*;

    fn call(id: &str, from: i64, to: u32) -> Call {
        Call {
            id: ProposalId(id.to_owned()),
            action: Action::Scale { from: 3, to },
            from: Timestamp(from),
            until: Timestamp(from + 4_000),
            outcome: Outcome::Done { detail: String::new(), was: 3, is: u64::from(to) },
        }
    }

    #[test]
    fn what_must_not_happen_is_noticed() {
        for (case, calls, want) in [
            ("fine", vec![call("i/1", 0, 8), call("i/1/undo", 9_000, 3)], None),
            ("twice", vec![call("i/1", 0, 8), call("i/1", 9_000, 8)], Some("i/1 was carried out twice")),
            (
                "at once",
                vec![call("i/1", 0, 8), call("i/2", 3_000, 9)],
                Some("i/2 began while another action was running"),
            ),
            ("too many", vec![call("i/1", 0, 12)], Some("i/1 asked for 12 replicas, 10 are allowed")),
            ("undone twice", vec![call("i/1/undo/undo", 0, 3)], Some("i/1/undo/undo takes back an undo")),
        ] {
            let mut deployment = Deployment::new(3, Timestamp(0));
            deployment.calls = calls;
            let mut broken = Vec::new();
            check_target(&deployment, 10, 3, &mut broken);
            assert_eq!(broken.first().map(String::as_str), want, "{case}");
        }
    }

    #[test]
    fn what_is_not_on_record_is_noticed() {
        let mut deployment = Deployment::new(3, Timestamp(0));
        deployment.calls = vec![call("i/1", 0, 8)];
        let mut broken = Vec::new();
        check_intent(&MemoryDisk::new(), Path::new("audit"), &deployment.calls[0].id, &mut broken);
        check_records(&deployment, &[], &mut broken);
        assert_eq!(broken, ["i/1 acts before it is on record", "i/1 was done and is not on record"]);
    }
}
