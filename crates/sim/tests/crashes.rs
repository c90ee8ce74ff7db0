//! Aegis stops at every place of an incident where it can stop, and is started again: nothing is done twice, nothing is
//! forgotten.

use aegis_sim::{CrashPoint, Run, Script, Sim, Stop, each};
use control::EffectRecord;
use remediate::Outcome;

const SURGE: &str = "world noise=0.04\nat 75 load 2.5\nuntil 260 calm-after 150\n";
const BAD_DEPLOY: &str = "world noise=0.04\nat 75 deploy 0.3\nuntil 260 calm-after 150\n";
const WORSE: &str = "world noise=0.04\nat 70 driver worse\nat 75 load 2.5\nat 150 load 1\nuntil 360 calm-after 180\n";

/// Every place where a run of `script` can be stopped: during and after each write, and after each effect that reaches
/// outside. Of records that only ask for another look, which are all alike, some stand for all.
fn places(script: &Script) -> Vec<CrashPoint> {
    let calm = Sim::new(script).run();
    assert!(calm.broken.is_empty(), "{:#?}", calm.broken);
    let mut places = Vec::new();
    for record in &calm.records {
        let seq = record.seq;
        let only_looks =
            |effect: &EffectRecord| matches!(effect, EffectRecord::Check { .. } | EffectRecord::Wake { .. });
        if record.effects.iter().all(only_looks) && seq % 3 != 0 {
            continue;
        }
        if record.effects.iter().any(|effect| matches!(effect, EffectRecord::Act { .. })) {
            places.push(CrashPoint::BeforeWrite { record: seq });
        }
        places.push(CrashPoint::DuringWrite { record: seq });
        places.push(CrashPoint::AfterWrite { record: seq });
        for (effect, what) in record.effects.iter().enumerate() {
            match what {
                EffectRecord::Act { .. } | EffectRecord::Gather { .. } | EffectRecord::Inspect { .. } => {
                    places.push(CrashPoint::AfterEffect { record: seq, effect });
                }
                EffectRecord::Check { .. } | EffectRecord::Wake { .. } | EffectRecord::Note { .. } => {}
            }
        }
    }
    places
}

fn everywhere(script: &Script, down_s: u64, holds: impl Fn(&Run) -> Result<(), String> + Sync) {
    let places = places(script);
    assert!(places.len() >= 15, "only {} places", places.len());
    let wrong = each(&places, |place| {
        let run = Sim::new(&Script { stop: Some(Stop { at: *place, down_s }), ..script.clone() }).run();
        let fine = match run.broken.first() {
            Some(broken) => Err(broken.clone()),
            None if run.starts < 2 => Err("it was never stopped".to_owned()),
            None if run.open > 0 => Err("the incident was forgotten".to_owned()),
            None => holds(&run),
        };
        fine.err().map(|problem| format!("{place:?}: {problem}\n{}", run.golden()))
    });
    assert!(wrong.is_empty(), "{} of {} places:\n{}", wrong.len(), places.len(), wrong.join("\n"));
}

fn done(run: &Run) -> usize {
    run.driver.iter().filter(|call| matches!(call.outcome, Outcome::Done { .. })).count()
}

#[test]
fn a_surge_is_mitigated_once_wherever_aegis_stops() {
    everywhere(&SURGE.parse().unwrap(), 3, |run| match (done(run), run.driver.len()) {
        (1, 1) => Ok(()),
        (done, asked) => Err(format!("{asked} calls, {done} done")),
    });
}

#[test]
fn a_bad_deploy_is_rolled_back_once_wherever_aegis_stops() {
    everywhere(&BAD_DEPLOY.parse().unwrap(), 3, |run| match (done(run), run.revision) {
        (1, 3) => Ok(()),
        (done, revision) => Err(format!("{done} done, revision {revision} runs")),
    });
}

#[test]
fn what_does_harm_is_taken_back_once_wherever_aegis_stops() {
    everywhere(&WORSE.parse().unwrap(), 3, |run| match (done(run), run.replicas) {
        (2, 3) => Ok(()),
        (done, replicas) => Err(format!("{done} done, {replicas} replicas run")),
    });
}
