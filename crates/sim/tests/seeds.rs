//! Random worlds with random faults: whatever goes wrong, no law is broken and nothing stays open once all is well again.
//!
//! `SEED=7` runs one seed and prints it; `SEEDS=10000` runs more than usual.

use aegis_sim::{DiskFault, DriverFault, Rng, Script, Sim, SourceFault, Step, each};

/// When everything that was wrong is right again, in seconds.
const WELL_AGAIN: u64 = 220;
const USUAL_SEEDS: u64 = 100;

fn script(seed: u64) -> Script {
    let mut rng = Rng::new(seed);
    let mut script = Script { seed, until: 520, calm_after: Some(WELL_AGAIN + 40), ..Script::default() };
    script.world.noise = 0.02 + 0.06 * rng.share();
    let onset = 60 + rng.below(20);
    let trouble = match rng.below(6) {
        0..=2 => Some(Step::Load(2.0 + rng.share())),
        3 | 4 => Some(Step::Deploy(0.1 + 0.5 * rng.share())),
        _ => None,
    };
    script.steps.extend(trouble.map(|trouble| (onset, trouble)));
    for _ in 0..rng.below(5) {
        let at = onset + rng.below(90);
        let until = at + 5 + rng.below(45);
        match rng.below(9) {
            0 | 1 => script.steps.push((at, Step::Crash(1 + rng.below(20)))),
            2 => script.steps.push((at, Step::Disk(DiskFault::Fails))),
            3 => script.steps.push((at, Step::Disk(DiskFault::Torn))),
            4 => script.steps.extend([(at, Step::Disk(DiskFault::Full)), (until, Step::Disk(DiskFault::Free))]),
            5 => {
                let fault = rng.pick(&[SourceFault::Down, SourceFault::Stale { seconds: 90 }]).copied();
                let fault = fault.unwrap_or_default();
                script.steps.extend([(at, Step::Sources(fault)), (until, Step::Sources(SourceFault::Up))]);
            }
            6 => script.steps.extend([(at, Step::Pause(true)), (until, Step::Pause(false))]),
            _ => {
                let faults = [
                    DriverFault::Unknown,
                    DriverFault::UnknownNotDone,
                    DriverFault::Refuses,
                    DriverFault::Fails,
                    DriverFault::Worse,
                    DriverFault::Slow { seconds: 20 },
                    DriverFault::Slow { seconds: 80 },
                    DriverFault::Late { seconds: 10 },
                    DriverFault::Late { seconds: 40 },
                ];
                script.steps.extend(rng.pick(&faults).map(|fault| (onset.saturating_sub(5), Step::Driver(*fault))));
            }
        }
    }
    let person = [Step::Load(1.0), Step::Scale(3), Step::Deploy(0.0)];
    script.steps.extend(person.map(|step| (WELL_AGAIN, step)));
    script.steps.sort_by_key(|(at, _)| *at);
    script
}

#[test]
fn whatever_goes_wrong_no_law_is_broken() {
    let setting = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let one = setting("SEED");
    let count = setting("SEEDS").unwrap_or(USUAL_SEEDS);
    let seeds: Vec<u64> = one.map_or_else(|| (0..count).collect(), |seed| vec![seed]);
    let wrong = each(&seeds, |seed| {
        let script = script(*seed);
        let run = Sim::new(&script).run();
        if one.is_some() {
            println!("{:?}\n{}", script.steps, run.golden());
        }
        let problem = match run.broken.first() {
            Some(broken) => Some(broken.clone()),
            None if run.open > 0 => Some("an incident stays open".to_owned()),
            None => None,
        };
        problem.map(|problem| format!("SEED={seed}: {problem}\n{:?}\n{}", script.steps, run.golden()))
    });
    assert!(wrong.is_empty(), "{} of {} seeds:\n{}", wrong.len(), seeds.len(), wrong.join("\n"));
}

#[test]
fn a_seed_gives_one_run() {
    for seed in [3, 14] {
        let script = script(seed);
        assert_eq!(Sim::new(&script).run().records, Sim::new(&script).run().records);
    }
}
