//! What is remembered about one series, and how one reading is judged against it.
//!
//! Three channels of evidence are summed, each capped: distance of the reading from a slow robust level, distance of a fast
//! level from it, and distance outside the range seen so far. No single channel is enough to fire. Values of a multiplicative
//! nature (rates, latencies) are compared as logarithms.

use std::time::Duration;

use signal::{Severity, Timestamp};

use super::DetectorSettings;
use crate::{Role, State, Unit};

/// Readings the slow level remembers.
const MEMORY: f64 = 120.0;
/// How much slower an unusual value is learned.
const RELUCTANCE: f64 = 20.0;
/// Evidence from which a reading counts as odd, and accumulated evidence from which an alert fires.
const ODD: f64 = 0.3;
const FIRES: f64 = 0.5;
/// How many windows a small effect must last.
const OUTLAST: f64 = 1.5;
/// Odd readings in a row that make an alert; twice as many while cooling down.
const RUN: u32 = 2;
const LONG_RUN: u32 = 4;
/// Calm readings in a row that end one.
const CALM_RUN: u32 = 3;
/// Readings collected before the first robust level is taken.
const FIRST: usize = 10;
/// After this long, a changed load or saturation is the new normal. A symptom never is.
const ACCEPT_AFTER: Duration = Duration::from_secs(30 * 60);

/// What a watch and the traffic of its service say about a reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) role: Role,
    pub(super) unit: Unit,
    pub(super) min_effect: f64,
    /// Requests the reading was taken from, when known.
    pub(super) trials: Option<f64>,
}

/// State of one series.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// Only the very first readings; empty and unused afterwards.
    first: Vec<f64>,
    samples: u64,
    level: f64,
    spread: f64,
    fast: f64,
    low: f64,
    high: f64,
    /// Evidence, half of it from the past.
    worth: f64,
    odd_run: u32,
    odd_since: Option<Timestamp>,
    last_value: f64,
    last_seen: Option<Timestamp>,
    /// The latest reading without any evidence.
    last_quiet: Option<Timestamp>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    New,
    Resolved {
        at: Timestamp,
    },
    Fired {
        onset: Timestamp,
        severity: Severity,
        calm_run: u32,
    },
}

/// What one reading led to.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) unusual: Option<Unusual>,
    pub(super) change: Option<ChangeOfState>,
    pub(super) suppressed: Option<&'static str>,
}

#[derive(Debug)]
pub(super) struct Unusual {
    pub(super) severity: Severity,
    pub(super) score: f64,
    pub(super) expected: f64,
    pub(super) deviation: f64,
}

#[derive(Debug)]
pub(super) struct ChangeOfState {
    pub(super) state: State,
    pub(super) onset: Timestamp,
    pub(super) severity: Severity,
    pub(super) value: f64,
    pub(super) expected: f64,
    pub(super) without_readings: bool,
}

/// A reading compared with what is normal.
#[derive(Clone, Copy, Debug, Default)]
struct Judgement {
    /// Evidence of this reading alone, 0 to 1.
    evidence: f64,
    deviation: f64,
    expected: f64,
    /// Natural units, in the direction that matters; never negative.
    effect: f64,
    severity: Severity,
    is_odd: bool,
}

impl Series {
    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    pub(super) fn is_warm(&self, settings: &DetectorSettings) -> bool {
        self.samples >= u64::from(settings.warm_readings).max(FIRST as u64)
    }

    pub(super) fn is_alive(&self, now: Timestamp, limit: Duration) -> bool {
        self.last_seen.is_some_and(|seen| now.since(seen) < limit)
    }

    pub(super) fn expected(&self, facts: &Facts) -> f64 {
        from_scale(facts.unit, self.level)
    }

    /// One standard deviation in natural units.
    pub(super) fn natural_spread(&self, facts: &Facts) -> f64 {
        let scale = self.scale(facts);
        match facts.unit {
            Unit::Ratio => scale,
            Unit::PerSecond | Unit::Seconds | Unit::Count => self.expected(facts) * scale,
        }
    }

