use super::queue::Queue;
use super::*;
use crate::default_watches;

/// A small seeded generator: the same seed gives the same stream everywhere.
pub(super) struct Noise(pub(super) u64);

impl Noise {
    pub(super) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().max(1e-12).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        (mean + mean.sqrt() * self.normal()).round().max(0.0)
    }

    fn binomial(&mut self, trials: f64, share: f64) -> f64 {
        if trials * share > 20.0 {
            return (trials * share + (trials * share * (1.0 - share)).sqrt() * self.normal())
                .round()
                .clamp(0.0, trials);
        }
        (0..trials as u32).filter(|_| self.uniform() < share).count() as f64
    }
}

/// What a service does during one step of five seconds.
#[derive(Clone, Copy)]
struct World {
    rate: f64,
    errors: f64,
    latency: f64,
    pool: f64,
}

/// Turns a world into readings the way 30 s windows over 5 s scrapes do.
struct Scraped {
    noise: Noise,
    wander: f64,
    recent: Vec<(f64, f64, f64)>,
}

impl Scraped {
    fn new(seed: u64) -> Self {
        Self { noise: Noise(seed.wrapping_mul(0x1234_5678_9abc_def1)), wander: 0.0, recent: Vec::new() }
    }

    fn readings(&mut self, world: World) -> Vec<Reading> {
        self.wander = (0.95 * self.wander + 0.03 * self.noise.normal()).clamp(-0.12, 0.12);
        let requests = self.noise.poisson(world.rate * 5.0 * (1.0 + self.wander));
        let failed = self.noise.binomial(requests, world.errors);
        self.recent.push((requests, failed, world.latency));
        if self.recent.len() > 6 {
            self.recent.remove(0);
        }
        let seconds = self.recent.len() as f64 * 5.0;
        let all: f64 = self.recent.iter().map(|step| step.0).sum();
        let bad: f64 = self.recent.iter().map(|step| step.1).sum();
        let worst = self.recent.iter().map(|step| step.2).fold(0.0, f64::max);
        let latency = worst * (0.12 * self.noise.normal()).exp();
        let pool = (world.pool + 0.05 * self.noise.normal()).clamp(0.0, 1.0);
        let reading = |metric_type: &str, value| Reading {
            metric_type: metric_type.to_owned(),
            service: "shop".to_owned(),
            value,
        };
        vec![
            reading("request_rate", all / seconds),
            reading("error_rate", bad / all),
            reading("latency_p99", latency),
            reading("pool_utilisation", pool),
        ]
    }
}

fn steady(rate: f64) -> World {
    World { rate, errors: 0.005, latency: 0.06, pool: 0.5 }
}

fn run(seed: u64, world: impl Fn(u32) -> World, steps: u32) -> (Detector, Vec<(u32, Transition)>) {
    let mut detector = Detector::new(DetectorSettings::default(), default_watches());
    let mut scraped = Scraped::new(seed);
    let mut transitions = Vec::new();
    for step in 0..steps {
        let readings = scraped.readings(world(step));
        let seen = detector.observe(Timestamp(i64::from(step) * 5_000), &readings);
        transitions.extend(seen.transitions.into_iter().map(|transition| (step, transition)));
    }
    (detector, transitions)
}

fn pages(transitions: &[(u32, Transition)]) -> Vec<&(u32, Transition)> {
    transitions.iter().filter(|(_, transition)| transition.pages && transition.state == State::Fired).collect()
}

#[test]
fn two_hours_of_noise_page_nobody() {
    for rate in [2.0, 20.0, 50.0, 200.0] {
        for seed in 0..50 {
            let (_, transitions) = run(seed, |_| steady(rate), 1440);
            assert!(pages(&transitions).is_empty(), "rate {rate} seed {seed}: {:?}", pages(&transitions));
        }
    }
}

#[test]
fn a_surge_within_capacity_pages_nobody_and_is_seen() {
    for rate in [20.0, 50.0, 200.0] {
        for seed in 0..50 {
            let busy = World { rate: rate * 1.4, errors: 0.005, latency: 0.08, pool: 0.72 };
            let (_, transitions) = run(seed, |step| if step < 24 { steady(rate) } else { busy }, 60);
            assert!(pages(&transitions).is_empty(), "rate {rate} seed {seed}: {:?}", pages(&transitions));
        }
    }
}

