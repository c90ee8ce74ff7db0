//! Scenario scripts: a world, what happens to it and when, and the timeline that must come of it.
//!
//! ```text
//! # Lines that begin with `#` explain.
//! seed 7
//! world load=50 replicas=3 pool=2 service_ms=69
//! limits cool_down=60 max_replicas=10 per_hour_target=6 per_hour_total=20
//! policy acting                # or `default`: permits nothing
//! at 90 load 2.5               # seconds after the start; load as a factor
//! at 90 deploy 0.3             # a revision that fails this share of requests
//! at 90 scale 5                # a person sets the replicas
//! at 95 driver unknown         # the next action: unknown, unknown-not-done, refuses, fails, worse, slow 70, late 40
//! at 95 sources down           # down, stale 120, up
//! at 95 disk full              # full, free, fails, torn
//! at 95 crash 3                # Aegis dies and is started again after this many seconds
//! at 95 pause                  # and `resume`
//! at 95 storm 1000             # so many services fire at once
//! until 300                    # or `until 300 calm-after 200`: ends earlier when no incident is open
//! ---
//! (the expected timeline)
//! ```

use std::str::FromStr;
use std::time::Duration;

use policy::LimitSettings;

use crate::target::WorldSettings;

/// A world and what happens to it.
#[derive(Clone, PartialEq, Debug)]
pub struct Script {
    /// Seed of all randomness.
    pub seed: u64,
    /// The service.
    pub world: WorldSettings,
    /// Limits on acting.
    pub limits: LimitSettings,
    /// Name and text of the policy.
    pub policy: (String, String),
    /// What happens, by seconds after the start; ascending.
    pub steps: Vec<(u64, Step)>,
    /// When the run ends, in seconds after the start.
    pub until: u64,
    /// From when on, in seconds after the start, the run may end earlier: as soon as no incident is open.
    pub calm_after: Option<u64>,
    /// Where Aegis stops, beside the steps.
    pub stop: Option<Stop>,
    /// The timeline expected.
    pub expected: String,
}

/// A stop at an exact place of the loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stop {
    /// Where.
    pub at: crate::CrashPoint,
    /// Seconds until it is started again.
    pub down_s: u64,
}

/// Something that happens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// The load becomes this many times its base.
    Load(f64),
    /// A new revision fails this share of requests.
    Deploy(f64),
    /// A person sets the replicas.
    Scale(u32),
    /// The next action goes wrong.
    Driver(DriverFault),
    /// The sources of evidence change.
    Sources(SourceFault),
    /// The disk changes.
    Disk(DiskFault),
    /// Aegis dies, and is started again after this many seconds.
    Crash(u64),
    /// A person stops all acting, or allows it again.
    Pause(bool),
    /// So many services fire at once.
    Storm(u64),
}

/// How an action goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriverFault {
    /// It is done, but the answer is lost.
    Unknown,
    /// It is not done, and the answer is lost.
    UnknownNotDone,
    /// The target forbids it.
    Refuses,
    /// It is tried and does not work.
    Fails,
    /// It takes this long.
    Slow {
        /// Seconds.
        seconds: u64,
    },
    /// The driver gets to it this late.
    Late {
        /// Seconds.
        seconds: u64,
    },
    /// It is done and does harm.
    Worse,
}

/// How evidence is gathered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SourceFault {
    /// As it should be.
    #[default]
    Up,
    /// Nothing can be asked.
    Down,
    /// Answers arrive this late.
    Stale {
        /// Seconds.
        seconds: u64,
    },
}

/// What the disk does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskFault {
    /// There is no space left.
    Full,
    /// There is space again.
    Free,
    /// The next operation fails.
    Fails,
    /// The power goes during the next operation; Aegis is started again three seconds later.
    Torn,
}

/// A script that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line} of the script, `{text}`: {reason}")]
pub struct ScriptError {
    /// Which line, from 1.
    pub line: usize,
    /// What stands there.
    pub text: String,
    /// What is wrong.
    pub reason: &'static str,
}

const ACTING: &str = include_str!("../scenarios/acting.cedar");

impl Default for Script {
    fn default() -> Self {
        Self {
            seed: 1,
            world: WorldSettings::default(),
            limits: LimitSettings {
                cool_down: Duration::from_secs(60),
                actions_per_hour_target: 6,
                actions_per_hour_total: 20,
                ..LimitSettings::default()
            },
            policy: ("acting.cedar".to_owned(), ACTING.to_owned()),
            steps: Vec::new(),
            until: 60,
            calm_after: None,
            stop: None,
            expected: String::new(),
        }
    }
}

impl FromStr for Script {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let (head, expected) = text.split_once("---\n").unwrap_or((text, ""));
        let mut script = Self { expected: expected.to_owned(), ..Self::default() };
        for (at, text) in head.lines().enumerate() {
            let words: Vec<&str> = text.split('#').next().unwrap_or("").split_whitespace().collect();
            script.read(&words).map_err(|reason| ScriptError { line: at + 1, text: text.to_owned(), reason })?;
        }
        script.steps.sort_by_key(|(at, _)| *at);
        Ok(script)
    }
}