    /// Learns without judging aloud.
    pub(super) fn learn_only(&mut self, at: Timestamp, value: f64, facts: &Facts) {
        let judged = self.judge(value, facts);
        self.remember(at, value, facts, &judged);
        self.odd_run = 0;
        self.worth = 0.0;
    }

    pub(super) fn observe(
        &mut self,
        now: Timestamp,
        value: f64,
        facts: &Facts,
        settings: &DetectorSettings,
    ) -> Verdict {
        if !self.is_warm(settings) {
            let judged = self.judge(value, facts);
            self.remember(now, value, facts, &judged);
            return Verdict { suppressed: Some("cold"), ..Verdict::default() };
        }
        let judged = self.judge(value, facts);
        self.worth = 0.5 * self.worth + 0.5 * judged.evidence;
        self.odd_run = if judged.is_odd { self.odd_run.saturating_add(1) } else { 0 };
        self.odd_since = if judged.is_odd { self.odd_since.or(Some(now)) } else { None };

        let mut verdict = Verdict::default();
        if judged.is_odd {
            verdict.unusual = Some(Unusual {
                severity: judged.severity,
                score: self.worth.max(judged.evidence).clamp(0.0, 1.0),
                expected: judged.expected,
                deviation: judged.deviation,
            });
        } else if judged.evidence >= FIRES {
            verdict.suppressed = Some("small_effect");
        }
        let round = Round { now, value, facts: *facts, settings };
        self.step(&round, &judged, &mut verdict);
        self.remember(now, value, facts, &judged);
        verdict
    }

    /// Goes on with an alert that fired at `at`, before a restart.
    pub(super) fn resume(&mut self, onset: Timestamp, severity: Severity, at: Timestamp) {
        self.phase = Phase::Fired { onset, severity, calm_run: 0 };
        self.last_seen = self.last_seen.max(Some(at));
    }

    /// The time until `now` went by unseen.
    pub(super) fn look_away(&mut self, now: Timestamp) {
        self.last_seen = self.last_seen.max(Some(now));
        self.odd_run = 0;
        self.odd_since = None;
        self.worth = 0.0;
        if let Phase::Fired { calm_run, .. } = &mut self.phase {
            *calm_run = 0;
        }
    }

    /// Ends a firing alert whose series is no longer reported.
    pub(super) fn give_up(&mut self, now: Timestamp, after: Duration, facts: &Facts) -> Option<ChangeOfState> {
        let Phase::Fired { onset, severity, .. } = self.phase else { return None };
        if self.last_seen.is_some_and(|seen| now.since(seen) < after) {
            return None;
        }
        self.phase = Phase::Resolved { at: now };
        Some(ChangeOfState {
            state: State::Resolved,
            onset,
            severity,
            value: self.last_value,
            expected: self.expected(facts),
            without_readings: true,
        })
    }

