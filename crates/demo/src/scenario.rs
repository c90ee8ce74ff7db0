//! What can happen to the sample application.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// A scenario. The last two are faults; in the others nothing may be done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Ordinary traffic.
    Quiet,
    /// 1.4 times the usual traffic: within capacity.
    BenignSurge,
    /// 2.5 times the usual traffic: the connection pools run out.
    CampaignSurge,
    /// A new release fails for some users.
    BadDeploy,
}

/// What `--scenario` accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Choice {
    /// All scenarios, in order.
    All,
    /// Ordinary traffic.
    Quiet,
    /// 1.4 times the usual traffic: within capacity.
    BenignSurge,
    /// 2.5 times the usual traffic: the connection pools run out.
    CampaignSurge,
    /// A new release fails for some users.
    BadDeploy,
}

impl Scenario {
    /// All of them, in the order in which they are best run.
    pub(crate) const ALL: [Self; 4] = [Self::Quiet, Self::BenignSurge, Self::CampaignSurge, Self::BadDeploy];

    /// The scenarios meant by the choices on the command line, in their order; without any, the most telling one.
    pub(crate) fn chosen(choices: &[Choice]) -> Vec<Self> {
        if choices.is_empty() {
            return vec![Self::CampaignSurge];
        }
        let mut chosen = Vec::new();
        for choice in choices {
            match choice {
                Choice::All => chosen.extend(Self::ALL),
                Choice::Quiet => chosen.push(Self::Quiet),
                Choice::BenignSurge => chosen.push(Self::BenignSurge),
                Choice::CampaignSurge => chosen.push(Self::CampaignSurge),
                Choice::BadDeploy => chosen.push(Self::BadDeploy),
            }
        }
        chosen
    }

    /// Traffic in multiples of the usual.
    pub(crate) fn factor(self) -> f64 {
        match self {
            Self::Quiet | Self::BadDeploy => 1.0,
            Self::BenignSurge => 1.4,
            Self::CampaignSurge => 2.5,
        }
    }

    /// How long a control lasts; how long a fault waits for Aegis at most.
    pub(crate) fn length(self) -> Duration {
        match self {
            Self::Quiet => Duration::from_secs(45),
            Self::BenignSurge => Duration::from_secs(60),
            Self::CampaignSurge | Self::BadDeploy => Duration::from_secs(150),
        }
    }

    /// One sentence for the person who watches.
    pub(crate) fn story(self) -> &'static str {
        match self {
            Self::Quiet => "ordinary traffic; nothing should happen",
            Self::BenignSurge => "traffic rises to 1.4 times the usual, within capacity; nothing should be done",
            Self::CampaignSurge => "a campaign brings 2.5 times the usual traffic, more than three replicas can serve",
            Self::BadDeploy => "release 2.0.0 is rolled out; it fails for people whose names have accents",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quiet => "quiet",
            Self::BenignSurge => "benign-surge",
            Self::CampaignSurge => "campaign-surge",
            Self::BadDeploy => "bad-deploy",
        })
    }
}