#[test]
fn a_step_fires_within_four_readings_and_ends() {
    let exhausted = |rate| World { rate: rate * 2.5, errors: 0.25, latency: 2.1, pool: 1.0 };
    let broken = |rate| World { rate, errors: 0.22, latency: 0.06, pool: 0.5 };
    let slow = |rate| World { rate, errors: 0.005, latency: 1.5, pool: 0.9 };
    type Case = (&'static str, fn(f64) -> World, &'static str);
    let cases: [Case; 3] =
        [("exhausted", exhausted, "error_rate"), ("broken", broken, "error_rate"), ("slow", slow, "latency_p99")];
    for (case, fault, metric) in cases {
        for rate in [20.0, 50.0, 200.0] {
            for seed in 0..20 {
                // As young as the warm-up of a demonstration allows.
                let world = |step| if (14..40).contains(&step) { fault(rate) } else { steady(rate) };
                let (_, transitions) = run(seed, world, 70);
                let name = format!("{case} at {rate}/s, seed {seed}");
                let of_metric: Vec<_> =
                    transitions.iter().filter(|(_, transition)| transition.metric == metric).collect();
                let (first, fired) = of_metric.first().unwrap_or_else(|| panic!("{name}: nothing fired"));
                assert!((14..18).contains(first), "{name}: fired at {first}");
                assert!(fired.pages && fired.severity >= Severity::High, "{name}: {fired:?}");
                let onset = fired.onset.0 / 5_000;
                assert!((11..=15).contains(&onset), "{name}: onset {onset}");
                let (end, resolved) = of_metric.last().unwrap();
                assert_eq!(resolved.state, State::Resolved, "{name}");
                assert!((40..56).contains(end), "{name}: resolved at {end}");
                let severities: Vec<_> = of_metric
                    .iter()
                    .filter(|(_, transition)| transition.state == State::Fired)
                    .map(|(_, transition)| transition.severity)
                    .collect();
                assert!(severities.is_sorted_by(|a, b| a < b), "{name}: told the same twice: {severities:?}");
            }
        }
    }
}

#[test]
fn a_baseline_of_exactly_zero_is_no_trap() {
    for (case, errors, at_least) in [("one failed request", 1.0 / 1500.0, false), ("many", 0.2, true)] {
        let mut detector = Detector::new(DetectorSettings::default(), default_watches());
        let mut paged = false;
        for step in 0..40 {
            let value = if step < 30 { 0.0 } else { errors };
            let readings = [
                Reading { metric_type: "request_rate".into(), service: "shop".into(), value: 50.0 },
                Reading { metric_type: "error_rate".into(), service: "shop".into(), value },
            ];
            let seen = detector.observe(Timestamp(step * 5_000), &readings);
            paged |= seen.transitions.iter().any(|transition| transition.pages);
        }
        assert_eq!(paged, at_least, "{case}");
    }
}

#[test]
fn what_means_nothing_is_counted_and_told_to_nobody() {
    let cases: [(&str, &str, f64, f64, &str); 5] = [
        ("no number", "shop", 50.0, f64::NAN, "not_a_number"),
        ("endless", "shop", 50.0, f64::INFINITY, "not_a_number"),
        ("nobody there", "shop", 0.2, 0.5, "low_traffic"),
        ("no service", "", 50.0, 0.5, "no_service"),
        ("too young", "new", 50.0, 0.5, "cold"),
    ];
    for (case, service, rate, value, reason) in cases {
        let mut detector = Detector::new(DetectorSettings::default(), default_watches());
        let reading = |metric: &str, service: &str, value| Reading {
            metric_type: metric.to_owned(),
            service: service.to_owned(),
            value,
        };
        for step in 0..30 {
            detector.warm(
                Timestamp(step * 5_000),
                &[reading("request_rate", "shop", 50.0), reading("error_rate", "shop", 0.004)],
            );
        }
        for step in 30..34 {
            let seen = detector.observe(
                Timestamp(step * 5_000),
                &[reading("request_rate", service, rate), reading("error_rate", service, value)],
            );
            assert!(seen.suppressed.contains_key(reason), "{case}: {:?}", seen.suppressed);
            assert!(seen.transitions.iter().all(|transition| !transition.pages), "{case}");
        }
    }
}

#[test]
fn history_counts_as_warming_and_never_fires() {
    let mut detector = Detector::new(DetectorSettings::default(), default_watches());
    let mut scraped = Scraped::new(7);
    for step in 0..40 {
        detector.warm(Timestamp(step * 5_000), &scraped.readings(steady(50.0)));
    }
    let baselines = detector.baselines();
    let of = |metric: &str| baselines.iter().find(|baseline| baseline.metric_type == metric).unwrap();
    assert!((of("request_rate").expected - 50.0).abs() < 8.0, "{baselines:?}");
    assert!(of("error_rate").expected < 0.02, "{baselines:?}");
    assert_eq!(of("latency_p99").samples, 40);

    let mut paged = Vec::new();
    for step in 40..44 {
        let broken = World { errors: 0.3, ..steady(50.0) };
        let seen = detector.observe(Timestamp(step * 5_000), &scraped.readings(broken));
        paged.extend(seen.transitions.into_iter().filter(|transition| transition.pages));
    }
    assert!(!paged.is_empty());
}

#[test]
fn a_silent_series_is_given_up_once() {
    let mut detector = Detector::new(DetectorSettings::default(), default_watches());
    let mut scraped = Scraped::new(3);
    let mut last = 0;
    for step in 0..30 {
        let errors = if step < 24 { 0.005 } else { 0.3 };
        detector.observe(Timestamp(step * 5_000), &scraped.readings(World { errors, ..steady(50.0) }));
        last = step * 5_000;
    }
    let mut resolved = Vec::new();
    for minute in 1..10 {
        resolved.extend(detector.observe(Timestamp(last + minute * 60_000), &[]).transitions);
    }
    assert_eq!(resolved.iter().filter(|transition| transition.metric == "error_rate").count(), 1, "{resolved:?}");
    assert!(resolved.iter().all(|transition| transition.state == State::Resolved));
}