    /// Moves the phase by one judged reading.
    fn step(&mut self, round: &Round<'_>, judged: &Judgement, verdict: &mut Verdict) {
        let Round { now, value, facts, settings } = *round;
        let change = |state, onset, severity| ChangeOfState {
            state,
            onset,
            severity,
            value,
            expected: judged.expected,
            without_readings: false,
        };
        let phase = self.phase;
        match phase {
            Phase::Fired { onset, severity, .. } if judged.is_odd && judged.severity > severity => {
                self.phase = Phase::Fired { onset, severity: judged.severity, calm_run: 0 };
                verdict.change = Some(change(State::Fired, onset, judged.severity));
            }
            Phase::Fired { onset, severity, .. } if self.is_the_new_normal(round, onset) => {
                self.restart_at(self.fast);
                self.phase = Phase::Resolved { at: now };
                verdict.change = Some(change(State::Resolved, onset, severity));
            }
            Phase::Fired { onset, severity, calm_run } => {
                let is_calm =
                    !judged.is_odd && (judged.effect < facts.min_effect / 2.0 || judged.deviation.abs() < 2.0);
                let calm_run = if is_calm { calm_run.saturating_add(1) } else { 0 };
                self.phase = Phase::Fired { onset, severity, calm_run };
                if calm_run >= CALM_RUN {
                    self.worth = 0.0;
                    self.phase = Phase::Resolved { at: now };
                    verdict.change = Some(change(State::Resolved, onset, severity));
                }
            }
            Phase::New | Phase::Resolved { .. } => {
                if self.odd_run < RUN || self.worth < FIRES {
                    return;
                }
                // One short burst stays in a rate window for the whole of its length: a smaller effect must outlast it.
                let is_doubtful = facts.role == Role::Symptom && !facts.unit.is_beyond_doubt(judged.expected, value);
                let lasted = self.odd_since.map_or(Duration::ZERO, |since| now.since(since));
                if is_doubtful && lasted < settings.window.mul_f64(OUTLAST) {
                    verdict.suppressed = Some("too_short");
                    return;
                }
                let is_cooling = matches!(phase, Phase::Resolved { at } if now.since(at) < settings.cool_down);
                if is_cooling && self.odd_run < LONG_RUN {
                    verdict.suppressed = Some("cool_down");
                    return;
                }
                let onset = self.onset(now, settings);
                self.phase = Phase::Fired { onset, severity: judged.severity, calm_run: 0 };
                verdict.change = Some(change(State::Fired, onset, judged.severity));
            }
        }
    }

    /// The last reading that showed nothing, unless it is too old to tell.
    fn onset(&self, now: Timestamp, settings: &DetectorSettings) -> Timestamp {
        let earliest = now.minus(settings.window.saturating_mul(4));
        self.last_quiet.unwrap_or(now).max(earliest).min(now)
    }

    fn is_the_new_normal(&self, round: &Round<'_>, onset: Timestamp) -> bool {
        let now_at = to_scale(round.facts.unit, round.value);
        match round.facts.role {
            Role::Symptom => false,
            Role::Load | Role::Saturation => {
                round.now.since(onset) >= ACCEPT_AFTER && (now_at - self.fast).abs() < 3.0 * self.scale(&round.facts)
            }
        }
    }

    fn restart_at(&mut self, level: f64) {
        self.level = level;
        self.fast = level;
        self.low = level;
        self.high = level;
        self.worth = 0.0;
        self.odd_run = 0;
    }

    fn judge(&self, value: f64, facts: &Facts) -> Judgement {
        if self.samples < FIRST as u64 {
            return Judgement::default();
        }
        let at = to_scale(facts.unit, value);
        let scale = self.scale(facts);
        let fast = self.fast + 0.5 * (at - self.fast).clamp(-6.0 * scale, 6.0 * scale);
        let (residual, shift) = ((at - self.level) / scale, (fast - self.level) / scale);
        let outside = (at - self.high).max(self.low - at).max(0.0) / (self.high - self.low).max(2.0 * scale);
        // A shift the other way is the end of something else, not evidence for this.
        let shift = if shift.signum() == residual.signum() { shift.abs() } else { 0.0 };
        let evidence = (capped((residual.abs() - 3.0) / 4.0) + capped((shift - 2.5) / 3.0) + capped(outside)) / 3.0;

        let expected = from_scale(facts.unit, self.level);
        let effect = self.effect_of(value, facts);
        let matters = match facts.role {
            Role::Load => true,
            Role::Symptom | Role::Saturation => residual > 0.0,
        };
        let severity = match facts.role {
            Role::Load if value < expected => facts.unit.severity(value, expected),
            Role::Load | Role::Symptom | Role::Saturation => facts.unit.severity(expected, value),
        };
        Judgement {
            evidence: if matters { evidence } else { 0.0 },
            deviation: residual,
            expected,
            effect,
            severity,
            is_odd: matters && evidence >= ODD && effect >= facts.min_effect,
        }
    }

    /// How far `value` is from normal in natural units, in the direction that matters.
    fn effect_of(&self, value: f64, facts: &Facts) -> f64 {
        let change = value - from_scale(facts.unit, self.level);
        match facts.role {
            Role::Load => change.abs(),
            Role::Symptom | Role::Saturation => change.max(0.0),
        }
    }