impl Script {
    fn read(&mut self, words: &[&str]) -> Result<(), &'static str> {
        match words {
            [] => {}
            ["seed", seed] => self.seed = number(seed)?,
            ["until", at] => self.until = number(at)?,
            ["until", at, "calm-after", calm] => {
                self.until = number(at)?;
                self.calm_after = Some(number(calm)?);
            }
            ["policy", "acting"] => self.policy = ("acting.cedar".to_owned(), ACTING.to_owned()),
            ["policy", "default"] => {
                self.policy = ("default.cedar".to_owned(), policy::Policy::default_text().to_owned());
            }
            ["world", settings @ ..] => {
                for setting in settings {
                    self.set_world(setting)?;
                }
            }
            ["limits", settings @ ..] => {
                for setting in settings {
                    self.set_limit(setting)?;
                }
            }
            ["at", at, step @ ..] => self.steps.push((number(at)?, read_step(step)?)),
            _ => return Err("expected seed, world, limits, policy, at or until"),
        }
        Ok(())
    }

    fn set_world(&mut self, setting: &str) -> Result<(), &'static str> {
        match setting.split_once('=') {
            Some(("load", value)) => self.world.load = number(value)?,
            Some(("replicas", value)) => self.world.replicas = number(value)?,
            Some(("pool", value)) => self.world.pool = number(value)?,
            Some(("service_ms", value)) => self.world.service_ms = number(value)?,
            Some(("noise", value)) => self.world.noise = number(value)?,
            _ => return Err("expected load=, replicas=, pool=, service_ms= or noise="),
        }
        Ok(())
    }

    fn set_limit(&mut self, setting: &str) -> Result<(), &'static str> {
        match setting.split_once('=') {
            Some(("cool_down", value)) => self.limits.cool_down = Duration::from_secs(number(value)?),
            Some(("max_replicas", value)) => self.limits.max_replicas = number(value)?,
            Some(("per_hour_target", value)) => self.limits.actions_per_hour_target = number(value)?,
            Some(("per_hour_total", value)) => self.limits.actions_per_hour_total = number(value)?,
            _ => return Err("expected cool_down=, max_replicas=, per_hour_target= or per_hour_total="),
        }
        Ok(())
    }
}

fn read_step(words: &[&str]) -> Result<Step, &'static str> {
    Ok(match words {
        ["load", factor] => Step::Load(number(factor)?),
        ["deploy", share] => Step::Deploy(number(share)?),
        ["scale", to] => Step::Scale(number(to)?),
        ["driver", "unknown"] => Step::Driver(DriverFault::Unknown),
        ["driver", "unknown-not-done"] => Step::Driver(DriverFault::UnknownNotDone),
        ["driver", "refuses"] => Step::Driver(DriverFault::Refuses),
        ["driver", "fails"] => Step::Driver(DriverFault::Fails),
        ["driver", "worse"] => Step::Driver(DriverFault::Worse),
        ["driver", "slow", seconds] => Step::Driver(DriverFault::Slow { seconds: number(seconds)? }),
        ["driver", "late", seconds] => Step::Driver(DriverFault::Late { seconds: number(seconds)? }),
        ["sources", "up"] => Step::Sources(SourceFault::Up),
        ["sources", "down"] => Step::Sources(SourceFault::Down),
        ["sources", "stale", seconds] => Step::Sources(SourceFault::Stale { seconds: number(seconds)? }),
        ["disk", "full"] => Step::Disk(DiskFault::Full),
        ["disk", "free"] => Step::Disk(DiskFault::Free),
        ["disk", "fails"] => Step::Disk(DiskFault::Fails),
        ["disk", "torn"] => Step::Disk(DiskFault::Torn),
        ["crash", seconds] => Step::Crash(number(seconds)?),
        ["pause"] => Step::Pause(true),
        ["resume"] => Step::Pause(false),
        ["storm", services] => Step::Storm(number(services)?),
        _ => return Err("nothing of that name can happen"),
    })
}

fn number<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|_| "a number is expected")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_happens_in_order() {
        let text = "seed 3\nworld load=80 # more\nat 90 driver slow 70\nat 10 load 2.5\nuntil 200\n---\nwhat comes\n";
        let script: Script = text.parse().unwrap();
        assert_eq!((script.seed, script.until, script.world.load), (3, 200, 80.0));
        assert_eq!(script.steps, [(10, Step::Load(2.5)), (90, Step::Driver(DriverFault::Slow { seconds: 70 }))]);
        assert_eq!(script.expected, "what comes\n");
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        for (text, line, reason) in [
            ("seed x", 1, "a number is expected"),
            ("\nat 5 flood", 2, "nothing of that name can happen"),
            ("world lode=5", 1, "expected load=, replicas=, pool=, service_ms= or noise="),
            ("wrld", 1, "expected seed, world, limits, policy, at or until"),
        ] {
            let error = text.parse::<Script>().unwrap_err();
            assert_eq!((error.line, error.reason), (line, reason), "{text}");
        }
    }
}
