//! A thousand services fire at once.

use aegis_sim::{Script, Sim};
use control::{EffectRecord, Fact, Input};

#[test]
fn a_thousand_alerts_open_a_bounded_number_of_incidents_and_each_gathers() {
    // Nothing can be asked, so that the time goes into the loop and not into queries about services that do not exist.
    let script: Script = "at 20 sources down\nat 30 storm 1000\nat 31 crash 3\nuntil 130\n".parse().unwrap();
    let run = Sim::new(&script).run();
    assert!(run.broken.is_empty(), "{:#?}", run.broken);
    let heard = run.records.iter().filter(|record| matches!(record.heard, Input::Alert(_))).count();
    assert_eq!((heard, run.timeline.incidents.len(), run.open, run.starts), (1_000, 200, 200, 2));
    assert_eq!(run.not_opened, 1_600, "800 symptoms, counted in both lives");
    let mut gathered = vec![0; 200];
    let mut called = 0;
    for effect in run.records.iter().flat_map(|record| &record.effects) {
        match effect {
            EffectRecord::Gather { incident, .. } => gathered[usize::try_from(incident.0).unwrap() - 1] += 1,
            EffectRecord::Note { fact, .. } if matches!(**fact, Fact::Escalated { .. }) => called += 1,
            _ => {}
        }
    }
    assert!(gathered.iter().all(|rounds| (1..=12).contains(rounds)), "{gathered:?}");
    assert_eq!(called, 200, "nobody is left waiting");
    assert!(run.driver.is_empty());
}