#[test]
fn nothing_resolves_while_nobody_can_look() {
    let mut detector = Detector::new(DetectorSettings::default(), default_watches());
    let mut scraped = Scraped::new(3);
    let mut transitions = Vec::new();
    for step in 0..30 {
        let errors = if step < 24 { 0.005 } else { 0.3 };
        let readings = scraped.readings(World { errors, ..steady(50.0) });
        transitions.extend(detector.observe(Timestamp(step * 5_000), &readings).transitions);
    }
    assert!(transitions.iter().any(|transition| transition.metric == "error_rate"), "{transitions:?}");
    let metrics = default_watches();
    for step in 30..300 {
        let now = Timestamp(step * 5_000);
        detector.look_away(now, metrics.iter().map(|watch| watch.metric_type.as_str()));
        assert_eq!(detector.observe(now, &[]).transitions, [], "{step}");
    }
    let mut resolved = Vec::new();
    for step in 300..320 {
        let readings = scraped.readings(World { errors: 0.005, ..steady(50.0) });
        resolved.extend(detector.observe(Timestamp(step * 5_000), &readings).transitions);
    }
    let errors: Vec<_> = resolved.iter().filter(|transition| transition.metric == "error_rate").collect();
    assert!(matches!(errors.as_slice(), [one] if one.state == State::Resolved), "{resolved:?}");
}

#[test]
fn a_changed_load_becomes_normal_after_a_while() {
    let (_, transitions) = run(5, |step| steady(if step < 60 { 50.0 } else { 150.0 }), 60 + 500);
    let load: Vec<_> = transitions.iter().filter(|(_, transition)| transition.metric == "request_rate").collect();
    assert!(load.iter().all(|(_, transition)| !transition.pages));
    let (end, last) = load.last().unwrap();
    assert_eq!(last.state, State::Resolved, "{load:?}");
    assert!((60 + 355..60 + 400).contains(end), "{end}");
}

/// Base rate, connections per replica and the time one is held: always 1.8 times the base rate in three replicas.
const SERVICES: [(f64, usize, f64); 6] =
    [(20.0, 1, 0.087), (25.0, 2, 0.139), (50.0, 2, 0.069), (80.0, 2, 0.043), (100.0, 2, 0.035), (200.0, 3, 0.026)];

#[test]
fn a_real_queue_pages_only_when_it_overflows() {
    for (rate, pool, hold) in SERVICES {
        for seed in 0..20 {
            let name = format!("{rate}/s, seed {seed}");
            let mut queue = Queue::new(seed, 3, pool, hold);
            let mut detector = Detector::new(DetectorSettings::default(), default_watches());
            let mut fired = Vec::new();
            // Warm-up and quiet, a benign surge, quiet, a surge beyond capacity.
            for step in 0..110 {
                let factor = match step {
                    24..48 => 1.4,
                    80.. => 2.5,
                    _ => 1.0,
                };
                let (at, readings) = queue.scrape(rate * factor);
                let seen = detector.observe(at, &readings);
                let paging = seen.transitions.into_iter().filter(|one| one.pages && one.state == State::Fired);
                fired.extend(paging.map(|one| (step, one)));
            }
            let first = fired.first().map(|(step, _)| *step).unwrap_or_else(|| panic!("{name}: overflow not seen"));
            assert!((80..86).contains(&first), "{name}: {:?}", fired.first());
            let at_once: Vec<_> = fired.iter().filter(|(step, _)| *step <= first + 3).collect();
            assert!(at_once.iter().any(|(_, one)| one.severity >= Severity::High), "{name}: {at_once:?}");
            let onset = fired[0].1.onset.0 / 5_000;
            assert!((79..=81).contains(&onset), "{name}: onset {onset}, {:?}", fired[0]);
        }
    }
}

#[test]
fn an_alert_that_fired_before_a_restart_resolves_after_it() {
    let round = |errors: f64| {
        ["request_rate", "error_rate"].map(|metric| Reading {
            metric_type: metric.to_owned(),
            service: "shop".to_owned(),
            value: if metric == "error_rate" { errors } else { 50.0 },
        })
    };
    let mut before = Detector::new(DetectorSettings::default(), default_watches());
    let mut fired = Vec::new();
    for at in 0..60 {
        fired.extend(before.observe(Timestamp(at * 5_000), &round(if at < 50 { 0.004 } else { 0.25 })).transitions);
    }
    let mut after = Detector::new(DetectorSettings::default(), default_watches());
    for at in 0..60 {
        after.warm(Timestamp(at * 5_000), &round(if at < 50 { 0.004 } else { 0.25 }));
    }
    after.resume(&fired);
    let mut told = Vec::new();
    for at in 60..70 {
        told.extend(after.observe(Timestamp(at * 5_000), &round(0.004)).transitions);
    }
    let told: Vec<_> = told.iter().map(|alert| (alert.metric.as_str(), alert.state)).collect();
    assert_eq!(told, [("error_rate", State::Resolved)]);
}
