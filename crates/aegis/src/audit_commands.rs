//! `aegis audit` and `aegis replay`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use audit::LEDGER_FILE;
use control::IncidentId;

use crate::cli::{AuditCommand, ReplayArgs, say};

/// Where the ledger lies under a data directory.
pub(crate) fn audit_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("audit")
}

pub(crate) fn audit(what: &AuditCommand) -> anyhow::Result<ExitCode> {
    match what {
        AuditCommand::Verify { data_dir } => verify(&audit_dir(data_dir).join(LEDGER_FILE)),
        AuditCommand::Show { data_dir, incident } => show(&audit_dir(data_dir).join(LEDGER_FILE), *incident),
    }
}

fn verify(file: &Path) -> anyhow::Result<ExitCode> {
    let verified = audit::verify(&read(file)?);
    if let Some(bad) = &verified.bad {
        say(&format!("{}: {bad}", file.display()));
        say(&format!("the {} records before it hold; the last good hash is {}", verified.records, verified.head));
        return Ok(ExitCode::FAILURE);
    }
    say(&format!("{}: all {} records hold; head {}", file.display(), verified.records, verified.head));
    if verified.unfinished_bytes > 0 {
        say(&format!(
            "{} bytes at the end are an unfinished record that was never acknowledged; the next start cuts them off",
            verified.unfinished_bytes
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn show(file: &Path, incident: Option<u64>) -> anyhow::Result<ExitCode> {
    let timeline = audit::fold(&records(file)?);
    let ids: Vec<IncidentId> = match incident {
        Some(id) => vec![IncidentId(id)],
        None => timeline.incidents.iter().map(|incident| incident.id).collect(),
    };
    if ids.is_empty() {
        say("no incident is on record");
    }
    for id in ids {
        say(&audit::report(&timeline, id).with_context(|| format!("there is no incident {id}"))?);
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn replay(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let file = [args.ledger.clone(), args.ledger.join(LEDGER_FILE), audit_dir(&args.ledger).join(LEDGER_FILE)];
    let file = file.into_iter().find(|file| file.is_file());
    let file = file.with_context(|| format!("there is no ledger at {}", args.ledger.display()))?;
    let replayed = audit::replay(&records(&file)?)?;
    say(&format!(
        "{}: {} inputs decided again, all {} effects equal byte for byte",
        file.display(),
        replayed.inputs,
        replayed.effects
    ));
    Ok(ExitCode::SUCCESS)
}

fn records(file: &Path) -> anyhow::Result<Vec<audit::Record>> {
    audit::read(&read(file)?).with_context(|| format!("{} cannot be trusted", file.display()))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