    /// One standard deviation: what was seen, and at least what chance and rounding alone would give.
    fn scale(&self, facts: &Facts) -> f64 {
        let trials = facts.trials.unwrap_or(100.0).max(1.0);
        let floor = match facts.unit {
            Unit::Ratio => {
                let share = self.level.clamp(1.0 / trials, 1.0 - 1.0 / trials).clamp(0.0, 1.0);
                (share * (1.0 - share) / trials).sqrt().max(0.001)
            }
            Unit::PerSecond => 0.05 + 1.0 / trials.sqrt(),
            Unit::Seconds | Unit::Count => 0.1,
        };
        self.spread.hypot(floor)
    }

    fn remember(&mut self, now: Timestamp, value: f64, facts: &Facts, judged: &Judgement) {
        let at = to_scale(facts.unit, value);
        self.last_value = value;
        self.last_seen = Some(now);
        self.samples = self.samples.saturating_add(1);
        if judged.evidence < 0.1 || judged.effect < facts.min_effect / 4.0 {
            self.last_quiet = Some(now);
        }
        if self.samples <= FIRST as u64 {
            self.first.push(at);
            if self.first.len() == FIRST {
                self.take_first();
            }
            return;
        }
        let scale = self.scale(facts);
        self.fast += 0.5 * (at - self.fast).clamp(-6.0 * scale, 6.0 * scale);
        // Young series learn fast, so that a ramp at the start does not stay in memory.
        let mut pace = (2.0 / (self.samples as f64 + 1.0)).max(1.0 / MEMORY);
        let is_unusual = judged.is_odd || matches!(self.phase, Phase::Fired { .. });
        if is_unusual {
            pace = (1.0 / MEMORY) / RELUCTANCE;
        }
        let surprise = at - self.level;
        self.level += pace * surprise.clamp(-3.0 * scale, 3.0 * scale);
        if is_unusual {
            return;
        }
        // 1.2533 makes the mean distance of normal noise one standard deviation.
        self.spread += pace * ((1.2533 * surprise.abs()).min(4.0 * scale) - self.spread);
        let forget = 1.0 / (20.0 * MEMORY);
        self.low = at.min(self.low + forget * (self.level - self.low));
        self.high = at.max(self.high + forget * (self.level - self.high));
    }

    /// Takes median and median distance of the first readings: one wild value at the start must not count.
    fn take_first(&mut self) {
        let mut first = std::mem::take(&mut self.first);
        self.low = first.iter().copied().fold(f64::INFINITY, f64::min);
        self.high = first.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        self.level = median(&mut first);
        let level = self.level;
        let mut distances: Vec<f64> = first.iter().map(|at| (at - level).abs()).collect();
        self.spread = 1.4826 * median(&mut distances);
        self.fast = self.level;
    }
}

/// One reading and what it is judged with.
#[derive(Clone, Copy)]
struct Round<'a> {
    now: Timestamp,
    value: f64,
    facts: Facts,
    settings: &'a DetectorSettings,
}

fn capped(evidence: f64) -> f64 {
    evidence.clamp(0.0, 1.0)
}

/// The middle value; 0 of nothing.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or(0.0);
    if values.len() % 2 == 1 {
        return upper;
    }
    let lower = middle.checked_sub(1).and_then(|at| values.get(at)).copied().unwrap_or(0.0);
    f64::midpoint(lower, upper)
}

fn to_scale(unit: Unit, value: f64) -> f64 {
    match unit {
        Unit::Ratio => value,
        Unit::PerSecond | Unit::Seconds | Unit::Count => value.max(unit.smallest()).ln(),
    }
}

fn from_scale(unit: Unit, at: f64) -> f64 {
    match unit {
        Unit::Ratio => at,
        Unit::PerSecond | Unit::Seconds | Unit::Count => {
            let value = at.exp();
            if value <= unit.smallest() * 1.0001 { 0.0 } else { value }
        }
    }
}
